"""Converts between our names and order of axes and PyTorch's."""

import itertools
import re
from collections.abc import Mapping

import ml_dtypes
import numpy as np

Params = dict[str, dict[str, np.ndarray]]  # {'conv1': {'kernel': (f, f, in, out), 'bias': (out,)}}

STAGES = (  # names of the three layers by the paper's terms, in the spellings of repositories
    ("features", "feature", "extraction", "patch_extraction", "feature_extraction"),
    ("map", "mapping", "remap", "non_linear_mapping"),
    ("reconstruction", "reconstruct"),
)


def to_params(tensors: Mapping[str, np.ndarray]) -> Params:
    """Converts PyTorch's names and order of axes to ours.

    Layers may have the names conv1, conv2, ..., or numbers as in an `nn.Sequential`, or the paper's
    three terms (`STAGES`). Prefixes that all names share, such as `module.`, are removed. The 0 of
    a layer that is the first in its own Sequential is removed, too.

    Args:
      tensors: '<layer>.weight' (out, in, f, f) and '<layer>.bias' (out,), of any float dtype.

    Returns:
      {'conv1': {'kernel': (f, f, in, out), 'bias': (out,)}, ...}, float32.

    Raises:
      ValueError: if a tensor is missing, unknown or of a wrong shape; the message names it.
    """
    if not tensors:
        raise ValueError("it holds no tensors")
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, value in tensors.items():
        layer, _, kind = name.rpartition(".")
        if not layer or kind not in ("weight", "bias"):
            raise ValueError(f"{name} is no layer's weight or bias")
        if value.dtype.kind != "f" and value.dtype != ml_dtypes.bfloat16:
            raise ValueError(f"{name} holds {value.dtype}, not floating-point numbers")
        with np.errstate(over="ignore"):  # overflow gives infinity, which `Network` refuses
            layers.setdefault(layer, {})[kind] = value.astype(np.float32)
    params: Params = {}
    for index, layer in enumerate(_in_order(list(layers))):
        missing = {"weight", "bias"} - set(layers[layer])
        if missing:
            raise ValueError(f"there is no {layer}.{missing.pop()}")
        weight, bias = layers[layer]["weight"], layers[layer]["bias"]
        if weight.ndim != 4 or weight.shape[2] != weight.shape[3] or bias.shape != weight.shape[:1]:
            raise ValueError(
                f"{layer} has a weight of shape {weight.shape} and a bias of shape {bias.shape}, "
                "not (out, in, f, f) and (out,)"
            )
        kernel = np.ascontiguousarray(weight.transpose(2, 3, 1, 0))
        params[f"conv{index + 1}"] = {"kernel": kernel, "bias": bias}
    return params


def _in_order(layers: list[str]) -> list[str]:
    """Sorts the layers' names from first to last by the names themselves.

    The order in the file does not count, because safetensors does not keep it.

    Raises:
      ValueError: if the names do not tell the order, or a layer is missing.
    """
    parts = [layer.split(".") for layer in layers]
    same = itertools.takewhile(lambda words: len(set(words)) == 1, zip(*parts, strict=False))
    shared = min(len(list(same)), min(map(len, parts)) - 1)
    positions = [_position(".".join(part[shared:]).removesuffix(".0")) for part in parts]
    names = dict(zip(positions, layers, strict=True))
    styles = {style for style, _ in positions}
    if len(names) < len(layers) or len(styles) > 1 or "" in styles:
        raise ValueError(
            f"its layers are {', '.join(layers)}; known are conv1, conv2, ..., the numbers of a "
            f"Sequential, and {', '.join(words[0] for words in STAGES)}"
        )
    known = {position for _, position in positions}
    for number in range(1, len(layers) + 1):
        if "number" not in styles and number not in known:
            raise ValueError(f"of its layers, {', '.join(layers)}, number {number} is missing")
    return [names[position] for position in sorted(positions)]


def _position(name: str) -> tuple[str, int]:
    """Returns the style of a layer's short name ('' if unknown) and its position in that style."""
    if match := re.fullmatch(r"(conv)?([0-9]{1,9})", name):
        return match[1] or "number", int(match[2])
    for position, words in enumerate(STAGES):
        if name in words:
            return "stage", position + 1
    return "", 0


def from_params(params: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The inverse of `to_params`: {'conv1.weight': (out, in, f, f), 'conv1.bias': (out,), ...}."""
    tensors = {}
    for index in range(1, len(params) + 1):
        layer = params[f"conv{index}"]
        tensors[f"conv{index}.weight"] = layer["kernel"].transpose(3, 2, 0, 1)
        tensors[f"conv{index}.bias"] = layer["bias"]
    return tensors
