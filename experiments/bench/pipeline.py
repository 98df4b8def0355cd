"""Does the input pipeline hold training back? Its throughput over that of one fixed batch.

    python -m experiments.bench.pipeline --config=configs/default.py:x3

Runs the project's own training dispatches in turn on batches from the tf.data pipeline and on one
batch that stays on the devices, and prints the ratio of their rates, pair by pair (the median
counts: other load on the machine spoils single pairs).
"""

import statistics
import time

from absl import app, flags
from ml_collections import config_flags

flags.DEFINE_integer("pairs", 30, "Dispatches of either kind.")
config_flags.DEFINE_config_file("config", None, "As in srcnn_jax.main.")
FLAGS = flags.FLAGS


def main(argv: list[str]) -> None:
    del argv
    from srcnn_jax import parallel, train

    config = FLAGS.config
    parallel.start(config.train.batch_size, config.train.devices)
    devices = parallel.choose_devices(config.train.batch_size, config.train.devices)
    data = train.load_data(config)
    steps = range((FLAGS.pairs + 2) * config.train.steps_per_dispatch)
    run, batches = train.create_steps(config, data.source, devices, steps)
    fixed = next(batches)
    state = parallel.replicate(train.create_train_state(config), devices)
    state, losses = run(state, fixed)
    losses.block_until_ready()

    def timed(get) -> float:
        nonlocal state
        start = time.perf_counter()
        state, losses = run(state, get())
        losses.block_until_ready()
        return time.perf_counter() - start

    # The pipeline works ahead, also while the fixed batch is trained on, and its thread would
    # steal from that one's time; so the fixed batch is timed with the queue full and idle.
    ratios = []
    for _ in range(FLAGS.pairs):
        time.sleep(0.5)
        alone = timed(lambda: fixed)
        ratios.append(alone / timed(lambda: next(batches)))
    quartiles = statistics.quantiles(ratios, n=4)
    print(
        f"pipeline over fixed batch: {quartiles[1]:.3f} ({quartiles[0]:.3f} to {quartiles[2]:.3f})"
    )


if __name__ == "__main__":
    app.run(main)
