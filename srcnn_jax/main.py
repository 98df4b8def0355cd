"""Trains and evaluates SRCNN: `python -m srcnn_jax.main --config=configs/default.py:x4`.

Kept short on purpose: flags, errors and nothing else. What it calls can be called from a notebook.
The heavy imports come after the flags are read, so that --help and a typo answer at once.
"""

import importlib.metadata
import os
import pathlib
import sys
import traceback
from typing import Any

from absl import app, flags
from ml_collections import config_flags

FLAGS = flags.FLAGS

config_flags.DEFINE_config_file(
    "config", None, "Config and its words, as in configs/default.py:x4.", lock_config=True
)
flags.DEFINE_enum("mode", "train", ["train", "eval", "score"], "What to do.")
flags.DEFINE_string("workdir", None, "Folder of the run; by default runs/ and the config's words.")
flags.DEFINE_string(
    "weights", None, "Weight file or workdir: what to evaluate, or to start training from."
)
flags.DEFINE_string("coordinator", None, "host:port of process 0, if no launcher tells it.")
flags.DEFINE_integer("num_processes", None, "Processes of this job; 1: alone, in any launcher.")
flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")

# The devices of a CPU wait for each other. XLA gives up after 40 seconds and aborts, which ends a
# training that was only halted, by Ctrl-Z or a closed lid, or that shares its cores with many.
COLLECTIVE_TIMEOUT_FLAG = "--xla_cpu_collective_call_terminate_timeout_seconds=1000000"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow-datasets")


def parse_flags(argv: list[str]) -> list[str]:
    """Reads the command line; a mistake in a flag or a config is one line, and exit code 2."""
    try:
        rest = FLAGS(argv)
        if FLAGS.config is None:
            raise flags.Error("--config is missing: --config=configs/default.py:x4")
        if len(rest) > 1:
            raise flags.Error(f"unknown argument {rest[1]!r}: flags begin with --")
        return rest
    except (flags.Error, ValueError, KeyError, AttributeError, TypeError, OSError) as error:
        message = str(error.args[0] if isinstance(error, KeyError) else error).strip()
        if "Traceback" in message:  # around what get_config raised
            message = message.splitlines()[-1].partition(": ")[2]
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(2)


def main(argv: list[str]) -> None:
    del argv
    os.environ.setdefault("JAX_LOGGING_LEVEL", "WARNING")  # no talk of absent accelerators
    # JAX reads it when it is imported.
    os.environ["XLA_FLAGS"] = f"{COLLECTIVE_TIMEOUT_FLAG} {os.environ.get('XLA_FLAGS', '')}"
    from srcnn_jax import parallel
    from srcnn_jax.multihost import launch

    config = FLAGS.config
    try:
        job = launch.find(FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id)
        parallel.start(config.train.batch_size, config.train.devices, job.count if job else 1)
        if job:
            launch.join(job)
        with launch.lost_process_as_error():
            run(config)
    except KeyboardInterrupt:
        launch.exit_process(130)
    except Exception as error:
        user_can_mend = isinstance(error, (ValueError, OSError, ArithmeticError))
        if user_can_mend and FLAGS.verbosity <= 0:  # --verbosity=1 shows where
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        else:
            traceback.print_exc()
        launch.exit_process(1)


def run_notes() -> dict[str, Any]:
    """What `run.json` says of a training besides its data and devices."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"command": sys.argv, "versions": versions}


def run(config) -> None:
    """Does what --mode says and prints the table."""
    from srcnn_jax import paper, parallel, weights

    training = FLAGS.mode == "train"
    if not training and not parallel.is_main_process():
        return
    name = config.name if training else f"{config.name}_{FLAGS.mode}"
    folder = FLAGS.workdir or os.path.join("runs", name)
    given = weights.load(FLAGS.weights) if FLAGS.weights else None
    result = (run_training if training else run_evaluation)(config, folder, given)
    if parallel.is_main_process():
        print(paper.format_table(result))


def run_training(config, folder: str, given) -> dict[str, Any]:
    """--mode=train: `train.train_and_evaluate`, from the given weights, if any."""
    from srcnn_jax import parallel, train, workdir

    try:
        with workdir.explain_full_disk(folder):
            return train.train_and_evaluate(config, folder, initial=given, notes=run_notes())
    except train.Interrupted as stop:
        if parallel.is_main_process():
            print(f"\n{stop}; the same command goes on from there", file=sys.stderr)
        sys.exit(128 + stop.signum)


def run_evaluation(config, folder: str, given) -> dict[str, Any]:
    """--mode=eval, of the given weights, or --mode=score; writes `eval.json`."""
    from srcnn_jax import datasets, evaluate, workdir

    if FLAGS.mode == "eval" and given is None:
        raise ValueError("--mode=eval needs --weights=FILE_OR_WORKDIR")
    if FLAGS.mode == "score" and (given is not None or not config.eval.outputs):
        raise ValueError(
            "--mode=score needs --config.eval.outputs=FOLDER of images to score, not --weights"
        )
    evaluate.check_config(config)
    path = pathlib.Path(folder)
    if (path / "config.json").exists():
        raise ValueError(f"{folder} is the workdir of a training: name another --workdir")
    if given and given.scale not in (None, config.scale):
        print(
            f"warning: {FLAGS.weights} was trained for x{given.scale}, and is tested at "
            f"x{config.scale}",
            file=sys.stderr,
        )
    _, tests = datasets.load_all(
        None,
        datasets.dataset_names(config.eval.datasets),
        data_dir=config.data.dir or None,
        allow_sample=config.data.allow_sample,
    )
    if given is None:
        result = evaluate.evaluate_outputs(
            config.eval.outputs, tests, config.scale, config.eval.metrics
        )
    else:
        images = path / "images" if config.eval.save_images else None
        result = evaluate.evaluate(given, tests, config.scale, images, config.eval.metrics)
    path.mkdir(parents=True, exist_ok=True)
    workdir.write_json(path / "eval.json", result)
    return result


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
