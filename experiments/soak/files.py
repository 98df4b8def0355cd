"""Damaged weight files and pictures: a ValueError of one line, soon, without much memory.

Each reader works in a process of its own, whose memory is limited. If one file ends the process or
takes too long, that is a fault, and a new process goes on with the next file. Linux alone says how
much memory a file took.
"""

import dataclasses
import functools
import io
import itertools
import json
import logging
import pathlib
import pickle
import queue
import random
import re
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator

import numpy as np

from experiments import runner
from experiments.soak import damage
from srcnn_jax import picture_formats, pictures, weights
from srcnn_jax.weights import pytorch, pytorch_file

MAX_SECONDS = 5.0  # of processor time for a file
MAX_MEMORY = 2**28  # bytes for a file, in addition to a multiple of its size
MAX_MULTIPLE = 12
MAX_LINE = 1000  # characters of a message
LIMIT = 4 * 2**30  # bytes of address space of a process
HANGS = 60.0  # seconds after which a process is killed
PICTURES = (".png", ".jpg", ".webp", ".tif", ".gif", ".bmp")
WEIGHTS = (".safetensors", ".mat", ".pth", ".legacy.pth")


# --- the files before they are damaged ------------------------------------------------------------


def make_network() -> weights.Network:
    """A network of 9-1-5 with few filters."""
    rng = np.random.default_rng(0)
    widths = (1, 6, 4, 1)
    params = {
        f"conv{i + 1}": {
            "kernel": rng.normal(size=(f, f, widths[i], widths[i + 1])).astype(np.float32),
            "bias": rng.normal(size=widths[i + 1]).astype(np.float32),
        }
        for i, f in enumerate((9, 1, 5))
    }
    return weights.Network(params, "valid", 3)


def make_weights(suffix: str, folder: pathlib.Path) -> list[bytes]:
    """The bytes of a weight file, as the project writes it, and as other programs do."""
    path, network = folder / f"whole{suffix}", make_network()
    weights.save(path, network)
    whole = path.read_bytes()
    if suffix == ".legacy.pth":
        return [to_legacy(whole)]
    if suffix == ".safetensors":  # another one has PyTorch's names and no checksum
        from safetensors import numpy

        return [whole, numpy.save(pytorch.from_params(network.params))]
    return [whole]


