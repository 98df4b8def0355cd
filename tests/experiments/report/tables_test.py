"""The report's tables."""

from experiments.paper import study
from experiments.report import read, tables
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


def test_summary(finished):
    run = read.read_run(finished)
    names = tables.labels([run.folder, *run.result.scores])
    (row,) = tables.summary([run], names).to_dict("records")
    assert (row["run"], row["network"], row["filters"]) == (finished.name, "9-1-5", "64-32")
    assert (row["trained on"], row["patches"], row["seconds"]) == ("t91", "576,000", "900")
    mean = run.result.mean(run.validation)
    assert row[f"{names[run.validation]} PSNR"] == f"{mean:.2f}"


def test_short_names_are_unique():
    assert tables.labels(["a/x3", "b/x3", "b/x2", "set5"]) == {
        **{"a/x3": "a/x3", "b/x3": "b/x3"},
        **{"b/x2": "x2", "set5": "set5"},
    }
