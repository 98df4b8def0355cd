"""One training as a process: its command, its lock, its share of the machine, and why it ended.

Every experiment starts `srcnn_jax.main` here and nowhere else. The one exception is
`fingerprint.py`, which describes older checkouts too. `train_here` trains without a process.
"""

import contextlib
import dataclasses
import importlib.util
import io
import os
import pathlib
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from srcnn_jax import config_fields, workdir

ROOT = pathlib.Path(__file__).parents[1]
POLL = 1.0  # seconds between two checks of a process or a lock
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # what they stop has not failed


class TrainingError(Exception):
    """A training that failed: why, in one line."""


class TrainingStopped(TrainingError):  # noqa: N818 (it has not failed)
    """A training that a signal stopped, and that goes on from its checkpoint."""


@dataclasses.dataclass(frozen=True)
class Training:
    """What `srcnn_jax.main` trains, and where.

    Attributes:
      config: a config file and its words, as main's --config takes them.
      folder: the workdir.
      fields: values of the config's fields by their dotted names.
      weights: a weight file or a workdir to start from.
      data_dir: the folder of the data sets; '' leaves the choice to main.
      allow_sample: whether the sample may stand in for a training set that is missing.
    """

    config: str
    folder: pathlib.Path
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    weights: pathlib.Path | None = None
    data_dir: str = ""
    allow_sample: bool = True

    @property
    def finished(self) -> bool:
        return (self.folder / "eval.json").exists()

    def config_arguments(self) -> list[str]:
        """The part of the command line that makes the config."""
        fields = (f"--config.{field}={text(value)}" for field, value in self.fields.items())
        return [f"--config={self.config}", *fields]

    def command(self) -> list[str]:
        """The command line. It trains in one process, also under a launcher of several."""
        config, *fields = self.config_arguments()
        return [
            *(sys.executable, "-m", "srcnn_jax.main", config),
            f"--workdir={self.folder.absolute()}",
            "--num_processes=1",
            *([f"--data_dir={self.data_dir}"] if self.data_dir else []),
            *([] if self.allow_sample else ["--noallow_sample"]),
            *([f"--weights={self.weights.absolute()}"] if self.weights else []),
            *fields,
        ]


def text(value: Any) -> str:
    """A value as main's command line takes it.

    Numbers stand between commas: (9, 1, 5) is '9,1,5'. A dict, a tuple of other things and the
    empty tuple are Python's own words: "{'b1': 0.9}", "(('.*', 1.0),)" and '()'.
    """
    if isinstance(value, ml_collections.ConfigDict):
        value = value.to_dict()
    if not isinstance(value, (tuple, list)):
        return str(value)
    if value and all(isinstance(each, (int, float)) for each in value):
        return ",".join(map(str, value))
    return repr(_as_tuple(value))


def _as_tuple(value: Any) -> Any:
    """A list and the lists in it as tuples; JSON turns tuples into lists."""
    return tuple(map(_as_tuple, value)) if isinstance(value, (tuple, list)) else value


def run(
    training: Training,
    environment: Mapping[str, str] | None = None,
    log: pathlib.Path | None = None,
    beat: Callable[[], None] = lambda: None,
    watch: Callable[[], None] | None = None,
    unless_finished: bool = False,
) -> None:
    """Trains in a process of its own; waits for the folder's lock first.

    The process inherits the lock. If we are killed, it trains on, and nobody else begins there.

    Args:
      training: what to train.
      environment: of the process, as `share` yields it; ours by default.
      log: a file for all that the process writes.
      beat: called about once a second while we wait for the lock.
      watch: called about once a second while the process trains. What it raises stops the
        training, which saves a checkpoint first. A training that is watched has a session of its
        own, so that Ctrl-C reaches it once, from here.
      unless_finished: whether a finished folder is left as it is. By default main looks at it, and
        says if it belongs to another config.

    Raises:
      TrainingStopped: if a signal stops the training, and not us.
      TrainingError: if the training fails.
    """
    with lock(training.folder, beat) as held:
        if unless_finished and training.finished:
            return
        with log.open("w+b") if log else tempfile.TemporaryFile("w+b") as output:
            process = start(
                training,
                environment,
                stdout=output if log else subprocess.DEVNULL,
                stderr=output,
                pass_fds=[held.fileno()],
                start_new_session=watch is not None,
            )
            if code := wait(process, watch):
                if signum := stop_signal(code):
                    raise TrainingStopped(f"stopped by {signum.name}")
                output.seek(0)
                raise TrainingError(reason(code, output.read().decode(errors="replace")))


def train_here(training: Training) -> None:
    """Trains in this process, which saves the seconds that another takes to start.

    What the training prints is lost. The number of CPU devices is that of the first training here.

    Raises:
      KeyboardInterrupt: if Ctrl-C stops the training, which saves a checkpoint first.
      TrainingStopped: if another signal stops it so.
      TrainingError: if it fails.
    """
    from srcnn_jax import train, weights

    try:
        with lock(training.folder), contextlib.redirect_stdout(io.StringIO()):
            train.train_and_evaluate(
                read_config(training),
                str(training.folder.absolute()),
                data_dir=training.data_dir or None,
                allow_sample=training.allow_sample,
                initial=weights.load(training.weights) if training.weights else None,
            )
    except train.Interrupted as stop:
        if stop.signum == signal.SIGINT:
            raise KeyboardInterrupt from stop
        raise TrainingStopped(f"stopped by {signal.Signals(stop.signum).name}") from stop
    except (ValueError, OSError, ArithmeticError) as error:
        raise TrainingError(" ".join(str(error).split())) from error


