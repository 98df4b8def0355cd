"""TPAMI's Tables 2, 3 and 4 of made-up results."""

import dataclasses

from made_runs import finished

from experiments.paper import study, tables_2_3_4


def test_table(tmp_path):
    run = finished(tmp_path / "run", 32.5)
    results = {scale: [dataclasses.replace(run, scale=scale)] for scale in (2, 3, 4)}
    frame = tables_2_3_4.table_of_means(
        {key: results[scale] for key in tables_2_3_4.EXPERIMENTS for scale in key[1:]}
    )
    assert len(frame) == 54
    first = frame.iloc[0]
    assert (first["bicubic, paper"], first["SRCNN 9-5-5, paper"]) == ("33.66", "36.66")
    assert first["9-5-5, difference"] == "-4.16"


def test_a_test_set_that_smoke_runs_do_not_have_is_left_out(tmp_path):
    run = finished(tmp_path / "run", 32.5)
    scores = {study.SMOKE_TEST: run.scores[study.SMOKE_TEST]}
    results = {
        key: [dataclasses.replace(run, scale=key[1], scores=scores)]
        for key in tables_2_3_4.EXPERIMENTS
    }
    frame = tables_2_3_4.table_of_means(results)
    assert set(frame["set"]) == {"set5"}
    assert len(frame) == 18