def to_legacy(archive: bytes) -> bytes:
    """The same state_dict as PyTorch wrote it before 1.6: five pickles, then the blocks."""
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        content = files.read("archive/data.pkl")
        blocks = [
            files.read(f"archive/data/{key}")
            for key in range(sum(name.startswith("archive/data/") for name in files.namelist()))
        ]
    # A reference has a sixth part here: None before the tuple ends.
    content = content.replace(pickle.TUPLE + pickle.BINPERSID, b"NtQ")
    machine = {"protocol_version": 1001, "little_endian": True}
    before = [pickle.dumps(each, 2) for each in (pytorch_file.LEGACY_MAGIC, 1001, machine)]
    keys = pickle.dumps([str(key) for key in range(len(blocks))], 2)
    sized = [struct.pack("<q", len(block) // 4) + block for block in blocks]
    return b"".join([*before, content, keys, *sized])


def make_pictures(suffix: str) -> list[bytes]:
    """The bytes of small pictures of all kinds that a format holds, and of an animation."""
    rng = np.random.default_rng(0)
    format = picture_formats.FORMATS[suffix]
    made = []
    for kind in format.kinds:
        channels = {"L": (), "LA": (2,), "RGB": (3,), "RGBA": (4,)}.get(kind.partition(";")[0], ())
        values = rng.integers(0, 256, (12, 20, *channels))
        array = values.astype(np.uint8)
        if kind == "F":
            array = (values / 255).astype(np.float32)
        elif "16" in kind:
            array = (257 * values).astype(np.uint16)
        made.append(pictures.Picture((array,)))
    if format.animated:
        frames = tuple(rng.integers(0, 256, (3, 12, 20, 3)).astype(np.uint8))
        made.append(pictures.Picture(frames, {}, (100.0,) * 3))
    return [
        picture_formats.encode(picture_formats.fit(each, f"a{suffix}", each.size), f"a{suffix}")
        for each in made
    ]


# --- damage behind the checksums ------------------------------------------------------------------


def mutate_zip(content: bytes, rng: random.Random) -> bytes:
    """Damages a file of an archive; its checksum is that of the damaged file."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(files))
    files[name] = damage.mutate(files[name], rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, each in files.items():
            archive.writestr(zipfile.ZipInfo(name), each)
    return buffer.getvalue()


def mutate_png(content: bytes, rng: random.Random) -> bytes:
    """Damages a chunk of a PNG; its length and its checksum are those of the damaged chunk."""
    chunks = list(_chunks(content))
    index = rng.randrange(len(chunks))
    kind, data = chunks[index]
    inner = zlib.decompress(data) if kind == b"IDAT" and rng.random() < 0.5 else None
    data = zlib.compress(damage.mutate(inner, rng)) if inner else damage.mutate(data, rng)
    chunks[index] = kind, data
    return content[:8] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def mutate_mat(content: bytes, rng: random.Random) -> bytes:
    """Damages a MATLAB file, and compresses what is then its first variable."""
    content = content[:128] + damage.mutate(content[128:], rng)
    end = 136 + int.from_bytes(content[132:136], "little")
    packed = zlib.compress(content[128:end])
    return content[:128] + struct.pack("<II", 15, len(packed)) + packed + content[end:]


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and data of each chunk of a PNG."""
    begin = 8
    while begin < len(content):
        (size,) = struct.unpack_from(">I", content, begin)
        yield content[begin + 4 : begin + 8], content[begin + 8 : begin + 8 + size]
        begin += size + 12


def mutated(wholes: list[bytes], suffix: str, seed: int, index: int) -> bytes:
    """The damaged file of a number: always the same."""
    rng = random.Random(f"{seed} {suffix} {index}")
    whole = rng.choice(wholes)
    behind = {".pth": mutate_zip, ".png": mutate_png, ".mat": mutate_mat}.get(suffix)
    return behind(whole, rng) if behind and rng.random() < 0.5 else damage.mutate(whole, rng)


# --- a reader at work -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Reading:
    """What reading a file came to.

    Attributes:
      index: number of the file.
      size: its bytes.
      error: name of the exception; '' if the file was read.
      line: its message.
      seconds: processor time.
      memory: bytes that the process grew by at its largest.
    """

    index: int
    size: int
    error: str
    line: str
    seconds: float
    memory: int

    @property
    def fault(self) -> str:
        """What is wrong; '' if nothing is."""
        allowed = MAX_MEMORY + MAX_MULTIPLE * self.size
        return "; ".join(
            [
                *([f"{self.error}: {self.line}"] if self.error not in ("", "ValueError") else []),
                *(["its message has several lines"] if "\n" in self.line else []),
                *(["its message is long"] if len(self.line) > MAX_LINE else []),
                *([f"it took {self.seconds:.1f} s"] if self.seconds > MAX_SECONDS else []),
                *([f"it took {self.memory / 1e6:.0f} MB"] if self.memory > allowed else []),
            ]
        )


def work(suffix: str, folder: str, seed: int, begin: int, end: int) -> None:
    """Reads the damaged files from `begin` to `end`, and prints a Reading for each, as JSON."""
    import resource

    logging.disable()  # warnings about what is left out
    path = pathlib.Path(folder, f"damaged{suffix}")
    wholes = make_pictures(suffix) if suffix in PICTURES else make_weights(suffix, path.parent)
    read: Callable[[pathlib.Path], object] = (
        pictures.read if suffix in PICTURES else weights.load  # of a path, both
    )
    for whole in wholes:  # they can be read, and what they need is imported
        path.write_bytes(whole)
        read(path)
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    for index in range(begin, end):
        path.write_bytes(mutated(wholes, suffix, seed, index))
        print(json.dumps(dataclasses.asdict(_measure(read, path, index))), flush=True)


def _measure(read: Callable[[pathlib.Path], object], path: pathlib.Path, index: int) -> Reading:
    error = line = ""
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, clock = _peak(), time.process_time()
    try:
        read(path)
    except Exception as caught:
        error, line = type(caught).__name__, str(caught)
    seconds = time.process_time() - clock
    return Reading(index, path.stat().st_size, error, line, seconds, _peak() - before)


def _peak() -> int:
    match = re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())
    return 1024 * int(match[1]) if match else 0


# --- the processes --------------------------------------------------------------------------------


def read_all(suffix: str, workdir: pathlib.Path, seed: int, count: int) -> Iterator[Reading]:
    """The readings of `count` damaged files, by as many processes as it takes."""
    begin = 0
    while begin < count:
        call = f"files.work({suffix!r}, {str(workdir)!r}, {seed}, {begin}, {count})"
        process = subprocess.Popen(
            [sys.executable, "-c", f"from experiments.soak import files; {call}"],
            cwd=runner.ROOT,
            stdout=subprocess.PIPE,
            stderr=(workdir / "stderr.txt").open("w"),  # libraries in C write there
            text=True,
        )
        assert process.stdout is not None
        lines: queue.Queue[str] = queue.Queue()
        follow = functools.partial(_follow, process.stdout, lines)
        threading.Thread(target=follow, daemon=True).start()
        try:
            while line := lines.get(timeout=HANGS):
                yield Reading(**json.loads(line))
                begin += 1
            said = (workdir / "stderr.txt").read_text(errors="replace").strip()
            ended = f"the process ended with exit code {process.wait()}: {said[-200:]}"
        except queue.Empty:
            ended = f"it took more than {HANGS:.0f} s"
            process.kill()
            process.wait()
        if begin < count:
            yield Reading(begin, 0, "Ended", ended, 0.0, 0)
            begin += 1


def _follow(stream, lines: "queue.Queue[str]") -> None:
    """Puts the lines of a stream into a queue, and '' at its end."""
    for line in itertools.chain(stream, [""]):
        lines.put(line)


@dataclasses.dataclass(frozen=True)
class Summary:
    """All readings of a reader: counts, the most seconds, the most bytes of memory, faults."""

    suffix: str
    count: int
    read: int
    seconds: float
    memory: int
    faults: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.suffix:13} {self.count} files, {self.read} read, "
            f"{self.count - self.read} refused, at most {self.seconds:.2f} s and "
            f"{self.memory / 1e6:.0f} MB, {len(self.faults)} faults"
        )


