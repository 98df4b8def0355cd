"""Data sets for training and testing, by name or by folder.

A named data set (`sources.NAMES`) is searched in this order: the folder `<root>/<name>/`, where
root is `data_dir` or else the environment variable SRCNN_DATA_DIR; the copy that TFDS has prepared
(under TFDS_DATA_DIR); a download. Its files are always checked against the published sha256 sums.
`sample` is a small offline set. A path names any folder of images.
"""

import dataclasses
import hashlib
import os
import pathlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging

from srcnn_jax import paths
from srcnn_jax.datasets import files, prepared, sample, sources
from srcnn_jax.datasets.sources import HELD_OUT

__all__ = [
    "HELD_OUT",
    "Dataset",
    "DatasetNotFoundError",
    "dataset_names",
    "load",
    "load_all",
    "validation_name",
]


class DatasetNotFoundError(FileNotFoundError):
    """A named data set is in no folder, has no prepared copy and cannot be downloaded."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Decoded images and where they come from.

    Attributes:
      name: the name that the user gave: 't91', 'sample' or a path.
      source: where the images come from, for the log: 'folder <path>', 'download', ...
      fingerprint: sha256 in hex over the file names and the sha256 of the files' bytes.
      luminance: how luminance is computed: 'ycbcr' (Y of BT.601) or 'gray' (full range, MATLAB
        rgb2gray).
      images: (name, uint8 pixels of shape (H, W) or (H, W, 3)), in natural order of file names. The
        name is the file name without its extension. If two names would be equal, all names keep
        the extension.
    """

    name: str
    source: str
    fingerprint: str
    luminance: str
    images: tuple[tuple[str, np.ndarray], ...]


def load(name: str, *, split: str = "test", data_dir: str | None = None) -> Dataset:
    """Loads one data set.

    Args:
      name: a name of `sources.NAMES`, 'sample', or a path to a folder of images. A name has
        priority over a folder of the same name in the working directory; './set5' is the folder.
      split: 'train' or 'test'. They are the two disjoint halves of 'sample'. For other data sets
        'train' means all images but those of 'held_out', which no network is trained on.
      data_dir: root of the folders of named data sets; None for SRCNN_DATA_DIR, if that is set.

    Raises:
      DatasetNotFoundError: the named data set cannot be found or downloaded.
      FileNotFoundError: a path, `data_dir` or a file of a data set's folder does not exist.
      ValueError: the name or split is unknown, a file is damaged or is not the published one, a
        download failed half-way, the prepared copy cannot be written, or 'train' has no images.
    """
    if split not in ("train", "test"):
        raise ValueError(f"unknown split {split!r}: use 'train' or 'test'")
    _check_name(name)
    return _load(name, split, data_dir, dead_hosts={})


