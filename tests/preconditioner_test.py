"""The preconditioner against NumPy, and what it is good for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optimizer_test import create_params

from srcnn_jax import preconditioner


def reference(gradients, update_every, start, factor_decay, moment_decay, max_rms):
    """`scale_by_eigenbasis` for one (f, f, in, out) kernel, in float64 with einsum."""
    f, _, fan_in, fan_out = gradients[0].shape
    dims = f * f, fan_in, fan_out
    factors = [np.zeros((d, d)) for d in dims]
    bases = [np.eye(d) for d in dims]
    moment, seen, outputs = np.zeros(dims), 0, []
    for count, gradient in enumerate(gradients):
        g = np.float64(gradient).reshape(dims)
        seconds = (
            np.einsum("aij,bij->ab", g, g),
            np.einsum("iaj,ibj->ab", g, g),
            np.einsum("ija,ijb->ab", g, g),
        )
        factors = [
            factor_decay * k + (1 - factor_decay) * s for k, s in zip(factors, seconds, strict=True)
        ]
        if count < start:
            outputs.append(np.zeros_like(gradient))
            continue
        if (count - start) % update_every == 0:
            bases = [np.linalg.eigh(k)[1] for k in factors]
        rotated = np.einsum("abc,ai,bj,ck->ijk", g, *bases)
        moment = moment_decay * moment + (1 - moment_decay) * rotated**2
        seen += 1
        unit = rotated / np.sqrt(moment / (1 - moment_decay**seen))
        unit = np.einsum("ijk,ai,bj,ck->abc", unit, *bases)
        rms = np.sqrt(np.mean(unit**2))
        outputs.append((unit * min(1, max_rms / rms)).reshape(gradient.shape))
    return outputs


@pytest.mark.parametrize("shape", [(3, 3, 2, 4), (1, 1, 4, 3), (3, 3, 4, 1), (3, 3, 1, 4)])
@pytest.mark.parametrize("max_rms", [0.5, 10.0])
def test_preconditioner_is_its_derivation(shape, max_rms):
    rng = np.random.default_rng(0)
    # Gradients of full rank in every axis, so that the bases are unique but for signs.
    gradients = [rng.normal(size=shape) * (1 + np.arange(shape[3])) for _ in range(12)]
    settings = {
        "update_every": 3,
        "start": 4,
        "factor_decay": 0.8,
        "moment_decay": 0.9,
        "max_rms": max_rms,
    }
    transform = preconditioner.scale_by_eigenbasis(**settings)
    state = transform.init({"kernel": jnp.zeros(shape)})
    update = jax.jit(transform.update)
    for gradient, expected in zip(gradients, reference(gradients, **settings), strict=True):
        updates, state = update({"kernel": jnp.float32(gradient)}, state)
        np.testing.assert_allclose(updates["kernel"], expected, rtol=2e-3, atol=2e-3)
    assert int(state.count) == len(gradients)


def test_preconditioner_normalises_biases_elementwise():
    transform = preconditioner.scale_by_eigenbasis(start=0)
    state = transform.init(jnp.zeros(3))
    updates, _ = jax.jit(transform.update)(jnp.array([1e-4, -3.0, 100.0]), state)
    np.testing.assert_allclose(updates, [1, -1, 1], rtol=1e-5)


def test_preconditioner_survives_a_zero_gradient():
    transform = preconditioner.scale_by_eigenbasis(start=0, update_every=1)
    params = create_params(np.random.default_rng(0))
    state = transform.init(params)
    update, zeros = jax.jit(transform.update), jax.tree.map(np.zeros_like, params)
    for _ in range(3):
        updates, state = update(zeros, state)
        assert all(np.isfinite(u).all() and not u.any() for u in jax.tree.leaves(updates))


def test_preconditioner_survives_eigenvectors_that_are_not_found(monkeypatch):
    """A library that fails answers NaN: the basis stays as it was."""
    monkeypatch.setattr(jnp.linalg, "eigh", lambda k: (k[0], jnp.full_like(k, jnp.nan)))
    gradient = jnp.full((3, 3, 2, 4), 0.5)
    precondition = preconditioner.scale_by_eigenbasis(start=0)
    update, state = jax.jit(precondition.update)(gradient, precondition.init(gradient))
    np.testing.assert_allclose(update, 1.0, rtol=1e-5)
    for basis in state.bases:
        np.testing.assert_array_equal(basis, np.eye(len(basis)))


def test_preconditioner_cures_bad_conditioning():
    """A quadratic with a condition number of 1e6 in a rotated basis."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(9, 9)))
    hessian = jnp.float32(basis @ np.diag(np.logspace(0, -6, 9)) @ basis.T)
    start = {"kernel": jnp.float32(rng.normal(size=(3, 3, 1, 5)))}

    def loss(params):
        x = params["kernel"].reshape(9, 5)
        return jnp.einsum("io,ij,jo->", x, hessian, x)

    def minimise(transform):
        params, state = start, transform.init(start)

        @jax.jit
        def step(params, state):
            updates, state = transform.update(jax.grad(loss)(params), state)
            return optax.apply_updates(params, updates), state

        for _ in range(500):
            params, state = step(params, state)
        return float(np.abs(params["kernel"]).max())

    sgd = optax.sgd(0.1, momentum=0.9)
    schedule = optax.schedules.cosine_decay_schedule(5e-3, 500)
    preconditioned = optax.chain(
        preconditioner.scale_by_eigenbasis(update_every=10), optax.sgd(schedule, momentum=0.9)
    )
    assert minimise(preconditioned) < 0.3 * minimise(sgd)
