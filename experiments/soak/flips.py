"""Damaged workdirs, and the same command again: the same result, or one line that says why not."""

import collections
import concurrent.futures
import dataclasses
import pathlib
import random
import shutil
import signal

from experiments.soak import damage, trainings
from srcnn_jax import runtime

STOPPED_AT = 43  # step of the interrupted training, between two checkpoints
OUTCOMES = ("equal, and a line said so", "equal", "refused in one line")


def choose(folder: pathlib.Path, rng: random.Random) -> pathlib.Path:
    """A file of a workdir: one in a checkpoint as likely as any one of the others."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    named = [path for path in files if path.parent == folder and not path.name.endswith("lock")]
    inside = [path for path in files if path.is_relative_to(folder / "checkpoints")]
    return rng.choice(inside if rng.random() < 0.5 else named)


def harm(path: pathlib.Path, rng: random.Random) -> str:
    """Damages or deletes a file, and says how."""
    content = path.read_bytes()
    if not content or rng.random() < 1 / (1 + len(damage.MISHAPS)):
        path.unlink()
        return "deleted"
    mishap = rng.choice(damage.MISHAPS)
    path.write_bytes(mishap(content, rng))
    return {"flip": "a bit flipped", "cut": "cut", "lose": "a block lost"}[mishap.__name__]


def judge(ended: trainings.Ended, unequal: list[str]) -> tuple[str, str]:
    """An outcome and no fault, or '' and the fault, of a training in a damaged workdir.

    Args:
      ended: the process.
      unequal: the names of the results that differ from those of the undisturbed training.
    """
    if ended.tracebacks:
        return "", f"a line of stderr is {ended.tracebacks[0]!r}"
    said = [line for line in ended.err.splitlines() if line.strip()]
    if ended.code == 0:
        if unequal:
            return "", f"exit code 0, and {', '.join(unequal)} differs"
        return OUTCOMES[0 if "passed over" in ended.out else 1], ""
    if ended.code == 1 and len(said) == 1 and said[0].startswith("error: "):
        return OUTCOMES[2], ""
    return "", f"exit code {ended.code} with {len(said)} lines on stderr: {ended.err[-300:]!r}"


@dataclasses.dataclass(frozen=True)
class Case:
    """A copy of a workdir that was damaged, and how the same command ended in it.

    Attributes:
      folder: the copy.
      what: the workdir's state, the file, and how it was damaged.
      outcome, fault: as `judge` returns.
    """

    folder: pathlib.Path
    what: str
    outcome: str
    fault: str


def soak(workdir: pathlib.Path, count: int, seed: int) -> list[str]:
    """Damages `count` copies of an interrupted and of a finished workdir; returns the faults.

    As many trainings run at once as there are cores, because most of their time is their start,
    which takes one core.
    """
    whole, environment = trainings.run_undisturbed(workdir), trainings.environment(workdir)
    stopped = trainings.create(workdir / "stopped", workdir / "photographs")
    ended = trainings.run(stopped, environment, signal.SIGKILL, STOPPED_AT)
    if not ended.struck:
        raise RuntimeError("the training that is to be damaged could not be interrupted")

    def try_one(index: int) -> Case:
        rng = random.Random(f"{seed} {index}")
        state, base = rng.choice([("stopped", stopped), ("finished", whole.training)])
        training = trainings.create(workdir / f"damaged{index}", workdir / "photographs")
        shutil.copytree(base.folder, training.folder)
        path = choose(training.folder, rng)
        what = f"{state}, {path.relative_to(training.folder)} {harm(path, rng)}"
        ended = trainings.run(training, environment)
        unequal = trainings.differences(trainings.result_of(training.folder), whole.result)
        return Case(training.folder, what, *judge(ended, unequal))

    faults: list[str] = []
    outcomes: collections.Counter[str] = collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(runtime.available_cores()) as pool:
        for number, case in enumerate(pool.map(try_one, range(count)), 1):
            outcomes[case.outcome] += 1
            said = case.outcome or f"FAULT: {case.fault}"
            print(f"{number}/{count}  {case.what}: {said}", flush=True)
            if case.fault:
                faults.append(f"{case.folder.name}: {case.what}: {case.fault}")
            else:
                shutil.rmtree(case.folder)
    counts = ", ".join(f"{outcomes[name]} {name}" for name in OUTCOMES)
    print(f"flips: {count} workdirs damaged: {counts}, {len(faults)} faults")
    return faults
