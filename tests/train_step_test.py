"""The step by hand: loss, momentum, microbatches, matrix products, devices."""

import functools
import re
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from srcnn_jax import parallel, train, train_step
from srcnn_jax.architecture import context_of, create_architecture


def make_batch(rng, config, n=16):
    side = config.data.patch_size
    x = rng.random((n, side, side, 1), np.float32)
    return {
        "input": x,
        "label": np.clip(x + 0.1 * rng.normal(size=x.shape), 0, 1).astype(np.float32),
    }


def test_loss_is_the_mean_squared_error(tiny_config):
    state = train_step.create_train_state(tiny_config)
    batch = make_batch(np.random.default_rng(0), tiny_config)
    out = np.asarray(jax.jit(state.apply_fn)({"params": state.params}, batch["input"]), np.float64)
    loss = jax.jit(train_step.loss_fn, static_argnums=1)(state.params, state.apply_fn, batch)
    np.testing.assert_allclose(loss, np.mean((out - batch["label"]) ** 2), rtol=1e-5)
    smaller = batch | {"label": batch["label"][:, 1:]}
    with pytest.raises(ValueError, match="labels are"):
        jax.eval_shape(lambda: train_step.loss_fn(state.params, state.apply_fn, smaller))


def test_the_first_steps_are_compiled_while_their_batch_is_made(tiny_config, programs):
    source = train.load_data(tiny_config).source
    devices = parallel.choose_devices(tiny_config.train.batch_size, 2)
    state = parallel.replicate(train_step.create_train_state(tiny_config), devices)
    run, batches = train_step.create_steps(tiny_config, source, devices, range(7), state)
    for thread in threading.enumerate():
        if thread.name.startswith("compile_in_thread"):
            thread.join()
    for expected in 0, 1:  # five steps, and the two that are left
        batch = next(batches)
        del programs[:]
        state, losses = run(state, batch)
        assert len(programs) == expected
    assert np.isfinite(losses).all()


def test_loss_of_some_channels(tiny_config):
    tiny_config.data.colour = "ycbcr"
    assert train_step.loss_channels(tiny_config) == (0, 1, 2)
    predictions = np.zeros((1, 2, 2, 3), np.float32)
    batch = {"input": predictions, "label": predictions + np.float32([3, 1, 2])}
    loss = train_step.loss_fn(None, lambda _, x, inside: x, batch, (1, 2))
    np.testing.assert_allclose(loss, (1 + 4) / 2)
    tiny_config.train.loss_channels = (1, 2)
    assert train_step.loss_channels(tiny_config) == (1, 2)
    # The last two are what the command line makes of `loss_channels=` and of `=all`.
    for bad in ((3,), (2, 1), (1, 1), ("",), ("all",)):
        tiny_config.train.loss_channels = bad
        with pytest.raises(ValueError, match=r"some of .*loss_channels=1,2, or \(\) for all"):
            train.check_config(tiny_config)


def test_cauchy_loss_of_each_patch(tiny_config):
    sizes = np.reshape([0.001, 0.02, 0.05, 0.5], (4, 1, 1, 1))
    errors = np.float32(sizes * np.random.default_rng(0).normal(size=(4, 6, 6, 1)))
    batch = {"input": errors, "label": np.zeros_like(errors)}

    def loss(scale, factor=1.0):
        def multiply(params, x, inside):
            return params["params"] * x

        return train_step.loss_fn(factor, multiply, batch, (), scale)

    mses = np.mean(errors.astype(np.float64) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(loss(0.03), np.mean(9e-4 * np.log(1 + mses / 9e-4)), rtol=1e-5)
    # Far above the errors it is their mean square.
    np.testing.assert_allclose(loss(1e3), mses.mean(), rtol=1e-4)
    # Far below, each patch counts by its PSNR: the derivative by log(factor) is the same for all.
    np.testing.assert_allclose(jax.grad(lambda f: loss(1e-5, f))(1.0), 2 * 1e-10, rtol=1e-3)
    for bad in (-0.1, 1e-30, 1e30, float("nan"), float("inf")):
        tiny_config.train.cauchy_scale = bad
        words = f"train.cauchy_scale is 0, or from 1e-06 to 1e+06, not {bad}"
        with pytest.raises(ValueError, match=re.escape(words)):
            train.check_config(tiny_config)
    for good in train.CAUCHY_SCALES:
        assert 0 < loss(good) < 1


def test_step_is_sgd_with_momentum_by_hand(tiny_config):
    tiny_config.optimizer.update(
        precondition=False, learning_rate=0.1, schedule="constant", warmup_steps=0
    )
    state = train_step.create_train_state(tiny_config)
    batch = make_batch(np.random.default_rng(0), tiny_config)
    velocity = jax.tree.map(np.zeros_like, state.params)
    params = state.params
    step = jax.jit(train_step.train_step)
    grad = jax.jit(jax.grad(train_step.loss_fn), static_argnums=1)
    for _ in range(3):
        grads = grad(params, state.apply_fn, batch)
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, grads)
        params = jax.tree.map(lambda p, v: p - 0.1 * v, params, velocity)
        state, _ = step(state, batch)
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert int(state.step) == 3


