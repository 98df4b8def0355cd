"""Datasets: the table, folders, downloads from a loopback server, prepared copies, the fallback."""

import dataclasses
import hashlib
import http.server
import io
import logging
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from srcnn_jax import datasets, paths
from srcnn_jax.datasets import files, prepared, sample, sources

REPOSITORY = pathlib.Path(__file__).parents[1]
SHARED = pathlib.Path(os.environ.get("SRCNN_DATA_DIR", REPOSITORY.parent / "shared" / "data"))


@pytest.fixture(autouse=True)
def _isolated(tmp_path, monkeypatch):
    """No data of this machine, and no proxy in front of the loopback server."""
    monkeypatch.delenv("SRCNN_DATA_DIR", raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def _warnings(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


@dataclasses.dataclass
class World:
    """A small internet: a server of the files in `www`, and the table that points to them."""

    www: pathlib.Path
    root: str
    table: pathlib.Path
    requests: list[str]
    gates: dict[str, threading.Barrier]  # Requests for these paths wait for each other.

    def publish(self, name, files):
        """Makes `name` consist of these files of `www`, as they are now."""
        lines = [line for line in self.table.read_text().splitlines() if line.split()[0] != name]
        for file in files:
            data = (self.www / file).read_bytes()
            sha256 = hashlib.sha256(data).hexdigest()
            lines.append(f"{name}\t{file}\t{self.root}/{file}\t{len(data)}\t{sha256}")
        self.table.write_text("\n".join(lines) + "\n")


def _pixels(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Serves t91 (JPEG, grey BMP, PNG), and set5 and set14 (one PNG each)."""
    www = _made(tmp_path / "www")
    requests, gates = [], {}

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(www))

        def do_GET(self):
            requests.append(self.path)
            if self.path in gates:
                gates[self.path].wait(timeout=60)
            super().do_GET()

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    Image.fromarray(_pixels(0, 20, 30, 3)).save(www / "t10.jpg")
    Image.fromarray(_pixels(1, 9, 7)).save(www / "t2.bmp")
    Image.fromarray(_pixels(2, 5, 6, 3)).save(www / "a.png")
    table = tmp_path / "table.tsv"
    table.write_text("dataset\tfile\turl\tbytes\tsha256\n")
    world = World(www, f"http://127.0.0.1:{server.server_port}", table, requests, gates)
    world.publish("t91", ["t10.jpg", "t2.bmp", "a.png"])
    world.publish("set5", ["a.png"])
    world.publish("set14", ["a.png"])
    monkeypatch.setattr(sources, "TABLE", table)
    yield world
    server.shutdown()
    server.server_close()


@pytest.fixture
def offline(world):
    """The same table, but its host refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        refusing = f"http://127.0.0.1:{unused.getsockname()[1]}"
    world.table.write_text(world.table.read_text().replace(world.root, refusing))
    return world


def _made(directory):
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _root_with(world, *names):
    """A folder that holds the files of these datasets in one folder each."""
    root = _made(world.www.parent / "root")
    for name in names:
        for row in sources.rows(name):
            shutil.copy(world.www / row.file, _made(root / name))
    return str(root)


def _same_images(a, b):
    return [name for name, _ in a.images] == [name for name, _ in b.images] and all(
        x.dtype == y.dtype == np.uint8 and np.array_equal(x, y)
        for (_, x), (_, y) in zip(a.images, b.images, strict=True)
    )


# Importing


def test_import_starts_no_framework():
    heavy = "tensorflow", "tensorflow_datasets", "skimage", "jax", "requests"
    code = f"import sys, srcnn_jax.datasets; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# Download and prepared copy


def test_download_gives_the_pixels_that_pillow_decodes(world, capfd, caplog):
    downloaded = datasets.load("t91")
    assert (downloaded.source, downloaded.luminance) == ("download", "ycbcr")
    assert [name for name, _ in downloaded.images] == ["a", "t2", "t10"]
    images = dict(downloaded.images)
    assert images["t2"].shape == (9, 7)
    assert np.array_equal(images["t2"], _pixels(1, 9, 7))
    assert np.array_equal(images["t10"], np.array(Image.open(world.www / "t10.jpg")))
    assert capfd.readouterr().out == ""
    assert _warnings(caplog) == []

    asked = len(world.requests)
    copied = datasets.load("t91")
    assert copied.source.startswith("prepared copy")
    assert len(world.requests) == asked
    assert _same_images(copied, downloaded)

    root = _root_with(world, "t91")
    read = datasets.load("t91", data_dir=root)
    assert read.source == f"folder {root}/t91"
    assert _same_images(read, downloaded)
    by_path = datasets.load(f"{root}/t91")
    assert downloaded.fingerprint == copied.fingerprint == read.fingerprint == by_path.fingerprint


def test_builder_prepares_from_a_folder(world, tmp_path):
    import tensorflow_datasets as tfds

    from srcnn_jax.datasets import super_resolution_dataset_builder as module

    builder = module.Builder(config="t91", data_dir=tmp_path / "here")
    config = tfds.download.DownloadConfig(manual_dir=world.www)
    builder.download_and_prepare(download_config=config)
    assert world.requests == []
    assert builder.info.splits[module.SPLIT].num_examples == 3
    assert builder.info.description
    assert "bevilacqua" in builder.info.citation


def test_changed_source_is_prepared_anew(world):
    old = datasets.load("set5")
    Image.fromarray(_pixels(9, 4, 4)).save(world.www / "b.png")
    world.publish("set5", ["b.png"])
    new = datasets.load("set5")
    assert new.source == "download"
    assert [name for name, _ in new.images] == ["b"]
    assert new.fingerprint != old.fingerprint


def test_rubbish_of_a_killed_preparer_is_ignored(world):
    target = prepared.directory("set5")
    rubbish = target.with_name(f"{target.name}.incomplete.0")
    (rubbish / "super_resolution" / "set5").mkdir(parents=True)
    (target.parent / "downloads" / "super_resolution" / "x.tmp.0").mkdir(parents=True)
    assert datasets.load("set5").source == "download"
    assert sorted(p.name for p in target.parent.iterdir()) == sorted(
        [target.name, rubbish.name, "downloads"]
    )


def test_two_processes_prepare_at_once(world):
    code = (
        "import pathlib, sys; from srcnn_jax import datasets\n"
        "datasets.sources.TABLE = pathlib.Path(sys.argv[1])\n"
        "dataset = datasets.load('t91')\n"
        "print(dataset.source, dataset.fingerprint)\n"
    )
    world.gates["/t2.bmp"] = threading.Barrier(2)  # Not the file that is probed first.
    command = [sys.executable, "-c", code, str(world.table)]
    workers = [
        subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert outputs[0] == outputs[1] == f"download {datasets.load('t91').fingerprint}\n"
    assert not list(prepared.directory("t91").parent.glob("*.incomplete.*"))


def test_wrong_download_is_an_error_and_no_fallback(world):
    (world.www / "a.png").write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"'set5' is not the published data: .*a\.png") as caught:
        datasets.load_all("set5", [])
    assert "\n" not in str(caught.value)
    assert not prepared.directory("set5").exists()


def test_wrong_file_in_the_cache_of_downloads_is_an_error(world, tmp_path):
    datasets.load("set5")
    prepared.directory("set5").rename(tmp_path / "elsewhere")
    [cached] = (tmp_path / "tfds" / "srcnn_jax" / "downloads").rglob("*a*.png")
    cached.write_bytes(b"something else")
    with pytest.raises(ValueError, match="is not the published file"):
        datasets.load("set5")


def test_download_that_breaks_off_is_an_error(world):
    (world.www / "a.png").unlink()
    with pytest.raises(ValueError, match=r"'t91' from http://127.*a\.png.*404") as caught:
        datasets.load_all("t91", [])
    assert "\n" not in str(caught.value)


def test_data_directory_that_cannot_be_written(world, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "file"))
    with pytest.raises(ValueError, match=r"cannot prepare dataset 'set5' in .*TFDS_DATA_DIR"):
        datasets.load("set5")


def test_damaged_prepared_copy(world):
    datasets.load("set5")
    [record] = prepared.directory("set5").rglob("*tfrecord*")
    record.write_bytes(record.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"'set5' is damaged .*delete that folder"):
        datasets.load("set5")


# Absence and fallback


def test_unreachable_is_absent_within_seconds(offline):
    start = time.monotonic()
    with pytest.raises(datasets.DatasetNotFoundError, match=r"'set5' .*SRCNN_DATA_DIR"):
        datasets.load("set5")
    assert time.monotonic() - start < 5


def test_silent_host_costs_one_short_wait(monkeypatch):
    monkeypatch.setattr(prepared, "PROBE_SECONDS", 0.2)
    dead_hosts = {}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a"
        assert prepared.unreachable(url, dead_hosts)
        start = time.monotonic()
        assert prepared.unreachable(url + "b", dead_hosts)
    assert time.monotonic() - start < 0.1


def test_error_status_is_absent_but_says_nothing_of_the_host(world):
    dead_hosts = {}
    assert prepared.unreachable(f"{world.root}/none", dead_hosts) == "HTTP status 404"
    assert prepared.unreachable(f"{world.root}/a.png", dead_hosts) is None


def test_fallback_if_training_set_is_absent(offline, tmp_path, caplog):
    Image.fromarray(_pixels(0, 4, 4)).save(_made(tmp_path / "mine") / "x.png")
    data_dir = _root_with(offline, "set5")
    tests = ["set5", "set14", str(tmp_path / "mine")]
    train, results = datasets.load_all("t91", tests, data_dir=data_dir)
    assert train.name == "sample"
    assert [result.name for result in results] == ["sample", str(tmp_path / "mine")]
    assert not {name for name, _ in train.images} & {name for name, _ in results[0].images}
    [warning] = _warnings(caplog)
    assert "'t91'" in warning
    assert "SRCNN_DATA_DIR" in warning
    assert "\n" not in warning
    with pytest.raises(datasets.DatasetNotFoundError, match="'t91'"):
        datasets.load_all("t91", tests, data_dir=data_dir, allow_sample=False)


def test_no_fallback_if_training_set_is_there(offline, tmp_path, monkeypatch):
    monkeypatch.setenv("SRCNN_DATA_DIR", _root_with(offline, "t91", "set5"))
    train, [result] = datasets.load_all("t91", ["set5"])
    assert (train.name, result.name) == ("t91", "set5")
    with pytest.raises(datasets.DatasetNotFoundError, match="'set14'"):
        datasets.load_all("t91", ["set5", "set14"])


def test_fallback_of_an_evaluation(offline, tmp_path, caplog):
    data_dir = _root_with(offline, "set5")
    train, results = datasets.load_all(None, ["set14"], data_dir=data_dir)
    assert train is None
    assert [result.name for result in results] == ["sample"]
    assert len(_warnings(caplog)) == 1
    with pytest.raises(datasets.DatasetNotFoundError, match="'set14'"):
        datasets.load_all("", ["set14"], data_dir=data_dir, allow_sample=False)
    with pytest.raises(datasets.DatasetNotFoundError, match="'set14'"):
        datasets.load_all(None, ["set5", "set14"], data_dir=data_dir)
    assert datasets.load_all(None, []) == (None, [])


@pytest.mark.parametrize("tests", [["set6"], ["no/such/folder"], [""]])
def test_bad_names_are_found_before_the_fallback(offline, tests):
    with pytest.raises((ValueError, FileNotFoundError), match=repr(tests[0])) as caught:
        datasets.load_all("t91", tests)
    assert not isinstance(caught.value, datasets.DatasetNotFoundError)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown dataset 'set6': known are t91, set5.*folder"):
        datasets.load("set6")
    with pytest.raises(ValueError, match="split 'validation'"):
        datasets.load("sample", split="validation")


# Folders of named datasets


def test_no_training_set_has_held_out_images(world, tmp_path):
    world.publish("bsds500_train", ["t10.jpg", "t2.bmp", "a.png"])
    world.publish("held_out", ["t2.bmp"])
    root = _root_with(world, "bsds500_train")
    held_out = datasets.load("held_out", data_dir=root)  # in the folder of bsds500_train
    assert [name for name, _ in held_out.images] == ["t2"]
    training = datasets.load("bsds500_train", split="train", data_dir=root)
    assert [name for name, _ in training.images] == ["a", "t10"]
    assert training.source.endswith(" without 1 held-out images")
    assert len(datasets.load("bsds500_train", data_dir=root).images) == 3
    mine = _made(tmp_path / "mine")
    shutil.copy(world.www / "t2.bmp", mine / "renamed.bmp")
    with pytest.raises(ValueError, match="mine' has held-out images only"):
        datasets.load(str(mine), split="train")
    shutil.copy(world.www / "a.png", mine)
    own = datasets.load(str(mine), split="train")
    assert [name for name, _ in own.images] == ["a"]


def test_several_training_sets_become_one(world):
    world.publish("bsds500_train", ["t2.bmp"])
    root = _root_with(world, "t91", "bsds500_train", "set5")
    one, _ = datasets.load_all("t91, bsds500_train", ["set5"], data_dir=root)
    assert one.name == "t91,bsds500_train"
    names = ["t91/a", "t91/t2", "t91/t10", "bsds500_train/t2"]
    assert [name for name, _ in one.images] == names
    other, _ = datasets.load_all("bsds500_train,t91", ["set5"], data_dir=root)
    assert other.fingerprint != one.fingerprint


def test_partial_folder_is_an_error_and_no_fallback(world, tmp_path):
    _made(tmp_path / "root" / "t91")
    with pytest.raises(
        FileNotFoundError, match=r"'t91' .*incomplete: it lacks 't10\.jpg'"
    ) as caught:
        datasets.load_all("t91", [], data_dir=str(tmp_path / "root"))
    assert not isinstance(caught.value, datasets.DatasetNotFoundError)


def test_changed_file_in_a_folder_is_an_error(offline, tmp_path):
    data_dir = _root_with(offline, "t91")
    (pathlib.Path(data_dir) / "t91" / "a.png").write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"a\.png' is not the published file"):
        datasets.load_all("t91", [], data_dir=data_dir)


def test_root_that_does_not_exist_is_an_error(offline, monkeypatch):
    with pytest.raises(FileNotFoundError, match="data_dir '/no/where'"):
        datasets.load_all("t91", [], data_dir="/no/where")
    monkeypatch.setenv("SRCNN_DATA_DIR", "/no/where")
    with pytest.raises(FileNotFoundError, match="SRCNN_DATA_DIR '/no/where'"):
        datasets.load_all("t91", [])


@pytest.mark.parametrize("name", list(sources.NAMES))
def test_real_datasets(name):
    if not sources.folder(SHARED, name):
        pytest.skip(f"no folder {SHARED / name}; set SRCNN_DATA_DIR")
    dataset = datasets.load(name, data_dir=str(SHARED))
    counts = {"t91": 91, "set5": 5, "set14": 14, "bsd100": 100, "urban100": 100, "held_out": 50}
    assert len(dataset.images) == counts.get(name, 200)
    grey = [stem for stem, pixels in dataset.images if pixels.ndim == 2]
    assert grey == (["bridge"] if name == "set14" else [])
    assert dataset.luminance == ("gray" if name == "bsd200" else "ycbcr")


def test_table_is_whole():
    lines = sources.TABLE.read_text().splitlines()
    named = {line.split("\t")[0] for line in lines if not line.startswith("# ")}
    assert named - {"dataset"} == set(sources.NAMES)
    assert sources.digest("set5") == "35c868d292c07308"
    rows = {name: sources.rows(name) for name in sources.NAMES}
    assert len(rows["held_out"]) == 50
    files_of = {name: {row.sha256 for row in rows[name]} for name in rows}
    assert files_of["held_out"] < files_of["bsds500_train"]
    assert sum(map(len, rows.values())) == 760
    assert all(len(row.sha256) == 64 and row.size > 0 for named in rows.values() for row in named)


# Folders of the user


def test_folder_of_many_modes(tmp_path):
    grey, rgb = _pixels(0, 6, 8), _pixels(1, 6, 8, 3)
    alpha = _pixels(2, 6, 8)
    deep = np.random.default_rng(3).integers(0, 65536, (6, 8)).astype(np.uint16)
    palette = Image.fromarray(rgb).quantize(16)
    turned = Image.Exif()
    turned[0x0112] = 6  # The camera was held upright: rotate by 90 degrees clockwise.
    Image.fromarray(grey).save(tmp_path / "i10.PNG")
    Image.fromarray(np.dstack([rgb, alpha])).save(tmp_path / "i9.png")
    Image.fromarray(np.dstack([grey, alpha]), "LA").save(tmp_path / "la.png")
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(deep.astype(np.int32)).save(tmp_path / "int.tif")
    Image.fromarray(grey.astype(np.float32)).save(tmp_path / "float255.tif")
    Image.fromarray(grey.astype(np.float32) / 255).save(tmp_path / "float1.tif")
    Image.fromarray(grey > 127).save(tmp_path / "bits.png")
    palette.save(tmp_path / "palette.png")
    Image.fromarray(rgb).convert("CMYK").save(tmp_path / "cmyk.tif")
    Image.fromarray(rgb).save(tmp_path / "turned.png", exif=turned)
    Image.fromarray(grey).save(tmp_path / ".hidden.png")
    _made(tmp_path / "sub.png")
    (tmp_path / "notes.txt").write_text("no image")
    rounded = np.round(deep / 257).astype(np.uint8)
    expected = {
        "bits": (grey > 127) * np.uint8(255),
        "cmyk": rgb,
        "deep": rounded,
        "float1": grey,
        "float255": grey,
        "i9": rgb,
        "i10": grey,
        "int": rounded,
        "la": grey,
        "palette": np.array(palette.convert("RGB")),
        "turned": np.rot90(rgb, -1),
    }
    dataset = datasets.load(f"{tmp_path}{os.sep}")
    assert [name for name, _ in dataset.images] == list(expected)
    for name, pixels in dataset.images:
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels, expected[name], err_msg=name)
    assert dataset.luminance == "ycbcr"


