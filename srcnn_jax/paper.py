"""The papers' numbers, and our results beside them: rows, and the table that main prints.

Every table that compares with the paper uses the rows of `beside_915` and `beside_955`.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from srcnn_jax import degradation
from srcnn_jax.degradation import RELEASED, Degradation


class Score(NamedTuple):
    """A method's scores on an image or a test set, by the names of metrics.py.

    None means that the paper has no such score.
    """

    psnr: float
    ssim: float | None = None
    msssim: float | None = None
    ifc: float | None = None
    nqm: float | None = None
    wpsnr: float | None = None


# ECCV 2014, Tables 1 and 2: SRCNN 9-1-5, n1 = 64, n2 = 32, trained on T91, PSNR of every image.
SRCNN_915_T91: dict[tuple[str, int], dict[str, float]] = {
    ("set5", 2): {"baby": 38.3, "bird": 40.64, "butterfly": 32.2, "head": 35.64, "woman": 34.94},
    ("set5", 3): {"baby": 35.01, "bird": 34.91, "butterfly": 27.58, "head": 33.55, "woman": 30.92},
    ("set5", 4): {"baby": 32.98, "bird": 31.98, "butterfly": 25.07, "head": 32.19, "woman": 28.21},
    ("set14", 3): {
        "baboon": 23.6,
        "barbara": 26.66,
        "bridge": 25.07,
        "coastguard": 27.2,
        "comic": 24.39,
        "face": 33.58,
        "flowers": 28.97,
        "foreman": 33.35,
        "lenna": 33.39,
        "man": 28.18,
        "monarch": 32.39,
        "pepper": 34.35,
        "ppt3": 26.02,
        "zebra": 28.87,
    },
}

# Means from the same tables.
SRCNN_915_T91_MEAN = {
    ("set5", 2): Score(36.34),
    ("set5", 3): Score(32.39),
    ("set5", 4): Score(30.09),
    ("set14", 3): Score(29.0),
}

# TPAMI 2016, means of Tables 2, 3 and 4: (bicubic, SRCNN 9-5-5 trained on ImageNet).
BICUBIC_AND_SRCNN_955_IMAGENET_MEAN = {
    ("set5", 2): (
        Score(33.66, 0.9299, 0.9915, 6.1, 36.73, 50.06),
        Score(36.66, 0.9542, 0.9959, 8.05, 41.13, 59.49),
    ),
    ("set5", 3): (
        Score(30.39, 0.8682, 0.9754, 3.52, 27.54, 41.65),
        Score(32.75, 0.909, 0.9866, 4.58, 33.21, 47.1),
    ),
    ("set5", 4): (
        Score(28.42, 0.8104, 0.9516, 2.35, 21.42, 37.21),
        Score(30.49, 0.8628, 0.9725, 3.01, 25.96, 41.13),
    ),
    ("set14", 2): (
        Score(30.23, 0.8687, 0.9813, 6.09, 40.98, 47.64),
        Score(32.45, 0.9067, 0.9897, 7.76, 38.95, 55.39),
    ),
    ("set14", 3): (
        Score(27.54, 0.7736, 0.9512, 3.41, 33.15, 39.72),
        Score(29.3, 0.8215, 0.9675, 4.26, 35.25, 44.32),
    ),
    ("set14", 4): (
        Score(26.0, 0.7019, 0.9134, 2.23, 26.15, 35.71),
        Score(27.5, 0.7513, 0.9376, 2.74, 30.46, 38.87),
    ),
    ("bsd200", 2): (
        Score(28.38, 0.8524, 0.978, 5.3, 36.84, 46.15),
        Score(30.29, 0.8977, 0.9883, 7.21, 39.66, 53.58),
    ),
    ("bsd200", 3): (
        Score(25.94, 0.7469, 0.9426, 3.05, 28.45, 38.6),
        Score(27.18, 0.7971, 0.9614, 3.91, 34.72, 42.29),
    ),
    ("bsd200", 4): (
        Score(24.65, 0.6727, 0.9005, 1.95, 21.72, 34.86),
        Score(25.6, 0.7184, 0.9261, 2.45, 25.65, 37.24),
    ),
}


# Digits after the decimal point, in all tables that compare with the paper.
DIGITS = {"psnr": 2, "ssim": 4, "msssim": 4, "ifc": 2, "nqm": 2, "wpsnr": 2}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One of our scores beside the paper's.

    Attributes:
      dataset, scale: name of the test set, and factor of the enlargement.
      image: name of the image without the '_GT' of Set5's files, or 'mean'.
      metric: name of the metric, as in metrics.py.
      bicubic, ours: our scores of bicubic and of the method. PSNR of equal images is infinite.
      paper_bicubic, paper: the paper's scores; None if the paper has none.
    """

    dataset: str
    scale: int
    image: str
    metric: str
    bicubic: float
    ours: float
    paper_bicubic: float | None = None
    paper: float | None = None

    @property
    def bicubic_difference(self) -> float | None:
        """Our bicubic minus the paper's; None if the paper has no score or ours is infinite."""
        return _difference(self.bicubic, self.paper_bicubic)

    @property
    def difference(self) -> float | None:
        """Our method's score minus the paper's; None as in `bicubic_difference`."""
        return _difference(self.ours, self.paper)


