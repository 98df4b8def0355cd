"""The work of each contestant of `experiments.bench`, in a process of its own.

    python -m experiments.bench.workers FUNCTION JSON_ARGUMENTS

A function gets the arguments, prepares, and returns a function that works for a number of units. A
unit is a training step, or the restoration of an image. The process then reads numbers of units
from its standard input. It works a little to wake up, and answers with the seconds of the units.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Work = Callable[[int], None]  # does the given number of units
STEPS_PER_DISPATCH = 5
AWAKE = 0.3  # uncounted seconds of work before a measurement: threads that slept share a core


def matrix_product(_: dict[str, Any]) -> Work:
    """NumPy's fp32 matrix product, which times are compared with."""
    from experiments import machine

    return machine.create()


def matrix_product_gpu(arguments: dict[str, Any]) -> Work:
    """JAX's matrix product on the GPU, in the precision that it has by default for the dtype."""
    import jax
    import jax.numpy as jnp

    from experiments.machine import GPU_SIDE

    a = jax.random.normal(jax.random.key(0), (GPU_SIDE, GPU_SIDE)).astype(arguments["dtype"])
    multiply = jax.jit(jnp.matmul)

    def work(count: int) -> None:
        for _ in range(count):
            product = multiply(a, a)
        product.block_until_ready()

    return work


