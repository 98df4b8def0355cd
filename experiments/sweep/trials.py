"""The record of a sweep's trials in Optuna's storage.

Any number of workers, on any machines, may work on one storage. None of them leads:

- Each worker puts the tasks into the storage that no trial stands for (`fill`). If two workers do
  so at once, a task has two trials. The later one is dropped when its turn comes (`claim`).
- A trial that was stopped waits again (`give_back`), with its parameters.
- A trial whose worker died and gave no more sign of life becomes a failed trial without a reason,
  which stands for nothing. The next worker that looks puts its task in again, with the same
  parameters. (Optuna's own callback for that would lose the trial if the worker that calls it is
  killed there, and may add it twice.)
- A trial's folder is named by its parameters and locked while a process trains there. So the retry
  goes on from the checkpoint, even where a worker was only thought to be dead.
"""

import contextlib
import pathlib
import time
from collections.abc import Sequence

import optuna
import sqlalchemy
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from experiments.runner import text
from experiments.sweep.file import Sweep
from srcnn_jax import config_fields

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
    """Opens the sweep's study, and makes it if need be.

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
    now = {name: text(value) for name, value in config_fields.flatten(sweep.config).items()}
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


def find_study(sweep: Sweep, where: str, heartbeat: int) -> optuna.Study | None:
    """As `open_study`, but makes no file and no study: None if the sweep has not begun."""
    file = where
    if where.startswith("sqlite:"):
        file = sqlalchemy.make_url(where).database or ""
    if "://" not in file and not pathlib.Path(file).exists():
        return None
    storage = open_storage(where, heartbeat)
    if sweep.name not in optuna.get_all_study_names(storage):
        return None
    return open_study(sweep, storage)


def by_task(study: optuna.Study) -> dict[str, list[FrozenTrial]]:
    """The trials of each task by its key, oldest first."""
    by_key: dict[str, list[FrozenTrial]] = {}
    for trial in study.get_trials(deepcopy=False):
        by_key.setdefault(trial.user_attrs.get("key", ""), []).append(trial)
    return by_key


def fill(sweep: Sweep, study: optuna.Study, retry_failed: bool = False) -> None:
    """Puts every task into the storage that no trial stands for."""
    by_key = by_task(study)
    for task in sweep.tasks:
        trials = by_key.get(task.key, [])
        attempt = max((trial.user_attrs["attempt"] for trial in trials), default=0)
        if retry_failed:
            attempt = sum(map(_failed, trials))
        if not _taken(trials, attempt):
            params = task.params or (trials[-1].params if trials else {})
            note = {"key": task.key, "seeds": task.seeds, "attempt": attempt}
            study.enqueue_trial(dict(params), user_attrs=note)


def claim(study: optuna.Study, storage: optuna.storages.BaseStorage) -> optuna.Trial | None:
    """Takes the next waiting trial, or None.

    Optuna's own `ask` would make a new trial where none waits.
    """
    for key, trials in by_task(study).items():
        for index, trial in enumerate(trials):
            if trial.state != TrialState.WAITING or not key:
                continue
            with contextlib.suppress(UpdateFinishedTrialError):
                if _taken(trials[:index], trial.user_attrs["attempt"]):
                    storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                    continue
                # A sign of life comes first, so that the trial cannot be lost in between.
                give_sign_of_life(storage, trial._trial_id)
                if storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                    give_sign_of_life(storage, trial._trial_id)
                    return optuna.Trial(study, trial._trial_id)
    return None


def give_sign_of_life(storage: optuna.storages.BaseStorage, trial_id: int) -> None:
    """Tells the storage that the trial's worker is alive, if the storage has heartbeats."""
    if isinstance(storage, optuna.storages.RDBStorage):
        storage.record_heartbeat(trial_id)


def give_back(storage: optuna.storages.BaseStorage, trial_id: int) -> None:
    """Lets a running trial wait again; a trial that has ended meanwhile is left as it is."""
    with contextlib.suppress(UpdateFinishedTrialError):
        storage.set_trial_state_values(trial_id, TrialState.WAITING)


def give_back_running(study: optuna.Study, storage: optuna.storages.BaseStorage) -> int:
    """Gives back all running trials; returns how many."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in running:
        give_back(storage, trial._trial_id)
    return len(running)


def count_settled(sweep: Sweep, study: optuna.Study) -> int:
    """The number of tasks for which nothing more is to do."""
    by_key = by_task(study)
    states = [state_of_task(by_key.get(task.key, [])) for task in sweep.tasks]
    return states.count("done") + states.count("failed")


def state_of_task(trials: Sequence[FrozenTrial]) -> str:
    """'running', 'waiting', 'done' or 'failed', from the trials of a task."""
    states = {trial.state for trial in trials}
    if TrialState.RUNNING in states:
        return "running"
    if TrialState.WAITING in states:
        return "waiting"
    if states & set(DONE):
        return "done"
    return "failed" if any(map(_failed, trials)) else "waiting"


def _taken(trials: Sequence[FrozenTrial], attempt: int) -> bool:
    """Whether one of a task's trials stands for it, in the n-th attempt at it."""
    alive = any(trial.state in (*DONE, *LIVE) for trial in trials)
    return alive or sum(map(_failed, trials)) > attempt


def _failed(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL and "reason" in trial.user_attrs