def read_config(training: Training) -> ml_collections.ConfigDict:
    """The config that main makes of a training's command line.

    Raises:
      ValueError, FileNotFoundError: if main would not take it; in one line.
    """
    name, config = load_config(training.config)
    for field in training.fields:
        if not config_fields.has(config, field):
            raise ValueError(config_fields.explain_unknown(field, config_fields.flatten(config)))
    arguments = dataclasses.replace(training, config=name).config_arguments()
    values = flags.FlagValues()
    config_flags.DEFINE_config_file(
        "config", flag_values=values, lock_config=True, sys_argv=arguments
    )
    try:
        values(["main", *arguments])
    except (flags.Error, TypeError) as error:
        raise ValueError(str(error)) from error
    return values.config


def start(
    training: Training, environment: Mapping[str, str] | None = None, **settings: Any
) -> subprocess.Popen:
    """Starts a training and does not wait; `settings` are those of `subprocess.Popen`."""
    return subprocess.Popen(
        training.command(), cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, **settings
    )


def wait(process: subprocess.Popen, watch: Callable[[], None] | None = None) -> int:
    """Waits for a process and returns its exit code.

    What `watch` raises, or a signal to us, stops the process; a second signal kills it.

    Args:
      process: what to wait for.
      watch: called about once a second.
    """
    try:
        while watch:
            watch()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(POLL)
        return process.wait()
    except BaseException:
        try:
            process.terminate()
            process.wait()
        except BaseException:  # a second Ctrl-C
            process.kill()
            raise
        raise


def stop_signal(code: int) -> signal.Signals | None:
    """The signal of `STOPS` for which a process ended with this exit code; None for other ends."""
    return next((each for each in STOPS if code in (-each, 128 + each)), None)


def reason(code: int, log: str) -> str:
    """Why a training ended with an exit code other than 0, in one line, from what it wrote."""
    if code == -signal.SIGKILL:
        return "killed by SIGKILL; out of memory?"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    lines = [line.strip() for line in log.splitlines() if line.strip()] or ["no reason given"]
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (said or lines)[-1]


def try_lock(folder: pathlib.Path) -> IO[str] | None:
    """Locks a workdir for experiments until the file is closed; None if another has locked it.

    The training itself has a lock of its own (`workdir.lock`), also without an experiment.
    """
    return workdir.try_lock(folder / "lock")


def lock(folder: pathlib.Path, beat: Callable[[], None] = lambda: None) -> IO[str]:
    """As `try_lock`, but waits for the lock, and calls `beat` meanwhile."""
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
    """One of `count` equal shares of the machine, for processes that this thread starts within.

    Args:
      index, count: which share, of how many.
      gpus: as `list_gpus` returns them; with more shares than GPUs, some share one and its memory.

    Yields:
      The environment for the processes, which names their GPU. This thread has no cores but those
      of the share until the end.
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
    """Our environment without the variable that tells JAX where compiled programs are kept."""
    return {key: value for key, value in os.environ.items() if key != "JAX_COMPILATION_CACHE_DIR"}


def need(*modules: str) -> None:
    """Exits with one line if a module of requirements-experiments.txt is missing: before work."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        sys.exit(
            f"error: {', '.join(missing)} cannot be imported: "
            "pip install -r requirements-experiments.txt"
        )


def check_data(trained_on: str, tests: str, data_dir: str = "") -> None:
    """Loads the data sets, so that none is missed after hours, and none replaced by `sample`.

    Args:
      trained_on, tests: as `data.train` and `eval.datasets` of a config.
      data_dir: as main's --data_dir.

    Raises:
      ValueError, OSError: as `srcnn_jax.datasets.load_all`, in one line that names the fix.
    """
    from srcnn_jax import datasets

    names = datasets.dataset_names(tests)
    datasets.load_all(trained_on, names, data_dir=data_dir or None, allow_sample=False)


def load_config(argument: str) -> tuple[str, ml_collections.ConfigDict]:
    """Loads what main's --config names, from the current folder or else from the checkout.

    Returns:
      The argument with an absolute path, and the config.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if the file cannot be run, or does not know the words.
    """
    name, colon, words = argument.partition(":")
    path = pathlib.Path(name).absolute()
    if not path.exists():
        path = ROOT / name
    if not path.is_file():
        raise FileNotFoundError(f"there is no config {name}")
    try:
        get_config = run_file(path)["get_config"]
        return f"{path}{colon}{words}", get_config(words) if colon else get_config()
    except Exception as error:
        raise ValueError(f"config {argument!r}: {error}") from error


def run_file(path: pathlib.Path) -> dict[str, Any]:
    """Runs a Python file and returns its names.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it raises, or is no Python; in one line.
    """
    if not path.is_file():
        raise FileNotFoundError("there is no such file")
    try:
        return runpy.run_path(str(path))
    except SyntaxError as error:
        where = f"line {error.lineno}: " if error.lineno else ""  # a binary file has no lines
        raise ValueError(f"{where}{error.msg}: it must be a Python file") from error
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
