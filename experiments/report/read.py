"""Reads finished workdirs, of runs and of sweeps, for the report."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from PIL import Image

from experiments.paper import study
from srcnn_jax import paper, weights, workdir

if TYPE_CHECKING:
    import pandas as pd

FILES = ("config.json", "run.json", "metrics.jsonl", "eval.json", "weights.safetensors")


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A finished workdir of a training.

    Attributes:
      result: its folder, scores, seconds and patches.
      seed, steps: of its config.
      data_dir: the folder of the data sets, if the config has it; runs of today have a flag.
      data: (where from, fingerprint) of the training set, the first, and of the test sets.
      notes: (name, text), what else `run.json` says.
      validation: the name of the data set on which training measured PSNR.
      bicubic: PSNR of bicubic interpolation on it, in dB.
      psnr, psnr_valid: (patches, dB) on it, of the shaved image and of its valid region.
      network: the trained network.
    """

    result: study.Result
    seed: int
    steps: int
    data_dir: str
    data: Mapping[str, tuple[str, str]]
    notes: Sequence[tuple[str, str]]
    validation: str
    bicubic: float | None
    psnr: Sequence[tuple[int, float]]
    psnr_valid: Sequence[tuple[int, float]]
    network: weights.Network

    @property
    def folder(self) -> str:
        return str(self.result.folder)

    @property
    def scale(self) -> int:
        return self.result.scale

    @property
    def kernel_sizes(self) -> str:
        return str(self.network.architecture)

    @property
    def features(self) -> str:
        return "-".join(map(str, self.network.architecture.features))


@dataclasses.dataclass(frozen=True)
class FinishedSweep:
    """The workdir of a sweep, besides its runs.

    Attributes:
      folder: its name.
      metric: what it maximises, as 'PSNR on set5'.
      table: as `experiments.sweep.table` writes it, all text.
      plots: (what it shows, width, height, the PNG as a URI), sizes in CSS pixels.
    """

    folder: str
    metric: str
    table: pd.DataFrame
    plots: Sequence[tuple[str, int, int, str]]


def read_run(folder: pathlib.Path) -> FinishedRun:
    """Reads a finished workdir.

    Raises:
      FileNotFoundError: if there is none, or it is not finished.
      ValueError: if a file of it is damaged.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no workdir {folder}: name that of a finished run")
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise FileNotFoundError(
            f"{folder} has no {missing[0]}, so it is no workdir of a finished training: start its "
            "command again, which goes on from the last checkpoint"
        )
    network = weights.load(folder)
    config, notes = (workdir.read_json(folder / name) for name in FILES[:2])
    try:
        result = study.read_result(folder)
        batch = config["train"]["batch_size"]
        lines = workdir.read_metrics(folder)
        curves = {
            name: [
                (line["step"] * batch, line[name])
                for line in lines
                if math.isfinite(line.get(name, math.inf))
            ]
            for name in ("psnr", "psnr_valid")
        }
        paper.beside_915(result.evaluation())  # raises if a score is missing
        return FinishedRun(
            result=result,
            seed=config["seed"],
            steps=config["train"]["steps"],
            data_dir=config["data"].get("dir", ""),
            data={name: (source, mark) for name, (source, mark) in notes["data"].items()},
            notes=[
                ("command", shlex.join(notes.get("command", []))),
                ("devices", ", ".join(notes["devices"])),
                ("versions", ", ".join(map(" ".join, notes.get("versions", {}).items()))),
            ],
            validation=result.validation["dataset"],
            bicubic=result.validation["bicubic"],
            psnr=curves["psnr"],
            psnr_valid=curves["psnr_valid"],
            network=network,
        )
    except (LookupError, TypeError, AttributeError, StopIteration) as error:  # of another shape
        raise ValueError(
            f"{folder} holds a damaged file ({type(error).__name__}: {error}): put a good copy "
            "back, or delete the folder and run again"
        ) from error


def read_sweep(folder: pathlib.Path) -> tuple[FinishedSweep, list[FinishedRun]]:
    """Reads a sweep's workdir: what it found, and its finished runs. Raises as `read_run`."""
    import pandas as pd

    path = folder / "table.csv"
    trials = sorted(path.parent for path in folder.glob("trials/*/eval.json"))
    if not path.is_file() or not trials:
        raise FileNotFoundError(
            f"{folder} is a sweep without {'a finished run' if path.is_file() else path.name}: "
            "its command with --best writes the table of what is finished so far"
        )
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        metric = table.columns[table.columns.get_loc("multiply-adds") + 1]
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}): the sweep's command with --best writes it again"
        ) from error
    shown = {
        "cost.png": f"{metric} over multiply-adds per pixel, the Pareto front marked",
        "importance.png": f"Importance of each parameter for {metric}",
    }
    plots = []
    for name, text in shown.items():
        if (folder / name).is_file():
            content = (folder / name).read_bytes()
            image = Image.open(io.BytesIO(content))
            width, height = (round(96 * size / image.info["dpi"][0]) for size in image.size)
            plots.append((text, width, height, data_uri(content)))
    return FinishedSweep(str(folder), metric, table, plots), [read_run(trial) for trial in trials]


def data_uri(content: bytes) -> str:
    """The content of a PNG file as a URI."""
    return "data:image/png;base64," + base64.b64encode(content).decode()
