"""The first patch positions of a training, kept on the disk for the next one that begins with them.

TensorFlow draws positions, and its import takes a third of a start. A training that finds its first
positions does its first steps meanwhile.
"""

import concurrent.futures
import contextlib
import hashlib
import importlib.metadata
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from srcnn_jax import atomic, input_pipeline, runtime
from srcnn_jax.input_pipeline import POSITION_NUMBERS, PatchSource

MAX_ARRAYS, MAX_BYTES = 8, 2**22  # that are kept of a training; 0.3 MB with the default config
# Arrays that are handed over before TensorFlow is imported. It would slow down the compilation.
BEFORE_IMPORT = 4


def patch_positions(source: PatchSource, **settings: Any) -> Iterator[np.ndarray]:
    """Yields the same arrays as `input_pipeline.patch_positions`, and keeps the first ones.

    If they were kept before, TensorFlow is imported in a thread after the first four, and not at
    all if there are no more. A file that is damaged is drawn anew.

    Args:
      source, settings: as `input_pipeline.patch_positions`.
    """
    place = _place(source, settings)
    if place is None:
        yield from input_pipeline.patch_positions(source, **settings)
        return
    path, shape = place
    count = _rows_in_array(settings)
    first = _read(path, shape, source)
    if first is None:
        fresh = input_pipeline.patch_positions(source, **settings)
        new = [next(fresh) for _ in range(0, shape[0], count)]
        _keep(path, new)  # before they are used: a training that is stopped soon keeps them, too
        yield from new
        yield from fresh
        return
    arrays = [first[i : i + count] for i in range(0, len(first), count)]
    yield from arrays[:BEFORE_IMPORT]
    steps = settings["steps"][len(first) // len(settings["seeds"]) :]
    if not steps:
        yield from arrays[BEFORE_IMPORT:]
        return
    with concurrent.futures.ThreadPoolExecutor(1, "import_tensorflow") as thread:
        drawn = thread.submit(
            input_pipeline.patch_positions, source, **(settings | {"steps": steps})
        )
        yield from arrays[BEFORE_IMPORT:]
    yield from drawn.result()


def _rows_in_array(settings: dict[str, Any]) -> int:
    """Counts the rows of an array of positions: one for each step and seed."""
    return settings["steps_per_dispatch"] * len(settings["seeds"])


def _place(
    source: PatchSource, settings: dict[str, Any]
) -> tuple[pathlib.Path, tuple[int, int, int]] | None:
    """Finds where the first positions of a training are kept.

    The name of the file is a checksum of all that they depend on: the sizes of the images, the
    settings, the code that draws them, and the version of TensorFlow.

    Returns:
      The file, and the shape of its positions, (rows, n, 7), with a row for each step and seed.
      None for a training that resumes, or if an array is too large, or without a cache folder.
    """
    steps, in_array = settings["steps"], _rows_in_array(settings)
    part = settings["batch_size"] // settings["shard"][1]
    arrays = min(MAX_ARRAYS, MAX_BYTES // (in_array * part * POSITION_NUMBERS * 8))
    shape = min(arrays * in_array, len(steps) * len(settings["seeds"])), part, POSITION_NUMBERS
    folder = runtime.cache_folder()
    if folder is None or not shape[0] or steps[0] != 0:
        return None
    depends = settings | {"steps": shape[0], "seeds": [*settings["seeds"]]}
    versions = [
        f"{found.name} {found.version}"
        for package in ("tensorflow", "tensorflow-cpu")
        for found in importlib.metadata.distributions(name=package)
    ]
    try:
        code = pathlib.Path(input_pipeline.__file__).read_bytes()
    except OSError:
        return None
    digest = hashlib.sha256(f"{versions} {sorted(depends.items())} {shape} ".encode() + code)
    for sizes in (source.heights, source.widths, source.offsets):
        digest.update(sizes.tobytes())
    return folder / "positions" / digest.hexdigest()[:32], shape


def _read(
    path: pathlib.Path, shape: tuple[int, int, int], source: PatchSource
) -> np.ndarray | None:
    """Reads kept positions. It returns None if there are none, or if their checksum is wrong."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    checksum, positions = content[:32], content[32:]
    if hashlib.sha256(positions).digest() != checksum:
        return None
    return np.frombuffer(positions, input_pipeline.position_dtype(source)).reshape(shape)


def _keep(path: pathlib.Path, first: Sequence[np.ndarray]) -> None:
    """Writes the first arrays with their checksum. A full disk makes the next start longer."""
    content = np.concatenate(first).tobytes()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(path, hashlib.sha256(content).digest() + content)
