"""Devices and processes: how many there are, and how a step runs on all of them."""

import contextlib
import ctypes
import functools
import hashlib
import math
import os
import pathlib
import platform
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "batch"


def available_cores() -> int:
    """CPU cores that this process may use: its affinity, capped by the quota of its cgroup."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    try:
        quota, period = pathlib.Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup v2, or 'max': no quota
        return cores


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is not above `limit`."""
    return next(n for n in range(max(1, min(limit, number)), 0, -1) if number % n == 0)


def start(batch_size: int, devices: int, processes: int = 1) -> None:
    """Starts JAX for an entry point: splits a CPU into devices.

    A CPU is one XLA device to JAX; here it becomes one for each core that this process may use,
    if that many divide the batch. Compiled programs are kept (`cache_compilations`). Call it once,
    before anything else starts JAX, `launch.join` included.

    Args:
      batch_size: patches of a step, over all processes.
      devices: how many devices the user asked for, over all processes; 0 for as many as fit.
      processes: their number.
    """
    if devices < 0 or devices % processes:
        raise ValueError(f"train.devices {devices} does not divide by {processes} processes")
    local = devices // processes or largest_divisor(batch_size // processes, available_cores())
    cache_compilations()
    tune_malloc()
    jax.config.update("jax_num_cpu_devices", local)


def start_alone() -> None:
    """As `start`, for an entry point that trains nothing: one CPU device for each core.

    Where JAX is running already, its devices stay as they are.
    """
    cache_compilations()
    tune_malloc()
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", available_cores())


def tune_malloc() -> None:
    """Lets glibc keep what XLA gives back, up to 32 MiB a piece, for XLA's next call.

    By default it goes to the system and is asked for again, page by page: a fifth of the time of
    restoring an image, a twentieth of a training step. Other C libraries stay as they are.
    """
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # malloc.h
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, 2**25)
        mallopt(trim_threshold, 2**30)
        mallopt(top_pad, 2**24)


