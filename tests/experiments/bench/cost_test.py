"""The plot of how time and memory grow."""

import numpy as np
import pytest

from experiments.bench import cost


def test_slope_is_the_exponent_of_a_power_law():
    sizes = [16, 32, 64, 256]
    assert cost.slope(sizes, [3 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert cost.slope(sizes, [7.0] * 4) == pytest.approx(0)


def test_plot_has_time_and_memory_of_every_panel():
    costs = {n: cost.Cost(1e-3 * n, 2**20 * (300 + n)) for n in (16, 32, 64)}
    figure = cost.plot({"patches": costs, "n1": costs}, "a machine")
    axes = np.reshape(figure.axes, (2, 2))
    np.testing.assert_allclose(axes[0, 0].lines[0].get_xydata(), [(n, n) for n in costs])
    np.testing.assert_allclose(axes[1, 1].lines[0].get_ydata(), [316, 332, 364])
    assert [axis.get_title() for axis in axes[0]] == ["slope 1.00"] * 2
    assert [axis.get_xlabel() for axis in axes[1]] == ["patches", "n1"]


def test_every_case_differs_in_one_size():
    for cases in cost.PANELS.values():
        (function,) = {function for function, _ in cases.values()}
        arguments = [arguments for _, arguments in cases.values()]
        keys = {key for key in arguments[0] if len({str(each[key]) for each in arguments}) > 1}
        assert function in ("train_ours", "predict_ours")
        assert len(keys) == 1 or keys == {"height", "width"}
