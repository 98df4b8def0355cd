"""Images to train and to test on, by name or by folder.

Named datasets are those of `sources.NAMES`. Each is looked for in a folder `<root>/<name>/`, where
root is `data_dir` or else the environment variable SRCNN_DATA_DIR; then as a copy that TFDS has
prepared (under TFDS_DATA_DIR); then on the network. Their files are always checked against
published sums. `sample` is a small offline set, and a path names any folder of images.
"""

import dataclasses
import hashlib
import os
import pathlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
from absl import logging

from srcnn_jax.datasets import files, prepared, sample, sources

__all__ = ["Dataset", "DatasetNotFoundError", "load", "load_all"]


class DatasetNotFoundError(FileNotFoundError):
    """A named dataset is in no folder, has no prepared copy and cannot be downloaded."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Decoded images and where they come from.

    Attributes:
      name: as the user named it: 't91', 'sample' or a path.
      source: one phrase for the log, such as 'folder <path>' or 'download'.
      fingerprint: sha256 in hex over the file names and the sha256 of the files' bytes.
      luminance: how to get the channel that SRCNN works on: 'ycbcr' (Y of BT.601) or 'gray' (full
        range, MATLAB rgb2gray).
      images: (name, uint8 pixels of shape (H, W) or (H, W, 3)) in natural order of file names. The
        name is the file name without its extension; all have it if two would share a name.
    """

    name: str
    source: str
    fingerprint: str
    luminance: str
    images: tuple[tuple[str, np.ndarray], ...]


def load(name: str, *, split: str = "test", data_dir: str | None = None) -> Dataset:
    """Loads one dataset.

    Args:
      name: a name of `sources.NAMES`, 'sample', or a path to a folder of images. A name wins over
        a folder of that name in the working directory; write './set5' for the folder.
      split: 'train' or 'test'; tells the two disjoint halves of 'sample' apart and means nothing
        to other datasets.
      data_dir: root of the folders of named datasets; without it SRCNN_DATA_DIR, if that is set.

    Raises:
      DatasetNotFoundError: the named dataset is nowhere to be had.
      FileNotFoundError: a path, `data_dir` or a file of a dataset's folder does not exist.
      ValueError: the name is unknown, a file is damaged or is not the published one, a download
        broke off, or the prepared copy cannot be written.
    """
    if split not in ("train", "test"):
        raise ValueError(f"unknown split {split!r}: use 'train' or 'test'")
    _check_name(name)
    return _load(name, split, data_dir, dead_hosts={})


