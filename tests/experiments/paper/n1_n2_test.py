"""TPAMI's Table 1: the seconds of an image beside the paper's."""

from made_runs import finished

from experiments.paper import n1_n2, study


def test_table(tmp_path):
    results = {
        name: [finished(tmp_path / name, 32.6, features=tuple(map(int, name.split("-"))))]
        for name in n1_n2.EXPERIMENTS
    }
    frame = study.compare(results, n1_n2.PUBLISHED)
    seconds = {"128-64": 0.2, "64-32": 0.05, "32-16": 0.02, "bicubic": 0.01}
    frame = n1_n2.with_seconds(frame, seconds)
    assert frame["s an image, paper"].tolist() == ["0.60", "0.18", "0.05"]
    assert frame["s an image, ours"].tolist() == ["0.210", "0.060", "0.030"]
    assert frame["paper / ours"].tolist() == ["2.9", "3.0", "1.7"]
    assert "seconds of training" in frame
