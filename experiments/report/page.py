"""The page of the report: pictures to compare, and all that is shown, put into one HTML file."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import markupsafe
import numpy as np
from PIL import Image

from experiments.paper import filters
from experiments.report import chart, tables
from experiments.report.read import FinishedRun, FinishedSweep, data_uri
from srcnn_jax import datasets

if TYPE_CHECKING:
    from srcnn_jax import evaluate

FOLDER = pathlib.Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Picture:
    """One of the pictures that a viewer shows: its label, its PSNR, and the PNG as a URI."""

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


def png(pixels: np.ndarray) -> str:
    """uint8 (H, W) or (H, W, 3) as the data URI of a PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return data_uri(file.getvalue())


def viewers(
    runs: Sequence[FinishedRun],
    names: Mapping[str, str],
    chosen: Sequence[str] | None,
    data_dir: str = "",
) -> list[Viewer]:
    """The test images of the chosen sets, by default of the first of each run.

    Runs that were tested on the same images share a viewer.

    Args:
      runs: what made the pictures.
      names: short names, of `tables.labels`.
      chosen: names of test sets.
      data_dir: the folder of the data sets; '' leaves it to the run's config, or SRCNN_DATA_DIR.

    Raises:
      FileNotFoundError: if a test set is nowhere to be had.
      ValueError: if a run was not tested on a set, or the set has changed since.
    """
    from srcnn_jax import evaluate

    groups: dict[tuple[str, str, int, str], list[FinishedRun]] = {}
    for run in runs:
        for dataset in list(run.result.scores)[:1] if chosen is None else chosen:
            if dataset not in run.result.scores:
                raise ValueError(
                    f"{run.folder} was not tested on {dataset!r}: choose --images from "
                    f"{','.join(run.result.scores)}"
                )
            key = (dataset, run.data[dataset][1], run.scale, run.network.colour)
            groups.setdefault(key, []).append(run)
    found = []
    for (name, fingerprint, scale, colour), members in groups.items():
        tests = datasets.load(name, data_dir=data_dir or members[0].data_dir or None)
        if tests.fingerprint != fingerprint:
            raise ValueError(
                f"{name} in {tests.source} is not what {members[0].folder} was tested on: name the "
                "folder of that by --data_dir, or choose other --images"
            )
        for test in evaluate.create_test_images(tests, scale, colour):
            title = f"{test.name.removesuffix('_GT')}, {names[name]} x{scale}"
            found.append(_viewer(title, test, members, names, name))
    return found


def _viewer(
    title: str,
    test: evaluate.TestImage,
    runs: Sequence[FinishedRun],
    names: Mapping[str, str],
    dataset: str,
) -> Viewer:
    from srcnn_jax import evaluate
    from srcnn_jax.predict import predict

    pictures: list[Picture] = []
    for run in runs:
        colour, scale = run.network.colour, run.scale
        made = evaluate.pictures(test, predict(run.network, test.enlarged), colour, scale)
        rows = run.result.scores[dataset]["images"]
        row = next(row for row in rows if row["name"] == test.name)
        psnr = {
            method: f"{tables.format_score(row[method]['psnr'], 'psnr')} dB"
            for method in tables.METHODS
        }
        if not pictures:
            pictures.append(Picture("ground truth", "", png(made["original"])))
            pictures.append(Picture("bicubic", psnr["bicubic"], png(made["bicubic"])))
        label = "SRCNN" if len(runs) == 1 else f"SRCNN {names[run.folder]}"
        pictures.append(Picture(label, psnr["srcnn"], png(made["srcnn"])))
    height, width = test.truth.shape
    return Viewer(title, width, height, pictures)


def create_page(
    named: Sequence[FinishedRun],
    sweeps: Sequence[tuple[FinishedSweep, Sequence[FinishedRun]]],
    chosen: Sequence[str] | None,
    data_dir: str = "",
) -> str:
    """The HTML of the report; raises as `viewers`.

    Args:
      named: runs that were asked for by name.
      sweeps: sweeps, each with its runs.
      chosen: test sets whose images are shown; if None, the first of each of the `named` runs.
      data_dir: as `viewers`.
    """
    by_folder = {run.folder: run for run in [*named, *(run for _, each in sweeps for run in each)]}
    runs = list(by_folder.values())
    folders = [*by_folder, *(sweep.folder for sweep, _ in sweeps)]
    tests = [name for run in runs for name in (*run.result.scores, run.validation)]
    names = tables.labels(dict.fromkeys(folders + tests))
    shown = viewers(named if chosen is None else runs, names, chosen, data_dir)
    script, style = ((FOLDER / f"page.{kind}").read_text("utf-8") for kind in ("js", "css"))
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        runs=runs,
        sweeps=[sweep for sweep, _ in sweeps],
        names=names,
        summary=tables.summary(runs, names),
        scores_table=tables.scores_table,
        charts=chart.draw_all(runs, names),
        axes=chart,
        viewers=shown,
        picture_bytes=sum(len(each.source) for viewer in shown for each in viewer.pictures),
        mosaics=[filters.mosaic(run.network.layers[0]["kernel"]) for run in runs],
        png=png,
        style=markupsafe.Markup(style),
        script=markupsafe.Markup(script),
        script_sum=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
