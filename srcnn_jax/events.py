"""What TensorBoard shows of a run: curves, pictures, filters, hyperparameters and final scores.

tensorboard --logdir runs
"""

import io
import os
import pathlib
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import summary_v2
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

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
    """Writes the events of a run, in files as TensorFlow's writer makes them.

    TensorBoard's own package writes them, so that a start need not wait for TensorFlow. A run that
    resumes adds a file. TensorBoard forgets what older files have of later steps.
    """

    def __init__(self, folder: pathlib.Path, step: int):
        """Opens the events.

        Args:
          folder: folder of the event files. Its content is deleted if `step` is 0.
          step: number of updates that were made before.
        """
        if step == 0:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        self._records = RecordWriter((folder / name).open("xb"))
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(session_log=SessionLog(status=SessionLog.START), step=step + 1))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a point to each curve. A value that is infinite or not a number has no point."""
        for name, value in values.items():
            if np.isfinite(value):
                self._write(Event(summary=scalar_pb(name, value), step=step))

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Adds a uint8 picture (H, W)."""
        png = io.BytesIO()
        Image.fromarray(pixels).save(png, "png")
        height, width = pixels.shape
        parts = [str(width).encode(), str(height).encode(), png.getvalue()]
        summary = Summary()
        summary.value.add(
            tag=name,
            metadata=image_metadata.create_summary_metadata(None, None),
            tensor=make_tensor_proto(np.array(parts, object)),
        )
        self._write(Event(summary=summary, step=step))

    def hyperparameters(self, config: Mapping[str, Any], scores: Sequence[str], name: str) -> None:
        """Adds the row of a run to the table of runs.

        Args:
          config: as `configs/default.py`. A field that is None is not shown.
          scores: names of the curves that are columns of the table.
          name: name of the row.
        """
        flat = flatten(config)
        values = {
            field: flat[field] if isinstance(flat[field], (bool, int, float)) else str(flat[field])
            for field in dict.fromkeys([*FIRST, *flat])
            if flat[field] is not None and not field.startswith(OTHERS)
        }
        columns = summary_v2.hparams_config_pb(
            [summary_v2.HParam(field) for field in values], [*map(summary_v2.Metric, scores)]
        )
        self._write(Event(summary=columns))
        self._write(Event(summary=summary_v2.hparams_pb(values, trial_id=name)))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())

    def flush(self) -> None:
        self._records.flush()

    def close(self) -> None:
        self._records.close()


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