def test_equal_stems_keep_their_extensions(tmp_path):
    for file in ("a.png", "a.bmp", "b.png"):
        Image.fromarray(_pixels(0, 4, 4)).save(tmp_path / file)
    names = [name for name, _ in datasets.load(str(tmp_path)).images]
    assert names == ["a.bmp", "a.png", "b.png"]


def test_known_name_wins_over_a_folder_of_that_name(offline, tmp_path, monkeypatch):
    Image.fromarray(_pixels(0, 4, 4)).save(_made(tmp_path / "set5") / "x.png")
    Image.fromarray(_pixels(0, 4, 4)).save(_made(tmp_path / "mine") / "x.png")
    monkeypatch.chdir(tmp_path)
    assert datasets.load("mine").images[0][0] == "x"
    assert datasets.load("./set5").images[0][0] == "x"
    with pytest.raises(datasets.DatasetNotFoundError):
        datasets.load("set5")


def test_names_that_are_no_utf8(tmp_path):
    for name in ("caf\udce9.png", "a.png"):
        Image.fromarray(_pixels(0, 5, 6)).save(tmp_path / name)
    loaded = datasets.load(str(tmp_path))
    assert [name for name, _ in loaded.images] == ["a", "caf\udce9"]


def test_a_broken_image_whose_name_is_no_utf8_is_named(tmp_path):
    (tmp_path / "caf\udce9.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"caf\\udce9.png' cannot be read") as caught:
        datasets.load(str(tmp_path))
    str(caught.value).encode()  # every terminal can say it


def _declare(data: bytes, place: int, form: str, *sides: int) -> bytes:
    """An image file whose header declares other sides."""
    changed = bytearray(data)
    struct.pack_into(form, changed, place, *sides)
    if data.startswith(b"\x89PNG"):
        struct.pack_into(">I", changed, 29, zlib.crc32(changed[12:29]))
    return bytes(changed)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "PPM", "WEBP"])
