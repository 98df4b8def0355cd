"""Training patches: tf.data draws their positions, the device extracts their pixels.

Batch i is a pure function of (seed, i). So a run that resumes at step i gets the batches that it
would have got without the stop.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from srcnn_jax import colour as colours
from srcnn_jax import degradation as degradations
from srcnn_jax import image, parallel, runtime
from srcnn_jax.datasets import Dataset
from srcnn_jax.degradation import RELEASED, Degradation

POSITION_NUMBERS = 7  # that describe a patch, see `patch_positions`
MAX_DEVICE_BYTES = 2**32  # max bytes of training images in a GPU's memory, or in all CPU devices'
TRANSFORMS = 8  # flips and rotations of a square


@dataclasses.dataclass(frozen=True)
class PatchSource:
    """Training images, from which patches are extracted.

    Attributes:
      pixels: float32 (P, 2, C), the pixels of all images, each as (input, label). They are on the
        scale 0..1 and not clipped: the overshoot of bicubic resizing may leave 0..1.
      offsets: int64 (images,), the index in `pixels` of each image's first pixel.
      heights, widths: int64 (images,), the size of each image in pixels.
    """

    pixels: np.ndarray
    offsets: np.ndarray
    heights: np.ndarray
    widths: np.ndarray


def create_source(
    dataset: Dataset,
    *,
    scale: int,
    colour: str,
    patch_size: int,
    downscale_factors: Sequence[float],
    degradation: Degradation = RELEASED,
    copies: int = 1,
    seed: int = 0,
) -> PatchSource:
    """Makes the (input, label) images of a training set.

    Args:
      dataset: decoded images.
      scale: factor of the enlargement: 2, 3 or 4.
      colour: 'y', 'ycbcr' or 'rgb'.
      patch_size: side of an input patch in pixels.
      downscale_factors: each image is used at each of these sizes. 1.0 is its own size. .9, .8, ...
        add smaller versions, as in FSRCNN. A version that is smaller than a patch is left out.
      degradation: how the inputs are made.
      copies: pairs made of each image at each size, if the degradation is drawn: the labels are
        equal, the noise and the JPEG are not.
      seed: seed of what is drawn.

    Raises:
      ValueError: if an image is smaller than a patch at every size, or the pairs do not fit into
        the memory.
    """
    _check_memory(dataset, colours.CHANNELS[colour], downscale_factors, copies)

    def pairs_of(named: tuple[str, np.ndarray]) -> list[np.ndarray]:
        name, pixels = named
        pairs = []
        planes = colours.to_planes(pixels, colour, dataset.luminance)
        planes = planes.astype(np.float32) / np.float32(255)  # (H, W, C)
        side = min(planes.shape[:2])
        fitting = [
            f for f in downscale_factors if math.ceil(f * side) // scale * scale >= patch_size
        ]
        sized = [planes if f == 1 else image.imresize(planes, f) for f in fitting]
        labels = [image.modcrop(version, scale) for version in sized]
        if not labels:
            largest = max(downscale_factors)
            at = f" at {largest:g}, the largest of data.downscale_factors" if largest < 1 else ""
            raise ValueError(
                f"image {name!r} of {dataset.name} has {planes.shape[1]}x{planes.shape[0]} pixels, "
                f"less than a patch of {patch_size}{at}: remove it, or set a lower data.patch_size"
                + (" or a factor of 1" if at else "")
            )
        for factor, label in zip(fitting, labels, strict=True):
            if not degradation.is_drawn:
                pairs.append(np.stack([degradations.degrade(label, scale, degradation), label], 2))
                continue
            picture = pixels.astype(np.float32) / np.float32(255)
            picture = picture if factor == 1 else image.imresize(picture, factor)
            picture = image.modcrop(picture, scale)
            for copy in range(copies):
                random = degradations.create_random(seed, name, factor, copy)
                small = degradations.damage(picture, scale, degradation, random)
                small_planes = colours.to_planes(small / 255.0, colour, dataset.luminance)
                enlarged = degradations.enlarge(small_planes, scale, degradation)
                pairs.append(np.stack([enlarged.astype(np.float32), label], axis=2))
        return pairs

    each = parallel.map_in_threads(pairs_of, dataset.images)
    pairs = [pair for pairs in each for pair in pairs]
    heights, widths = np.array([pair.shape[:2] for pair in pairs], np.int64).T
    channels = colours.CHANNELS[colour]
    return PatchSource(
        pixels=np.concatenate([pair.reshape(-1, 2, channels) for pair in pairs]),
        offsets=np.concatenate([[0], np.cumsum(heights * widths)[:-1]]),
        heights=heights,
        widths=widths,
    )


def _check_memory(
    dataset: Dataset, channels: int, downscale_factors: Sequence[float], copies: int
) -> None:
    """Raises ValueError if the pairs of `create_source` need more than the machine's memory."""
    pixels = sum(math.prod(each.shape[:2]) for _, each in dataset.images)
    made = pixels * copies * sum(factor**2 for factor in downscale_factors)
    needed = 2 * made * 2 * channels * 4  # float32 pairs, and all of them in one array
    memory = runtime.available_memory()
    if needed > memory:
        raise ValueError(
            f"the {len(dataset.images)} images of {dataset.name} need {needed / 1e9:,.0f} GB in "
            f"{len(downscale_factors)} sizes and {copies} copies, and there are "
            f"{memory / 1e9:,.0f} GB of memory: lower data.degraded_copies, or name fewer "
            "data.downscale_factors or images"
        )


