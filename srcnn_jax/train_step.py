"""The training step: loss, gradient, update of the weights, and its run on all devices."""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import ml_collections
import optax
from flax.training.train_state import TrainState

from srcnn_jax import convolution, first_positions, input_pipeline, models, optimizer, parallel
from srcnn_jax.architecture import context_of, create_architecture
from srcnn_jax.runtime import largest_divisor
from srcnn_jax.weights import Network

# Max pixels of a microbatch. Its activations stay in a core's cache. Patches of the default size
# come one by one, because the masks of several are slower (experiments/results/LOG.md).
MATMUL_COLUMNS = 3000

Params: TypeAlias = Any  # {'conv1': {'kernel': (f, f, in, out), 'bias': (out,)}, ...}
Batch: TypeAlias = Mapping[str, jax.Array]  # 'input' (n, H, W, C), 'label' (n, H', W', C)


def loss_fn(
    params: Params,
    apply_fn: Callable,
    batch: Batch,
    channels: Sequence[int] = (),
    cauchy_scale: float = 0.0,
) -> jax.Array:
    """Mean squared error over all values of the labels, or over those of some channels.

    With a Cauchy scale c it is the mean over patches of c^2 log(1 + e / c^2), where e is the mean
    squared error of a patch. That is e if e is small, and goes with the patch's PSNR if e is large.

    Args:
      params: the weights.
      apply_fn: `models.SRCNN.apply`.
      batch: as `train_step`.
      channels: the channels in the loss; () means all.
      cauchy_scale: c, on the scale 0..1; 0 for the mean squared error.

    Returns:
      float32 scalar, for values on the scale 0..1.

    Raises:
      ValueError: if predictions and labels have different shapes.
    """
    predictions = apply_fn({"params": params}, batch["input"], batch.get("inside"))
    if predictions.shape != batch["label"].shape:
        raise ValueError(f"labels are {batch['label'].shape}, predictions {predictions.shape}")
    errors = optax.losses.squared_error(predictions, batch["label"])
    errors = errors[..., tuple(channels)] if channels else errors
    if not cauchy_scale:
        return errors.mean()
    of_patches = errors.mean(axis=(1, 2, 3))
    return (cauchy_scale**2 * jnp.log1p(of_patches / cauchy_scale**2)).mean()


def cauchy_loss(error: float, scale: float) -> float:
    """The loss of a mean squared error; arguments as `loss_fn`."""
    return scale**2 * math.log1p(error / scale**2) if scale else error


def cauchy_error(loss: float, scale: float) -> float:
    """The inverse of `cauchy_loss`: the mean squared error of a loss."""
    return scale**2 * math.expm1(loss / scale**2) if scale else loss


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    microbatches: int = 1,
    channels: Sequence[int] = (),
    cauchy_scale: float = 0.0,
    axis_name: str | None = None,
) -> tuple[TrainState, jax.Array]:
    """One update of the weights.

    Args:
      state: weights and optimiser state.
      batch: {'input': (n, H, W, C), 'label': (n, H', W', C)}, float32 on the scale 0..1; and
        'inside', (n, H, W, 1), if the inputs are windows (`models.SRCNN`).
      microbatches: number of parts that the batch is split into, a divisor of n. The gradient is
        the mean over the parts. They are computed one after the other, so that activations stay in
        the cache of a CPU core. Any number of devices gives the same bits if the parts of all
        devices are the same and their number is a power of two (`parallel.mean`).
      channels, cauchy_scale: as `loss_fn`.
      axis_name: the mapped axis of `pmap` over which gradients are averaged, if any.

    Returns:
      The new state, and the loss before the update, a float32 scalar.
    """
    parts = jax.tree.map(lambda x: x.reshape(microbatches, -1, *x.shape[1:]), batch)
    loss_and_grad = jax.value_and_grad(loss_fn)

    def of_part(part):
        return loss_and_grad(state.params, state.apply_fn, part, channels, cauchy_scale)

    _, of_parts = jax.lax.scan(lambda _, part: (None, of_part(part)), None, parts)
    loss, grads = parallel.mean(of_parts, axis_name)
    return state.apply_gradients(grads=grads), loss


def train_steps(
    state: TrainState,
    batches: Any,
    pixels: jax.Array | None = None,
    *,
    extract: Callable[..., Batch] | None = None,
    **kwargs: Any,
) -> tuple[TrainState, jax.Array]:
    """Several updates in one program.

    Args:
      state: weights and optimiser state.
      batches: patch positions (k, n, 7) for k steps, or batches as in `train_step` with a leading
        axis of steps.
      pixels: the training images, as `input_pipeline.PatchSource.pixels`, for positions.
      extract: `extract(pixels, positions)` makes a step's batch from its positions (n, 7); None if
        `batches` holds batches.
      **kwargs: as `train_step`.

    Returns:
      The new state and the losses, float32 (k,).
    """

    def step(state, batch):
        return train_step(state, extract(pixels, batch) if extract else batch, **kwargs)

    return jax.lax.scan(step, state, batches)