def train_ours(arguments: dict[str, Any]) -> Work:
    """The project's own train step, devices, prefetch and tf.data pipeline."""
    from srcnn_jax import parallel, runtime, train, train_step

    config = _config(arguments)
    runtime.start(config.train.batch_size, 0)
    devices = parallel.choose_devices(config.train.batch_size, 0)
    source = train.load_data(config).source
    run, batches = train_step.create_steps(config, source, devices, range(10**9))
    state = parallel.replicate(train_step.create_train_state(config), devices)

    def work(count: int) -> None:
        nonlocal state
        for _ in range(-(-count // config.train.steps_per_dispatch)):
            state, losses = run(state, next(batches))
            losses.block_until_ready()

    return work


def update_ours(arguments: dict[str, Any]) -> Work:
    """The optimiser alone, replicated as in a training; a unit is an update of the weights.

    The gradients are random: their values do not matter for the time.
    """
    import jax

    from srcnn_jax import parallel, runtime, train_step

    config = _config(arguments)
    config.optimizer.preconditioner.update_every = arguments["update_every"]
    runtime.start(config.train.batch_size, 0)
    devices = parallel.choose_devices(config.train.batch_size, 0)
    state = train_step.create_train_state(config)
    shape = (len(devices), config.train.steps_per_dispatch)
    random = np.random.default_rng(0)
    gradients = jax.tree.map(
        lambda p: random.standard_normal((*shape, *p.shape), np.float32), state.params
    )
    state = parallel.replicate(state, devices)

    def updates(state, gradients, _):
        return jax.lax.scan(lambda s, g: (s.apply_gradients(grads=g), s.step), state, gradients)

    run = parallel.pmap_steps(updates, devices)

    def work(count: int) -> None:
        nonlocal state
        for _ in range(-(-count // config.train.steps_per_dispatch)):
            state, steps = run(state, gradients, None)
            steps.block_until_ready()

    return work


def train_at_once(arguments: dict[str, Any]) -> Work:
    """Several networks at once on one device, each with its seed; a unit is a step of one."""
    import jax

    from experiments.sweep.vmap import training
    from srcnn_jax import parallel, runtime, train

    runtime.cache_compilations()
    configs = [_config(arguments) for _ in range(arguments["networks"])]
    for seed, config in enumerate(configs):
        config.seed = seed
    device = jax.local_devices()[0]
    source = train.load_data(configs[0]).source
    run, batches = training.create_steps(configs, source, device, range(10**9))
    states = parallel.replicate(training.create_states(configs), [device])

    def work(count: int) -> None:
        nonlocal states
        for _ in range(-(-count // (configs[0].train.steps_per_dispatch * len(configs)))):
            states, losses = run(states, next(batches))
            losses.block_until_ready()

    return work


def _config(arguments: dict[str, Any]):
    from configs import default

    config = default.get_config(f"x3,{arguments['padding']}")
    config.update_from_flattened_dict(
        {
            "model.kernel_sizes": tuple(arguments["kernel_sizes"]),
            "model.features": tuple(arguments["features"]),
            "data.patch_size": arguments["patch_size"],
            "data.context": arguments["context"] > 0,
            "train.batch_size": arguments["batch_size"],
            "optimizer.precondition": arguments["precondition"],
            "optimizer.learning_rate": 1e-4,
            "train.steps_per_dispatch": arguments.get("steps_per_dispatch", STEPS_PER_DISPATCH),
            "model.dtype": arguments.get("dtype", "float32"),
        }
    )
    return config


def train_torch(arguments: dict[str, Any]) -> Work:
    """PyTorch, channels last, on one batch in memory (no data pipeline at all)."""
    import torch

    torch.set_num_threads(arguments["cores"])
    torch.manual_seed(0)
    network = _torch_network(arguments).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 1e-4, momentum=0.9)
    side = arguments["patch_size"] + 2 * arguments["context"]
    x = torch.rand(arguments["batch_size"], 1, side, side).to(memory_format=torch.channels_last)
    y = torch.rand_like(network(x).detach())

    def loss_of(x, y):
        return torch.nn.functional.mse_loss(network(x), y)

    loss_fn = torch.compile(loss_of) if arguments["compile"] else loss_of

    def work(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad(set_to_none=True)
            loss_fn(x, y).backward()
            optimizer.step()

    return work


def train_torch_gpu(arguments: dict[str, Any]) -> Work:
    """PyTorch on the GPU: a step as one CUDA graph, on one batch that lies there."""
    import torch

    _torch_on_gpu(tf32=True)
    torch.manual_seed(0)
    network = _torch_network(arguments).to("cuda", memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 1e-4, momentum=0.9, fused=True)
    side = arguments["patch_size"] + 2 * arguments["context"]
    x = torch.rand(arguments["batch_size"], 1, side, side, device="cuda")
    x = x.to(memory_format=torch.channels_last)
    y = torch.rand_like(network(x).detach())
    half = arguments["dtype"] == "bfloat16"

    def loss_of(x, y):
        with torch.autocast("cuda", torch.bfloat16, enabled=half):
            predictions = network(x)
        return torch.nn.functional.mse_loss(predictions.float(), y)

    loss_fn = torch.compile(loss_of, dynamic=False) if arguments["compile"] else loss_of

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_fn(x, y).backward()
        optimizer.step()

    aside = torch.cuda.Stream()
    with torch.cuda.stream(aside):  # warm up as PyTorch's manual says
        for _ in range(5):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    def work(count: int) -> None:
        for _ in range(count):
            graph.replay()
        torch.cuda.synchronize()

    return work


def _torch_on_gpu(tf32: bool) -> None:
    """Gives PyTorch its fastest settings for convolutions."""
    import torch

    if not torch.cuda.is_available():
        raise ImportError("PyTorch sees no GPU")
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32


def _torch_network(arguments: dict[str, Any]):
    from torch import nn

    first, middle, last = arguments["kernel_sizes"]
    n1, n2 = arguments["features"]
    padding = "same" if arguments["padding"] == "same" and not arguments.get("context") else 0
    layers = [nn.Conv2d(1, n1, first, padding=padding), nn.ReLU()]
    layers += [nn.Conv2d(n1, n2, middle, padding=padding), nn.ReLU()]
    layers += [nn.Conv2d(n2, 1, last, padding=padding)]
    if arguments.get("context"):
        _mask(layers, arguments)
    return nn.Sequential(*layers)


def _mask(layers: list, arguments: dict[str, Any]) -> None:
    """Puts the masks of windows into a network, as `srcnn_jax.models.SRCNN` has them."""
    import torch
    from torch import nn

    class Mask(nn.Module):
        def __init__(self, side: int):
            super().__init__()
            self.register_buffer("inside", torch.ones(arguments["batch_size"], 1, side, side))

        def forward(self, x):
            return x * self.inside

    side = arguments["patch_size"] + 2 * arguments["context"]
    for index in (1, 3):
        side -= arguments["kernel_sizes"][index // 2] - 1
        if arguments["kernel_sizes"][index // 2 + 1] > 1:
            layers[index] = nn.Sequential(layers[index], Mask(side))


def predict_ours(arguments: dict[str, Any]) -> Work:
    """`srcnn_jax.predict` as the commands use it."""
    from srcnn_jax import runtime, weights
    from srcnn_jax.predict import predict

    runtime.start_alone()
    network = weights.load(arguments["weights"])
    x = _picture(arguments)

    def work(count: int) -> None:
        for _ in range(count):
            predict(network, x)

    return work


def predict_torch(arguments: dict[str, Any]) -> Work:
    """PyTorch, channels last; 'valid' networks on the image padded once, which costs the least."""
    import torch

    torch.set_num_threads(arguments["cores"])
    return _torch_restorer(arguments, "cpu")


def predict_torch_gpu(arguments: dict[str, Any]) -> Work:
    """As `predict_torch`, on the GPU; the image is in the machine's memory before and after."""
    _torch_on_gpu(arguments["tf32"])
    return _torch_restorer(arguments, "cuda")


def _torch_restorer(arguments: dict[str, Any], device: str) -> Work:
    import torch

    from srcnn_jax import weights

    trained = weights.load(arguments["weights"])
    network = _torch_network(arguments).to(memory_format=torch.channels_last).eval()
    tensors = {}
    for index, values in enumerate(trained.layers):
        kernel = np.ascontiguousarray(values["kernel"].transpose(3, 2, 0, 1))
        tensors[f"{2 * index}.weight"] = torch.from_numpy(kernel)
        tensors[f"{2 * index}.bias"] = torch.from_numpy(values["bias"].copy())
    network.load_state_dict(tensors)
    network.to(device)
    margin = trained.architecture.margin
    x = torch.from_numpy(_picture(arguments).transpose(2, 0, 1)[None])
    x = x.to(memory_format=torch.channels_last)

    def work(count: int) -> None:
        with torch.inference_mode():
            for _ in range(count):
                image = x.to(device)
                if margin:
                    image = torch.nn.functional.pad(image, [margin] * 4, mode="replicate")
                network(image).cpu()

    return work


def predict_onnxruntime(arguments: dict[str, Any]) -> Work:
    """onnxruntime on the exported network, threads not spinning between calls."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = arguments["cores"]
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        arguments["onnx"], settings, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    x = np.ascontiguousarray(_picture(arguments).transpose(2, 0, 1)[None])

    def work(count: int) -> None:
        for _ in range(count):
            session.run(None, {name: x})

    return work


def predict_openvino(arguments: dict[str, Any]) -> Work:
    """OpenVINO on the exported network, in float32, its shape fixed."""
    import openvino

    x = np.ascontiguousarray(_picture(arguments).transpose(2, 0, 1)[None])
    core = openvino.Core()
    model = core.read_model(arguments["onnx"])
    model.reshape(list(x.shape))
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": arguments["cores"],
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()

    def work(count: int) -> None:
        for _ in range(count):
            request.infer({0: x})

    return work


def predict_opencv(arguments: dict[str, Any]) -> Work:
    """OpenCV's dnn module on the exported network."""
    import cv2

    cv2.setNumThreads(arguments["cores"])
    network = cv2.dnn.readNetFromONNX(arguments["onnx"])
    x = np.ascontiguousarray(_picture(arguments).transpose(2, 0, 1)[None])

    def work(count: int) -> None:
        for _ in range(count):
            network.setInput(x)
            network.forward()

    return work


def _picture(arguments: dict[str, Any]) -> np.ndarray:
    """Noise, float32 (height, width, 1)."""
    size = arguments["height"], arguments["width"], 1
    return np.random.default_rng(0).random(size, np.float32)


def _has_gpu() -> bool:
    import jax

    return jax.default_backend() == "gpu"


def main(function: str, arguments: str) -> None:
    try:
        chosen = json.loads(arguments)
        work = globals()[function](chosen)
        if chosen.get("gpu") and "jax" in sys.modules and not _has_gpu():
            raise ImportError("JAX sees no GPU")
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), flush=True)
        return
    work(STEPS_PER_DISPATCH)  # compiles, fills caches
    print(json.dumps({}), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        while time.perf_counter() - start < AWAKE:
            work(1)
        start = time.perf_counter()
        work(int(line))
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
