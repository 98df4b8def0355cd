"""Checkpoints of the training state. Orbax writes them atomically, in the background."""

import errno
import logging
import os
import pathlib
import shutil
from typing import Any, TypeAlias

import jax
import orbax.checkpoint as ocp

logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)

DISK_RESERVE_BYTES = 2**20  # disk space for the files of a checkpoint that hold no arrays

Manager: TypeAlias = ocp.CheckpointManager


def open_manager(folder: str | pathlib.Path, keep: int) -> Manager:
    """Opens a folder of checkpoints, and creates it if it does not exist.

    Only the newest `keep` checkpoints are kept. Incomplete checkpoints of a killed process are
    ignored and removed.
    """
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, cleanup_tmp_directories=True)
    return ocp.CheckpointManager(pathlib.Path(folder).absolute(), options=options)


def save(manager: Manager, step: int, state: Any) -> None:
    """Starts to save a pytree of arrays; `manager.wait_until_finished()` waits for the end.

    Raises:
      RuntimeError: if a checkpoint of this step exists. Orbax itself would not say so.
      OSError: if the disk is too full. Orbax would stop half-way, with pages of errors.
    """
    needed = 4 * sum(x.nbytes for x in jax.tree.leaves(state)) + DISK_RESERVE_BYTES
    if shutil.disk_usage(manager.directory).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(manager.directory))
    if not manager.save(step, args=ocp.args.StandardSave(state)):
        raise RuntimeError(f"Orbax did not save step {step}: {manager.directory} has it already")


def restore_latest(manager: Manager, like: Any) -> tuple[int, Any] | None:
    """Returns the newest complete checkpoint as (step, state shaped as `like`), or None."""
    step = manager.latest_step()
    if step is None:
        return None
    return step, manager.restore(step, args=ocp.args.StandardRestore(like))


def latest_step(folder: pathlib.Path) -> int:
    """Returns the step of the newest complete checkpoint in a folder, or 0 if there is none."""
    return max((int(path.name) for path in folder.glob("*") if path.name.isdigit()), default=0)
