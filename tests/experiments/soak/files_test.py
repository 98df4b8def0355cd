"""Damaged files: they are the same for a seed, and what is a fault; a small run of all readers."""

import random
import struct
import sys
import zlib

import pytest

from experiments.soak import files
from srcnn_jax import pictures, weights

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads its memory from /proc")


@pytest.mark.parametrize("suffix", files.WEIGHTS)
def test_the_whole_weight_files_are_read_and_damaged_by_the_seed(suffix, tmp_path):
    path = tmp_path / f"net{suffix}"
    wholes = files.make_weights(suffix, tmp_path)
    for whole in wholes:
        path.write_bytes(whole)
        network = weights.load(path)
        assert network.architecture.kernel_sizes == (9, 1, 5)
    made = [files.mutated(wholes, suffix, 0, index) for index in range(40)]
    assert made == [files.mutated(wholes, suffix, 0, index) for index in range(40)]
    assert len(set(made)) > 30


@pytest.mark.parametrize("suffix", files.PICTURES)
def test_the_whole_pictures_are_read(suffix):
    for whole in files.make_pictures(suffix):
        assert pictures.decode(whole, f"a{suffix}").size == (20, 12)


def test_chunks_of_a_png_have_the_checksum_of_what_they_hold():
    (whole, *_) = files.make_pictures(".png")
    assert [kind for kind, _ in files._chunks(whole)] == [b"IHDR", b"IDAT", b"IEND"]
    for seed in range(30):
        content = files.mutate_png(whole, random.Random(seed))
        for kind, data in files._chunks(content):
            end = content.index(kind + data) + len(kind + data)
            assert content[end:].startswith(struct.pack(">I", zlib.crc32(kind + data)))


@pytest.mark.parametrize(
    ("reading", "fault"),
    [
        (files.Reading(0, 100, "", "", 0.1, 0), ""),
        (files.Reading(0, 100, "ValueError", "it is damaged", 4.9, 2**28), ""),
        (files.Reading(0, 100, "KeyError", "a", 0.1, 0), "KeyError: a"),
        (files.Reading(0, 100, "ValueError", "a\nb", 0.1, 0), "several lines"),
        (files.Reading(0, 100, "ValueError", 2000 * "a", 0.1, 0), "long"),
        (files.Reading(0, 100, "", "", 9.0, 0), "9.0 s"),
        (files.Reading(0, 100, "", "", 0.1, 2**29), "537 MB"),
    ],
)
def test_faults(reading, fault):
    assert fault in reading.fault
    assert bool(fault) == bool(reading.fault)


@linux
def test_a_small_run(tmp_path, capsys):
    assert files.soak(tmp_path, 5, 0, (".mat", ".bmp")) == []
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [[".mat", "5"], [".bmp", "5"], ["files:", "5"]]


@linux
def test_a_file_that_ends_the_process_is_a_fault_and_the_next_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "HANGS", 20.0)
    code = (
        "import os, json, dataclasses; from experiments.soak import files\n"
        "def work(suffix, folder, seed, begin, end):\n"
        "    for i in range(begin, end):\n"
        "        if i == 1: os._exit(11)\n"
        "        print(json.dumps(dataclasses.asdict(files.Reading(i, 0, '', '', 0.0, 0))))\n"
        "        import sys; sys.stdout.flush()\n"
        "files.work = work\n"
    )
    real = files.subprocess.Popen

    def popen(command, **settings):
        return real([*command[:2], code + command[2]], **settings)

    monkeypatch.setattr(files.subprocess, "Popen", popen)
    readings = list(files.read_all(".mat", tmp_path, 0, 3))
    assert [(each.index, each.error) for each in readings] == [(0, ""), (1, "Ended"), (2, "")]
    assert "exit code 11" in readings[1].fault
