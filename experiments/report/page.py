"""One HTML file of finished runs: tables, training curves, pictures to compare, filters.

    python -m experiments.report WORKDIR... [-o report.html] [--images=set5,set14]

A WORKDIR is that of a run, or of a sweep: then its table and plots, and all its finished runs,
whose pictures are shown only if `--images` asks for them, since they may be many. The file holds
all that it shows and asks no network for anything. Its pictures are made anew from the weights and
the test images; `--images=` (nothing) leaves them out, and needs no test images.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import hashlib
import io
import math
import os
import pathlib
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import markupsafe
import numpy as np
from PIL import Image

from experiments import runner
from experiments.paper import curves, filters, study
from experiments.paper.tables_2_3_4 import METRICS
from experiments.report import chart
from srcnn_jax import datasets, paper, weights, workdir

if TYPE_CHECKING:
    import pandas as pd

    from srcnn_jax import evaluate

FOLDER = pathlib.Path(__file__).parent
FILES = ("config.json", "run.json", "metrics.jsonl", "eval.json", "weights.safetensors")
METHODS = {"bicubic": "bicubic", "srcnn": "SRCNN"}


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished workdir.

    Attributes:
      result: its folder, scores, seconds and patches.
      scale, seed, steps, data_dir: of its config.
      data: (where from, fingerprint) of the training set, the first, and of the test sets.
      notes: (name, text), what else `run.json` says.
      watched: the test set whose PSNR was watched in training.
      psnr, psnr_valid: (patches, dB) on it, of the shaved image and of its valid region.
      weights: the network.
      tables: by test set.
    """

    result: study.Result
    scale: int
    seed: int
    steps: int
    data_dir: str
    data: Mapping[str, tuple[str, str]]
    notes: Sequence[tuple[str, str]]
    watched: str
    psnr: Sequence[tuple[int, float]]
    psnr_valid: Sequence[tuple[int, float]]
    weights: weights.Network
    tables: Mapping[str, pd.DataFrame]

    @property
    def folder(self) -> str:
        return str(self.result.folder)

    @property
    def network(self) -> str:
        return "-".join(map(str, self.weights.kernel_sizes))

    @property
    def filters(self) -> str:
        return "-".join(map(str, self.weights.features))


@dataclasses.dataclass(frozen=True)
class Sweep:
    """The workdir of a sweep, besides its runs.

    Attributes:
      folder: what it is called.
      metric: what it maximises, as 'PSNR on set5'.
      table: as `sweep_table.table`, all text.
      plots: (what it shows, width, height, the PNG as a URI), sizes in CSS pixels.
    """

    folder: str
    metric: str
    table: pd.DataFrame
    plots: Sequence[tuple[str, int, int, str]]


@dataclasses.dataclass(frozen=True)
class Picture:
    """One of the pictures that a viewer shows of a test image: what it is, PSNR, PNG as a URI."""

    label: str
    psnr: str
    source: str


@dataclasses.dataclass(frozen=True)
class Viewer:
    """A test image: ground truth, bicubic, and the result of each network."""

    title: str
    width: int
    height: int
    pictures: Sequence[Picture]


def read(folder: pathlib.Path) -> Run:
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
        result = study.read(folder)
        wanted, batch = config["train"]["eval_dataset"], config["train"]["batch_size"]
        lines = workdir.read_metrics(folder)
        watching = {
            name: [
                (line["step"] * batch, line[name])
                for line in lines
                if math.isfinite(line.get(name, math.inf))
            ]
            for name in ("psnr", "psnr_valid")
        }
        return Run(
            result,
            config["scale"],
            config["seed"],
            config["train"]["steps"],
            config["data"]["dir"],
            {name: (source, fingerprint) for name, (source, fingerprint) in notes["data"].items()},
            [
                ("command", shlex.join(notes.get("command", []))),
                ("devices", ", ".join(notes["devices"])),
                ("versions", ", ".join(map(" ".join, notes.get("versions", {}).items()))),
            ],
            wanted if wanted in result.scores else next(iter(result.scores)),
            watching["psnr"],
            watching["psnr_valid"],
            network,
            {
                name: scores_table(name, config["scale"], scores)
                for name, scores in result.scores.items()
            },
        )
    except (LookupError, TypeError, AttributeError, StopIteration) as error:  # of another shape
        raise ValueError(
            f"{folder} holds a damaged file ({type(error).__name__}: {error}): put a good copy "
            "back, or delete the folder and run again"
        ) from error


