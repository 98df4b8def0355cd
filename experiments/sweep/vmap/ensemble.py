"""Networks that train at once, by `vmap`, and leave each what a training alone would leave."""

import contextlib
import dataclasses
import json
import math
import pathlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax.training.train_state import TrainState

from experiments import runner
from experiments.sweep.file import Sweep
from experiments.sweep.worker import TrialRun, create_run
from srcnn_jax import checkpoint, input_pipeline, optimizer, parallel, train, workdir
from srcnn_jax.progress import Progress


def shape(config: ml_collections.ConfigDict) -> str:
    """What networks that train at once have in common: the config but seed and learning rate."""
    values = config.to_dict()
    del values["seed"], values["optimizer"]["learning_rate"]
    return json.dumps(values, sort_keys=True)


def create_states(configs: Sequence[ml_collections.ConfigDict]) -> Any:
    """Fresh states of networks, for `create_steps`."""
    return stack([train.arrays(train.create_train_state(config)) for config in configs])


def stack(states: Sequence[Any]) -> Any:
    """States of the same step, as `train.arrays` gives them, as one: with an axis of networks.

    Counts of steps, the only integers, have no such axis: under `vmap` a `lax.cond` on one that
    has would compute both branches, and so an eigendecomposition in every step.
    """
    return jax.tree.map(lambda *x: x[0] if _is_count(x[0]) else jnp.stack(x), *states)


def one_of(states: Any, index: int) -> Any:
    """The state of one network: what `stack` was given."""
    return jax.tree.map(lambda x: x if _is_count(x) else x[index], states)


def _is_count(x: jax.Array) -> bool:
    return jnp.issubdtype(x.dtype, jnp.integer)


def create_steps(
    configs: Sequence[ml_collections.ConfigDict],
    source: input_pipeline.PatchSource,
    device: jax.Device,
    steps: range,
) -> tuple[Callable, Iterator[Any]]:
    """As `train.create_steps`, for networks that train at once on one device.

    Args:
      configs: of the networks; they differ in `seed` and `optimizer.learning_rate` only.
      source: the training images.
      device: where to train.
      steps: which to make batches for, from 0.

    Returns:
      `run(states, batch) -> (states, losses)` with states as from `stack`, which it uses up, and
      losses (networks, k); and the batches, on the device.
    """
    config = configs[0].copy_and_resolve_references()
    if len({shape(each) for each in configs}) > 1:
        raise ValueError("networks that train at once differ in seed and learning rate only")
    rates = jnp.array([each.optimizer.learning_rate for each in configs])
    config.optimizer.learning_rate = 1.0  # the schedule is proportional to it
    seeds = list(dict.fromkeys(each.seed for each in configs))
    which = np.array([seeds.index(each.seed) for each in configs])
    model = train.create_model(config)
    cut = train.create_cut(config, source, [device])

    def train_one(state, rate, batches, pixels):
        tx = optimizer.create_optimizer(
            config.optimizer,
            config.train.steps,
            train.label_values(config),
            state["params"],
            factor=rate,
        )
        new, losses = train.train_steps(
            TrainState(apply_fn=model.apply, tx=tx, **state),
            batches,
            pixels,
            cut=cut,
            microbatches=train.microbatch_count(config, config.train.batch_size),
            channels=train.loss_channels(config),
        )
        return train.arrays(new), losses

    def run(states, batch, pixels):
        # (1, k * seeds, n, ...) to (k, networks, n, ...)
        batches = jax.tree.map(lambda x: x.reshape(-1, len(seeds), *x.shape[2:])[:, which], batch)
        axes = jax.tree.map(lambda x: None if _is_count(x) else 0, states)
        together = jax.vmap(train_one, in_axes=(axes, 0, 1, None), out_axes=(axes, 0))
        return together(states, rates, batches, pixels)

    batches = train.create_batches(config, source, seeds, steps, cut_later=cut is not None)
    compiled = jax.jit(run, donate_argnums=0)
    pixels = parallel.replicate(source.pixels, [device]) if cut else None
    return (
        lambda states, batch: compiled(states, batch, pixels),
        parallel.prefetch_to_devices(batches, [device]),
    )


@dataclasses.dataclass(frozen=True)
class Network:
    """One of the networks that are being trained, and where its results go."""

    run: TrialRun
    manager: checkpoint.Manager
    metrics: workdir.MetricWriter


