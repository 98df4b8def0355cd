"""Settings of the process: cores, memory allocator, compile cache, TensorFlow, signals.

JAX and TensorFlow are imported inside the functions that need them, because the import is slow.
"""

import contextlib
import ctypes
import hashlib
import importlib.metadata
import importlib.util
import logging
import math
import os
import pathlib
import platform
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

# The devices of a CPU wait for each other. By default XLA aborts after 40 seconds. That would end a
# training that was only paused (Ctrl-Z, a closed lid) or that has too few cores.
COLLECTIVE_TIMEOUT_FLAG = "--xla_cpu_collective_call_terminate_timeout_seconds=1000000"
# A training step is compiled in a quarter less time by this level (XLA's default is 3), and is as
# fast. The level was measured on CPUs. A flag of XLA holds for every device.
CPU_OPTIMIZATION_FLAG = "--xla_backend_optimization_level=1"

_importing_tensorflow = threading.Lock()


def available_cores() -> int:
    """Counts the CPU cores that this process may use: its affinity, limited by its cgroup quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    try:
        quota, period = pathlib.Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup v2, or 'max': no quota
        return cores


def available_memory() -> float:
    """The bytes of memory of this machine, limited by its cgroup; infinite if nothing says so."""
    memory = math.inf
    with contextlib.suppress(AttributeError, OSError, ValueError):  # Windows has no sysconf
        if (pages := os.sysconf("SC_PHYS_PAGES")) > 0:
            memory = os.sysconf("SC_PAGE_SIZE") * pages
    with contextlib.suppress(OSError, ValueError):  # no cgroup v2, or 'max': no limit
        memory = min(memory, int(pathlib.Path("/sys/fs/cgroup/memory.max").read_text()))
    return memory


def largest_divisor(number: int, limit: int) -> int:
    """Returns the largest divisor of `number` that is not above `limit`."""
    return next(n for n in range(max(1, min(limit, number)), 0, -1) if number % n == 0)


def print_any_name() -> None:
    """Lets standard output say every file name; what it cannot encode is written with backslashes.

    Standard error does so anyway. A name that is no UTF-8, or that the code page of a pipe does not
    have, must not turn a success into a failure.
    """
    with contextlib.suppress(AttributeError):  # standard output is no file
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


class _PlainFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {record.getMessage()}"


def log_plainly() -> None:
    """Lets a command's log say 'warning: ...', without the time, thread and line of absl's form."""
    from absl import logging as absl_logging  # upscale is installed without it

    absl_logging.get_absl_handler().setFormatter(_PlainFormatter())


def start(batch_size: int, devices: int, processes: int = 1) -> None:
    """Prepares JAX for a training: it splits the CPU into devices.

    By default a CPU is one device of JAX. This makes one device for each core that this process may
    use, or fewer if their number would not divide the batch. It also calls `cache_compilations` and
    `tune_malloc`, and adds to the environment variable XLA_FLAGS. Call it once, before anything
    starts JAX, and before `launch.join`.

    Args:
      batch_size: patches of a step, over all processes.
      devices: number of devices that the user asked for, over all processes; 0 for as many as
        possible.
      processes: number of processes.

    Raises:
      ValueError: if `devices` is not a multiple of `processes`, or above the batch.
      RuntimeError: if JAX has started already.
    """
    if devices % processes:
        raise ValueError(
            f"train.devices {devices} does not divide by {processes} processes: choose a multiple, "
            "or 0 for all that fit"
        )
    if devices > batch_size > 0:  # each device is threads and memory, so they are not made first
        raise ValueError(
            f"train.devices {devices} are more than the {batch_size} patches of train.batch_size: "
            "choose a divisor of it, or 0 for all that fit"
        )
    import jax

    local = devices // processes
    if local < 1:  # a negative number is refused by `parallel.choose_devices`
        local = largest_divisor(batch_size // processes, available_cores())
    _add_xla_flag(COLLECTIVE_TIMEOUT_FLAG)
    if has_only_cpus():
        _add_xla_flag(CPU_OPTIMIZATION_FLAG)
    jax.config.update("jax_enable_x64", False)  # JAX_ENABLE_X64 is for other programs
    cache_compilations()
    tune_malloc()
    jax.config.update("jax_num_cpu_devices", local)


def has_only_cpus() -> bool:
    """Whether JAX will find no other devices, because no package for them is installed or allowed.

    The answer starts no device, so it may be asked before `start`.
    """
    if platforms := os.environ.get("JAX_PLATFORMS"):
        return platforms == "cpu"
    named = any(map(os.environ.get, ("PJRT_NAMES_AND_LIBRARY_PATHS", "TPU_LIBRARY_PATH")))
    packages = any(map(importlib.util.find_spec, ("jax_plugins", "libtpu")))
    return not (named or packages or importlib.metadata.entry_points(group="jax_plugins"))


def _add_xla_flag(flag: str) -> None:
    """Sets a flag of XLA, unless the user has set it. XLA reads them when JAX starts."""
    before = os.environ.get("XLA_FLAGS", "")
    if flag.partition("=")[0] not in before:
        os.environ["XLA_FLAGS"] = f"{flag} {before}"


def start_if_first(batch_size: int, devices: int) -> str:
    """As `start`, for functions that a notebook or script calls: JAX may have started before.

    Args:
      batch_size, devices: as `start`.

    Returns:
      A line to print if JAX had started before, with fewer devices than the CPU has cores for this
      batch; else ''.
    """
    import jax

    if jax.config.values["jax_num_cpu_devices"] < 0:  # nobody has chosen a number
        with contextlib.suppress(RuntimeError):
            start(batch_size, devices)
    wanted = devices or largest_divisor(batch_size, available_cores())
    found = jax.local_device_count()
    if jax.default_backend() != "cpu" or jax.process_count() > 1 or found >= wanted:
        return ""
    return (
        f"This training uses {found} of {wanted} cores, because JAX has started before it. Call "
        f"srcnn_jax.runtime.start({batch_size}, {devices}) before anything of JAX to use all."
    )


def check_devices() -> None:
    """Starts JAX's devices. Call it after `start` and `launch.join`.

    Raises:
      ValueError: if JAX_PLATFORMS names devices that are not there.
    """
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        named = os.environ.get("JAX_PLATFORMS")
        if not named:
            raise
        raise ValueError(
            f"JAX_PLATFORMS={named} names devices that JAX does not find on this machine: unset "
            "it, or set JAX_PLATFORMS=cpu"
        ) from error


def start_alone() -> None:
    """As `start`, for commands that do not train: it makes one CPU device for each core.

    If JAX has started already, its devices stay as they are.
    """
    import jax

    cache_compilations()
    tune_malloc()
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", available_cores())


def tune_malloc() -> None:
    """Lets glibc keep memory that XLA frees, in blocks of up to 32 MiB, for XLA's next call.

    By default this memory goes back to the system and is requested again, page by page. That takes
    a fifth of the time of restoring an image, and a twentieth of a training step. With other C
    libraries this does nothing.
    """
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # malloc.h
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, 2**25)
        mallopt(trim_threshold, 2**30)
        mallopt(top_pad, 2**24)


def cache_compilations() -> None:
    """Keeps compiled programs on the disk for the next start.

    `JAX_COMPILATION_CACHE_DIR` names the folder. Without it, this is a sub-folder of the user's
    cache folder for each kind of CPU, because a program for one CPU may not run on another.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return  # JAX reads it
    import jax

    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        cpu = "".join(sorted({text for text in lines if text.startswith(("model name", "flags"))}))
    except OSError:
        cpu = ""
    cpu = hashlib.sha256(f"{platform.machine()} {platform.processor()} {cpu}".encode()).hexdigest()
    if folder := cache_folder(cpu[:16]):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def cache_folder(name: str = "") -> pathlib.Path | None:
    """The folder of the user's caches for this package, or a folder in it; None without a place."""
    try:
        caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        folder = pathlib.Path(caches, "srcnn_jax", name)
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # the folder is not writable, or there is no home
        return None
    return folder if os.access(folder, os.W_OK) else None


