"""What the named datasets consist of: `sources.tsv`, one row a file, with its URL, size and sha256.

Whatever way a file has come, it is used only if its size and its sum are those of its row.
"""

import csv
import hashlib
import pathlib
from typing import NamedTuple

from srcnn_jax.datasets import files

TABLE = pathlib.Path(__file__).with_name("sources.tsv")

# Version of the prepared copies: raise it when the decoding or the stored features change.
VERSION = "1.0.0"

NAMES = {
    "t91": "91 small images, the usual training set (Yang et al. 2010)",
    "set5": "5 test images (Bevilacqua et al. 2012)",
    "set14": "14 test images, of which `bridge` is grey (Zeyde et al. 2010)",
    "bsd100": "the 100 validation images of BSDS500, a common test set",
    "bsd200": "the 200 test images of BSDS500, the paper's larger test set",
    "bsds500_train": "the 200 training images of BSDS500",
    "urban100": "100 test images of buildings (Huang et al. 2015)",
}


class Row(NamedTuple):
    """One file of a dataset, as published."""

    file: str
    url: str
    size: int  # bytes
    sha256: str


def rows(name: str) -> list[Row]:
    """The files of a named dataset, in the order of the table."""
    with TABLE.open(newline="", encoding="utf-8") as lines:
        return [
            Row(line["file"], line["url"], int(line["bytes"]), line["sha256"])
            for line in csv.DictReader(lines, delimiter="\t")
            if line["dataset"] == name
        ]


def digest(name: str) -> str:
    """Identifies the files of a dataset and how they are decoded (16 hex digits)."""
    return hashlib.sha256(repr((VERSION, name, rows(name))).encode()).hexdigest()[:16]


def read_file(path: pathlib.Path, row: Row) -> files.ImageFile:
    """Decodes a file that must be the one that `row` describes, whatever its name on disk.

    Raises:
      ValueError: its size or its sha256 differs.
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
    """All files of a named dataset from the folder that holds them; other files are ignored.

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
