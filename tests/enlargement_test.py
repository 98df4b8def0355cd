"""Enlarging arrays: every dtype and number of channels, chains, bands, patches."""

import dataclasses

import jax
import numpy as np
import pytest
from made_networks import IDENTITY, assert_equal, bicubic, network, random
from PIL import Image
from reference import mirrored

from srcnn_jax import degradation, enlargement, image, models, upscale
from srcnn_jax.degradation import Degradation


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 2), (7, 5, 3), (7, 5, 4)])
def test_identity_network_gives_bicubic(shape, dtype):
    pixels = random(shape, dtype)
    assert_equal(upscale.upscale(pixels, 3, IDENTITY), bicubic(pixels))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float_arrays_are_neither_rounded_nor_out_of_range(dtype):
    pixels = random((6, 8, 3)).astype(dtype)
    result = upscale.upscale(pixels, 2, IDENTITY)
    assert result.dtype == dtype
    expected = np.clip(image.imresize(pixels.astype(np.float64), 2), 0, 1)
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_sixteen_bits_keep_their_precision():
    ramp = np.linspace(30000, 30100, 40).round().astype(np.uint16)[None].repeat(5, 0)
    result = upscale.upscale(ramp, 3, IDENTITY)
    assert_equal(result, bicubic(ramp))
    assert len(np.unique(result)) > 90


@pytest.mark.parametrize("padding", ["same", "valid", "same,valid,valid"])
def test_luminance_through_the_network_and_chroma_bicubic(padding):
    weights = network(padding)
    pixels = random((8, 9, 3))
    ycbcr = image.rgb2ycbcr(image.imresize(pixels, 2))
    ycbcr[..., :1] = mirrored(weights, ycbcr[..., :1])
    expected = np.clip(image.ycbcr2rgb(ycbcr), 0, 1)
    np.testing.assert_allclose(upscale.upscale(pixels, 2, weights), expected, atol=1e-6)


def test_grey_passes_as_luminance_of_16_to_235():
    weights = network()
    pixels = random((8, 9))
    luminance = (16 + 219 * image.imresize(pixels, 2)[..., None]) / 255
    expected = np.clip((mirrored(weights, luminance)[..., 0] * 255 - 16) / 219, 0, 1)
    np.testing.assert_allclose(upscale.upscale(pixels, 2, weights), expected, atol=2e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["915", "photo"])
def test_grey_and_its_rgb_twin_agree(name, scale, dtype):
    """With every network that ships: black stays black, white stays white."""
    grey = random((40, 30))
    grey[:, :10], grey[:, 10:20] = 0, 1
    white = np.iinfo(dtype).max if dtype != np.float32 else 1.0
    grey = (grey * white).astype(dtype)
    result = upscale.upscale(grey, scale, network=name)
    twin = upscale.upscale(np.stack([grey] * 3, axis=-1), scale, network=name)
    level = 1.0 if dtype != np.float32 else 1e-5
    assert np.abs(result[..., None].astype(float) - twin).max() <= level
    assert result[:, : 5 * scale].max() <= white / 255 / 2
    picture = Image.fromarray(grey)
    for mode in {np.uint8: ("L", "LA"), np.uint16: ("I;16",), np.float32: ("F",)}[dtype]:
        same = picture.convert(mode) if picture.mode != mode else picture
        same = np.asarray(upscale.upscale(same, scale, network=name))
        np.testing.assert_array_equal(same.reshape(*result.shape, -1)[..., 0], result)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("value", [0, 100, 255])
@pytest.mark.parametrize("name", ["915", "photo"])
def test_a_flat_picture_has_no_rim(name, value, scale):
    flat = np.full((9, 12, 3), value, np.uint8)
    result = upscale.upscale(flat, scale, network=name).astype(int)
    assert np.ptp(result, axis=(0, 1)).max() <= 1
    assert np.abs(result - value).max() <= 2


def test_colour_networks():
    pixels = random((8, 9, 3))
    enlarged = image.imresize(pixels, 2)
    rgb = network(colour="rgb")
    expected = np.clip(mirrored(rgb, enlarged), 0, 1)
    np.testing.assert_allclose(upscale.upscale(pixels, 2, rgb), expected, atol=1e-6)
    ycbcr = network(colour="ycbcr")
    restored = image.ycbcr2rgb(mirrored(ycbcr, image.rgb2ycbcr(enlarged)))
    np.testing.assert_allclose(
        upscale.upscale(pixels, 2, ycbcr), np.clip(restored, 0, 1), atol=1e-6
    )


@pytest.mark.parametrize("colour", ["rgb", "ycbcr"])
def test_grey_pictures_pass_colour_networks(colour):
    colourful = network(colour=colour, identity=True)
    for pixels in (random((7, 5), np.uint16), random((7, 5, 2), np.uint8)):
        assert_equal(upscale.upscale(pixels, 3, colourful), bicubic(pixels))


