"""Training: a pure step, and the loop around it that evaluates, saves and resumes."""

import contextlib
import dataclasses
import functools
import math
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax.training.train_state import TrainState

from srcnn_jax import (
    architecture,
    checkpoint,
    datasets,
    evaluate,
    input_pipeline,
    models,
    optimizer,
    parallel,
    weights,
    workdir,
)
from srcnn_jax.progress import Progress

MAX_DEVICE_BYTES = 2**32  # of training images that are kept in the devices' memory
MATMUL_COLUMNS = 4200  # pixels of a microbatch that keep its activations in a core's cache


class DivergedError(ArithmeticError):
    """The loss is not finite, or far above where it began."""


class Interrupted(Exception):  # noqa: N818 (no error: the state is saved)
    """A signal asked the training to stop."""

    def __init__(self, signum: int, step: int):
        super().__init__(f"stopped by {signal.Signals(signum).name} after step {step}")
        self.signum = signum


def loss_fn(
    params: Any,
    apply_fn: Callable,
    batch: dict[str, jax.Array],
    channels: tuple[int, ...] | None = None,
) -> jax.Array:
    """Mean squared error over all values of the labels, or over those of some channels."""
    predictions = apply_fn({"params": params}, batch["input"])
    if predictions.shape != batch["label"].shape:
        raise ValueError(f"labels are {batch['label'].shape}, predictions {predictions.shape}")
    errors = optax.losses.squared_error(predictions, batch["label"])
    return (errors if channels is None else errors[..., channels]).mean()


def train_step(
    state: TrainState,
    batch: dict[str, jax.Array],
    *,
    microbatches: int = 1,
    channels: tuple[int, ...] | None = None,
    axis_name: str | None = None,
) -> tuple[TrainState, jax.Array]:
    """One update of the weights.

    Args:
      state: weights and optimiser state.
      batch: {'input': (n, H, W, C), 'label': (n, H', W', C)}, float32 in 0..1.
      microbatches: the gradient is the mean over so many parts of the batch, computed one after
        the other, which keeps activations in the cache of a CPU core; a divisor of n. The result
        is the same to the bit on any number of devices if the parts are (`parallel.mean`).
      channels: those whose error counts; all if None.
      axis_name: the mapped axis of `pmap` over which gradients are averaged, if any.

    Returns:
      The new state and the loss before the update, a scalar.
    """
    parts = jax.tree.map(lambda x: x.reshape(microbatches, -1, *x.shape[1:]), batch)
    loss_and_grad = jax.value_and_grad(loss_fn)
    _, of_parts = jax.lax.scan(
        lambda _, part: (None, loss_and_grad(state.params, state.apply_fn, part, channels)),
        None,
        parts,
    )
    loss, grads = parallel.mean(of_parts, axis_name)
    return state.apply_gradients(grads=grads), loss


def train_steps(
    state: TrainState,
    batches: Any,
    pixels: jax.Array | None = None,
    *,
    cut: Callable[..., dict[str, jax.Array]] | None = None,
    **kwargs: Any,
) -> tuple[TrainState, jax.Array]:
    """Several updates.

    Args:
      state: weights and optimiser state.
      batches: those of `train_step`, with a leading axis of steps; or what `cut` makes them of.
      pixels: the training images, for `cut`.
      cut: `cut(pixels, part)` is the batch of a step, part being that step's of `batches`.
      **kwargs: of `train_step`.

    Returns:
      The new state and the losses, one for each step.
    """

    def step(state, batch):
        return train_step(state, cut(pixels, batch) if cut else batch, **kwargs)

    return jax.lax.scan(step, state, batches)


def loss_channels(config: ml_collections.ConfigDict) -> tuple[int, ...]:
    """The channels whose error `train.loss_channels` counts: 'all', or numbers as in '1,2'."""
    channels = range(weights.COLOURS[config.data.colour])
    text = config.train.loss_channels
    chosen = tuple(channels) if text == "all" else tuple(c for c in channels if str(c) in text)
    if not chosen or text not in ("all", ",".join(map(str, chosen))):
        raise ValueError(
            f"train.loss_channels {text!r} is neither 'all' nor some of the channels "
            f"{','.join(map(str, channels))} of {config.data.colour!r}, in order"
        )
    return chosen


