"""The depth study of the paper (TPAMI, section 4.3.3): a fourth and a fifth layer, Set5 x3.

    python -m experiments.paper.depth WORKDIR --budget=short

`experiments.paper.curves` plots the figures.
"""

from experiments.paper import study

TITLE = """\
Depth: PSNR over the valid region of Set5, x3, as in the paper's figures 8 and 9 (TPAMI), about
0.05 dB more than its tables would have."""
# Last points of the paper's curves, ImageNet. The lengths of training differ: 8 to 14 e8 patches.
PUBLISHED: dict[str, float | None] = {
    "9-1-5": 32.58,
    "9-1-1-5 n22=16": 32.60,
    "9-1-1-5 n22=32": 32.51,
    "9-1-1-1-5 n22=32 n23=16": 32.36,
    "9-3-5": 32.79,
    "9-3-1-5": 32.80,
    "9-3-3-5": 32.69,
    "9-3-3-3": 32.71,
    "9-5-5": 32.83,
    "9-5-1-5": 32.76,
}
MIDDLE = {"9-1-1-5 n22=32": "-32", "9-1-1-1-5 n22=32 n23=16": "-32-16"}  # n22, n23


def _run(name: str) -> study.Experiment:
    sizes = name.split()[0]
    return study.network(sizes, "64-32" + MIDDLE.get(name, "-16" * (sizes.count("-") - 2)))


EXPERIMENTS = {name: _run(name) for name in PUBLISHED}


def main() -> None:
    over_valid_region = study.Result.over_valid_region
    study.main(EXPERIMENTS, PUBLISHED, "depth", TITLE, __doc__, seeds=1, psnr_of=over_valid_region)


if __name__ == "__main__":
    main()