def test_an_image_with_more_pixels_than_its_bytes_can_hold(monkeypatch, kind):
    """It is refused before Pillow makes room for the pixels."""
    file = io.BytesIO()
    size = (9000, 9000) if kind == "WEBP" else (8, 8)
    Image.new("RGB", size).save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    data = file.getvalue()
    if kind == "PNG":
        data = _declare(data, 16, ">II", 8, 17_000_000)
    elif kind == "JPEG":
        data = _declare(data, data.index(b"\xff\xc0") + 5, ">HH", 65_000, 2_000)
    elif kind == "BMP":
        data = _declare(data, 18, "<ii", 8, 17_000_000)
    elif kind == "PPM":
        data = data.replace(b"8 8", b"8 17000000")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("it was decoded"))
    with pytest.raises(ValueError, match=rf"pixels in {len(data)} bytes, where the limit is 16777"):
        files.decode(data, pathlib.Path("a.png"))


def test_the_pixels_of_an_image_are_limited(monkeypatch, tmp_path):
    Image.fromarray(_pixels(0, 8, 8)).save(tmp_path / "a.png")
    monkeypatch.setattr(files, "MAX_PIXELS", 63)
    with pytest.raises(ValueError, match=r"a.png' cannot be read \(8x8 pixels, limit 63\)"):
        files.read_folder(tmp_path)


