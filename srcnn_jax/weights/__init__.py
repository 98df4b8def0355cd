"""Networks and their files: parameters with their architecture, scale, colour and degradation."""

import dataclasses
import functools
import hashlib
import itertools
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from srcnn_jax import atomic, degradation, paths
from srcnn_jax.architecture import Architecture
from srcnn_jax.colour import CHANNELS
from srcnn_jax.degradation import RELEASED, Degradation
from srcnn_jax.weights import (
    matlab,
    onnx_export,
    pretrained,
    pytorch,
    pytorch_file,
    safetensors,
)

MAX_REASON = 600  # max characters of an error, which may quote names from the file
_TORCH = (".pth", ".pt", ".pth.tar")


@dataclasses.dataclass(frozen=True)
class Network:
    """A trained network. The values are checked when it is created.

    Attributes:
      params: {'conv1': {'kernel': (f, f, in, out), 'bias': (out,)}, ...}, float32.
      padding: 'same', 'valid' or one word for each layer, as `Architecture.padding`.
      scale: factor of the enlargement that it was trained for; None if the file does not say.
      colour: 'y' (luminance), 'ycbcr' or 'rgb'.
      degradation: how the small images of its training were made and enlarged. Files of other
        programs and of earlier versions do not say it, and are taken for `RELEASED`.

    Raises:
      ValueError: if the layers do not fit together, or a value is not finite.
    """

    params: Mapping[str, Mapping[str, np.ndarray]]
    padding: str = "same"
    scale: int | None = None
    colour: str = "y"
    degradation: Degradation = RELEASED

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
        if CHANNELS.get(self.colour) != shapes[0][2]:
            raise ValueError(
                f"a network for {shapes[0][2]} channels does not fit the colour {self.colour!r}"
            )
        _ = self.architecture  # checks the sizes and the padding

    @property
    def layers(self) -> list[Mapping[str, np.ndarray]]:
        """The kernel and bias of each layer, in order."""
        return [self.params[f"conv{i + 1}"] for i in range(len(self.params))]

    @functools.cached_property
    def architecture(self) -> Architecture:
        """The architecture: the sizes of the layers, and the padding."""
        shapes = [layer["kernel"].shape for layer in self.layers]
        return Architecture(
            kernel_sizes=tuple(shape[0] for shape in shapes),
            features=tuple(shape[3] for shape in shapes[:-1]),
            channels=shapes[0][2],
            padding=self.padding,
        )


def load(path: str | os.PathLike) -> Network:
    """Reads a weight file, or the `weights.safetensors` of a finished workdir.

    Nothing in a file is ever executed. Some files do not state the padding. The authors' `.mat`
    files are for valid convolutions. PyTorch files, and safetensors files of other programs, are
    taken to have zero padding ('same'), which most repositories use. Three channels are taken as
    RGB. `convert` writes a file with other values.

    Our `.safetensors` files have a checksum, which is compared. A logged line says if a
    `.safetensors` file has none, as those of earlier versions and of other programs.

    Args:
      path: `.safetensors` (ours, or with PyTorch's names and order of axes), `.mat` (the authors'
        layout), `.pth`, `.pt` or `.pth.tar` (a PyTorch state_dict; see `pytorch` for the names),
        or a workdir.

    Raises:
      FileNotFoundError: if the file does not exist, the workdir is not finished, or it is a folder
        of runs, as a sweep's.
      ValueError: if it is not a weight file, if it is damaged, or if its layers do not fit
        together.
    """
    path = paths.local(path, "the weight file")
    if path.is_dir():
        path = path / "weights.safetensors"
        if not path.exists():
            from srcnn_jax import workdir  # for this message alone; enlarging does not need it

            if explained := workdir.explain_folder_of_runs(path.parent):
                raise FileNotFoundError(explained)
            raise FileNotFoundError(
                f"{path.parent} has no weights.safetensors: it is no workdir, or its training "
                "has not finished (start it again to resume)"
            )
    if not path.is_file():  # a device or a pipe has no end
        raise FileNotFoundError(f"there is no weight file {path}")
    suffix = _suffix(path, _READERS)
    try:
        return _READERS[suffix](path)
    except Exception as error:  # parsers raise undocumented errors on damaged files
        if isinstance(error, OSError) and error.errno is not None:  # from the disk, not a parser
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, KeyError):
            reason = f"it has no {reason}"
        if len(reason) > MAX_REASON:
            reason = f"{reason[:MAX_REASON]}..."
        raise ValueError(f"{path} is not a usable weight file: {reason}") from error


def load_pretrained(scale: int, network: str = pretrained.BEST) -> Network:
    """Loads a network for `scale` that is part of the package; raises as `pretrained.choose`."""
    return load(pretrained.choose(scale, network).file)


