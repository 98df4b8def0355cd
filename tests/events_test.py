"""What TensorBoard shows of a run, read as TensorBoard reads it."""

import os
import pathlib
import sys

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data
from tensorboard.util.tensor_util import make_ndarray

from srcnn_jax import events, train


def read(folder) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    return found.Reload()


def test_a_run_and_its_resumption(tiny_config, tmp_path, photographs, monkeypatch):
    save, saved = train.checkpoint.save, []

    def save_and_stop(*args):
        save(*args)
        saved.append(args[1])
        if len(saved) == 1:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "keras", None)  # nothing imports it: that takes seconds
    monkeypatch.setattr(train.checkpoint, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        train.train_and_evaluate(tiny_config, str(tmp_path))
    result = train.train_and_evaluate(tiny_config, str(tmp_path))
    found = read(tmp_path / "tensorboard")
    psnr = [event.step for event in found.Tensors("psnr")]
    assert psnr == [0, 5, 10]
    assert [event.step for event in found.Tensors("first layer")] == psnr
    pictures = [tag for tag in found.Tags()["tensors"] if "bicubic, SRCNN, original" in tag]
    assert len(pictures) == 3
    final = found.Tensors(f"result/{photographs} psnr")
    mean = result["datasets"][photographs]["mean"]["srcnn"]["psnr"]
    assert [make_ndarray(event.tensor_proto) for event in final] == pytest.approx([mean])
    row = found.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    values = parse_session_start_info_plugin_data(row).hparams
    assert values["model.kernel_sizes"].string_value == "(5, 1, 3)"
    assert values["optimizer.learning_rate"].number_value == 0.001
    assert "eval.datasets" not in values


@pytest.mark.skipif(not pathlib.Path("/proc/self/statm").exists(), reason="it is Linux's")
def test_points_and_pictures_take_no_memory_for_good(tmp_path):
    def resident():
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf(
            "SC_PAGESIZE"
        )

    writer, pixels = events.EventWriter(tmp_path, 0), np.zeros((9, 9), np.uint8)

    def write(steps):
        for step in steps:
            writer.scalars(step, {"psnr": 30 + step * 1e-3})
            writer.picture(step, "filters", pixels)
        writer.flush()

    write(range(300))
    grown = []
    for first in (300, 1300, 2300):  # threads of earlier tests may take memory meanwhile
        before = resident()
        write(range(first, first + 1000))
        grown.append(resident() - before)
    writer.close()
    assert min(grown) < 1e5  # 2e6 if each number is kept


def test_side_by_side_is_the_middle():
    truth = np.arange(300 * 200, dtype=np.uint32).reshape(300, 200).astype(np.uint8)
    shown = events.side_by_side([truth, truth, truth])
    assert shown.shape == (160, 480)
    np.testing.assert_array_equal(shown[:, :160], truth[70:230, 20:180])
    assert events.side_by_side([truth[:50, :40]] * 2).shape == (50, 80)


def test_filters_are_shown_by_their_variance():
    kernel = np.zeros((9, 9, 1, 10), np.float32)
    kernel[4, 4, 0, 3] = 1.0
    kernel[0, 0, 0, 7] = -2.0
    picture = events.mosaic(kernel)
    assert picture.shape == (2 * 54 + 4, 8 * 54 + 7 * 4)
    assert picture[0, 0] == 0  # filter 7: its one weight is its smallest
    assert picture[20, 20] == 255
    assert picture[4 * 6, 58 + 4 * 6] == 255  # filter 3
    assert picture[0, 58] == 0
