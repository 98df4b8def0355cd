"""Runs that differ in the seed alone are one."""

import dataclasses
import pathlib

import pytest

from experiments.report import groups, read


@pytest.fixture
def run(finished):
    return read.read_run(finished)


def named(run, folder: str, seed: int, scale: float = 1.0, **config):
    """The run under another name, with another seed, and with its scores times `scale`."""
    scores = {
        dataset: {**each, "mean": {"bicubic": each["mean"]["bicubic"], "srcnn": {"psnr": scale}}}
        for dataset, each in run.result.scores.items()
    }
    result = dataclasses.replace(run.result, folder=pathlib.Path(folder), scores=scores)
    return dataclasses.replace(run, result=result, config={**run.config, "seed": seed, **config})


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        ("trials/f2=1,seed=0", "trials/f2=1,seed=1", "f2=1"),
        ("study/x3_9-1-5_64-32_0", "study/x3_9-1-5_64-32_1", "x3_9-1-5_64-32"),
        ("runs/x3_s0", "runs/x3_s1", "x3"),
        ("x3/seed0", "x3/seed1", "x3"),
        ("x3/0", "x3/1", "x3"),
    ],
)
def test_seeds_are_known_by_the_names_of_the_folders(run, first, second, name):
    (group,) = groups.group_runs([named(run, second, 1, 3.0), named(run, first, 0, 2.0)])
    assert pathlib.Path(group.path).name == name
    assert [each.seed for each in group.runs] == [0, 1]
    assert group.first.folder == first
    dataset = run.validation
    assert group.values(read.Metric(dataset)) == [2.0, 3.0]
    assert group.result().mean(dataset) == 2.5


def test_a_single_run_keeps_its_name_but_for_the_seed_of_a_sweep(run):
    runs = [named(run, "x3_s1", 1), named(run, "trials/f2=1,seed=0", 0)]
    names = [pathlib.Path(group.path).name for group in groups.group_runs(runs)]
    assert names == ["x3_s1", "f2=1"]


def test_other_configs_and_other_names_are_no_seeds(run):
    runs = [named(run, "a_0", 0), named(run, "b_1", 1), named(run, "c/a_1", 1)]
    assert len(groups.group_runs(runs)) == 3
    runs = [named(run, "a_0", 0), named(run, "a_1", 1, scale=2)]
    assert len(groups.group_runs(runs)) == 1
    runs[1].config["eval"] = {"datasets": "other"}
    assert [pathlib.Path(each.path).name for each in groups.group_runs(runs)] == ["a_0", "a_1"]


def test_the_best_is_first_and_only_what_is_alike_is_compared(run):
    metric = read.Metric(run.validation)
    scores = {"a_0": 1.0, "b_0": 3.0, "c_0": 2.0}
    runs = [named(run, name, 0, score) for name, score in scores.items()]
    other = dataclasses.replace(
        runs[0],
        result=dataclasses.replace(runs[0].result, folder=pathlib.Path("d_0"), scale=2),
    )
    first, second = groups.compare(groups.group_runs([*runs, other]), metric)
    assert [pathlib.Path(group.path).name for group in first.groups] == ["b_0", "c_0", "a_0"]
    assert second.scale == 2
    (without,) = groups.compare(groups.group_runs(runs), read.Metric("set14"))
    assert without.metric == read.Metric()  # PSNR on the validation set, which all have


def test_the_mean_of_curves_has_the_points_of_all():
    curves = [[(64, 30.0), (128, 31.0), (256, 33.0)], [(64, 31.0), (128, 31.5)]]
    assert groups.mean_curve(curves) == [(64, 30.5, 30.0, 31.0), (128, 31.25, 31.0, 31.5)]