def read_sweep(folder: pathlib.Path) -> tuple[Sweep, list[Run]]:
    """Reads a sweep's workdir: what it found, and its finished runs. Raises as `read`."""
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
    return Sweep(str(folder), metric, table, plots), [read(trial) for trial in trials]


def labels(names: Iterable[str]) -> dict[str, str]:
    """Short names for paths: the last part, or all of it where two would be the same."""
    short = {name: os.path.basename(os.path.abspath(name)) for name in names}
    count = Counter(short.values())
    return {name: text if count[text] == 1 else name for name, text in short.items()}


def number(value: float | None, digits: int) -> str:
    """A number of `eval.json`, where null is infinity."""
    return "∞" if value is None else f"{value:.{digits}f}"


def difference(ours: float | None, theirs: float | None, digits: int) -> str:
    return "–" if ours is None or theirs is None else f"{ours - theirs:+z.{digits}f}"


def scores_table(dataset: str, scale: int, scores: Mapping[str, Any]) -> pd.DataFrame:
    """A row for each image and one for the mean, beside the paper's where it has them."""
    import pandas as pd

    names = list(scores["mean"]["srcnn"])
    mean = paper.SRCNN_915_T91_MEAN.get((dataset, scale))
    published: dict[str, float] = dict(paper.SRCNN_915_T91.get((dataset, scale), {}))
    if mean:
        published["mean"] = mean.psnr
    rows = []
    for own in [*scores["images"], {"name": "mean", **scores["mean"]}]:
        image = own["name"].removesuffix("_GT")
        row = {"image": image}
        for name in names:
            for method, title in METHODS.items():
                row[f"{title} {name.upper()}"] = number(own[method][name], METRICS[name])
            if name == "psnr" and published:
                theirs = published.get(image)
                row["paper 9-1-5 T91"] = "–" if theirs is None else f"{theirs:.2f}"
                row["difference"] = difference(own["srcnn"]["psnr"], theirs, 2)
        rows.append(row)
    if both := paper.BICUBIC_AND_SRCNN_955_IMAGENET_MEAN.get((dataset, scale)):
        theirs_row = {"image": "paper 9-5-5 ImageNet"}
        less = {"image": "difference"}
        for name in names:
            for (method, title), score in zip(METHODS.items(), both, strict=True):
                theirs, column = getattr(score, name), f"{title} {name.upper()}"
                theirs_row[column] = "–" if theirs is None else number(theirs, METRICS[name])
                less[column] = difference(scores["mean"][method][name], theirs, METRICS[name])
        rows += [theirs_row, less]
    return pd.DataFrame(rows).fillna("")


def summary(runs: Sequence[Run], names: Mapping[str, str]) -> pd.DataFrame:
    """A row for each run: what it trained and what came out; `names` as `labels` of all of them."""
    import pandas as pd

    rows = []
    for run in runs:
        row = {
            "run": names[run.folder],
            "network": run.network,
            "filters": run.filters,
            "scale": str(run.scale),
        }
        for dataset, scores in run.result.scores.items():
            for metric in ("psnr", "ssim"):
                if metric in scores["mean"]["srcnn"]:
                    row[f"{names[dataset]} {metric.upper()}"] = number(
                        scores["mean"]["srcnn"][metric], METRICS[metric]
                    )
        row |= {
            "weights": f"{run.result.weights:,}",
            "padding": run.weights.padding,
            "trained on": next(iter(run.data)),
            "steps": f"{run.steps:,}",
            "patches": f"{run.result.patches:,}",
            "seconds": f"{run.result.seconds:,.0f}",
            "seed": str(run.seed),
        }
        rows.append(row)
    return pd.DataFrame(rows).fillna("–")


