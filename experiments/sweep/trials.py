"""A sweep's trials in Optuna's storage, and the worker that runs them.

Any number of workers, on any machines, may work on one storage. None of them leads:

- Each puts those tasks into the storage that no trial stands for (`fill`). If two do so at once, a
  task has two trials; the later one is dropped when its turn comes (`claim`).
- A trial whose worker died, found by its heartbeat, or was stopped, becomes a failed one without a
  reason, which stands for nothing: the next worker that looks puts its task in again, with the same
  parameters. (Optuna's own callback for that would lose the trial if the worker that calls it is
  killed there, and may add it twice.)
- A trial's folder is named by its parameters and locked while one trains in it, so that the retry
  goes on from the checkpoint, even where a worker was only thought to be dead.
"""

import contextlib
import dataclasses
import math
import pathlib
import statistics
import time
from collections.abc import Callable, Sequence

import optuna
import sqlalchemy
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from experiments.paper import study as studies
from experiments.sweep.file import Sweep, flat, text
from experiments.sweep.training import TrialError, run_of, train
from srcnn_jax.architecture import weight_count
from srcnn_jax.workdir import check_same_config

DONE = (TrialState.COMPLETE, TrialState.PRUNED)
LIVE = (TrialState.WAITING, TrialState.RUNNING)


def open_storage(where: str, heartbeat: int) -> optuna.storages.BaseStorage:
    """Opens a storage, and makes it if need be.

    Args:
      where: a URL of SQLAlchemy, or else the path of a journal file.
      heartbeat: seconds between two signs of life; a worker is dead after three without.

    Raises:
      ValueError, OSError: if it cannot be opened, in one line.
    """
    if "://" not in where:
        pathlib.Path(where).absolute().parent.mkdir(parents=True, exist_ok=True)
        backend = JournalFileBackend(where)
        return optuna.storages.JournalStorage(backend)
    try:
        url = sqlalchemy.make_url(where)
    except sqlalchemy.exc.ArgumentError as error:
        known = "postgresql+psycopg://USER@HOST/DATABASE"
        raise ValueError(f"--storage {where} is no URL such as {known}") from error
    sqlite = url.get_backend_name() == "sqlite"
    if sqlite and url.database:
        pathlib.Path(url.database).absolute().parent.mkdir(parents=True, exist_ok=True)
    options = {"connect_args": {"timeout": 60}} if sqlite else {"pool_pre_ping": True}
    for last in (False, False, False, False, True):
        try:
            return optuna.storages.RDBStorage(
                where, options, heartbeat_interval=heartbeat, grace_period=3 * heartbeat
            )
        except ImportError as error:
            raise ValueError(f"{url.drivername} needs another package: {error}") from error
        except sqlalchemy.exc.SQLAlchemyError as error:
            # Workers that start at the same moment make the same tables.
            if last:
                reason = str(error).strip().splitlines()[0]
                raise OSError(f"{url.render_as_string()} cannot be opened: {reason}") from error
            time.sleep(1)
    raise AssertionError


