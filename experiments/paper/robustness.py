"""Does the default recipe hold for every network that people sweep? Set5 x3, both paddings.

    python -m experiments.paper.robustness WORKDIR --set=train.steps=600

Each network is trained from the defaults, with nothing changed but its shape. A network that
fails stops the study, with one line that names it.
"""

from experiments.paper import study

NETWORKS = (
    ("9-1-5", "64-32"),
    ("9-3-5", "64-32"),
    ("9-5-5", "64-32"),
    ("11-1-7", "64-32"),
    ("9-1-5", "128-64"),
    ("9-1-5", "32-16"),
    ("9-1-1-5", "64-32-16"),
    ("9-3-1-5", "64-32-16"),
    ("9-1-1-1-5", "64-32-32-16"),
)
EXPERIMENTS = {
    f"{sizes}, {filters}, {padding}": study.network(sizes, filters, f"x3,{padding}")
    for sizes, filters in NETWORKS
    for padding in ("same", "valid")
}


def main() -> None:
    title = "Other shapes, from the defaults, Set5 x3"
    study.main(EXPERIMENTS, {}, "robustness", title, __doc__, seeds=1)


if __name__ == "__main__":
    main()
