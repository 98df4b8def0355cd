"""How long a sweep takes: an estimate before it begins, and one from the trials that have ended."""

import dataclasses
import datetime
import statistics
from collections.abc import Mapping

import ml_collections
import optuna
from optuna.trial import TrialState

from experiments import machine, runner
from experiments.sweep import file as sweep_file
from experiments.sweep import trials
from experiments.sweep.file import Sweep
from srcnn_jax.architecture import create_architecture
from srcnn_jax.convolution import multiply_adds

# The rate of a training's matrix products over that of one large product. A default step of 9-1-5,
# 9-3-5 and 9-5-5 took 59, 251 and 290 ms (0.37, 0.48, 0.42) on two cores of an AMD EPYC (Zen 3) of
# 110 to 170 GF/s: medians of six rounds on a shared machine.
EFFICIENCY = 0.42
STARTUP = 20.0  # seconds of a run besides training
USUAL_RATE = 100.0  # GF/s of a CPU that nobody has measured; what has ended corrects it


@dataclasses.dataclass
class Pace:
    """Compares the trials that a worker has trained with their estimates.

    Attributes:
      estimated: seconds that they were to take.
      measured: seconds that they took.
    """

    estimated: float = 0.0
    measured: float = 0.0

    def add(self, estimated: float, measured: float) -> None:
        self.estimated += estimated
        self.measured += measured

    @property
    def factor(self) -> float | None:
        """Measured over estimated; None before the first trial."""
        return self.measured / self.estimated if self.estimated else None


def seconds_of_run(config: ml_collections.ConfigDict, rate: float) -> float:
    """About how long a training of a config takes on a CPU of `rate` GF/s."""
    shapes = create_architecture(config).shapes
    first, *others = (multiply_adds(shape, config.data.patch_size) for shape in shapes)
    # Forward, and two products back for all but the first layer, whose input needs no gradient.
    flop = 2 * config.data.patch_size**2 * (2 * first + 3 * sum(others))
    patches = config.train.steps * config.train.batch_size
    return STARTUP + patches * flop / (EFFICIENCY * rate * 1e9)


def seconds_of_tasks(sweep: Sweep, rate: float = USUAL_RATE) -> dict[str, float]:
    """About how long each task takes alone on a CPU of `rate` GF/s, by its key.

    A point that Optuna is to draw takes as long as the examples do on average.
    """
    named = {str(point): seconds_of_point(sweep, point, rate) for point in sweep.points}
    usual = statistics.mean(named.values())
    return {
        task.key: len(task.seeds) * (named.get(str(task.params), usual) if task.params else usual)
        for task in sweep.tasks
    }


def seconds_of_point(sweep: Sweep, params: Mapping[str, object], rate: float) -> float:
    """About how long one run of a point takes on a CPU of `rate` GF/s."""
    return seconds_of_run(sweep_file.set_fields(sweep.config, sweep.fields(params)), rate)


def workers_during(study: optuna.Study, trial: int) -> float:
    """The mean number of trials that ran at a time while a trial ran, which has ended; 1 or more.

    Args:
      study: its record.
      trial: its number.
    """
    every = study.get_trials(deepcopy=False)
    start, end = every[trial].datetime_start, every[trial].datetime_complete
    if start is None or end is None or end <= start:
        return 1.0
    seconds = 0.0
    for each in every:
        if each.datetime_start and each.state != TrialState.WAITING:
            last = min(each.datetime_complete or end, end)
            seconds += max(0.0, (last - max(each.datetime_start, start)).total_seconds())
    return max(1.0, seconds / (end - start).total_seconds())


def seconds_left(
    estimates: Mapping[str, float], study: optuna.Study, factor: float, workers: float
) -> float:
    """About how many seconds it is until all tasks are done.

    Args:
      estimates: as from `seconds_of_tasks`.
      study: knows what is done, and since when the others run.
      factor: the real seconds of a task over its estimate, as of `Pace`.
      workers: how many tasks run at a time.
    """
    by_key, now = trials.by_task(study), datetime.datetime.now()
    left = [0.0]
    for key, estimate in estimates.items():
        each = by_key.get(key, [])
        state = trials.state_of_task(each)
        if state == "running":
            starts = [t.datetime_start for t in each if t.state == TrialState.RUNNING]
            begun = max((start for start in starts if start), default=now)
            left.append(max(0.0, factor * estimate - (now - begun).total_seconds()))
        elif state == "waiting":
            left.append(factor * estimate)
    return max(sum(left) / workers, *left)


def plan(sweep: Sweep, study: optuna.Study | None) -> str:
    """The points of a sweep, what is done, and about how long the rest takes.

    Args:
      sweep: the sweep.
      study: its record; None if it has not begun.
    """
    rate = machine.rate()
    by_key = trials.by_task(study) if study else {}
    done = {task.key: trials.state_of_task(by_key.get(task.key, [])) for task in sweep.tasks}
    lines = []
    for point in sweep.points:
        name = sweep_file.trial_name(sweep.fields(point))
        line = f"  {name}  about {duration(seconds_of_point(sweep, point, rate))}"
        states = [done[task.key] for task in sweep.tasks if task.params == point]
        if study and states:
            line += f"  {count_done(states)}"
        lines.append(line)
    runs = sum(len(task.seeds) for task in sweep.tasks)
    what = f"{runs} runs of {sweep.config_file}, for the best {sweep.title()}"
    if sweep.searching:
        what += "; Optuna draws the points, for example"
    end = f"about {time_of_rest(sweep, done, rate)}"
    if study:
        end = f"{count_done(list(done.values()))}, {end}"
    return "\n".join([what, *lines, end])


def status(sweep: Sweep, study: optuna.Study) -> str:
    """What is done, and about how long the rest takes, in one line; a GPU's time is not known."""
    by_key = trials.by_task(study)
    done = {task.key: trials.state_of_task(by_key.get(task.key, [])) for task in sweep.tasks}
    words = count_done(list(done.values()))
    if set(done.values()) <= {"done", "failed"} or runner.list_gpus():
        return words
    return f"{words}, about {time_of_rest(sweep, done, machine.rate())}"


def time_of_rest(sweep: Sweep, done: Mapping[str, str], rate: float) -> str:
    """'4 min in all on this machine's CPU (61 GF/s in a matrix product)'.

    Args:
      sweep: the sweep.
      done: the state of each task, as `trials.state_of_task` has it, by its key.
      rate: of the CPU, GF/s.
    """
    estimates = seconds_of_tasks(sweep, rate)
    left = [estimates[key] for key, state in done.items() if state not in ("done", "failed")]
    which = "in all" if len(left) == len(estimates) else "for the rest"
    cpu = f"this machine's CPU ({rate:.0f} GF/s in a matrix product)"
    return f"{duration(sum(left))} {which} on {cpu}"


def count_done(states: list[str]) -> str:
    """'3 of 12 done, 1 failed, 2 running', from states as `trials.state_of_task` has them."""
    words = [f"{states.count('done')} of {len(states)} done"]
    words += [f"{states.count(s)} {s}" for s in ("failed", "running") if s in states]
    return ", ".join(words)


def duration(seconds: float) -> str:
    """'40 s', '12 min' or '5.2 h'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
