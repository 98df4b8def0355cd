"""How fast it is, beside whatever peers are installed (requirements-bench.txt), interleaved.

    python -m experiments.bench train|ensemble|predict|pipeline|startup [--rounds=N] [--output=FILE]
    python -m experiments.bench train|ensemble|predict --gpu

Every contestant is a process of its own (`workers.py`) that waits while the others work. A
round gives each the same number of units in turn, after a third of a second that is not counted,
and NumPy's matrix product too. What is printed is the median over the rounds with its quartiles,
the ratio to the best peer, and the fraction of the measured matrix-product rate. With --gpu, ours
and PyTorch are on one GPU, the first, and so is the matrix product, of the same precision; without,
all are on the CPU, also where there is a GPU. Times of different machines, or of two runs, do not
compare; ratios do.
"""

import argparse
import contextlib
import functools
import itertools
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import machine, runner

# PyTorch takes a third longer with the allocator's default habit of giving memory back at once.
TUNED = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
}
CPU = {"JAX_PLATFORMS": "cpu"}
GPU_BATCHES = (128, 1024, 4096)
PRECISIONS = {"float32": "TF32", "bfloat16": "bfloat16"}  # on a GPU, as JAX and PyTorch use them
NETWORKS = ((9, 1, 5), (9, 5, 5))
FEATURES = (64, 32)


@functools.cache
def on_gpu() -> dict[str, str]:
    """The environment of a worker on the first GPU."""
    return {
        "CUDA_VISIBLE_DEVICES": next(iter(runner.list_gpus()), ""),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # which would leave nothing for the others
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # of many that compile side by side
    }


class Worker:
    """A contestant's process."""

    def __init__(self, function: str, arguments: Mapping[str, Any], environment=None):
        from srcnn_jax.parallel import available_cores  # loads JAX, which --help does not need

        arguments = {"cores": available_cores(), **arguments}
        command = [sys.executable, "-m", "experiments.bench.workers", function]
        command.append(json.dumps(arguments))
        self._command = shlex.join(command[1:])
        self._process = subprocess.Popen(
            command,
            cwd=runner.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **(environment or {})},
        )

    @functools.cached_property
    def missing(self) -> str | None:
        """Why it cannot take part, if so; waits until it has prepared."""
        return self._answer().get("missing")

    def seconds(self, units: int) -> float:
        """Lets it work; seconds for one unit."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{units}\n")
            self._process.stdin.flush()
        answer = self._answer()
        if "seconds" not in answer:
            sys.exit(f"error: {self._command} has ended; run it to see why")
        return answer["seconds"] / units

    def peak_memory(self) -> int:
        """Bytes of memory that it has had at most (Linux)."""
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"missing": "it ended"}


def product_on_gpu(dtype: str) -> Worker:
    """What the rates of a GPU are compared with."""
    return Worker("matrix_product_gpu", {"dtype": dtype, "gpu": True}, on_gpu())


def compete(
    title: str,
    contestants: Mapping[str, Worker],
    units: int,
    rounds: int,
    flop: float,
    product: Worker | None = None,
) -> dict[str, Any]:
    """Runs the rounds and prints the table; names that begin with 'ours' are not peers.

    Args:
      title: of the table.
      contestants: their processes by name; stopped at the end.
      units: of work in a round.
      rounds: how many.
      flop: floating-point operations of one unit, counted for direct convolution.
      product: the worker for the matrix product; NumPy's by default.
    """
    from srcnn_jax.parallel import available_cores

    side = machine.SIDE if product is None else machine.GPU_SIDE
    product = product or Worker("matrix_product", {})
    if product.missing:
        sys.exit(f"error: no matrix product: {product.missing}")
    present = {name: worker for name, worker in contestants.items() if not worker.missing}
    times: dict[str, list[float]] = {name: [] for name in present}
    products = []
    for _ in range(rounds):
        products.append(product.seconds(5))
        for name, worker in present.items():
            times[name].append(worker.seconds(units))
    for worker in (product, *contestants.values()):
        worker.stop()
    rate = 2 * side**3 / statistics.median(products)
    peers = [statistics.median(each) for name, each in times.items() if not name.startswith("ours")]
    print(f"\n{title}\nmatrix product {rate / 1e9:.0f} GF/s, {rounds} rounds of {units}")
    result: dict[str, Any] = {
        "title": title,
        "cores": available_cores(),
        "matrix_product_gflops": rate / 1e9,
        "contestants": {},
    }
    for name, worker in contestants.items():
        if worker.missing:
            print(f"  {name:28} missing: {worker.missing}")
            continue
        low, median, high = statistics.quantiles(times[name], n=4)
        ratio = min(peers) / median if peers else None
        print(
            f"  {name:28} {1e3 * median:8.3g} ms ({1e3 * low:.3g} to {1e3 * high:.3g})  "
            f"{f'{ratio:5.2f} x best peer' if ratio else ''}  "
            f"{flop / median / rate:4.0%} of the matrix product"
        )
        result["contestants"][name] = {
            "median_ms": 1e3 * median,
            "times_over_best_peer": ratio,
            "of_matrix_product": flop / median / rate,
            "times_ms": [1e3 * seconds for seconds in times[name]],
        }
    return result


def compete_on_gpu(competitions: Sequence[tuple]) -> list[dict[str, Any]]:
    """`compete` for each tuple of arguments, once all contestants have prepared: most compile."""
    for _, contestants, *_, product in competitions:
        for worker in (*contestants.values(), product):
            worker.missing  # noqa: B018
    return [compete(*each) for each in competitions]


def layer_flop(kernel_sizes, padding: str, height: int, width: int) -> list[float]:
    """Multiplications and additions of each layer's forward pass over (height, width)."""
    widths = (1, *FEATURES, 1)
    flop = []
    for index, size in enumerate(kernel_sizes):
        if padding == "valid":
            height, width = height - size + 1, width - size + 1
        flop.append(2.0 * height * width * size**2 * widths[index] * widths[index + 1])
    return flop


