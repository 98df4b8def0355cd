"""Training: the data, the loop, the files in the workdir, and how a run resumes after a stop.

The training step is in `train_step.py`.
"""

import collections
import contextlib
import dataclasses
import math
import pathlib
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
from absl import logging

from srcnn_jax import (
    checkpoint,
    datasets,
    degradation,
    evaluate,
    events,
    input_pipeline,
    optimizer,
    parallel,
    paths,
    runtime,
    train_step,
    weights,
    workdir,
)
from srcnn_jax.architecture import context_of, create_architecture
from srcnn_jax.progress import Progress

MAX_WEIGHTS = 10**8
MAX_PATCHES = 2**27  # whose positions are in memory at a time
# Losses are compared as means over so many patches. A single patch may be a hundred times harder
# than another.
COMPARED_PATCHES = 64
# What the error of the first patches counts as at least: that of 40 dB, and before all of them
# were seen, that of a picture that shows nothing of the original.
LEAST_ERROR, UNSURE_ERROR = 1e-4, 0.1
CAUCHY_SCALES = 1e-6, 1e6  # lowest and highest whose square and loss float32 holds
SHOWN_IMAGES = 3  # of the validation set, in TensorBoard


class DivergedError(ArithmeticError):
    """The loss is not finite, or far above that of the first patches."""


class Interrupted(Exception):  # noqa: N818 (not an error: the state is saved)
    """A signal stopped the training, whose state is saved."""

    def __init__(self, signum: int, step: int):
        super().__init__(f"stopped by {signal.Signals(signum).name} after step {step}")
        self.signum = signum


