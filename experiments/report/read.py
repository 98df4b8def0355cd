"""Reads finished workdirs for the report: of a run, and of a folder of runs, as a sweep's."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from experiments.paper import study
from srcnn_jax import paper, weights, workdir

if TYPE_CHECKING:
    import pandas as pd

FILES = ("config.json", "run.json", "metrics.jsonl", "eval.json", "weights.safetensors")
PLOTS = {  # of a sweep, by file
    "cost.png": "The sweep's metric over multiply-adds per pixel, the Pareto front marked",
    "fields.png": "The sweep's metric over the fields that matter most",
    "importance.png": "Importance of each parameter for the sweep's metric",
    "best_so_far.png": "The best so far, over the trials of the search",
}


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A finished workdir of a training.

    Attributes:
      result: its folder, scores, seconds and patches.
      config: all fields, as `config.json` has them.
      data: (where from, fingerprint) of the training set, the first, and of the test sets.
      notes: (name, text), what else `run.json` says.
      psnr, psnr_valid: (patches, dB) on the validation set, of the shaved image and of its valid
        region.
      network: the trained network.
    """

    result: study.Result
    config: Mapping[str, Any]
    data: Mapping[str, tuple[str, str]]
    notes: Sequence[tuple[str, str]]
    psnr: Sequence[tuple[int, float]]
    psnr_valid: Sequence[tuple[int, float]]
    network: weights.Network

    @property
    def folder(self) -> str:
        return str(self.result.folder)

    @property
    def seed(self) -> int:
        return self.config["seed"]

    @property
    def scale(self) -> int:
        return self.result.scale

    @property
    def validation(self) -> str:
        """The name of the data set on which training measured PSNR."""
        return self.result.validation["dataset"]

    @property
    def kernel_sizes(self) -> str:
        return str(self.network.architecture)

    @property
    def features(self) -> str:
        return "-".join(map(str, self.network.architecture.features))

    def fingerprint(self, dataset: str) -> str:
        """The fingerprint of a data set of the run; '' if `run.json` has none."""
        return self.data.get(dataset, ("", ""))[1]


@dataclasses.dataclass(frozen=True)
class Metric:
    """What orders the runs: a metric on a test set, or PSNR on the validation set ('')."""

    dataset: str = ""
    name: str = "psnr"

    def of(self, run: FinishedRun, method: str = "srcnn") -> float:
        """The mean of a run; infinite where `eval.json` has null."""
        if self.dataset:
            score = run.result.mean(self.dataset, self.name, method)
        else:
            score = run.result.validation[method]
        return math.inf if score is None else score

    def measured(self, run: FinishedRun) -> bool:
        """Whether a run has this metric."""
        if not self.dataset:
            return self.name == "psnr"
        return (
            self.name
            in run.result.scores.get(self.dataset, {"mean": {"srcnn": ()}})["mean"]["srcnn"]
        )


@dataclasses.dataclass(frozen=True)
class Workdir:
    """What a folder holds that was named on the command line.

    Attributes:
      folder: the folder.
      kind: 'run', 'sweep' or 'folder of runs'.
      runs: the finished ones.
      unfinished: (name, why) of the others.
      metric: what a sweep maximises, if its table says so.
      plots: (what it shows, width, height, the PNG as a URI), sizes in CSS pixels.
      tables: (title, table), of a study, all text.
    """

    folder: pathlib.Path
    kind: str
    runs: Sequence[FinishedRun]
    unfinished: Sequence[tuple[str, str]] = ()
    metric: Metric | None = None
    plots: Sequence[tuple[str, int, int, str]] = ()
    tables: Sequence[tuple[str, pd.DataFrame]] = ()


