"""The first positions that are kept for the next training are those that TensorFlow draws."""

import dataclasses

import numpy as np
import pytest

from srcnn_jax import first_positions, input_pipeline, runtime

SETTINGS = {
    "patch_size": 5, "context": 1, "stride": 1, "augment": True, "batch_size": 6,
    "seeds": [0, 3], "steps": range(50), "steps_per_dispatch": 4, "shard": (0, 1),
}  # fmt: skip


@pytest.fixture
def source():
    sizes = np.array([(20, 31), (17, 9)], np.int64)
    offsets = np.array([0, 20 * 31])
    pixels = np.zeros((20 * 31 + 17 * 9, 2, 1), np.float32)
    return input_pipeline.PatchSource(pixels, offsets, *sizes.T)


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "srcnn_jax" / "positions"


def check_same(source, **changes):
    """Checks every array against TensorFlow's."""
    settings = SETTINGS | changes
    found = list(first_positions.patch_positions(source, **settings))
    drawn = list(input_pipeline.patch_positions(source, **settings))
    assert [array.dtype for array in found] == [array.dtype for array in drawn]
    for one, other in zip(found, drawn, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("count", [1, 4, 14, 30, 32, 33, 50])
def test_kept_positions_are_those_that_were_drawn(source, folder, count):
    steps = range(count)
    for _ in range(2):
        check_same(source, steps=steps)
        assert len(list(folder.iterdir())) == 1


def test_a_longer_training_begins_with_the_same(source, folder):
    check_same(source)
    check_same(source, steps=range(60))
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"patch_size": 6}, {"context": 0}, {"stride": 2}, {"augment": False}, {"batch_size": 4},
        {"seeds": [0, 4]}, {"seeds": [0]}, {"steps_per_dispatch": 2}, {"shard": (1, 2)},
    ],
)  # fmt: skip
def test_other_settings_have_other_positions(source, folder, changes):
    check_same(source)
    check_same(source, **changes)
    assert len(list(folder.iterdir())) == 2


def test_other_images_have_other_positions(source, folder):
    check_same(source)
    check_same(dataclasses.replace(source, heights=source.widths, widths=source.heights))
    assert len(list(folder.iterdir())) == 2


def test_a_training_that_resumes_draws(source, folder):
    check_same(source, steps=range(8, 50))
    check_same(source, steps=range(0))
    assert not folder.exists()


def test_large_arrays_are_not_kept(source, folder, monkeypatch):
    monkeypatch.setattr(first_positions, "MAX_BYTES", 3 * 8 * 6 * 7 * 8)
    check_same(source)
    (file,) = folder.iterdir()
    assert file.stat().st_size == 32 + 3 * 8 * 6 * 7 * 4
    file.unlink()
    monkeypatch.setattr(first_positions, "MAX_BYTES", 8 * 6 * 7 * 8 - 1)
    check_same(source)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_file_is_drawn_anew(source, folder, damage):
    check_same(source)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[100] ^= 4
    file.write_bytes({"flip": bytes(flipped), "cut": whole[:-4], "empty": b""}[damage])
    check_same(source)
    assert file.read_bytes() == whole


def test_without_a_place_for_them_all_works(source, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    check_same(source)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "srcnn_jax").mkdir()
    (tmp_path / "srcnn_jax" / "positions").touch()
    check_same(source)


def test_kept_positions_need_no_tensorflow(source, monkeypatch):
    settings = SETTINGS | {"steps": range(32)}
    drawn = list(first_positions.patch_positions(source, **settings))
    monkeypatch.setattr(runtime, "import_tensorflow", lambda: pytest.fail("it is imported"))
    np.testing.assert_array_equal(list(first_positions.patch_positions(source, **settings)), drawn)


def test_an_error_of_tensorflow_is_raised(source, monkeypatch):
    check_same(source)

    def fail():
        raise ImportError("no TensorFlow")

    monkeypatch.setattr(runtime, "import_tensorflow", fail)
    arrays = first_positions.patch_positions(source, **SETTINGS)
    assert len([next(arrays) for _ in range(8)]) == 8
    with pytest.raises(ImportError, match="no TensorFlow"):
        next(arrays)