def _training_flop(kernel_sizes, padding: str, patch: int, batch: int) -> float:
    """Of a training step: forward, and two products back for each layer but the first, whose input
    needs no gradient."""
    first, *others = layer_flop(kernel_sizes, padding, patch, patch)
    return batch * (2 * first + 3 * sum(others))


def train(rounds: int, gpu: bool) -> list[dict[str, Any]]:
    """A training step, on the GPU or the CPU."""
    return train_gpu(rounds) if gpu else train_cpu(rounds)


def train_cpu(rounds: int) -> list[dict[str, Any]]:
    """128 patches of 33 x 33, valid, and the default's 64 of 45 x 45, same."""
    results = []
    cases = [(net, *case) for net in NETWORKS for case in (("valid", 33, 128), ("same", 45, 64))]
    for kernel_sizes, padding, patch, batch in cases:
        case = {
            "kernel_sizes": kernel_sizes,
            "padding": padding,
            "patch_size": patch,
            "batch_size": batch,
        }
        contestants = {
            "ours, SGD": Worker("train_ours", {**case, "precondition": False}, CPU),
            "ours, preconditioned": Worker("train_ours", {**case, "precondition": True}, CPU),
            "PyTorch, tuned": Worker("train_torch", {**case, "compile": False}, TUNED),
            "PyTorch, compiled, tuned": Worker("train_torch", {**case, "compile": True}, TUNED),
        }
        flop = _training_flop(kernel_sizes, padding, patch, batch)
        name = "-".join(map(str, kernel_sizes))
        title = f"training step, {name}, {padding}, {batch} patches of {patch}"
        results.append(compete(title, contestants, 20, rounds, flop))
    return results


def train_gpu(rounds: int) -> list[dict[str, Any]]:
    """Patches of 33 x 33, valid, in batches of several sizes, in both precisions.

    PyTorch has channels last, cuDNN's search for the fastest algorithms, and the whole step as one
    CUDA graph.
    """
    results = []
    for kernel_sizes in NETWORKS:
        results += compete_on_gpu(_training_on_gpu(kernel_sizes, rounds))
    return results