def fingerprint(network: Network | None) -> str:
    """sha256 in hex over a network's parameters; '' for None."""
    if network is None:
        return ""
    digest = hashlib.sha256(f"{network.padding} {network.colour}".encode())
    for layer in network.layers:
        for name in ("kernel", "bias"):
            values = np.ascontiguousarray(layer[name], "<f4")
            digest.update(f"{values.shape}".encode() + values.tobytes())
    return digest.hexdigest()


def read_notes(path: Path) -> Mapping[str, str]:
    """Returns all strings that a safetensors file has beside its tensors; errors as `load`."""
    return safetensors.read(path)[1]


def save(path: str | os.PathLike, network: Network, notes: Mapping[str, str] | None = None) -> None:
    """Writes a network atomically. The end of the file's name decides the format.

    - `.safetensors`: tensors `conv1.kernel`, `conv1.bias`, ...
    - `.mat`: for the authors' `SRCNN.m`.
    - `.pth`, `.pt`, `.pth.tar`: a state_dict of conv1.weight (out, in, f, f), conv1.bias, ...
    - `.onnx`: the network as `predict.predict` applies it.

    All formats except `.mat` also hold kernel_sizes, features, padding, scale, colour, degradation
    and `notes`. Other programs ignore these.

    Args:
      path: the file.
      network: the network.
      notes: strings about the training, by name.

    Raises:
      ValueError: if the format cannot hold this network, or there is no such format.
      OSError: if the file cannot be written.
    """
    path = paths.local(path, "the weight file")
    arch = network.architecture
    metadata = {
        **(notes or {}),
        "format": "srcnn_jax",
        "kernel_sizes": ",".join(map(str, arch.kernel_sizes)),
        "features": ",".join(map(str, arch.features)),
        "padding": arch.padding,
        "scale": str(network.scale or ""),
        "colour": network.colour,
        "degradation": network.degradation.to_json(),
    }
    content = _ENCODERS[_suffix(path, _ENCODERS)](network, metadata)
    try:
        atomic.write(path, content)
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror or error})") from error


def _suffix(path: Path, known: Iterable[str]) -> str:
    """Returns the suffix of `known` that the file's name ends in; raises ValueError if none."""
    for suffix in known:
        if path.name.lower().endswith(suffix):
            return suffix
    raise ValueError(f"{path}: the name of a weight file ends in {', '.join(known)}")


def _from_metadata(
    params: Mapping[str, Mapping[str, np.ndarray]], metadata: Mapping[str, str]
) -> Network:
    """Makes the network of a file by `save`; raises ValueError if its metadata is incomplete."""
    missing = {"padding", "scale", "colour"} - set(metadata)
    if missing:
        raise ValueError(f"its header does not say the {' and the '.join(sorted(missing))}")
    scale = metadata["scale"]
    return Network(
        params,
        metadata["padding"],
        int(scale) if scale else None,
        metadata["colour"],
        degradation.from_json(metadata["degradation"]) if "degradation" in metadata else RELEASED,
    )


def _from_tensors(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> Network:
    """Makes a network from tensors with PyTorch's names, of our files or of others."""
    params = pytorch.to_params(tensors)
    if metadata.get("format") == "srcnn_jax":
        return _from_metadata(params, metadata)
    channels = params["conv1"]["kernel"].shape[2]
    return Network(params, "same", colour="rgb" if channels == 3 else "y")


def _load_safetensors(path: Path) -> Network:
    card = pretrained.shipped(path)
    if card:
        pretrained.check(card)
    tensors, metadata = safetensors.read(path)
    if not card and "sha256" not in metadata:
        logging.warning("%s has no checksum, so damage to it may go unnoticed", path)
    if metadata.get("format") != "srcnn_jax":
        return _from_tensors(tensors, metadata)
    return _from_metadata(safetensors.to_params(tensors), metadata)


def _encode_mat(network: Network, metadata: Mapping[str, str]) -> bytes:
    del metadata  # the format cannot hold it
    if network.architecture.margin != network.architecture.receptive_field_radius:
        raise ValueError(
            f"the authors' .mat files are for valid padding, not {network.padding!r}: SRCNN.m "
            "repeats the border where this network has zeros (to write the file anyway, "
            "convert with --padding=valid)"
        )
    return matlab.encode(network.params)


_READERS: dict[str, Callable[[Path], Network]] = {
    ".safetensors": _load_safetensors,
    ".mat": lambda path: Network(matlab.read(path), padding="valid"),
    **dict.fromkeys(_TORCH, lambda path: _from_tensors(*pytorch_file.read(path))),
}
_ENCODERS: dict[str, Callable[[Network, dict[str, str]], bytes]] = {
    ".safetensors": lambda network, notes: safetensors.encode(network.params, notes),
    ".mat": _encode_mat,
    **dict.fromkeys(
        _TORCH,
        lambda network, notes: pytorch_file.encode(pytorch.from_params(network.params), notes),
    ),
    ".onnx": lambda network, notes: onnx_export.encode(network.layers, network.architecture, notes),
}
