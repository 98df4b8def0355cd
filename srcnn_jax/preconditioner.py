"""The preconditioner that lets SRCNN learn in minutes, as an optax transformation.

This file imports only JAX and optax, so it can be copied into another project:

    optimizer = optax.chain(scale_by_eigenbasis(), optax.sgd(schedule, momentum=0.9))
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class ScaleByEigenbasisState(NamedTuple):
    """State of `scale_by_eigenbasis`. Each field except `count` has the tree of the parameters.

    Attributes:
      count: int32 scalar, the number of gradients so far.
      factors: for each kernel, a tuple of running second moments (d, d), one for each of its axes
        (k*k, in, out) that is longer than 1; () for a vector.
      bases: for each factor, its eigenvectors in the columns of a matrix (d, d).
      moments: running second moment of the rotated gradient, of the shape of the parameter.
    """

    count: jax.Array  # type: ignore[assignment]
    factors: Any
    bases: Any
    moments: Any


def scale_by_eigenbasis(
    update_every: int = 50,
    start: int = 20,
    factor_decay: float = 0.95,
    moment_decay: float = 0.99,
    max_rms: float = 1.0,
    eps: float = 1e-12,
) -> optax.GradientTransformation:
    """Normalises the gradient in the eigenbasis of its Kronecker-factored second moment.

    Enlarged patches have a large common mean and hardly any high frequencies. So the loss of SRCNN
    is badly conditioned, and plain SGD is very slow. Let G (k*k, in, out) be the gradient of a
    kernel. Shampoo (Gupta et al. 2018, arXiv 1802.09568) models the second moment of G as a
    Kronecker product of one matrix for each axis,

        K_axis = running mean of  G_(axis) G_(axis)^T        (G unfolded along that axis).

    The eigenvectors Q_axis of these matrices span the basis in which the model is diagonal. The
    entries of the gradient are nearly uncorrelated there. So each entry is divided by its own root
    mean square, which approximates a division by the root of the full matrix. The second moments in
    the basis are averaged directly, as in SOAP (Vyas et al. 2024, arXiv 2409.11321), and not taken
    from the eigenvalues:

        R = G rotated by all Q;  V = running mean of R * R;  U = R / sqrt(V), rotated back.

    SOAP includes momentum. This transformation has none: `optax.sgd` behind it adds it. An axis of
    size 1 has no matrix. A vector (bias) has no basis: its entries are divided by their root mean
    square.

    Args:
      update_every: steps between two eigendecompositions, 1 or more.
      start: steps that only gather statistics. The updates of these steps are zero.
      factor_decay: decay of the running K per step, in [0, 1).
      moment_decay: decay of the running V per step, in [0, 1). V is corrected for its start from
        zero.
      max_rms: limit on the root mean square of each parameter's U. It takes effect in steps in
        which V lags behind the gradient.
      eps: number added to sqrt(V), in units of the gradient.

    Returns:
      A transformation for parameters of rank 4 (kernels of shape (k, k, in, out)) and of rank 1.
      Its updates have a root mean square of about 1 and the sign of the gradient, as those of
      `optax.scale_by_adam` have. Gradients must be averaged over devices before they come here.
    """

    def init(params):
        def squares(make):
            return jax.tree.map(lambda p: tuple(make(d) for d in _axes(p)), params)

        return ScaleByEigenbasisState(
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
            # All arrays here have the shape of the parameter.
            unit = _rotate(gradient, basis) / (jnp.sqrt(moment / correction) + eps)
            unit = _rotate(unit, [q.T for q in basis])
            rms = jnp.sqrt(jnp.mean(jnp.square(unit)))  # scalar
            tiny = jnp.finfo(rms.dtype).tiny  # a gradient of zeros has rms 0
            unit *= jnp.minimum(1.0, max_rms / jnp.maximum(rms, tiny))
            return jnp.where(active, unit, 0.0)

        # Factors and bases hold a tuple of matrices (d, d) for each parameter.
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
        count = optax.safe_increment(state.count)
        return units, ScaleByEigenbasisState(count, factors, bases, moments)

    return optax.GradientTransformation(init, update)


def _view(kernel: jax.Array) -> jax.Array:
    """Reshapes (k, k, in, out) to (k*k, in, out) without axes of size 1; keeps a vector."""
    if kernel.ndim == 1:
        return kernel
    rows, columns, fan_in, fan_out = kernel.shape
    return kernel.reshape([d for d in (rows * columns, fan_in, fan_out) if d > 1])


def _axes(kernel: jax.Array) -> tuple[int, ...]:
    """Sizes of the axes that have a factor: a kernel's axes that are longer than 1."""
    return _view(kernel).shape if kernel.ndim > 1 else ()


def _second_moments(gradient: jax.Array) -> list[jax.Array]:
    """G_(axis) G_(axis)^T, (d, d), for each axis that has a factor."""
    view = _view(gradient)  # (k*k, in, out), or fewer axes
    unfolded = (
        jnp.moveaxis(view, axis, 0).reshape(view.shape[axis], -1)  # (d, the other axes)
        for axis in range(len(_axes(gradient)))
    )
    return [g @ g.T for g in unfolded]


def _eigenvectors(factor: jax.Array, before: jax.Array) -> jax.Array:
    """Eigenvectors of (d, d) in columns; `before` if the library fails and returns NaN."""
    vectors = jnp.linalg.eigh(factor)[1]
    return jnp.where(jnp.isfinite(vectors).all(), vectors, before)


def _rotate(gradient: jax.Array, basis: Sequence[jax.Array]) -> jax.Array:
    """Multiplies every axis of the kernel's view by the matching matrix, transposed."""
    view = _view(gradient)  # (k*k, in, out), or fewer axes
    for matrix in basis:
        # The first axis is removed and the rotated one is appended. So the order is right at the
        # end.
        view = jnp.tensordot(view, matrix, axes=(0, 0))
    return view.reshape(gradient.shape)
