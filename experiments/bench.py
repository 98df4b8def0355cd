"""How fast it is, beside whatever peers are installed (requirements-bench.txt), interleaved.

    python -m experiments.bench train|ensemble|predict|pipeline|startup [--rounds=N] [--output=FILE]

Every contestant is a process of its own (`bench_workers.py`) that waits while the others work. A
round gives each the same number of units in turn, after a third of a second that is not counted,
and NumPy's matrix product too. What is printed is the median over the rounds with its quartiles,
the ratio to the best peer, and the fraction of the measured matrix-product rate. `train` and
`predict` are of the CPU, also where there is a GPU. Times of different machines, or of two runs, do
not compare; ratios do.
"""

import argparse
import contextlib
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
from collections.abc import Mapping
from typing import Any

from experiments import commands, matrix_product
from srcnn_jax.parallel import available_cores

ROOT = pathlib.Path(__file__).parents[1]
# PyTorch takes a third longer with the allocator's default habit of giving memory back at once.
TUNED = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
}
CPU = {"JAX_PLATFORMS": "cpu"}  # where the peers are
NETWORKS = ((9, 1, 5), (9, 5, 5))
FEATURES = (64, 32)


class Worker:
    """A contestant's process."""

    def __init__(self, function: str, arguments: Mapping[str, Any], environment=None):
        arguments = {"cores": available_cores(), **arguments}
        command = [sys.executable, "-m", "experiments.bench_workers", function]
        command.append(json.dumps(arguments))
        self._command = shlex.join(command[1:])
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.missing = self._answer().get("missing")

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


def compete(
    title: str, contestants: Mapping[str, Worker], units: int, rounds: int, flop: float
) -> dict[str, Any]:
    """Runs the rounds and prints the table; names that begin with 'ours' are not peers.

    Args:
      title: of the table.
      contestants: their processes by name; stopped at the end.
      units: of work in a round.
      rounds: how many.
      flop: floating-point operations of one unit, counted for direct convolution.
    """
    product = Worker("matrix_product", {})
    present = {name: worker for name, worker in contestants.items() if not worker.missing}
    times: dict[str, list[float]] = {name: [] for name in present}
    products = []
    for _ in range(rounds):
        products.append(product.seconds(5))
        for name, worker in present.items():
            times[name].append(worker.seconds(units))
    for worker in (product, *contestants.values()):
        worker.stop()
    rate = matrix_product.FLOP / statistics.median(products)
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
            f"  {name:28} {1e3 * median:8.1f} ms ({1e3 * low:.1f} to {1e3 * high:.1f})  "
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


def train(rounds: int) -> list[dict[str, Any]]:
    """A training step: 128 patches of 33 x 33, valid, and the default's 64 of 45 x 45, same."""
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


def ensemble(rounds: int) -> list[dict[str, Any]]:
    """Networks that train at once by `vmap`, beside one on all devices; as Markdown too."""
    case = {"kernel_sizes": (9, 1, 5), "padding": "same", "patch_size": 45, "batch_size": 64}
    case |= {"precondition": True}
    contestants = {"ours, one by one, all devices": Worker("train_ours", case)}
    for networks in (1, 4, 16, 64):
        worker = Worker("train_ensemble", {**case, "networks": networks})
        contestants[f"ours, {networks} at once, one device"] = worker
    title = "a network's training step, 9-1-5, same, 64 patches of 45"
    flop = _training_flop((9, 1, 5), "same", 45, 64)
    result = compete(title, contestants, 320, rounds, flop)
    print("\n| networks | patches/s in all |\n|---|---|")
    for name, each in result["contestants"].items():
        print(f"| {name.removeprefix('ours, ')} | {64e3 / each['median_ms']:,.0f} |")
    return [result]