def published_curves(run: Run) -> dict[str, pd.DataFrame]:
    """The paper's training curves of a network's shape, by label; of repeated ones, the longest.

    They are of 64 and 32 filters (and 16 in added layers, where the label says nothing else), on
    Set5 at x3, and on ImageNet where the label does not say T91.
    """
    if run.weights.features[:2] != (64, 32):
        return {}
    found: dict[str, pd.DataFrame] = {}
    for (_, network), curve in curves.published().groupby(["figure", "network"]):
        shape = re.search(r"\d+(-\d+)+", network)
        if shape and shape.group() == run.network:
            rest = network.replace(run.network, "").replace("SRCNN", "").strip()
            where = rest if "T91" in rest or "ImageNet" in rest else f"ImageNet {rest}"
            label = f"paper {run.network} {where.strip()}"
            if label not in found or found[label].patches.max() < curve.patches.max():
                found[label] = curve.sort_values("patches")
    return found


def charts(runs: Sequence[Run], names: Mapping[str, str]) -> list[chart.Chart]:
    """One chart for each watched test set and scale."""
    groups: dict[tuple[str, int], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.watched, run.scale), []).append(run)
    drawn = []
    for (dataset, scale), members in groups.items():
        lines = []
        for run in members:
            for kind, points in (("ours", run.psnr), ("valid", run.psnr_valid)):
                label = names[run.folder] + (", valid region" if kind == "valid" else "")
                if points := [point for point in points if point[0] > 0]:
                    lines.append(chart.Curve(label, kind, points))
        if (dataset, scale) == ("set5", 3):
            theirs = {key: each for run in members for key, each in published_curves(run).items()}
            for label, frame in theirs.items():
                points = list(zip(frame.patches, frame.psnr, strict=True))
                lines.append(chart.Curve(label, "paper", points))
        bicubic = members[0].result.mean(dataset, "psnr", "bicubic")
        if lines and bicubic is not None:  # not infinite
            drawn.append(chart.draw(f"{names[dataset]} x{scale}", lines, bicubic))
    return drawn


