"""Contestants that do the same work in turn, and the ratios of their times.

Every contestant is a process of its own (`workers.py`) that waits while the others work. A round
gives each the same number of units in turn, after a third of a second that is not counted, and the
matrix product too. The table has the median over the rounds with its quartiles, the ratio to the
best peer, and the fraction of the measured matrix-product rate. Times of different machines, or of
two runs, do not compare; ratios do.
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from configs import default
from experiments import machine, runner
from srcnn_jax.architecture import context_of

# PyTorch takes a third longer with the allocator's default habit of giving memory back at once.
TUNED = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
}
CPU = {"JAX_PLATFORMS": "cpu"}
NETWORKS = ("915", "955")  # words of configs/default.py
PRECISIONS = {"float32": "TF32", "bfloat16": "bfloat16"}  # on a GPU, as JAX and PyTorch use them


@functools.cache
def on_gpu() -> dict[str, str]:
    """The environment of a contestant on the first GPU."""
    return {
        "CUDA_VISIBLE_DEVICES": next(iter(runner.list_gpus()), ""),
        # By default JAX takes the GPU's memory, and leaves nothing for the others.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # many processes compile side by side
    }


class Contestant:
    """A process that does units of work when it is told to."""

    def __init__(self, function: str, arguments: Mapping[str, Any], environment=None):
        from srcnn_jax.runtime import available_cores  # loads JAX, which --help does not need

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

    def wait(self) -> None:
        """Returns when it has prepared."""
        _ = self.missing

    @functools.cached_property
    def missing(self) -> str | None:
        """Why it cannot take part, or None; waits until it has prepared."""
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
        """The most bytes of memory that it has had (Linux)."""
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"missing": "it ended"}


@dataclasses.dataclass(frozen=True)
class Competition:
    """Contestants with the same work.

    Attributes:
      title: of the table.
      contestants: by name; names that begin with 'ours' are not peers.
      units: of work in a round.
      flop: floating-point operations of one unit, counted for direct convolution; None if its rate
        says nothing.
      product: the contestant that multiplies matrices; NumPy on the CPU by default.
    """

    title: str
    contestants: Mapping[str, Contestant]
    units: int
    flop: float | None
    product: Contestant | None = None


def product_on_gpu(dtype: str) -> Contestant:
    """The matrix product that the rates of a GPU are compared with."""
    return Contestant("matrix_product_gpu", {"dtype": dtype, "gpu": True}, on_gpu())


def compete_after_all_prepared(
    competitions: Sequence[Competition], rounds: int
) -> list[dict[str, Any]]:
    """`compete` for each, once all contestants have prepared: on a GPU, most compile for long."""
    for each in competitions:
        for contestant in each.contestants.values():
            contestant.wait()
    return [compete(each, rounds) for each in competitions]


def compete(competition: Competition, rounds: int) -> dict[str, Any]:
    """Runs the rounds, stops the contestants, prints the table and returns its numbers."""
    from srcnn_jax.runtime import available_cores

    contestants, units = competition.contestants, competition.units
    side = machine.SIDE if competition.product is None else machine.GPU_SIDE
    product = competition.product or Contestant("matrix_product", {})
    if product.missing:
        sys.exit(f"error: no matrix product: {product.missing}")
    present = {name: each for name, each in contestants.items() if not each.missing}
    times: dict[str, list[float]] = {name: [] for name in present}
    products = []
    for _ in range(rounds):
        products.append(product.seconds(5))
        for name, contestant in present.items():
            times[name].append(contestant.seconds(units))
    for contestant in (product, *contestants.values()):
        contestant.stop()
    rate = 2 * side**3 / statistics.median(products)
    peers = [statistics.median(each) for name, each in times.items() if not name.startswith("ours")]
    print(
        f"\n{competition.title}\nmatrix product {rate / 1e9:.0f} GF/s, {rounds} rounds of {units}"
    )
    result: dict[str, Any] = {
        "title": competition.title,
        "cores": available_cores(),
        "matrix_product_gflops": rate / 1e9,
        "contestants": {},
    }
    for name, contestant in contestants.items():
        if contestant.missing:
            print(f"  {name:30} missing: {contestant.missing}")
            continue
        low, median, high = statistics.quantiles(times[name], n=4)
        ratio = min(peers) / median if peers else None
        fraction = competition.flop / median / rate if competition.flop else None
        print(
            f"  {name:30} {1e3 * median:8.3g} ms ({1e3 * low:.3g} to {1e3 * high:.3g})  "
            f"{f'{ratio:5.2f} x best peer' if ratio else ''}  "
            f"{f'{fraction:4.0%} of the matrix product' if fraction else ''}".rstrip()
        )
        result["contestants"][name] = {
            "median_ms": 1e3 * median,
            "times_over_best_peer": ratio,
            "of_matrix_product": fraction,
            "times_ms": [1e3 * seconds for seconds in times[name]],
        }
    return result


def case_of(words: str) -> dict[str, Any]:
    """The sizes of a config of configs/default.py, as `workers.py` is told them."""
    config = default.get_config(words)
    return {
        "kernel_sizes": config.model.kernel_sizes,
        "features": config.model.features,
        "padding": config.model.padding,
        "patch_size": config.data.patch_size,
        "context": context_of(config),
        "batch_size": config.train.batch_size,
    }


def layer_flop(case: Mapping[str, Any], padding: str, height: int, width: int) -> list[float]:
    """Multiplications and additions of each layer's forward pass over (height, width)."""
    channels = (1, *case["features"], 1)
    flop = []
    for index, size in enumerate(case["kernel_sizes"]):
        if padding == "valid":
            height, width = height - size + 1, width - size + 1
        flop.append(2.0 * height * width * size**2 * channels[index] * channels[index + 1])
    return flop


def name_of(case: Mapping[str, Any]) -> str:
    """'9-1-5'."""
    return "-".join(map(str, case["kernel_sizes"]))
