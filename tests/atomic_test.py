"""Files that are replaced as a whole."""

import os
import pathlib
import subprocess
import sys

import pytest

from srcnn_jax import atomic


def test_the_old_file_stays_if_the_new_one_cannot_be_written(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    atomic.write(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(*((os, name) if name == "fsync" else (pathlib.Path, name)), full)
            with pytest.raises(OSError, match="No space left"):
                atomic.write(path, b"new")
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]
    atomic.write(path, b"new")
    assert path.read_bytes() == b"new"


def test_the_bytes_are_on_the_disk_before_the_name(tmp_path, disk_calls):
    atomic.write(tmp_path / "a", b"new")
    assert disk_calls == ["fsync", "rename", "fsync"]  # the last is of the folder


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    others = {"a.json", "a.json.partial", "b.json.partial4711", "a.json.partial1.part"}
    for name in (*others, "a.json.partial4711", "a.json.partial12"):
        (tmp_path / name).touch()
    atomic.clean(tmp_path / "a.json")
    assert {path.name for path in tmp_path.iterdir()} == others


@pytest.mark.skipif(os.name != "posix", reason="only POSIX says whether a process is alive")
def test_the_next_write_removes_what_a_killed_process_left(tmp_path):
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    names = [f"a.partial{killed.pid}", f"a.partial{os.getppid()}", "a.partial", "b.partial1"]
    for name in names:
        (tmp_path / name).touch()
    atomic.write(tmp_path / "a", b"new")
    assert {path.name for path in tmp_path.iterdir()} == {"a", *names[1:]}
