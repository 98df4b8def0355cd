"""Trains SRCNN on a training set and measures its PSNR on test sets.

    python -m srcnn_jax.main --config=configs/default.py:x4

The folder runs/x4 then holds the network, its scores and its checkpoints. The same command goes on
with a training that was stopped.

--mode says what to do:

    train    trains a network, or goes on with it, and evaluates it (the default)
    eval     evaluates a network: --mode=eval --weights=FILE_OR_WORKDIR
    score    scores the images of another program: --mode=score --outputs=FOLDER
    config   lists the fields of the config, with their values and what they mean

The words after the colon are in the config's file: x2, x3 or x4, 955, valid, runlocal, ... Any
field can be set, as in --config.train.steps=1000 --config.model.features=32,16.

Pictures are enlarged by `python -m srcnn_jax.upscale`.
"""

# This file reads the flags, reports errors and calls the functions for each mode. Heavy imports
# come after the flags are read, so that --help and errors in the flags need no waiting.

import importlib.metadata
import itertools
import os
import pathlib
import re
import runpy
import signal
import sys
import traceback
from typing import Any

# Until the training begins, there is nothing to save, and Ctrl-C ends the command at once. Python
# would raise KeyboardInterrupt in whatever is being imported, which prints it or loses it.
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

try:
    import ml_collections
    from absl import app, flags
    from ml_collections import config_flags

    from srcnn_jax import config_fields, paths, runtime
except ModuleNotFoundError as error:
    if error.name == "srcnn_jax":
        sys.exit("error: start it in the project's checkout, as `python -m srcnn_jax.main`")
    sys.exit(
        f"error: the package {error.name!r} is missing: enlarging needs no more than is installed, "
        'training and evaluation need `pip install "srcnn-jax[train]"`, or requirements.txt'
    )

FLAGS = flags.FLAGS

config_flags.DEFINE_config_file(
    "config", None, "Config file and words, such as configs/default.py:x4.", lock_config=True
)
flags.DEFINE_enum("mode", "train", ["train", "eval", "score", "config"], "What to do.")
flags.DEFINE_string("workdir", None, "Folder of the run; by default runs/ plus the config's name.")
flags.DEFINE_multi_string(
    "weights",
    None,
    "Weight file or workdir to evaluate, or to start training from; --mode=eval takes several.",
)
flags.DEFINE_string(
    "data_dir",
    None,
    "Folder that holds t91, set5, ...; by default SRCNN_DATA_DIR, or a download.",
)
flags.DEFINE_bool(
    "allow_sample", True, "Use sample photographs if the data sets cannot be found or downloaded."
)
flags.DEFINE_bool("save_images", False, "Write the enlarged test images to the workdir, as PNG.")
flags.DEFINE_bool(
    "save_pairs",
    False,
    "With --mode=eval and --mode=score: write PNGs for other programs' metrics, as pyiqa's.",
)
flags.DEFINE_bool(
    "self_ensemble", False, "With --mode=eval: mean over eight flips and rotations of an image."
)
flags.DEFINE_string("outputs", None, "With --mode=score: folder of the images that are scored.")
flags.DEFINE_string("coordinator", None, "host:port of process 0, if the launcher does not set it.")
flags.DEFINE_integer("num_processes", None, "Processes of this job; 1: alone, in any launcher.")
flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")

DEFAULT_CONFIG = pathlib.Path(__file__).parents[1] / "configs" / "default.py"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow-datasets")


def parse_flags(argv: list[str]) -> list[str]:
    """Reads the command line; a mistake in a flag or a config is one line, and exit code 2."""
    runtime.print_any_name()
    try:
        argv = [argv[0], *FLAGS.read_flags_from_files(argv[1:], force_gnu=False)]  # of --flagfile
        rest = FLAGS(argv)
        said, config = _said_config(argv), FLAGS.config
        if said is None:
            raise flags.Error("--config is missing: --config=configs/default.py:x4")
        if config is not None:
            _ = config.keys()  # raises if the file could not be read
        if not isinstance(config, ml_collections.ConfigDict):
            raise flags.Error(
                f"the get_config of {said.partition(':')[0]!r} returns a {type(config).__name__}, "
                "not a ConfigDict: end it by `return config`"
            )
        config_fields.fill_added(config)
        if DEFAULT_CONFIG.is_file():  # not beside an installed package
            known = runpy.run_path(str(DEFAULT_CONFIG))["get_config"]("x2")
            config_fields.check_complete(config, known)
        if len(rest) > 1:
            raise flags.Error(f"unknown argument {rest[1]!r}: flags begin with --")
        return rest
    except Exception as error:  # a config file is code, and may raise anything
        message = _explain(argv, error)
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(2)