def loss_channels(config: ml_collections.ConfigDict) -> tuple[int, ...]:
    """The channels in the loss: `train.loss_channels`, or all channels if that is ().

    Raises:
      ValueError: if they are not some of the channels, in order.
    """
    channels = tuple(range(create_architecture(config).channels))
    chosen = tuple(config.train.loss_channels)
    if chosen != tuple(c for c in channels if c in chosen):
        some = ",".join(map(str, channels[1:] or channels))
        raise ValueError(
            f"train.loss_channels {chosen} are not some of the channels {channels} of "
            f"{config.data.colour!r}, in order: --config.train.loss_channels={some}, or () for all"
        )
    return chosen or channels


def label_values(config: ml_collections.ConfigDict) -> int:
    """Number of values in one label that are in the loss: pixels times channels."""
    margin = create_architecture(config).margin
    return (config.data.patch_size - 2 * margin) ** 2 * len(loss_channels(config))


def learning_rate(config: ml_collections.ConfigDict) -> float:
    """`optimizer.learning_rate` of a config."""
    weights = create_architecture(config).weight_count
    return optimizer.learning_rate(config.optimizer, config.train.steps, weights)


def create_schedule(config: ml_collections.ConfigDict) -> optax.Schedule:
    """`optimizer.create_schedule` of a config."""
    rate, steps = learning_rate(config), config.train.steps
    return optimizer.create_schedule(config.optimizer, rate, steps, label_values(config))


def initial_params(config: ml_collections.ConfigDict, key: jax.Array) -> Params:
    """Returns the random weights of a config; `create_train_state` compiles this.

    Args:
      config: as `configs/default.py`.
      key: the random key.

    Returns:
      {'conv1': {'kernel': (f, f, in, out), 'bias': (out,)}, ...}, float32.

    Raises:
      ValueError: if a value of `config.model` is wrong.
    """
    model = models.create_model(config)
    side = 1 + 2 * model.architecture.margin
    example = jax.ShapeDtypeStruct((1, side, side, model.architecture.channels), jnp.float32)
    return model.lazy_init(key, example)["params"]


def first_state(config: ml_collections.ConfigDict, params: Params) -> TrainState:
    """Returns the state before the first step; `create_train_state` compiles this.

    Args:
      config: as `configs/default.py`.
      params: as from `initial_params`.

    Raises:
      ValueError: if a value of `config.optimizer`, `config.model` or `train.loss_channels` is
        wrong.
    """
    tx = optimizer.create_optimizer(
        config.optimizer,
        learning_rate(config),
        config.train.steps,
        label_values(config),
        params,
    )
    return TrainState.create(apply_fn=models.create_model(config).apply, params=params, tx=tx)


def create_train_state(
    config: ml_collections.ConfigDict, initial: Network | None = None
) -> TrainState:
    """Returns the state before the first step: weights, and the optimiser of a config.

    Args:
      config: as `configs/default.py`.
      initial: a network to start from; None for random weights.

    Raises:
      ValueError: if a value of the config is wrong, or `initial` has another architecture.
    """
    # One program makes everything, because loading a program takes as long for an addition. It runs
    # once, so a CPU's compiler need not optimise it.
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    once = functools.partial(jax.jit, compiler_options=options)
    key = jax.random.key(config.seed)
    if initial is None:
        return once(lambda key: first_state(config, initial_params(config, key)))(key)
    wanted = jax.eval_shape(functools.partial(initial_params, config), key)
    if jax.tree.map(jnp.shape, wanted) != jax.tree.map(jnp.shape, dict(initial.params)):
        given, arch = initial.architecture, models.create_model(config).architecture
        raise ValueError(
            f"the given weights are a {given.kernel_sizes} network of {given.features} "
            f"filters for {initial.colour!r}, the config's is {arch.kernel_sizes} of "
            f"{arch.features} for {config.data.colour!r}"
        )
    return once(functools.partial(first_state, config))(dict(initial.params))


def to_arrays(state: TrainState) -> dict[str, Any]:
    """The arrays of a state that a checkpoint holds."""
    step = jnp.asarray(state.step, jnp.int32)
    return {"step": step, "params": state.params, "opt_state": state.opt_state}


