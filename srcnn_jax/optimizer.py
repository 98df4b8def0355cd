"""From a config to an optax optimiser: preconditioner, optimiser, schedule, rates by label."""

import ast
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax

SCHEDULES = ("cosine", "constant")
RATE_UNITS = ("mse", "euclidean")


def create_schedule(
    config: ml_collections.ConfigDict, steps: int, label_values: int
) -> optax.Schedule:
    """Learning rate over steps, for the mean squared error per value.

    Args:
      config: `config.optimizer`.
      steps: length of the whole training.
      label_values: numbers in one label (pixels times channels), which translate a rate for
        Caffe's EuclideanLoss: that is the sum over them / 2, averaged over the batch.
    """
    if config.schedule not in SCHEDULES:
        raise ValueError(f"optimizer.schedule is one of {SCHEDULES}, not {config.schedule!r}")
    if config.rate_unit not in RATE_UNITS:
        raise ValueError(f"optimizer.rate_unit is one of {RATE_UNITS}, not {config.rate_unit!r}")
    if not 0 <= config.learning_rate < math.inf:
        raise ValueError(f"optimizer.learning_rate is 0 or more, not {config.learning_rate}")
    if config.warmup_steps < 0:
        raise ValueError(f"optimizer.warmup_steps is 0 or more, not {config.warmup_steps}")
    peak = config.learning_rate * (label_values / 2 if config.rate_unit == "euclidean" else 1.0)
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
    steps: int,
    label_values: int,
    params: Any,
    factor: float | jax.Array = 1.0,
) -> optax.GradientTransformation:
    """The optimiser of a config: preconditioner, any optax optimiser by name, rates by label.

    Args:
      config, steps, label_values: as `create_schedule`.
      params: {'conv1': {'kernel': ..., 'bias': ...}, ...}; the shapes do not matter.
      factor: on the learning rate, a scalar; it may be traced, which makes the rate data.

    Raises:
      ValueError: if optax has no such optimiser or option, or a parameter has no rate.
    """
    make = getattr(optax, config.name, None)
    if not callable(make):
        raise ValueError(
            f"optimizer.name {config.name!r} is not an optimiser of optax, as 'sgd' is"
        )
    schedule = create_schedule(config, steps, label_values)
    options = parse_options(config.options)
    try:
        optimizer = make(lambda step: factor * schedule(step), **options)
        jax.eval_shape(lambda p: optimizer.update(p, optimizer.init(p), p), params)
    except Exception as error:  # not all functions of optax are optimisers, or of gradients alone
        raise ValueError(
            f"optimizer.name {config.name!r} with options {config.options!r} makes no optimiser "
            f"of optax: {error}"
        ) from error
    multipliers = rates_by_label(params, config.rates)
    by_label = optax.stateless(lambda updates, _: jax.tree.map(jnp.multiply, updates, multipliers))
    if not config.precondition:
        return optax.chain(optimizer, by_label)
    if config.precondition_every < 1:
        raise ValueError(
            f"optimizer.precondition_every is 1 or more, not {config.precondition_every}"
        )
    preconditioner = scale_by_eigenbasis(config.precondition_every, start=min(20, steps // 10))
    return optax.chain(preconditioner, optimizer, by_label)


def parse_options(text: str) -> dict[str, Any]:
    """'momentum=0.9,nesterov=True' to keyword arguments; values are Python literals."""
    options = {}
    for item in filter(None, text.split(",")):
        name, _, value = item.partition("=")
        try:
            options[name.strip()] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            raise ValueError(
                f"optimizer.options {text!r}: {item!r} is not of the form name=number"
            ) from None
    return options


def rates_by_label(params: Any, rules: str) -> dict[str, dict[str, float]]:
    """The factor on the learning rate of every parameter.

    Args:
      params: {'conv1': {'kernel': ..., 'bias': ...}, ...}.
      rules: 'pattern:factor' separated by commas. A pattern is a regular expression for a whole
        label, 'conv1/kernel' or 'conv2/bias', the last layer's being 'last/kernel' and
        'last/bias'; the first that fits counts.

    Raises:
      ValueError: if a rule cannot be read, or no rule fits a parameter.
    """
    try:
        pairs = [
            (re.compile(r.rpartition(":")[0]), float(r.rpartition(":")[2]))
            for r in rules.split(",")
        ]
    except (ValueError, re.error) as error:
        raise ValueError(
            f"optimizer.rates {rules!r} is not 'pattern:factor,...': {error}"
        ) from error

    def rate(label: str) -> float:
        for pattern, factor in pairs:
            if pattern.fullmatch(label):
                return factor
        raise ValueError(f"optimizer.rates {rules!r} has no rule for {label!r}; end it with '.*:1'")

    last = f"conv{len(params)}"
    return {
        layer: {kind: rate(f"{'last' if layer == last else layer}/{kind}") for kind in values}
        for layer, values in params.items()
    }


class EigenbasisState(NamedTuple):
    """State of `scale_by_eigenbasis`; each field but `count` mirrors the parameters."""

    count: jax.Array  # type: ignore[assignment]  # int32 scalar, gradients seen
    factors: Any  # per kernel, one (d, d) running second moment for each axis (k*k, in, out)
    bases: Any  # per kernel, the eigenvectors of each factor, in columns
    moments: Any  # running second moment of the rotated gradient, shaped as the parameter


def scale_by_eigenbasis(
    update_every: int = 50,
    start: int = 20,
    factor_decay: float = 0.95,
    moment_decay: float = 0.99,
    max_rms: float = 1.0,
    eps: float = 1e-12,
) -> optax.GradientTransformation:
    """Normalises the gradient in the eigenbasis of its Kronecker-factored second moment.

    Enlarged patches have a large common mean and hardly any high frequencies, so the loss of
    SRCNN is badly conditioned and plain SGD crawls. View the gradient of a kernel as a tensor G
    (k*k, in, out). Shampoo (Gupta et al. 2018, arXiv 1802.09568) models the second moment of G
    as a Kronecker product of one matrix for each axis,

        K_axis = running mean of  G_(axis) G_(axis)^T        (G unfolded along that axis),

    whose eigenvectors Q_axis span the basis in which that model is diagonal. In this basis the
    entries of the gradient are nearly uncorrelated, and dividing each by its own root mean square
    is a fair stand-in for dividing by the root of the full matrix. As in SOAP (Vyas et al. 2024,
    arXiv 2409.11321) the second moments in the basis are averaged directly, rather than taken
    from the eigenvalues:

        R = G rotated by all Q;  V = running mean of R * R;  U = R / sqrt(V), rotated back.

    Unlike SOAP there is no momentum in here: `optax.sgd` behind it has that. Vectors (biases)
    are divided by their root mean square without a basis, and so is an axis of size 1.

    Args:
      update_every: steps between two eigendecompositions.
      start: steps that only gather statistics; their updates are zero.
      factor_decay: decay of the running K, per step.
      moment_decay: decay of the running V, per step, corrected for its start from zero.
      max_rms: limit on the root mean square of each parameter's U, for the steps in which V
        lags behind the gradient.
      eps: added to sqrt(V), in units of the gradient.

    Returns:
      A transformation for parameters of rank 4 (HWIO kernels) and 1. Its updates have a root mean
      square of about 1 and the sign of the gradient, as those of `optax.scale_by_adam`.
      Gradients must be averaged over devices before they come here.
    """

    def init(params):
        def squares(make):
            return jax.tree.map(lambda p: tuple(make(d) for d in _axes(p)), params)

        return EigenbasisState(
            count=jnp.zeros([], jnp.int32),
            factors=squares(lambda d: jnp.zeros((d, d))),
            bases=squares(jnp.eye),
            moments=jax.tree.map(jnp.zeros_like, params),
        )

    def update(updates, state, params=None):
        del params
        active = state.count >= start
        refresh = active & ((state.count - start) % update_every == 0)
        seen = jnp.maximum(state.count - start + 1, 1).astype(jnp.float32)
        correction = 1 - moment_decay**seen

        def normalise(gradient, basis, moment):
            unit = _rotate(gradient, basis) / (jnp.sqrt(moment / correction) + eps)
            unit = _rotate(unit, [q.T for q in basis])
            rms = jnp.sqrt(jnp.mean(jnp.square(unit)))
            unit *= jnp.minimum(1.0, max_rms / jnp.maximum(rms, eps))
            return jnp.where(active, unit, 0.0)

        # A factor or a basis is a tuple of matrices in the place of one parameter.
        factors = jax.tree.map(
            lambda gradient, old: tuple(
                factor_decay * k + (1 - factor_decay) * g
                for k, g in zip(old, _second_moments(gradient), strict=True)
            ),
            updates,
            state.factors,
        )
        bases = jax.lax.cond(
            refresh,
            lambda: jax.tree.map(_eigenvectors, factors, state.bases),
            lambda: state.bases,
        )
        moments = jax.tree.map(
            lambda gradient, basis, old: jnp.where(
                active,
                moment_decay * old + (1 - moment_decay) * jnp.square(_rotate(gradient, basis)),
                old,
            ),
            updates,
            bases,
            state.moments,
        )
        units = jax.tree.map(normalise, updates, bases, moments)
        return units, EigenbasisState(optax.safe_increment(state.count), factors, bases, moments)

    return optax.GradientTransformation(init, update)


def _view(kernel: jax.Array) -> jax.Array:
    """(f, f, in, out) as (f*f, in, out) without axes of size 1; a vector as ()."""
    if kernel.ndim == 1:
        return kernel
    f, _, fan_in, fan_out = kernel.shape
    return kernel.reshape([d for d in (f * f, fan_in, fan_out) if d > 1])


def _axes(kernel: jax.Array) -> tuple[int, ...]:
    """Sizes of the axes that get a factor: those longer than 1 of a kernel, none of a bias."""
    return _view(kernel).shape if kernel.ndim > 1 else ()


def _second_moments(gradient: jax.Array) -> list[jax.Array]:
    view = _view(gradient)
    unfolded = (
        jnp.moveaxis(view, axis, 0).reshape(view.shape[axis], -1)
        for axis in range(len(_axes(gradient)))
    )
    return [g @ g.T for g in unfolded]


def _eigenvectors(factor: jax.Array, before: jax.Array) -> jax.Array:
    """In columns; those from before where none are found: a GPU's library answers with NaN."""
    vectors = jnp.linalg.eigh(factor)[1]
    return jnp.where(jnp.isfinite(vectors).all(), vectors, before)


def _rotate(gradient: jax.Array, basis: Sequence[jax.Array]) -> jax.Array:
    """Multiplies every axis of the kernel's view by the matching matrix, transposed."""
    view = _view(gradient)
    for matrix in basis:
        # Consumes the first axis and appends the rotated one, so the order is restored at the end.
        view = jnp.tensordot(view, matrix, axes=(0, 0))
    return view.reshape(gradient.shape)
