"""The report's tables."""

import dataclasses
import os

from experiments.paper import study
from experiments.report import groups, read, tables
from srcnn_jax import paper


def result(dataset: str, psnr: float | None) -> study.Result:
    both = {"bicubic": {"psnr": 30.0, "ssim": 0.8}, "srcnn": {"psnr": psnr, "ssim": 0.90906}}
    images = [{"name": f"{name}_GT", **both} for name in paper.SRCNN_915_T91["set5", 3]]
    scores = {dataset: {"images": images, "mean": both}}
    return study.Result(None, 3, scores, {}, seconds=1.0, patches=64, weights=8032)


def test_scores_beside_the_papers():
    frame = tables.scores_table("set5", result("set5", 32.5)).set_index("image")
    assert list(frame.index) == [
        *("baby", "bird", "butterfly", "head", "woman"),
        *("mean", "paper 9-5-5 ImageNet", "difference"),
    ]
    butterfly = frame.loc["butterfly"]
    assert list(butterfly) == ["30.00", "32.50", "27.58", "+4.92", "0.8000", "0.9091"]
    assert list(frame.loc["mean"])[:4] == ["30.00", "32.50", "32.39", "+0.11"]
    assert list(frame.loc["paper 9-5-5 ImageNet"])[:2] == ["30.39", "32.75"]
    assert list(frame.loc["difference"]) == ["-0.39", "-0.25", "", "", "-0.0682", "+0.0001"]
    assert tables.format_difference(-0.00001, "psnr") == "+0.00"
    frame = tables.scores_table("mine", result("mine", None)).set_index("image")
    assert list(frame.loc["mean"]) == ["30.00", "∞", "0.8000", "0.9091"]


def test_the_summary_has_bicubic_and_the_paper_beside_ours(finished):
    run = read.read_run(finished)
    run = dataclasses.replace(
        run,
        result=dataclasses.replace(
            result("set5", 32.5), folder=finished, validation={"dataset": "set5", "srcnn": 32.5}
        ),
    )
    better = dataclasses.replace(
        run,
        result=dataclasses.replace(
            result("set5", 32.75), folder=finished.with_name("better"), validation={}
        ),
    )
    metric = read.Metric("set5")
    run.result.validation.update(bicubic=30.0)
    better.result.validation.update(run.result.validation)
    (comparison,) = groups.compare(groups.group_runs([run, better]), metric)
    paths = [group.path for group in comparison.groups]
    names = dict(zip(paths, ["better", "ours"], strict=True)) | {"set5": "set5"}
    found = tables.summarise(comparison, names)
    assert found.columns == ["set5 PSNR", "set5 SSIM"]
    assert [(row.kind, row.label, list(row.cells)) for row in found.rows] == [
        ("other", "bicubic", ["30.00", "0.8000"]),
        ("other", "paper 9-1-5 T91", ["32.39", "–"]),
        ("other", "paper 9-5-5 ImageNet", ["32.75", "0.9090"]),
        ("best", "better", ["32.75", "0.9091"]),
        ("ours", "ours", ["32.50", "0.9091"]),
    ]
    assert ("network", "9-1-5, 64-32") in found.same
    assert tables.describe(comparison, names) == (
        "better is the best of 2 by PSNR on set5 x3: 32.75 dB. Bicubic has 30.00 dB, "
        "the paper's 9-1-5 of T91 32.39 dB and the paper's 9-5-5 of ImageNet 32.75 dB."
    )


def test_short_names_are_unique():
    assert tables.labels(["a/x3", "b/x3", "b/x2", "set5"]) == {
        **{"a/x3": "a/x3", "b/x3": "b/x3"},
        **{"b/x2": "x2", "set5": "set5"},
    }
    place = os.path.abspath("a/x3")
    assert tables.labels(["a/x3", place]) == {"a/x3": "x3", place: "x3"}
