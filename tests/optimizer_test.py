"""Schedules in the right loss scale, rates by label, every optimiser of optax."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from configs import default
from srcnn_jax import optimizer


def create_params(rng, kernel_sizes=(3, 1, 3), widths=(1, 4, 3, 1)):
    return {
        f"conv{i + 1}": {
            "kernel": jnp.float32(rng.normal(size=(f, f, widths[i], widths[i + 1]))),
            "bias": jnp.float32(rng.normal(size=widths[i + 1])),
        }
        for i, f in enumerate(kernel_sizes)
    }


def test_paper_rates_in_the_scale_of_a_mean():
    """1e-4 for Caffe's EuclideanLoss is 0.022 for a mean over 21x21 pixels (PROTOCOL: 220.5)."""
    config = default.get_config("x3,paper").optimizer
    schedule = optimizer.create_schedule(config, 1e-4, steps=1000, label_values=21 * 21)
    assert schedule(0) == schedule(999) == pytest.approx(0.02205)
    params = create_params(np.random.default_rng(0))
    tx = optimizer.create_optimizer(config, config.learning_rate, 1000, 21 * 21, params)
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params), params)
    for layer, kind, rate in [
        ("conv1", "kernel", 0.02205), ("conv2", "kernel", 0.02205), ("conv3", "kernel", 0.002205),
        ("conv1", "bias", 0.002205), ("conv3", "bias", 0.002205),
    ]:  # fmt: skip
        np.testing.assert_allclose(updates[layer][kind], -rate, rtol=1e-6)


def test_cosine_with_warm_up():
    config = default.get_config("x3").optimizer
    schedule = optimizer.create_schedule(config, 0.01, steps=1000, label_values=1)
    assert schedule(0) == 0
    assert schedule(config.warmup_steps) == pytest.approx(0.01)
    assert schedule(1000) == pytest.approx(0)


def test_the_rule_of_the_rate():
    """One norm of an update for every shape, and less in longer trainings."""
    config = default.get_config("x3").optimizer
    assert optimizer.learning_rate(config, 1000, 8_032) == pytest.approx(1.00e-3, rel=0.01)
    assert optimizer.learning_rate(config, 10, 8_032) == pytest.approx(1.00e-3, rel=0.01)
    assert optimizer.learning_rate(config, 1000, 166) == 1e-3
    assert optimizer.learning_rate(config, 1000, 4 * 8_032) == pytest.approx(5.02e-4, rel=0.01)
    assert optimizer.learning_rate(config, 16_000, 8_032) == pytest.approx(5.02e-4, rel=0.01)
    config.learning_rate = 3e-4
    assert optimizer.learning_rate(config, 16_000, 8_032) == 3e-4
    config.learning_rate, config.precondition = None, False
    with pytest.raises(
        ValueError, match=r"learning_rate is None, and its rule is for .*precondition=False"
    ):
        optimizer.learning_rate(config, 1000, 8_032)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lion", "rmsprop", "adagrad"])
def test_any_optimiser_of_optax(name):
    config = default.get_config("x3").optimizer
    config.name, config.options, config.precondition = name, ml_collections.ConfigDict(), False
    params = create_params(np.random.default_rng(0))
    tx = optimizer.create_optimizer(config, 1e-3, 100, 1, params)
    state, update = tx.init(params), jax.jit(tx.update)
    for _ in range(2):  # the first rate of the warm-up is zero
        updates, state = update(params, state, params)
    assert all(u.any() for u in jax.tree.leaves(updates))


def test_every_parameter_has_a_rate():
    params = create_params(np.random.default_rng(0))
    rates = optimizer.rates_by_label(params, (("last/kernel", 0.5), (".*/bias", 0.1), (".*", 1)))
    assert rates["conv1"] == {"kernel": 1.0, "bias": 0.1}
    assert rates["conv3"] == {"kernel": 0.5, "bias": 0.1}
    with pytest.raises(ValueError, match="no pattern for 'conv2/kernel'"):
        optimizer.rates_by_label(params, (("conv1/.*", 1.0), ("last/.*", 1.0)))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("name", "sdg", "'sdg' is not an optimiser"),
        ("name", "apply_updates", "apply_updates"),
        (
            "options",
            {"b1": 0.9},
            r"'b1', which optax.sgd does not know: it takes momentum, nesterov",
        ),
        ("options", {"momentum": -3.0}, "momentum is 0 or more, and below 1, not -3"),
        ("options", {"momentum": "much"}, r"momentum': 'much'.* makes no optimiser of optax"),
        ("rates", ("last/.*:0.1",), r"not a tuple of \(pattern, factor\) pairs: --config"),
        ("rates", (".*", 1.0), r"not a tuple of \(pattern, factor\) pairs: .*\('\.\*', 1\.0\),\)"),
        ("rates", ((".*", "x"),), "not a tuple of"),
        ("rates", (("(", 1.0),), "'\\(', which is no regular expression"),
        ("schedule", "linear", "'linear'"),
        ("rate_unit", "sum", "'sum'"),
    ],
)
def test_wrong_settings(field, value, words):
    config = default.get_config("x3").optimizer
    config[field] = ml_collections.ConfigDict(value) if isinstance(value, dict) else value
    params = create_params(np.random.default_rng(0))
    with pytest.raises(ValueError, match=words):
        optimizer.create_optimizer(config, 1e-3, 100, 1, params)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("update_every", 0, "update_every is 1 or more, not 0"),
        ("start", -1, "start is 0 or more, not -1"),
        ("factor_decay", 1.0, "factor_decay is 0 or more, and below 1, not 1"),
        ("moment_decay", -0.1, "moment_decay is 0 or more"),
        ("max_rms", 0.0, "max_rms is from 1.2e-38 to 3.4e.38, not 0"),
        ("eps", float("nan"), "eps is from 1.2e-38 to 3.4e.38, not nan"),
        ("eps", 1e-300, "eps is from .*, not 1e-300"),
        ("max_rms", 1e300, "max_rms is from .*, not 1e.300"),
    ],
)
def test_wrong_settings_of_the_preconditioner(field, value, words):
    config = default.get_config("x3").optimizer
    config.preconditioner[field] = value
    params = create_params(np.random.default_rng(0))
    with pytest.raises(ValueError, match=f"optimizer.preconditioner.{words}"):
        optimizer.create_optimizer(config, 1e-3, 100, 1, params)


def test_lists_from_json_are_taken_for_tuples():
    params = create_params(np.random.default_rng(0))
    rates = optimizer.rates_by_label(params, [["last/.*", 0.5], [".*", 1]])
    assert (rates["conv3"]["bias"], rates["conv1"]["bias"]) == (0.5, 1.0)
