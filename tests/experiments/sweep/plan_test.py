"""What a sweep is planned to take, and how long it still takes."""

import datetime

import optuna
import pytest
from made_sweeps import GRID, SEARCH, write
from optuna.trial import TrialState

from experiments.sweep import cli, file, plan, run, trials


def test_the_plan(tmp_path, monkeypatch):
    monkeypatch.setattr(plan.machine, "rate", lambda: 100.0)
    text = plan.plan(file._read(write(tmp_path, GRID)), None)
    first, *points, last = text.splitlines()
    assert first.startswith("6 runs of ")
    assert first.endswith("configs/default.py:x3, for the best PSNR on set5")
    assert points[0] == "  kernel_sizes=9-1-5  about 21 s"
    assert last == "about 3 min in all on this machine's CPU (100 GF/s in a matrix product)"
    # Measured at 195 GF/s, in ms; within a fifth.
    config = file._read(tmp_path / "study.py").config
    for f2, step in {1: 39, 3: 152, 5: 207}.items():
        config.model.kernel_sizes, config.train.steps = (9, f2, 5), 9000
        expected = plan.STARTUP + 9 * step
        assert plan.seconds_of_run(config, 195.0) == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_dry_run_says_what_is_done_and_makes_nothing(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plan.machine, "rate", lambda: 100.0)
    monkeypatch.setattr(file, "_check", lambda sweep: None)
    given = [str(write(tmp_path, GRID)), f"--workdir={tmp_path / 'out'}", "--dry_run"]
    args = cli.parse(given + ([f"--storage={tmp_path}/out/log"] if kind == "journal" else []))
    assert run.main(args) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("about 3 min in all")
    assert not (tmp_path / "out").exists()

    read = file._read(args.sweep)
    storage = trials.open_storage(args.storage, 60)
    study = trials.open_study(read, storage)
    trials.fill(read, study)
    for value in (32.0, None):
        trial = trials.claim(study, storage)
        if value is None:
            trial.set_user_attr("reason", "diverged")
        state = TrialState.COMPLETE if value else TrialState.FAIL
        study.tell(trial, value, state=state)
    trials.claim(study, storage)
    assert run.main(args) == 0
    _, *points, last = capsys.readouterr().out.splitlines()
    assert [point.partition("  about ")[2] for point in points] == [
        "21 s  1 of 2 done",
        "26 s  0 of 2 done, 1 failed",
        "27 s  0 of 2 done, 1 running",
    ]
    assert last.startswith("1 of 6 done, 1 failed, 1 running, about ")
    assert " for the rest on this machine" in last
    other = GRID.replace('steps": 20', 'steps": 40')
    write(tmp_path, other)
    assert run.main(args) == 1
    assert "with train.steps 20, not 40" in capsys.readouterr().err


def test_the_time_left_by_hand(tmp_path):
    read = file._read(write(tmp_path, GRID))
    storage = optuna.storages.InMemoryStorage()
    study = trials.open_study(read, storage)
    keys = [task.key for task in read.tasks]
    estimates = dict(zip(keys, [100.0, 200.0, 400.0, 100.0, 200.0, 400.0], strict=True))
    assert plan.seconds_left(estimates, study, 2.0, workers=1) == 2 * 1400
    trials.fill(read, study)
    study.tell(trials.claim(study, storage), 32.0)
    running = trials.claim(study, storage)
    ago = datetime.datetime.now() - datetime.timedelta(seconds=100)
    storage._get_trial(running._trial_id).datetime_start = ago
    left = plan.seconds_left(estimates, study, 1.0, workers=2)
    assert left == pytest.approx((100 + 400 + 100 + 200 + 400) / 2, abs=5)
    for task in keys[2:]:
        assert trials.claim(study, storage).user_attrs["key"] == task
    left = plan.seconds_left(estimates, study, 1.0, workers=5)
    assert left == pytest.approx(400, abs=5)  # the longest
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, 32.0)
    assert plan.seconds_left(estimates, study, 1.0, workers=1) == 0


def test_the_number_of_workers_by_hand():
    study = optuna.create_study()
    zero = datetime.datetime(2026, 1, 1)

    def add(start, end, state=TrialState.COMPLETE):
        frozen = optuna.trial.create_trial(state=state, value=0.0 if end else None)
        frozen.datetime_start = zero + datetime.timedelta(seconds=start)
        frozen.datetime_complete = end and zero + datetime.timedelta(seconds=end)
        study.add_trial(frozen)

    add(100, 200)  # the one that is asked about
    add(0, 99)
    add(50, 150)
    assert plan.workers_during(study, 0) == 1.5
    add(175, None, TrialState.RUNNING)
    assert plan.workers_during(study, 0) == 1.75
    add(110, None, TrialState.WAITING)
    assert plan.workers_during(study, 0) == 1.75


def test_tasks_that_a_search_has_not_drawn_take_as_long_as_its_examples(tmp_path):
    text = SEARCH + '\nSEEDS = 2\nSTART = [{"n1": 64}]\n'
    estimates = plan.seconds_of_tasks(file._read(write(tmp_path, text)), rate=1.0)
    assert list(estimates) == [f"trial {index}" for index in range(6)]
    first, *others = estimates.values()
    assert len(set(others)) == 1
    assert 2 * plan.STARTUP < others[0] < first  # no other is as wide


def test_the_pace_is_that_of_all_trials():
    pace = plan.Pace()
    assert pace.factor is None
    pace.add(10.0, 30.0)
    pace.add(30.0, 30.0)
    assert pace.factor == 1.5
