"""ONNX export: the whole network, borders included, as `predict.predict` applies it."""

from collections.abc import Mapping, Sequence

import numpy as np

from srcnn_jax import architecture

REQUIREMENT = "onnx==1.23.2"  # as in requirements-dev.txt; needed by nothing else
OPSET, IR_VERSION = 13, 8  # old enough for runtimes since 2022


def encode(
    layers: Sequence[Mapping[str, np.ndarray]], padding: str, notes: Mapping[str, str]
) -> bytes:
    """An ONNX model from `image` to `restored`, both float32 (N, C, H, W) in 0..1, of any N, H, W.

    What a valid layer would cut off is added in front of it by a Pad that repeats the border.

    Args:
      layers: {'kernel': (f, f, in, out), 'bias': (out,)} in order.
      padding: as `models.SRCNN`.
      notes: strings for the model's metadata.

    Raises:
      ValueError: if the package `onnx` is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise ValueError(f"ONNX needs a package more: pip install {REQUIREMENT}") from error
    from onnx import TensorProto, helper, numpy_helper

    sizes = [layer["kernel"].shape[0] for layer in layers]
    kinds = architecture.layer_paddings(padding, len(sizes))
    channels = layers[0]["kernel"].shape[2]
    nodes, constants, value = [], [], "image"
    for index, (layer, size, kind) in enumerate(zip(layers, sizes, kinds, strict=True), 1):
        name, last = f"conv{index}", index == len(layers)
        kernel = np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1), np.float32)
        constants.append(numpy_helper.from_array(kernel, f"{name}.weight"))
        bias = np.asarray(layer["bias"], np.float32)
        constants.append(numpy_helper.from_array(bias, f"{name}.bias"))
        border = size // 2
        if kind == "valid" and border:
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
    shape = ["batch", channels, "height", "width"]
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
