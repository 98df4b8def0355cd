"""Restoring an image in memory: ours beside PyTorch, onnxruntime, OpenVINO and OpenCV."""

import itertools
import pathlib
import tempfile
from typing import Any

from configs import default
from experiments.bench.compare import (
    CPU,
    NETWORKS,
    TUNED,
    Competition,
    Contestant,
    case_of,
    compete,
    compete_after_all_prepared,
    layer_flop,
    name_of,
    on_gpu,
    product_on_gpu,
)

SIZES = ((510, 510), (1080, 1920))  # height and width


def benchmark_prediction(rounds: int, gpu: bool) -> list[dict[str, Any]]:
    """Images of 510 x 510 and 1920 x 1080, with zero and with replicate borders.

    On the GPU too, the image is in the machine's memory before and after.
    """
    with tempfile.TemporaryDirectory() as folder:
        cases = []
        for network, padding in itertools.product(NETWORKS, ("same", "valid")):
            words = f"x3,{network},{padding}"
            files = _save_untrained(pathlib.Path(folder, f"{network}_{padding}"), words)
            for height, width in SIZES:
                case = {**case_of(words), **files, "height": height, "width": width, "gpu": gpu}
                cases.append(case)
        if gpu:
            return compete_after_all_prepared([_create_on_gpu(case) for case in cases], rounds)
        # One by one: the contestants of all together would not fit into the memory.
        return [compete(_create_on_cpu(case), rounds) for case in cases]


def _title(case: dict[str, Any]) -> str:
    return f"restoring {case['width']}x{case['height']}, {name_of(case)}, {case['padding']}"


def _flop(case: dict[str, Any]) -> float:
    return sum(layer_flop(case, "same", case["height"], case["width"]))


def _create_on_cpu(case: dict[str, Any]) -> Competition:
    contestants = {
        "ours": Contestant("predict_ours", case, CPU),
        "PyTorch, tuned": Contestant("predict_torch", case, TUNED),
        "onnxruntime": Contestant("predict_onnxruntime", case),
        "OpenVINO": Contestant("predict_openvino", case),
        "OpenCV": Contestant("predict_opencv", case),
    }
    return Competition(_title(case), contestants, 5, _flop(case))


def _create_on_gpu(case: dict[str, Any]) -> Competition:
    contestants = {
        "ours, float32": Contestant("predict_ours", case, on_gpu()),
        "PyTorch, float32": Contestant("predict_torch_gpu", case | {"tf32": False}, on_gpu()),
        "PyTorch, TF32": Contestant("predict_torch_gpu", case | {"tf32": True}, on_gpu()),
    }
    return Competition(_title(case), contestants, 20, _flop(case), product_on_gpu("float32"))


def _save_untrained(stem: pathlib.Path, words: str) -> dict[str, str]:
    """Saves an untrained network; returns its files, {'weights': ..., 'onnx': ...}.

    The ONNX file, for peers, has zero borders in any case, which costs them the least.
    """
    import jax
    import numpy as np

    from srcnn_jax import convert, weights
    from srcnn_jax.models import create_model

    jax.config.update("jax_platforms", "cpu")  # the GPU's memory is for the others
    config = default.get_config(words)
    config.model.initializer = "he"
    side = config.data.patch_size
    params = create_model(config).init(jax.random.key(0), np.zeros((1, side, side, 1)))
    params = jax.tree.map(np.asarray, params["params"])
    path, onnx = stem.with_suffix(".safetensors"), stem.with_suffix(".onnx")
    weights.save(path, weights.Network(params, "same", 3))
    try:
        convert.convert(path, onnx)
    except ValueError as error:
        print(f"no ONNX peers: {error}")
    weights.save(path, weights.Network(params, config.model.padding, 3))
    return {"weights": str(path), "onnx": str(onnx)}
