"""Table 1 of the paper (TPAMI): the number of filters, 9-1-5, Set5 x3.

python -m experiments.paper.n1_n2 WORKDIR --budget=short
"""

from experiments.paper import study

# PSNR after 8e8 patches of ImageNet.
PUBLISHED: dict[str, float | None] = {"128-64": 32.60, "64-32": 32.52, "32-16": 32.26}
EXPERIMENTS = {filters: study.network("9-1-5", filters) for filters in PUBLISHED}


def main() -> None:
    title = "Number of filters n1-n2, 9-1-5, Set5 x3 (TPAMI, Table 1)"
    study.main(EXPERIMENTS, PUBLISHED, "n1_n2", title, __doc__)


if __name__ == "__main__":
    main()