def create_model(config: ml_collections.ConfigDict) -> models.SRCNN:
    """The network of a config."""
    if config.data.colour not in weights.COLOURS:
        raise ValueError(
            f"data.colour is one of {', '.join(weights.COLOURS)}, not {config.data.colour!r}"
        )
    return models.SRCNN(
        kernel_sizes=tuple(config.model.kernel_sizes),
        features=tuple(config.model.features),
        channels=weights.COLOURS[config.data.colour],
        padding=config.model.padding,
        initializer=config.model.initializer,
        convolution=config.model.convolution,
        dtype=config.model.dtype,
    )


def create_train_state(
    config: ml_collections.ConfigDict, initial: weights.Network | None = None
) -> TrainState:
    """Fresh weights, or the given ones, and the optimiser of a config."""
    model = create_model(config)
    side = 1 + 2 * architecture.margin(model.kernel_sizes, model.padding)
    example = jax.ShapeDtypeStruct((1, side, side, model.channels), jnp.float32)
    # In one program each, because loading a compiled one takes as long for an addition.
    params = jax.jit(lambda key: model.lazy_init(key, example)["params"])(
        jax.random.key(config.seed)
    )
    if initial is not None:
        shapes = jax.tree.map(jnp.shape, params), jax.tree.map(jnp.shape, dict(initial.params))
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"the given weights are a {initial.kernel_sizes} network of {initial.features} "
                f"filters for {initial.colour!r}, the config's is {model.kernel_sizes} of "
                f"{model.features} for {config.data.colour!r}"
            )
        params = jax.tree.map(jnp.asarray, dict(initial.params))
    tx = optimizer.create_optimizer(
        config.optimizer, config.train.steps, label_values(config), params
    )
    create = functools.partial(TrainState.create, apply_fn=model.apply, tx=tx)
    return jax.jit(lambda params: create(params=params))(params)


