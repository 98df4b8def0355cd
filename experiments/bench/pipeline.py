"""Does the input pipeline hold training back? Its throughput over that of one fixed batch.

    python -m experiments.bench.pipeline --config=configs/default.py:x3

Runs the project's own training dispatches in turn on batches from the tf.data pipeline and on one
batch that stays on the devices, and prints the ratio of their rates. The median over the pairs
counts: other load on the machine spoils single pairs.
"""

import argparse
import statistics
import subprocess
import sys
import time
from typing import Any

from experiments import runner


def benchmark_pipeline(rounds: int, gpu: bool) -> list[dict[str, Any]]:
    """Runs this file in a process of its own, with the default config."""
    del gpu
    command = [sys.executable, "-m", "experiments.bench.pipeline"]
    command += ["--config=configs/default.py:x3", f"--pairs={rounds}"]
    done = subprocess.run(command, cwd=runner.ROOT, stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout, end="")
    return [{"title": "pipeline over fixed batch", "output": done.stdout.strip()}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--config", required=True, help="config and its words, as main's")
    parser.add_argument(
        "--pairs", type=int, default=30, help="dispatches of either kind (default: %(default)s)"
    )
    args = parser.parse_args()
    try:
        _, config = runner.load_config(args.config)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    from srcnn_jax import parallel, runtime, train, train_step  # after the flags: they load JAX

    runtime.start(config.train.batch_size, config.train.devices)
    devices = parallel.choose_devices(config.train.batch_size, config.train.devices)
    data = train.load_data(config)
    steps = range((args.pairs + 2) * config.train.steps_per_dispatch)
    run, batches = train_step.create_steps(config, data.source, devices, steps)
    fixed = next(batches)
    state = parallel.replicate(train_step.create_train_state(config), devices)
    state, losses = run(state, fixed)
    losses.block_until_ready()

    def timed(get) -> float:
        nonlocal state
        start = time.perf_counter()
        state, losses = run(state, get())
        losses.block_until_ready()
        return time.perf_counter() - start

    # The pipeline works ahead, also while the fixed batch is trained on, and its thread would
    # steal from that one's time. So the fixed batch is timed with the queue full and idle.
    ratios = []
    for _ in range(args.pairs):
        time.sleep(0.5)
        alone = timed(lambda: fixed)
        ratios.append(alone / timed(lambda: next(batches)))
    low, median, high = statistics.quantiles(ratios, n=4)
    print(f"pipeline over fixed batch: {median:.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
