"""The files of the named data sets, from the table `sources.tsv`. A new data set is added there.

The table begins with a line for each data set: `# name`, the kind of luminance ('ycbcr', or 'gray'
for the full range, as `image.luminance`) and a description, separated by tabs. Then it has a row
for each file, with URL, size and sha256. A file is used only if its size and sha256 are those of
its row, wherever it comes from.
"""

import csv
import hashlib
import pathlib
from typing import NamedTuple

from srcnn_jax.datasets import files

TABLE = pathlib.Path(__file__).with_name("sources.tsv")

HELD_OUT = "held_out"  # the data set that chooses, and that no network is trained on
# A data set whose files are some of another's may lie in the folder of that.
FOLDERS = {HELD_OUT: "bsds500_train"}

# Version of the prepared copies. Increase it when the decoding or the stored features change.
VERSION = "1.0.0"


class Row(NamedTuple):
    """One published file of a data set."""

    file: str
    url: str
    size: int  # bytes
    sha256: str


class Description(NamedTuple):
    """A named data set: its kind of luminance, 'ycbcr' or 'gray', and its description."""

    luminance: str
    text: str


def _read_descriptions() -> dict[str, Description]:
    """Reads the first lines of the table, by the name of the data set."""
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    fields = [line.removeprefix("# ").split("\t") for line in lines if line.startswith("# ")]
    return {name: Description(luminance, text) for name, luminance, text in fields}


NAMES = _read_descriptions()


def rows(name: str) -> list[Row]:
    """Returns the files of a named data set, in the order of the table."""
    with TABLE.open(newline="", encoding="utf-8") as lines:
        table = (line for line in lines if not line.startswith("# "))
        return [
            Row(line["file"], line["url"], int(line["bytes"]), line["sha256"])
            for line in csv.DictReader(table, delimiter="\t")
            if line["dataset"] == name
        ]


def held_out() -> frozenset[str]:
    """The sha256 of the files of `HELD_OUT`, which are left out of every training set."""
    return frozenset(row.sha256 for row in rows(HELD_OUT))


def folder(root: pathlib.Path, name: str) -> pathlib.Path | None:
    """Returns the folder under `root` that has the files of a named data set; None if none has."""
    found = (root / each for each in (name, FOLDERS.get(name)) if each and (root / each).is_dir())
    return next(found, None)


def digest(name: str) -> str:
    """Returns 16 hex digits that identify the files of a data set and their decoding."""
    return hashlib.sha256(repr((VERSION, name, rows(name))).encode()).hexdigest()[:16]


def read_file(path: pathlib.Path, row: Row) -> files.ImageFile:
    """Decodes a file after a check that it is the file of `row`; its name on disk may differ.

    Raises:
      ValueError: its size or its sha256 differs, or it cannot be read.
    """
    data = files.read_bytes(path)
    sha256 = hashlib.sha256(data).hexdigest()
    if (len(data), sha256) != (row.size, row.sha256):
        raise ValueError(
            f"{str(path)!r} is not the published file: it has {len(data)} bytes and sha256 "
            f"{sha256}, expected {row.size} and {row.sha256}; replace it by {row.url}"
        )
    return files.decode(data, path.with_name(row.file))


def read_folder(path: pathlib.Path, name: str) -> list[files.ImageFile]:
    """Reads all files of a named data set from a folder; other files in it are ignored.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: a file is not the published one.
    """
    for row in rows(name):
        if not (path / row.file).is_file():
            raise FileNotFoundError(
                f"dataset {name!r} in {str(path)!r} is incomplete: it lacks {row.file!r}; put "
                f"{row.url} there, or take the folder away to have everything downloaded"
            )
    return [read_file(path / row.file, row) for row in rows(name)]