def import_tensorflow() -> Any:
    """Imports TensorFlow without its log messages, and hides the GPU, whose memory JAX needs."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # otherwise it logs a line about oneDNN
    # TensorFlow imports the new Keras at once unless the old one is selected, which need not be
    # installed. The import of Keras takes longer than the rest. Code can still import Keras later.
    with _importing_tensorflow:
        keras = os.environ.get("TF_USE_LEGACY_KERAS")
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
        import tensorflow as tf

        del os.environ["TF_USE_LEGACY_KERAS"]
        if keras is not None:
            os.environ["TF_USE_LEGACY_KERAS"] = keras
    with contextlib.suppress(RuntimeError):  # TensorFlow has started already and keeps its GPUs
        tf.config.set_visible_devices([], "GPU")
    return tf


@contextlib.contextmanager
def collect_signals() -> Iterator[list[int]]:
    """Yields a list, and appends the number of each SIGINT or SIGTERM that arrives.

    A line on standard error says at once that the signal was heard. A second signal of the same
    kind has its usual effect. In other threads than the main thread the list stays empty, because
    only the main thread receives signals.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def receive(number, frame):
        received.append(number)
        signal.signal(number, handlers[number])
        line = f"\n{signal.Signals(number).name}: saving, then stopping\n"
        with contextlib.suppress(OSError):  # written at once, also if the signal came in a print
            os.write(2, line.encode())

    for number in handlers:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
