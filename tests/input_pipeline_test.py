"""Patches are where they should be, drawn as they should be, and a function of (seed, i)."""

import functools

import jax
import numpy as np
import pytest

from srcnn_jax import datasets, degradation, image, input_pipeline, runtime
from srcnn_jax.degradation import Degradation


def dataset(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    images = tuple(
        (f"image{i}", rng.integers(0, 256, shape).astype(np.uint8))
        for i, shape in enumerate(shapes)
    )
    return datasets.Dataset("made", "a test", "0", "ycbcr", images)


def numbered(*sizes):
    """A source in which every pixel's input is its own number, and its label minus that."""
    heights, widths = np.array(sizes, np.int64).T
    numbers = np.arange((heights * widths).sum(), dtype=np.float32)
    pixels = np.stack([numbers, -numbers], axis=1)[..., None]
    offsets = np.concatenate([[0], np.cumsum(heights * widths)[:-1]])
    return input_pipeline.PatchSource(pixels, offsets, heights, widths)


def draw(source, steps, margin=1, **changes):
    """The patches of the steps, (steps, n, ...)."""
    settings = {
        "patch_size": 5, "context": 0, "stride": 1, "augment": False, "batch_size": 6,
        "seeds": [0], "steps_per_dispatch": 4, "shard": (0, 1),
    } | changes  # fmt: skip
    parts = list(input_pipeline.patch_positions(source, steps=steps, **settings))
    sizes = {key: settings[key] for key in ("patch_size", "context")}
    return input_pipeline.extract_patches(
        source.pixels, np.concatenate(parts), margin=margin, **sizes
    )


def test_source_holds_bicubic_and_original():
    made = dataset((24, 31), (20, 22, 3))
    source = input_pipeline.create_source(
        made, scale=3, colour="y", patch_size=9, downscale_factors=(1.0,)
    )
    assert list(source.heights) == [24, 18]
    assert list(source.widths) == [30, 21]
    assert source.pixels.shape == (24 * 30 + 18 * 21, 2, 1)
    label = made.images[0][1][:, :30].astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(source.pixels[: 24 * 30, 1, 0].reshape(24, 30), label)
    bicubic = image.imresize(image.imresize(label, 1 / 3), 3)
    np.testing.assert_array_equal(source.pixels[: 24 * 30, 0, 0].reshape(24, 30), bicubic)


def pairs_of(made, kind, **changes):
    """The (input, label) images of a source: a list of float32 (H, W, 2, C)."""
    options = {"scale": 2, "colour": "y", "patch_size": 9, "downscale_factors": (1.0,)} | changes
    source = input_pipeline.create_source(made, degradation=kind, **options)
    ends = np.cumsum(source.heights * source.widths)
    parts = np.split(source.pixels, ends[:-1])
    sizes = zip(parts, source.heights, source.widths, strict=True)
    return [part.reshape(height, width, 2, -1) for part, height, width in sizes]


def test_inputs_of_a_gaussian_and_a_spline():
    made = dataset((24, 30))
    (plain,) = pairs_of(made, degradation.RELEASED)
    for kind in (Degradation("gaussian", 1.0), Degradation(enlarge="spline")):
        (pair,) = pairs_of(made, kind)
        np.testing.assert_array_equal(pair[..., 1, :], plain[..., 1, :])
        np.testing.assert_array_equal(
            pair[..., 0, :], degradation.degrade(plain[..., 1, :], 2, kind)
        )


@pytest.mark.parametrize("colour", ["y", "ycbcr", "rgb"])
def test_copies_of_drawn_inputs(colour):
    """The labels are clean and equal; each input is a picture of its own, of 8 bits."""
    made, kind = dataset((24, 31, 3), (20, 22)), Degradation(noise=(1, 5), jpeg=(50, 95))
    sizes = {"downscale_factors": (1.0, 0.9), "colour": colour}
    plain = pairs_of(made, degradation.RELEASED, **sizes)
    pairs = pairs_of(made, kind, copies=3, seed=7, **sizes)
    assert len(pairs) == 3 * len(plain) == 12
    for i, pair in enumerate(pairs):
        np.testing.assert_array_equal(pair[..., 1, :], plain[i // 3][..., 1, :])
    for a, b in ((0, 1), (1, 2), (3, 4)):
        assert (pairs[a] != pairs[b]).any()
    again = pairs_of(made, kind, copies=2, seed=7, **sizes)
    np.testing.assert_array_equal(again[0], pairs[0])  # K is not in it
    np.testing.assert_array_equal(again[1], pairs[1])
    assert (pairs_of(made, kind, copies=1, seed=8, **sizes)[0] != pairs[0]).any()


def test_a_drawn_input_by_hand():
    made, kind = dataset((24, 30, 3)), Degradation(noise=(0, 0))
    (pair,) = pairs_of(made, kind)
    rgb = made.images[0][1] / 255.0
    small = image.to_uint8(image.imresize(rgb, 1 / 2)) / 255.0
    expected = image.imresize(image.rgb2ycbcr(small)[..., :1], 2)
    np.testing.assert_allclose(pair[..., 0, :], expected, atol=1e-6)


def test_a_tiny_downscale_factor_needs_no_memory():
    made = dataset((30, 40))
    options = {"scale": 2, "colour": "y", "patch_size": 21}
    source = input_pipeline.create_source(made, downscale_factors=(1e-9, 1.0), **options)
    assert source.heights.tolist() == [30]
    message = r"less than a patch of 21 at 1e-09, the largest of data.downscale_factors: .+ of 1"
    with pytest.raises(ValueError, match=message):
        input_pipeline.create_source(made, downscale_factors=(1e-9,), **options)


def test_images_that_need_more_than_the_memory(monkeypatch):
    made = dataset((30, 40), (30, 40))
    kind = Degradation(jpeg=(50, 95))
    options = {"scale": 2, "colour": "y", "patch_size": 21, "degradation": kind}
    monkeypatch.setattr(runtime, "available_memory", lambda: 100_000)
    input_pipeline.create_source(made, downscale_factors=(1.0,), copies=2, **options)
    message = r"the 2 images of made need .* in 1 sizes and 3 copies.*: lower data.degraded_copies"
    with pytest.raises(ValueError, match=message):
        input_pipeline.create_source(made, downscale_factors=(1.0,), copies=3, **options)


def test_downscale_factors_and_colour():
    made = dataset((40, 40, 3))
    source = input_pipeline.create_source(
        made, scale=2, colour="rgb", patch_size=21, downscale_factors=(1.0, 0.8, 0.5)
    )
    assert list(source.heights) == [40, 32]  # at half size a patch does not fit
    assert source.pixels.shape[2] == 3


def test_an_image_smaller_than_a_patch():
    with pytest.raises(
        ValueError, match="'image1' of made has 20x12 pixels, less than a patch of 33"
    ):
        input_pipeline.create_source(
            dataset((50, 50), (12, 20)),
            scale=3,
            colour="y",
            patch_size=33,
            downscale_factors=(1.0,),
        )


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("stride", [1, 3])
def test_patches_are_windows_of_the_images(augment, stride):
    sizes = (9, 12), (7, 8)
    batch = draw(numbered(*sizes), range(20), augment=augment, stride=stride)
    assert batch["input"].shape == (20, 6, 5, 5, 1)
    assert batch["label"].shape == (20, 6, 3, 3, 1)
    np.testing.assert_array_equal(batch["label"], -batch["input"][:, :, 1:-1, 1:-1])
    windows = {}
    start = 0
    for height, width in sizes:
        plane = np.arange(start, start + height * width).reshape(height, width)
        start += height * width
        for y in range(0, height - 4, stride):
            for x in range(0, width - 4, stride):
                window = plane[y : y + 5, x : x + 5]
                for turned in (window, window.T) if augment else (window,):
                    for kind, view in enumerate(
                        (turned, turned[::-1], turned[:, ::-1], turned[::-1, ::-1])
                        if augment
                        else (turned,)
                    ):
                        windows[view.tobytes()] = (y, x, kind)
    for patch in batch["input"].reshape(-1, 5, 5):
        assert patch.astype(np.int64).tobytes() in windows


def test_an_epoch_visits_every_position_once_in_a_new_order():
    source = numbered((9, 12), (7, 8))
    positions = input_pipeline.count_positions(source, 5, 1)
    assert positions == 5 * 8 + 3 * 4
    patches = draw(source, range(positions), batch_size=2)["input"][:, :, 0, 0, 0].ravel()
    first, second = patches[:positions], patches[positions:]
    assert len(set(first)) == len(set(second)) == positions
    assert (first != second).any()
    assert abs(np.corrcoef(np.arange(positions), first)[0, 1]) < 0.5


def test_all_eight_transforms_are_drawn_evenly():
    source = numbered((5, 5))
    corners = draw(source, range(400), batch_size=8, augment=True)["input"]
    kinds = [tuple(p) for p in corners[:, :, [0, 0, 4], [0, 4, 0], 0].reshape(-1, 3)]
    counts = [kinds.count(kind) for kind in set(kinds)]
    assert len(counts) == 8
    assert min(counts) > 330


def test_batch_i_depends_on_seed_and_i_alone():
    source = numbered((30, 40))
    whole = draw(source, range(10), augment=True)["input"]
    np.testing.assert_array_equal(draw(source, range(5, 10), augment=True)["input"], whole[5:])
    np.testing.assert_array_equal(
        draw(source, range(10), augment=True, steps_per_dispatch=3)["input"], whole
    )
    assert (draw(source, range(10), augment=True, seeds=[1])["input"] != whole).any()


@pytest.mark.parametrize("context", [0, 4])
def test_host_and_device_extract_the_same_patches(context):
    source = numbered((30, 40), (12, 9))
    sizes = {"patch_size": 7, "context": context}
    settings = {
        "stride": 1, "augment": True, "batch_size": 6, "seeds": [3, 4], "steps": range(5),
        "steps_per_dispatch": 2,
    }  # fmt: skip
    for positions in input_pipeline.patch_positions(source, **sizes, **settings):
        assert positions.dtype == np.int32
        assert positions.shape in ((4, 6, 7), (2, 6, 7))
        extract = functools.partial(input_pipeline.extract_patches, **sizes, margin=2)
        host, device = extract(source.pixels, positions), jax.jit(extract)(source.pixels, positions)
        side = 7 + 2 * context
        assert host["input"].shape == (*positions.shape[:2], side, side, 1)
        assert device.keys() == host.keys()
        for key in host:
            np.testing.assert_array_equal(device[key], host[key])


def test_a_context_is_what_is_around_the_patch_and_zero_outside_the_image():
    sizes = (9, 12), (7, 8)
    batch = draw(numbered(*sizes), range(150), margin=0, augment=True, context=6)
    windows = {}
    start = 1
    for height, width in sizes:
        plane = np.arange(start, start + height * width).reshape(height, width)
        start += height * width
        plane = np.pad(plane, 6)  # zeros: pixels count from 1 here
        for y in range(height - 4):
            for x in range(width - 4):
                window = plane[y : y + 17, x : x + 17]
                for turned in (window, window.T):
                    for view in (turned, turned[::-1], turned[:, ::-1], turned[::-1, ::-1]):
                        windows[view.tobytes()] = y, x
    seen = set()
    inside, inputs = batch["inside"].reshape(-1, 17, 17), batch["input"].reshape(-1, 17, 17)
    for mask, window, label in zip(inside, inputs, batch["label"].reshape(-1, 5, 5), strict=True):
        window = (window + mask).astype(np.int64)
        np.testing.assert_array_equal(mask, window > 0)
        np.testing.assert_array_equal(label, 1 - window[6:11, 6:11])
        seen.add(windows[window.tobytes()])
    assert len(seen) == 5 * 8  # all places of the larger image, corners and edges too


def test_room_for_the_images_on_the_devices(monkeypatch):
    source, devices = numbered((30, 40)), jax.local_devices()[:2]
    monkeypatch.setattr(input_pipeline, "MAX_DEVICE_BYTES", 2 * source.pixels.nbytes)
    assert input_pipeline.fit_on_devices(source, devices)
    monkeypatch.setattr(input_pipeline, "MAX_DEVICE_BYTES", 2 * source.pixels.nbytes - 1)
    assert not input_pipeline.fit_on_devices(source, devices)


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_processes_share_every_batch(processes):
    """No patch twice, none missed: together the parts are the batch of one process, in order."""
    source = numbered((30, 40))
    whole = draw(source, range(6), augment=True, batch_size=96)["input"]
    parts = [
        draw(source, range(6), augment=True, batch_size=96, shard=(i, processes))["input"]
        for i in range(processes)
    ]
    assert {part.shape[1] for part in parts} == {96 // processes}
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_the_papers_sub_images(data_dir):
    """The released generate_train.m yields 21,910, 21,884 and 21,772 of them (PROTOCOL)."""
    t91 = datasets.load("t91", data_dir=data_dir)
    for scale, count in ((2, 21_910), (3, 21_884), (4, 21_772)):
        source = input_pipeline.create_source(
            t91, scale=scale, colour="y", patch_size=33, downscale_factors=(1.0,)
        )
        assert input_pipeline.count_positions(source, 33, 14) == count