def _training_on_gpu(kernel_sizes: tuple[int, ...], rounds: int) -> list[tuple]:
    """The arguments of `compete` for every batch size and precision."""
    competitions = []
    for batch, dtype in itertools.product(GPU_BATCHES, PRECISIONS):
        case = {
            "kernel_sizes": kernel_sizes,
            "padding": "valid",
            "patch_size": 33,
            "batch_size": batch,
            "dtype": dtype,
            "steps_per_dispatch": max(10, 12_800 // batch),
            "gpu": True,
        }
        contestants = {
            "ours, SGD": Worker("train_ours", {**case, "precondition": False}, on_gpu()),
            "ours, preconditioned": Worker("train_ours", {**case, "precondition": True}, on_gpu()),
            "PyTorch": Worker("train_torch_gpu", {**case, "compile": False}, on_gpu()),
            "PyTorch, compiled": Worker("train_torch_gpu", {**case, "compile": True}, on_gpu()),
        }
        product = product_on_gpu(dtype)
        flop = _training_flop(kernel_sizes, "valid", 33, batch)
        name = "-".join(map(str, kernel_sizes))
        title = f"training step on the GPU, {name}, valid, {batch} patches, {PRECISIONS[dtype]}"
        units = case["steps_per_dispatch"]
        competitions.append((title, contestants, units, rounds, flop, product))
    return competitions


def ensemble(rounds: int, gpu: bool) -> list[dict[str, Any]]:
    """Networks that train at once by `vmap`, beside one on all devices; as Markdown too."""
    case = {"kernel_sizes": (9, 1, 5), "padding": "same", "patch_size": 45, "batch_size": 64}
    case |= {"precondition": True, "gpu": gpu, "steps_per_dispatch": 50 if gpu else 5}
    where = on_gpu() if gpu else CPU
    contestants = {"ours, one by one, all devices": Worker("train_ours", case, where)}
    for networks in (1, 4, 16, 64):
        worker = Worker("train_ensemble", {**case, "networks": networks}, where)
        contestants[f"ours, {networks} at once, one device"] = worker
    title = "a network's training step, 9-1-5, same, 64 patches of 45"
    flop = _training_flop((9, 1, 5), "same", 45, 64)
    product = product_on_gpu("float32") if gpu else None
    result = compete(title, contestants, 3200 if gpu else 320, rounds, flop, product)
    print("\n| networks | patches/s in all |\n|---|---|")
    for name, each in result["contestants"].items():
        print(f"| {name.removeprefix('ours, ')} | {64e3 / each['median_ms']:,.0f} |")
    return [result]


def predict(rounds: int, gpu: bool) -> list[dict[str, Any]]:
    """Restoring an image in memory, at 510 x 510 and 1920 x 1080, zero and replicate borders.

    On the GPU too, the image is in the machine's memory before and after.
    """
    waiting = []
    with tempfile.TemporaryDirectory() as folder:
        for kernel_sizes, padding in itertools.product(NETWORKS, ("same", "valid")):
            name = "-".join(map(str, kernel_sizes))
            files = _untrained(pathlib.Path(folder, f"{name}_{padding}"), kernel_sizes, padding)
            for height, width in ((510, 510), (1080, 1920)):
                case = {
                    **files,
                    "kernel_sizes": kernel_sizes,
                    "padding": padding,
                    "height": height,
                    "width": width,
                    "gpu": gpu,
                }
                flop = sum(layer_flop(kernel_sizes, "same", height, width))
                title = f"restoring {width}x{height}, {name}, {padding}"
                waiting.append((title, case, flop))
        if gpu:
            return compete_on_gpu(
                [
                    (
                        title,
                        {
                            "ours, float32": Worker("predict_ours", case, on_gpu()),
                            "PyTorch, float32": Worker(
                                "predict_torch_gpu", case | {"tf32": False}, on_gpu()
                            ),
                            "PyTorch, TF32": Worker(
                                "predict_torch_gpu", case | {"tf32": True}, on_gpu()
                            ),
                        },
                        20,
                        rounds,
                        flop,
                        product_on_gpu("float32"),
                    )
                    for title, case, flop in waiting
                ]
            )
        return [
            compete(
                title,
                {
                    "ours": Worker("predict_ours", case, CPU),
                    "PyTorch, tuned": Worker("predict_torch", case, TUNED),
                    "onnxruntime": Worker("predict_onnxruntime", case),
                    "OpenVINO": Worker("predict_openvino", case),
                    "OpenCV": Worker("predict_opencv", case),
                },
                5,
                rounds,
                flop,
            )
            for title, case, flop in waiting
        ]


def _untrained(stem: pathlib.Path, kernel_sizes, padding: str) -> dict[str, str]:
    """Weight files of an untrained network: {'weights': ..., 'onnx': ...}.

    The peers of the ONNX file have zero borders in any case, which costs them the least.
    """
    import jax
    import numpy as np

    from configs import default
    from srcnn_jax import convert, weights
    from srcnn_jax.train import create_model

    jax.config.update("jax_platforms", "cpu")  # the GPU's memory is for the others
    config = default.get_config(f"x3,{padding}")
    config.model.kernel_sizes, config.model.initializer = kernel_sizes, "he"
    params = create_model(config).init(jax.random.key(0), np.zeros((1, 33, 33, 1)))
    params = jax.tree.map(np.asarray, params["params"])
    path, onnx = stem.with_suffix(".safetensors"), stem.with_suffix(".onnx")
    weights.save(path, weights.Network(params, "same", 3))
    try:
        convert.convert(path, onnx)
    except ValueError as error:
        print(f"no ONNX peers: {error}")
    weights.save(path, weights.Network(params, padding, 3))
    return {"weights": str(path), "onnx": str(onnx)}


def pipeline(rounds: int, gpu: bool) -> list[dict[str, Any]]:
    """Training through tf.data against one fixed batch: `pipeline_overhead.py`."""
    del gpu
    command = [sys.executable, "-m", "experiments.bench.pipeline"]
    command += ["--config=configs/default.py:x3", f"--pairs={rounds}"]
    done = subprocess.run(command, cwd=runner.ROOT, stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout, end="")
    return [{"title": "pipeline over fixed batch", "output": done.stdout.strip()}]


def startup(rounds: int, gpu: bool) -> list[dict[str, Any]]:
    """Seconds from a command to its answer, with an empty and with a filled compilation cache."""
    del gpu
    python = [sys.executable]
    picture = "experiments/results/before_bicubic_srcnn.png"
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        upscale = [*python, "-m", "srcnn_jax.upscale", picture, "--scale=2", f"-o={folder}/a.png"]
        cases = {
            "import srcnn_jax": [*python, "-c", "import srcnn_jax"],
            "main --help": [*python, "-m", "srcnn_jax.main", "--help"],
            "upscale --help": [*python, "-m", "srcnn_jax.upscale", "--help"],
            "upscale, nothing compiled": upscale,
            "upscale again": upscale,
            "main to its first steps, nothing compiled": None,
            "main to its first steps, again": None,
        }
        for name, command in cases.items():
            seconds = []
            for index in range(rounds):
                new = f"{folder}/cache{index}" if "nothing compiled" in name else f"{folder}/cache0"
                environment = {**runner.uncached(), "XDG_CACHE_HOME": new}
                start = time.perf_counter()
                if command:
                    subprocess.run(
                        command,
                        cwd=runner.ROOT,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                        env=environment,
                    )
                else:
                    _train_first_steps(pathlib.Path(folder, f"{name}{index}"), environment)
                seconds.append(time.perf_counter() - start)
            low, median, high = statistics.quantiles(seconds, n=4)
            print(f"  {name:42} {median:6.2f} s ({low:.2f} to {high:.2f})")
            results.append({"title": name, "seconds": seconds})
    return results


def _train_first_steps(folder: pathlib.Path, environment: Mapping[str, str]) -> None:
    """Starts a training and kills it when it prints its first loss."""
    training = runner.Training("configs/default.py:x3,runlocal", folder, {"train.log_every": 10})
    with runner.start(
        training, environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "loss" in line:
                process.kill()
                break


def main() -> None:
    benchmarks = {
        "train": train,
        "ensemble": ensemble,
        "predict": predict,
        "pipeline": pipeline,
        "startup": startup,
    }
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("benchmark", choices=benchmarks)
    parser.add_argument("--rounds", type=int, default=9, help="(default: %(default)s)")
    parser.add_argument("--gpu", action="store_true", help="train, ensemble, predict on the GPU")
    parser.add_argument("--output", type=pathlib.Path, help="JSON file to write, with all times")
    choices = parser.parse_args()
    if choices.rounds < 2:
        parser.error(f"--rounds is at least 2, for a spread, not {choices.rounds}")
    if choices.gpu and choices.benchmark in ("pipeline", "startup"):
        parser.error(f"--gpu is for train, ensemble and predict, not for {choices.benchmark}")
    if choices.gpu and not runner.list_gpus():
        parser.error("--gpu needs an NVIDIA GPU, and `nvidia-smi -L` lists none")
    results = benchmarks[choices.benchmark](choices.rounds, choices.gpu)
    if choices.output:
        choices.output.write_text(json.dumps(results, indent=1) + "\n")
