"""A sweep's worker: it trains the networks of one trial after the other, until none is left."""

import contextlib
import dataclasses
import math
import pathlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ml_collections
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from experiments import runner
from experiments.paper import study as paper_study
from experiments.sweep import plan, trials
from experiments.sweep.file import Sweep, brief, resolve, set_fields, trial_name
from srcnn_jax.architecture import create_architecture
from srcnn_jax.workdir import check_same_config, parse_metrics


class TrialError(Exception):
    """A trial that failed: why, in one line."""


@dataclasses.dataclass(frozen=True)
class TrialRun:
    """One training of a trial, with one of its seeds.

    Attributes:
      training: what main is told.
      config: all fields of the config.
    """

    training: runner.Training
    config: ml_collections.ConfigDict

    @property
    def folder(self) -> pathlib.Path:
        return self.training.folder

    @property
    def finished(self) -> bool:
        return self.training.finished


def create_run(
    sweep: Sweep, fields: Mapping[str, Any], seed: int, workdir: pathlib.Path, data_dir: str = ""
) -> TrialRun:
    """The training of a point with a seed.

    Args:
      sweep: the sweep.
      fields: the fields of the point.
      seed: of the training.
      workdir: the folder of the sweep.
      data_dir: as main's --data_dir.

    Raises:
      ValueError: if the config has no such field.
    """
    fields_and_seed = {**fields, "seed": seed}
    training = runner.Training(
        config=sweep.config_file,
        folder=workdir / "trials" / trial_name(fields, seed),
        fields=resolve(sweep.config, {**sweep.fixed, **fields_and_seed}),
        data_dir=data_dir,
    )
    return TrialRun(training, set_fields(sweep.config, fields_and_seed))


def train_run(
    run: TrialRun,
    beat: Callable[[], None],
    report: Callable[[int, float], None] | None = None,
) -> None:
    """Trains a run, unless it is finished; waits if another process trains in its folder.

    Args:
      run: what to train.
      beat: called about once a second.
      report: called with step and PSNR of each evaluation; what it raises stops the training.

    Raises:
      runner.TrainingStopped: if a signal stops the training, and not us.
      runner.TrainingError: if the training fails.
    """
    reported = -1

    def watch() -> None:
        nonlocal reported
        beat()
        if report:
            for step, psnr in _read_psnr(run.folder / "metrics.jsonl"):
                if step > reported:
                    reported = step
                    report(step, psnr)

    runner.run(
        run.training,
        log=run.folder / "log.txt",
        beat=beat,
        watch=watch,
        unless_finished=True,
    )


def _read_psnr(path: pathlib.Path) -> Iterator[tuple[int, float]]:
    """(step, PSNR) of the whole lines of a `metrics.jsonl`; the last may be half written."""
    if path.exists():
        for line in path.read_text().splitlines(keepends=True):
            if '"psnr"' in line and line.endswith("\n"):
                values = parse_metrics(line)
                yield values["step"], values["psnr"]


@dataclasses.dataclass(frozen=True)
class Worker:
    """What a worker works on.

    Attributes:
      sweep: the sweep.
      study, storage: its record.
      workdir: its folder.
      heartbeat: seconds between two signs of life.
      prune: whether trials below the median of the others are stopped.
      data_dir: as main's --data_dir.
    """

    sweep: Sweep
    study: optuna.Study
    storage: optuna.storages.BaseStorage
    workdir: pathlib.Path
    heartbeat: int
    prune: bool = False
    data_dir: str = ""


def work(worker: Worker) -> bool:
    """Runs trials until all are done; waits for those of other workers, in case one dies.

    Returns:
      Whether all are done, and this worker did not have to wait for the last: then it reports.
    """
    sweep, study, storage = worker.sweep, worker.study, worker.storage
    estimates, pace = plan.seconds_of_tasks(sweep), plan.Pace()
    waiting = False
    while True:
        optuna.storages.fail_stale_trials(study)
        trials.fill(sweep, study)
        trial = trials.claim(study, storage)
        if trial:
            waiting = False
            _run(worker, trial, estimates, pace)
            continue
        left = len(sweep.tasks) - trials.count_settled(sweep, study)
        if not left:
            return not waiting
        if not isinstance(storage, optuna.storages.RDBStorage):
            _say(
                f"trials left to other workers: {left}; if those are gone, the same command with "
                "--retry=running takes them"
            )
            return False
        if not waiting:
            _say(f"waiting for other workers, in case one dies; trials left: {left}")
        waiting = True
        time.sleep(min(10.0, worker.heartbeat / 2))