def train_and_evaluate(runs: Sequence[TrialRun], notes: dict[str, Any]) -> None:
    """Trains networks at once, and leaves each as `train.train_and_evaluate` would.

    The seconds of each are its share of the time. One that diverges leaves the others alone.

    Args:
      runs: their configs are of the same `shape`, their checkpoints of the same step.
      notes: what each `run.json` says besides.

    Raises:
      ValueError, FileNotFoundError, OSError: what the user can mend, in one line.
      train.Interrupted: SIGINT or SIGTERM came; everything is saved.
    """
    config = runs[0].config
    data = train.load_data(config)
    device = jax.local_devices()[0]
    with contextlib.ExitStack() as opened:
        networks, states, starts = [], [], set()
        for run in runs:
            about = {**notes, "devices": [str(device)], "trained_at_once": len(runs)}
            workdir.open_run(run.folder, run.config, data.origins(), about)
            state = train.arrays(train.create_train_state(run.config))
            manager = checkpoint.open_manager(run.folder / "checkpoints")
            start = 0
            if restored := checkpoint.restore_latest(manager, parallel.to_global(state)):
                start, state = restored[0], parallel.to_local(restored[1])
            states.append(state)
            starts.add(start)
            metrics = workdir.MetricWriter(run.folder, start)
            opened.callback(metrics.close)
            opened.callback(manager.wait_until_finished)
            networks.append(Network(run, manager, metrics))
        (start,) = starts
        params = _train(networks, data, stack(states), start, device)
    for index, network in enumerate(networks):
        if index in params:
            train.finish(network.run.config, network.run.folder, data, params[index])


def _train(
    networks: Sequence[Network], data: train.Data, states: Any, start: int, device: jax.Device
) -> dict[int, Any]:
    """The loop from step `start` to the end; the parameters of those that did not diverge."""
    configs = [network.run.config for network in networks]
    config = configs[0]
    run, batches = create_steps(configs, data.source, device, range(start, config.train.steps))
    states = parallel.replicate(states, [device])
    well = dict(enumerate(networks))
    progress = Progress(
        config.train.steps,
        config.train.batch_size * len(networks),
        config.train.log_every,
        f"mean {data.watched}",
    )

    def measure(step: int) -> None:
        psnr = [
            train.measure(
                network.run.config,
                network.run.folder,
                data,
                network.metrics,
                step,
                one_of(states["params"], index),
            )
            for index, network in well.items()
        ]
        progress.measured(step, statistics.mean(psnr))

    unit = config.copy_and_resolve_references()
    unit.optimizer.learning_rate = 1.0  # the schedule is proportional to it
    schedule = jax.jit(train.create_schedule(unit))
    step = start
    if step == 0:
        measure(0)
        progress.show(0, math.nan)
    with train.signals() as received:
        while step < config.train.steps:
            clock = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - clock
            states, device_losses = run(states, batch)
            losses = np.asarray(device_losses, np.float64)
            seconds = time.perf_counter() - clock
            progress.add(losses.shape[1], seconds, waited)
            factor = float(schedule(step + losses.shape[1] - 1))
            for index, network in list(well.items()):
                share = seconds / len(networks), waited / len(networks)
                own = network.run.config, network.run.folder, network.metrics
                try:
                    rate = factor * network.run.config.optimizer.learning_rate
                    train.record(*own, step, losses[index], rate, *share)
                except train.DivergedError as error:
                    print(f"\n{network.run.folder.name}: {error}", flush=True)
                    del well[index]
            if not well:
                break
            step += losses.shape[1]
            last = step == config.train.steps
            if last or step % config.train.eval_every == 0:
                measure(step)
            progress.show(step, float(losses[list(well)].mean()), last)
            stopping = bool(received) and not last
            if last or stopping or step % config.train.checkpoint_every == 0:
                for index, network in well.items():
                    network.metrics.flush()
                    state = parallel.to_global(one_of(states, index))
                    checkpoint.save(network.manager, step, state)
            if stopping:
                raise train.Interrupted(received[0], step)
    return {index: one_of(states["params"], index) for index in well}


def take(left: list[TrialRun], most: int, locks: contextlib.ExitStack) -> list[TrialRun]:
    """Takes runs that are free and can train at once off a list, and locks them."""
    group: list[TrialRun] = []
    keys: set[tuple[str, int]] = set()
    for run in list(left):
        if len(group) == most:
            break
        held = runner.try_lock(run.folder)
        if held is None or run.finished:
            left.remove(run)
        else:
            key = shape(run.config), checkpoint.latest_step(run.folder / "checkpoints")
            if not keys or key in keys:
                keys.add(key)
                left.remove(run)
                group.append(run)
                locks.enter_context(held)
                continue
        if held:
            held.close()
    return group


def train_all(
    sweep: Sweep, folder: pathlib.Path, most: int, notes: dict[str, Any], data_dir: str = ""
) -> None:
    """Trains all runs of a sweep that are not finished, and that nobody else trains.

    Args:
      sweep: a grid or a random one.
      folder: its workdir.
      most: networks at once.
      notes, errors: as `train_and_evaluate`.
      data_dir: as main's --data_dir.
    """
    left = [
        create_run(sweep, sweep.fields(task.params), seed, folder, data_dir)
        for task in sweep.tasks
        for seed in task.seeds
        if task.params is not None
    ]
    while left:
        with contextlib.ExitStack() as locks:
            group = take(left, most, locks)
            if group:
                print(f"{len(group)} at once: {', '.join(run.folder.name for run in group)}")
                train_and_evaluate(group, notes)