def test_large_flat_images_are_no_bombs():
    file = io.BytesIO()
    Image.new("L", (4096, 4096)).save(file, "WEBP", lossless=True)
    assert files.decode(file.getvalue(), pathlib.Path("a.webp")).pixels.shape[:2] == (4096, 4096)
    file = io.BytesIO()
    Image.new("RGB", (5000, 4000)).save(file, "PNG")
    assert files.decode(file.getvalue(), pathlib.Path("a.png")).pixels.shape[:2] == (4000, 5000)


def test_folder_without_images(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match="holds no images"):
        datasets.load(str(tmp_path))


@pytest.mark.parametrize("kind", ["truncated", "text", "empty", "nan", "negative"])
def test_broken_image_is_named(tmp_path, kind):
    path = tmp_path / ("bad.tif" if kind in ("nan", "negative") else "bad.png")
    if kind == "nan":
        Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(path)
    elif kind == "negative":
        Image.fromarray(np.full((4, 4), -1, np.int32)).save(path)
    elif kind == "truncated":
        Image.fromarray(_pixels(0, 40, 40, 3)).save(path)
        path.write_bytes(path.read_bytes()[:2000])
    else:
        path.write_text("no image" if kind == "text" else "")
    with pytest.raises(ValueError, match=f"{path.name}' cannot be read .*take it out") as caught:
        datasets.load(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_natural_order():
    names = ["t10", "T2", "a", "1", "t2"]
    assert sorted(names, key=paths.natural_key) == ["1", "a", "T2", "t2", "t10"]


# Sample


def test_sample_splits_are_disjoint():
    train, test = datasets.load("sample", split="train"), datasets.load("sample")
    assert not set(sample.FILES["train"]) & set(sample.FILES["test"])
    assert [name for name, _ in test.images] == ["chelsea", "coffee"]
    assert dict(train.images)["camera"].shape == (512, 512)
    assert dict(train.images)["astronaut"].shape == (512, 512, 3)
    assert train.fingerprint != test.fingerprint


def test_two_threads_import_tensorflow():
    """As a training does; Keras is left out, and can still be had."""
    program = """
import os, sys, threading
from srcnn_jax.datasets.prepared import import_tensorflow
threads = [threading.Thread(target=import_tensorflow) for _ in range(2)]
for thread in threads:
    thread.start()
tf = import_tensorflow()
assert "keras" not in sys.modules and "TF_USE_LEGACY_KERAS" not in os.environ
print(tf.keras.layers.Dense(3)(tf.zeros((1, 2))).shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "(1, 3)\n"), done.stderr
    assert "Exception in thread" not in done.stderr


def test_a_heic_file_names_the_package_that_reads_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    with pytest.raises(ValueError, match=r"a.heic.* pip install pillow-heif"):
        datasets.load(str(tmp_path))
