"""Weight files: parameters together with the architecture, padding, scale and colour they need."""

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from srcnn_jax import architecture
from srcnn_jax.weights import matlab, onnx_export, pytorch_file

COLOURS = {"y": 1, "ycbcr": 3, "rgb": 3}  # what the network sees, and in how many channels
PRETRAINED = Path(__file__).parents[1] / "pretrained"
_TORCH = (".pth", ".pt", ".pth.tar")


@dataclasses.dataclass(frozen=True)
class Network:
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
                    f"a layer with {before[3]} filters is followed by one for {after[2]}: "
                    "is a layer missing?"
                )
        if shapes[0][2] != shapes[-1][3]:
            raise ValueError(
                f"its last layer gives {shapes[-1][3]} channels, its first takes {shapes[0][2]}: "
                "is a layer missing?"
            )
        if COLOURS.get(self.colour) != shapes[0][2]:
            raise ValueError(
                f"a network for {shapes[0][2]} channels does not fit the colour {self.colour!r}"
            )
        architecture.check(self.kernel_sizes, self.features, shapes[0][2], self.padding)

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


def load(path: str | os.PathLike) -> Network:
    """Reads a weight file, or the `weights.safetensors` of a finished workdir.

    Nothing in a file is ever executed. What a file does not say is taken to be as usual where it
    comes from: the authors' `.mat` files are for valid convolutions; files of PyTorch, and
    safetensors by others, for zero padding ('same'), which most repositories use. Three channels
    are taken for RGB. `convert` writes a file that says otherwise.

    Args:
      path: `.safetensors` (ours, or of PyTorch's names and order of axes), `.mat` (the authors'
        layout), `.pth`, `.pt` or `.pth.tar` (a PyTorch state_dict; `pytorch_file` has the names),
        or a workdir.

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
    suffix = _suffix(path, _READERS)
    try:
        return _READERS[suffix](path)
    except Exception as error:  # what a damaged file makes a parser raise is not documented
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not a parser
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, KeyError):
            reason = f"it has no {reason}"
        raise ValueError(f"{path} is not a usable weight file: {reason}") from error


def load_pretrained(scale: int) -> Network:
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


def save(path: str | os.PathLike, weights: Network, notes: Mapping[str, str] | None = None) -> None:
    """Writes `weights`, atomically, in the form that the end of the name says.

    - `.safetensors`: tensors `conv1.kernel`, `conv1.bias`, ...
    - `.mat`: for the authors' `SRCNN.m`.
    - `.pth`, `.pt`, `.pth.tar`: a state_dict of conv1.weight (out, in, f, f), conv1.bias, ...
    - `.onnx`: the network as `predict.predict` applies it.

    All but `.mat` also hold kernel_sizes, features, padding, scale, colour, and `notes` (strings:
    how it was trained), of which programs other than this one take no notice.

    Raises:
      ValueError: if the form cannot express this network, or there is no such form.
      OSError: if the file cannot be written.
    """
    path = Path(path)
    metadata = {
        **(notes or {}),
        "format": "srcnn_jax",
        "kernel_sizes": ",".join(map(str, weights.kernel_sizes)),
        "features": ",".join(map(str, weights.features)),
        "padding": weights.padding,
        "scale": str(weights.scale or ""),
        "colour": weights.colour,
    }
    content = _ENCODERS[_suffix(path, _ENCODERS)](weights, metadata)
    partial = path.with_name(path.name + f".partial{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror or error})") from error
    finally:
        partial.unlink(missing_ok=True)


def _suffix(path: Path, known: Iterable[str]) -> str:
    """The one of `known` that the file's name ends in; ValueError if none."""
    for suffix in known:
        if path.name.lower().endswith(suffix):
            return suffix
    raise ValueError(f"{path}: the name of a weight file ends in {', '.join(known)}")


def _from_metadata(
    params: Mapping[str, Mapping[str, np.ndarray]], metadata: Mapping[str, str]
) -> Network:
    """The network of a file by `save`; ValueError if its metadata is not whole."""
    missing = {"padding", "scale", "colour"} - set(metadata)
    if missing:
        raise ValueError(f"its header does not say the {' and the '.join(sorted(missing))}")
    scale = metadata["scale"]
    return Network(params, metadata["padding"], int(scale) if scale else None, metadata["colour"])


def _from_torch(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> Network:
    """A network by PyTorch's names, of ours or of others."""
    params = pytorch_file.to_params(tensors)
    if metadata.get("format") == "srcnn_jax":
        return _from_metadata(params, metadata)
    channels = params["conv1"]["kernel"].shape[2]
    return Network(params, "same", colour="rgb" if channels == 3 else "y")


def _load_safetensors(path: Path) -> Network:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if metadata.get("format") != "srcnn_jax":
        return _from_torch(tensors, metadata)
    params: dict[str, dict[str, np.ndarray]] = {}
    for name, value in tensors.items():
        layer, _, kind = name.partition(".")
        params.setdefault(layer, {})[kind] = value.astype(np.float32)
    return _from_metadata(params, metadata)


def _encode_safetensors(weights: Network, metadata: dict[str, str]) -> bytes:
    from safetensors.numpy import save as to_bytes

    tensors = {
        f"{layer}.{name}": np.ascontiguousarray(value, np.float32)
        for layer, values in weights.params.items()
        for name, value in values.items()
    }
    return to_bytes(tensors, metadata)


def _encode_mat(weights: Network, metadata: Mapping[str, str]) -> bytes:
    del metadata  # there is no place for it
    if architecture.margin(weights.kernel_sizes, "valid") != architecture.margin(
        weights.kernel_sizes, weights.padding
    ):
        raise ValueError(
            f"the authors' .mat files are for valid padding, not {weights.padding!r}: SRCNN.m "
            "repeats the border where this network saw zeros (to write it all the same: "
            "convert with --padding=valid)"
        )
    return matlab.encode(weights.params)


def _encode_torch(weights: Network, metadata: Mapping[str, str]) -> bytes:
    return pytorch_file.encode(pytorch_file.from_params(weights.params), metadata)


def _encode_onnx(weights: Network, metadata: Mapping[str, str]) -> bytes:
    return onnx_export.encode(weights.layers, weights.padding, metadata)


_READERS: dict[str, Callable[[Path], Network]] = {
    ".safetensors": _load_safetensors,
    ".mat": lambda path: Network(matlab.read(path), padding="valid"),
    **dict.fromkeys(_TORCH, lambda path: _from_torch(*pytorch_file.read(path))),
}
_ENCODERS: dict[str, Callable[[Network, dict[str, str]], bytes]] = {
    ".safetensors": _encode_safetensors,
    ".mat": _encode_mat,
    **dict.fromkeys(_TORCH, _encode_torch),
    ".onnx": _encode_onnx,
}