def open_study(sweep: Sweep, storage: optuna.storages.BaseStorage) -> optuna.Study:
    """The sweep's study, made if need be.

    Raises:
      ValueError: if it was begun with other settings.
    """
    study = optuna.create_study(
        storage=storage,
        study_name=sweep.name,
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(multivariate=True, constant_liar=True),
        pruner=optuna.pruners.MedianPruner(n_warmup_steps=sweep.config.train.steps // 2),
    )
    now = {name: text(value) for name, value in flat(sweep.config).items()}
    now["METRIC"] = sweep.title()
    if not sweep.searching:
        parameters: dict[str, list[str]] = {}
        for point in sweep.points:
            for name, value in point.items():
                seen = parameters.setdefault(name, [])
                if str(value) not in seen:
                    seen.append(str(value))
        now |= {name: "; ".join(seen) for name, seen in parameters.items()}
    before = study.user_attrs.get("sweep", now)
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise ValueError(
                f"the storage holds the study {sweep.name!r} with {name} {before.get(name)}, not "
                f"{now.get(name)}: give the sweep's file another name, or name another --workdir, "
                "and --storage if you name one (what is finished here is not trained again)"
            )
    if "sweep" not in study.user_attrs:
        study.set_user_attr("sweep", now)
    return study


def tasks(study: optuna.Study) -> dict[str, list[FrozenTrial]]:
    """The trials of each task, oldest first."""
    by_key: dict[str, list[FrozenTrial]] = {}
    for trial in study.get_trials(deepcopy=False):
        by_key.setdefault(trial.user_attrs.get("key", ""), []).append(trial)
    return by_key


def fill(sweep: Sweep, study: optuna.Study, retry_failed: bool = False) -> None:
    """Puts every task into the storage that no trial stands for."""
    by_key = tasks(study)
    for task in sweep.tasks:
        trials = by_key.get(task.key, [])
        attempt = max((trial.user_attrs["attempt"] for trial in trials), default=0)
        if retry_failed:
            attempt = sum(map(_failed, trials))
        if not _taken(trials, attempt):
            params = task.params or (trials[-1].params if trials else {})
            note = {"key": task.key, "seeds": task.seeds, "attempt": attempt}
            study.enqueue_trial(dict(params), user_attrs=note)


def _taken(trials: Sequence[FrozenTrial], attempt: int) -> bool:
    """Whether one of a task's trials stands for it, in the n-th attempt at it."""
    alive = any(trial.state in (*DONE, *LIVE) for trial in trials)
    return alive or sum(map(_failed, trials)) > attempt


def _failed(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL and "reason" in trial.user_attrs


def _settled(trials: Sequence[FrozenTrial]) -> bool:
    """Whether there is nothing more to do for a task."""
    if any(trial.state in LIVE for trial in trials):
        return False
    return any(trial.state in DONE or _failed(trial) for trial in trials)


def claim(study: optuna.Study, storage: optuna.storages.BaseStorage) -> optuna.Trial | None:
    """Takes the next waiting trial, or None.

    Optuna's own `ask` would make a new trial where none waits.
    """
    for key, trials in tasks(study).items():
        for index, trial in enumerate(trials):
            if trial.state != TrialState.WAITING or not key:
                continue
            with contextlib.suppress(UpdateFinishedTrialError):
                if _taken(trials[:index], trial.user_attrs["attempt"]):
                    storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                    continue
                _beat(storage, trial._trial_id)  # first, so that it cannot be lost in between
                if storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                    _beat(storage, trial._trial_id)
                    return optuna.Trial(study, trial._trial_id)
    return None


def _beat(storage: optuna.storages.BaseStorage, trial_id: int) -> None:
    if isinstance(storage, optuna.storages.RDBStorage):
        storage.record_heartbeat(trial_id)


def give_back_running(study: optuna.Study, storage: optuna.storages.BaseStorage) -> int:
    """Gives back all running trials; returns how many."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in running:
        with contextlib.suppress(UpdateFinishedTrialError):
            storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    return len(running)


@dataclasses.dataclass(frozen=True)
class Worker:
    """What a worker works on.

    Attributes:
      sweep: the sweep.
      study, storage: its record.
      workdir: its folder.
      heartbeat: seconds between two signs of life.
      prune: whether trials below the median of the others are stopped.
    """

    sweep: Sweep
    study: optuna.Study
    storage: optuna.storages.BaseStorage
    workdir: pathlib.Path
    heartbeat: int
    prune: bool


def work(worker: Worker) -> bool:
    """Runs trials until all are done; waits for those that others run, in case they die.

    Returns:
      Whether all are done, and none was so later than this worker's: then it is the one to report.
    """
    sweep, study, storage = worker.sweep, worker.study, worker.storage
    waiting = False
    while True:
        optuna.storages.fail_stale_trials(study)
        fill(sweep, study)
        trial = claim(study, storage)
        if trial:
            waiting = False
            _run(worker, trial)
            continue
        left = len(sweep.tasks) - _settled_count(sweep, study)
        if not left:
            return not waiting
        if not isinstance(storage, optuna.storages.RDBStorage):
            _say(
                f"{left} trials are left to other workers; if those are gone, the same command "
                "with --retry=running takes them"
            )
            return False
        if not waiting:
            _say(f"waiting for {left} trials of other workers, in case one dies")
        waiting = True
        time.sleep(min(10.0, worker.heartbeat / 2))


def _settled_count(sweep: Sweep, study: optuna.Study) -> int:
    by_key = tasks(study)
    return sum(_settled(by_key.get(task.key, [])) for task in sweep.tasks)


def _run(worker: Worker, trial: optuna.Trial) -> None:
    """Runs a claimed trial and tells the storage how it ended."""
    sweep, study = worker.sweep, worker.study
    start = time.perf_counter()
    try:
        value = _objective(worker, trial)
        study.tell(trial, value, skip_if_finished=True)
        outcome = f"{value:.3f}"
    except optuna.TrialPruned as stop:
        study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        outcome = f"pruned, {stop}"
    except UpdateFinishedTrialError:
        outcome = "it was taken for dead, and given to another worker"
    except (TrialError, ValueError, OSError) as error:
        outcome = " ".join(str(error).split())
        with contextlib.suppress(UpdateFinishedTrialError):
            trial.set_user_attr("reason", outcome)
        study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        outcome = f"failed: {outcome}"
    except BaseException:  # Ctrl-C, SIGTERM, or the storage is gone
        study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        raise
    name = trial.user_attrs["key"]
    if sweep.searching:
        name = ", ".join(f"{key} {value}" for key, value in trial.params.items())
    done, seconds = _settled_count(sweep, study), time.perf_counter() - start
    _say(f"{done}/{len(sweep.tasks)}  {name}: {outcome} ({seconds:.0f} s)")


def _objective(worker: Worker, trial: optuna.Trial) -> float:
    """Trains the trial's networks; the mean of the metric over its seeds."""
    sweep, seeds = worker.sweep, trial.user_attrs["seeds"]
    try:
        fields = sweep.space(trial)
        runs = [run_of(sweep, fields, seed, worker.workdir) for seed in seeds]
    except Exception as error:  # the user's function may raise anything
        raise TrialError(f"{type(error).__name__}: {error}") from error
    config = runs[0].config
    channels = 1 if config.data.colour == "y" else 3
    cost = weight_count(config.model.kernel_sizes, config.model.features, channels)
    trial.set_user_attr("fields", {field: text(value) for field, value in fields.items()})
    trial.set_user_attr("multiply_adds", cost)

    def report(step: int, psnr: float) -> None:
        trial.report(psnr, step)
        if step < config.train.steps and trial.should_prune():  # not what is finished anyway
            raise optuna.TrialPruned(f"{psnr:.2f} dB at step {step}")

    beat = _beating(worker, trial)
    values, seconds = [], 0.0
    for run in runs:
        train(sweep, run, beat, report if worker.prune and run is runs[0] else None)
        check_same_config(run.folder, run.config)
        result = studies.read(run.folder)
        values.append(_value(sweep, result))
        seconds += result.seconds
        trial.set_user_attr("values", values)
        trial.set_user_attr("seconds", seconds)
    return statistics.mean(values)


def _beating(worker: Worker, trial: optuna.Trial) -> Callable[[], None]:
    """A function to call often, which gives a sign of life when it is time for one."""
    last = -math.inf

    def beat() -> None:
        nonlocal last
        if time.monotonic() - last >= worker.heartbeat:
            last = time.monotonic()
            # A storage that is away for a moment is no reason to stop a training.
            with contextlib.suppress(optuna.exceptions.StorageInternalError):
                _beat(worker.storage, trial._trial_id)

    return beat


def _value(sweep: Sweep, result: studies.Result) -> float:
    watched = sweep.dataset or sweep.config.train.eval_dataset
    if sweep.dataset is None and watched not in result.scores:
        watched = next(iter(result.scores))  # as training does
    if watched not in result.scores:
        raise TrialError(f"tested on {', '.join(result.scores)}, and not on {watched}")
    value = result.mean(watched, sweep.metric)
    if value is None:
        raise TrialError(f"{sweep.metric} on {watched} is infinite")
    return value


def _say(words: str) -> None:
    print(words, flush=True)
