"""Networks that train at once: the same as one by one, and no eigendecomposition in every step."""

import contextlib
import pathlib
import signal

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optuna
import pytest

from experiments import runner
from experiments.sweep import file, trials, worker
from experiments.sweep.vmap import training
from srcnn_jax import (
    config_fields,
    input_pipeline,
    optimizer,
    runtime,
    train,
    train_step,
    weights,
    workdir,
)

STEPS = 12
NETWORKS = ((0, 1e-3), (1, 1e-3), (0, 5e-3))  # (seed, learning rate)


@pytest.fixture
def configs(tiny_config):
    """Of networks that differ in seed and rate.

    With `noise` for patches their gradients have full rank when the preconditioner starts, after
    6 steps; on pictures its first steps would magnify rounding.
    """
    tiny_config.model.update(initializer="he", convolution="channels_last")
    tiny_config.train.update(steps=60, steps_per_dispatch=STEPS)
    tiny_config.optimizer.preconditioner.update_every = 4
    found = []
    for seed, rate in NETWORKS:
        config = tiny_config.copy_and_resolve_references()
        config.seed, config.optimizer.learning_rate = seed, rate
        found.append(config)
    return found


def noise() -> dict[str, np.ndarray]:
    """In place of what `create_steps` draws for two seeds: (device, steps * seeds, n, H, W, C)."""
    rng = np.random.default_rng(0)
    shape = (1, STEPS * 2, 16, 17, 17, 1)
    return {key: rng.random(shape, np.float32) for key in ("input", "label")}


def create_run(configs):
    """For batches of patches, as with images that are too large for the device."""
    source = train.load_data(configs[0]).source
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(input_pipeline, "MAX_DEVICE_BYTES", 0)
        return training.create_steps(configs, source, jax.local_devices()[0], range(0))[0]


@pytest.mark.parametrize("precondition", [False, True])
def test_at_once_as_one_by_one(configs, precondition):
    """In float64, as the preconditioner magnifies rounding, differently on each CPU."""

    def wide(tree):
        return jax.tree.map(
            lambda x: x.astype(np.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
        )

    for config in configs:
        config.optimizer.precondition = precondition
    states, single = training.create_states(configs), [*map(train_step.create_train_state, configs)]
    with jax.enable_x64(True):
        batch = wide(noise())
        states, losses = create_run(configs)(wide(states), batch)
        assert losses.dtype == np.float64
        steps = jax.jit(train_step.train_steps)
        by_rate = {}  # states whose optimiser is compiled for
        for index, (config, state) in enumerate(zip(configs, single, strict=True)):
            alike = by_rate.setdefault(config.optimizer.learning_rate, state)
            own = jax.tree.map(lambda x, seed=config.seed: x[0, seed::2], batch)
            expected, own_losses = steps(alike.replace(**wide(train_step.to_arrays(state))), own)
            np.testing.assert_allclose(losses[index], own_losses, rtol=1e-6)
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
                training.one_of(states, index)["params"],
                expected.params,
            )


def test_patches_of_the_host_are_each_network_s_own(configs, monkeypatch):
    """The images are too large for the device."""
    source, cpu = train.load_data(configs[0]).source, jax.local_devices()[0]

    def losses():
        run, batches = training.create_steps(configs, source, cpu, range(STEPS))
        return run(training.create_states(configs), next(batches))[1]

    by_device = losses()
    monkeypatch.setattr(input_pipeline, "MAX_DEVICE_BYTES", 0)
    np.testing.assert_allclose(losses(), by_device, rtol=1e-5)


def test_eigenvectors_are_computed_in_a_branch_only(configs, equations):
    """`lax.cond` on a count that every network has its own of would be a `select` of both."""
    traced = jax.make_jaxpr(create_run(configs))(training.create_states(configs), noise())
    found = [above for each, above in equations(traced.jaxpr) if each.primitive.name == "eigh"]
    assert len(found) == 6  # a factor for each axis longer than 1 of three kernels
    assert all("cond" in above for above in found)


@pytest.mark.parametrize(
    ("name", "options"),
    [("sgd", {"momentum": 0.9}), ("adamw", {"weight_decay": 0.1}), ("adafactor", {}), ("lion", {})],
)
def test_the_rate_is_data_for_any_optimiser(name, options, tiny_config):
    settings = tiny_config.optimizer
    settings.name, settings.precondition = name, False
    settings.options = ml_collections.ConfigDict(options)
    params = {"conv1": {"kernel": jnp.ones((3, 3, 1, 2)), "bias": jnp.ones(2)}}

    def updates(rate):
        made = optimizer.create_optimizer(settings, rate, 10, 1, params)
        state = made.init(params)
        for _ in range(3):
            update, state = made.update(params, state, params)
        return update

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
        jax.jit(updates)(0.003),
        jax.jit(lambda: updates(0.003))(),
    )


def test_runs_of_a_sweep(tiny_config, tmp_path, monkeypatch):
    """Stopped, they go on, together or alone; those that diverge are left to the sweep."""
    fields = {**config_fields.flatten(tiny_config), "optimizer.precondition": False}
    del fields["seed"], fields["optimizer.learning_rate"]
    path = tmp_path / "study.py"
    path.write_text(
        f'CONFIG = "configs/default.py:x3"\nFIELDS = {fields}\nSEEDS = 2\n'
        'GRID = {"optimizer.learning_rate": [0.01, 1e9]}\n'
    )
    read = file._read(path)
    first, second = (
        worker.create_run(read, {"optimizer.learning_rate": 0.01}, seed, tmp_path)
        for seed in (0, 1)
    )
    with monkeypatch.context() as stopping:
        stopping.setattr(
            runtime, "collect_signals", lambda: contextlib.nullcontext([signal.SIGTERM])
        )
        with pytest.raises(train.Interrupted, match="after step 5"):
            training.train_all(read, tmp_path, 4, {})
    train.train_and_evaluate(first.config, str(first.folder))
    training.train_all(read, tmp_path, 4, {})
    assert {folder.parent for folder in tmp_path.glob("trials/*/eval.json")} == {
        first.folder,
        second.folder,
    }
    train.train_and_evaluate(second.config, str(tmp_path / "alone"))
    for a, b in zip(metrics(second.folder), metrics(tmp_path / "alone"), strict=True):
        assert a == pytest.approx(b, rel=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        *(weights.load(folder).params for folder in (second.folder, tmp_path / "alone")),
    )

    def start(*_, **__):
        raise runner.TrainingError("it was to be trained")

    monkeypatch.setattr(runner, "start", start)
    storage = optuna.storages.InMemoryStorage()
    study = trials.open_study(read, storage)
    assert worker.work(worker.Worker(read, study, storage, tmp_path, 60))
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE", "FAIL", "COMPLETE", "FAIL"]


def metrics(folder: pathlib.Path) -> list[dict]:
    times = ("patches_per_second", "waited")
    lines = workdir.read_metrics(folder)
    return [{key: value for key, value in line.items() if key not in times} for line in lines]