def test_transparent_pixels_do_not_bleed():
    pixels = np.zeros((9, 9, 4), np.uint8)  # transparent black
    pixels[:, 4:] = (200, 100, 50, 255)
    result = upscale.upscale(pixels, 3, IDENTITY)
    visible = result[..., 3] > 0
    assert visible.sum() > 27 * 15
    assert (result[visible][:, :3] == (200, 100, 50)).all()
    assert_equal(result[..., 3], bicubic(pixels[..., 3]))


def test_wholly_transparent_picture():
    pixels = np.full((3, 3, 4), (9, 9, 9, 0), np.uint8)
    assert_equal(upscale.upscale(pixels, 2, IDENTITY), bicubic(pixels, 2))


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (2, 1, 3)])
def test_tiny_pictures(shape):
    for overlap in enlargement.OVERLAPS:
        pixels = random(shape, np.uint8)
        result = upscale.upscale(pixels, 3, IDENTITY, overlap=overlap)
        assert_equal(result, bicubic(pixels))


@pytest.mark.parametrize("overlap", enlargement.OVERLAPS)
def test_a_program_of_64_bits_gets_the_same(overlap):
    pixels, weights = random((9, 8, 3)), network()
    expected = upscale.upscale(pixels, 3, weights, overlap=overlap)
    with jax.enable_x64(True):
        result = upscale.upscale(pixels, 3, weights, overlap=overlap)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", [">u2", ">f4", "<u2", "<f8"])
def test_any_byte_order(dtype):
    pixels = random((7, 5), np.uint16) if "u" in dtype else random((7, 5))
    native = np.dtype(dtype).newbyteorder("=")
    result = upscale.upscale(pixels.astype(dtype), 2, IDENTITY)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, upscale.upscale(pixels.astype(native), 2, IDENTITY))


def test_input_array_is_left_alone():
    pixels = random((5, 5, 4), np.uint8)
    pixels[0, 0, 3] = 0
    before = pixels.copy()
    upscale.upscale(pixels, 2, IDENTITY)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((4, 4), np.int64), "not int64"),
        (np.zeros((4, 4, 5), np.uint8), r"not \(4, 4, 5\)"),
        (np.zeros((0, 4), np.uint8), "4x0 has no pixels"),
        (np.full((4, 4), 255.0), r"not 255.0..255.0; rescale"),
        (np.full((4, 4), np.nan), "in 0..1, not nan"),
    ],
)
def test_arrays_refused(pixels, message):
    with pytest.raises(ValueError, match=message):
        upscale.upscale(pixels, 2, IDENTITY)


def test_options_refused():
    pixels = np.zeros((4, 4), np.uint8)
    with pytest.raises(ValueError, match="above 1 and up to 16, not 1"):
        upscale.upscale(pixels, 1, IDENTITY)
    with pytest.raises(ValueError, match="not 'blend'"):
        upscale.upscale(pixels, 2, IDENTITY, overlap="blend")
    with pytest.raises(ValueError, match="goes with overlap 'band', not 'average'"):
        upscale.upscale(pixels, 2, IDENTITY, overlap="average", self_ensemble=True)


# --- bands and patches ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how", [*({"overlap": each} for each in enlargement.OVERLAPS), {"self_ensemble": True}]
)
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_bands_do_not_change_the_result(padding, how, monkeypatch):
    weights = network(padding)
    pixels = random((61, 13, 4))
    whole = upscale.upscale(pixels, 3, weights, **how)
    calls = []
    rows = degradation.enlarge_rows
    monkeypatch.setattr(degradation, "enlarge_rows", lambda *a: calls.append(a) or rows(*a))
    for band_rows in (1, 50):
        monkeypatch.setattr(enlargement, "BAND_PIXELS", band_rows * 39)
        banded = upscale.upscale(pixels, 3, weights, **how)
        np.testing.assert_allclose(banded, whole, atol=1e-6)
    assert len(calls) > 5


def test_self_ensemble_is_the_mean_over_flips_and_rotations():
    pixels, weights = 0.4 + 0.2 * random((12, 10)), network(identity=True)
    kernel = weights.params["conv1"]["kernel"]
    kernel += 0.1 * random(kernel.shape).astype(np.float32)  # nothing is clipped
    turned = (np.rot90(view, turns) for view in (pixels, pixels.T) for turns in range(4))
    results = [upscale.upscale(each, 3, weights) for each in turned]
    back = [np.rot90(result, -index % 4) for index, result in enumerate(results)]
    mean = np.mean([*back[:4], *(each.T for each in back[4:])], axis=0)
    result = upscale.upscale(pixels, 3, weights, self_ensemble=True)
    assert 0 < result.min() <= result.max() < 1
    assert np.abs(result - results[0]).max() > 0.001
    np.testing.assert_allclose(result, mean, atol=1e-6)


