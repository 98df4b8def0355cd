"""The optax optimiser of a config: preconditioner, optimiser, schedule, rates by label."""

import inspect
import math
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from srcnn_jax import preconditioner

SCHEDULES = ("cosine", "constant")
DECAYS = {"momentum", "b1", "b2", "b3", "decay"}  # options of optax that decay a mean
RATE_UNITS = ("mse", "euclidean")
UPDATE_NORM = 0.09  # norm of an update of all weights, before momentum, in 1,000 steps or fewer
MAX_RATE = 1e-3  # of networks of fewer than 8,000 weights
FLOAT32 = 1.2e-38, 3.4e38  # a step takes a smaller number for 0, and a larger one for infinity


def learning_rate(config: ml_collections.ConfigDict, steps: int, weights: int) -> float:
    """Returns `config.learning_rate`, or the rate of the rule if that is None.

    The rule is for preconditioned gradients, which have a root mean square of 1. An update of all
    weights then has the norm sqrt(weights) times the rate, and what a network bears is about the
    same norm for every shape. Longer trainings want a lower rate, because more of the noise of the
    batches has to be averaged out. The norm was measured over 1,000 steps. The exponent is a guess
    from single trainings of two lengths (experiments/results/LOG.md).

    Args:
      config: `config.optimizer`.
      steps: steps of the whole training.
      weights: number of weights of the network, without biases.

    Raises:
      ValueError: if the rate is not in the range of `FLOAT32`, or None without a rule for it, or
        optax has no such optimiser.
    """
    rate = config.learning_rate
    if rate is None:
        _find(config.name)
        if config.name != "sgd" or not config.precondition:
            raise ValueError(
                "optimizer.learning_rate is None, and its rule is for the preconditioned sgd, not "
                f"for {config.name!r} with precondition={config.precondition}: set "
                "--config.optimizer.learning_rate=1e-3, or another"
            )
        rate = min(UPDATE_NORM / math.sqrt(weights), MAX_RATE)
        return rate * (1000 / max(steps, 1000)) ** 0.25
    low, high = FLOAT32
    if not low <= rate <= high:  # also true for NaN
        raise ValueError(f"optimizer.learning_rate is from {low} to {high}, not {rate}")
    return rate


