"""Quality and running time (TPAMI, figure 12): PSNR on Set14, x3, and seconds for an image.

    python -m experiments.paper.running_time WORKDIR --budget=short

Our networks are 9-1-5, 9-3-5 and 9-5-5 of `filter_sizes` in the same WORKDIR. They take turns on
this machine. A time is the median over some rounds for each image, and the mean of that over the
images. The picture has the time of the whole way from the small image, bicubic enlargement (in
NumPy) included. The table has the network's own time, too. The paper does not say what its times
include; they are of C++ on an Intel CPU of 3.10 GHz.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from experiments import machine
from experiments.paper import filter_sizes, study
from srcnn_jax import datasets, degradation, weights

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from srcnn_jax import evaluate

SCALE = 3
ROUNDS = 5


class Point(NamedTuple):
    """PSNR in dB and seconds for an image."""

    psnr: float
    seconds: float


PUBLISHED = {  # read off the vector figure
    "9-1-5": Point(29.14, 0.39),
    "9-3-5": Point(29.24, 1.18),
    "9-5-5": Point(29.30, 2.78),
    "A+": Point(29.13, 0.97),
}
EXPERIMENTS = {
    sizes: filter_sizes.EXPERIMENTS[sizes]
    for sizes in PUBLISHED
    if sizes in filter_sizes.EXPERIMENTS
}


def measure(
    networks: Mapping[str, weights.Network],
    images: Sequence[evaluate.TestImage],
    budget: str,
) -> tuple[dict[str, float], float]:
    """Times an image by each network and by 'bicubic'; returns seconds, and the machine's GF/s.

    Args:
      networks: by name.
      images: a test set, enlarged by SCALE.
      budget: of the study. Smoke is one timed pass over two images, others ROUNDS over all. One
        more pass before compiles.
    """
    from srcnn_jax.predict import predict

    smoke = budget == "smoke"
    images, rounds = (images[:2], 1) if smoke else (images, ROUNDS)
    work: dict[str, list[Callable]] = {
        name: [lambda n=network, t=test: predict(n, t.enlarged) for test in images]
        for name, network in networks.items()
    }
    small = [degradation.shrink(test.enlarged, SCALE) for test in images]
    work["bicubic"] = [lambda x=x: degradation.enlarge(x, SCALE) for x in small]
    times: dict[tuple[str, int], list[float]] = {}
    rates = []
    for number in range(rounds + 1):
        rates.append(machine.rate())
        for name, calls in work.items():
            for index, call in enumerate(calls):
                start = time.perf_counter()
                call()
                seconds = time.perf_counter() - start
                if number > 0:
                    times.setdefault((name, index), []).append(seconds)
    medians = {key: statistics.median(each) for key, each in times.items()}
    means = {
        name: statistics.mean(medians[name, index] for index in range(len(images))) for name in work
    }
    return means, statistics.median(rates)


def plot(ours: Mapping[str, Point], note: str) -> Figure:
    """PSNR over seconds: the paper's points and ours, each with its name beside it."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    figure = Figure(figsize=(7, 4.6), layout="constrained")
    title = f"Running time (TPAMI, figure 12)\n{note}"
    figure.suptitle(title, x=0.01, ha="left", size="medium", linespacing=1.5)
    ax = figure.subplots()
    srcnn = {name: point for name, point in PUBLISHED.items() if name in EXPERIMENTS}
    for points, label, marker, colour in (
        (ours, "SRCNN, ours", "o-", "C0"),
        (srcnn, "SRCNN, paper", "s--", "0.35"),
        ({"A+": PUBLISHED["A+"]}, "A+, paper", "^", "0.35"),
    ):
        seconds = [point.seconds for point in points.values()]
        psnr = [point.psnr for point in points.values()]
        ax.plot(seconds, psnr, marker, color=colour, label=label)
        for index, (name, point) in enumerate(points.items()):
            above = index % 2 == 1  # neighbours' names keep clear of each other
            ax.annotate(
                name,
                (point.seconds, point.psnr),
                (-6, 4) if above else (6, -4),
                textcoords="offset points",
                va="bottom" if above else "top",
                ha="right" if above else "left",
            )
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.set_xlabel("seconds for an image of Set14 (mean)")
    ax.set_ylabel("PSNR on Set14, x3 (dB)")
    ax.margins(0.12)
    ax.grid(color="0.9")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)
    return figure


def table_of_seconds(psnr: Mapping[str, float], seconds: Mapping[str, float]) -> pd.DataFrame:
    """A row for each network.

    Args:
      psnr: our PSNR in dB by network.
      seconds: as `measure` returns them.
    """
    import pandas as pd

    rows = []
    for name, paper in PUBLISHED.items():
        row = {
            "network": name,
            "dB, paper": f"{paper.psnr:.2f}",
            "dB, ours": "–",
            "seconds, paper": f"{paper.seconds:.2f}",
            "ours, with bicubic": "–",
            "ours, network alone": "–",
            "paper / ours": "–",
        }
        if name in psnr:
            whole = seconds[name] + seconds["bicubic"]
            row |= {
                "dB, ours": f"{psnr[name]:.2f}",
                "ours, with bicubic": f"{whole:.3f}",
                "ours, network alone": f"{seconds[name]:.3f}",
                "paper / ours": f"{paper.seconds / whole:.1f}",
            }
        rows.append(row)
    return pd.DataFrame(rows)


def describe_machine(rate: float) -> str:
    """'2 cores, fp32 matrix product 161 GF/s'; `rate` is in GF/s, as `measure` returns it."""
    from srcnn_jax.runtime import available_cores

    count = available_cores()
    return f"{count} core{'s' * (count > 1)}, fp32 matrix product {rate:.0f} GF/s"


def main() -> None:
    args = study.options(__doc__)
    from srcnn_jax import evaluate  # after the flags: they load JAX

    results = study.train_runs(EXPERIMENTS, args)
    networks = {name: weights.load(str(seeds[0].folder)) for name, seeds in results.items()}
    test_set = study.SMOKE_TEST if args.budget == "smoke" else "set14"
    dataset = datasets.load(test_set, data_dir=args.data_dir or None)
    images = evaluate.create_test_images(dataset, SCALE, "y")
    seconds, rate = measure(networks, images, args.budget)
    psnr = {
        name: statistics.mean(result.mean(test_set) for result in seeds)
        for name, seeds in results.items()
    }
    machine = describe_machine(rate)
    ours = {name: Point(psnr[name], seconds[name] + seconds["bicubic"]) for name in networks}
    figure = plot(ours, f"ours, with bicubic: {machine}; the paper: C++, Intel CPU, 3.10 GHz")
    figure.savefig(study.output("running_time", args, ".png"), dpi=150)
    title = "PSNR on Set14, x3, and seconds for an image (TPAMI, figure 12). "
    title += f"Ours: {machine}. {study.describe_cost(results)}"
    study.write(table_of_seconds(psnr, seconds), "running_time", title, args)


if __name__ == "__main__":
    main()
