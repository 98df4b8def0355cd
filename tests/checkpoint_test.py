"""Checkpoints: what comes back, what a kill, a full disk or damage leaves."""

import collections
import errno
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from srcnn_jax import checkpoint

KERNEL = np.random.default_rng(0).normal(size=(50, 50)).astype(np.float32)
STATE = {"step": jnp.asarray(3), "params": {"kernel": jnp.asarray(KERNEL)}}
FRESH = {"step": jnp.asarray(0), "params": {"kernel": jnp.zeros((50, 50))}}


def state(step):
    return {"step": jnp.asarray(step), "params": {"kernel": jnp.asarray(KERNEL + step)}}


def accept(step, notes):
    del step, notes


@pytest.fixture
def saved(tmp_path) -> pathlib.Path:
    """A folder with the checkpoints 1 and 2."""
    with checkpoint.open_manager(tmp_path, keep=2) as manager:
        for step in (1, 2):
            checkpoint.save(manager, step, state(step), {"lines": step})
    return tmp_path


def check_state(found, step):
    assert found.step == found.state["step"] == step
    np.testing.assert_array_equal(found.state["params"]["kernel"], state(step)["params"]["kernel"])


def test_the_newest_comes_back(tmp_path):
    assert checkpoint.restore(tmp_path / "none", FRESH, accept) == checkpoint.Restored(0, FRESH)
    with checkpoint.open_manager(tmp_path, keep=2) as manager:
        assert checkpoint.restore(tmp_path, FRESH, accept).step == 0
        for step in (1, 2, 3):
            checkpoint.save(manager, step, state(step), {"lines": step})
        assert sorted(manager.all_steps()) == [2, 3]
    found = checkpoint.restore(tmp_path, FRESH, accept)
    check_state(found, 3)
    assert (found.notes, found.has_checksum, found.passed_over) == ({"lines": 3}, True, {})


def test_what_a_kill_left_is_ignored(saved):
    shutil.copytree(saved / "2", saved / "3.orbax-checkpoint-tmp")
    assert checkpoint.restore(saved, FRESH, accept).step == 2
    with checkpoint.open_manager(saved, keep=2) as manager:
        assert manager.latest_step() == checkpoint.latest_step(saved) == 2


def test_one_too_many_is_deleted(saved):
    """As if a kill had come between the save of 3 and the end of 1."""
    shutil.copytree(saved / "2", saved / "3")
    with checkpoint.open_manager(saved, keep=2) as manager:
        assert manager.all_steps() == [2, 3]
    assert sorted(path.name for path in saved.iterdir()) == ["2", "3"]


def test_a_step_is_not_saved_twice(saved):
    with (
        checkpoint.open_manager(saved, keep=2) as manager,
        pytest.raises(RuntimeError, match="did not save step 1"),
    ):
        checkpoint.save(manager, 1, STATE, {})


def largest(folder: pathlib.Path, pattern: str) -> pathlib.Path:
    return max(folder.glob(pattern), key=lambda path: path.stat().st_size)


DATA, DESCRIPTION = "default/*/[0-9]*", "default/*/.zarray"  # of an array
FLIPPABLE = (DATA, DESCRIPTION, "default/_METADATA", "_CHECKPOINT_METADATA")


def flip(path: pathlib.Path, at: float) -> None:
    """Flips the highest bit of a byte; `at` is its place, 0..1."""
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 128
    path.write_bytes(content)


