"""What TensorBoard shows of a run: curves, pictures, filters, hyperparameters and final scores.

tensorboard --logdir runs
"""

import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from srcnn_jax import runtime
from srcnn_jax.config_fields import flatten

MAX_SIDE = 160  # pixels; of a larger validation image, the middle is shown
ZOOM = 6  # pixels of the picture for a weight
GAP = 4  # pixels between two filters
COLUMNS = 8  # filters in a row
# The first columns of the table of runs. TensorBoard shows these, and more on demand.
FIRST = ("model.kernel_sizes", "model.features", "scale", "seed", "train.steps")
# Beginnings of the names of fields that are no hyperparameters.
OTHERS = ("name", "eval.", "train.log", "train.eval", "train.checkpoint", "train.keep_check")


class EventWriter:
    """Writes the events of a run.

    A run that resumes adds a file. TensorBoard forgets what older files have of later steps.
    """

    def __init__(self, folder: pathlib.Path, step: int):
        """Opens the events.

        Args:
          folder: folder of the event files. Its content is deleted if `step` is 0.
          step: number of updates that were made before.
        """
        if step == 0:
            shutil.rmtree(folder, ignore_errors=True)
        self._tf = runtime.import_tensorflow()
        self._writer = self._tf.summary.create_file_writer(str(folder))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a point to each curve. A value that is infinite or not a number has no point."""
        with self._writer.as_default():
            for name, value in values.items():
                if np.isfinite(value):
                    self._tf.summary.scalar(name, np.asarray(value, np.float32), _array(step))

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Adds a uint8 picture (H, W)."""
        with self._writer.as_default():
            self._tf.summary.image(name, pixels[None, :, :, None], _array(step))

    def hyperparameters(self, config: Mapping[str, Any], scores: Sequence[str], name: str) -> None:
        """Adds the row of a run to the table of runs.

        Args:
          config: as `configs/default.py`. A field that is None is not shown.
          scores: names of the curves that are columns of the table.
          name: name of the row.
        """
        # Beside this module, `hparams.api` imports Keras, which takes 2 seconds of each start.
        from tensorboard.plugins.hparams import summary_v2

        flat = flatten(config)
        values = {
            field: flat[field] if isinstance(flat[field], (bool, int, float)) else str(flat[field])
            for field in dict.fromkeys([*FIRST, *flat])
            if flat[field] is not None and not field.startswith(OTHERS)
        }
        with self._writer.as_default():
            summary_v2.hparams_config(
                [summary_v2.HParam(field) for field in values], [*map(summary_v2.Metric, scores)]
            )
            summary_v2.hparams(values, trial_id=name)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def _array(step: int) -> np.ndarray:
    """TensorFlow keeps each number of Python's that it sees, 2 kB with what belongs to it."""
    return np.asarray(step, np.int64)


def side_by_side(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the middle of uint8 pictures (H, W) of one size, beside each other."""
    height, width = pictures[0].shape
    top, left = max(0, height - MAX_SIDE) // 2, max(0, width - MAX_SIDE) // 2
    middle = np.s_[top : top + MAX_SIDE, left : left + MAX_SIDE]
    return np.concatenate([pixels[middle] for pixels in pictures], axis=1)


def mosaic(kernel: np.ndarray) -> np.ndarray:
    """Returns the first-layer filters as a picture, most variable first (TPAMI, figure 5).

    Each filter has its own grey scale, from its smallest weight to its largest, as in the paper.

    Args:
      kernel: float (f1, f1, c, n1). The filters of the first input channel are shown.

    Returns:
      uint8 (H, W).
    """
    filters = kernel[:, :, 0].transpose(2, 0, 1)
    filters = filters[np.argsort(-filters.var(axis=(1, 2)))]
    low = filters.min(axis=(1, 2), keepdims=True)
    high = filters.max(axis=(1, 2), keepdims=True)
    grey = np.round(255 * (filters - low) / np.maximum(high - low, 1e-12)).astype(np.uint8)
    tiles = np.kron(grey, np.ones((1, ZOOM, ZOOM), np.uint8))
    tiles = np.pad(tiles, ((0, -len(tiles) % COLUMNS), (0, GAP), (0, GAP)), constant_values=255)
    rows = tiles.reshape(-1, COLUMNS, *tiles.shape[1:]).swapaxes(1, 2)
    return rows.reshape(rows.shape[0] * rows.shape[1], -1)[:-GAP, :-GAP]
