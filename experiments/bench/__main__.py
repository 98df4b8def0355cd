"""How fast it is, beside whatever peers are installed (requirements-bench.txt), interleaved.

    python -m experiments.bench train|vmap|preconditioner|predict [--gpu] [--rounds=N]
    python -m experiments.bench pipeline|startup|enlargers [--rounds=N]

--output=FILE writes all times as JSON.

`compare.py` says how the contestants take turns, and what the tables have. With --gpu, ours and
PyTorch are on one GPU, the first, and so is the matrix product, of the same precision. Without, all
are on the CPU, also where there is a GPU.
"""

import argparse
import json

from experiments import runner
from experiments.bench import enlargers, pipeline, predict, startup, train
from srcnn_jax import paths

BENCHMARKS = {
    "train": train.benchmark_training,
    "vmap": train.benchmark_vmap,
    "preconditioner": train.benchmark_preconditioner,
    "predict": predict.benchmark_prediction,
    "pipeline": pipeline.benchmark_pipeline,
    "startup": startup.benchmark_startup,
    "enlargers": enlargers.benchmark_enlargers,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.bench",
        description=__doc__.partition("\n")[0],
        allow_abbrev=False,
    )
    parser.add_argument("benchmark", choices=BENCHMARKS)
    parser.add_argument("--rounds", type=int, default=9, help="(default: %(default)s)")
    parser.add_argument("--gpu", action="store_true", help="all but pipeline, startup, enlargers")
    parser.add_argument("--output", type=paths.argument, help="JSON file to write, with all times")
    args = parser.parse_args()
    if args.rounds < 2:
        parser.error(f"--rounds is at least 2, for a spread, not {args.rounds}")
    if args.gpu and args.benchmark in ("pipeline", "startup", "enlargers"):
        parser.error(
            f"--gpu is for train, vmap, preconditioner and predict, not for {args.benchmark}"
        )
    if args.gpu and not runner.list_gpus():
        parser.error("--gpu needs an NVIDIA GPU, and `nvidia-smi -L` lists none")
    results = BENCHMARKS[args.benchmark](args.rounds, args.gpu)
    if args.output:
        args.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
