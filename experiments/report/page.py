"""The page of the report: pictures to compare, and all that is shown, put into one HTML file."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import math
import pathlib
from collections.abc import Mapping, Sequence

import markupsafe
import numpy as np
from PIL import Image

from experiments.report import chart, groups, tables
from experiments.report.groups import Group
from experiments.report.read import Workdir, data_uri
from srcnn_jax import datasets, evaluate, paper
from srcnn_jax.degradation import Degradation
from srcnn_jax.events import mosaic
from srcnn_jax.predict import predict

FOLDER = pathlib.Path(__file__).parent
PIXELS = 3_000_000  # of all pictures of a page; larger ones are cropped to keep it
MIN_SIDE = 64  # pixels of a cropped picture, at least
FEW = 5  # groups whose scores are listed at first; a choice shows the others
FILTERS = 3  # groups whose filters are shown at first
IMAGES = 14  # of a test set that the user did not choose, at most
ROWS = 10  # groups in a summary that are shown at first


@dataclasses.dataclass(frozen=True)
class Picture:
    """One of the pictures that a viewer shows: its label, its PSNR, and the file as a URI."""

    label: str
    psnr: str
    source: str


@dataclasses.dataclass(frozen=True)
class Viewer:
    """A test image, or a part of it: ground truth, bicubic, and the result of each group.

    Attributes:
      title: the image.
      part: how large it is, if a part is shown; else ''.
      width, height: of the pictures.
      gain: PSNR of the first group less that of bicubic, in dB.
      pictures: ground truth, bicubic, then the groups, the best first.
    """

    title: str
    part: str
    width: int
    height: int
    gain: float
    pictures: Sequence[Picture]


def webp(pixels: np.ndarray) -> str:
    """uint8 (H, W) or (H, W, 3) as the data URI of a lossless WebP file.

    Two networks differ by a grey level here and there, which JPEG would change as much.
    """
    file = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(file, "WEBP", lossless=True, quality=50, method=4)
    return data_uri(file.getvalue(), "webp")


def png(pixels: np.ndarray) -> str:
    """uint8 (H, W) as the data URI of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return data_uri(file.getvalue())


def viewers(
    shown: Sequence[Group],
    names: Mapping[str, str],
    chosen: Sequence[str] | None,
    data_dir: str = "",
) -> list[Viewer]:
    """The test images of the chosen sets, by default of one set of each group.

    Groups that were tested on the same images share a viewer. The pictures are of the run of the
    lowest seed.

    Args:
      shown: the groups, the best first.
      names: short names, of `tables.labels`.
      chosen: names of test sets; None for the first that the paper has, or else the first.
      data_dir: the folder of the data sets; '' leaves it to the run's config, or SRCNN_DATA_DIR.

    Raises:
      FileNotFoundError: if a test set is nowhere to be had.
      ValueError: if a run was not tested on a set, or the set has changed since.
    """
    sharing: dict[tuple[str, str, int, str, Degradation], list[Group]] = {}
    for group in shown:
        run = group.first
        for dataset in [_default_set(group)] if chosen is None else chosen:
            if dataset not in run.result.scores:
                raise ValueError(
                    f"{run.folder} was not tested on {dataset!r}: choose --images from "
                    f"{','.join(run.result.scores)}"
                )
            network = run.network
            made = network.degradation
            key = (dataset, run.fingerprint(dataset), run.scale, network.colour, made)
            sharing.setdefault(key, []).append(group)
    tests: dict[tuple[str, str, int, str, Degradation], list[evaluate.TestImage]] = {}
    for key, members in sharing.items():
        name, fingerprint, scale, colour, degradation = key
        run = members[0].first
        found = datasets.load(name, data_dir=data_dir or run.config["data"].get("dir") or None)
        if found.fingerprint != fingerprint:
            raise ValueError(
                f"{name} in {found.source} is not what {run.folder} was tested on: name the "
                "folder of that by --data_dir, or choose other --images"
            )
        if chosen is None:
            images = found.images[:: _stride(len(found.images))]
            found = dataclasses.replace(found, images=images)
        tests[key] = evaluate.create_test_images(found, scale, colour, degradation)
    side = _side([test.truth.shape for key in tests for test in tests[key] for _ in sharing[key]])
    return [
        _viewer(test, members, names, key[0], side)
        for key, members in sharing.items()
        for test in tests[key]
    ]


def parts(shown: Sequence[Group], chosen: Sequence[str] | None) -> list[tuple[str, int, int]]:
    """(test set, its images that are shown, all of its images), where not all are."""
    if chosen is not None:
        return []
    counts = {}
    for group in shown:
        name = _default_set(group)
        images = group.first.result.scores[name]["images"]
        if len(images) > IMAGES:
            counts[name] = (len(images[:: _stride(len(images))]), len(images))
    return [(name, *count) for name, count in counts.items()]


def _stride(count: int) -> int:
    """Every which image is shown of a test set that the user did not choose."""
    return math.ceil(count / IMAGES)


def _default_set(group: Group) -> str:
    """The test set whose images are shown unless the user chooses."""
    scores, scale = group.first.result.scores, group.first.scale
    known = [name for name in scores if (name, scale) in paper.SRCNN_915_T91]
    return known[0] if known else next(iter(scores))


