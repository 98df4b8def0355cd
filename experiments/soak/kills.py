"""Trainings that are killed again and again, in every phase, and end as if nothing had happened."""

import collections
import dataclasses
import pathlib
import random
import re
import shutil
import signal
from collections.abc import Mapping

from experiments.soak import trainings

PHASES = ("start", "steps", "evaluation", "checkpoint", "end")
SIGNALS = (signal.SIGKILL,) * 4 + (signal.SIGTERM, signal.SIGINT)
MAX_KILLS = 4  # of one training
CHECKPOINT = re.compile(r"checkpoints/\d+")  # a whole one


@dataclasses.dataclass(frozen=True)
class Kill:
    """When a training gets which signal.

    Attributes:
      signum: the signal.
      step: the line of progress that it comes after; None is the start of the process.
      fraction: of the time from there to the next line in the undisturbed training, 0..1.
    """

    signum: signal.Signals
    step: int | None
    fraction: float


def phase_of(step: int | None, fields: Mapping[str, int]) -> str:
    """What a training does after the line of progress of a step, until the next line.

    Args:
      step: the step; None before the first line.
      fields: steps, steps_per_dispatch, eval_every and checkpoint_every.

    Returns:
      A phase. 'end' is all from the last step on: checkpoint, test sets, weights, result, exit.
    """
    if step is None:
        return "start"
    if step >= fields["steps"]:
        return "end"
    if step and step % fields["checkpoint_every"] == 0:
        return "checkpoint"
    if (step + fields["steps_per_dispatch"]) % fields["eval_every"] == 0:
        return "evaluation"
    return "steps"


def draw(rng: random.Random, fields: Mapping[str, int]) -> Kill:
    """A kill in a phase that is as likely as any other."""
    phase = rng.choice(PHASES)
    steps = [None, *range(0, fields["steps"] + 1, fields["steps_per_dispatch"])]
    step = rng.choice([each for each in steps if phase_of(each, fields) == phase])
    return Kill(rng.choice(SIGNALS), step, rng.random())


def pause(kill: Kill, moments: Mapping[int | None, float]) -> float:
    """Seconds from the line of progress to the signal; `moments` are as `trainings.Ended` has."""
    begin = 0.0 if kill.step is None else moments[kill.step]
    return kill.fraction * (min(each for each in moments.values() if each > begin) - begin)


def expected_codes(signum: int) -> set[int]:
    """Exit codes after a signal: ended by it, saved first, or finished just before it."""
    return {-signum, 0} if signum == signal.SIGKILL else {-signum, 128 + signum, 0}


def train_fields() -> dict[str, int]:
    return {
        name.removeprefix("train."): value
        for name, value in trainings.FIELDS.items()
        if name.startswith("train.")
    }


def soak(workdir: pathlib.Path, count: int, seed: int) -> list[str]:
    """Sends `count` signals, prints each, and returns the faults."""
    whole, fields = trainings.run_undisturbed(workdir), train_fields()
    print(f"undisturbed: {whole.ended.moments[None]:.1f} s", flush=True)
    environment = trainings.environment(workdir)
    faults: list[str] = []
    signals: collections.Counter[str] = collections.Counter()
    phases: collections.Counter[str] = collections.Counter()
    compared = 0
    while signals.total() < count:
        rng = random.Random(f"{seed} {compared}")
        training = trainings.create(workdir / f"killed{compared}", workdir / "photographs")
        found: list[str] = []
        for _ in range(min(rng.randint(1, MAX_KILLS), count - signals.total())):
            kill = draw(rng, fields)
            wait = pause(kill, whole.ended.moments)
            ended = trainings.run(training, environment, kill.signum, kill.step, wait)
            found += [f"a line of stderr is {line!r}" for line in ended.tracebacks]
            if not ended.struck:
                found += [f"exit code {ended.code}: {ended.err[-300:]}"] if ended.code else []
                break
            phase = phase_of(ended.last_step, fields)
            signals[kill.signum.name] += 1
            phases[phase] += 1
            if ended.code not in expected_codes(kill.signum):
                found.append(f"exit code {ended.code} after {kill.signum.name} in {phase}")
            print(
                f"kill {signals.total()}/{count}  {kill.signum.name:7}  {phase:10}  "
                f"after step {ended.last_step}, exit code {ended.code}",
                flush=True,
            )
        ended = trainings.run(training, environment)
        found += judge(training.folder, ended, whole)
        compared += 1
        if found:
            faults += [f"{training.folder.name}: {each}" for each in found]
            print(*faults[-len(found) :], sep="\n", flush=True)
        else:
            shutil.rmtree(training.folder)
    print(
        f"kills: {signals.total()} signals ({_counts(signals)}; {_counts(phases)}) in {compared} "
        f"trainings, {len(faults)} faults"
    )
    return faults


def judge(folder: pathlib.Path, ended: trainings.Ended, whole: trainings.Undisturbed) -> list[str]:
    """The faults of a training that was killed, and then ran until its end."""
    if ended.code:
        return [f"it does not resume, exit code {ended.code}: {ended.err[-300:]}"]
    unequal = trainings.differences(trainings.result_of(folder), whole.result)
    files = trainings.files_of(folder)
    # SIGTERM and SIGINT save a checkpoint after any step, so their steps may be others.
    saved, expected = (set(filter(CHECKPOINT.fullmatch, each)) for each in (files, whole.files))
    left = sorted(files - whole.files - saved)
    return [
        *([f"there are {len(saved)} checkpoints"] if len(saved) > len(expected) else []),
        *(f"{name} differs" for name in unequal),
        *(f"{name} is left over" for name in left),
        *(f"a line of stderr is {line!r}" for line in ended.tracebacks),
    ]


def _counts(counter: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counter.items()))
