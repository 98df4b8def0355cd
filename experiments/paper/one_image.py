"""One image for the paper's figures: a file, or an image of a test set."""

from __future__ import annotations

import dataclasses
import pathlib

from srcnn_jax import datasets
from srcnn_jax.datasets import files

HELP = "file, or an image of a test set, as set5/butterfly"


def load(name: str, data_dir: str = "") -> datasets.Dataset:
    """Loads a data set of one image.

    Args:
      name: a file, or a data set and the name of one of its images: 'set14/zebra'. 'sample/chelsea'
        ships with scikit-image. The '_GT' of Set5's files may be left out.
      data_dir: as main's --data_dir.

    Returns:
      The data set with its name and luminance, and with this image alone.

    Raises:
      ValueError, FileNotFoundError: if there is no such file, data set or image.
    """
    path = pathlib.Path(name).expanduser()
    if path.is_file():
        file = files.decode(files.read_bytes(path), path)
        return datasets.Dataset(
            name=str(path),
            source=f"file {path}",
            fingerprint=file.sha256,
            luminance="ycbcr",
            images=((path.stem, file.pixels),),
        )
    test_set, _, image = name.rpartition("/")
    if not test_set:
        raise FileNotFoundError(f"there is no file {name}: name one, or an image as set5/butterfly")
    found = datasets.load(test_set, data_dir=data_dir or None)
    images = {label.removesuffix("_GT"): pixels for label, pixels in found.images}
    if image not in images:
        raise ValueError(f"{test_set} has no image {image!r}: it has {', '.join(images)}")
    return dataclasses.replace(found, images=((image, images[image]),))