def predict(rounds: int) -> list[dict[str, Any]]:
    """Restoring an image in memory, at 510 x 510 and 1920 x 1080, zero and replicate borders."""
    import jax
    import numpy as np

    from configs import default
    from srcnn_jax import convert, weights
    from srcnn_jax.train import create_model

    results = []
    sizes = ((510, 510), (1080, 1920))
    with tempfile.TemporaryDirectory() as folder:
        for kernel_sizes, padding in itertools.product(NETWORKS, ("same", "valid")):
            name = "-".join(map(str, kernel_sizes))
            config = default.get_config(f"x3,{padding}")
            config.model.kernel_sizes, config.model.initializer = kernel_sizes, "he"
            params = create_model(config).init(jax.random.key(0), np.zeros((1, 33, 33, 1)))
            params = jax.tree.map(np.asarray, params["params"])
            path = pathlib.Path(folder, f"{name}_{padding}.safetensors")
            weights.save(path, weights.Weights(params, padding, 3))
            onnx = path.with_suffix(".onnx")
            try:
                convert.convert(path, onnx)
            except ValueError as error:
                print(f"no ONNX peers: {error}")
            for height, width in sizes:
                case = {
                    "weights": str(path),
                    "onnx": str(onnx),
                    "kernel_sizes": kernel_sizes,
                    "padding": padding,
                    "height": height,
                    "width": width,
                }
                contestants = {
                    "ours": Worker("predict_ours", case, CPU),
                    "PyTorch, tuned": Worker("predict_torch", case, TUNED),
                    "onnxruntime": Worker("predict_onnxruntime", case),
                    "OpenVINO": Worker("predict_openvino", case),
                    "OpenCV": Worker("predict_opencv", case),
                }
                flop = sum(layer_flop(kernel_sizes, "same", height, width))
                title = f"restoring {width}x{height}, {name}, {padding}"
                results.append(compete(title, contestants, 5, rounds, flop))
    return results


def pipeline(rounds: int) -> list[dict[str, Any]]:
    """Training through tf.data against one fixed batch: `pipeline_overhead.py`."""
    command = [sys.executable, "-m", "experiments.pipeline_overhead"]
    command += ["--config=configs/default.py:x3", f"--pairs={rounds}"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout, end="")
    return [{"title": "pipeline over fixed batch", "output": done.stdout.strip()}]


def startup(rounds: int) -> list[dict[str, Any]]:
    """Seconds from a command to its answer, with an empty and with a filled compilation cache."""
    python = [sys.executable]
    picture = "experiments/results/before_bicubic_srcnn.png"
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        upscale = [*python, "-m", "srcnn_jax.upscale", picture, "--scale=2", f"-o={folder}/a.png"]
        main = [*python, "-m", "srcnn_jax.main", "--config=configs/default.py:x3,runlocal"]
        cases = {
            "import srcnn_jax": [*python, "-c", "import srcnn_jax"],
            "main --help": [*python, "-m", "srcnn_jax.main", "--help"],
            "upscale --help": [*python, "-m", "srcnn_jax.upscale", "--help"],
            "upscale, nothing compiled": upscale,
            "upscale again": upscale,
            "main to its first steps, nothing compiled": main,
            "main to its first steps, again": main,
        }
        for name, command in cases.items():
            seconds = []
            for index in range(rounds):
                new = f"{folder}/cache{index}" if "nothing compiled" in name else f"{folder}/cache0"
                workdir = f"--workdir={folder}/{name}{index}"
                seconds.append(_seconds_to_answer(command, workdir, {"XDG_CACHE_HOME": new}))
            low, median, high = statistics.quantiles(seconds, n=4)
            print(f"  {name:42} {median:6.2f} s ({low:.2f} to {high:.2f})")
            results.append({"title": name, "seconds": seconds})
    return results


def _seconds_to_answer(command: list[str], workdir: str, environment: dict[str, str]) -> float:
    """Seconds until a command ends, or until `main` has made its first steps."""
    training = command[2:3] == ["srcnn_jax.main"] and "--help" not in command
    start = time.perf_counter()
    with subprocess.Popen(
        [*command, workdir, "--config.train.log_every=10"] if training else command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**commands.uncached(), **environment},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if training and "loss" in line:
                process.kill()
                break
    return time.perf_counter() - start


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
    parser.add_argument("--output", type=pathlib.Path, help="JSON file to write, with all times")
    choices = parser.parse_args()
    if choices.rounds < 2:
        parser.error(f"--rounds is at least 2, for a spread, not {choices.rounds}")
    results = benchmarks[choices.benchmark](choices.rounds)
    if choices.output:
        choices.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
