"""Checkpoints: what comes back, what a kill or a full disk leaves."""

import collections
import errno
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from srcnn_jax import checkpoint

STATE = {"step": jnp.asarray(3), "params": {"kernel": jnp.arange(6.0).reshape(2, 3)}}


def test_the_newest_comes_back(tmp_path):
    with checkpoint.open_manager(tmp_path / "checkpoints", keep=2) as manager:
        assert checkpoint.restore_latest(manager, STATE) is None
        for step in (1, 2, 3):
            checkpoint.save(manager, step, STATE | {"step": jnp.asarray(step)})
        manager.wait_until_finished()
        assert sorted(manager.all_steps()) == [2, 3]
    with checkpoint.open_manager(tmp_path / "checkpoints", keep=2) as manager:
        step, state = checkpoint.restore_latest(manager, STATE)
        assert step == state["step"] == 3
        np.testing.assert_array_equal(state["params"]["kernel"], STATE["params"]["kernel"])


def test_what_a_kill_left_is_ignored(tmp_path):
    with checkpoint.open_manager(tmp_path, keep=2) as manager:
        checkpoint.save(manager, 1, STATE)
        manager.wait_until_finished()
    shutil.copytree(tmp_path / "1", tmp_path / "2.orbax-checkpoint-tmp")
    with checkpoint.open_manager(tmp_path, keep=2) as manager:
        assert manager.latest_step() == 1


def test_a_step_is_not_saved_twice(tmp_path):
    with checkpoint.open_manager(tmp_path, keep=2) as manager:
        checkpoint.save(manager, 1, STATE)
        manager.wait_until_finished()
        with pytest.raises(RuntimeError, match="did not save step 1"):
            checkpoint.save(manager, 1, STATE)


def test_a_full_disk_is_seen_before_it_is_written_to(tmp_path, monkeypatch):
    usage = collections.namedtuple("usage", "free")
    with checkpoint.open_manager(tmp_path, keep=2) as manager:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1000))
        with pytest.raises(OSError, match="No space left") as caught:
            checkpoint.save(manager, 1, STATE)
        assert caught.value.errno == errno.ENOSPC
        assert manager.latest_step() is None
