"""What a sweep found: the Pareto front, the table, the best config."""

import itertools

import optuna
import pandas as pd
import pytest
from made_sweeps import GRID, SEARCH, write
from optuna.trial import TrialState

from experiments.runner import text
from experiments.sweep import file, plots, table, trials


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
        ["1", *"955", "5000", "32.900", "1", "50", "*", "failed: diverged"],
        ["2", *"915", "1000", "32.600 ± 0.141", "2", "10", "*", ""],
        ["3", *"935", "3000", "32.400", "1", "30", "", "failed: diverged"],
    ]
    latex = (tmp_path / "table.tex").read_text().splitlines()
    assert latex[2].startswith("\\# & f1 & f2 & f3 & multiply-adds & PSNR on set5 x3, dB & runs &")
    assert latex[5].startswith("2 & 9 & 1 & 5 & 1000 & 32.600 ± 0.141 & 2 & 10 & * &")
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
    for name in ("cost.png", "fields.png", "importance.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    what = table.write_best(read, study, tmp_path / "best.py")
    assert what == "kernel_sizes 9,1,5: 32.600 ± 0.141"  # all of its seeds are there


def test_networks_of_several_depths_have_a_column_for_each_layer(tmp_path):
    text = GRID.replace(
        '"model.kernel_sizes": [(9, f2, 5) for f2 in (1, 3, 5)]',
        '"model.kernel_sizes,model.features": [((9, 5), (8,)), ((9, 1, 5), (8, 4))]',
    )
    read = file._read(write(tmp_path, text))
    unknown = {"multiply_adds": None, "values": [], "seconds": 0.0, "front": None, "notes": []}
    found = [{"params": point, **unknown} for point in read.points]
    frame = table.table_of_points(read, found)
    assert list(frame.columns[:6]) == ["#", "f1", "f2", "f3", "n1", "n2"]
    assert frame.iloc[:, :6].to_numpy().tolist() == [[1, *"95–8–"], [2, *"91584"]]


def test_fields_that_change_together_count_as_one():
    numbers = pd.DataFrame(
        {
            "f1": [9, 9, 9, 9],
            "f2": [1, 1, 3, 3],
            "n1": [32, 64, 32, 64],
            "n2": [16, 32, 16, 32],
            "rate": [0.1, 0.3, 0.2, 0.4],
            "seen": [4, 3, 2, 1],
            "depth": [None, None, 1, 1],
        }
    )
    assert table.varied(numbers) == {
        "f2": "f2",
        "n1, n2": "n1",
        "rate": "rate",  # all different, as `seen`, and in another order
        "seen": "seen",
    }
    assert table.varied(pd.DataFrame({"n1": [8, 16, 32], "n2": [4, 8, 16]})) == {"n1, n2": "n1"}


def test_importance_is_of_the_fields_and_not_of_the_scale_of_their_values():
    names = ["f1", "f3", "n1", "n2", "rate"]
    points = [p for p in itertools.product([5, 9], [3, 5], [8, 16, 128], [4, 8], [1e-4, 1e-2])]
    numbers = pd.DataFrame(points, columns=names)
    values = [[32 + 0.2 * (f3 == 5) + 0.1 * (n1 > 8)] for _, f3, n1, _, _ in points]
    shares = table.importances(numbers, values)
    assert set(shares) == set(names)
    assert sum(shares.values()) == pytest.approx(1)
    # By hand: a half has f3 = 5, and two thirds have n1 > 8.
    of_f3, of_n1 = 0.2**2 / 4, 0.1**2 * 2 / 9
    assert shares["f3"] == pytest.approx(of_f3 / (of_f3 + of_n1), abs=0.02)
    assert shares["n1"] == pytest.approx(of_n1 / (of_f3 + of_n1), abs=0.02)
    assert table.importances(numbers, [[32.0] for _ in points]) == {}


def test_a_search_is_drawn_over_its_trials(tmp_path):
    start = SEARCH + '\nSTART = [{"n1": 64}]\n'
    read = file._read(write(tmp_path, start))
    storage = optuna.storages.InMemoryStorage()
    study = trials.open_study(read, storage)
    trials.fill(read, study)
    for index in range(5):
        trial = trials.claim(study, storage)
        fields = read.space(trial)
        if index == 4:
            trial.report(20.0, 10)
            study.tell(trial, state=TrialState.PRUNED)
            continue
        trial.set_user_attr("fields", {name: text(value) for name, value in fields.items()})
        trial.set_user_attr("multiply_adds", 1000 + index)
        trial.set_user_attr("values", [32.0 + index])
        trial.set_user_attr("seconds", 1.0)
        study.tell(trial, 32.0 + index)
    seen = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "plot_search", lambda *args: seen.update(search=args))
        patch.setattr(plots, "plot_cost", lambda points, *_: seen.update(points=points))
        table.write(read, study, tmp_path)
    values, pruned, references, measure, _ = seen["search"]
    assert values == [(1, 32.0), (2, 33.0), (3, 34.0), (4, 35.0)]
    assert (pruned, references) == ([(5, 20.0)], [(1, 32.0)])  # START is 9-1-5, 64-32
    assert measure == "PSNR on set5 x3, dB"
    # A search may draw a point twice, so their number is not known.
    assert [point.name for point in seen["points"] if point.is_reference] == ["9-1-5, 64-32"]