def summarise(suffix: str, readings: list[Reading]) -> Summary:
    return Summary(
        suffix,
        len(readings),
        sum(not each.error for each in readings),
        max(each.seconds for each in readings),
        max(each.memory for each in readings),
        tuple(f"{suffix} {each.index}: {each.fault}" for each in readings if each.fault),
    )


def soak(
    workdir: pathlib.Path, count: int, seed: int, readers: tuple[str, ...] = WEIGHTS + PICTURES
) -> list[str]:
    """Damages `count` files for each reader, prints a line for each, and returns the faults.

    The files that were faults are kept in the workdir.
    """
    faults: list[str] = []
    for suffix in readers:
        summary = summarise(suffix, list(read_all(suffix, workdir, seed, count)))
        print(summary, *summary.faults, sep="\n", flush=True)
        if summary.faults:
            _keep(summary.faults, suffix, workdir, seed)
        faults += summary.faults
    print(f"files: {count} of each of {len(readers)} readers, {len(faults)} faults")
    return faults


def _keep(faults: tuple[str, ...], suffix: str, workdir: pathlib.Path, seed: int) -> None:
    wholes = make_pictures(suffix) if suffix in PICTURES else make_weights(suffix, workdir)
    for fault in faults:
        index = int(fault.partition(":")[0].split()[1])
        (workdir / f"fault{index}{suffix}").write_bytes(mutated(wholes, suffix, seed, index))