@pytest.mark.parametrize("cauchy_scale", [0.0, 0.03])
def test_microbatches_and_many_steps_change_nothing(tiny_config, cauchy_scale):
    tiny_config.optimizer.precondition = False  # it magnifies rounding in its first steps
    tiny_config.optimizer.learning_rate = 0.1
    rng = np.random.default_rng(0)
    batches = [make_batch(rng, tiny_config) for _ in range(3)]
    one = train_step.create_train_state(tiny_config)
    step = jax.jit(functools.partial(train_step.train_step, cauchy_scale=cauchy_scale))
    losses = []
    for batch in batches:
        one, loss = step(one, batch)
        losses.append(loss)
    steps = functools.partial(train_step.train_steps, microbatches=4, cauchy_scale=cauchy_scale)
    many, many_losses = jax.jit(steps)(
        train_step.create_train_state(tiny_config), jax.tree.map(lambda *x: jnp.stack(x), *batches)
    )
    np.testing.assert_allclose(many_losses, losses, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(many.params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(("words", "products"), [("x3", 10), ("x3,valid", 10), ("x3,955", 12)])
def test_a_step_on_a_cpu_is_so_many_matrix_products(words, products):
    """The fast form: no convolution.

    A layer takes a product forward, one for the kernel and one for what it was given, of which the
    first layer needs no gradient; one in tiles has one more matrix, G, for the kernel, forward and
    back. Its matrices A and B are loops.
    """
    from configs import default

    config = default.get_config(words)
    config.optimizer.precondition, config.optimizer.learning_rate = False, 1e-3
    state = train_step.create_train_state(config)
    patch, margin = config.data.patch_size, create_architecture(config).margin
    windows = np.zeros((2, *2 * [patch + 2 * context_of(config)], 1), np.float32)
    batch = {
        "input": windows,
        "label": np.zeros((2, *2 * [patch - 2 * margin], 1), np.float32),
    }
    if words != "x3,valid":
        batch["inside"] = windows
    step = jax.jit(lambda s, b: train_step.train_step(s, b, microbatches=2)).lower(state, batch)
    compiled = step.compile().as_text()
    assert step.as_text().count("stablehlo.dot_general") == compiled.count(" dot(") == products
    assert " convolution(" not in compiled


def test_devices_hold_the_same_weights(tiny_config):
    from srcnn_jax import parallel

    devices = jax.local_devices()[:4]
    step = parallel.pmap_steps(
        lambda s, b, p: train_step.train_steps(s, b, p, axis_name=parallel.AXIS), devices
    )
    batch = make_batch(np.random.default_rng(0), tiny_config)
    batches = parallel.prefetch_to_devices(iter([jax.tree.map(lambda x: x[None], batch)]), devices)
    state, _ = step(
        parallel.replicate(train_step.create_train_state(tiny_config), devices), next(batches), None
    )
    for leaf in jax.tree.leaves((state.params, state.opt_state)):
        copies = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert len(copies) == 4
        for copy in copies[1:]:
            np.testing.assert_array_equal(copy, copies[0])
