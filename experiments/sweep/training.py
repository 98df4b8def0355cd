"""The runs of a sweep: their folders and configs, and how a worker trains one."""

import contextlib
import dataclasses
import json
import pathlib
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

import ml_collections

from experiments import runner
from experiments.sweep.file import Sweep, set_fields, trial_name


class TrialError(Exception):
    """A trial that failed, and why, in one line."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A network to train.

    Attributes:
      folder: its workdir.
      fields: those of the config that the sweep sets.
      config: all of it.
    """

    folder: pathlib.Path
    fields: Mapping[str, Any]
    config: ml_collections.ConfigDict

    @property
    def finished(self) -> bool:
        return (self.folder / "eval.json").exists()


def run_of(sweep: Sweep, fields: Mapping[str, Any], seed: int, workdir: pathlib.Path) -> Run:
    """The run of a point's fields and a seed; raises ValueError if the config has no such field."""
    config = set_fields(sweep.config, {**fields, "seed": seed})
    folder = workdir / "trials" / trial_name(fields, seed)
    return Run(folder, {**sweep.fixed, **fields, "seed": seed}, config)


def command(sweep: Sweep, run: Run) -> list[str]:
    """What trains a run."""
    return runner.train(sweep.config_file, run.folder, run.fields)


def call(
    arguments: list[str],
    log: IO[str] | None = None,
    keep: tuple[int, ...] = (),
    watch: Callable[[], None] = lambda: None,
) -> int:
    """Runs a program and returns its exit code.

    Whatever `watch` raises, or this process is sent, stops it: a training saves a checkpoint then.

    Args:
      arguments: its command line.
      log: where its output goes.
      keep: file descriptors that it inherits, and so keeps if this process is killed.
      watch: called now and then.
    """
    process = subprocess.Popen(
        arguments,
        cwd=runner.ROOT,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=keep,
        start_new_session=True,  # Ctrl-C reaches it once, from here
    )
    try:
        while True:
            watch()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(runner.POLL)
    except BaseException:
        try:
            process.terminate()
            process.wait()
        except BaseException:  # a second Ctrl-C
            process.kill()
            raise
        raise


def train(
    sweep: Sweep, run: Run, beat: Callable[[], None], report: Callable[[int, float], None] | None
) -> None:
    """Trains a run, unless it is finished.

    Args:
      sweep: what it is of.
      run: what to train; only one process trains in its folder, and this one waits for it.
      beat: called now and then.
      report: called with step and PSNR of each evaluation; what it raises stops the training.

    Raises:
      TrialError: if the training fails.
    """
    reported = -1

    def watch() -> None:
        nonlocal reported
        beat()
        if report:
            for step, psnr in _psnr(run.folder / "metrics.jsonl"):
                if step > reported:
                    reported = step
                    report(step, psnr)

    with runner.lock(run.folder, beat) as held:
        if run.finished:
            return
        path = run.folder / "log.txt"
        with path.open("w") as log:
            code = call(command(sweep, run), log, (held.fileno(),), watch)
        if code:
            raise TrialError(runner.reason(code, path.read_text(errors="replace")))


def _psnr(path: pathlib.Path) -> Iterator[tuple[int, float]]:
    """(step, PSNR) of the lines of a `metrics.jsonl` that somebody may be writing."""
    if path.exists():
        for line in path.read_text().splitlines(keepends=True):
            if '"psnr"' in line and line.endswith("\n"):
                values = json.loads(line)
                yield values["step"], values["psnr"]
