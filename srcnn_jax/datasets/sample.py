"""The offline `sample` set: photographs in the scikit-image wheel.

They need no download. Scores on them cannot be compared with the paper.
"""

import importlib.util
import pathlib

from srcnn_jax.datasets import files

# Photographs of things, faces and textures. No training uses the two test images.
FILES = {
    "train": (
        "astronaut.png",
        "brick.png",
        "camera.png",
        "coins.png",
        "grass.png",
        "gravel.png",
        "motorcycle_left.png",
        "rocket.jpg",
    ),
    "test": ("chelsea.png", "coffee.png"),
}


def read(split: str) -> list[files.ImageFile]:
    """Reads the images of split 'train' or 'test'; camera, coins and the textures are grey.

    The files are read from scikit-image's folder, because `skimage.data` may download them.

    Raises:
      FileNotFoundError: this installation of scikit-image lacks a file.
    """
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("dataset 'sample' needs scikit-image: pip install scikit-image")
    paths = [pathlib.Path(spec.origin).with_name("data") / file for file in FILES[split]]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(
                f"dataset 'sample' lacks {str(path)!r}: install scikit-image from its wheel"
            )
    return [files.decode(files.read_bytes(path), path) for path in paths]
