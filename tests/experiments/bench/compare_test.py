"""The benchmark's arithmetic and its table; the contestants are made up."""

import pytest

from experiments import machine, runner
from experiments.bench import __main__ as command
from experiments.bench import compare, train


class MadeUp:
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
        "ours, SGD": MadeUp(0.010),
        "PyTorch": MadeUp(0.030),
        "PyTorch, compiled": MadeUp(0.020),
        "OpenVINO": MadeUp(0.001, missing="No module named 'openvino'"),
    }
    product = MadeUp(2 * machine.GPU_SIDE**3 / 100e9)  # 100 GF/s
    competition = compare.Competition("training step", contestants, 20, 0.5e9, product)
    result = compare.compete(competition, 3)
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
    for network, flop in (("915", 22.76e6), ("955", 149.8e6)):
        case = {**compare.case_of(f"x3,{network},paper"), "batch_size": 1}
        assert case["patch_size"] == 33
        assert train.training_flop(case) == pytest.approx(flop, rel=1e-3)
    assert sum(compare.layer_flop(compare.case_of("x3"), "same", 10, 10)) == 100 * 16_064


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["pipeline", "--gpu"],
            "--gpu is for train, vmap, preconditioner and predict, not for pipeline",
        ),
        (["train", "--gpu"], "--gpu needs an NVIDIA GPU"),
        (["train", "--rounds=1"], "--rounds is at least 2, for a spread, not 1"),
        (["trian"], "invalid choice: 'trian'"),
    ],
)
def test_wrong_flags(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(runner, "list_gpus", list)
    monkeypatch.setattr("sys.argv", ["bench", *arguments])
    with pytest.raises(SystemExit, match="2"):
        command.main()
    assert message in capsys.readouterr().err