def empty_folder(folder: pathlib.Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


DAMAGE: dict[str, Callable[[pathlib.Path], object]] = {
    "data cut": lambda folder: os.truncate(largest(folder, DATA), 100),
    "data emptied": lambda folder: os.truncate(largest(folder, DATA), 0),
    "data deleted": lambda folder: largest(folder, DATA).unlink(),
    "metadata emptied": lambda folder: os.truncate(folder / "default/_METADATA", 0),
    "step metadata emptied": lambda folder: os.truncate(folder / "_CHECKPOINT_METADATA", 0),
    "step metadata deleted": lambda folder: (folder / "_CHECKPOINT_METADATA").unlink(),
    "step metadata is a list": lambda f: (f / "_CHECKPOINT_METADATA").write_text("[1]"),
    **{
        f"notes are {notes}": lambda folder, notes=notes: (
            folder / "_CHECKPOINT_METADATA"
        ).write_text(f'{{"custom_metadata": {{"notes": {notes}}}}}')
        for notes in ("5", "[1]", "null")
    },
    "description cut": lambda folder: os.truncate(largest(folder, DESCRIPTION), 20),
    "description deleted": lambda folder: largest(folder, DESCRIPTION).unlink(),
    "default lost": lambda folder: shutil.rmtree(folder / "default"),
    "nothing but the folder": empty_folder,
    **{
        f"{pattern} flipped at {at}": lambda folder, pattern=pattern, at=at: flip(
            largest(folder, pattern), at
        )
        for pattern in FLIPPABLE
        for at in (0.1, 0.5, 0.9)
    },
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_of_damaged_checkpoints_the_newest_good_one_is_used(saved, damage, capfd):
    damage(saved / "2")
    before = sorted(saved.rglob("*"))
    found = checkpoint.restore(saved, FRESH, accept)
    check_state(found, 1)
    (reason,) = found.passed_over.values()
    assert list(found.passed_over) == [2]
    assert 0 < len(reason) <= 200
    assert "\n" not in reason
    assert sorted(saved.rglob("*")) == before
    assert capfd.readouterr() == ("", "")


def test_a_flipped_bit_in_the_values_is_seen(saved):
    """In the bytes of arrays, which Orbax and TensorStore do not check."""
    state = ocp.StandardCheckpointer().restore(saved / "2/default")
    state["params"]["kernel"][1, 1] += 1e-6
    shutil.rmtree(saved / "2/default")
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(saved / "2/default", state)
    found = checkpoint.restore(saved, FRESH, accept)
    assert found.step == 1
    assert "do not have the checksum" in found.passed_over[2]


def test_with_none_good_one_line_says_what_to_do(saved):
    for step in ("1", "2"):
        os.truncate(saved / step / "default/_METADATA", 0)
    (saved / "77").mkdir()
    before = sorted(saved.rglob("*"))
    words = r"has no good checkpoint \(77: .*; 2: .*; 1: .*\): put a good copy back, or delete"
    with pytest.raises(ValueError, match=words):
        checkpoint.restore(saved, FRESH, accept)
    assert sorted(saved.rglob("*")) == before


def test_what_else_a_checkpoint_needs_is_checked(saved):
    def check(step, notes):
        assert notes == {"lines": step}
        if step == 2:
            raise ValueError("a line is missing")

    found = checkpoint.restore(saved, FRESH, check)
    check_state(found, 1)
    assert found.passed_over == {2: "a line is missing"}


def test_the_step_of_one_that_was_set_aside_can_be_saved(saved):
    for n in (1, 2):
        assert checkpoint.set_aside(saved, 2) == saved / f"2.passed_over{n}"
        with checkpoint.open_manager(saved, keep=2) as manager:
            assert manager.latest_step() == 1
            checkpoint.save(manager, 2, state(2), {})
    check_state(checkpoint.restore(saved, FRESH, accept), 2)
    with checkpoint.open_manager(saved, keep=1) as manager:
        checkpoint.save(manager, 3, state(3), {})
    assert sorted(path.name for path in saved.iterdir()) == [
        "2.passed_over1",
        "2.passed_over2",
        "3",
    ]


def test_checkpoints_of_earlier_versions_have_another_format_and_no_checksum(tmp_path):
    with ocp.CheckpointManager(tmp_path) as manager:
        manager.save(1, args=ocp.args.StandardSave(state(1)))
        manager.wait_until_finished()
    assert (tmp_path / "1/default/manifest.ocdbt").exists()
    found = checkpoint.restore(tmp_path, FRESH, accept)
    check_state(found, 1)
    assert (found.notes, found.has_checksum) == ({}, False)
    with checkpoint.open_manager(tmp_path, keep=2) as manager:
        checkpoint.save(manager, 2, state(2), {})
        assert manager.all_steps() == [1, 2]
    check_state(checkpoint.restore(tmp_path, FRESH, accept), 2)


def test_a_full_disk_is_seen_before_it_is_written_to(tmp_path, monkeypatch):
    usage = collections.namedtuple("usage", "free")
    with checkpoint.open_manager(tmp_path, keep=2) as manager:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1000))
        with pytest.raises(OSError, match="No space left") as caught:
            checkpoint.save(manager, 1, STATE, {})
        assert caught.value.errno == errno.ENOSPC
        assert manager.latest_step() is None


FULL = """
import resource, signal, sys
import jax.numpy as jnp, numpy as np
from srcnn_jax import checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
state = {f"{i}": jnp.asarray(np.random.default_rng(i).normal(size=(99, 99))) for i in range(30)}
with checkpoint.open_manager(sys.argv[1], keep=2) as manager:
    checkpoint.save(manager, 1, state, {})
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
    try:
        checkpoint.save(manager, 2, state, {})
    except OSError as error:
        print(error)
assert checkpoint.restore(manager.directory, state, lambda *_: None).step == 1
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit on the size of files")
@pytest.mark.parametrize("limit", [0, 20_000])
def test_a_write_that_fails_is_one_error_and_the_process_ends(tmp_path, limit):
    """As on a disk that fills in the middle of a save; `limit` is a number of bytes per file."""
    command = [sys.executable, "-c", FULL, str(tmp_path), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert str(tmp_path) in line