def create_schedule(
    config: ml_collections.ConfigDict,
    rate: float | jax.Array,
    steps: int,
    label_values: int,
) -> optax.Schedule:
    """Returns the learning rate over steps, for the mean squared error per value.

    Args:
      config: `config.optimizer`.
      rate: peak of the schedule, from `learning_rate`. It may be traced, so that networks with
        different rates share one program.
      steps: steps of the whole training.
      label_values: numbers in one label (pixels times channels). They convert a rate for Caffe's
        EuclideanLoss, which is half the sum of squares over a label, averaged over the batch.

    Raises:
      ValueError: if a value of the schedule is unknown or out of its range.
    """
    if config.schedule not in SCHEDULES:
        raise ValueError(f"optimizer.schedule is one of {SCHEDULES}, not {config.schedule!r}")
    if config.rate_unit not in RATE_UNITS:
        raise ValueError(f"optimizer.rate_unit is one of {RATE_UNITS}, not {config.rate_unit!r}")
    if config.warmup_steps < 0:
        raise ValueError(f"optimizer.warmup_steps is 0 or more, not {config.warmup_steps}")
    peak = rate * (label_values / 2 if config.rate_unit == "euclidean" else 1.0)
    warmup = min(config.warmup_steps, steps // 2)
    decay = (
        optax.schedules.constant_schedule(peak)
        if config.schedule == "constant"
        else optax.schedules.cosine_decay_schedule(peak, steps - warmup)
    )
    if not warmup:
        return decay
    rise = optax.schedules.linear_schedule(0.0, peak, warmup)
    return optax.schedules.join_schedules([rise, decay], [warmup])


def create_optimizer(
    config: ml_collections.ConfigDict,
    rate: float | jax.Array,
    steps: int,
    label_values: int,
    params: Any,
) -> optax.GradientTransformation:
    """Returns the optimiser: preconditioner, any optax optimiser by name, rates by label.

    Args:
      config, rate, steps, label_values: as `create_schedule`.
      params: {'conv1': {'kernel': ..., 'bias': ...}, ...}, of any shapes.

    Raises:
      ValueError: if optax has no such optimiser or option, a value of the schedule or of the
        preconditioner is out of its range, or a parameter has no rate.
    """
    schedule = create_schedule(config, rate, steps, label_values)
    optimizer = _create_optax(config, schedule, params)
    multipliers = rates_by_label(params, config.rates)
    by_label = optax.stateless(lambda updates, _: jax.tree.map(jnp.multiply, updates, multipliers))
    if not config.precondition:
        return optax.chain(optimizer, by_label)
    return optax.chain(_create_preconditioner(config.preconditioner, steps), optimizer, by_label)


def _find(name: str) -> Callable[..., optax.GradientTransformation]:
    """Returns optax's function of that name."""
    make = getattr(optax, name, None)
    if not callable(make):
        raise ValueError(f"optimizer.name {name!r} is not an optimiser of optax, such as 'sgd'")
    return make


def _create_optax(
    config: ml_collections.ConfigDict, schedule: optax.Schedule, params: Any
) -> optax.GradientTransformation:
    """Returns optax's optimiser `name` with `options`; raises as `create_optimizer`."""
    make = _find(config.name)
    options = config.options.to_dict()
    known = list(inspect.signature(make).parameters)[1:]  # the first is the learning rate
    if unknown := options.keys() - set(known):
        raise ValueError(
            f"optimizer.options {options} has {', '.join(sorted(unknown))!r}, which optax."
            f"{config.name} does not know: it takes {', '.join(known)}"
        )
    for option in DECAYS & options.keys():
        value = options[option]
        if isinstance(value, (int, float)) and not 0 <= value < 1:
            raise ValueError(
                f"optimizer.options {option} is 0 or more, and below 1, not {value}: with "
                f"{value} the steps would grow without end"
            )
    try:
        optimizer = make(schedule, **options)
        jax.eval_shape(lambda p: optimizer.update(p, optimizer.init(p), p), params)
    except Exception as error:  # some of optax's functions are no optimisers, or need the loss
        raise ValueError(
            f"optimizer.name {config.name!r} with options {options} makes no optimiser of optax: "
            f"{error}"
        ) from error
    return optimizer


def _create_preconditioner(
    config: ml_collections.ConfigDict, steps: int
) -> optax.GradientTransformation:
    """Returns `preconditioner.scale_by_eigenbasis` with the values of its config."""
    for field, least in (("update_every", 1), ("start", 0)):
        if config[field] < least:
            raise ValueError(
                f"optimizer.preconditioner.{field} is {least} or more, not {config[field]}"
            )
    for field in ("factor_decay", "moment_decay"):
        if not 0 <= config[field] < 1:
            raise ValueError(
                f"optimizer.preconditioner.{field} is 0 or more, and below 1, not {config[field]}"
            )
    low, high = FLOAT32
    for field in ("max_rms", "eps"):
        if not low <= config[field] <= high:
            raise ValueError(
                f"optimizer.preconditioner.{field} is from {low} to {high}, not {config[field]}"
            )
    return preconditioner.scale_by_eigenbasis(
        update_every=config.update_every,
        start=min(config.start, steps // 10),
        factor_decay=config.factor_decay,
        moment_decay=config.moment_decay,
        max_rms=config.max_rms,
        eps=config.eps,
    )


def rates_by_label(params: Any, rules: Any) -> dict[str, dict[str, float]]:
    """Returns the factor on the learning rate of every parameter.

    Args:
      params: {'conv1': {'kernel': ..., 'bias': ...}, ...}.
      rules: pairs of a pattern and a factor, (('last/.*', 0.1), ('.*', 1.0)). A pattern is a
        regular expression that must match a whole label. Labels are 'conv1/kernel', 'conv2/bias',
        ..., and for the last layer 'last/kernel' and 'last/bias'. The first match counts.

    Returns:
      {'conv1': {'kernel': factor, 'bias': factor}, ...}.

    Raises:
      ValueError: if `rules` are not such pairs, or no pattern matches a parameter.
    """
    pairs = _compile(rules)

    def rate(label: str) -> float:
        for pattern, factor in pairs:
            if pattern.fullmatch(label):
                return factor
        raise ValueError(
            f"optimizer.rates {rules!r} has no pattern for {label!r}: add ('.*', 1.0) at its end"
        )

    last = f"conv{len(params)}"
    return {
        layer: {kind: rate(f"{'last' if layer == last else layer}/{kind}") for kind in values}
        for layer, values in params.items()
    }


def _compile(rules: Any) -> list[tuple[re.Pattern[str], float]]:
    """Compiles the rules of `rates_by_label`, and raises the same errors."""
    spelling = """--config.optimizer.rates="(('last/.*', 0.1), ('.*', 1.0))" or "(('.*', 1.0),)\""""
    pairs = []
    for rule in rules:
        pair = tuple(rule) if isinstance(rule, (tuple, list)) else ()
        if len(pair) != 2 or not isinstance(pair[0], str) or not _is_factor(pair[1]):
            raise ValueError(
                f"optimizer.rates {rules!r} is not a tuple of (pattern, factor) pairs: "
                f"{spelling}; a factor is 0 or more"
            )
        try:
            pairs.append((re.compile(pair[0]), float(pair[1])))
        except re.error as error:
            raise ValueError(
                f"optimizer.rates has {pair[0]!r}, which is no regular expression: {error}"
            ) from error
    return pairs


def _is_factor(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 <= value < math.inf
