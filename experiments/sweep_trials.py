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
import fcntl
import json
import math
import pathlib
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

import optuna
import sqlalchemy
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from experiments import study as studies
from experiments.sweep_file import ROOT, Sweep, flat, set_fields, text, trial_name
from srcnn_jax.models import weight_count
from srcnn_jax.workdir import check_config

POLL = 1.0  # seconds between two looks at a training
DONE = (TrialState.COMPLETE, TrialState.PRUNED)
LIVE = (TrialState.WAITING, TrialState.RUNNING)


class TrialError(Exception):
    """A trial that failed, and why, in one line."""


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
    url = sqlalchemy.make_url(where)
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
        pruner=optuna.pruners.MedianPruner(n_warmup_steps=sweep.config.train.steps // 3),
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
                f"{now.get(name)}: name another --workdir, or delete the study (finished trials "
                "are not trained again: their folders stay)"
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


def work(
    sweep: Sweep,
    study: optuna.Study,
    storage: optuna.storages.BaseStorage,
    workdir: pathlib.Path,
    heartbeat: int,
    prune: bool,
) -> bool:
    """Runs trials until all are done; waits for those that others run, in case they die.

    Returns:
      Whether all are done, and none was so later than this worker's: then it is the one to report.
    """
    waiting = False
    while True:
        optuna.storages.fail_stale_trials(study)
        fill(sweep, study)
        trial = claim(study, storage)
        if trial:
            waiting = False
            _run(trial, sweep, study, storage, workdir, heartbeat, prune)
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
        time.sleep(min(10.0, heartbeat / 2))


def _settled_count(sweep: Sweep, study: optuna.Study) -> int:
    by_key = tasks(study)
    return sum(_settled(by_key.get(task.key, [])) for task in sweep.tasks)


def _run(
    trial: optuna.Trial,
    sweep: Sweep,
    study: optuna.Study,
    storage: optuna.storages.BaseStorage,
    workdir: pathlib.Path,
    heartbeat: int,
    prune: bool,
) -> None:
    """Runs a claimed trial and tells the storage how it ended."""
    name = trial.user_attrs["key"]

    def sign() -> None:
        # A storage that is away for a moment is no reason to stop a training.
        with contextlib.suppress(optuna.exceptions.StorageInternalError):
            _beat(storage, trial._trial_id)

    beat = _every(heartbeat, sign)
    start = time.perf_counter()
    try:
        value = _objective(trial, sweep, workdir, beat, prune)
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
    if sweep.searching:
        name = ", ".join(f"{key} {value}" for key, value in trial.params.items())
    done, seconds = _settled_count(sweep, study), time.perf_counter() - start
    _say(f"{done}/{len(sweep.tasks)}  {name}: {outcome} ({seconds:.0f} s)")


def _every(seconds: float, do: Callable[[], None]) -> Callable[[], None]:
    """A function to call often, which acts once in so many seconds."""
    last = -math.inf

    def call() -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            do()

    return call


def _objective(
    trial: optuna.Trial,
    sweep: Sweep,
    workdir: pathlib.Path,
    beat: Callable[[], None],
    prune: bool,
) -> float:
    """Trains the trial's networks; the mean of the metric over its seeds."""
    try:
        fields = sweep.space(trial)
        config = set_fields(sweep.config, fields)
    except Exception as error:  # the user's function may raise anything
        raise TrialError(f"{type(error).__name__}: {error}") from error
    channels = 1 if config.data.colour == "y" else 3
    cost = weight_count(config.model.kernel_sizes, config.model.features, channels)
    trial.set_user_attr("fields", {field: text(value) for field, value in fields.items()})
    trial.set_user_attr("multiply_adds", cost)
    values, seconds = [], 0.0
    for index, seed in enumerate(trial.user_attrs["seeds"]):
        folder = workdir / "trials" / trial_name(fields, seed)
        report = _reporter(trial, folder) if prune and index == 0 else _nothing

        def watch(report=report) -> None:
            beat()
            report()

        config.seed = seed
        changed = {**sweep.fixed, **fields, "seed": seed}
        with _lock(folder, beat) as lock:
            if not (folder / "eval.json").exists():
                _train(_command(sweep, changed, folder), folder, lock, watch)
            check_config(folder, config)
        result = studies.read(folder)
        values.append(_value(sweep, result))
        seconds += result.seconds
        trial.set_user_attr("values", values)
        trial.set_user_attr("seconds", seconds)
    return statistics.mean(values)


def _nothing() -> None:
    pass


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


def _command(sweep: Sweep, fields: Mapping[str, Any], folder: pathlib.Path) -> list[str]:
    return [
        *(sys.executable, "-m", "srcnn_jax.main", f"--config={sweep.config_file}"),
        f"--workdir={folder.absolute()}",
        "--num_processes=1",  # alone, also where a launcher has started several of us
        *(f"--config.{field}={text(value)}" for field, value in fields.items()),
    ]


@contextlib.contextmanager
def _lock(folder: pathlib.Path, beat: Callable[[], None]) -> Iterator[IO[str]]:
    """Waits until nobody else trains in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                beat()
                time.sleep(POLL)
        yield file


def _train(
    command: list[str], folder: pathlib.Path, lock: IO[str], watch: Callable[[], None]
) -> None:
    """Runs a training; raises TrialError with the reason if it fails.

    Whatever `watch` raises, or the worker is sent, stops the training, which saves a checkpoint.
    The training holds the lock too, and so keeps it if the worker is killed.
    """
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock.fileno(),),
            start_new_session=True,  # Ctrl-C reaches it once, from here
        )
        try:
            while True:
                watch()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = process.wait(POLL)
                    break
        except BaseException:
            _stop(process)
            raise
    if code:
        raise TrialError(_reason(code, (folder / "log.txt").read_text(errors="replace")))


def _stop(process: subprocess.Popen) -> None:
    try:
        process.terminate()
        process.wait()
    except BaseException:  # a second Ctrl-C
        process.kill()
        raise


def _reason(code: int, log: str) -> str:
    """The last line that says why a training ended."""
    if code == -signal.SIGKILL:
        return "killed by SIGKILL; out of memory?"
    lines = [line.strip() for line in log.splitlines() if line.strip()] or ["no reason given"]
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (said or lines)[-1] if code > 0 else f"killed by {signal.Signals(-code).name}"


def _reporter(trial: optuna.Trial, folder: pathlib.Path) -> Callable[[], None]:
    """Tells Optuna of the PSNR during training; raises TrialPruned if it says to stop."""
    reported = -1

    def report() -> None:
        nonlocal reported
        for step, psnr in _psnr(folder / "metrics.jsonl"):
            if step > reported:
                reported = step
                trial.report(psnr, step)
                if trial.should_prune():
                    raise optuna.TrialPruned(f"{psnr:.2f} dB at step {step}")

    return report


def _psnr(path: pathlib.Path) -> Iterator[tuple[int, float]]:
    """(step, PSNR) of the lines of a `metrics.jsonl` that somebody may be writing."""
    if path.exists():
        for line in path.read_text().splitlines(keepends=True):
            if '"psnr"' in line and line.endswith("\n"):
                values = json.loads(line)
                yield values["step"], values["psnr"]


def _say(words: str) -> None:
    print(words, flush=True)
