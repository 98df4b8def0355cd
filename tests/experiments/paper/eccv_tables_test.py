"""ECCV's Tables 1 and 2 of made-up results."""

import dataclasses

from made_runs import finished

from experiments.paper import eccv_tables, study


def test_table(tmp_path):
    run = finished(tmp_path / "run", 32.5)
    results = {scale: [dataclasses.replace(run, scale=scale)] for scale in (2, 3, 4)}
    frame = eccv_tables.table_of_images(results)
    assert len(frame) == 3 * 6 + 15
    assert list(frame[frame["image"] == "baby"]["SRCNN, paper"]) == ["38.30", "35.01", "32.98"]


def test_a_test_set_that_smoke_runs_do_not_have_is_left_out(tmp_path):
    run = finished(tmp_path / "run", 32.5)
    run = dataclasses.replace(run, scores={study.SMOKE_TEST: run.scores[study.SMOKE_TEST]})
    results = {scale: [dataclasses.replace(run, scale=scale)] for scale in (2, 3, 4)}
    frame = eccv_tables.table_of_images(results)
    assert set(frame["set"]) == {"set5"}
    assert len(frame) == 3 * 6
