"""Networks that train at once, by `vmap`, and leave each what a training alone would leave."""

import contextlib
import json
import pathlib
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
from srcnn_jax import (
    checkpoint,
    degradation,
    input_pipeline,
    models,
    optimizer,
    parallel,
    train,
    workdir,
)
from srcnn_jax.train_step import (
    create_batches,
    create_train_state,
    label_values,
    learning_rate,
    microbatch_count,
    to_arrays,
    train_steps,
)


def shape(config: ml_collections.ConfigDict) -> str:
    """What networks that train at once have in common: the config but seed and learning rate.

    Where noise or JPEG is drawn for the training images, the seed draws it, and is common, too.
    """
    values = config.to_dict()
    if not degradation.from_config(config).is_drawn:
        del values["seed"]
    del values["optimizer"]["learning_rate"]
    return json.dumps(values, sort_keys=True)


def create_states(configs: Sequence[ml_collections.ConfigDict]) -> Any:
    """Fresh states of networks, for `create_steps`."""
    return stack([to_arrays(create_train_state(config)) for config in configs])


def stack(states: Sequence[Any]) -> Any:
    """States of the same step, of `train_step.to_arrays`, as one with an axis of networks.

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
    """As `train_step.create_steps`, for networks that train at once on one device.

    Args:
      configs: of the networks; they differ in `seed` and `optimizer.learning_rate` only.
      source: the training images.
      device: where to train.
      steps: which to make batches for, from 0.

    Returns:
      `run(states, batch) -> (states, losses)` with states as from `stack`, which it uses up, and
      losses (networks, k); and the batches, on the device.
    """
    config = configs[0]
    if len({shape(each) for each in configs}) > 1:
        raise ValueError("networks that train at once differ in seed and learning rate only")
    rates = jnp.array([learning_rate(each) for each in configs])
    seeds = list(dict.fromkeys(each.seed for each in configs))
    which = np.array([seeds.index(each.seed) for each in configs])
    model = models.create_model(config)
    batches, pixels, extract = create_batches(config, source, seeds, steps, [device])

    def train_one(state, rate, batches, pixels):
        tx = optimizer.create_optimizer(
            config.optimizer,
            rate,
            config.train.steps,
            label_values(config),
            state["params"],
        )
        new, losses = train_steps(
            TrainState(apply_fn=model.apply, tx=tx, **state),
            batches,
            pixels,
            extract=extract,
            microbatches=microbatch_count(config, config.train.batch_size),
            channels=tuple(config.train.loss_channels),
            cauchy_scale=config.train.cauchy_scale,
        )
        return to_arrays(new), losses

    def run(states, batch, pixels):
        # (1, k seeds, n, ...) to (k, networks, n, ...)
        batches = jax.tree.map(lambda x: x.reshape(-1, len(seeds), *x.shape[2:])[:, which], batch)
        axes = jax.tree.map(lambda x: None if _is_count(x) else 0, states)
        together = jax.vmap(train_one, in_axes=(axes, 0, 1, None), out_axes=(axes, 0))
        return together(states, rates, batches, pixels)

    compiled = jax.jit(run, donate_argnums=0)
    return lambda states, batch: compiled(states, batch, pixels), batches


def train_and_evaluate(
    trials: Sequence[TrialRun], notes: dict[str, Any], data_dir: str | None = None
) -> None:
    """Trains networks at once, and leaves each as `train.train_and_evaluate` would.

    The seconds of each network are its share of the time. A network that diverges leaves the others
    alone.

    Args:
      trials: their configs are of the same `shape`, their checkpoints of the same step.
      notes: what each `run.json` says besides.
      data_dir: as main's --data_dir.

    Raises:
      ValueError, FileNotFoundError, OSError: what the user can mend, in one line.
      train.DivergedError: if all networks diverge.
      train.Interrupted: SIGINT or SIGTERM came; everything is saved.
    """
    config = trials[0].config
    data = train.load_data(config, data_dir=data_dir)
    device = jax.local_devices()[0]
    with contextlib.ExitStack() as stack_of_files:
        runs, arrays, starts = [], [], set()
        for trial in trials:
            stack_of_files.enter_context(workdir.lock(trial.folder.absolute()))
            about = {**notes, "devices": [str(device)], "trained_at_once": len(trials)}
            workdir.open_run(
                trial.folder, trial.config, data.origins(), "", about, data.validation_origin
            )
            fresh = to_arrays(create_train_state(trial.config))
            run, start, restored = train.restore_run(
                trial.folder.absolute(), trial.config, fresh, stack_of_files
            )
            runs.append(run)
            arrays.append(restored)
            starts.add(start)
        if len(starts) > 1:
            raise ValueError(
                "a checkpoint was passed over, so that the networks are at different steps: start "
                "the same command again, which takes others together"
            )
        (start,) = starts
        steps = range(start, config.train.steps)
        configs = [run.config for run in runs]
        run_steps, batches = create_steps(configs, data.source, device, steps)
        params = train.run_loop(
            runs,
            data,
            train.create_progress(runs, data),
            parallel.replicate(stack(arrays), [device]),
            start,
            run_steps,
            batches,
            one_of,
        )
        for index, found in params.items():
            train.finish(runs[index], data, found)


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
                try:
                    train_and_evaluate(group, notes, data_dir or None)
                except train.DivergedError as error:  # of the last network of the group
                    print(f"\n{error}", flush=True)
