"""The record of trials: who takes which, and what is refused."""

import optuna
import pytest
from made_sweeps import GRID, SEARCH, write
from optuna.trial import TrialState

from experiments.sweep import file, trials


def test_two_workers_that_begin_at_once_do_every_task_once(tmp_path):
    """What `fill` of two workers may do to one study, in one process."""
    read = file._read(write(tmp_path, GRID))
    storage = optuna.storages.InMemoryStorage()
    study = trials.open_study(read, storage)
    before = study.get_trials
    study.get_trials = lambda *args, **kwargs: []  # the other one has seen none
    trials.fill(read, study)
    trials.fill(read, study)
    study.get_trials = before
    assert len(study.trials) == 12
    trials.fill(read, study)
    assert len(study.trials) == 12
    claimed = []
    while trial := trials.claim(study, storage):
        claimed.append(trial.user_attrs["key"])
        if len(claimed) == 2:  # stopped: it does not count, and the other one is still there
            study.tell(trial, state=TrialState.FAIL)
        elif len(claimed) == 3:
            trial.set_user_attr("reason", "diverged")
            study.tell(trial, state=TrialState.FAIL)
    keys = [task.key for task in read.tasks]
    assert sorted(claimed) == sorted([*keys, keys[1]])


def test_a_stopped_trial_waits_and_keeps_what_was_drawn_and_reported(tmp_path):
    read = file._read(write(tmp_path, SEARCH))
    for where in (f"sqlite:///{tmp_path}/sweep.db", str(tmp_path / "journal.log")):
        storage = trials.open_storage(where, 60)
        study = trials.open_study(read, storage)
        trials.fill(read, study)
        trial = trials.claim(study, storage)
        fields = read.space(trial)
        trial.report(30.0, 1)
        trials.give_back(storage, trial._trial_id)
        assert study.trials[0].state == TrialState.WAITING
        trials.fill(read, study)
        assert len(study.trials) == 6
        again = trials.claim(study, storage)
        assert (again.number, read.space(again)) == (0, fields)
        assert study.trials[0].intermediate_values == {1: 30.0}
        study.tell(again, 31.0)
        trials.give_back(storage, trial._trial_id)  # by a worker that was taken for dead
        assert study.trials[0].state == TrialState.COMPLETE


def test_another_config_in_the_same_storage_is_an_error(tmp_path):
    storage = optuna.storages.InMemoryStorage()
    trials.open_study(file._read(write(tmp_path, GRID)), storage)
    more_seeds = GRID.replace("SEEDS = 2", "SEEDS = 3")
    trials.open_study(file._read(write(tmp_path, more_seeds)), storage)
    for old, new, words in (
        ('steps": 20', 'steps": 40', "train.steps 20, not 40"),
        ("(1, 3, 5)", "(1, 3)", "model.kernel_sizes 9,1,5; 9,3,5; 9,5,5, not 9,1,5; 9,3,5:"),
    ):
        with pytest.raises(ValueError, match=words):
            trials.open_study(file._read(write(tmp_path, GRID.replace(old, new))), storage)


def test_a_storage_s_url_that_is_none():
    with pytest.raises(ValueError, match="--storage my-sql://x is no URL"):
        trials.open_storage("my-sql://x", 60)