def dataset_names(text: str) -> list[str]:
    """The test sets of `config.eval.datasets`: names or paths, separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def load_all(
    train: str | None,
    tests: Sequence[str],
    *,
    data_dir: str | None = None,
    allow_sample: bool = True,
) -> tuple[Dataset | None, list[Dataset]]:
    """Loads the datasets of an experiment, or `sample` if the named ones are nowhere to be had.

    The fallback is taken only if the training set is absent or, in an evaluation (no training
    set), if all named test sets are; a warning says so. It replaces all named sets, so that a run
    is on real data or on sample data. Test sets given as paths, which are the user's own, stay.

    Args:
      train: training set as in `load`; None or '' to evaluate only.
      tests: test sets as in `load`.
      data_dir: as in `load`.
      allow_sample: False makes an absent set an error.

    Returns:
      The training set (None if not asked for) and the test sets.

    Raises:
      DatasetNotFoundError: a named dataset is absent and the fallback does not apply.
      FileNotFoundError, ValueError: as in `load`.
    """
    for name in [train, *tests] if train else tests:
        _check_name(name)
    dead_hosts: dict[str, str] = {}

    def get(name: str, split: str = "test") -> Dataset:
        return _load(name, split, data_dir, dead_hosts)

    def sample_tests() -> list[Dataset]:
        return [get("sample"), *(get(name) for name in tests if _is_path(name))]

    if train:
        try:
            trained = get(train, "train")
        except DatasetNotFoundError as absent:
            if not allow_sample:
                raise
            logging.warning("%s. Training and testing on sample photographs instead.", absent)
            return get("sample", "train"), sample_tests()
        return trained, [get(name) for name in tests]

    found: list[Dataset] = []
    absences: list[DatasetNotFoundError] = []
    for name in tests:
        try:
            found.append(get(name))
        except DatasetNotFoundError as absent:
            absences.append(absent)
    if not absences:
        return None, found
    if not allow_sample or any(dataset.name in sources.NAMES for dataset in found):
        raise absences[0]
    logging.warning("%s. Testing on sample photographs instead.", absences[0])
    return None, sample_tests()


def _is_path(name: str) -> bool:
    if name == "sample" or name in sources.NAMES:
        return False
    return os.path.basename(name) != name or os.path.isdir(os.path.expanduser(name))


def _path(name: str) -> pathlib.Path:
    return pathlib.Path(os.path.expanduser(name))


def _check_name(name: str) -> None:
    """Finds a user's slips before anything slow: an unknown name, a path to nowhere."""
    if _is_path(name):
        if not _path(name).is_dir():
            raise FileNotFoundError(f"dataset {name!r} is not a folder: name an existing one")
    elif name != "sample" and name not in sources.NAMES:
        raise ValueError(
            f"unknown dataset {name!r}: known are {', '.join(sources.NAMES)} and sample; a path to "
            "a folder of images also works"
        )


def _load(name: str, split: str, data_dir: str | None, dead_hosts: dict[str, str]) -> Dataset:
    """A dataset from the first of its places that has it; `name` has been checked."""
    if name == "sample":
        return _dataset(name, "scikit-image sample photographs", sample.read(split))
    if _is_path(name):
        return _dataset(name, f"folder {_path(name)}", files.read_folder(_path(name)))

    root = data_dir or os.environ.get("SRCNN_DATA_DIR")
    if root:
        if not _path(root).is_dir():
            setting = "data_dir" if data_dir else "SRCNN_DATA_DIR"
            raise FileNotFoundError(f"{setting} {root!r} is not a folder: correct or unset it")
        if (_path(root) / name).is_dir():
            # Hashing and decoding take well under a second, so no prepared copy is made.
            found = sources.read_folder(_path(root) / name, name)
            return _dataset(name, f"folder {_path(root) / name}", found)

    copy = prepared.directory(name)
    if copy.is_dir():
        return _dataset(name, f"prepared copy {copy}", prepared.read(name))

    url = sources.rows(name)[0].url
    if reason := prepared.unreachable(url, dead_hosts):
        place = f"no folder {str(_path(root) / name)!r}" if root else "SRCNN_DATA_DIR is not set"
        raise DatasetNotFoundError(
            f"dataset {name!r} is nowhere to be had: {place}, no prepared copy {str(copy)!r}, and "
            f"{url} cannot be reached ({reason}); set SRCNN_DATA_DIR to a folder that holds its "
            f"files in {name}/, or connect to the network"
        )
    prepared.prepare(name)
    return _dataset(name, "download", prepared.read(name))


def _dataset(name: str, source: str, found: list[files.ImageFile]) -> Dataset:
    found = sorted(found, key=lambda file: files.natural_key(file.name))
    lines = "".join(f"{file.name}\t{file.sha256}\n" for file in found)
    shared = Counter(pathlib.PurePath(file.name).stem for file in found)
    unique = max(shared.values()) == 1
    return Dataset(
        name=name,
        source=source,
        fingerprint=hashlib.sha256(lines.encode()).hexdigest(),
        # The paper's own protocol: BSD200 as full-range grey, the other sets as Y of YCbCr.
        luminance="gray" if name == "bsd200" else "ycbcr",
        images=tuple(
            (pathlib.PurePath(file.name).stem if unique else file.name, file.pixels)
            for file in found
        ),
    )