@pytest.mark.parametrize("padding", ["same", "valid", "same,valid,valid"])
@pytest.mark.parametrize("size", [(40, 25), (10, 12)])
def test_average_equals_a_loop_over_patches(size, padding):
    weights = network(padding)
    pixels = random(size)
    enlarged = (16 + 219 * image.imresize(pixels, 2)[..., None]) / 255
    margin = weights.architecture.margin
    padded = np.pad(enlarged, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    height, width = enlarged.shape[:2]
    total, count = np.zeros_like(enlarged), np.zeros_like(enlarged)
    side = min(33, height), min(33, width)
    srcnn = models.SRCNN(weights.architecture, "he", "channels_last", "float32")
    apply = jax.jit(srcnn.apply)
    for top in sorted({*range(0, height - side[0], 14), height - side[0]}):
        for left in sorted({*range(0, width - side[1], 14), width - side[1]}):
            where = slice(top, top + side[0]), slice(left, left + side[1])
            patch = padded[top : top + side[0] + 2 * margin, left : left + side[1] + 2 * margin]
            restored = apply({"params": weights.params}, patch[None].astype(np.float32))
            total[where] += np.asarray(restored)[0]
            count[where] += 1
    assert count.min() == 1
    result = upscale.upscale(pixels, 2, weights, overlap="average")
    grey = (255 * total / count - 16) / 219
    np.testing.assert_allclose(result, np.clip(grey, 0, 1)[..., 0], atol=2e-6)
    bands = upscale.upscale(pixels, 2, weights)
    # By what 'same' pads inside the picture; at its border patches are padded once for all layers.
    differs = np.abs(result - bands)[2:-2, 2:-2].max() > 1e-3
    assert differs == (padding != "valid" and count.max() > 1)


# --- chains ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "scales", "expected"),
    [
        (2, (2, 3, 4), (2,)), (4, (2, 3, 4), (4,)), (6, (2, 3, 4), (2, 3)), (8, (2, 3, 4), (2, 4)),
        (9, (2, 3, 4), (3, 3)), (12, (2, 3, 4), (3, 4)), (16, (2, 3, 4), (4, 4)),
        (1.5, (2, 3, 4), (2,)), (5, (2, 3, 4), (2, 3)), (2.01, (2, 3, 4), (3,)),
        (10, (2, 3, 4), (3, 4)), (4, (2,), (2, 2)), (2, (3,), (3,)), (5, (5,), (5,)),
    ],
)  # fmt: skip
def test_chains(factor, scales, expected):
    assert enlargement.chain(factor, scales) == expected


def test_chains_pass_floats_on():
    """Nothing is rounded between two networks, in any dtype; done counts all pixels."""
    networks = {2: network(), 3: network("valid")}
    pixels = random((8, 9, 3))
    method = enlargement.choose_method()
    step = enlargement.enlarge(pixels, (16, 18), {2: networks[2]}, method)
    expected = enlargement.enlarge(step, (48, 54), {3: networks[3]}, method)
    counted = []
    result = enlargement.enlarge(pixels, (48, 54), networks, method, counted.append)
    np.testing.assert_allclose(result, expected, atol=1e-5)
    assert sum(counted) == enlargement.count_pixels((9, 8), (2, 3)) == 16 * 18 + 48 * 54
    eight = image.to_uint8(pixels)
    expected = enlargement.enlarge(eight / 255.0, (48, 54), networks, method)
    result = enlargement.enlarge(eight, (48, 54), networks, method)
    assert result.dtype == np.uint8
    assert np.abs(result - expected * 255).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_what_is_too_large_is_shrunk_with_antialiasing(dtype, monkeypatch):
    white = 1.0 if dtype == np.float32 else float(np.iinfo(dtype).max)
    pixels = (random((30, 41, 3)) * white).astype(dtype)
    twice = np.clip(image.imresize(pixels / white, 2), 0, 1)
    expected = np.clip(image.imresize(twice, output_shape=(45, 62)), 0, 1) * white
    for band in (2**21, 90):
        monkeypatch.setattr(enlargement, "BAND_PIXELS", band)
        result = upscale.upscale(pixels, 1.5, network(identity=True, scale=2))
        assert result.shape == (45, 62, 3)
        assert result.dtype == dtype
        assert np.abs(result - expected).max() <= (0.51 if white > 1 else 1e-6)


@pytest.mark.parametrize("colour", ["y", "rgb"])
def test_a_network_for_splines_gets_a_spline_also_in_bands(colour, monkeypatch):
    spline = dataclasses.replace(
        network("same", colour, identity=True), degradation=Degradation(enlarge="spline")
    )
    pixels = 0.3 + 0.4 * random((70, 13, 3))
    expected = image.spline_enlarge(pixels, 3)
    whole = upscale.upscale(pixels, 3, spline)
    np.testing.assert_allclose(whole, expected, atol=1e-6)
    assert np.abs(whole - image.imresize(pixels, 3)).max() > 1e-3
    monkeypatch.setattr(enlargement, "BAND_PIXELS", 20 * 39)
    np.testing.assert_allclose(upscale.upscale(pixels, 3, spline), whole, atol=1e-6)
