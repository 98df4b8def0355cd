"""What a sweep found: the Pareto front, the table, the best config."""

import optuna
import pandas as pd
import pytest
from made_sweeps import GRID, write
from optuna.trial import TrialState

from experiments.runner import text
from experiments.sweep import file, table, trials


def test_pareto_by_hand():
    points = [(10, 1.0), (20, 3.0), (15, 0.5), (20, 2.0), (30, 3.0), (40, 4.0), (10, 1.0)]
    assert table.pareto(points) == [0, 1, 5]
    assert table.pareto([]) == []


def test_table_and_best_by_hand(tmp_path):
    read = file._read(write(tmp_path, GRID))
    storage = optuna.storages.InMemoryStorage()
    study = trials.open_study(read, storage)
    with pytest.raises(ValueError, match="no trial is complete yet"):
        table.write_best(read, study, tmp_path / "best.py")
    trials.fill(read, study)
    scores = {(1, 0): 32.5, (1, 1): 32.7, (3, 0): 32.4, (5, 0): 32.9}
    while trial := trials.claim(study, storage):
        (sizes,) = file.Sweep.fields(
            read, study.trials[trial.number].system_attrs["fixed_params"]
        ).values()
        read.space(trial)
        trial.set_user_attr("fields", {"model.kernel_sizes": text(sizes)})
        trial.set_user_attr("multiply_adds", 1000 * sizes[1])
        score = scores.get((sizes[1], trial.user_attrs["seeds"][0]))
        if score is None:
            trial.set_user_attr("reason", "diverged")
            study.tell(trial, state=TrialState.FAIL)
        else:
            trial.set_user_attr("values", [score])
            trial.set_user_attr("seconds", 10.0 * sizes[1])
            study.tell(trial, score)
    # A search may draw a point twice: the same runs, found finished.
    again = next(t for t in study.get_trials() if t.value == scores[1, 0])
    again.user_attrs = {**again.user_attrs, "key": "trial 9"}
    study.add_trial(again)
    table.write(read, study, tmp_path)
    lines = (tmp_path / "table.md").read_text().splitlines()[-3:]
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in lines] == [
        ["9,5,5", "5000", "32.900", "1", "50", "*", "failed: diverged"],
        ["9,1,5", "1000", "32.600 ± 0.141", "2", "10", "*", ""],
        ["9,3,5", "3000", "32.400", "1", "30", "", "failed: diverged"],
    ]
    frame = pd.read_csv(tmp_path / "table.csv")
    assert list(frame.columns) == [
        "f1", "f2", "f3", "psnr", "psnr_std", "seeds", "weights", "multiply_adds", "seconds",
        "pareto", "notes",
    ]  # fmt: skip
    assert list(frame["f2"]) == [5, 1, 3]
    assert list(frame["psnr"]) == [32.9, 32.6, 32.4]
    assert frame["psnr_std"][1] == pytest.approx(0.1414, abs=1e-4)
    assert list(frame["seeds"]) == [1, 2, 1]
    assert list(frame["weights"]) == [57184, 8032, 24416]
    assert list(frame["pareto"]) == [True, True, False]
    for name in ("cost.png", "importance.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    what = table.write_best(read, study, tmp_path / "best.py")
    assert what == "kernel_sizes 9,1,5: 32.600 ± 0.141"  # all of its seeds are there
