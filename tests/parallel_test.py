"""How many devices there are and are used."""

import itertools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from srcnn_jax import parallel


def test_choose_devices():
    assert len(parallel.choose_devices(64, 0)) == 8
    assert len(parallel.choose_devices(12, 0)) == 6
    assert len(parallel.choose_devices(64, 2)) == 2
    with pytest.raises(ValueError, match="16 cannot be had: there are 1 processes with 8 each"):
        parallel.choose_devices(64, 16)
    with pytest.raises(ValueError, match="batch_size 64 does not divide by 3 devices"):
        parallel.choose_devices(64, 3)
    with pytest.raises(ValueError, match="or 0 for all that fit, not -1"):
        parallel.choose_devices(64, -1)


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


@pytest.mark.parametrize("count", [1, 2])
def test_compiles_in_a_thread_and_not_again(count, programs):
    devices = jax.local_devices()[:count]

    def steps(state, batch, pixels):
        total = jax.lax.psum(batch["x"].sum(), parallel.AXIS)
        return state + total + pixels.sum(), total

    state = parallel.replicate(np.float32(2), devices)
    pixels = parallel.replicate(np.ones(3, np.float32), devices)
    first = {"x": parallel.shape_on_devices((3, 4, 5), np.float32, devices)}
    run = parallel.pmap_steps(steps, devices)
    run = parallel.compile_in_thread(run, state, first, pixels)
    ready = parallel.prefetch_to_devices(iter([{"x": np.ones((3, 4, 5), np.float32)}] * 2), devices)
    for thread in threading.enumerate():
        if thread.name.startswith("compile_in_thread"):
            thread.join()
    del programs[:]
    state, total = run(state, next(ready), pixels)
    state, total = run(state, next(ready), pixels)
    assert not programs
    assert (float(total), float(state)) == (60, 2 + 2 * 63)


def test_the_error_of_a_compilation_in_a_thread_is_raised_by_the_call():
    devices = jax.local_devices()[:1]

    def steps(state, batch, pixels):
        raise ValueError("no such layer")

    run = parallel.compile_in_thread(parallel.pmap_steps(steps, devices), 0.0, np.ones((1, 2)), 0.0)
    with pytest.raises(ValueError, match="no such layer"):
        run(0.0, np.ones((1, 2)), 0.0)


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


def test_threads_keep_the_order_and_take_few_items(monkeypatch):
    monkeypatch.setattr(parallel, "available_cores", lambda: 2)
    together, taken, finished = threading.Barrier(2), [], []

    def items():
        for i in range(6):
            assert len(taken) - len(finished) <= 3
            taken.append(i)
            yield i

    def work(i):
        together.wait(timeout=60)  # two at a time
        return -i

    for result in parallel.map_in_threads(work, items()):
        finished.append(result)
    assert finished == [0, -1, -2, -3, -4, -5]


def test_what_a_thread_raises_is_raised_and_ends_the_work(monkeypatch):
    monkeypatch.setattr(parallel, "available_cores", lambda: 2)
    begun = []

    def work(i):
        begun.append(i)
        if i == 1:
            raise ValueError("the second")
        return i

    with pytest.raises(ValueError, match="the second"):
        list(parallel.map_in_threads(work, range(100)))
    assert len(begun) < 6
    assert not [t for t in threading.enumerate() if t.name.startswith("map_in_threads")]
