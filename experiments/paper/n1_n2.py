"""Table 1 of the paper (TPAMI): the number of filters, 9-1-5, Set5 x3.

python -m experiments.paper.n1_n2 WORKDIR --budget=short
"""

from experiments.paper import study

# PSNR after 8e8 patches of ImageNet.
PUBLISHED: dict[str, float | None] = {"128-64": 32.60, "64-32": 32.52, "32-16": 32.26}
RUNS = {filters: study.network("9-1-5", filters) for filters in PUBLISHED}


def main() -> None:
    choices = study.options(__doc__, seeds=3)
    frame = study.compare(study.train(RUNS, choices), PUBLISHED)
    study.write(frame, "n1_n2", "Number of filters n1-n2, 9-1-5, Set5 x3 (TPAMI, Table 1)", choices)


if __name__ == "__main__":
    main()
