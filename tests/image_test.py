"""Colour, rounding, cropping and `imresize`, against values of MATLAB and computed by hand."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srcnn_jax import image

REPOSITORY = Path(__file__).parents[1]
ORACLE = Path(os.environ.get("SRCNN_ORACLE_DIR", REPOSITORY.parent / "shared" / "oracle"))
# R, G, B and MATLAB's rgb2ycbcr of it in uint8
COLOURS = {
    "white": ((255, 255, 255), (235, 128, 128)),
    "black": ((0, 0, 0), (16, 128, 128)),
    "red": ((255, 0, 0), (81, 90, 240)),
    "green": ((0, 255, 0), (145, 54, 34)),
    "blue": ((0, 0, 255), (41, 240, 110)),
    "grey": ((128, 128, 128), (126, 128, 128)),
}


def _random(shape, seed=0):
    return np.random.default_rng(seed).random(shape)


@pytest.mark.parametrize("name", COLOURS)
def test_rgb2ycbcr_uint8(name):
    rgb, expected = COLOURS[name]
    result = image.rgb2ycbcr(np.array([[rgb]], np.uint8))
    assert result.dtype == np.uint8
    assert tuple(result[0, 0]) == expected


def test_rgb2ycbcr_float_is_not_rounded():
    result = image.rgb2ycbcr(np.array([[[1.0, 0.0, 0.0]]], np.float32)) * 255
    assert result.dtype == np.float64
    np.testing.assert_allclose(result[0, 0], [81.481, 90.203, 240.0], atol=1e-5)


def test_ycbcr2rgb_inverts_rgb2ycbcr():
    rgb = _random((5, 4, 3))
    np.testing.assert_allclose(image.ycbcr2rgb(image.rgb2ycbcr(rgb)), rgb, atol=1e-14)


def test_ycbcr2rgb_of_reference_white_and_black():
    ycbcr = np.array([[[235.0, 128.0, 128.0], [16.0, 128.0, 128.0]]]) / 255
    np.testing.assert_allclose(image.ycbcr2rgb(ycbcr), [[[1.0] * 3, [0.0] * 3]], atol=1e-14)


def test_rgb2gray():
    # The weights 0.2989, 0.5870, 0.1140 times 255 are 76.22, 149.69, 29.07.
    rgb = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [9, 9, 9]]], np.uint8)
    assert image.rgb2gray(rgb).tolist() == [[76, 150, 29, 255, 9]]


def test_luminance():
    rgb = np.array([[[255, 255, 255]]], np.uint8)
    assert image.luminance(rgb, "ycbcr").tolist() == [[235]]
    assert image.luminance(rgb, "gray").tolist() == [[255]]
    grey = np.array([[7, 8]], np.uint8)
    assert image.luminance(grey, "ycbcr") is grey
    with pytest.raises(ValueError, match="not 'hsv'"):
        image.luminance(rgb, "hsv")


def test_to_uint8_rounds_half_away_from_zero_and_saturates():
    # 0.5, 1.5 and 2.5 of 255; round-half-even would give 0, 2, 2
    values = np.array([0.5, 1.5, 2.5, 2.49, -3.0, 254.5, 255.4, 300.0]) / 255
    assert image.to_uint8(values).tolist() == [1, 2, 3, 2, 0, 255, 255, 255]


def test_to_uint8_refuses_nan():
    with pytest.raises(ValueError, match="NaN"):
        image.to_uint8(np.array([0.0, np.nan]))


def test_round_half_up():
    values = np.array([-2.5, -0.5, -0.4, 0.5, 1.4999, 2.5])
    assert image.round_half_up(values).tolist() == [-3, -1, 0, 1, 1, 3]


def test_modcrop():
    picture = np.arange(7 * 11 * 3).reshape(7, 11, 3)
    np.testing.assert_array_equal(image.modcrop(picture, 3), picture[:6, :9])
    assert image.modcrop(picture[..., 0], 1).shape == (7, 11)
    with pytest.raises(ValueError, match="11x7 pixels is smaller than the scale 8"):
        image.modcrop(picture, 8)


def test_shave():
    picture = np.arange(35).reshape(5, 7)
    np.testing.assert_array_equal(image.shave(picture, 2), picture[2:3, 2:5])
    assert image.shave(picture, 0) is picture
    with pytest.raises(ValueError, match="7x5 pixels is too small to lose 3"):
        image.shave(picture, 3)


def test_imresize_doubles_a_row_by_hand():
    # At a quarter and three quarters of a pixel, Keys' kernel has the weights
    # (-9, 111, 29, -3) / 128 and their mirror image.
    row = np.array([[0.0, 0.0, 128.0, 0.0, 0.0]])
    result = image.imresize(row, output_shape=(1, 10))
    np.testing.assert_allclose(result[0], [0, -3, -9, 29, 111, 111, 29, -9, -3, 0], atol=1e-12)


def test_imresize_boundaries_by_hand():
    # The first of the doubled pixels lies at -1/4 and sees the pixels -2, -1, 0, 1: mirrored they
    # are 1, 0, 0, 1, repeated 0, 0, 0, 1. The weights are (-3, 29, 111, -9) / 128.
    row = np.array([[128.0, 0.0, 0.0, 0.0]])
    assert image.imresize(row, output_shape=(1, 8))[0, 0] == pytest.approx(140)
    replicated = image.imresize(row, output_shape=(1, 8), boundary="replicate")
    assert replicated[0, 0] == pytest.approx(137)


@pytest.mark.parametrize("boundary", ["symmetric", "replicate"])
@pytest.mark.parametrize("scale", [1 / 3, 0.5, 0.77, 1, 1.5, 3])
def test_imresize_keeps_a_constant_and_takes_the_ceiling_of_sizes(scale, boundary):
    result = image.imresize(np.full((7, 5, 2), 0.3), scale, boundary=boundary)
    assert result.shape == (int(np.ceil(7 * scale)), int(np.ceil(5 * scale)), 2)
    np.testing.assert_allclose(result, 0.3, atol=1e-14)


def test_imresize_of_a_slice_with_context_equals_the_whole():
    picture = _random((40, 9))
    whole = image.imresize(picture, 3)
    part = image.imresize(picture[10 - 3 : 20 + 3], 3)[9:-9]
    np.testing.assert_allclose(part, whole[30:60], atol=1e-13)


def test_imresize_resizes_channels_one_by_one():
    picture = _random((6, 8, 3))
    result = image.imresize(picture, 0.5)
    for channel in range(3):
        np.testing.assert_array_equal(
            result[..., channel], image.imresize(picture[..., channel], 0.5)
        )


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_imresize_keeps_the_dtype(dtype):
    assert image.imresize(np.ones((4, 4), dtype), 2).dtype == dtype


def test_imresize_rounds_and_saturates_uint8_after_each_axis():
    picture = (_random((6, 5)) > 0.5).astype(np.uint8) * 255
    rows = image.imresize(picture, output_shape=(12, 5))  # the axis of smaller scale comes first
    columns = image.imresize(rows, output_shape=(12, 15))
    np.testing.assert_array_equal(image.imresize(picture, output_shape=(12, 15)), columns)


def test_imresize_of_a_single_pixel():
    np.testing.assert_allclose(image.imresize(np.full((1, 1), 0.7), 4), 0.7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either scale or output_shape"),
        ({"scale": 2, "output_shape": (4, 4)}, "either scale or output_shape"),
        ({"scale": 0}, "must be positive, not 0"),
        ({"scale": float("nan")}, "must be positive"),
        ({"output_shape": (0, 4)}, "to 0x4 pixels"),
        ({"scale": 2, "boundary": "wrap"}, "not 'wrap'"),
    ],
)
def test_imresize_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        image.imresize(np.zeros((3, 3)), **arguments)


def test_imresize_refuses_an_empty_image():
    with pytest.raises(ValueError, match="cannot go from 0x3"):
        image.imresize(np.zeros((0, 3)), 2)


def test_colour_functions_refuse_grey():
    with pytest.raises(ValueError, match=r"not \(4, 4\)"):
        image.rgb2ycbcr(np.zeros((4, 4)))


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["set5", "set14"])
def test_imresize_equals_matlab(name, scale):
    """Pairs made by an old release of MATLAB, whose boundary was 'replicate'."""
    folder = ORACLE / "matlab_imresize" / name / f"x{scale}"
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}; set SRCNN_ORACLE_DIR")
    pairs = sorted(folder.glob("*_hr.png"))
    assert pairs, f"{folder} holds no pairs"
    for path in pairs:
        high = np.asarray(Image.open(path))
        low = np.asarray(Image.open(path.with_name(path.name.replace("_hr", "_lr"))))
        result = image.imresize(high, 1 / scale, boundary="replicate")
        assert result.shape == low.shape
        difference = np.abs(result.astype(int) - low)
        assert difference.max() == 0, f"{path}: {(difference > 0).sum()} pixels differ"


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_subsample_by_hand(scale):
    """A ramp stays one, with the pixels in the middle of their blocks; a constant stays itself."""
    ramp = np.tile(np.arange(24.0 * scale), (5 * scale, 1))
    small = image.subsample(ramp, scale, 0.8)
    assert small.shape == (5, 24)
    middles = np.arange(24) * scale + (scale - 1) / 2
    np.testing.assert_allclose(small[:, 4:-4], np.tile(middles[4:-4], (5, 1)), atol=1e-12)
    np.testing.assert_allclose(image.subsample(np.full((7, 5, 2), 0.3), scale, 2.0), 0.3)


def test_subsample_is_a_blur_of_which_every_third_pixel_is_kept():
    from scipy import ndimage

    picture = _random((21, 30))
    blurred = ndimage.gaussian_filter(picture, 1.2, mode="reflect", truncate=8)
    np.testing.assert_allclose(
        image.subsample(picture, 3, 1.2), blurred[1::3, 1::3], atol=1e-5
    )  # ours is cut off at 4 sigma
    eight = image.to_uint8(picture)
    assert image.subsample(eight, 3, 1.2).dtype == np.uint8


def test_the_spline_goes_through_the_pixels_and_keeps_a_parabola():
    picture = _random((9, 8, 2))
    enlarged = image.spline_enlarge(picture, 3)
    assert enlarged.shape == (27, 24, 2)
    np.testing.assert_allclose(enlarged[1::3, 1::3], picture, atol=1e-13)
    parabola = np.tile(np.arange(60.0) ** 2, (8, 1))
    positions = (np.arange(120) + 0.5) / 2 - 0.5
    middle = np.s_[:, 50:70]  # the mirrored border is no parabola
    doubled = image.spline_enlarge(parabola, 2)
    np.testing.assert_allclose(doubled[middle], np.tile(positions**2, (16, 1))[middle], rtol=1e-9)
    assert image.spline_enlarge(image.to_uint8(picture), 2).dtype == np.uint8


def test_float_luminance_is_not_rounded():
    rgb = np.array([[[1.0, 0.0, 0.0]]])
    assert image.luminance(rgb, "ycbcr")[0, 0] * 255 == pytest.approx(81.481)
    assert image.luminance(rgb, "gray")[0, 0] * 255 == pytest.approx(76.22, abs=0.01)