def _difference(ours: float, paper: float | None) -> float | None:
    return None if paper is None or math.isinf(ours) else ours - paper


def degradation_of(result: Mapping[str, Any]) -> Degradation:
    """How the small images of a result were made.

    Raises:
      ValueError: if the result does not hold what it should.
    """
    protocol = result.get("protocol")  # earlier versions had none, and the released code's images
    return degradation.from_fields(protocol["degradation"]) if protocol else RELEASED


def why_not_beside(result: Mapping[str, Any]) -> str:
    """Why a result does not compare with the paper's numbers, in a line; '' if it does.

    Args:
      result: as `beside_915`.
    """
    scale, protocol = result["scale"], result.get("protocol", {})
    reasons = []
    if degradation_of(result) != RELEASED:
        reasons.append(f"its small images are made by {degradation_of(result)}, not by {RELEASED}")
    for name, papers in (("crop", scale), ("border", scale), ("peak", 255)):
        if protocol.get(name, papers) != papers:
            reasons.append(f"its {name} is {protocol[name]}, not {papers}")
    return "not beside the paper's numbers: " + ", and ".join(reasons) if reasons else ""


def mismatches(result: Mapping[str, Any]) -> list[str]:
    """A line for each network that was trained for something else than it is tested on."""
    tested, lines = degradation_of(result), []
    for name, network in result.get("networks", {}).items():
        trained = degradation.from_fields(network["degradation"])
        if trained != tested:
            lines.append(f"{name} was trained for {trained}, and is tested on {tested}")
        if network["scale"] not in (None, result["scale"]):
            lines.append(
                f"{name} was trained for x{network['scale']}, and is tested at x{result['scale']}"
            )
    return lines


def beside_915(result: Mapping[str, Any], method: str | None = None) -> list[Comparison]:
    """Compares every image and mean with the paper's SRCNN 9-1-5 trained on T91 (PSNR only).

    Args:
      result: the result of `evaluate.evaluate_all` or `evaluate.evaluate_outputs`, or the content
        of `eval.json`, where null means infinity.
      method: name of the network; None for the first.

    Returns:
      Rows by test set, image (the mean is last) and metric, in the order of the result. A result
      that does not compare (`why_not_beside`) has no scores of the paper beside it.
    """
    rows = []
    scale = result["scale"]
    comparable = not why_not_beside(result)
    for name, entry in result["datasets"].items():
        images = SRCNN_915_T91.get((name, scale), {}) if comparable else {}
        mean = SRCNN_915_T91_MEAN.get((name, scale)) if comparable else None
        for scores in entry["images"]:
            label = scores["name"].removesuffix("_GT")
            published = {"psnr": images.get(label)}
            rows += _compare(name, scale, label, scores, None, published, method)
        published = {"psnr": mean and mean.psnr}
        rows += _compare(name, scale, "mean", entry["mean"], None, published, method)
    return rows


def beside_955(result: Mapping[str, Any]) -> list[Comparison]:
    """Compares the means with the paper's bicubic and SRCNN 9-5-5 trained on ImageNet.

    Args:
      result: as `beside_915`.

    Returns:
      Rows by test set and metric. A test set or scale that the paper lacks has no rows, nor has a
      result that does not compare (`why_not_beside`).
    """
    rows: list[Comparison] = []
    scale = result["scale"]
    if why_not_beside(result):
        return rows
    for name, entry in result["datasets"].items():
        if published := BICUBIC_AND_SRCNN_955_IMAGENET_MEAN.get((name, scale)):
            bicubic, srcnn = (score._asdict() for score in published)
            rows += _compare(name, scale, "mean", entry["mean"], bicubic, srcnn)
    return rows


def _compare(
    dataset: str,
    scale: int,
    image: str,
    scores: Mapping[str, Any],
    bicubic: Mapping[str, float | None] | None,
    srcnn: Mapping[str, float | None],
    method: str | None = None,
) -> list[Comparison]:
    """Returns a row for each metric of an image or mean. `bicubic` and `srcnn` are the paper's."""
    ours = scores[method or methods_of(scores)[0]]
    return [
        Comparison(
            dataset=dataset,
            scale=scale,
            image=image,
            metric=metric,
            bicubic=_number(scores["bicubic"][metric]),
            ours=_number(ours[metric]),
            paper_bicubic=(bicubic or {}).get(metric),
            paper=srcnn.get(metric),
        )
        for metric in ours
    ]