def _said_config(argv: list[str]) -> str | None:
    """The value of --config in the command line; None if there is none."""
    said = None
    for arg, after in itertools.pairwise([*argv, ""]):
        name, equals, value = arg.partition("=")
        if name in ("-config", "--config"):
            said = value if equals else after
    return said


def _explain(argv: list[str], error: Exception) -> str:
    """What is wrong with the command line, and how to spell it."""
    words = [word.lstrip("-") for arg in argv[1:] for word in arg.split("=", 1)]
    said = _said_config(argv)
    path = (said or "").partition(":")[0]
    if said is not None and not path:
        return "--config is empty: --config=configs/default.py:x4"
    if path and not pathlib.Path(path).is_file():
        return (
            f"there is no config {path!r} in {os.getcwd()!r}: start from the folder that holds "
            "configs/, the project's checkout, or name the path of a config of your own"
        )
    inner = error  # ml_collections wraps its errors
    while inner.args and isinstance(inner.args[0], Exception):
        inner = inner.args[0]
    message = str(inner.args[0] if isinstance(inner, KeyError) and inner.args else inner).strip()
    if "Traceback" in message:  # around what get_config raised
        return message.splitlines()[-1].partition(": ")[2]
    if isinstance(error, (AttributeError, KeyError)):  # of a field that the config does not have
        try:
            config: Any = FLAGS["config"].parser.parse(said or "")
        except (AttributeError, KeyError):  # the file itself sets it
            return f"the config {path!r} cannot be read: {_first_and_last(message)}"
        for field in [word.removeprefix("config.") for word in words if word.startswith("config.")]:
            if not config_fields.has(config, field):
                return config_fields.explain_unknown(field, config_fields.flatten(config))
    if isinstance(error, flags.UnrecognizedFlagError):
        return f"{message}; --help lists the flags"
    if "earlier failure to load: " in message:
        return f"the config {path!r} cannot be read: {message.partition('failure to load: ')[2]}"
    if "as a ConfigDict" in message:
        return (
            f"{message.partition(': Failed')[0]} is no dict: set one of its fields by a dot and "
            "its name, or write \"{'momentum': 0.9}\""
        )
    if isinstance(error, SyntaxError):
        return (
            f"the config {path!r} cannot be read: SyntaxError: {message}: name a Python file that "
            "defines get_config, as configs/default.py"
        )
    if not isinstance(error, (flags.Error, ValueError, TypeError, OSError)):
        return f"the config {path!r} cannot be read: {type(error).__name__}: {message}"
    return message


def _first_and_last(message: str) -> str:
    """The first sentence, and the last line, where ml_collections says which name may be meant."""
    first, *rest = message.splitlines() or [""]
    return ". ".join([first.partition(". ")[0], *rest[-1:]])


def main(argv: list[str]) -> None:
    del argv
    if FLAGS.mode == "config":
        if hasattr(signal, "SIGPIPE"):  # `| head` ends it
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        print(list_fields())
        return
    runtime.log_plainly()
    os.environ.setdefault("JAX_LOGGING_LEVEL", "WARNING")  # no messages about absent accelerators
    from srcnn_jax.multihost import launch

    config = FLAGS.config
    try:
        job = launch.find(FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id)
        if FLAGS.mode == "train":
            runtime.start(config.train.batch_size, config.train.devices, job.count if job else 1)
        else:
            runtime.start_alone()
        if job:
            launch.join(job)
        with launch.lost_process_as_error():
            run(config)
    except Exception as error:
        line = _one_line(error)
        if line and FLAGS.verbosity <= 0:  # --verbosity=1 shows the traceback
            print(f"error: {line}", file=sys.stderr)
        else:
            traceback.print_exc()
        launch.exit_process(1)


