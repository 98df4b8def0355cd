"""Table 1 of the paper (TPAMI): the number of filters, 9-1-5, Set5 x3, PSNR and seconds.

    python -m experiments.paper.n1_n2 WORKDIR --budget=short

The seconds of an image are measured on this machine as `running_time` measures them: the mean over
the images of Set5, with bicubic enlargement. The paper's are of C++ on an Intel CPU of 3.10 GHz.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from experiments.paper import running_time, study
from srcnn_jax import datasets, weights

if TYPE_CHECKING:
    import pandas as pd

# PSNR after 8e8 patches of ImageNet, and seconds for an image.
PUBLISHED: dict[str, float | None] = {"128-64": 32.60, "64-32": 32.52, "32-16": 32.26}
PUBLISHED_SECONDS = {"128-64": 0.60, "64-32": 0.18, "32-16": 0.05}
EXPERIMENTS = {filters: study.network("9-1-5", filters) for filters in PUBLISHED}


def with_seconds(frame: pd.DataFrame, seconds: Mapping[str, float]) -> pd.DataFrame:
    """Adds the seconds of an image to the table of `study.compare`.

    Args:
      frame: with the column network.
      seconds: as `running_time.measure` returns them.
    """
    ours = [seconds[name] + seconds["bicubic"] for name in frame["network"]]
    theirs = [PUBLISHED_SECONDS[name] for name in frame["network"]]
    frame = frame.rename(columns={"seconds": "seconds of training"})
    return frame.assign(
        **{
            "s an image, paper": [f"{each:.2f}" for each in theirs],
            "s an image, ours": [f"{each:.3f}" for each in ours],
            "paper / ours": [f"{a / b:.1f}" for a, b in zip(theirs, ours, strict=True)],
        }
    )


def main() -> None:
    args = study.options(__doc__, seeds=3)
    from srcnn_jax import evaluate  # after the flags: it loads JAX

    results = study.train_runs(EXPERIMENTS, args)
    frame = study.compare(results, PUBLISHED)
    networks = {name: weights.load(seeds[0].folder) for name, seeds in results.items()}
    dataset = datasets.load("set5", data_dir=args.data_dir or None)
    images = evaluate.create_test_images(dataset, running_time.SCALE, "y")
    seconds, rate = running_time.measure(networks, images, args.budget)
    title = "Number of filters n1-n2, 9-1-5, Set5 x3 (TPAMI, Table 1). Seconds of an image: "
    title += running_time.describe_machine(rate)
    study.write(with_seconds(frame, seconds), "n1_n2", title, args)


if __name__ == "__main__":
    main()
