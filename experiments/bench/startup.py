"""How long a command takes until it answers."""

import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from experiments import runner


def benchmark_startup(rounds: int, gpu: bool) -> list[dict[str, Any]]:
    """Seconds from a command to its answer, with an empty and with a filled compilation cache."""
    del gpu
    python = [sys.executable]
    picture = "docs/cat.png"
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        upscale = [*python, "-m", "srcnn_jax.upscale", picture, "--overwrite", f"-o={folder}/a.png"]
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