def _one_line(error: Exception) -> str:
    """What the user did wrong, or that the memory is too small; '' for a fault of the program."""
    said = " ".join(str(error).split())
    if isinstance(error, MemoryError) or re.search("RESOURCE_EXHAUSTED|OOM when allocating", said):
        return (
            f"there is not enough memory ({said[:200]}): lower train.batch_size, data.patch_size "
            "or model.features"
        )
    return said if isinstance(error, (ValueError, OSError, ArithmeticError)) else ""


def list_fields() -> str:
    """The fields of the config with their values and comments, for --mode=config."""
    path = pathlib.Path(config_flags.get_config_filename(FLAGS["config"]))
    default = path.with_name("default.py")  # other recipes begin from it
    comments = [config_fields.read_comments(each) for each in (default, path) if each.is_file()]
    return config_fields.describe(
        FLAGS.config, {k: v for each in comments for k, v in each.items()}
    )


def run_notes() -> dict[str, Any]:
    """Returns the command line and the versions of packages, for `run.json`."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"command": sys.argv, "versions": versions}


def run(config) -> None:
    """Runs the mode and prints the table of the result."""
    from srcnn_jax import evaluate, paper, parallel, weights

    is_training = FLAGS.mode == "train"
    for flag in ("workdir", "weights", "data_dir", "outputs"):
        value = FLAGS[flag].value
        if "" in (value if isinstance(value, list) else [value]):
            raise ValueError(f"--{flag} is empty: name a path, or leave the flag out")
    runtime.check_devices()
    if not is_training and not parallel.is_main_process():
        return
    if FLAGS.mode == "eval" and not FLAGS.weights:
        raise ValueError("--mode=eval needs --weights=FILE_OR_WORKDIR")
    if FLAGS.mode == "score" and (FLAGS.weights or not FLAGS.outputs):
        raise ValueError("--mode=score needs --outputs=FOLDER of images to score, not --weights")
    if FLAGS.mode != "score" and FLAGS.outputs:
        raise ValueError(f"--outputs={FLAGS.outputs} goes with --mode=score")
    if FLAGS.mode != "eval" and FLAGS.self_ensemble:
        raise ValueError("--self_ensemble goes with --mode=eval")
    if not config.name:
        raise ValueError("config.name is empty: it names the run, and its folder under runs/")
    if is_training and FLAGS.save_pairs:
        raise ValueError("--save_pairs goes with --mode=eval or --mode=score")
    files = FLAGS.weights or []
    if is_training and len(files) > 1:
        raise ValueError(f"a training starts from one of --weights, not from {len(files)}")
    name = config.name if is_training else f"{config.name}_{FLAGS.mode}"
    folder = FLAGS.workdir or os.path.join("runs", name)
    paths.folder(folder, "--workdir")
    networks = {file: weights.load(file) for file in files}
    where = {
        "data_dir": FLAGS.data_dir,
        "allow_sample": FLAGS.allow_sample,
        "save_images": FLAGS.save_images,
    }
    if is_training:
        result = run_training(config, folder, networks[files[0]] if files else None, where)
    else:
        names = evaluate.network_names(files)
        named = {names[file]: network for file, network in networks.items()}
        how = {
            "outputs": FLAGS.outputs,
            "self_ensemble": FLAGS.self_ensemble,
            "save_pairs": FLAGS.save_pairs,
        }
        result = evaluate.run(config, folder, named, **how, **where)
    if parallel.is_main_process():
        print(paper.format_table(result))


def run_training(config, folder: str, initial, where: dict[str, Any]) -> dict[str, Any]:
    """Runs --mode=train; `initial` is the network to start from, or None."""
    from srcnn_jax import parallel, train, workdir

    try:
        with workdir.explain_full_disk(folder):
            return train.train_and_evaluate(
                config, folder, initial=initial, notes=run_notes(), **where
            )
    except train.Interrupted as stop:
        if parallel.is_main_process():
            print(f"\n{stop}; the same command goes on from there", file=sys.stderr)
        sys.exit(128 + stop.signum)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