def png(pixels: np.ndarray) -> str:
    """uint8 (H, W) or (H, W, 3) as the data URI of a PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return data_uri(file.getvalue())


def data_uri(content: bytes) -> str:
    """The content of a PNG file as a URI."""
    return "data:image/png;base64," + base64.b64encode(content).decode()


def viewers(
    runs: Sequence[Run], names: Mapping[str, str], chosen: Sequence[str] | None
) -> list[Viewer]:
    """The test images of the chosen sets, or of the watched ones; runs alike share a viewer.

    Raises:
      FileNotFoundError: if a test set is nowhere to be had.
      ValueError: if a run was not tested on a set, or the set has changed since.
    """
    from srcnn_jax import evaluate

    groups: dict[tuple[str, str, int, str], list[Run]] = {}
    for run in runs:
        for dataset in [run.watched] if chosen is None else chosen:
            if dataset not in run.result.scores:
                raise ValueError(
                    f"{run.folder} was not tested on {dataset!r}: choose --images from "
                    f"{','.join(run.result.scores)}"
                )
            key = (dataset, run.data[dataset][1], run.scale, run.weights.colour)
            groups.setdefault(key, []).append(run)
    found = []
    for (name, fingerprint, scale, colour), members in groups.items():
        tests = datasets.load(name, data_dir=members[0].data_dir or None)
        if tests.fingerprint != fingerprint:
            raise ValueError(
                f"{name} in {tests.source} is not what {members[0].folder} was tested on: set "
                "SRCNN_DATA_DIR to the folder of that, or choose other --images"
            )
        for test in evaluate.create_test_images(tests, scale, colour):
            title = f"{test.name.removesuffix('_GT')}, {names[name]} x{scale}"
            found.append(_viewer(title, test, members, names, name))
    return found


def _viewer(
    title: str,
    test: evaluate.TestImage,
    runs: Sequence[Run],
    names: Mapping[str, str],
    dataset: str,
) -> Viewer:
    from srcnn_jax import evaluate
    from srcnn_jax.predict import predict

    pictures: list[Picture] = []
    for run in runs:
        colour, scale = run.weights.colour, run.scale
        made = evaluate.pictures(test, predict(run.weights, test.enlarged), colour, scale)
        rows = run.result.scores[dataset]["images"]
        row = next(row for row in rows if row["name"] == test.name)
        psnr = {method: f"{number(row[method]['psnr'], 2)} dB" for method in METHODS}
        if not pictures:
            pictures.append(Picture("ground truth", "", png(made["original"])))
            pictures.append(Picture("bicubic", psnr["bicubic"], png(made["bicubic"])))
        label = "SRCNN" if len(runs) == 1 else f"SRCNN {names[run.folder]}"
        pictures.append(Picture(label, psnr["srcnn"], png(made["srcnn"])))
    height, width = test.truth.shape
    return Viewer(title, width, height, pictures)


def page(
    named: Sequence[Run],
    sweeps: Sequence[tuple[Sweep, Sequence[Run]]],
    chosen: Sequence[str] | None,
) -> str:
    """The HTML of the report.

    Args:
      named: runs that were asked for by name.
      sweeps: and sweeps, with their runs.
      chosen: as `viewers`, as are errors; if None, the pictures are those of the `named` runs.
    """
    by_folder = {run.folder: run for run in [*named, *(run for _, each in sweeps for run in each)]}
    runs = list(by_folder.values())
    folders = [*by_folder, *(sweep.folder for sweep, _ in sweeps)]
    names = labels(dict.fromkeys(folders + [name for run in runs for name in run.tables]))
    looks = viewers(named if chosen is None else runs, names, chosen)
    script, style = ((FOLDER / f"report.{kind}").read_text("utf-8") for kind in ("js", "css"))
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        runs=runs,
        sweeps=[sweep for sweep, _ in sweeps],
        names=names,
        summary=summary(runs, names),
        charts=charts(runs, names),
        axes=chart,
        viewers=looks,
        picture_bytes=sum(len(each.source) for look in looks for each in look.pictures),
        mosaics=[filters.mosaic(run.weights.layers[0]["kernel"]) for run in runs],
        png=png,
        style=markupsafe.Markup(style),
        script=markupsafe.Markup(script),
        script_sum=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("workdirs", nargs="+", type=pathlib.Path, metavar="WORKDIR")
    parser.add_argument("-o", "--output", type=pathlib.Path, default=pathlib.Path("report.html"))
    parser.add_argument(
        "--images",
        help="test sets whose images are shown, separated by commas; by default, of runs that are "
        "named, the one that was watched in training; nothing for none",
    )
    choices = parser.parse_args(arguments)
    runner.need("jinja2", "pandas")
    chosen = None if choices.images is None else datasets.dataset_names(choices.images)
    os.environ.setdefault("JAX_LOGGING_LEVEL", "ERROR")  # no talk of accelerators that are absent
    try:
        folders = list(dict.fromkeys(choices.workdirs))
        sweeps = [read_sweep(folder) for folder in folders if (folder / "trials").is_dir()]
        runs = [read(folder) for folder in folders if not (folder / "trials").is_dir()]
        html = page(runs, sweeps, chosen).encode("utf-8", "replace")
        choices.output.write_bytes(html)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    print(f"{choices.output}: {len(html):,} bytes")
