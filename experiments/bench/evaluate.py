"""How long do the six metrics take, beside another checkout? Both evaluate one network in turn.

    git worktree add ../before 6bf150f
    python -m experiments.bench.evaluate ../before --images=30 --rounds=3

A round evaluates the x3 network that ships on Set5, Set14 and the first images of BSD200, with all
six metrics, in a process for each checkout. Reading the images and a first evaluation, which
compiles, are not counted. The seconds stand beside the processor's seconds of the process, which
other work on the machine disturbs less. The largest difference is that of a mean score of bicubic,
which only the metrics and `imresize` can change.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import machine, runner
from srcnn_jax import paths

# It runs in the other checkout, too, and so uses what all have.
EVALUATION = """
import dataclasses, json, sys, time
from srcnn_jax import datasets, evaluate, weights
network, count = weights.load(sys.argv[1]), int(sys.argv[2])
tests = [datasets.load(name) for name in ("set5", "set14", "bsd200")]
tests[2] = dataclasses.replace(tests[2], images=tests[2].images[:count])
six = {"metric_names": "psnr,ssim,msssim,ifc,nqm,wpsnr"}
evaluate.evaluate(network, [dataclasses.replace(tests[0], images=tests[0].images[:1])], 3, **six)
seconds, processor = time.perf_counter(), time.process_time()
scores = evaluate.evaluate(network, tests, 3, **six)["datasets"]
answer = {
    "seconds": time.perf_counter() - seconds,
    "processor_seconds": time.process_time() - processor,
    "scores": {name: each["mean"] for name, each in scores.items()},
}
print(json.dumps(answer))
"""


def measure(checkout: pathlib.Path, images: int) -> dict[str, Any]:
    """Evaluates in a process of a checkout; exits with its last line if it fails.

    Returns:
      {'seconds', 'processor_seconds', 'scores': {test set: {method: {metric: mean}}}}.
    """
    network = runner.ROOT / "srcnn_jax" / "pretrained" / "srcnn_915_x3.safetensors"
    command = [sys.executable, "-c", EVALUATION, str(network), str(images)]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"error: {checkout}: {runner.reason(done.returncode, done.stderr)}")
    return json.loads(done.stdout.splitlines()[-1])


def largest_difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    """The largest difference of two 'scores' of bicubic."""
    return max(
        abs(value - b[name]["bicubic"][metric])
        for name, means in a.items()
        for metric, value in means["bicubic"].items()
    )


def table(rounds: Sequence[Mapping[str, Any]]) -> str:
    """The rounds as Markdown, and the medians of the ratios.

    Args:
      rounds: {'gflops', 'before', 'ours'}, with what `measure` returns of both.
    """
    lines = ["| GF/s | before, s | ours, s | ratio | processor, before | ours | ratio |"]
    lines.append("|---" * 7 + "|")
    ratios: dict[str, list[float]] = {"seconds": [], "processor_seconds": []}
    for each in rounds:
        cells = [f"{each['gflops']:.0f}"]
        for key, found in ratios.items():
            before, ours = each["before"][key], each["ours"][key]
            found.append(ours / before)
            cells += [f"{before:.1f}", f"{ours:.1f}", f"{ours / before:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    difference = max(largest_difference(r["before"]["scores"], r["ours"]["scores"]) for r in rounds)
    wall, processor = (statistics.median(found) for found in ratios.values())
    lines.append(
        f"\nmedian ratio {wall:.2f} in seconds, {processor:.2f} in the processor's seconds; "
        f"largest difference of bicubic's means {difference:.1e}"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.bench.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("checkout", type=paths.argument, help="folder of the other checkout")
    parser.add_argument("--images", type=int, default=30, help="of BSD200 (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    args = parser.parse_args()
    if not (args.checkout / "srcnn_jax").is_dir():
        parser.error(f"{args.checkout} is no checkout: it has no srcnn_jax")
    for name in ("images", "rounds"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} must be positive, not {getattr(args, name)}")
    rounds = []
    for number in range(args.rounds):
        rounds.append(
            {
                "gflops": machine.rate(),
                "before": measure(args.checkout, args.images),
                "ours": measure(runner.ROOT, args.images),
            }
        )
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
    print(table(rounds))


if __name__ == "__main__":
    main()