def check_config(config: ml_collections.ConfigDict) -> None:
    """Raises ValueError, with the value and the fix, if a config cannot be trained."""
    evaluate.check_config(config)
    if not datasets.dataset_names(config.data.train):
        raise ValueError("data.train names no training set: 't91', or a folder of images")
    arch = create_architecture(config)
    if arch.weight_count > MAX_WEIGHTS:
        raise ValueError(
            f"model.kernel_sizes {arch.kernel_sizes} and model.features {arch.features} make "
            f"{arch.weight_count:,} weights, more than {MAX_WEIGHTS:,}: lower them"
        )
    smallest = 1 + 2 * arch.margin
    if config.data.patch_size < smallest:
        raise ValueError(
            f"data.patch_size {config.data.patch_size} is too small: this network needs {smallest}"
        )
    factors = tuple(config.data.downscale_factors)
    if not factors or not all(isinstance(f, (int, float)) and 0 < f <= 1 for f in factors):
        raise ValueError(
            f"data.downscale_factors {factors} are not numbers above 0 and up to 1, such as 1.0,0.9"
        )
    copies = config.data.degraded_copies
    if copies < 1 or (copies > 1 and not degradation.from_config(config).is_drawn):
        raise ValueError(
            f"data.degraded_copies is 1, or more with data.degradation.noise or jpeg, not {copies}"
        )
    train = config.train
    for field in ("steps", "batch_size", "steps_per_dispatch", "keep_checkpoints"):
        if train[field] < 1:
            raise ValueError(f"train.{field} must be positive, not {train[field]}")
    if train.batch_size * train.steps_per_dispatch > MAX_PATCHES:
        raise ValueError(
            f"train.batch_size {train.batch_size} times train.steps_per_dispatch "
            f"{train.steps_per_dispatch} is more than {MAX_PATCHES:,} patches: lower one"
        )
    for field in ("log_every", "eval_every", "checkpoint_every"):
        if train[field] < 1 or train[field] % train.steps_per_dispatch:
            raise ValueError(
                f"train.{field} {train[field]} must be a multiple of "
                f"train.steps_per_dispatch {train.steps_per_dispatch}"
            )
    if not train.max_loss_ratio > 1:
        raise ValueError(f"train.max_loss_ratio is above 1, not {train.max_loss_ratio}")
    if config.data.stride < 1:
        raise ValueError(f"data.stride must be positive, not {config.data.stride}")
    train_step.loss_channels(config)
    low, high = CAUCHY_SCALES
    if train.cauchy_scale != 0 and not low <= train.cauchy_scale <= high:  # also true for NaN
        raise ValueError(
            f"train.cauchy_scale is 0, or from {low:g} to {high:g}, not {train.cauchy_scale}"
        )
    if train.keep_weights not in ("last", "best"):
        raise ValueError(f"train.keep_weights is 'last' or 'best', not {train.keep_weights!r}")
    devices = parallel.choose_devices(train.batch_size, train.devices)
    train_step.microbatch_count(config, train.batch_size // len(devices))
    jax.eval_shape(  # checks without computing
        lambda: train_step.first_state(
            config, train_step.initial_params(config, jax.random.key(config.seed))
        )
    )


@dataclasses.dataclass(frozen=True)
class RunData:
    """The data of a run.

    Attributes:
      training: the training set.
      tests: the test sets.
      source: the images of the training set, from which patches are extracted.
      validation: name of the validation set. The PSNR on it is measured during training.
      validation_images: the prepared images of the validation set.
      validation_origin: as `origins`, of the validation set.
    """

    training: datasets.Dataset
    tests: list[datasets.Dataset]
    source: input_pipeline.PatchSource
    validation: str
    validation_images: list[evaluate.TestImage]
    validation_origin: Mapping[str, tuple[str, str]]

    def origins(self) -> dict[str, tuple[str, str]]:
        """(source, fingerprint) of each data set by name, for `workdir.open_run`."""
        return origins(self.training, self.tests)


def origins(
    training: datasets.Dataset, tests: Sequence[datasets.Dataset]
) -> dict[str, tuple[str, str]]:
    """(source, fingerprint) of each data set of a run by name."""
    found: dict[str, tuple[str, str]] = {}
    for each in (training, *tests):
        source, fingerprint = found.get(each.name, (each.source, ""))
        if each.fingerprint != fingerprint:  # 'sample' has two: a training and a test half
            fingerprint += each.fingerprint
        found[each.name] = source, fingerprint
    return found


def load_data(
    config: ml_collections.ConfigDict, *, data_dir: str | None = None, allow_sample: bool = True
) -> RunData:
    """Loads and checks all data of a config.

    Args:
      config: as `configs/default.py`.
      data_dir, allow_sample: as `datasets.load_all`.

    Raises:
      ValueError, FileNotFoundError: as `datasets.load_all`, or if an image is too small.
    """
    training, tests = datasets.load_all(
        config.data.train,
        datasets.dataset_names(config.eval.datasets),
        data_dir=data_dir,
        allow_sample=allow_sample,
    )
    assert training is not None
    source = input_pipeline.create_source(
        training,
        scale=config.scale,
        colour=config.data.colour,
        patch_size=config.data.patch_size,
        downscale_factors=config.data.downscale_factors,
        degradation=degradation.from_config(config),
        copies=config.data.degraded_copies,
        seed=config.seed,
    )
    evaluate.folder_names(tests)  # raises if two are the same
    for test in tests:
        # A test image that is too small is reported now and not after the training.
        evaluate.check_sizes(test, config.scale, config.eval.metrics)
    validation = _load_validation(config, tests, data_dir)
    images = evaluate.create_test_images(
        validation, config.scale, config.data.colour, degradation.from_config(config)
    )
    return RunData(training, tests, source, validation.name, images, origins(validation, []))


def _load_validation(
    config: ml_collections.ConfigDict, tests: list[datasets.Dataset], data_dir: str | None
) -> datasets.Dataset:
    """Loads the validation set; a test set takes its place, with a warning, if it is absent."""
    try:
        return _find_validation(config, tests, data_dir)
    except datasets.DatasetNotFoundError as absent:
        use = "choose the best weights" if config.train.keep_weights == "best" else "measure PSNR"
        logging.warning("%s will %s during training, because %s", tests[0].name, use, absent)
        return tests[0]


def _find_validation(
    config: ml_collections.ConfigDict, tests: list[datasets.Dataset], data_dir: str | None
) -> datasets.Dataset:
    """Finds the validation set among the test sets, or loads it."""
    name = datasets.validation_name(config)
    for test in tests:
        if test.name in (name, "sample"):  # the sample is there because named sets are absent
            return test
    return datasets.load(name, data_dir=data_dir)


def train_and_evaluate(
    config: ml_collections.ConfigDict,
    folder: str,
    *,
    data_dir: str | None = None,
    allow_sample: bool = True,
    save_images: bool = False,
    initial: weights.Network | None = None,
    notes: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Trains, evaluates and saves a network. A call after a stop resumes the training.

    Args:
      config: as `configs/default.py`.
      folder: the workdir; it is made if it does not exist.
      data_dir, allow_sample: as `datasets.load_all`.
      save_images: whether the enlarged test images are also written to the workdir.
      initial: a network to start from. It is part of what a run is: a call that resumes needs it.
      notes: additional content of `run.json` (command line, versions).

    Returns:
      The result of `evaluate.evaluate`, which is also in the workdir's `eval.json`. All processes
      except the first return {} from a training.

    Raises:
      ValueError, FileNotFoundError, OSError: a mistake that the user can correct, in one line.
      BlockingIOError: another process trains in the workdir.
      DivergedError: the loss is not finite or far too high. The last checkpoint is good.
      Interrupted: a process received SIGINT or SIGTERM. Everything is saved.
    """
    began = time.perf_counter()
    if line := runtime.start_if_first(config.train.batch_size, config.train.devices):
        print(line, flush=True)
    check_config(config)
    path = paths.folder(folder, "the workdir").absolute()
    start_from = weights.fingerprint(initial)
    if finished := read_finished(path, config, start_from, data_dir):
        _say(f"{folder} is finished: {_summary(finished)}\n")
        if save_images and not (path / "images").is_dir():
            _say(
                f"its images were not saved: --mode=eval --weights={folder} --save_images does so\n"
            )
        return finished

    main_process = parallel.is_main_process()
    if main_process and (path / workdir.LOCK).exists():
        workdir.lock(path).close()  # says at once if another process trains there
    data = load_data(config, data_dir=data_dir, allow_sample=allow_sample)
    if save_images:
        evaluate.check_file_names(data.tests, config.scale)
    devices = parallel.choose_devices(config.train.batch_size, config.train.devices)
    if checkpoint.latest_step(path / "checkpoints"):
        # It will wait for TensorFlow, whose import takes as long as the rest of the start.
        threading.Thread(target=runtime.import_tensorflow).start()
    state = train_step.create_train_state(config, initial)
    with contextlib.ExitStack() as stack:
        if main_process:
            stack.enter_context(workdir.lock(path))
            notes = {**(notes or {}), "devices": [str(device) for device in devices]}
            workdir.open_run(
                path, config, data.origins(), start_from, notes, data.validation_origin
            )
        parallel.barrier()  # process 0 has opened the workdir
        if not (path / "run.json").exists():
            raise ValueError(
                f"the files that process 0 writes to {path} do not exist for process "
                f"{jax.process_index()}: name a --workdir on a disk that all processes share"
            )
        run, start, saved = restore_run(path, config, train_step.to_arrays(state), stack)
        state = state.replace(**saved)
        _describe(config, data, devices, state.params)
        _say(f"workdir   {path}" + (f", resumed after step {start}" if start else ""))
        progress = create_progress([run], data)
        steps = range(start, config.train.steps)
        state = parallel.replicate(state, parallel.local(devices))
        run_steps, batches = train_step.create_steps(config, data.source, devices, steps, state)
        (params,) = run_loop(
            [run],
            data,
            progress,
            state,
            start,
            run_steps,
            batches,
            lambda state, _: train_step.to_arrays(state),
        ).values()
        if not main_process:
            return {}
        result = finish(run, data, params, save_images=save_images)
    waited = f", {100 * progress.share_waited():.1f} % of it waiting for data"
    _say(
        f"finished  {time.perf_counter() - began:.0f} s, of which training "
        f"{progress.seconds:.0f} s{waited}\n"
        f"saved     {path / 'weights.safetensors'}\n"
        f"result    {_summary(result)}\n"
    )
    return result


def _summary(result: Mapping[str, Any]) -> str:
    """The mean PSNR of each test set in a line."""
    return ", ".join(
        f"{name} x{result['scale']} {entry['mean']['srcnn']['psnr'] or math.inf:.2f} dB "
        f"(bicubic {entry['mean']['bicubic']['psnr'] or math.inf:.2f})"
        for name, entry in result["datasets"].items()
    )


def read_finished(
    path: pathlib.Path, config: ml_collections.ConfigDict, start: str, data_dir: str | None
) -> dict[str, Any] | None:
    """Returns the result of a finished run, or None if the run is not finished.

    Args:
      path: the workdir.
      config: as `configs/default.py`.
      start: `weights.fingerprint` of the weights that this call would begin from.
      data_dir: as `datasets.load_all`. The data of a finished run may be absent.

    Raises:
      ValueError: if the folder belongs to another config, to other data or other initial weights,
        or if a file of it is damaged.
    """
    finished = workdir.read_finished(path, config)
    if finished is None:
        return None
    workdir.check_same_start(path, start)
    tests = datasets.dataset_names(config.eval.datasets)
    with contextlib.suppress(FileNotFoundError):
        training, found = datasets.load_all(
            config.data.train, tests, data_dir=data_dir, allow_sample=False
        )
        assert training is not None
        workdir.check_same_data(path, origins(training, found))
        if config.train.keep_weights == "best":  # else it has no part in the result
            validation = _find_validation(config, found, data_dir)
            workdir.check_same_data(path, origins(validation, []), "validation")
    try:
        weights.load(path)
    except ValueError as error:
        raise ValueError(
            f"{error}: delete it, and the same command writes it again from the last checkpoint"
        ) from error
    workdir.check_seal(path, weights.read_notes(path / "weights.safetensors"))
    return finished


@dataclasses.dataclass(frozen=True)
class OpenRun:
    """A network in training, with its open workdir.

    Attributes:
      config: as `configs/default.py`.
      path: absolute path of the workdir.
      manager: the checkpoints.
      metrics: the writer of `metrics.jsonl`.
      tensorboard: the writer of what TensorBoard shows; None in all processes except the first.
    """

    config: ml_collections.ConfigDict
    path: pathlib.Path
    manager: checkpoint.Manager
    metrics: workdir.MetricWriter
    tensorboard: events.EventWriter | None = None

    def write(self, step: int, **values: float) -> None:
        """Writes metrics that were measured after `step` updates."""
        self.metrics.write(step, **values)
        if self.tensorboard and values.keys() != {
            "loss"
        }:  # a curve needs no point for every update
            self.tensorboard.scalars(step, values)


def restore_run(
    path: pathlib.Path,
    config: ml_collections.ConfigDict,
    fresh: dict[str, Any],
    stack: contextlib.ExitStack,
) -> tuple[OpenRun, int, dict[str, Any]]:
    """Restores the newest good checkpoint of a workdir, and opens its checkpoints and metrics.

    A checkpoint is good if its arrays have the checksum that was saved with them, if the lines of
    `metrics.jsonl` before it are whole, and if `best.safetensors`, where it is needed, can be read.
    A newer one is set aside, and a printed line says why.

    Args:
      path: the workdir, which `workdir.open_run` has opened.
      config: the config of the run.
      fresh: the arrays before the first step, from `train_step.to_arrays`.
      stack: it closes the files that are opened here, also if the training diverges.

    Returns:
      The run, the step after which it resumes (0 without a checkpoint), and the arrays after that
      step.

    Raises:
      ValueError: if there are checkpoints and none is good. Then nothing was changed.
    """
    folder, main_process = path / "checkpoints", parallel.is_main_process()

    def check(step: int, notes: Mapping[str, Any]) -> None:
        workdir.check_lines(path, step, notes.get("metrics"))
        if config.train.keep_weights == "best":
            weights.load(path / "best.safetensors")

    found = checkpoint.restore(folder, parallel.to_global(fresh), check)
    if parallel.max_over_processes(found.step) > found.step:
        raise ValueError(
            f"process {jax.process_index()} finds another newest checkpoint in {folder} than the "
            "others: name a --workdir on a disk that all processes share"
        )
    for step, reason in found.passed_over.items():
        kept = checkpoint.set_aside(folder, step).name if main_process else ""
        _say(f"checkpoint {step} was passed over, and is {kept} now: {reason}")
    if not found.has_checksum:
        _say(f"checkpoint {found.step} is of an earlier version and has no checksum")
    parallel.barrier()  # process 0 has set them aside
    manager = checkpoint.open_manager(folder, keep=config.train.keep_checkpoints)
    metrics = workdir.MetricWriter(path, found.step, found.notes.get("metrics"), main_process)
    stack.callback(metrics.close)
    stack.callback(manager.close)
    writer = _open_events(path, config, found.step) if main_process else None
    if writer:
        stack.callback(writer.close)
    arrays = parallel.to_local(found.state) if found.step else fresh
    return OpenRun(config, path, manager, metrics, writer), found.step, arrays


def _open_events(
    path: pathlib.Path, config: ml_collections.ConfigDict, step: int
) -> events.EventWriter:
    """Opens the events of a run for TensorBoard, whose table of runs gets a row for it."""
    writer = events.EventWriter(path / "tensorboard", step)
    if step == 0:
        known = config.copy_and_resolve_references()
        known.optimizer.learning_rate = train_step.learning_rate(config)
        scores = [
            _score_name(name, metric)
            for name in datasets.dataset_names(config.eval.datasets)
            for metric in datasets.dataset_names(config.eval.metrics)
        ]
        writer.hyperparameters(known, scores, path.name)
    return writer


def _score_name(dataset: str, metric: str) -> str:
    """The curve that holds a score of the finished network."""
    return f"result/{dataset} {metric}"


def create_progress(runs: Sequence[OpenRun], data: RunData) -> Progress:
    """Returns the progress display of networks that train at the same time."""
    config = runs[0].config
    return Progress(
        config.train.steps,
        config.train.batch_size * len(runs),
        config.train.log_every,
        data.validation if len(runs) == 1 else f"mean {data.validation}",
        silent=not parallel.is_main_process(),
    )


def run_loop(
    runs: Sequence[OpenRun],
    data: RunData,
    progress: Progress,
    state: Any,
    start: int,
    run_steps: Callable[[Any, Any], tuple[Any, jax.Array]],
    batches: Iterator[Any],
    arrays_of: Callable[[Any, int], dict[str, Any]],
) -> dict[int, train_step.Params]:
    """The training loop: updates, metrics, evaluation, checkpoints and the stop signal.

    Args:
      runs: the networks that train at the same time: one, or several by `vmap`. Their configs
        differ only in seed and learning rate. The time is divided equally among them.
      data: the data of all runs.
      progress: it displays the loss and the PSNR, as means over the networks.
      state: state of all networks after `start` updates. Its arrays are donated to `run_steps`.
      start: number of updates before this call.
      run_steps: `run_steps(state, batch) -> (state, losses)`, losses (k,) or (networks, k).
      batches: one batch for each call of `run_steps`.
      arrays_of: `arrays_of(state, i)` returns the arrays of network i, as `train_step.to_arrays`.

    Returns:
      The parameters at the end, by the index in `runs`. A network that diverged is missing, and
      a printed line says so.

    Raises:
      DivergedError: if all networks have diverged. The last checkpoints are good.
      Interrupted: if a process received a signal. Everything is saved.
    """
    train = runs[0].config.train
    alive = dict(enumerate(runs))
    schedules = [jax.jit(train_step.create_schedule(run.config)) for run in runs]

    def evaluate_all(step: int) -> None:
        if parallel.is_main_process():
            progress.measured(
                step,
                statistics.mean(
                    measure(run, data, step, arrays_of(state, index)["params"])
                    for index, run in alive.items()
                ),
            )

    step = start
    if step == 0:
        evaluate_all(0)
        progress.show(0, math.nan)
    with runtime.collect_signals() as received:
        while step < train.steps:
            clock = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - clock
            state, device_losses = run_steps(state, batch)
            losses = np.atleast_2d(np.asarray(device_losses, np.float64))  # (networks, k)
            seconds = time.perf_counter() - clock
            progress.add(losses.shape[1], seconds, waited)
            for index, run in list(alive.items()):
                rate = float(schedules[index](step + losses.shape[1] - 1))
                try:
                    record(run, step, losses[index], rate, seconds / len(runs), waited / len(runs))
                except DivergedError as error:
                    del alive[index]
                    if not alive:
                        raise
                    print(f"\n{run.path.name}: {error}", flush=True)
            step += losses.shape[1]
            is_last = step == train.steps
            if is_last or step % train.eval_every == 0:
                evaluate_all(step)
            progress.show(step, float(losses[list(alive)].mean()), is_last)
            signum = parallel.max_over_processes(received[0] if received else 0)
            stopping = signum > 0 and not is_last
            if is_last or stopping or step % train.checkpoint_every == 0:
                for index, run in alive.items():
                    run.metrics.flush()
                    if run.tensorboard:
                        run.tensorboard.flush()
                    arrays = parallel.to_global(arrays_of(state, index))
                    checkpoint.save(run.manager, step, arrays, {"metrics": run.metrics.mark})
            if stopping:
                raise Interrupted(signum, step)
    return {index: arrays_of(state, index)["params"] for index in alive}


def record(
    run: OpenRun, step: int, losses: np.ndarray, rate: float, seconds: float, waited: float
) -> None:
    """Writes the metrics of a dispatch, which is k updates in one program.

    Args:
      run: the network.
      step: number of updates before the dispatch.
      losses: float64 (k,), one for each update.
      rate: learning rate of the last update.
      seconds: time of the dispatch.
      waited: seconds of it in which the devices waited for data.

    Raises:
      DivergedError: if a loss is bad. Then nothing is written.
    """
    _check_losses(run, step, losses)
    for index, loss in enumerate(losses[:-1].tolist(), step + 1):
        run.write(index, loss=loss)
    run.write(
        step + len(losses),
        loss=float(losses[-1]),
        learning_rate=rate,
        patches_per_second=run.config.train.batch_size * len(losses) / seconds,
        waited=waited / seconds,
    )


def _check_losses(run: OpenRun, step: int, losses: np.ndarray) -> None:
    """Raises DivergedError for the first step after `step` where the loss is bad.

    The ratio is one of mean squared errors, because a Cauchy loss grows with their logarithm.
    """
    scale = run.config.train.cauchy_scale
    window = math.ceil(COMPARED_PATCHES / run.config.train.batch_size)
    early = run.metrics.first_losses[:window]
    late = collections.deque(run.metrics.last_losses, maxlen=window)
    for index, loss in enumerate(losses.tolist(), step + 1):
        late.append(loss)
        known = len(early) == window
        now = statistics.fmean(late) if known else loss
        first = statistics.fmean(early or [loss])
        error = max(train_step.cauchy_error(first, scale), LEAST_ERROR if known else UNSURE_ERROR)
        limit = train_step.cauchy_loss(run.config.train.max_loss_ratio * error, scale)
        if not (math.isfinite(now) and now <= limit):
            saved = checkpoint.latest_step(run.path / "checkpoints")
            kept = f"the checkpoint of step {saved} is good" if saved else "no checkpoint was saved"
            raise DivergedError(
                f"training diverged at step {index}: the loss is {now:.3g}, and was {first:.3g} at "
                f"first; lower optimizer.learning_rate ({kept})"
            )
        if not known:
            early.append(loss)


def measure(run: OpenRun, data: RunData, step: int, params: train_step.Params) -> float:
    """Measures PSNR in dB on the validation set after `step` updates.

    If `train.keep_weights` is 'best', it saves the weights with the highest PSNR so far.
    """
    network = to_network(run.config, params)
    radius = network.architecture.receptive_field_radius
    psnr, over_valid = evaluate.mean_psnr(
        network, data.validation_images, (run.config.scale, radius)
    )
    if run.config.train.keep_weights == "best" and psnr > run.metrics.largest.get(
        "psnr", -math.inf
    ):
        weights.save(run.path / "best.safetensors", network)
    # `psnr_valid` is measured over the valid region, as in the paper's figures.
    run.write(step, psnr=psnr, psnr_valid=over_valid)
    if run.tensorboard:
        filters = network.params["conv1"]["kernel"]  # arrays of JAX would compile each operation
        run.tensorboard.picture(step, "first layer", events.mosaic(filters))
        # They are restored once more, so that `mean_psnr` need not keep the images: 3 of 50.
        restored = evaluate.restore(network, data.validation_images)
        for test, output in zip(data.validation_images[:SHOWN_IMAGES], restored, strict=False):
            bicubic = evaluate.to_luminance(test.bicubic, network.colour, test.luminance)
            run.tensorboard.picture(
                step,
                f"{test.name}: bicubic, SRCNN, original",
                events.side_by_side([bicubic, output, test.truth]),
            )
    return psnr


def finish(
    run: OpenRun, data: RunData, params: train_step.Params, *, save_images: bool = False
) -> dict[str, Any]:
    """Evaluates a trained network, writes its weights and `eval.json`, and returns the result.

    `params` are the last parameters. If `train.keep_weights` is 'best', the saved best weights
    replace them.
    """
    config, path = run.config, run.path
    network = to_network(config, params)
    if config.train.keep_weights == "best":
        network = weights.load(path / "best.safetensors")
    images_dir = path / "images" if save_images else None
    result = evaluate.evaluate(
        network,
        data.tests,
        config.scale,
        images_dir,
        config.eval.metrics,
        degradation=network.degradation,
    )
    measured = run.metrics.largest if config.train.keep_weights == "best" else run.metrics.last
    bicubic = evaluate.mean_bicubic_psnr(data.validation_images, config.scale, config.data.colour)
    result["validation"] = {
        "dataset": data.validation,
        "bicubic": bicubic,
        "srcnn": measured["psnr"],
    }
    how = {
        "trained_on": f"{data.training.name} {data.training.fingerprint}",
        "patches": str(config.train.steps * config.train.batch_size),
        "result": f"{data.validation} x{config.scale} {measured['psnr']:.3f} dB",
        **workdir.seal(result, run.metrics.mark["lines"]),
    }
    weights.save(path / "weights.safetensors", network, how)
    workdir.write_json(path / "eval.json", result)
    if run.tensorboard:
        for name, entry in result["datasets"].items():
            means = entry["mean"]["srcnn"]
            values = {_score_name(name, metric): value for metric, value in means.items()}
            run.tensorboard.scalars(config.train.steps, values)
    return result


def to_network(config: ml_collections.ConfigDict, params: train_step.Params) -> weights.Network:
    """Returns the network: parameters on the host, with what the config says of it."""
    return weights.Network(
        jax.tree.map(np.asarray, dict(params)),
        config.model.padding,
        config.scale,
        config.data.colour,
        degradation.from_config(config),
    )


def _say(text: str) -> None:
    if parallel.is_main_process():
        print(text, flush=True)


def _describe(
    config: ml_collections.ConfigDict,
    data: RunData,
    devices: list[jax.Device],
    params: train_step.Params,
) -> None:
    """Prints the first lines of the log: the network, the data, the devices and the optimiser."""
    arch = create_architecture(config)
    patch_size, stride = config.data.patch_size, config.data.stride
    positions = input_pipeline.count_positions(data.source, patch_size, stride)
    sizes, context = len(config.data.downscale_factors), context_of(config)
    around = f", with {context} pixels around them" if context else ""
    how = "preconditioned " if config.optimizer.precondition else ""
    options = ", ".join(f"{key} {value}" for key, value in config.optimizer.options.items())
    falling = " falling to 0" if config.optimizer.schedule == "cosine" else ", constant"
    unit = " in Caffe's unit" if config.optimizer.rate_unit == "euclidean" else ""
    rates = optimizer.rates_by_label(params, config.optimizer.rates)
    factors = [
        f"{layer}/{kind} times {factor:g}"
        for layer, kinds in rates.items()
        for kind, factor in kinds.items()
        if factor != 1
    ]
    _say(
        f"network   {arch}, {'-'.join(map(str, arch.features))} filters, "
        f"{arch.weight_count:,} weights, padding {arch.padding}, x{config.scale}, "
        f"colour {config.data.colour}"
    )
    degraded, copies = degradation.from_config(config), config.data.degraded_copies
    if degraded != degradation.RELEASED:
        _say(f"small     {degraded}" + (f", {copies} copies of each image" * (copies > 1)))
    _say(
        f"training  {data.training.name}: {len(data.training.images)} images from "
        f"{data.training.source}{f', each in {sizes} sizes' * (sizes > 1)}: {positions:,} patches "
        f"of {patch_size}x{patch_size} pixels{around}"
    )
    for test in data.tests:
        _say(f"testing   {test.name}: {len(test.images)} images from {test.source}")
    _say(f"devices   {len(devices)} of {jax.device_count()} {devices[0].platform.upper()} devices")
    _say(
        f"steps     {config.train.steps:,} of {config.train.batch_size} patches; PSNR is measured "
        f"on {data.validation} every {config.train.eval_every:,}"
    )
    _say(
        f"optimiser {how}{config.optimizer.name}{f' ({options})' * bool(options)}, learning rate "
        f"{train_step.learning_rate(config):.3g}{falling}{unit}"
        + "".join(f", {each}" for each in factors)
    )
