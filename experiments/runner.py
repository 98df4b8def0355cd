"""Trainings as processes of their own: their command, lock and share of the machine, their end."""

import contextlib
import fcntl
import importlib.util
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

ROOT = pathlib.Path(__file__).parents[1]
POLL = 1.0  # seconds between two looks at a process or a lock


def need(*modules: str) -> None:
    """Exits with one line if a module of requirements-experiments.txt is missing: before work."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        sys.exit(
            f"error: {', '.join(missing)} cannot be imported: "
            "pip install -r requirements-experiments.txt"
        )


def check_data(trained_on: str, tests: str, data_dir: str) -> None:
    """Loads the data sets, so that none is missed after hours, and none replaced by `sample`.

    Args:
      trained_on, tests, data_dir: as `data.train`, `eval.datasets` and `data.dir` of a config.

    Raises:
      ValueError, OSError: as `srcnn_jax.datasets.load_all`, in one line that names the fix.
    """
    from srcnn_jax import datasets

    names = datasets.dataset_names(tests)
    datasets.load_all(trained_on, names, data_dir=data_dir or None, allow_sample=False)


def text(value: Any) -> str:
    """A value as main's command line takes it: (9, 1, 5) is '9,1,5'."""
    return ",".join(map(text, value)) if isinstance(value, (tuple, list)) else str(value)


def train(config: str, folder: pathlib.Path, fields: Mapping[str, Any]) -> list[str]:
    """What trains a config with its words, as 'configs/default.py:x3', and some fields of it.

    It trains alone, also where a launcher has started several of us.
    """
    return [
        *(sys.executable, "-m", "srcnn_jax.main", f"--config={config}"),
        f"--workdir={folder.absolute()}",
        "--num_processes=1",
        *(f"--config.{field}={text(value)}" for field, value in fields.items()),
    ]


def try_lock(folder: pathlib.Path) -> IO[str] | None:
    """Locks a run's folder until the file is closed; None if somebody else trains in it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def lock(folder: pathlib.Path, beat: Callable[[], object] = lambda: None) -> IO[str]:
    """As `try_lock`, but waits for it, and calls `beat` meanwhile."""
    while (file := try_lock(folder)) is None:
        beat()
        time.sleep(POLL)
    return file


def list_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
    return [str(i) for i in range(sum(line.startswith("GPU ") for line in listed.splitlines()))]


@contextlib.contextmanager
def share(index: int, count: int, gpus: Sequence[str]) -> Iterator[dict[str, str]]:
    """One of so many equal shares of the machine, for the processes that this thread starts within.

    Args:
      index, count: which share, of how many.
      gpus: of `list_gpus`; with more shares than GPUs, some share one and its memory.

    Yields:
      Their environment, which names their GPU. Their cores are this thread's until the end.
    """
    environment = dict(os.environ)
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
        if count > len(gpus):
            memory = 0.9 / -(-count // len(gpus))
            environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{memory:.3f}"
    if not hasattr(os, "sched_setaffinity"):
        yield environment
        return
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[index::count] or [cores[index % len(cores)]])
    try:
        yield environment
    finally:
        os.sched_setaffinity(0, cores)


def uncached() -> dict[str, str]:
    """The environment without JAX's own word for where compiled programs are kept."""
    return {key: value for key, value in os.environ.items() if key != "JAX_COMPILATION_CACHE_DIR"}


def reason(code: int, log: str) -> str:
    """Why a training ended with an exit code that is not 0, in one line, from what it wrote."""
    if code == -signal.SIGKILL:
        return "killed by SIGKILL; out of memory?"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    lines = [line.strip() for line in log.splitlines() if line.strip()] or ["no reason given"]
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (said or lines)[-1]
