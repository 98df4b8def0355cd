"""The small training that is disturbed, what it leaves in its workdir, and how two compare."""

import dataclasses
import json
import pathlib
import re
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from experiments import runner

FIELDS: Mapping[str, Any] = {
    "model.kernel_sizes": (5, 1, 3),
    "model.features": (4, 3),
    "data.patch_size": 17,
    "data.downscale_factors": "(1.0,)",
    "train.steps": 60,
    "train.steps_per_dispatch": 2,
    "train.log_every": 2,
    "train.eval_every": 10,
    "train.checkpoint_every": 8,
    "optimizer.warmup_steps": 2,
}
MAX_SECONDS = 600  # of one process; then it hangs
TIMES = ("patches_per_second", "waited")  # in metrics.jsonl
NO_RESULT = ("tensorboard/", "checkpoints/")  # folders whose files have other names in each run
TRACEBACK = re.compile(r"Traceback|Exception ignored|Fatal Python error|core dumped")


def make_photographs(folder: pathlib.Path) -> None:
    """Writes four small pictures, cut from scikit-image's cat."""
    import skimage.data
    from PIL import Image

    folder.mkdir(parents=True)
    cat = skimage.data.cat()
    for i in range(4):
        Image.fromarray(cat[60 + 30 * i :, 90 * i :][:72, :80]).save(folder / f"cat{i}.png")


def create(folder: pathlib.Path, photographs: pathlib.Path, **fields: Any) -> runner.Training:
    """The small training; `fields` are of the config's `train`."""
    data = {f"{name}": str(photographs) for name in ("data.train", "eval.datasets")}
    changed = {f"train.{name}": value for name, value in fields.items()}
    return runner.Training("configs/default.py:x3,runlocal", folder, {**FIELDS, **data, **changed})


def environment(workdir: pathlib.Path) -> dict[str, str]:
    """Of the processes: what they compile is kept in the soak's workdir."""
    return {**runner.uncached(), "XDG_CACHE_HOME": str(workdir / "cache")}


def step_of(line: str) -> int | None:
    """The step of a line of progress; None for another line."""
    match = re.match(r"step +(\d+)/", line)
    return int(match[1]) if match else None


@dataclasses.dataclass(frozen=True)
class Ended:
    """A process that has ended.

    Attributes:
      code: its exit code.
      out, err: what it wrote.
      moments: the seconds from its start to each line of progress, by step, and to its end (None).
      struck: whether it was alive when the signal was sent.
    """

    code: int
    out: str
    err: str
    moments: Mapping[int | None, float]
    struck: bool = False

    @property
    def last_step(self) -> int | None:
        """The step of the last line of progress."""
        return max((step for step in self.moments if step is not None), default=None)

    @property
    def tracebacks(self) -> list[str]:
        return [line for line in self.err.splitlines() if TRACEBACK.search(line)]


def run(
    training: runner.Training,
    environment: Mapping[str, str],
    signum: int = 0,
    step: int | None = None,
    pause: float = 0.0,
) -> Ended:
    """Runs a training until it ends, and sends it a signal on the way.

    Args:
      training: what to train.
      environment: of the process.
      signum: the signal; 0 sends none.
      step: the signal comes after the progress of this step or a later one; None: after the start.
      pause: seconds between that and the signal.
    """
    moments: dict[int | None, float] = {}
    lines: list[str] = []
    began = time.perf_counter()
    process = runner.start(
        training, environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    errors: list[str] = []
    passed = threading.Event()

    def follow(stream: Iterable[str]) -> None:
        for line in stream:
            lines.append(line)
            if (at := step_of(line)) is not None:
                moments.setdefault(at, time.perf_counter() - began)
                if step is not None and at >= step:
                    passed.set()
        passed.set()

    readers = [
        threading.Thread(target=follow, args=(process.stdout,)),
        threading.Thread(target=errors.extend, args=(process.stderr,)),
    ]
    watchdog = threading.Timer(MAX_SECONDS, process.kill)
    for thread in (*readers, watchdog):
        thread.daemon = True
        thread.start()
    struck = False
    if signum:
        if step is not None:
            passed.wait()
        time.sleep(pause)
        struck = process.poll() is None
        if struck:
            process.send_signal(signum)
    code = process.wait()
    moments[None] = time.perf_counter() - began
    watchdog.cancel()
    for thread in readers:
        thread.join()
    if moments[None] >= MAX_SECONDS:
        errors.append(f"Traceback: it hung for {MAX_SECONDS} s and was killed\n")
    return Ended(code, "".join(lines), "".join(errors), moments, struck)


def result_of(folder: pathlib.Path) -> dict[str, bytes]:
    """What a finished training is judged by: weights, evaluation, and metrics without times."""
    found = {}
    for name in ("weights.safetensors", "eval.json", "metrics.jsonl"):
        path = folder / name
        content = path.read_bytes() if path.exists() else b"it is not there"
        found[name] = without_times(content) if name == "metrics.jsonl" else content
    return found


def without_times(lines: bytes) -> bytes:
    """The lines of a metrics.jsonl without what differs between two runs; damaged lines stay."""
    kept = []
    for line in lines.splitlines():
        try:
            values = json.loads(line)
            kept.append(json.dumps({k: v for k, v in values.items() if k not in TIMES}).encode())
        except (ValueError, AttributeError):
            kept.append(line)
    return b"\n".join(kept)


def differences(found: Mapping[str, bytes], expected: Mapping[str, bytes]) -> list[str]:
    """The names of the files that are not equal to the byte."""
    return [name for name in expected if found.get(name) != expected[name]]


def files_of(folder: pathlib.Path) -> set[str]:
    """The files of a workdir, and the checkpoints by their folders' names."""
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    checkpoints = {f"checkpoints/{path.name}" for path in (folder / "checkpoints").glob("*")}
    return {name for name in files if not name.startswith(NO_RESULT)} | checkpoints


@dataclasses.dataclass(frozen=True)
class Undisturbed:
    """A training that nothing disturbed: what the others are compared with."""

    training: runner.Training
    ended: Ended
    result: Mapping[str, bytes]
    files: set[str]


def run_undisturbed(workdir: pathlib.Path, **fields: Any) -> Undisturbed:
    """Trains twice in WORKDIR, without a compilation the second time; the results must be equal.

    Raises:
      RuntimeError: if they are not, or if a training fails.
    """
    make_photographs(workdir / "photographs")
    first, second = (
        create(workdir / name, workdir / "photographs", **fields) for name in ("first", "whole")
    )
    for training in (first, second):
        ended = run(training, environment(workdir))
        if ended.code or ended.tracebacks:
            raise RuntimeError(f"an undisturbed training fails: {runner.reason(1, ended.err)}")
    result = result_of(second.folder)
    if unequal := differences(result_of(first.folder), result):
        raise RuntimeError(f"two undisturbed trainings differ in {', '.join(unequal)}")
    return Undisturbed(second, ended, result, files_of(second.folder))
