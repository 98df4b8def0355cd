"""How many devices there are and are used."""

import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from srcnn_jax import parallel


def test_largest_divisor():
    assert parallel.largest_divisor(64, 2) == 2
    assert parallel.largest_divisor(96, 5) == 4
    assert parallel.largest_divisor(7, 4) == 1
    assert parallel.largest_divisor(6, 100) == 6


def test_available_cores_respects_affinity(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3}, raising=False)
    assert parallel.available_cores() == 1


def test_available_cores_respects_the_cgroup(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    for content, cores in (("150000 100000\n", 2), ("max 100000\n", 16), ("50000 100000\n", 1)):
        monkeypatch.setattr("pathlib.Path.read_text", lambda _, content=content: content)
        assert parallel.available_cores() == cores


@pytest.fixture
def compilation_cache():
    before = jax.config.jax_compilation_cache_dir
    yield lambda: jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", before)


def test_compilations_are_kept_per_kind_of_cpu(compilation_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kinds = set()
    for flags in ("flags: avx", "flags: avx avx2"):
        monkeypatch.setattr("pathlib.Path.read_text", lambda _, flags=flags: flags)
        jax.config.update("jax_compilation_cache_dir", None)
        parallel.cache_compilations()
        folder = pathlib.Path(compilation_cache())
        assert folder.is_dir()
        assert folder.parent == tmp_path / "srcnn_jax"
        kinds.add(folder)
    assert len(kinds) == 2


def test_a_cache_that_the_user_named_is_left_alone(compilation_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    parallel.cache_compilations()
    assert compilation_cache() == str(tmp_path)


def test_without_a_place_for_the_cache_all_works(compilation_cache, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    jax.config.update("jax_compilation_cache_dir", None)
    parallel.cache_compilations()
    assert compilation_cache() is None


def test_choose_devices():
    assert len(parallel.choose_devices(64, 0)) == 8
    assert len(parallel.choose_devices(12, 0)) == 6
    assert len(parallel.choose_devices(64, 2)) == 2
    with pytest.raises(ValueError, match="16 cannot be had: there are 1 processes with 8 each"):
        parallel.choose_devices(64, 16)
    with pytest.raises(ValueError, match="batch_size 64 does not divide by 3 devices"):
        parallel.choose_devices(64, 3)


def test_prefetch_shards_and_passes_errors_on():
    devices = jax.local_devices()[:2]
    batches = ({"x": np.full((3, 4, 5), i, np.float32)} for i in range(5))
    seen = list(parallel.prefetch_to_devices(batches, devices))
    assert [int(batch["x"][0, 0, 0, 0]) for batch in seen] == list(range(5))
    assert seen[0]["x"].shape == (2, 3, 2, 5)
    assert len(seen[0]["x"].addressable_shards) == 2

    def failing():
        yield {"x": np.zeros((1, 2))}
        raise OSError("the disk is gone")

    ready = parallel.prefetch_to_devices(failing(), devices)
    next(ready)
    with pytest.raises(OSError, match="the disk is gone"):
        next(ready)


def test_prefetch_keeps_the_order_of_patches():
    devices = jax.local_devices()[:4]
    batch = np.arange(2 * 8).reshape(2, 8)
    (sharded,) = parallel.prefetch_to_devices(iter([batch]), devices)
    back = np.asarray(sharded).swapaxes(0, 1).reshape(2, 8)
    np.testing.assert_array_equal(back, batch)
    assert list(itertools.chain(*np.asarray(sharded)[1])) == [2, 3, 10, 11]


@pytest.mark.parametrize("count", [1, 2, 3, 8, 13])
def test_mean(count):
    values = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    expected = values.astype(np.float64).mean(0)
    np.testing.assert_allclose(parallel.mean(jnp.asarray(values), None), expected, rtol=1e-5)


def test_mean_is_the_same_to_the_bit_on_any_number_of_devices():
    values = np.random.default_rng(0).normal(size=(64, 1000)).astype(np.float32)
    whole = parallel.mean(jnp.asarray(values), None)
    for devices in (2, 4, 8):
        mean = jax.pmap(
            lambda x: parallel.mean(x, parallel.AXIS),
            parallel.AXIS,
            devices=jax.devices()[:devices],
        )
        for copy in mean(values.reshape(devices, -1, 1000)):
            np.testing.assert_array_equal(copy, whole)
