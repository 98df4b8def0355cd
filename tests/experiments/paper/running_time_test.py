"""Quality and running time: the measurement, the table, the picture."""

import numpy as np

from experiments.paper import running_time
from srcnn_jax import datasets, evaluate, weights


def test_running_time(tmp_path):
    rng = np.random.default_rng(0)
    layers = {
        f"conv{i}": {
            "kernel": rng.normal(size=shape).astype("f4"),
            "bias": np.zeros(shape[-1], "f4"),
        }
        for i, shape in enumerate(((3, 3, 1, 4), (3, 3, 4, 1)), start=1)
    }
    network = weights.Network(layers, "same", 3)
    pixels = rng.integers(0, 256, (30, 36), np.uint8)
    dataset = datasets.Dataset("a", "", "", "gray", (("a", pixels),))
    (test,) = evaluate.create_test_images(dataset, running_time.SCALE, "y")
    seconds, rate = running_time.measure({"9-1-5": network}, [test] * 3, "smoke")
    assert list(seconds) == ["9-1-5", "bicubic"]
    assert min(*seconds.values(), rate) > 0

    frame = running_time.table_of_seconds({"9-1-5": 29.2}, {"9-1-5": 0.05, "bicubic": 0.0275})
    first = ["9-1-5", "29.14", "29.20", "0.39", "0.077", "0.050", "5.0"]
    assert frame.iloc[0].tolist() == first
    assert frame.iloc[3].tolist() == ["A+", "29.13", "–", "0.97", "–", "–", "–"]

    figure = running_time.plot({"9-1-5": running_time.Point(29.2, 0.0775)}, "note")
    ours, paper, others = figure.axes[0].lines
    assert (ours.get_xdata()[0], ours.get_ydata()[0]) == (0.0775, 29.2)
    assert paper.get_xdata().tolist() == [0.39, 1.18, 2.78]
    assert others.get_ydata().tolist() == [29.13]
