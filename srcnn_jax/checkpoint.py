"""Checkpoints of the training state. Orbax writes them atomically.

A checkpoint N is the folder `checkpoints/N`. It knows the sha256 of its arrays, which is compared
before they are used. Checkpoints of earlier versions have none.
"""

import dataclasses
import errno
import functools
import gc
import hashlib
import itertools
import json
import logging
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)
logging.getLogger("asyncio").addFilter(lambda record: "orbax" not in record.getMessage())

DISK_RESERVE_BYTES = 2**20  # disk space for the files of a checkpoint that hold no arrays
LATE_SECONDS = 0.3  # after an error is raised, other threads write about it for so long

Manager: TypeAlias = ocp.CheckpointManager
T = TypeVar("T")


def open_manager(folder: str | pathlib.Path, keep: int) -> Manager:
    """Opens a folder of checkpoints, and creates it if it does not exist.

    Only the newest `keep` checkpoints are kept. Incomplete checkpoints of a killed process are
    ignored and removed.
    """
    # A save in the background that fails leaves threads that wait for each other at the exit.
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep, cleanup_tmp_directories=True, enable_async_checkpointing=False
    )
    # A file for each array. For the other format, OCDBT, Orbax calls a function of tensorstore for
    # each array that loses some memory (to_json in 0.1.86).
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=False)
    path = pathlib.Path(folder).absolute()
    manager = ocp.CheckpointManager(path, options=options, item_handlers=handler)
    for step in sorted(manager.all_steps())[:-keep]:  # of a process killed after it saved another
        manager.delete(step)
    return manager


def save(manager: Manager, step: int, state: Any, notes: Mapping[str, Any]) -> None:
    """Saves a pytree of arrays, with its checksum.

    Args:
      manager: the folder of checkpoints.
      step: number of updates that were made.
      state: the arrays.
      notes: JSON values that `restore` gives back.

    Raises:
      RuntimeError: if a checkpoint of this step exists. Orbax itself would not say so.
      OSError: if it cannot be written. The errno is ENOSPC if the disk is full.
    """
    needed = 4 * sum(x.nbytes for x in jax.tree.leaves(state)) + DISK_RESERVE_BYTES
    folder = manager.directory
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    # For arrays of JAX, Orbax reads tensorstore's counters, which lose 6 kB of memory (0.1.86).
    state = jax.tree.map(np.asarray, state)
    content = {"sha256": checksum(state, notes), "notes": dict(notes)}
    args = ocp.args.PyTreeSave(state)
    try:
        saved = _call(lambda: manager.save(step, args=args, custom_metadata=content))
    except ValueError as error:
        if os.strerror(errno.ENOSPC) in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        if jax.process_count() > 1:  # it may say that another process was lost
            raise
        raise OSError(f"{folder / str(step)} cannot be written: {_brief(str(error))}") from error
    if not saved:
        raise RuntimeError(f"Orbax did not save step {step}: {folder} has it already")


@dataclasses.dataclass(frozen=True)
class Restored:
    """A checkpoint that is good, or the beginning.

    Attributes:
      step: number of updates before it; 0 if there is no checkpoint.
      state: the arrays.
      notes: what `save` was given; {} if an earlier version saved it.
      has_checksum: whether its arrays were compared with a checksum.
      passed_over: why newer checkpoints cannot be used, by their steps.
    """

    step: int
    state: Any
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    has_checksum: bool = True
    passed_over: Mapping[int, str] = dataclasses.field(default_factory=dict)


