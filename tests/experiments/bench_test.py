"""The benchmark's arithmetic and its table; the contestants are made up."""

import pytest

from experiments import machine
from experiments.bench import compare as bench


class Contestant:
    """Takes so many seconds a unit."""

    def __init__(self, seconds: float, missing: str | None = None):
        self._seconds, self.missing, self.stopped = seconds, missing, False

    def seconds(self, units: int) -> float:
        assert units in (5, 20)
        return self._seconds

    def stop(self) -> None:
        self.stopped = True


def test_ratios_and_fractions(capsys):
    contestants = {
        "ours, SGD": Contestant(0.010),
        "PyTorch": Contestant(0.030),
        "PyTorch, compiled": Contestant(0.020),
        "OpenVINO": Contestant(0.001, missing="No module named 'openvino'"),
    }
    product = Contestant(2 * machine.GPU_SIDE**3 / 100e9)  # 100 GF/s
    result = bench.compete("training step", contestants, 20, 3, 0.5e9, product)
    assert result["matrix_product_gflops"] == pytest.approx(100)
    ours, best = (result["contestants"][name] for name in ("ours, SGD", "PyTorch, compiled"))
    assert ours["median_ms"] == pytest.approx(10)
    assert ours["times_over_best_peer"] == pytest.approx(2)
    assert ours["of_matrix_product"] == pytest.approx(0.5)
    assert len(ours["times_ms"]) == 3
    assert best["times_over_best_peer"] == pytest.approx(1)
    assert "OpenVINO" not in result["contestants"]
    out = capsys.readouterr().out
    assert "missing: No module named 'openvino'" in out
    assert "2.00 x best peer" in out
    assert all(each.stopped for each in contestants.values())


def test_flop_are_those_of_a_direct_convolution():
    """22.76 and 149.8 million for a patch of 33 x 33, 16,064 for a pixel."""
    assert bench._training_flop((9, 1, 5), "valid", 33, 1) == pytest.approx(22.76e6, rel=1e-3)
    assert bench._training_flop((9, 5, 5), "valid", 33, 1) == pytest.approx(149.8e6, rel=1e-3)
    assert sum(bench.layer_flop((9, 1, 5), "same", 10, 10)) == 100 * 16_064


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pipeline", "--gpu"], "--gpu is for train, ensemble and predict, not for pipeline"),
        (["train", "--gpu"], "--gpu needs an NVIDIA GPU"),
        (["train", "--rounds=1"], "--rounds is at least 2, for a spread, not 1"),
        (["trian"], "invalid choice: 'trian'"),
    ],
)
def test_wrong_flags(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(bench.runner, "list_gpus", list)
    monkeypatch.setattr("sys.argv", ["bench", *arguments])
    with pytest.raises(SystemExit, match="2"):
        bench.main()
    assert message in capsys.readouterr().err