def check_config(config: ml_collections.ConfigDict) -> None:
    """Raises ValueError, naming the value and the fix, if a config cannot be trained."""
    evaluate.check_config(config)
    model = create_model(config)
    least = 1 + 2 * architecture.margin(model.kernel_sizes, model.padding)
    if config.data.patch_size < least:
        raise ValueError(
            f"data.patch_size {config.data.patch_size} is too small: this network needs {least}"
        )
    if not config.data.copies or not all(0 < size <= 1 for size in config.data.copies):
        raise ValueError(f"data.copies are sizes in 0..1, as (1.0, 0.9), not {config.data.copies}")
    train = config.train
    for field in ("steps", "batch_size", "steps_per_dispatch", "log_every", "eval_every"):
        if train[field] < 1:
            raise ValueError(f"train.{field} must be positive, not {train[field]}")
    for field in ("log_every", "eval_every", "checkpoint_every"):
        if train[field] < 1 or train[field] % train.steps_per_dispatch:
            raise ValueError(
                f"train.{field} {train[field]} must be a multiple of "
                f"train.steps_per_dispatch {train.steps_per_dispatch}"
            )
    if not train.max_loss_ratio > 1:
        raise ValueError(f"train.max_loss_ratio is above 1, not {train.max_loss_ratio}")
    if config.data.stride < 1:
        raise ValueError(f"data.stride must be positive, not {config.data.stride}")
    loss_channels(config)
    if train.keep not in ("last", "best"):
        raise ValueError(f"train.keep is 'last' or 'best', not {train.keep!r}")
    devices = parallel.choose_devices(train.batch_size, train.devices)
    microbatch_count(config, train.batch_size // len(devices))
    jax.eval_shape(lambda: create_train_state(config))  # as it does, but computes nothing


def microbatch_count(config: ml_collections.ConfigDict, local_batch: int) -> int:
    """In how many parts a device computes its gradient: one but for the matmul form."""
    if config.train.microbatch_size:
        size = config.train.microbatch_size
        if size < 0 or local_batch % size:
            raise ValueError(
                f"train.microbatch_size {size} does not divide the {local_batch} patches "
                "of a device"
            )
        return local_batch // size
    if not models.uses_matmul(config.model.convolution):
        return 1
    first = architecture.layer_paddings(config.model.padding, len(config.model.kernel_sizes))[0]
    cut = config.model.kernel_sizes[0] - 1 if first == "valid" else 0
    pixels = (config.data.patch_size - cut) ** 2
    return local_batch // parallel.largest_divisor(local_batch, max(1, MATMUL_COLUMNS // pixels))


def create_steps(
    config: ml_collections.ConfigDict,
    source: input_pipeline.PatchSource,
    devices: list[jax.Device],
    steps: range,
) -> tuple[Callable, Iterator[Any]]:
    """The data-parallel `train_steps` of a config, and this process's batches for them.

    Args:
      config: as `configs/default.py`.
      source: the training images.
      devices: those of all processes.
      steps: which to make batches for, from 0.

    Returns:
      `run(state, batch) -> (state, losses)`, and the batches, on the local devices.
    """
    microbatches = microbatch_count(config, config.train.batch_size // len(devices))
    chosen = None if config.train.loss_channels == "all" else loss_channels(config)
    cut = create_cut(config, source, parallel.local(devices))
    step = functools.partial(
        train_steps, cut=cut, microbatches=microbatches, channels=chosen, axis_name=parallel.AXIS
    )
    run = parallel.pmap_steps(step, devices)
    shard = jax.process_index(), jax.process_count()
    batches = create_batches(config, source, config.seed, steps, shard, cut_later=cut is not None)
    pixels = parallel.replicate(source.pixels, parallel.local(devices)) if cut else None
    return (
        lambda state, batch: run(state, batch, pixels),
        parallel.prefetch_to_devices(batches, parallel.local(devices)),
    )


def create_cut(
    config: ml_collections.ConfigDict,
    source: input_pipeline.PatchSource,
    devices: Sequence[jax.Device],
) -> Callable[..., dict[str, jax.Array]] | None:
    """`input_pipeline.cut` of a config; None where the images would take too much of the memory of
    these local devices, so that tf.data is to cut the patches: a step takes a twelfth longer."""
    copies = len(devices) if devices[0].platform == "cpu" else 1  # CPU devices share a memory
    if copies * source.pixels.nbytes > MAX_DEVICE_BYTES:
        return None
    return functools.partial(
        input_pipeline.cut,
        patch_size=config.data.patch_size,
        margin=architecture.margin(config.model.kernel_sizes, config.model.padding),
    )


def create_batches(
    config: ml_collections.ConfigDict,
    source: input_pipeline.PatchSource,
    seed: int | Sequence[int],
    steps: range,
    shard: tuple[int, int] = (0, 1),
    cut_later: bool = False,
) -> Iterator[Any]:
    """`input_pipeline.batches` of a config, for one seed or several."""
    return input_pipeline.batches(
        source,
        patch_size=config.data.patch_size,
        margin=architecture.margin(config.model.kernel_sizes, config.model.padding),
        stride=config.data.stride,
        augment=config.data.augment,
        batch_size=config.train.batch_size,
        seed=seed,
        steps=steps,
        steps_per_dispatch=config.train.steps_per_dispatch,
        shard=shard,
        cut_later=cut_later,
    )


@dataclasses.dataclass(frozen=True)
class Data:
    """What a run trains and is tested on.

    Attributes:
      trained_on, tests: the data sets.
      source: the training set, ready to be cut into patches.
      watched: the name of the test set whose PSNR is watched during training.
      watched_images: its images, prepared.
    """

    trained_on: datasets.Dataset
    tests: list[datasets.Dataset]
    source: input_pipeline.PatchSource
    watched: str
    watched_images: list[evaluate.TestImage]

    def origins(self) -> dict[str, tuple[str, str]]:
        """(where from, fingerprint) of each data set, for `workdir.open_run`."""
        origins: dict[str, tuple[str, str]] = {}
        for each in (self.trained_on, *self.tests):
            source, fingerprint = origins.get(each.name, (each.source, ""))
            if each.fingerprint != fingerprint:  # both halves of 'sample' count
                fingerprint += each.fingerprint
            origins[each.name] = source, fingerprint
        return origins


def load_data(config: ml_collections.ConfigDict) -> Data:
    """Loads and checks all data of a config; raises as `datasets.load_all`."""
    trained_on, tests = datasets.load_all(
        config.data.train,
        datasets.dataset_names(config.eval.datasets),
        data_dir=config.data.dir or None,
        allow_sample=config.data.allow_sample,
    )
    assert trained_on is not None
    source = input_pipeline.create_source(
        trained_on,
        scale=config.scale,
        colour=config.data.colour,
        patch_size=config.data.patch_size,
        copies=config.data.copies,
    )
    for test in tests:
        # now, rather than after the training
        evaluate.check_sizes(test, config.scale, config.eval.metrics)
    watched = next((test for test in tests if test.name == config.train.eval_dataset), tests[0])
    images = evaluate.create_test_images(watched, config.scale, config.data.colour)
    return Data(trained_on, tests, source, watched.name, images)


def train_and_evaluate(
    config: ml_collections.ConfigDict,
    folder: str,
    *,
    initial: weights.Network | None = None,
    notes: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Trains, evaluates and saves a network; goes on where an earlier call was stopped.

    Args:
      config: as `configs/default.py`.
      folder: the workdir; made if it is not there.
      initial: weights to start from.
      notes: what `run.json` says besides (command line, versions).

    Returns:
      The result of `evaluate.evaluate`, which is also in the workdir's `eval.json`; nothing in
      the processes but the first.

    Raises:
      ValueError, FileNotFoundError, OSError: what the user can mend, in one line.
      DivergedError: the loss is not finite or far too high; the last checkpoint is good.
      Interrupted: SIGINT or SIGTERM came, to any of the processes; everything is saved.
    """
    began = time.perf_counter()
    check_config(config)
    path = pathlib.Path(folder).absolute()
    workdir.check_same_config(path, config)
    finished = workdir.read_json(path / "eval.json")
    if finished and (path / "weights.safetensors").exists():
        _say(f"{folder} is finished; its result:\n")
        return finished

    data = load_data(config)
    devices = parallel.choose_devices(config.train.batch_size, config.train.devices)
    # TensorFlow takes as long to import as the rest of the start.
    threading.Thread(target=input_pipeline.import_tensorflow).start()
    state = create_train_state(config, initial)
    main_process = parallel.is_main_process()
    if main_process:
        notes = {**(notes or {}), "devices": [str(device) for device in devices]}
        workdir.open_run(path, config, data.origins(), notes)
    parallel.agree(0)  # process 0 has claimed it
    if not (path / "run.json").exists():
        raise ValueError(
            f"what process 0 writes to {path} is not there for process {jax.process_index()}: "
            "name a --workdir on a disk that all processes share"
        )
    manager = checkpoint.open_manager(path / "checkpoints")
    start = 0
    if restored := checkpoint.restore_latest(manager, parallel.to_global(arrays(state))):
        start, saved = restored
        state = state.replace(**parallel.to_local(saved))
    _describe(config, data, devices, state.params)
    _say(f"workdir   {path}" + (f", resumed after step {start}" if start else ""))
    progress = Progress(
        config.train.steps,
        config.train.batch_size,
        config.train.log_every,
        data.watched,
        silent=not main_process,
    )
    with contextlib.ExitStack() as stack:
        metrics = workdir.MetricWriter(path, start, writes=main_process)
        stack.callback(metrics.close)
        stack.callback(manager.wait_until_finished)  # also if the training diverges
        params = _train(config, path, data, state, start, devices, manager, metrics, progress)
    if not main_process:
        return {}

    result = finish(config, path, data, params)
    _say(
        f"trained {progress.seconds:.0f} s ({time.perf_counter() - began:.0f} s in all), waiting "
        f"for data {100 * progress.share_waited():.1f} % of it; saved {folder}\n"
    )
    return result


def finish(
    config: ml_collections.ConfigDict, path: pathlib.Path, data: Data, params: Any
) -> dict[str, Any]:
    """Evaluates a trained network; writes its weights and `eval.json`, whose content it returns."""
    final = to_weights(config, params)
    if config.train.keep == "best":
        final = weights.load(path / "best.safetensors")
    images_dir = path / "images" if config.eval.save_images else None
    result = evaluate.evaluate(final, data.tests, config.scale, images_dir, config.eval.metrics)
    psnr = result["datasets"][data.watched]["mean"]["srcnn"]["psnr"]
    how = {
        "trained_on": f"{data.trained_on.name} {data.trained_on.fingerprint}",
        "patches": str(config.train.steps * config.train.batch_size),
        "result": f"{data.watched} x{config.scale} {psnr:.3f} dB",
    }
    weights.save(path / "weights.safetensors", final, how)
    workdir.write_json(path / "eval.json", result)
    return result


def _train(
    config: ml_collections.ConfigDict,
    path: pathlib.Path,
    data: Data,
    state: TrainState,
    start: int,
    devices: list[jax.Device],
    manager: checkpoint.Manager,
    metrics: workdir.MetricWriter,
    progress: Progress,
) -> Any:
    """The loop from step `start` to the end; returns the parameters. Raises as its caller."""
    steps = range(start, config.train.steps)
    run_steps, batches = create_steps(config, data.source, devices, steps)
    state = parallel.replicate(state, parallel.local(devices))
    schedule = jax.jit(create_schedule(config))
    step = start
    if step == 0 and parallel.is_main_process():
        progress.measured(0, measure(config, path, data, metrics, 0, state.params))
        progress.show(0, math.nan)
    with signals() as received:
        while step < config.train.steps:
            clock = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - clock
            state, device_losses = run_steps(state, batch)
            losses = np.asarray(device_losses, np.float64)
            seconds = time.perf_counter() - clock
            progress.add(len(losses), seconds, waited)
            rate = float(schedule(step + len(losses) - 1))
            record(config, path, metrics, step, losses, rate, seconds, waited)
            step += len(losses)
            last = step == config.train.steps
            if parallel.is_main_process() and (last or step % config.train.eval_every == 0):
                progress.measured(step, measure(config, path, data, metrics, step, state.params))
            progress.show(step, float(losses.mean()), last)
            signum = parallel.agree(received[0] if received else 0)
            stopping = signum > 0 and not last
            if last or stopping or step % config.train.checkpoint_every == 0:
                metrics.flush()
                checkpoint.save(manager, step, parallel.to_global(arrays(state)))
            if stopping:
                raise Interrupted(signum, step)
    return state.params


def record(
    config: ml_collections.ConfigDict,
    path: pathlib.Path,
    metrics: workdir.MetricWriter,
    step: int,
    losses: np.ndarray,
    rate: float,
    seconds: float,
    waited: float,
) -> None:
    """Writes the metrics of the updates that follow `step`, of which there is a loss (k,) each.

    `rate` is the learning rate of the last.

    Raises:
      DivergedError: if a loss is bad; nothing is written.
    """
    _check_losses(losses, step, metrics.first.get("loss", losses[0]), config, path)
    for loss in losses[:-1]:
        step += 1
        metrics.write(step, loss=float(loss))
    metrics.write(
        step + 1,
        loss=float(losses[-1]),
        learning_rate=rate,
        patches_per_second=config.train.batch_size * len(losses) / seconds,
        waited=waited / seconds,
    )


def measure(
    config: ml_collections.ConfigDict,
    path: pathlib.Path,
    data: Data,
    metrics: workdir.MetricWriter,
    step: int,
    params: Any,
) -> float:
    """PSNR on the watched set after `step` updates; the weights are kept if they are the best."""
    network = to_weights(config, params)
    valid = architecture.margin(config.model.kernel_sizes, "valid")
    psnr, over_valid = evaluate.mean_psnr(network, data.watched_images, (config.scale, valid))
    if config.train.keep == "best" and psnr > metrics.largest.get("psnr", -math.inf):
        weights.save(path / "best.safetensors", network)
    # psnr_valid: over the valid region, as in the paper's figures
    metrics.write(step, psnr=psnr, psnr_valid=over_valid)
    return psnr


def create_schedule(config: ml_collections.ConfigDict) -> optax.Schedule:
    """`optimizer.create_schedule` of a config."""
    return optimizer.create_schedule(config.optimizer, config.train.steps, label_values(config))


def label_values(config: ml_collections.ConfigDict) -> int:
    """Numbers in one label that count."""
    margin = architecture.margin(config.model.kernel_sizes, config.model.padding)
    return (config.data.patch_size - 2 * margin) ** 2 * len(loss_channels(config))


def to_weights(config: ml_collections.ConfigDict, params: Any) -> weights.Network:
    """Parameters on the host, with what a weight file says of them."""
    return weights.Network(
        jax.tree.map(np.asarray, dict(params)),
        config.model.padding,
        config.scale,
        config.data.colour,
    )


def arrays(state: TrainState) -> dict[str, Any]:
    """What a checkpoint holds of a state."""
    step = jnp.asarray(state.step, jnp.int32)
    return {"step": step, "params": state.params, "opt_state": state.opt_state}


def _check_losses(
    losses: np.ndarray,
    step: int,
    first_loss: float,
    config: ml_collections.ConfigDict,
    path: pathlib.Path,
) -> None:
    """Raises DivergedError for the first bad one of the losses that follow `step`."""
    bad = ~(losses <= config.train.max_loss_ratio * first_loss)  # NaN compares false
    if bad.any():
        index = int(np.argmax(bad))
        raise DivergedError(
            f"training diverged at step {step + index + 1}: the loss is {losses[index]:.3g}, "
            f"having begun at {first_loss:.3g}; lower optimizer.learning_rate "
            f"(the last good checkpoint is in {path / 'checkpoints'})"
        )


@contextlib.contextmanager
def signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM; the second one acts as if nobody had listened."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # signals are the main thread's business
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def receive(number, frame):
        received.append(number)
        signal.signal(number, handlers[number])

    for number in handlers:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    if parallel.is_main_process():
        print(text, flush=True)


def _describe(
    config: ml_collections.ConfigDict, data: Data, devices: list[jax.Device], params: Any
) -> None:
    """The first lines of the log: what runs on which data."""
    model = create_model(config)
    weight_count = architecture.weight_count(model.kernel_sizes, model.features, model.channels)
    places = input_pipeline.count_patches(data.source, config.data.patch_size, config.data.stride)
    rates = optimizer.rates_by_label(params, config.optimizer.rates)
    labels = [
        f"{layer}/{kind} {factor:g}"
        for layer, kinds in rates.items()
        for kind, factor in kinds.items()
    ]
    how = "preconditioned " if config.optimizer.precondition else ""
    _say(
        f"network   {'-'.join(map(str, model.kernel_sizes))}, {weight_count:,} weights, "
        f"padding {model.padding}, x{config.scale}, {config.data.colour}"
    )
    _say(
        f"training  {data.trained_on.name}: {len(data.trained_on.images)} images from "
        f"{data.trained_on.source}, {places:,} places for patches of {config.data.patch_size}"
    )
    for test in data.tests:
        _say(f"testing   {test.name}: {len(test.images)} images from {test.source}")
    _say(
        f"devices   {len(devices)} of {jax.device_count()} {devices[0].platform}, "
        f"batch {config.train.batch_size}, {config.train.steps:,} steps"
    )
    _say(
        f"optimiser {how}{config.optimizer.name}({config.optimizer.options}), "
        f"{config.optimizer.schedule} {config.optimizer.learning_rate:g} "
        f"({config.optimizer.rate_unit}), times {', '.join(labels)}"
    )
