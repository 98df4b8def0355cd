"""The filter-size study of the paper (TPAMI, section 4.3.2), 64-32 filters, Set5 x3.

    python -m experiments.paper.filter_sizes WORKDIR --budget=short

`experiments.paper.curves` plots figure 7 of it, `experiments.paper.running_time` figure 12.
"""

from experiments.paper import study

# PSNR after 8e8 patches of ImageNet.
PUBLISHED: dict[str, float | None] = {
    "9-1-5": 32.52,
    "11-1-7": 32.57,
    "9-3-5": 32.66,
    "9-5-5": 32.75,
}
EXPERIMENTS = {sizes: study.network(sizes) for sizes in PUBLISHED}


def main() -> None:
    title = "Filter sizes f1-f2-f3, Set5 x3 (TPAMI, 4.3.2)"
    study.main(EXPERIMENTS, PUBLISHED, "filter_sizes", title, __doc__)


if __name__ == "__main__":
    main()