def count_positions(source: PatchSource, patch_size: int, stride: int) -> int:
    """Counts the patch positions on a grid of `stride` pixels, over all images."""
    return int(
        np.sum(_grid(source.heights, patch_size, stride) * _grid(source.widths, patch_size, stride))
    )


def patch_positions(
    source: PatchSource,
    *,
    patch_size: int,
    context: int,
    stride: int,
    augment: bool,
    batch_size: int,
    seeds: Sequence[int],
    steps: Sequence[int],
    steps_per_dispatch: int,
    shard: tuple[int, int] = (0, 1),
) -> Iterator[np.ndarray]:
    """Draws the patch positions of the given steps, several steps at a time.

    Every position of the grid is visited once in an epoch. Each epoch has its own random order. All
    positions of a batch are drawn at once, so every patch gets its own position and transform at
    the cost of one array.

    Args:
      source: the images.
      patch_size: side of a patch in pixels.
      context: pixels around a patch that are extracted with it. A patch is inside its image; its
        context may be outside.
      stride: pixels between neighbouring positions; 1 means every position (the paper: 14).
      augment: whether each patch gets one of eight flips and rotations.
      batch_size: patches of a step, over all processes.
      seeds: seeds of the order and the transforms. A step has one batch for each seed, in turn.
      steps: the steps, a range of numbers from 0 on.
      steps_per_dispatch: k, the steps of one array.
      shard: (index, count) of this process. It gets an equal part of every batch.

    Yields:
      int32 (k seeds, n, 7), or int64 if `pixels` has 2^31 rows or more. n is this process's part of
      the batch. A window is a patch with its context. The numbers are: the index in `pixels` of the
      window's first pixel, as if the image had no border; the distances in `pixels` between
      neighbours down and across the window; and which rows and which columns of the window are
      inside the image, each as the first and the one after the last. The last array may have fewer
      than k steps.
    """
    tf = runtime.import_tensorflow()
    seed_of = tf.constant(np.array(seeds, np.int64))
    size = patch_size + 2 * context  # of a window
    counts = _grid(source.widths, patch_size, stride)  # (images,), positions across
    ends = np.cumsum(_grid(source.heights, patch_size, stride) * counts)
    positions = int(ends[-1])
    part = batch_size // shard[1]
    first = shard[0] * part
    offsets, counts, ends = tf.constant(source.offsets), tf.constant(counts), tf.constant(ends)
    heights, widths = tf.constant(source.heights), tf.constant(source.widths)
    starts = tf.concat([[tf.constant(0, tf.int64)], ends[:-1]], 0)
    dtype = position_dtype(source)

    def draw(number):
        # All arrays here are int64 (n,) unless a comment says otherwise: n patches of one batch.
        step, seed = number // len(seeds), tf.gather(seed_of, number % len(seeds))
        serial = step * batch_size + first + tf.range(part, dtype=tf.int64)
        epoch = serial // positions
        keys = tf.stack([tf.fill([part], seed), epoch, epoch * 0], axis=1)  # (n, 3)
        # RandomIndexShuffle is a block cipher on 0..positions-1, so no order has to be stored. With
        # the default of 4 rounds, neighbours stay together (correlation 0.25 to 0.8). With 16
        # rounds they do not. The wrapper tf.random.experimental.index_shuffle takes only one key.
        position = tf.raw_ops.RandomIndexShuffle(
            index=serial % positions,
            seed=tf.cast(keys, tf.uint32),
            max_index=tf.constant(positions - 1, tf.int64),
            rounds=16,
        )
        index = tf.searchsorted(ends, position, side="right")  # the image
        position -= tf.gather(starts, index)
        height, width = tf.gather(heights, index), tf.gather(widths, index)
        count = tf.gather(counts, index)
        row = position // count * stride - context  # of the window's first pixel in the image
        column = position % count * stride - context
        corner = tf.gather(offsets, index) + row * width + column
        # The rows and columns of the window that are inside the image, (n, 2).
        rows = tf.stack([tf.maximum(-row, 0), tf.minimum(height - row, size)], axis=1)
        columns = tf.stack([tf.maximum(-column, 0), tf.minimum(width - column, size)], axis=1)
        # The distances in `pixels` between neighbours down and across the transformed window.
        down, right = width, tf.ones_like(width)
        if augment:
            kind = tf.random.stateless_uniform(
                [batch_size], [seed, step], 0, TRANSFORMS, tf.int64, alg="philox"
            )[first : first + part]
            upward, leftward = kind % 2 == 1, kind // 2 % 2 == 1
            corner += tf.where(upward, (size - 1) * down, 0)
            corner += tf.where(leftward, (size - 1) * right, 0)
            down, right = tf.where(upward, -down, down), tf.where(leftward, -right, right)
            rows = tf.where(upward[:, None], size - rows[:, ::-1], rows)
            columns = tf.where(leftward[:, None], size - columns[:, ::-1], columns)
            flip = kind // 4 == 1
            down, right = tf.where(flip, right, down), tf.where(flip, down, right)
            flip = flip[:, None]
            rows, columns = tf.where(flip, columns, rows), tf.where(flip, rows, columns)
        numbers = [tf.stack([corner, down, right], axis=1), rows, columns]
        return tf.cast(tf.concat(numbers, axis=1), dtype)  # (n, 7)

    bounds = (steps[0] * len(seeds), (steps[-1] + 1) * len(seeds)) if len(steps) else (0, 0)
    # Few threads are enough: positions are little work, and the training step needs the cores.
    # More than one is for a GPU, which needs the positions soon.
    threads = min(4, runtime.available_cores())
    dataset = tf.data.Dataset.range(*bounds).map(draw, threads if threads > 1 else None)
    dataset = dataset.batch(steps_per_dispatch * len(seeds)).prefetch(2)
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    options.threading.max_intra_op_parallelism = 1
    return dataset.with_options(options).as_numpy_iterator()


