"""The training set (TPAMI, section 4.1 and figure 4): T91 against a larger one, 9-1-5, Set5 x3.

    python -m experiments.paper.training_sets WORKDIR --budget=short

The paper's larger set is ImageNet (395,909 images); ours is the training part of BSDS500 (200
images, 14 times the pixels of T91), which anybody can have, without the 50 held-out photographs.
Both together are nearly the 291 images of later work. BSD200, the paper's larger test set, is the
test part of BSDS500: other photographs. `experiments.paper.curves` plots the figure.
"""

from experiments.paper import study

PUBLISHED: dict[str, float | None] = {
    "T91": 32.39,
    "BSDS500 train (paper: ImageNet)": 32.52,
    "T91 and BSDS500 train": None,
}
T91 = study.network()
LARGER = study.variant(T91, "bsds500", {"data.train": "bsds500_train"})
BOTH = study.variant(T91, "t91_bsds500", {"data.train": "t91,bsds500_train"})
EXPERIMENTS = dict(zip(PUBLISHED, (T91, LARGER, BOTH), strict=True))


def main() -> None:
    title = "Training sets, 9-1-5, Set5 x3 (TPAMI, 4.1)"
    study.main(EXPERIMENTS, PUBLISHED, "training_sets", title, __doc__)


if __name__ == "__main__":
    main()
