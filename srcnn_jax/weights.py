"""Weight files: parameters together with the architecture, padding, scale and colour they need."""

import dataclasses
import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from srcnn_jax import models

COLOURS = {"y": 1, "ycbcr": 3, "rgb": 3}  # what the network sees, and in how many channels
PRETRAINED = Path(__file__).parent / "pretrained"


@dataclasses.dataclass(frozen=True)
class Weights:
    """A trained network.

    Attributes:
      params: {'conv1': {'kernel': (f, f, in, out), 'bias': (out,)}, ...}, float32.
      padding: 'same', 'valid' or one of them per layer, as `models.SRCNN`.
      scale: the enlargement it was trained for, None if the file does not say.
      colour: 'y' (luminance), 'ycbcr' or 'rgb'.
    """

    params: Mapping[str, Mapping[str, np.ndarray]]
    padding: str = "same"
    scale: int | None = None
    colour: str = "y"

    def __post_init__(self):
        names = [f"conv{i + 1}" for i in range(len(self.params))]
        if set(names) != set(self.params) or any(set(v) != {"kernel", "bias"} for v in self.layers):
            raise ValueError(
                f"its layers are {', '.join(self.params)}, not conv1, conv2, ..., each with a "
                "kernel and a bias"
            )
        shapes = [layer["kernel"].shape for layer in self.layers]
        for name, layer, shape in zip(names, self.layers, shapes, strict=True):
            if len(shape) != 4 or shape[0] != shape[1] or layer["bias"].shape != shape[-1:]:
                raise ValueError(
                    f"{name} has a kernel of shape {shape} and a bias of shape "
                    f"{layer['bias'].shape}, not (f, f, in, out) and (out,)"
                )
            if not all(np.isfinite(value).all() for value in layer.values()):
                raise ValueError(f"{name} holds values that are not finite")
        for before, after in itertools.pairwise(shapes):
            if before[3] != after[2]:
                raise ValueError(
                    f"a layer with {before[3]} filters is followed by one for {after[2]}"
                )
        if COLOURS.get(self.colour) != shapes[0][2] or shapes[0][2] != shapes[-1][3]:
            raise ValueError(
                f"a network from {shapes[0][2]} to {shapes[-1][3]} channels "
                f"does not fit the colour {self.colour!r}"
            )
        models.check_architecture(self.kernel_sizes, self.features, shapes[0][2], self.padding)

    @property
    def layers(self) -> list[Mapping[str, np.ndarray]]:
        """The kernels and biases in order."""
        return [self.params[f"conv{i + 1}"] for i in range(len(self.params))]

    @property
    def kernel_sizes(self) -> tuple[int, ...]:
        return tuple(layer["kernel"].shape[0] for layer in self.layers)

    @property
    def features(self) -> tuple[int, ...]:
        return tuple(layer["kernel"].shape[3] for layer in self.layers[:-1])


def load(path: str | os.PathLike) -> Weights:
    """Reads a weight file, or the `weights.safetensors` of a finished workdir.

    Args:
      path: `.safetensors` (ours), `.mat` (the authors' layout), or a workdir.

    Raises:
      FileNotFoundError: if it does not exist, or the workdir is not finished.
      ValueError: if it is not a weight file, or its layers do not fit together.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "weights.safetensors"
        if not path.exists():
            raise FileNotFoundError(
                f"{path.parent} has no weights.safetensors: it is no workdir, or its training "
                "has not finished (start it again to resume)"
            )
    if not path.exists():
        raise FileNotFoundError(f"there is no weight file {path}")
    readers = {".safetensors": _load_safetensors, ".mat": _load_mat}
    if path.suffix not in readers:
        raise ValueError(f"{path}: the name of a weight file ends in {' or '.join(readers)}")
    try:
        return readers[path.suffix](path)
    except OSError:
        raise
    except Exception as error:  # what a damaged file makes a parser raise is not documented
        raise ValueError(f"{path} is not a usable weight file: {error}") from error


def load_pretrained(scale: int) -> Weights:
    """The 9-1-5 network for `scale` that ships with the package.

    Raises:
      ValueError: if there is none for this scale, naming those there are.
    """
    path = PRETRAINED / f"srcnn_915_x{scale}.safetensors"
    if not path.exists():
        scales = sorted(file.stem.rpartition("x")[2] for file in PRETRAINED.glob("srcnn_915_x*"))
        raise ValueError(
            f"the bundled networks are for the scales {', '.join(scales)}, not {scale}; "
            "name one of your own as weights (--weights FILE)"
        )
    return load(path)


def save(path: str | os.PathLike, weights: Weights, notes: Mapping[str, str] | None = None) -> None:
    """Writes `weights` as safetensors, atomically.

    Tensors are `conv1.kernel`, `conv1.bias`, ...; the header's metadata has kernel_sizes,
    features, padding, scale and colour, and `notes` (strings: how it was trained).
    """
    from safetensors.numpy import save as to_bytes

    tensors = {
        f"{layer}.{name}": np.ascontiguousarray(value, np.float32)
        for layer, values in weights.params.items()
        for name, value in values.items()
    }
    metadata = {
        **(notes or {}),
        "format": "srcnn_jax",
        "kernel_sizes": ",".join(map(str, weights.kernel_sizes)),
        "features": ",".join(map(str, weights.features)),
        "padding": weights.padding,
        "scale": str(weights.scale or ""),
        "colour": weights.colour,
    }
    path = Path(path)
    partial = path.with_name(path.name + f".partial{os.getpid()}")
    partial.write_bytes(to_bytes(tensors, metadata))
    partial.replace(path)


def _load_safetensors(path: Path) -> Weights:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if metadata.get("format") != "srcnn_jax":
        raise ValueError("its header does not say that srcnn_jax wrote it")
    params: dict[str, dict[str, np.ndarray]] = {}
    for name, value in tensors.items():
        layer, _, kind = name.partition(".")
        params.setdefault(layer, {})[kind] = value.astype(np.float32)
    scale = metadata["scale"]
    return Weights(params, metadata["padding"], int(scale) if scale else None, metadata["colour"])


def _load_mat(path: Path) -> Weights:
    """The authors' layout (`SRCNN.m`), for any number of layers; it is for valid convolutions.

    The first weights are (f*f, n1), the middle ones (in, f*f, out), the last (in, f*f); taps are
    in MATLAB's column-major order, biases (n, 1).
    """
    import scipy.io

    content: dict[str, Any] = scipy.io.loadmat(path)
    count = sum(name.startswith("weights_conv") for name in content)
    if count < 2:
        raise ValueError("it has no weights_conv1, weights_conv2, ...")
    params = {}
    for index in range(1, count + 1):
        taps = np.asarray(content[f"weights_conv{index}"], np.float32)
        if index == 1:
            taps = taps[None]  # (1, f*f, n1)
        if index == count:
            taps = taps[..., None]  # (n, f*f, 1)
        size = round(taps.shape[1] ** 0.5)
        fan_in, fan_out = taps.shape[0], taps.shape[2]
        # (in, column, row, out) to (row, column, in, out)
        kernel = taps.reshape(fan_in, size, size, fan_out).transpose(2, 1, 0, 3)
        params[f"conv{index}"] = {
            "kernel": np.ascontiguousarray(kernel),
            "bias": np.asarray(content[f"biases_conv{index}"], np.float32).ravel(),
        }
    return Weights(params, padding="valid")