def read_workdir(folder: pathlib.Path) -> Workdir:
    """Reads a folder: a run, a sweep, a study of the paper, or any folder of runs.

    Raises:
      FileNotFoundError: if there is none, or nothing in it is finished.
      ValueError: if a file of a finished run is damaged.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no workdir {folder}: name that of a run or of a sweep")
    present = [name for name in FILES if (folder / name).is_file()]
    if present == ["eval.json"]:
        raise FileNotFoundError(
            f"{folder} has the scores of an evaluation and no training: name the workdir of the "
            "training that was evaluated"
        )
    if present:
        return Workdir(folder, "run", [read_run(folder)])
    sweep = (folder / "trials").is_dir()
    found = workdir.find_runs(folder)
    if not found and not sweep:
        raise FileNotFoundError(
            f"{folder} has no {FILES[0]} and holds no run: name the workdir of a run, a sweep or "
            "a study"
        )
    finished = [run for run in found if (run / "weights.safetensors").is_file()]
    if not finished:
        raise FileNotFoundError(
            f"{folder} is {'a sweep' if sweep else 'a folder of runs'} without a finished run: "
            "start its command again, which goes on where it was stopped"
        )
    begun = [(str(run.relative_to(folder)), "not finished") for run in found if run not in finished]
    runs = [read_run(run) for run in finished]
    if not sweep:
        return Workdir(folder, "folder of runs", runs, begun, tables=_read_tables(folder))
    metric, notes = _read_points(folder / "table.csv")
    return Workdir(folder, "sweep", runs, [*begun, *notes], metric, _read_plots(folder))


def read_run(folder: pathlib.Path) -> FinishedRun:
    """Reads the finished workdir of a run.

    Raises:
      FileNotFoundError: if it is not finished.
      ValueError: if a file of it is damaged.
    """
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise FileNotFoundError(
            f"{folder} has no {missing[0]}, so its training has not finished: start its command "
            "again, which goes on from the last checkpoint"
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
                if name in line and math.isfinite(line[name])
            ]
            for name in ("psnr", "psnr_valid")
        }
        paper.beside_915(result.evaluation())  # raises if a score is missing
        _ = config["seed"] + config["train"]["steps"], result.validation["bicubic"]
        return FinishedRun(
            result=result,
            config=config,
            data={name: (source, mark) for name, (source, mark) in notes["data"].items()},
            notes=[
                ("command", shlex.join(notes.get("command", []))),
                ("devices", ", ".join(notes["devices"])),
                ("versions", ", ".join(map(" ".join, notes.get("versions", {}).items()))),
            ],
            psnr=curves["psnr"],
            psnr_valid=curves["psnr_valid"],
            network=network,
        )
    except (LookupError, TypeError, AttributeError, StopIteration) as error:  # of another shape
        raise ValueError(
            f"{folder} holds a damaged file ({type(error).__name__}: {error}): put a good copy "
            "back, or delete the folder and run again"
        ) from error


def _read_points(path: pathlib.Path) -> tuple[Metric | None, list[tuple[str, str]]]:
    """What a sweep maximises, and (name, why) of its points that miss runs, from its table."""
    import pandas as pd

    if not path.is_file():  # the sweep writes it when a worker ends
        return None, []
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        columns = list(table.columns)
        name = next(each for each in columns if f"{each}_std" in columns)
        fields = columns[: columns.index(name)]
        notes = [
            (",".join(f"{field}={row[field]}" for field in fields), row["notes"])
            for row in table.to_dict("records")
            if row["notes"]
        ]
    except (ValueError, LookupError, TypeError, StopIteration) as error:
        raise ValueError(
            f"{path} is damaged ({error!r}): the sweep's command with --best writes it again"
        ) from error
    dataset, _, metric = name.rpartition("/")
    return Metric(dataset, metric), notes


def _read_plots(folder: pathlib.Path) -> list[tuple[str, int, int, str]]:
    plots = []
    for name, text in PLOTS.items():
        if (folder / name).is_file():
            content = (folder / name).read_bytes()
            try:
                image = Image.open(io.BytesIO(content))
                width, height = (round(96 * size / image.info["dpi"][0]) for size in image.size)
            except (OSError, LookupError) as error:
                raise ValueError(
                    f"{folder / name} is damaged ({error!r}): the sweep's command with --best "
                    "writes it again"
                ) from error
            plots.append((text, width, height, data_uri(content)))
    return plots


def _read_tables(folder: pathlib.Path) -> list[tuple[str, pd.DataFrame]]:
    """The tables that a study of the paper wrote: NAME.csv, with the title in NAME.md."""
    import pandas as pd

    tables = []
    for path in sorted(folder.glob("*.csv")):
        if path.with_suffix(".md").is_file():
            title = path.with_suffix(".md").read_text("utf-8").partition("\n")[0]
            try:
                tables.append((title, pd.read_csv(path, dtype=str, keep_default_na=False)))
            except ValueError as error:
                raise ValueError(
                    f"{path} is damaged ({error}): the study's command writes it again"
                ) from error
    return tables


def data_uri(content: bytes, kind: str = "png") -> str:
    """The content of an image file as a URI."""
    return f"data:image/{kind};base64," + base64.b64encode(content).decode()
