"""The depth study of the paper (TPAMI, section 4.3.3): a fourth and a fifth layer, Set5 x3.

python -m experiments.depth WORKDIR --budget=short
"""

from experiments import study

# Last points of the curves in the paper's figures 8 and 9, ImageNet: PSNR over the valid region,
# about 0.05 dB above its tables. The lengths of training differ: 8 to 14 e8 patches.
PUBLISHED: dict[str, float | None] = {
    "9-1-5": 32.58,
    "9-1-1-5, n22=16": 32.58,
    "9-1-1-5, n22=32": 32.51,
    "9-1-1-1-5, n22=32, n23=16": 32.36,
    "9-3-5": 32.79,
    "9-3-1-5": 32.80,
    "9-3-3-5": 32.69,
    "9-3-3-3": 32.71,
    "9-5-5": 32.83,
    "9-5-1-5": 32.76,
}
MIDDLE = {"9-1-1-5, n22=32": (32,), "9-1-1-1-5, n22=32, n23=16": (32, 16)}  # n22, ...


def _run(name: str) -> study.Run:
    sizes = tuple(map(int, name.split(",")[0].split("-")))
    extra = MIDDLE.get(name, (16,) * (len(sizes) - 3))
    return study.Run(name.replace(", ", "_"), fields=study.shape(sizes, (64, 32, *extra)))


RUNS = {name: _run(name) for name in PUBLISHED}


def main() -> None:
    choices = study.options(__doc__)
    results = study.train(list(RUNS.values()), choices)
    named = {name: results[run.name] for name, run in RUNS.items()}
    frame = study.compare(named, PUBLISHED)
    study.write(frame, "depth", "Depth, Set5 x3 (TPAMI, figures 8 and 9)", choices)


if __name__ == "__main__":
    main()
