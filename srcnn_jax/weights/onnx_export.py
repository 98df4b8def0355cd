"""ONNX export: the whole network, borders included, as `predict.predict` applies it."""

from collections.abc import Mapping, Sequence

import numpy as np

from srcnn_jax.architecture import Architecture

REQUIREMENT = "onnx==1.23.2"  # as in requirements-dev.txt; only this file needs it
OPSET, IR_VERSION = 13, 8  # runtimes since 2022 can read these


def encode(
    layers: Sequence[Mapping[str, np.ndarray]], arch: Architecture, notes: Mapping[str, str]
) -> bytes:
    """Returns an ONNX model from `image` to `restored`, both float32 (N, C, H, W) with any N, H, W.

    `image` is in 0..1, and `restored` is not clipped. A valid layer would remove pixels at the
    border, so a Pad in front of it repeats the border.

    Args:
      layers: {'kernel': (f, f, in, out), 'bias': (out,)} of each layer, in order.
      arch: the architecture of the layers.
      notes: strings for the model's metadata, by name.

    Returns:
      The bytes of the model.

    Raises:
      ValueError: if the package `onnx` is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise ValueError(f"ONNX needs another package: pip install {REQUIREMENT}") from error
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants, value = [], [], "image"
    each = zip(layers, arch.kernel_sizes, arch.paddings, strict=True)
    for index, (layer, size, padding) in enumerate(each, 1):
        name, last = f"conv{index}", index == len(layers)
        kernel = np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1), np.float32)
        constants.append(numpy_helper.from_array(kernel, f"{name}.weight"))
        bias = np.asarray(layer["bias"], np.float32)
        constants.append(numpy_helper.from_array(bias, f"{name}.bias"))
        border = size // 2
        if padding == "valid" and border:
            pads = np.array([0, 0, border, border] * 2, np.int64)
            constants.append(numpy_helper.from_array(pads, f"{name}.margin"))
            pad = helper.make_node("Pad", [value, f"{name}.margin"], [f"{name}.in"], mode="edge")
            nodes.append(pad)
            value, border = f"{name}.in", 0
        inputs, output = [value, f"{name}.weight", f"{name}.bias"], "restored" if last else name
        nodes.append(helper.make_node("Conv", inputs, [output], name=name, pads=[border] * 4))
        value = output
        if not last:
            value = f"relu{index}"
            nodes.append(helper.make_node("Relu", [name], [value]))
    shape: list[str | int | None] = ["batch", arch.channels, "height", "width"]
    source, target = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name in ("image", "restored")
    )
    model = helper.make_model(
        helper.make_graph(nodes, "SRCNN", [source], [target], constants),
        producer_name="srcnn_jax",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, dict(notes))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()
