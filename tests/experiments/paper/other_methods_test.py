"""All methods of the paper's tables beside our networks."""

import dataclasses

from made_runs import finished

from experiments.paper import other_methods, tables_2_3_4
from srcnn_jax import paper


def test_the_papers_bicubic_and_srcnn_are_those_of_the_package():
    published = other_methods.published()
    for (dataset, scale), pair in paper.BICUBIC_AND_SRCNN_955_IMAGENET_MEAN.items():
        for method, score in zip(("Bicubic", "SRCNN"), pair, strict=True):
            assert published[dataset, scale, method] == score._asdict()
    assert {method for _, _, method in published} == set(other_methods.METHODS)
    assert {scale for _, scale, method in published if method == "SC"} == {3}
    assert len(published) == 9 * 6 + 3


def test_table(tmp_path):
    run = finished(tmp_path / "run", 32.6)
    results = {
        (sizes, scale): [dataclasses.replace(run, scale=scale)]
        for sizes, scale in tables_2_3_4.EXPERIMENTS
    }
    frame = other_methods.table_of_methods(results)
    assert len(frame) == 54
    row = frame.iloc[1]
    assert [row["set"], row["metric"], row["scale"]] == ["set5", "PSNR", 3]
    assert row.iloc[3:].tolist() == [
        *("30.39", "31.42", "31.84", "32.28", "31.92", "32.59", "32.75", "32.60", "32.60", "SRCNN")
    ]
    assert frame.iloc[0]["SC"] == "–"
    assert frame.iloc[2]["best"] == "ours 9-1-5, ours 9-5-5"
