"""Weight files that are made to take all memory or time: each is refused in one short line.

All are read by one process, whose memory is limited, so that a fault here ends only that process.
"""

import io
import json
import pathlib
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads its memory from /proc")

PAIRS = b")" + 45 * b"q\x00h\x00\x86"  # t = (t, t), 45 times: to hash it never ends
NESTED = b")" + 200_000 * b"\x85"  # t = (t,), 200,000 times: to hash it ends the process
ORDERED_DICT = b"ccollections\nOrderedDict\n"
SAME_HASH = [i * sys.hash_info.modulus for i in range(1, 60_000)]


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def storage(key: str, numel: int, kind: str = "FloatStorage") -> bytes:
    parts = text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + number(numel)
    return b"(" + parts + b"tQ"


def tensor(block: bytes, *shape: int) -> bytes:
    """A tensor whose strides are 0."""
    sizes = b"(" + b"".join(map(number, shape)) + b"t(" + b"".join(number(0) for _ in shape) + b"t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + block + number(0) + sizes + b"\x89)tR"


def state(**tensors: bytes) -> bytes:
    return b"}(" + b"".join(text(k) + v for k, v in tensors.items()) + b"u"


def archive(content: bytes, files: dict[str, bytes] | None = None, compression=0) -> bytes:
    """A file by torch.save that holds this pickle, without its ends."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as made:
        made.writestr("archive/data.pkl", b"\x80\x02" + content + b".")
        for name, data in (files or {}).items():
            made.writestr(f"archive/{name}", data)
    return buffer.getvalue()


def layers(names: list[str]) -> bytes:
    """Every layer has a weight and a bias in one block of one number."""
    parts = {}
    for i, name in enumerate(names):
        block = storage("0", 1) + (b"q\x01" if i == 0 else b"")
        parts[f"{name}.weight"] = tensor(block if i == 0 else b"h\x01", 1, 1, 1, 1)
        parts[f"{name}.bias"] = tensor(b"h\x01", 1)
    return archive(state(**parts), {"data/0": bytes(4)})


def shared_block() -> bytes:
    """3,000 tensors of 4 MB, all in one block."""
    tensors = {"conv0.weight": tensor(storage("0", 2**20) + b"q\x01", 2**20)}
    tensors |= {f"conv{i}.weight": tensor(b"h\x01", 2**20) for i in range(1, 3000)}
    return archive(state(**tensors), {"data/0": bytes(2**22)})


def one_block_of_many_sizes() -> bytes:
    """20,000 tensors in a block of 4 MB, each of which declares another size of it."""
    tensors = {f"conv{i}.weight": tensor(storage("0", 2**20 + i), 1) for i in range(20_000)}
    return archive(state(**tensors), {"data/0": bytes(2**22)})


def shared_files() -> bytes:
    """40 tensors in 40 files of the archive that have the same bytes."""
    tensors = {f"conv{i}.weight": tensor(storage(str(i), 2**18), 2**18) for i in range(40)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("archive/data.pkl", b"\x80\x02" + state(**tensors) + b".")
        made.writestr("archive/data/0", bytes(2**20))
        entry = made.infolist()[-1]
        for i in range(1, 40):
            twin = zipfile.ZipInfo(f"archive/data/{i}")
            for name in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(twin, name, getattr(entry, name))
            made.filelist.append(twin)
            made.NameToInfo[twin.filename] = twin
    return buffer.getvalue()


def matlab(*elements: bytes) -> bytes:
    return b" " * 124 + b"\x00\x01IM" + b"".join(elements)


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def variable(name: str, shape: bytes, kind: int, data: bytes) -> bytes:
    flags = element(6, struct.pack("<II", 6, 0))
    parts = flags + element(5, shape) + element(1, name.encode()) + element(kind, data)
    return element(14, parts)


def compressed(content: bytes) -> bytes:
    packed = zlib.compress(content)
    return struct.pack("<II", 15, len(packed)) + packed


def safetensors(header: str, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header.encode() + data


HOSTILE: dict[str, Callable[[], bytes]] = {
    # pickles
    "pairs_as_a_key.pth": lambda: archive(b"}" + PAIRS + b"K\x01s"),
    "pairs_as_keys.pth": lambda: archive(b"}(" + PAIRS + b"K\x01u"),
    "pairs_as_a_reference.pth": lambda: archive(PAIRS + b"Q"),
    "pairs_in_a_reference.pth": lambda: archive(storage("0", 1).replace(text("0"), PAIRS)),
    "pairs_in_a_set.pth": lambda: archive(b"\x8f(" + PAIRS + b"\x90"),
    "pairs_as_a_weight.pth": lambda: archive(state(**{"conv1.weight": PAIRS})),
    "pairs_as_a_shape.pth": lambda: archive(
        state(w=tensor(storage("0", 1)).replace(b"(t(t", PAIRS + PAIRS))
    ),
    "pairs_in_an_ordered_dict.pth": lambda: archive(ORDERED_DICT + b"(](](" + PAIRS + b"K\x01eetR"),
    "pairs_counted.pth": lambda: archive(b"ccollections\nCounter\n}" + PAIRS + b"K\x01s\x85R"),
    "nested_as_a_key.pth": lambda: archive(b"}" + NESTED + b"K\x01s"),
    "nested_as_a_weight.pth": lambda: archive(state(**{"conv1.weight": NESTED})),
    "nested_lists.pth": lambda: archive(200_000 * b"]" + 199_999 * b"a"),
    "nested_dicts.pth": lambda: archive(
        200_000 * b"}X\x05\x00\x00\x00model" + b"}" + 200_000 * b"s"
    ),
    "keys_of_one_hash.pth": lambda: archive(b"}(" + b"".join(map(number, SAME_HASH * 2)) + b"u"),
    "many_dicts.pth": lambda: archive(4_000_000 * b"}"),
    "many_marks.pth": lambda: archive(4_000_000 * b"("),
    "many_memos.pth": lambda: archive(b"}" + 2_000_000 * b"\x94"),
    "a_far_memo.pth": lambda: archive(b"}r\xff\xff\xff\x7f"),
    "a_long_name_of_code.pth": lambda: archive(b"cos\n" + 2_000_000 * b"x" + b"\n"),
    "a_long_key.pth": lambda: archive(state(**{2_000_000 * "x": number(1)})),
    "a_text_that_is_not_there.pth": lambda: archive(b"X\xff\xff\xff\xff"),
    "nothing_on_the_stack.pth": lambda: archive(b"R"),
    "no_mark.pth": lambda: archive(b"t"),
    "legacy_pairs.pth": lambda: b"\x80\x02}" + PAIRS + b"K\x01s.",
    # blocks and archives
    "a_shared_block.pth": shared_block,
    "one_block_of_many_sizes.pth": one_block_of_many_sizes,
    "shared_files.pth": shared_files,
    "a_huge_shape.pth": lambda: archive(state(w=tensor(storage("0", 1), *8 * [2**62]))),
    "a_huge_number.pth": lambda: archive(
        state(w=tensor(storage("0", 1), int("9" * 600))), {"data/0": bytes(4)}
    ),
    "many_axes.pth": lambda: archive(
        state(w=tensor(storage("0", 1), *100_000 * [1])), {"data/0": bytes(4)}
    ),
    "a_huge_block.pth": lambda: archive(state(w=tensor(storage("0", 2**62), 2**62))),
    "deflated.pth": lambda: archive(
        state(w=tensor(storage("0", 2**24), 2**24)), {"data/0": bytes(2**26)}, zipfile.ZIP_DEFLATED
    ),
    "many_files.pth": lambda: archive(b"}", {f"data/{i}": b"" for i in range(40_000)}),
    "nested_notes.pth": lambda: archive(
        state(w=tensor(storage("0", 1), 1)),
        {"data/0": bytes(4), "extra/srcnn_jax.json": 30_000 * b"[" + 30_000 * b"]"},
    ),
    "long_notes.pth": lambda: archive(
        state(w=tensor(storage("0", 1), 1)),
        {"data/0": bytes(4), "extra/srcnn_jax.json": b"[" + 2_000_000 * b"{}," + b"{}]"},
    ),
    # names of layers
    "long_names.pth": lambda: layers([500_000 * "a." + "conv1", 500_000 * "a." + "conv3"]),
    "many_layers.pth": lambda: layers([f"conv{i}" for i in range(10_000, 18_000)]),
    "a_long_number.pth": lambda: layers([100_000 * "1", "2"]),
    # MATLAB's files
    "forty_variables.mat": lambda: matlab(
        *40 * [compressed(variable("x", struct.pack("<ii", 1, 2**23), 9, bytes(2**26)))]
    ),
    "one_variable.mat": lambda: matlab(
        compressed(variable("weights_conv1", struct.pack("<ii", 1, 2**26), 2, bytes(2**26)))
    ),
    "a_variable_after_the_limit.mat": lambda: matlab(
        compressed(element(1, bytes(2**24 - 8))), compressed(element(1, bytes(2**28)))
    ),
    "many_axes.mat": lambda: matlab(compressed(variable("weights_conv1", bytes(2**23), 9, b""))),
    "a_huge_shape.mat": lambda: matlab(
        variable("weights_conv1", 8 * b"\xff\xff\xff\x7f", 9, bytes(8))
    ),
    "a_long_name.mat": lambda: matlab(
        variable("weights_conv1" + 2_000_000 * "x", struct.pack("<ii", 1, 1), 9, bytes(16))
    ),
    "many_elements.mat": lambda: matlab(100_000 * element(1, b"")),
    # safetensors
    "a_long_header.safetensors": lambda: safetensors(
        "{"
        + ",".join(
            f'"{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(200_000)
        )
        + "}"
    ),
    "a_header_that_is_not_there.safetensors": lambda: struct.pack("<Q", 2**63) + b"{}",
    "many_tensors.safetensors": lambda: safetensors(
        "{"
        + ",".join(
            f'"{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(60_000)
        )
        + "}"
    ),
    "many_axes.safetensors": lambda: safetensors(
        '{"a":{"dtype":"F32","shape":[' + ",".join(["0"] * 1_500_000) + '],"data_offsets":[0,0]}}'
    ),
    "nested_header.safetensors": lambda: safetensors(2_000_000 * "["),
    "a_huge_shape.safetensors": lambda: safetensors(
        f'{{"a":{{"dtype":"F32","shape":[{2**62}],"data_offsets":[0,{2**64 - 4}]}}}}'
    ),
}

READ_ALL = """
import json, pathlib, re, resource, sys, time
import ml_dtypes, numpy, safetensors
from srcnn_jax import weights
resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))
def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])
for path in sys.argv[1:]:
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
    before, clock, line = peak(), time.process_time(), "it was read"
    try:
        weights.load(path)
    except ValueError as error:
        line = str(error)
    print(json.dumps([path, line, time.process_time() - clock, peak() - before]), flush=True)
"""


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> dict[str, tuple[str, float, int, int]]:
    """By the file's name: the message, seconds, bytes of more memory, and bytes of the file."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, make in HOSTILE.items():
        (folder / name).write_bytes(make())
    process = subprocess.run(
        [sys.executable, "-c", READ_ALL, *(str(folder / name) for name in HOSTILE)],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    found = {}
    for path, line, seconds, memory in map(json.loads, process.stdout.splitlines()):
        place = pathlib.Path(path)
        found[place.name] = line, seconds, memory, place.stat().st_size
    assert found.keys() == HOSTILE.keys(), process.stderr
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_a_short_line(reports, name):
    line, seconds, memory, size = reports[name]
    assert "is not a usable weight file: " in line
    assert "\n" not in line
    assert len(line) < 1000
    assert seconds < 5  # in fact under 2; the machine may be busy
    assert memory < 2**27 + 12 * size