def _side(shapes: Sequence[tuple[int, ...]]) -> int:
    """The longest side of a picture at which all have `PIXELS` pixels, or `MIN_SIDE`.

    Args:
      shapes: of the whole images, one for each result of a network.
    """
    longest = max((max(shape) for shape in shapes), default=MIN_SIDE)
    pictures = np.array([shape[:2] for shape in shapes]).reshape(-1, 2)
    for side in range(longest, MIN_SIDE, -4):
        # Ground truth and bicubic add two pictures to each image: two fifths, of five groups.
        if 1.4 * np.minimum(pictures, side).prod(axis=1).sum() <= PIXELS:
            return side
    return MIN_SIDE


def _worst_part(test: evaluate.TestImage, colour: str, side: int) -> tuple[slice, slice]:
    """The part, at most `side` pixels high and wide, where bicubic errs most, in squared error."""
    bicubic = evaluate.to_luminance(test.bicubic, colour, test.luminance)
    height, width = (min(side, size) for size in test.truth.shape)
    errors = (test.truth.astype(np.float64) - bicubic) ** 2
    sums = np.pad(errors, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    parts = sums[height:, width:] - sums[:-height, width:]
    parts -= sums[height:, :-width] - sums[:-height, :-width]
    top, left = np.unravel_index(parts.argmax(), parts.shape)
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)


def _pictures_of(
    test: evaluate.TestImage, group: Group, part: tuple[slice, slice]
) -> dict[str, np.ndarray]:
    """`evaluate.pictures` of a part. The network sees what its receptive field needs beside it."""
    network, scale = group.first.network, group.first.scale
    radius = network.architecture.receptive_field_radius
    around = tuple(slice(max(0, each.start - radius), each.stop + radius) for each in part)
    within = tuple(
        slice(each.start - wide.start, each.stop - wide.start)
        for each, wide in zip(part, around, strict=True)
    )
    planes = test.enlarged.copy()
    planes[part] = predict(network, test.enlarged[around])[within]
    return {
        name: pixels[part]
        for name, pixels in evaluate.pictures(test, planes, network.colour, scale).items()
    }


def _viewer(
    test: evaluate.TestImage,
    members: Sequence[Group],
    names: Mapping[str, str],
    dataset: str,
    side: int,
) -> Viewer:
    network, scale = members[0].first.network, members[0].first.scale
    part = _worst_part(test, network.colour, side)
    height, width = (each.stop - each.start for each in part)
    title = f"{test.name.removesuffix('_GT')}, {names[dataset]} x{scale}"
    shown = f"{width} × {height} of {test.truth.shape[1]} × {test.truth.shape[0]} pixels"
    if (height, width) == test.truth.shape:
        shown = ""
    pictures: list[Picture] = []
    gain = 0.0
    for group in members:
        made = _pictures_of(test, group, part)
        rows = group.first.result.scores[dataset]["images"]
        row = next(row for row in rows if row["name"] == test.name)
        psnr = {
            method: f"{tables.format_score(row[method]['psnr'], 'psnr')} dB"
            for method in tables.METHODS
        }
        if not pictures:
            pictures.append(Picture("ground truth", "", webp(made["original"])))
            pictures.append(Picture("bicubic", psnr["bicubic"], webp(made["bicubic"])))
            gain = (row["srcnn"]["psnr"] or math.inf) - (row["bicubic"]["psnr"] or math.inf)
        label = "SRCNN" if len(members) == 1 else names[group.path]
        if len(group.runs) > 1:
            label += f", seed {group.first.seed}"
        pictures.append(Picture(label, psnr["srcnn"], webp(made["srcnn"])))
    return Viewer(title, shown, width, height, gain, pictures)


def create_page(
    workdirs: Sequence[Workdir], chosen: Sequence[str] | None, data_dir: str = ""
) -> str:
    """The HTML of the report; raises as `viewers`.

    Args:
      workdirs: what was asked for.
      chosen, data_dir: as `viewers`.
    """
    runs = list({run.folder: run for each in workdirs for run in each.runs}.values())
    metrics = {each.metric for each in workdirs}
    metric = metrics.pop() if len(metrics) == 1 else None
    comparisons = groups.compare(groups.group_runs(runs), metric)
    ordered = [group for each in comparisons for group in each.groups]
    tests = [name for run in runs for name in (*run.result.scores, run.validation)]
    paths = [*(group.path for group in ordered), *(run.folder for run in runs)]
    names = tables.labels(dict.fromkeys([*paths, *(str(each.folder) for each in workdirs), *tests]))
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
        title=names[str(workdirs[0].folder)] + (" and others" if len(workdirs) > 1 else ""),
        workdirs=workdirs,
        runs=runs,
        comparisons=comparisons,
        ordered=ordered,
        names=names,
        tables=tables,
        charts=[
            (chart.draw_training(each, names), chart.draw_valid_region(each, names))
            for each in comparisons
        ],
        chart=chart,
        viewers=viewers(ordered, names, chosen, data_dir),
        parts=parts(ordered, chosen),
        mosaics={group.path: mosaic(group.first.network.layers[0]["kernel"]) for group in ordered},
        png=png,
        few=FEW,
        few_filters=FILTERS,
        most_rows=ROWS,
        style=markupsafe.Markup(style),
        script=markupsafe.Markup(script),
        script_sum=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
