"""The paper's numbers are consistent with each other, and ours stand beside them."""

import numpy as np
import pytest

from srcnn_jax import paper


def test_means_are_those_of_the_rows():
    for key, rows in paper.SRCNN_915_T91.items():
        mean = np.mean(list(rows.values()))
        assert abs(mean - paper.SRCNN_915_T91_MEAN[key].psnr) < 0.011, key
        assert len(rows) == {"set5": 5, "set14": 14}[key[0]]


def test_the_large_network_is_the_better_one():
    for key, (bicubic, srcnn) in paper.BICUBIC_AND_SRCNN_955_IMAGENET_MEAN.items():
        assert bicubic.psnr < srcnn.psnr
        assert bicubic.ssim < srcnn.ssim
        if key in paper.SRCNN_915_T91_MEAN:
            assert paper.SRCNN_915_T91_MEAN[key].psnr < srcnn.psnr


def result(psnr: float | None) -> dict:
    """As `eval.json` has it, of two images of Set5 at x3."""
    both = {"bicubic": {"psnr": 30.0, "ssim": 0.8}, "srcnn": {"psnr": psnr, "ssim": 0.95}}
    images = [{"name": f"{name}_GT", **both} for name in ("baby", "mine")]
    return {"scale": 3, "datasets": {"set5": {"source": "d", "images": images, "mean": both}}}


def test_a_result_beside_the_9_1_5_of_the_paper():
    rows = paper.beside_915(result(35.5))
    assert [(row.image, row.metric) for row in rows] == [
        (image, metric) for image in ("baby", "mine", "mean") for metric in ("psnr", "ssim")
    ]
    baby = paper.Comparison("set5", 3, "baby", "psnr", 30.0, 35.5, paper=35.01)
    assert rows[0] == baby
    assert [row.paper for row in rows] == [35.01, None, None, None, 32.39, None]
    assert baby.difference == pytest.approx(0.49)
    assert baby.bicubic_difference is None


def test_a_result_beside_the_9_5_5_of_the_paper():
    psnr, ssim = paper.beside_955(result(32.5))
    assert (psnr.image, psnr.paper_bicubic, psnr.paper) == ("mean", 30.39, 32.75)
    assert psnr.difference == pytest.approx(-0.25)
    assert ssim.bicubic_difference == pytest.approx(-0.0682)
    assert paper.beside_955({**result(32.5), "scale": 5}) == []


def test_a_score_that_is_infinite_has_no_difference():
    row, *_ = paper.beside_915(result(None))
    assert row.ours == np.inf
    assert row.difference is None


def test_table():
    score = {"psnr": 30.0, "ssim": 0.9}
    row = {"name": "baby_GT", "bicubic": score, "srcnn": {"psnr": 35.5, "ssim": 0.95}}
    mean = {"bicubic": score, "srcnn": row["srcnn"]}
    entry = {"source": "folder d", "images": [row], "mean": mean}
    text = paper.format_table({"scale": 3, "datasets": {"set5": entry}})
    assert "baby              30.00  0.9000    35.50  0.9500    35.01       +0.49" in text
    assert "32.75  0.9090   (ImageNet)" in text
    text = paper.format_table({"scale": 3, "datasets": {"sample": entry}})
    assert "paper" not in text


def test_a_result_of_another_protocol_has_no_scores_of_the_paper():
    protocol = {"degradation": {}, "crop": 3, "border": 3, "peak": 255}
    same = {**result(35.5), "protocol": protocol}
    assert paper.why_not_beside(same) == paper.why_not_beside(result(35.5)) == ""
    assert paper.beside_915(same) == paper.beside_915(result(35.5))
    shaved = {**same, "protocol": {**protocol, "border": 6}}
    assert paper.why_not_beside(shaved) == "not beside the paper's numbers: its border is 6, not 3"
    assert [row.paper for row in paper.beside_915(shaved)] == [None] * 6
    assert paper.beside_955(shaved) == []
    assert "paper 9-1-5" not in paper.format_table(shaved)