def microbatch_count(config: ml_collections.ConfigDict, local_batch: int) -> int:
    """The number of microbatches of one device in a step.

    `train.microbatch_size` sets it. If that is 0, the batch-last form gets microbatches that fit
    the cache of a core, and the channels-last form gets one.

    Args:
      config: as `configs/default.py`.
      local_batch: patches of a step on one device.

    Raises:
      ValueError: if `train.microbatch_size` does not divide `local_batch`.
    """
    if config.train.microbatch_size:
        size = config.train.microbatch_size
        if size < 0 or local_batch % size:
            raise ValueError(
                f"train.microbatch_size {size} does not divide the {local_batch} patches "
                "of a device: choose a divisor, or 0 for an automatic choice"
            )
        return local_batch // size
    if not convolution.uses_batch_last(config.model.convolution):
        return 1
    arch = create_architecture(config)
    context = context_of(config)
    padded = arch.paddings[0] == "same" and not context
    lost = 0 if padded else arch.kernel_sizes[0] - 1
    pixels = (config.data.patch_size + 2 * context - lost) ** 2  # pixels of a patch after layer 1
    return local_batch // largest_divisor(local_batch, max(1, MATMUL_COLUMNS // pixels))


def create_steps(
    config: ml_collections.ConfigDict,
    source: input_pipeline.PatchSource,
    devices: list[jax.Device],
    steps: range,
    state: TrainState | None = None,
) -> tuple[Callable, Iterator[Any]]:
    """Returns the data-parallel `train_steps` of a config, and this process's batches for them.

    Args:
      config: as `configs/default.py`.
      source: the training images.
      devices: the devices of all processes.
      steps: the steps to make batches for, numbered from 0.
      state: the replicated state of the first call. If it is given, and there is one process, its
        program is compiled in a thread that starts at once, while the first batch is made.

    Returns:
      `run(state, batch) -> (state, losses)`, and the batches, which are on the local devices.
    """
    local = parallel.local(devices)
    shard = jax.process_index(), jax.process_count()
    batches, pixels, extract = create_batches(config, source, [config.seed], steps, local, shard)
    step = functools.partial(
        train_steps,
        extract=extract,
        microbatches=microbatch_count(config, config.train.batch_size // len(devices)),
        channels=tuple(config.train.loss_channels),
        cauchy_scale=config.train.cauchy_scale,
        axis_name=parallel.AXIS,
    )
    mapped = parallel.pmap_steps(step, devices)
    run: Callable = mapped
    # `pmap` cannot be lowered for the shapes of several processes.
    if state is not None and pixels is not None and steps and shard[1] == 1:
        count = min(config.train.steps_per_dispatch, len(steps))
        shape = count, config.train.batch_size, input_pipeline.POSITION_NUMBERS
        dtype = input_pipeline.position_dtype(source)
        first = parallel.shape_on_devices(shape, dtype, local)
        run = parallel.compile_in_thread(mapped, state, first, pixels)
    return lambda state, batch: run(state, batch, pixels), batches


def create_batches(
    config: ml_collections.ConfigDict,
    source: input_pipeline.PatchSource,
    seeds: Sequence[int],
    steps: range,
    devices: list[jax.Device],
    shard: tuple[int, int] = (0, 1),
) -> tuple[Iterator[Any], jax.Array | None, Callable[..., Batch] | None]:
    """Returns the training batches of a config.

    Args:
      config: as `configs/default.py`.
      source: the training images.
      seeds, steps, shard: as `input_pipeline.patch_positions`.
      devices: local devices.

    Returns:
      (batches, pixels, extract), as `train_steps` takes them. If the images fit into the memory of
      the devices, batches are patch positions (devices, k seeds, n / devices, 7), and pixels are
      the images on the devices. If not, the host extracts the patches, batches are
      {'input', 'label'} of shape (devices, k seeds, n / devices, H, W, C), and pixels and extract
      are None. A step of 9-1-5 on two cores then takes 2 % longer.
    """
    patch_size, context = config.data.patch_size, context_of(config)
    positions = first_positions.patch_positions(
        source,
        patch_size=patch_size,
        context=context,
        stride=config.data.stride,
        augment=config.data.augment,
        batch_size=config.train.batch_size,
        seeds=seeds,
        steps=steps,
        steps_per_dispatch=config.train.steps_per_dispatch,
        shard=shard,
    )
    extract = functools.partial(
        input_pipeline.extract_patches,
        patch_size=patch_size,
        context=context,
        margin=create_architecture(config).margin,
    )
    if input_pipeline.fit_on_devices(source, devices):
        pixels = parallel.replicate(source.pixels, devices)
        return parallel.prefetch_to_devices(positions, devices), pixels, extract
    patches = (extract(source.pixels, each) for each in positions)
    return parallel.prefetch_to_devices(patches, devices), None, None