def cache_compilations() -> None:
    """Keeps compiled programs on the disk, so that the next start finds them ready.

    They are kept in `JAX_COMPILATION_CACHE_DIR`, or in the user's cache folder, in a part of its
    own for each kind of CPU: what is compiled for one may not run on another.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return  # JAX sees to it
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        cpu = "".join(sorted({text for text in lines if text.startswith(("model name", "flags"))}))
    except OSError:
        cpu = ""
    cpu = hashlib.sha256(f"{platform.machine()} {platform.processor()} {cpu}".encode()).hexdigest()
    try:
        caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        folder = pathlib.Path(caches, "srcnn_jax", cpu[:16])
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # not writable; there is no home
        return  # works without
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def choose_devices(batch_size: int, devices: int) -> list[jax.Device]:
    """The devices, of all processes, that a step is shared by.

    Args:
      batch_size: patches of a step, over all processes.
      devices: how many to use over all processes; 0 means as many as divide the batch.

    Raises:
      ValueError: if there are not as many, or they do not divide the batch.
    """
    processes = jax.process_count()
    each = min(len(jax.local_devices(process)) for process in range(processes))
    if devices == 0:
        if batch_size % processes:
            raise ValueError(
                f"train.batch_size {batch_size} does not divide by {processes} processes"
            )
        devices = processes * largest_divisor(batch_size // processes, each)
    if devices > processes * each or devices % processes:
        raise ValueError(
            f"train.devices {devices} cannot be had: there are {processes} processes "
            f"with {each} each"
        )
    if batch_size % devices:
        raise ValueError(
            f"train.batch_size {batch_size} does not divide by {devices} devices: "
            "choose a multiple, or train.devices=0 for as many as do"
        )
    return [
        device
        for process in range(processes)
        for device in jax.local_devices(process)[: devices // processes]
    ]


def local(devices: list[jax.Device]) -> list[jax.Device]:
    """Those of this process."""
    return [device for device in devices if device.process_index == jax.process_index()]


@functools.lru_cache
def pmap_parts(function: Callable, devices: tuple[jax.Device, ...], **static: Any) -> Callable:
    """`function(shared, *parts, **static)` of stacked parts, each part on a device of its own.

    The parts have a leading axis of devices, as has the result. One call's arrays are compiled
    for once, however often this is called with the same arguments.
    """
    return jax.pmap(functools.partial(function, **static), in_axes=(None, 0, 0), devices=devices)


def pmap_steps(steps: Callable, devices: list[jax.Device]) -> Callable:
    """Data-parallel `steps(state, batches, pixels) -> (state, losses)`, on all processes' devices.

    The state goes in and comes out unstacked, since all devices hold the same, and so do pixels;
    batches have a leading axis of local devices. `steps` must average over the axis `AXIS`. Wait
    for the result before the next call: on CPU devices, collectives of two calls in flight can
    dead-lock.
    """
    return jax.pmap(
        steps,
        axis_name=AXIS,
        in_axes=(None, 0, None),
        out_axes=None,
        devices=devices,
        donate_argnums=(0,),
    )


def mean(tree: Any, axis_name: str | None) -> Any:
    """Mean over the leading axis of arrays, and over the devices of `axis_name`, if there are any.

    Neighbours are added in pairs, then pairs of pairs, so that the order of additions, and with it
    the rounding, does not depend on how a power of two is shared by devices. The preconditioner
    magnifies rounding in directions where the gradient is almost nil; without this, losses on 1
    and 8 devices would differ by 0.1 % after some ten steps.
    """

    def mean_of_axis(x: jax.Array) -> jax.Array:
        count = len(x)
        while len(x) > 1:
            left_over = x[len(x) // 2 * 2 :]
            pairs = x[: len(x) // 2 * 2].reshape(-1, 2, *x.shape[1:])
            x = pairs[:, 0] + pairs[:, 1]
            x = jnp.concatenate([x, left_over]) if len(left_over) else x
        return x[0] / count

    tree = jax.tree.map(mean_of_axis, tree)
    if axis_name is None or jax.lax.axis_size(axis_name) == 1:
        return tree
    # As one vector, because a collective costs its latency, however short the array. Written piece
    # by piece: of a concatenation, XLA asks for every number which piece it is of, and adds up the
    # parts only then (a seventh of a step of 9-5-5 on a CPU).
    leaves, (_, unravel) = jax.tree.leaves(tree), ravel_pytree(tree)
    vector, start = jnp.zeros(sum(leaf.size for leaf in leaves), jnp.result_type(*leaves)), 0
    for leaf in leaves:
        vector = vector.at[start : start + leaf.size].set(leaf.ravel())
        start += leaf.size
    return unravel(mean_of_axis(jax.lax.all_gather(vector, axis_name)))


def replicate(tree: Any, devices: list[jax.Device]) -> Any:
    """Puts arrays on local devices, as `pmap_steps` returns them: so it compiles but once."""
    return jax.device_put(tree, NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec()))


def to_global(tree: Any) -> Any:
    """Arrays that every process holds whole, as one array over all of them: for checkpoints."""
    first = [jax.local_devices(process)[0] for process in range(jax.process_count())]
    sharding = NamedSharding(Mesh(np.array(first), ("process",)), PartitionSpec())

    def join(x: jax.Array) -> jax.Array:
        local = jax.device_put(x.addressable_data(0), jax.local_devices()[0])
        return jax.make_array_from_single_device_arrays(x.shape, sharding, [local])

    return jax.tree.map(join, tree)


def to_local(tree: Any) -> Any:
    """This process's copy of what `to_global` made."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def prefetch_to_devices(
    batches: Iterator[Any], devices: list[jax.Device], size: int = 2
) -> Iterator[Any]:
    """Puts each batch on the devices ahead of its use, in a thread that begins at once.

    Args:
      batches: pytrees of arrays (k, n, ...), k steps of a local batch of n.
      devices: local devices; n must divide by their number.
      size: batches held ready.

    Returns:
      Iterator over the same pytrees with arrays (devices, k, n / devices, ...), sharded over the
      first axis.
    """
    sharding = NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec(AXIS))

    def shard(x: np.ndarray) -> jax.Array:
        parts = x.reshape(x.shape[0], len(devices), -1, *x.shape[2:]).swapaxes(0, 1)
        return jax.make_array_from_process_local_data(sharding, parts, parts.shape)

    ready: queue.Queue = queue.Queue(size)

    def fill() -> None:
        try:
            for batch in batches:
                ready.put((jax.tree.map(shard, batch), None))
            ready.put((None, None))
        except BaseException as error:
            ready.put((None, error))

    def take() -> Iterator[Any]:
        while True:
            batch, error = ready.get()
            if error is not None:
                raise error
            if batch is None:
                return
            yield batch

    threading.Thread(target=fill, daemon=True).start()
    return take()


def agree(number: int) -> int:
    """The largest of the numbers that the processes have; each must call this, and gets it."""
    if jax.process_count() == 1:
        return number
    largest = _pmap_largest()(np.array([number], np.int32))
    return int(largest.addressable_data(0)[0])


@functools.lru_cache
def _pmap_largest() -> Callable:
    first = [jax.local_devices(process)[0] for process in range(jax.process_count())]
    return jax.pmap(lambda x: jax.lax.pmax(x, "process"), "process", devices=first)


def is_main_process() -> bool:
    """Whether this process writes logs and files."""
    return jax.process_index() == 0