def position_dtype(source: PatchSource) -> type[np.signedinteger]:
    """The type of `patch_positions`: the smaller one that can count all pixels."""
    return np.int32 if len(source.pixels) < 2**31 else np.int64


def extract_patches(
    pixels: Any, positions: Any, *, patch_size: int, context: int, margin: int
) -> dict[str, Any]:
    """Extracts the patches at these positions.

    Args:
      pixels: float32 (P, 2, C), as `PatchSource.pixels`. A NumPy array is read on the host, a JAX
        array on its device.
      positions: integers (..., 7) from `patch_positions`.
      patch_size: side of a patch in pixels.
      context: as in `patch_positions`.
      margin: pixels of a patch that the network removes from each side.

    Returns:
      {'input': (..., size, size, C), 'label': (..., label, label, C)}, float32, with
      size = patch + 2 context and label = patch - 2 margin. With a context there is also 'inside',
      float32 (..., size, size, 1): 1 inside the image, 0 outside. The input is 0 outside. Host and
      device give the same bits.
    """
    corner, down, right, top, bottom, left, end = (positions[..., i, None] for i in range(7))
    xp: Any = np if isinstance(pixels, np.ndarray) else jnp
    near = xp.arange(patch_size + 2 * context)
    rows, columns = near, near  # (size,), or (..., size)
    if context:
        rows, columns = xp.clip(near, top, bottom - 1), xp.clip(near, left, end - 1)
    index = (corner + down * rows)[..., :, None] + (right * columns)[..., None, :]
    on_host = xp is np
    # pairs: (..., size, size, 2, C)
    pairs = pixels[index] if on_host else pixels.at[index].get(mode="promise_in_bounds")
    labels = slice(context + margin, context + patch_size - margin)
    batch = {"input": pairs[..., 0, :], "label": pairs[..., labels, labels, 1, :]}
    if context:
        inside = (rows == near)[..., :, None, None] & (columns == near)[..., None, :, None]
        batch["inside"] = inside.astype(np.float32)
        batch["input"] *= batch["inside"]
    return batch


def fit_on_devices(source: PatchSource, devices: Sequence[jax.Device]) -> bool:
    """Whether the images fit into the local devices' memory (`MAX_DEVICE_BYTES`).

    CPU devices share one memory, so the images are counted once for each of them.
    """
    copies = len(devices) if devices[0].platform == "cpu" else 1
    return copies * source.pixels.nbytes <= MAX_DEVICE_BYTES


def _grid(length: Any, patch_size: int, stride: int) -> Any:
    """Counts the patch positions along an axis."""
    return (length - patch_size) // stride + 1