def restore(
    folder: pathlib.Path, fresh: Any, check: Callable[[int, Mapping[str, Any]], None]
) -> Restored:
    """Restores the newest good checkpoint of a folder, and changes nothing there.

    Args:
      folder: the checkpoints. It may be new.
      fresh: the state before the first step. Checkpoints have the same tree and shapes.
      check: called with the step and the notes of a checkpoint. It raises ValueError if something
        else that the checkpoint needs is damaged.

    Returns:
      The checkpoint; `fresh` if there is none.

    Raises:
      ValueError: if there are checkpoints and none is good. It names each and the reason.
    """
    passed_over: dict[int, str] = {}
    for step in sorted(_steps(folder), reverse=True):
        try:
            saved = _read_metadata(folder / str(step))
            notes, sha256 = saved.get("notes", {}), saved.get("sha256")
            state = _call(functools.partial(_read, folder / str(step), fresh))
            if sha256 is not None and checksum(state, notes) != sha256:
                raise ValueError("its arrays do not have the checksum that was saved with them")
            check(step, notes)
            return Restored(step, state, notes, sha256 is not None, passed_over)
        except (ValueError, OSError) as error:
            passed_over[step] = _brief(_one_line(error))
    if passed_over:
        reasons = "; ".join(f"{step}: {reason}" for step, reason in passed_over.items())
        raise ValueError(
            f"{folder} has no good checkpoint ({reasons}): put a good copy back, or delete "
            f"{folder.parent} to begin again"
        )
    return Restored(0, fresh)


def set_aside(folder: pathlib.Path, step: int) -> pathlib.Path:
    """Renames a checkpoint that was passed over, so that its step can be saved; returns the path.

    Nobody reads a folder of the new name.
    """
    names = (folder / f"{step}.passed_over{n}" for n in itertools.count(1))
    path = next(name for name in names if not name.exists())
    return (folder / str(step)).rename(path)


def latest_step(folder: pathlib.Path) -> int:
    """Returns the step of the newest complete checkpoint in a folder, or 0 if there is none."""
    return max(_steps(folder), default=0)


def checksum(state: Any, notes: Mapping[str, Any]) -> str:
    """sha256 in hex over JSON values, and the paths, types, shapes and values of arrays."""
    digest = hashlib.sha256(json.dumps(dict(notes), sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _steps(folder: pathlib.Path) -> list[int]:
    return [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]


def _read_metadata(path: pathlib.Path) -> dict[str, Any]:
    """What `save` added to Orbax's metadata of a checkpoint; {} if an earlier version saved it."""
    file = path / "_CHECKPOINT_METADATA"
    if not file.exists():
        raise FileNotFoundError(f"{file} is not there")
    try:
        saved = dict(json.loads(file.read_bytes()).get("custom_metadata") or {})
        if not isinstance(saved.get("notes", {}), dict):
            raise ValueError("its notes are no object")
        return saved
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is damaged ({error})") from error


def _read(path: pathlib.Path, fresh: Any) -> Any:
    """The arrays of a checkpoint, with the tree and the shapes of `fresh`."""
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(path.absolute() / "default", fresh)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _brief(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:197]}..."


def _call(function: Callable[[], T]) -> T:
    """Calls a function of Orbax, whose errors become one ValueError with one line.

    Orbax's threads, and TensorStore in C++, write up to a thousand lines about one full disk or one
    damaged file. So standard error is held back on Linux, and dropped if there is an error. In a
    job of several processes it is not held back, because JAX writes there that a process was lost,
    and ends this one at once.
    """
    sys.stderr.flush()
    holds = jax.process_count() == 1 and hasattr(os, "memfd_create")
    held = os.memfd_create("stderr") if holds else os.dup(2)
    real = os.dup(2)
    os.dup2(held, 2)
    try:
        try:
            result = function()
        except Exception as error:
            reason = _one_line(error)
        else:
            sys.stderr.flush()
            if holds:
                os.lseek(held, 0, os.SEEK_SET)
                os.write(real, os.read(held, os.fstat(held).st_size))
            return result
        time.sleep(LATE_SECONDS)
        gc.collect()  # coroutines that were not waited for say so when they go
        raise ValueError(reason)
    finally:
        os.dup2(real, 2)
        os.close(real)
        os.close(held)