def methods_of(scores: Mapping[str, Any]) -> list[str]:
    """Returns the methods of a result: 'srcnn', several networks, or 'outputs' of a program.

    Raises:
      LookupError: if there is none.
    """
    methods = [kind for kind in scores if kind not in ("name", "bicubic")]
    if not methods:
        raise LookupError("there is no method")
    return methods


def _number(score: float | None) -> float:
    return math.inf if score is None else score


def by_image(rows: Sequence[Comparison]) -> list[list[Comparison]]:
    """Groups the rows of one test set by image: one list holds all metrics of an image."""
    count = len(dict.fromkeys(row.metric for row in rows))
    return [list(rows[i : i + count]) for i in range(0, len(rows), count)]


def format_score(score: float | None, metric: str) -> str:
    """Formats a score with the digits of its metric; None, which the paper lacks, is a dash."""
    return "–" if score is None else f"{score:.{DIGITS[metric]}f}"


def format_difference(difference: float, metric: str) -> str:
    """Formats a difference of scores with its sign and the digits of its metric."""
    return f"{difference:+.{DIGITS[metric]}f}"


def format_table(result: Mapping[str, Any]) -> str:
    """Formats a result as a text table, with the paper's scores if the paper has them.

    Lines after the table say why a result does not compare with the paper, and which networks were
    trained for something else.

    Args:
      result: as `beside_915`.
    """
    tables = [
        _format_dataset(name, {**result, "datasets": {name: entry}})
        for name, entry in result["datasets"].items()
    ]
    notes = [*filter(None, [why_not_beside(result)]), *mismatches(result)]
    return "\n\n".join([*tables, "\n".join(notes)] if notes else tables)


def _format_dataset(name: str, result: Mapping[str, Any]) -> str:
    scale, entry = result["scale"], result["datasets"][name]
    methods = methods_of(entry["mean"])
    titles = [method.upper() if method == "srcnn" else method for method in methods]
    metrics = list(entry["mean"][methods[0]])
    published = (name, scale) in SRCNN_915_T91 and not why_not_beside(result)
    alone = len(methods) == 1  # has a column with its difference from the paper
    widths = [max(8 * len(metrics) - 1, len(title)) for title in titles]
    heads = _cells([metric.upper() for metric in metrics])
    made = "" if degradation_of(result) == RELEASED else f", small by {degradation_of(result)}"
    columns = list(zip(titles, widths, strict=True))
    lines = [
        f"{name} x{scale} ({entry['source']}{made})",
        f"{'':16}{'bicubic':>{8 * len(metrics) - 1}}"
        + "".join(f"  {title:>{width}}" for title, width in columns)
        + (f"{'paper 9-1-5':>{13 + 8 * alone}}" if published else ""),
        f"{'image':16}{heads}"
        + "".join(f"  {heads:>{width}}" for width in widths)
        + (f"{'PSNR':>9}" + f"{'difference':>12}" * alone if published else ""),
    ]
    compared = [by_image(beside_915(result, method)) for method in methods]
    for of_image in zip(*compared, strict=True):
        rows = of_image[0]
        bicubic = _cells([format_score(row.bicubic, row.metric) for row in rows])
        line = f"{rows[0].image[:16]:16}{bicubic}"
        for ours, width in zip(of_image, widths, strict=True):
            cells = _cells([format_score(row.ours, row.metric) for row in ours])
            line += f"  {cells:>{width}}"
        psnr = next(row for row in rows if row.metric == "psnr")
        if psnr.paper is not None and psnr.difference is not None:
            line += f"{format_score(psnr.paper, 'psnr'):>9}"
            line += f"{format_difference(psnr.difference, 'psnr'):>12}" * alone
        lines.append(line)
    if rows := beside_955(result):
        bicubic = _cells([format_score(row.paper_bicubic, row.metric) for row in rows])
        srcnn = _cells([format_score(row.paper, row.metric) for row in rows])
        if not alone:  # it belongs to no column of a network
            psnr = next(row for row in rows if row.metric == "psnr")
            srcnn = " " * (sum(widths) + 2 * len(widths) - 2)
            srcnn += f"{format_score(psnr.paper, 'psnr'):>9}"
        lines.append(f"{'paper, 9-5-5':16}{bicubic}  {srcnn:>{widths[0]}}   (ImageNet)")
    return "\n".join(lines)


def _cells(texts: Sequence[str]) -> str:
    """Joins texts in cells of 8 characters; the first cell has 7."""
    return "".join(f"{text:>8}" for text in texts)[1:]
