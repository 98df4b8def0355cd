"""A training with as many evaluations and checkpoints as possible, and its resident memory."""

import dataclasses
import itertools
import pathlib
import re
import signal
import statistics
import subprocess
import time
from collections.abc import Sequence

from experiments import runner
from experiments.soak import trainings

EVERY = 1.0  # seconds between two samples
WARM_UP = 0.2  # the part of the time that does not count
MAX_GROWTH = 20.0  # MB after warm-up


@dataclasses.dataclass(frozen=True)
class Sample:
    """Seconds since the start, step of the newest checkpoint, resident memory in MB."""

    seconds: float
    step: int
    memory: float


@dataclasses.dataclass(frozen=True)
class Growth:
    """How memory grew after the warm-up.

    Attributes:
      megabytes: from the median of the first tenth of the samples to that of the last.
      checkpoints: checkpoints from the middle of that first tenth to the middle of the last.
    """

    megabytes: float
    checkpoints: float

    @property
    def kilobytes_each(self) -> float:
        return 1000 * self.megabytes / max(self.checkpoints, 1)


def growth(samples: Sequence[Sample], every: int) -> Growth:
    """The growth after warm-up; a checkpoint is saved after each `every` steps."""
    warm = samples[int(WARM_UP * len(samples)) :]
    tenth = max(1, len(warm) // 10)
    memories = [statistics.median(s.memory for s in part) for part in (warm[:tenth], warm[-tenth:])]
    steps = [statistics.median(s.step for s in part) for part in (warm[:tenth], warm[-tenth:])]
    return Growth(memories[1] - memories[0], (steps[1] - steps[0]) / every)


def resident(pid: int) -> float:
    """Resident memory of a process in MB; 0 if it has ended."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    match = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(match[1]) * 1024 / 1e6 if match else 0.0


def soak(workdir: pathlib.Path, seconds: float) -> list[str]:
    """Trains for so long, prints the growth of memory, and returns the faults."""
    from srcnn_jax import checkpoint  # loads JAX, which --help does not need

    trainings.make_photographs(workdir / "photographs")
    every = trainings.FIELDS["train.steps_per_dispatch"]
    training = trainings.create(
        *(workdir / "long", workdir / "photographs"),
        steps=10**8,
        eval_every=every,
        checkpoint_every=every,
        log_every=10**6,
    )
    samples: list[Sample] = []
    with (workdir / "stderr.txt").open("w+") as errors:
        process = runner.start(
            training, trainings.environment(workdir), stdout=subprocess.DEVNULL, stderr=errors
        )
        began = time.monotonic()
        for count in itertools.count(1):
            time.sleep(EVERY)
            now = time.monotonic() - began
            step = checkpoint.latest_step(training.folder / "checkpoints")
            if now > seconds or process.poll() is not None:
                break
            if step:
                samples.append(Sample(now, step, resident(process.pid)))
            if count % 60 == 0 and samples:
                print(f"{now:6.0f} s  step {step}  {samples[-1].memory:.1f} MB", flush=True)
        process.send_signal(signal.SIGTERM)
        code = process.wait(trainings.MAX_SECONDS)
        errors.seek(0)
        said = errors.read()
    if code != 128 + signal.SIGTERM:
        return _tell([f"the training ended with exit code {code}: {said[-300:]}"])
    if len(samples) < 20:
        return _tell([f"{len(samples)} samples are too few: raise --seconds"])
    (workdir / "samples.csv").write_text(
        "".join(f"{s.seconds:.1f},{s.step},{s.memory:.3f}\n" for s in samples)
    )
    grown = growth(samples, every)
    print(
        f"memory: {samples[-1].step // every} evaluations and checkpoints in "
        f"{samples[-1].seconds:.0f} s, {samples[-1].memory:.0f} MB at the end; after warm-up "
        f"{grown.megabytes:+.1f} MB over {grown.checkpoints:.0f} checkpoints, "
        f"{grown.kilobytes_each:+.1f} kB each"
    )
    limit = f"more than {MAX_GROWTH:.0f} MB after warm-up"
    return _tell([limit] if grown.megabytes > MAX_GROWTH else [])


def _tell(faults: list[str]) -> list[str]:
    print(*faults, sep="\n", end="\n" if faults else "", flush=True)
    return faults