def dataset_names(text: str) -> list[str]:
    """Splits `config.data.train` or `config.eval.datasets`: names or paths between commas.

    Raises:
      ValueError: if a name is there twice.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the data sets {text!r} have {name!r} twice: leave one out")
    return names


def validation_name(config: Any) -> str:
    """Returns the name or path of the data set on which PSNR is measured during training.

    It is `train.eval_dataset`, or the first test set if that is ''. If `train.keep_weights` is
    'best', what chooses must not be what is reported: `HELD_OUT` takes the place of a test set.

    Args:
      config: as `configs/default.py`, or the dict that `config.json` holds.
    """
    tests = dataset_names(config["eval"]["datasets"])
    name = config["train"]["eval_dataset"] or tests[0]
    return HELD_OUT if config["train"]["keep_weights"] == "best" and name in tests else name


def load_all(
    train: str | None,
    tests: Sequence[str],
    *,
    data_dir: str | None = None,
    allow_sample: bool = True,
) -> tuple[Dataset | None, list[Dataset]]:
    """Loads the data sets of a run, or `sample` if the named ones cannot be found or downloaded.

    `sample` is used only if the training set is absent. In an evaluation, which has no training
    set, it is used only if all named test sets are absent. A warning says so. It replaces all named
    sets, so that a run never mixes named and sample data. Test sets given as paths stay.

    Args:
      train: one or several training sets as in `load`, separated by commas, which become one;
        None or '' for an evaluation.
      tests: test sets as in `load`.
      data_dir: as in `load`.
      allow_sample: False makes an absent set an error.

    Returns:
      The training set (None in an evaluation) and the test sets.

    Raises:
      DatasetNotFoundError: a named data set is absent and `sample` may not replace it.
      FileNotFoundError, ValueError: as in `load`, or training sets of different luminance.
    """
    parts = dataset_names(train or "")
    for name in [*parts, *tests]:
        _check_name(name)
    dead_hosts: dict[str, str] = {}

    def get(name: str, split: str = "test") -> Dataset:
        return _load(name, split, data_dir, dead_hosts)

    def sample_tests() -> list[Dataset]:
        return [get("sample"), *(get(name) for name in tests if _is_path(name))]

    if parts:
        try:
            trained = _together([get(name, "train") for name in parts])
        except DatasetNotFoundError as absent:
            if not allow_sample:
                raise
            logging.warning("training and testing on sample photographs, because %s", absent)
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
    logging.warning("testing on sample photographs, because %s", absences[0])
    return None, sample_tests()


def _together(parts: Sequence[Dataset]) -> Dataset:
    """Makes one training set of several."""
    if len(parts) == 1:
        return parts[0]
    names = ",".join(part.name for part in parts)
    if len({part.luminance for part in parts}) > 1:
        kinds = ", ".join(f"{part.name} {part.luminance}" for part in parts)
        raise ValueError(f"training sets {names!r} do not have the same luminance: {kinds}")
    lines = "".join(f"{part.name}\t{part.fingerprint}\n" for part in parts)
    return Dataset(
        name=names,
        source=", ".join(part.source for part in parts),
        fingerprint=hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest(),
        luminance=parts[0].luminance,
        images=tuple(
            (f"{part.name}/{name}", pixels) for part in parts for name, pixels in part.images
        ),
    )


def _is_path(name: str) -> bool:
    if name == "sample" or name in sources.NAMES:
        return False
    return os.path.basename(name) != name or os.path.isdir(os.path.expanduser(name))


def _path(name: str) -> pathlib.Path:
    return pathlib.Path(os.path.expanduser(name))


def _check_name(name: str) -> None:
    """Reports an unknown name, or a path that does not exist, before anything slow starts."""
    if _is_path(name):
        if not _path(name).is_dir():
            raise FileNotFoundError(f"dataset {name!r} is not a folder: name an existing one")
    elif name != "sample" and name not in sources.NAMES:
        raise ValueError(
            f"unknown dataset {name!r}: known are {', '.join(sources.NAMES)} and sample; a path to "
            "a folder of images also works"
        )


def _load(name: str, split: str, data_dir: str | None, dead_hosts: dict[str, str]) -> Dataset:
    """Loads a data set from the first source that has it; `name` must have been checked."""
    if name == "sample":
        return _dataset(name, split, "scikit-image sample photographs", sample.read(split))
    if _is_path(name):
        return _dataset(name, split, f"folder {_path(name)}", files.read_folder(_path(name)))

    root = data_dir or os.environ.get("SRCNN_DATA_DIR")
    if root:
        if not _path(root).is_dir():
            setting = "data_dir" if data_dir else "SRCNN_DATA_DIR"
            raise FileNotFoundError(f"{setting} {root!r} is not a folder: correct or unset it")
        if folder := sources.folder(_path(root), name):
            # Hashing and decoding take much less than a second, so no prepared copy is made.
            return _dataset(name, split, f"folder {folder}", sources.read_folder(folder, name))

    copy = prepared.directory(name)
    if copy.is_dir():
        return _dataset(name, split, f"prepared copy {copy}", prepared.read(name))

    url = sources.rows(name)[0].url
    if reason := prepared.unreachable(url, dead_hosts):
        place = f"no folder {str(_path(root) / name)!r}" if root else "SRCNN_DATA_DIR is not set"
        raise DatasetNotFoundError(
            f"dataset {name!r} cannot be found: {place}, no prepared copy {str(copy)!r}, and "
            f"{url} cannot be reached ({reason}); set SRCNN_DATA_DIR to a folder that holds its "
            f"files in {name}/, or connect to the network"
        )
    prepared.prepare(name)
    return _dataset(name, split, "download", prepared.read(name))


def _dataset(name: str, split: str, source: str, found: list[files.ImageFile]) -> Dataset:
    if split == "train":
        held_out = sources.held_out()
        left = [file for file in found if file.sha256 not in held_out]
        if len(left) < len(found):
            source += f" without {len(found) - len(left)} held-out images"
        if not left:
            raise ValueError(
                f"training set {name!r} has held-out images only, which choose and are never "
                "trained on: name another data.train"
            )
        found = left
    found = sorted(found, key=lambda file: paths.natural_key(file.name))
    lines = "".join(f"{file.name}\t{file.sha256}\n" for file in found)
    shared = Counter(pathlib.PurePath(file.name).stem for file in found)
    unique = max(shared.values()) == 1
    return Dataset(
        name=name,
        source=source,
        # Names that are no UTF-8 keep their bytes.
        fingerprint=hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest(),
        luminance=sources.NAMES[name].luminance if name in sources.NAMES else "ycbcr",
        images=tuple(
            (pathlib.PurePath(file.name).stem if unique else file.name, file.pixels)
            for file in found
        ),
    )
