"""tf.data pipeline: images to batches of (input, label) patches.

Batch i is a pure function of (seed, i): a run that resumes at step i sees what it would have seen.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from srcnn_jax import image, parallel
from srcnn_jax.datasets import Dataset
from srcnn_jax.datasets.prepared import import_tensorflow
from srcnn_jax.weights import COLOURS

TRANSFORMS = 8  # flips and rotations of a square


@dataclasses.dataclass(frozen=True)
class PatchSource:
    """Training images, ready to be cut into patches.

    Attributes:
      pixels: float32 (P, 2, C) in 0..1, the pixels of all images, each as (input, label).
      offsets, heights, widths: int64 (images,): where each image begins in `pixels`, its size.
    """

    pixels: np.ndarray
    offsets: np.ndarray
    heights: np.ndarray
    widths: np.ndarray


def degrade(label: np.ndarray, scale: int) -> np.ndarray:
    """What the network is given: float (H, W, C) shrunk and enlarged again by `scale`, bicubic.

    In float and never rounded, as in the released `generate_train.m` and `demo_SR.m`.
    """
    return image.imresize(image.imresize(label, 1 / scale), scale)


def to_planes(pixels: np.ndarray, colour: str, luminance: str) -> np.ndarray:
    """uint8 (H, W) or (H, W, 3) to the uint8 (H, W, C) that a network of this colour works on."""
    if colour == "y":
        return image.luminance(pixels, luminance)[..., None]
    rgb = np.repeat(pixels[..., None], 3, axis=-1) if pixels.ndim == 2 else pixels
    return image.rgb2ycbcr(rgb) if colour == "ycbcr" else rgb


def create_source(
    dataset: Dataset, *, scale: int, colour: str, patch_size: int, copies: Sequence[float]
) -> PatchSource:
    """Makes the (input, label) images of a training set.

    Args:
      dataset: decoded images.
      scale: factor of the enlargement, 2, 3 or 4.
      colour: 'y', 'ycbcr' or 'rgb'.
      patch_size: side of an input patch in pixels.
      copies: sizes at which every image is used, 1.0 being its own (.9, .8, ... are additional
        down-scaled copies, as in FSRCNN). A copy smaller than a patch is left out.

    Raises:
      ValueError: if an image is smaller than a patch at every size.
    """
    pairs = []
    for name, pixels in dataset.images:
        planes = to_planes(pixels, colour, dataset.luminance).astype(np.float32) / np.float32(255)
        sized = [planes if size == 1 else image.imresize(planes, size) for size in copies]
        labels = [
            image.modcrop(copy, scale)
            for copy in sized
            if min(copy.shape[:2]) // scale * scale >= patch_size
        ]
        if not labels:
            raise ValueError(
                f"image {name!r} of {dataset.name} has {planes.shape[1]}x{planes.shape[0]} pixels, "
                f"less than a patch of {patch_size}: leave it out or set data.patch_size lower"
            )
        pairs += [np.stack([degrade(label, scale), label], axis=2) for label in labels]
    heights, widths = np.array([pair.shape[:2] for pair in pairs], np.int64).T
    return PatchSource(
        pixels=np.concatenate([pair.reshape(-1, 2, COLOURS[colour]) for pair in pairs]),
        offsets=np.concatenate([[0], np.cumsum(heights * widths)[:-1]]),
        heights=heights,
        widths=widths,
    )


def count_patches(source: PatchSource, patch_size: int, stride: int) -> int:
    """Places of a patch on a grid of `stride` pixels, over all images."""
    return int(
        np.sum(_grid(source.heights, patch_size, stride) * _grid(source.widths, patch_size, stride))
    )


def batches(
    source: PatchSource,
    *,
    patch_size: int,
    margin: int,
    stride: int,
    augment: bool,
    batch_size: int,
    seed: int | Sequence[int],
    steps: Sequence[int],
    steps_per_dispatch: int,
    shard: tuple[int, int] = (0, 1),
    cut_later: bool = False,
) -> Iterator[Any]:
    """Batches of patches for the given steps, several steps at a time.

    Every place of the grid is visited once per epoch, in an order shuffled anew for each; stride 1
    means any place. All of a batch is drawn and gathered at once, which gives every patch its own
    place and transform at the cost of one index array.

    Args:
      source: the images.
      patch_size: side of an input patch in pixels.
      margin: pixels that the network cuts off each side; the label is smaller by them.
      stride: pixels between the places of patches (the paper: 14).
      augment: whether each patch gets one of eight flips and rotations, or none.
      batch_size: patches of a step, over all processes.
      seed: of the order and the transforms; of several, every step has a batch of each in turn.
      steps: a range of steps, from 0.
      steps_per_dispatch: k.
      shard: (index, count) of this process, which gets its equal part of every batch.
      cut_later: whether to leave the pixels to `cut`, on the devices, which is faster.

    Yields:
      {'input': (k, n, patch, patch, C), 'label': (k, n, label, label, C)}, float32 in 0..1, n
      being this process's part of the batch; or, if they are to be cut later, their places, int32
      (k, n, 3). The last may have fewer than k steps. With s seeds, k s in place of k.
    """
    tf = import_tensorflow()
    seeds = np.array([seed] if isinstance(seed, int) else seed, np.int64)
    # The cores belong to the training step; places are little work, and a GPU soon needs the next.
    threads = min(4 if cut_later else len(seeds), parallel.available_cores())
    rows = _grid(source.heights, patch_size, stride)
    columns = _grid(source.widths, patch_size, stride)
    ends = np.cumsum(rows * columns)
    places = int(ends[-1])
    part = batch_size // shard[1]
    first = shard[0] * part
    pixels = None if cut_later else tf.constant(source.pixels.reshape(len(source.pixels), -1))
    channels = source.pixels.shape[-1]
    offsets, widths = tf.constant(source.offsets), tf.constant(source.widths)
    columns, ends = tf.constant(columns), tf.constant(ends)
    starts = tf.concat([[tf.constant(0, tf.int64)], ends[:-1]], 0)
    near = tf.range(patch_size, dtype=tf.int64)
    inside = slice(margin, patch_size - margin)

    def draw(number):
        step, seed = number // len(seeds), tf.gather(seeds, number % len(seeds))
        serial = step * batch_size + first + tf.range(part, dtype=tf.int64)
        epoch = serial // places
        keys = tf.stack([tf.fill([part], seed), epoch, epoch * 0], axis=1)
        # A block cipher on 0..places-1, so no order needs to be stored. Its 4 rounds by default
        # leave neighbours together (correlation 0.25 to 0.8); 16 do not. The op itself, because
        # its wrapper, tf.random.experimental.index_shuffle, takes one key for all.
        place = tf.raw_ops.RandomIndexShuffle(
            index=serial % places,
            seed=tf.cast(keys, tf.uint32),
            max_index=tf.constant(places - 1, tf.int64),
            rounds=16,
        )
        index = tf.searchsorted(ends, place, side="right")
        place -= tf.gather(starts, index)
        across, width = tf.gather(columns, index), tf.gather(widths, index)
        corner = tf.gather(offsets, index) + (place // across * width + place % across) * stride
        # Distance in `pixels` between neighbours down and across the patch, as transformed.
        down, right = width, tf.ones_like(width)
        if augment:
            kind = tf.random.stateless_uniform(
                [batch_size], [seed, step], 0, TRANSFORMS, tf.int64, alg="philox"
            )[first : first + part]
            upward, leftward = kind % 2 == 1, kind // 2 % 2 == 1
            corner += tf.where(upward, (patch_size - 1) * down, 0)
            corner += tf.where(leftward, (patch_size - 1) * right, 0)
            down, right = tf.where(upward, -down, down), tf.where(leftward, -right, right)
            flip = kind // 4 == 1
            down, right = tf.where(flip, right, down), tf.where(flip, down, right)
        return tf.stack([corner, down, right], axis=1)

    def cut_now(place):
        corner, down, right = tf.unstack(place[..., None, None], axis=1)
        flat = corner + down * near[:, None] + right * near
        patch = tf.reshape(tf.gather(pixels, flat), [part, patch_size, patch_size, 2, channels])
        return {"input": patch[:, :, :, 0], "label": patch[:, inside, inside, 1]}

    bounds = (steps[0] * len(seeds), (steps[-1] + 1) * len(seeds)) if len(steps) else (0, 0)
    dataset = tf.data.Dataset.range(*bounds)
    dataset = dataset.map(
        lambda number: tf.cast(draw(number), tf.int32) if cut_later else cut_now(draw(number)),
        threads if threads > 1 else None,
    )
    dataset = dataset.batch(steps_per_dispatch * len(seeds)).prefetch(2)
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    options.threading.max_intra_op_parallelism = 1
    return dataset.with_options(options).as_numpy_iterator()


def cut(
    pixels: jax.Array, places: jax.Array, *, patch_size: int, margin: int
) -> dict[str, jax.Array]:
    """Cuts patches out of images that lie on the device: what `batches` left for later.

    Args:
      pixels: as `PatchSource.pixels`, at most 2^31 of them.
      places: int32 (n, 3): where in `pixels` a patch begins, and the distance there between
        neighbours down and across it.
      patch_size, margin: as for `batches`.

    Returns:
      A step's batch of `batches`, the same to the bit.
    """
    near = jnp.arange(patch_size)
    corner, down, right = jnp.moveaxis(places[..., None, None], 1, 0)
    flat = corner + down * near[:, None] + right * near
    patch = pixels.at[flat].get(mode="promise_in_bounds")
    inside = slice(margin, patch_size - margin)
    return {"input": patch[:, :, :, 0], "label": patch[:, inside, inside, 1]}


def _grid(length: Any, patch_size: int, stride: int) -> Any:
    """Places of a patch along an axis."""
    return (length - patch_size) // stride + 1