def _run(
    worker: Worker, trial: optuna.Trial, estimates: Mapping[str, float], pace: plan.Pace
) -> None:
    """Runs a claimed trial, tells the storage how it ended, and prints the progress."""
    sweep, study = worker.sweep, worker.study
    key, start = trial.user_attrs["key"], time.perf_counter()
    try:
        value, is_new = _objective(worker, trial)
        study.tell(trial, value, skip_if_finished=True)
        outcome = f"{value:.3f}"
        if is_new:
            pace.add(estimates[key], time.perf_counter() - start)
    except optuna.TrialPruned as stop:
        study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        outcome = f"pruned, {stop}"
    except UpdateFinishedTrialError:
        outcome = "it was taken for dead, and given to another worker"
    except runner.TrainingStopped as stop:  # the training alone, by somebody else
        trials.give_back(worker.storage, trial._trial_id)
        outcome = f"{stop}, and waits for its next turn"
    except (TrialError, runner.TrainingError, ValueError, OSError) as error:
        outcome = " ".join(str(error).split())
        with contextlib.suppress(UpdateFinishedTrialError):
            trial.set_user_attr("reason", outcome)
        study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        outcome = f"failed: {outcome}"
    except BaseException:  # Ctrl-C, SIGTERM, or the storage is gone
        trials.give_back(worker.storage, trial._trial_id)
        raise
    name = key
    if sweep.searching:
        name = ", ".join(f"{name} {brief(value)}" for name, value in trial.params.items())
    done, seconds = trials.count_settled(sweep, study), time.perf_counter() - start
    line = f"{done}/{len(sweep.tasks)}  {name}: {outcome} ({seconds:.0f} s)"
    if pace.factor and done < len(sweep.tasks):
        workers = plan.workers_during(study, trial.number)
        left = plan.seconds_left(estimates, study, pace.factor, workers)
        line += f", about {plan.duration(left)} left"
    _say(line)


def _objective(worker: Worker, trial: optuna.Trial) -> tuple[float, bool]:
    """Trains the trial's networks.

    Returns:
      The mean of the metric over its seeds, and whether no training was begun before.
    """
    sweep, seeds = worker.sweep, trial.user_attrs["seeds"]
    try:
        fields = sweep.space(trial)
        runs = [create_run(sweep, fields, seed, worker.workdir, worker.data_dir) for seed in seeds]
        cost = create_architecture(runs[0].config).multiply_adds
    except Exception as error:  # the user's function may raise anything
        raise TrialError(f"{type(error).__name__}: {error}") from error
    trial.set_user_attr("fields", {field: runner.text(value) for field, value in fields.items()})
    trial.set_user_attr("multiply_adds", cost)

    known = worker.storage.get_trial(trial._trial_id).intermediate_values  # before it was stopped

    def report(step: int, psnr: float) -> None:
        if step in known:
            return
        trial.report(psnr, step)
        # What is finished anyway is not pruned.
        if step < runs[0].config.train.steps and trial.should_prune():
            raise optuna.TrialPruned(f"{psnr:.2f} dB at step {step}")

    beat = _beating(worker, trial)
    is_new = not any(run.folder.exists() for run in runs)
    values, seconds = [], 0.0
    for run in runs:
        train_run(run, beat, report if worker.prune and run is runs[0] else None)
        check_same_config(run.folder, run.config)
        result = paper_study.read_result(run.folder)
        values.append(_value(sweep, result))
        seconds += result.seconds
        trial.set_user_attr("values", values)
        trial.set_user_attr("seconds", seconds)
    return statistics.mean(values), is_new


def _beating(worker: Worker, trial: optuna.Trial) -> Callable[[], None]:
    """A function to call often, which gives a sign of life when it is time for one."""
    last = -math.inf

    def beat() -> None:
        nonlocal last
        if time.monotonic() - last >= worker.heartbeat:
            last = time.monotonic()
            # A storage that is away for a moment is no reason to stop a training.
            with contextlib.suppress(optuna.exceptions.StorageInternalError):
                trials.give_sign_of_life(worker.storage, trial._trial_id)

    return beat


def _value(sweep: Sweep, result: paper_study.Result) -> float:
    """The metric of a finished run."""
    dataset = sweep.dataset or result.validation["dataset"]
    if dataset in result.scores:
        value = result.mean(dataset, sweep.metric)
    elif sweep.dataset is None and sweep.metric == "psnr":
        value = result.validation["srcnn"]  # a validation set that is no test set
    else:
        raise TrialError(f"tested on {', '.join(result.scores)}, and not on {dataset}")
    if value is None:
        raise TrialError(f"{sweep.metric} on {dataset} is infinite")
    return value


def _say(words: str) -> None:
    print(words, flush=True)
