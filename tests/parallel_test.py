"""How many devices there are and are used."""

import itertools

import jax
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
