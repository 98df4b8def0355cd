"""The degradation: how a small image is made of a large one and enlarged to the network's input.

Training, evaluation and the enlargement of pictures all use this file. `Degradation` holds the
choices. It is in the config (`data.degradation`), in weight files and in `eval.json`.
"""

import dataclasses
import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from srcnn_jax import image

SHRINKS = ("bicubic", "gaussian")
# Pixels of the small image that an enlarged pixel depends on, to each side. A bicubic pixel has 4
# neighbours. A B-spline depends on all pixels: on one at distance d by 0.27 ** d, here 2e-14.
KERNEL_RADIUS = {"bicubic": 3, "spline": 24}
CHROMA_SUBSAMPLING = "4:2:0"  # of JPEG: two by two pixels share their chroma, as in most files


@dataclasses.dataclass(frozen=True)
class Degradation:
    """How small images are made and enlarged. The values are checked when it is created.

    The defaults are the released code: MATLAB's bicubic, in float. Files of versions without this
    class mean them.

    Attributes:
      shrink: 'bicubic' (MATLAB's `imresize`, antialiased), or 'gaussian' (blurred, then subsampled,
        as the text of the paper has it).
      sigma: standard deviation of the Gaussian in pixels of the large image; 0 for 'bicubic'.
      enlarge: 'bicubic', or 'spline' (the interpolating cubic B-spline).
      noise: (lowest, highest) standard deviation of Gaussian noise on the scale 0..255; () for
        none.
      jpeg: (lowest, highest) JPEG quality from 1 to 100; () for none.

    With noise or JPEG the small image is RGB of 8 bits, as in a file. Noise (0, 0) is such an image
    without noise.

    Raises:
      ValueError: the message names the value and the fix.
    """

    shrink: str = "bicubic"
    sigma: float = 0.0
    enlarge: str = "bicubic"
    noise: tuple[float, ...] = ()
    jpeg: tuple[int, ...] = ()

    def __post_init__(self):
        for name in ("noise", "jpeg"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON gives lists
        if self.shrink not in SHRINKS:
            raise ValueError(f"degradation.shrink is one of {SHRINKS}, not {self.shrink!r}")
        if self.enlarge not in KERNEL_RADIUS:
            raise ValueError(
                f"degradation.enlarge is one of {tuple(KERNEL_RADIUS)}, not {self.enlarge!r}"
            )
        if self.shrink == "gaussian" and not 0.1 <= self.sigma <= 100:  # also true for NaN
            raise ValueError(
                "degradation.shrink 'gaussian' needs a degradation.sigma from 0.1 to 100, such as "
                f"1.0, not {self.sigma}"
            )
        if self.shrink == "bicubic" and self.sigma != 0:
            raise ValueError(
                f"degradation.sigma {self.sigma} goes with degradation.shrink 'gaussian': set both"
            )
        _check_range("noise", self.noise, 0, 255, "0,10")
        _check_range("jpeg", self.jpeg, 1, 100, "50,95")
        if not all(isinstance(quality, int) for quality in self.jpeg):
            raise ValueError(f"degradation.jpeg {self.jpeg} are not whole numbers: 50,95")

    @property
    def is_drawn(self) -> bool:
        """Whether the small image is a picture of 8 bits, with noise or JPEG drawn for it."""
        return bool(self.noise or self.jpeg)

    def __str__(self) -> str:
        """'bicubic', 'gaussian 1.6', 'bicubic, JPEG 50 to 95 (4:2:0), enlarged by spline'."""
        parts = [self.shrink + (f" {self.sigma:g}" if self.sigma else "")]
        if self.noise:
            parts.append(f"noise {_range(self.noise)}" if self.noise[1] else "8 bits")
        if self.jpeg:
            parts.append(f"JPEG {_range(self.jpeg)} ({CHROMA_SUBSAMPLING})")
        if self.enlarge != "bicubic":
            parts.append(f"enlarged by {self.enlarge}")
        return ", ".join(parts)

    def to_fields(self) -> dict[str, Any]:
        """Returns it as JSON has it, with lists, for results; `from_fields` reads it."""
        fields = dataclasses.asdict(self)
        return fields | {"noise": list(self.noise), "jpeg": list(self.jpeg)}

    def to_json(self) -> str:
        """Returns it as a line of JSON, for weight files; `from_json` reads it."""
        return json.dumps(self.to_fields())


def _check_range(name: str, values: tuple, lowest: float, highest: float, example: str) -> None:
    """Raises ValueError unless the values are () or an ascending pair within the limits."""
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    if values and not (
        numbers and len(values) == 2 and lowest <= values[0] <= values[1] <= highest
    ):
        raise ValueError(
            f"degradation.{name} {values} is not () or the lowest and the highest, from {lowest} "
            f"to {highest}: {example}"
        )


def _range(values: tuple[float, ...]) -> str:
    low, high = values
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


RELEASED = Degradation()  # of the authors' released code


def from_json(text: str) -> Degradation:
    """Reads what `Degradation.to_json` made; raises ValueError if it is something else."""
    return from_fields(json.loads(text))


def from_fields(fields: Any) -> Degradation:
    """Makes a degradation of a mapping with the names of its attributes.

    Raises:
      ValueError: if it is no such mapping, or a value is wrong.
    """
    known = {field.name for field in dataclasses.fields(Degradation)}
    if not isinstance(fields, Mapping) or not set(fields) <= known:
        raise ValueError(f"a degradation has the fields {', '.join(sorted(known))}, not {fields!r}")
    return Degradation(**fields)


def from_config(config: Any) -> Degradation:
    """Returns the degradation of a config.

    Args:
      config: as `configs/default.py`, or the dict that `config.json` holds. One of an earlier
        version, without `data.degradation`, means `RELEASED`.

    Raises:
      ValueError: if a value is wrong.
    """
    fields = config["data"].get("degradation", {})
    return from_fields(fields.to_dict() if hasattr(fields, "to_dict") else fields)


def shrink(pixels: np.ndarray, scale: int, degradation: Degradation = RELEASED) -> np.ndarray:
    """Shrinks (H, W[, C]) to (ceil(H / scale), ceil(W / scale)[, C]), with its dtype and range.

    There is no noise and no JPEG in it: `damage` adds them.
    """
    if degradation.shrink == "gaussian":
        return image.subsample(pixels, scale, degradation.sigma)
    return image.imresize(pixels, 1 / scale)


def enlarge(small: np.ndarray, scale: int, degradation: Degradation = RELEASED) -> np.ndarray:
    """Enlarges (h, w[, C]) to (scale * h, scale * w[, C]), the input of SRCNN.

    Float is neither rounded nor clipped, as in the released `generate_train.m` and `demo_SR.m`.
    """
    if degradation.enlarge == "spline":
        return image.spline_enlarge(small, scale)
    return image.imresize(small, scale)


def enlarge_rows(
    small: np.ndarray, first: int, last: int, scale: int, degradation: Degradation = RELEASED
) -> np.ndarray:
    """Computes rows [first, last) of `enlarge` in float64, from the rows that they need.

    Args:
      small: (h, w, C), of any dtype and range.
      first, last: rows of the enlarged image.
      scale: factor of the enlargement.
      degradation: it says by what is enlarged.

    Returns:
      float64 (last - first, scale * w, C), in the range of `small`, not clipped.
    """
    radius = KERNEL_RADIUS[degradation.enlarge]
    low = max(first // scale - radius, 0)
    high = -(-last // scale) + radius
    enlarged = enlarge(small[low:high].astype(np.float64), scale, degradation)
    return enlarged[first - low * scale : last - low * scale]


def degrade(pixels: np.ndarray, scale: int, degradation: Degradation = RELEASED) -> np.ndarray:
    """Shrinks and enlarges float (H, W, C): the input of the network, without noise and JPEG.

    H and W must be multiples of `scale` (`image.modcrop`), so that the output has the size of the
    input.
    """
    return enlarge(shrink(pixels, scale, degradation), scale, degradation)


def damage(
    picture: np.ndarray, scale: int, degradation: Degradation, random: np.random.Generator
) -> np.ndarray:
    """Makes the small picture of a degradation that is drawn: shrink, noise, 8 bits, JPEG.

    Args:
      picture: float (H, W), grey, or (H, W, 3), RGB, on the scale 0..1.
      scale: how many times smaller it becomes.
      degradation: the sigma of the noise is drawn evenly from its range, the quality of the JPEG
        from the whole numbers of its range.
      random: draws them, and the noise. `create_random` makes it.

    Returns:
      uint8 (h, w) or (h, w, 3).
    """
    small = shrink(picture, scale, degradation)
    if degradation.noise:
        low, high = degradation.noise
        sigma = random.uniform(low, high)
        small = small + random.normal(0, sigma / 255, small.shape)
    pixels = image.to_uint8(small)
    if not degradation.jpeg:
        return pixels
    lowest, highest = degradation.jpeg
    return _through_jpeg(pixels, int(random.integers(lowest, highest, endpoint=True)))


def create_random(seed: int, name: str, size: float = 1.0, copy: int = 0) -> np.random.Generator:
    """The generator of a copy of an image: a pure function of the arguments.

    Args:
      seed: seed of the run; 0 for test images.
      name: name of the image.
      size: the downscale factor of this version of the image.
      copy: number of the copy, from 0.
    """
    digest = hashlib.sha256(f"{seed} {copy} {size!r} {name}".encode(errors="surrogateescape"))
    return np.random.default_rng(int.from_bytes(digest.digest()))


def _through_jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Returns a uint8 picture as it comes out of a JPEG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=CHROMA_SUBSAMPLING)
    return np.array(Image.open(file))
