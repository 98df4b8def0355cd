"""Checkpoints of the training state, by Orbax: atomic, written in the background."""

import errno
import logging
import os
import pathlib
import shutil
from typing import Any, TypeAlias

import jax
import orbax.checkpoint as ocp

logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)

DISK_RESERVE_BYTES = 2**20  # bytes of a disk that a checkpoint's own files may take

Manager: TypeAlias = ocp.CheckpointManager


def open_manager(folder: str | pathlib.Path, keep: int = 2) -> Manager:
    """Opens, or creates, a folder of checkpoints; the newest `keep` stay.

    What a killed process left half-written is ignored and cleaned up.
    """
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, cleanup_tmp_directories=True)
    return ocp.CheckpointManager(pathlib.Path(folder).absolute(), options=options)


def save(manager: Manager, step: int, state: Any) -> None:
    """Begins to save a pytree of arrays; `manager.wait_until_finished()` ends it.

    Raises:
      RuntimeError: if a checkpoint of this step exists, which Orbax would pass over in silence.
      OSError: if the disk is too full to begin: Orbax cannot stop half-way without a long noise.
    """
    needed = 4 * sum(x.nbytes for x in jax.tree.leaves(state)) + DISK_RESERVE_BYTES
    if shutil.disk_usage(manager.directory).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(manager.directory))
    if not manager.save(step, args=ocp.args.StandardSave(state)):
        raise RuntimeError(f"Orbax did not save step {step}: {manager.directory} has it already")


def restore_latest(manager: Manager, like: Any) -> tuple[int, Any] | None:
    """The newest complete checkpoint as (step, state shaped as `like`), or None."""
    step = manager.latest_step()
    if step is None:
        return None
    return step, manager.restore(step, args=ocp.args.StandardRestore(like))


def latest_step(folder: pathlib.Path) -> int:
    """The step of the newest complete checkpoint in a folder; 0 if there is none."""
    return max((int(path.name) for path in folder.glob("*") if path.name.isdigit()), default=0)
