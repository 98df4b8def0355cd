"""The pictures, scores and table of the comparison of enlargers; the programs are made up."""

import numpy as np
import pytest

from experiments import machine
from experiments.bench import enlargers
from srcnn_jax import datasets


def dataset(*pixels: np.ndarray) -> datasets.Dataset:
    images = tuple((f"image{index}", each) for index, each in enumerate(pixels))
    return datasets.Dataset("made", "a test", "0", "ycbcr", images)


@pytest.fixture
def grey() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, (32, 43), np.uint8)


def test_pictures_are_cropped_shrunk_and_rgb(grey):
    colour = np.stack([grey, grey // 2, grey // 3], axis=-1)
    first, second = enlargers.create_pictures(dataset(grey, colour), 3)
    assert first.small.shape == second.small.shape == (10, 14, 3)
    assert first.small.dtype == np.uint8
    np.testing.assert_array_equal(first.small[..., 0], first.small[..., 2])
    np.testing.assert_array_equal(first.truth, grey[:30, :42])
    assert second.truth.shape == (30, 42)
    assert (first.luminance, second.luminance) == ("gray", "ycbcr")


def test_psnr_is_that_of_the_luminance_without_the_border(grey):
    def one_off(small: np.ndarray) -> np.ndarray:
        output = np.stack([grey[:, :42] + 1] * 3, axis=-1)
        output[:2], output[-2:], output[:, :2], output[:, -2:] = 0, 0, 0, 0
        return output

    pictures = enlargers.create_pictures(dataset(grey), 2)
    assert enlargers.mean_psnr(one_off, pictures, 2) == pytest.approx(20 * np.log10(255))


def test_pillows_bicubic_is_ours_but_for_rounding(grey):
    (picture,) = enlargers.create_pictures(dataset(np.stack([grey] * 3, axis=-1)), 2)
    ours, pillow = (
        create(2)(picture.small).astype(int)[8:-8, 8:-8]
        for create in (enlargers.create_matlab, enlargers.create_pillow)
    )
    assert abs(ours - pillow).max() <= 2


def test_measure_has_what_is_installed(grey, monkeypatch, capsys):
    def create_missing(scale: int):
        raise ImportError("No module named 'waifu'")

    def create_nearest(scale: int):
        return lambda small: small.repeat(scale, axis=0).repeat(scale, axis=1)

    monkeypatch.setattr(enlargers, "AWAKE", 0)
    monkeypatch.setattr(machine, "rate", lambda: 150.0)
    programs = (
        enlargers.Enlarger("nearest", "numpy", create_nearest),
        enlargers.Enlarger("waifu", "waifu", create_missing),
        enlargers.Enlarger("turtle", "", create_nearest, (4,), slow=True),
    )
    tests = {"set5": dataset(grey), "set14": dataset(grey, grey)}
    nearest, turtle = enlargers.measure(programs, tests, 3)
    assert nearest["version"] == np.__version__
    assert [*nearest["psnr"]["set14"]] == [2, 3, 4]
    assert [*turtle["psnr"]] == ["set5"]
    assert len(turtle["seconds"]) == 3
    assert turtle["matrix_product_gflops"] == 150
    pixels = 16 * enlargers.SMALL_SIZE[0] * enlargers.SMALL_SIZE[1] / 1e6
    median = np.median(turtle["seconds"])
    assert turtle["megapixels_per_second"] == pytest.approx(pixels / median)
    assert "waifu is missing: No module named 'waifu'" in capsys.readouterr().out


def test_table_leaves_out_what_was_not_measured():
    row = {
        "name": "turtle",
        "package": "shell",
        "version": "1.0",
        "psnr": {"set5": {2: 33.456, 4: 28.0}},
        "megapixels_per_second": 0.01234,
    }
    head, _, line = enlargers.table([row], ["set5", "set14"]).splitlines()
    assert "| Set5 x4 | Set14 x2 |" in head
    assert line == "| turtle | shell 1.0 | 33.46 |  | 28.00 |  |  |  | 0.0123 |"


def test_programs_are_named_once():
    names = [each.name for each in enlargers.ENLARGERS]
    assert len(set(names)) == len(names)
