"""What the scripts for the paper's tables and figures share: train what is missing, write tables.

A study is a table of `Experiment`s and a function that turns their results into a table of numbers.
A run is an experiment with one seed. Finished runs are not trained again, and unfinished ones go on
from their checkpoint. A run's folder tells what is trained, not for which study, so that studies
with the same WORKDIR share what they have in common.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import pathlib
import queue
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from configs import default
from experiments import runner
from srcnn_jax import paper, paths, runtime
from srcnn_jax.architecture import create_architecture
from srcnn_jax.workdir import read_json, read_metrics

if TYPE_CHECKING:
    import pandas as pd

STEPS: dict[tuple[str, str], int | None] = {  # updates of the weights; None: the config's own
    ("default", "short"): 3_000,  # minutes: 192,000 patches
    ("default", "full"): 30_000,
    ("paper", "short"): 20_000,  # 2.6 million patches
    ("paper", "full"): None,  # 8e8 patches, the paper's length
}
SMOKE: dict[str, Any] = {  # fields of a run of seconds
    "train.steps": 4,
    "train.batch_size": 8,
    "train.steps_per_dispatch": 2,
    "train.log_every": 2,
    "train.eval_every": 4,
    "train.checkpoint_every": 4,
    "data.downscale_factors": (1.0,),
}
SMOKE_TEST = "set5"  # its test set
SMOKE_NOTE = f"""\
This is a smoke run: {SMOKE["train.steps"]} updates of each network, tested on Set5 alone. It shows
that the script works. Its numbers mean nothing."""
PROGRESS_EVERY = 30.0  # seconds between two lines of progress


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One network to train, with any seed.

    Attributes:
      name: the name of its folders; no other experiment has it.
      words: the words of `configs/default.py`, without `paper`.
      fields: the config's fields that differ from the default.
      start: the experiment whose weights it starts from, if any.
    """

    name: str
    words: str = "x3"
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    start: Experiment | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """A finished run: an experiment with one seed.

    Attributes:
      folder: its workdir.
      scale: by how much the test images were enlarged.
      scores: by test set, the entry 'datasets' of its `eval.json`.
      validation: the entry 'validation' of its `eval.json`: PSNR in training, and of what.
      seconds, patches: of its training and of what it started from, evaluation not counted.
      weights: number of weights of the network, without biases.
      protocol: the entry of its `eval.json`; None for an earlier version's.
    """

    folder: pathlib.Path
    scale: int
    scores: Mapping[str, Any]
    validation: Mapping[str, Any]
    seconds: float
    patches: int
    weights: int
    protocol: Mapping[str, Any] | None = None

    def mean(self, dataset: str, metric: str = "psnr", method: str = "srcnn") -> float:
        """Mean of a metric over a test set."""
        return self.scores[dataset]["mean"][method][metric]

    def evaluation(self, *names: str) -> dict[str, Any]:
        """As `evaluate.evaluate` returns it, of these test sets, or of all."""
        chosen = {name: self.scores[name] for name in names or self.scores}
        protocol = {"protocol": self.protocol} if self.protocol else {}
        return {"scale": self.scale, **protocol, "datasets": chosen}

    def over_valid_region(self) -> float:
        """Mean PSNR in dB on the validation set as the paper's curves have it; or exits."""
        found = [line["psnr_valid"] for line in read_metrics(self.folder) if "psnr_valid" in line]
        if not found:
            sys.exit(
                f"error: {self.folder} was trained by a version that did not measure PSNR over the "
                "valid region: delete the folder to train it again"
            )
        return found[-1]


def network(sizes: str = "9-1-5", features: str = "64-32", words: str = "x3") -> Experiment:
    """An architecture of filter sizes f1-f2-f3 and filters n1-n2, with the words of the config."""
    fields = {
        "model.kernel_sizes": tuple(map(int, sizes.split("-"))),
        "model.features": tuple(map(int, features.split("-"))),
    }
    return Experiment(f"{words.replace(',', '_')}_{sizes}_{features}", words, fields)


def variant(
    experiment: Experiment,
    name: str,
    fields: Mapping[str, Any] | None = None,
    start: Experiment | None = None,
) -> Experiment:
    """An experiment with other fields or another start; `name` is added to its name."""
    return Experiment(
        f"{experiment.name}_{name}",
        experiment.words,
        {**experiment.fields, **(fields or {})},
        start,
    )


def options(description: str | None, seeds: int = 1) -> argparse.Namespace:
    """Reads the command line of a study; `seeds` is the default of --seeds, but for smoke: 1."""
    script = sys.modules["__main__"].__spec__
    parser = argparse.ArgumentParser(
        prog=f"python -m {script.name}" if script else None,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "workdir", type=paths.folder_argument, help="folder of the runs and the tables"
    )
    parser.add_argument("--recipe", choices=("default", "paper"), default="default")
    parser.add_argument("--budget", choices=("smoke", "short", "full"), default="short")
    parser.add_argument(
        "--seeds", type=int, help=f"runs of each network ({seeds}; 1 if the budget is smoke)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        help="trainings at a time, each with its share of the cores or a GPU (%(default)s)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="a config field of all runs",
    )
    parser.add_argument("--data_dir", default="", help="folder of the data sets, as main's")
    args = parser.parse_args()
    if args.seeds is None:
        args.seeds = 1 if args.budget == "smoke" else seeds
    runtime.print_any_name()
    runner.need("jinja2", "matplotlib", "pandas", "tabulate")
    for text in args.set:
        if "=" not in text:
            parser.error(f"--set is FIELD=VALUE, as train.batch_size=32, not {text!r}")
    for name in ("seeds", "workers"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} must be positive, not {getattr(args, name)}")
    if args.budget == "smoke" and args.workers > 1:
        parser.error(f"--workers={args.workers}: a smoke run has one, leave the option out")
    return args


def train_runs(
    experiments: Mapping[Any, Experiment], args: argparse.Namespace
) -> dict[Any, list[Result]]:
    """Trains every experiment with every seed, `args.workers` at a time; or here, if it is smoke.

    It exits with one line if a training fails, or at Ctrl-C, and waits for those that have begun.
    `Progress` says on standard error how far it is: at once, after each training, and meanwhile.

    Args:
      experiments: by their names in the table.
      args: the command line, as `options` returns it.

    Returns:
      The results by the same names, one for each seed.
    """
    _check_data(experiments.values(), args)
    progress = Progress(_trainings(experiments.values(), args))
    _say(progress.line())
    tasks = [(seed, label) for seed in range(args.seeds) for label in experiments]

    def train(task: tuple[int, Any], run: Callable[[runner.Training], None]) -> Result:
        seed, label = task
        result = _train(experiments[label], seed, args, run)
        _say(progress.line())
        return result

    try:
        with progress.repeated():
            if args.budget == "smoke":
                results = [train(task, runner.train_here) for task in tasks]
            else:
                results = _train_in_processes(tasks, train, args.workers)
    except KeyboardInterrupt:  # the terminal sent it to the trainings, too
        print("\nstopped; the same command goes on from there", file=sys.stderr)
        sys.exit(130)
    finished = dict(zip(tasks, results, strict=True))
    return {label: [finished[seed, label] for seed in range(args.seeds)] for label in experiments}


def _train_in_processes(
    tasks: Sequence[Any],
    train: Callable[[Any, Callable[[runner.Training], None]], Result],
    count: int,
) -> list[Result]:
    """Trains each task in a process, `count` at a time; each has its share of the machine."""
    gpus = runner.list_gpus()
    free: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(count):
        free.put(index)

    def work(task: Any) -> Result:
        index = free.get()
        try:
            with runner.share(index, count, gpus) as environment:
                return train(task, lambda training: runner.run(training, environment))
        finally:
            free.put(index)

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, tasks))


def _trainings(
    experiments: Iterable[Experiment], args: argparse.Namespace
) -> dict[pathlib.Path, float]:
    """The folder of each training, also of those that others start from, and its work.

    The work is about proportional to the time: smoke runs only start, others multiply weights.
    """
    return {
        training(each, seed, args).folder: 1.0 if args.budget == "smoke" else _count_weights(each)
        for experiment in experiments
        for each in (experiment.start, experiment)
        if each
        for seed in range(args.seeds)
    }


def _count_weights(experiment: Experiment) -> float:
    """The weights of its network; 1 if the config is wrong, which its training will say."""
    config = default.get_config(experiment.words)
    with contextlib.suppress(ValueError, TypeError, KeyError):
        config.update_from_flattened_dict(dict(experiment.fields))
        return float(create_architecture(config).weight_count)
    return 1.0


class Progress:
    """How far the trainings of a study are: '2 of 6 trainings  9-1-5_0 step 100/400  3:20 left'.

    Steps are read from the folders, so what another study trains there counts, too.
    """

    def __init__(self, work: Mapping[pathlib.Path, float]):
        """Begins to count.

        Args:
          work: what each training takes, in any unit, by its folder.
        """
        self._work = dict(work)
        self._before = self._done()
        self._began = time.perf_counter()

    def line(self) -> str:
        """The words of now; the time left is told once something has been done."""
        steps = {folder: _steps(folder) for folder in self._work}
        finished = [folder for folder in self._work if (folder / "eval.json").exists()]
        words = [f"{len(finished)} of {len(self._work)} trainings"]
        for folder, (step, whole) in steps.items():
            if folder not in finished and step:
                words.append(f"{folder.name} step {step}/{whole}")
        done = self._done()
        if self._before < done < sum(self._work.values()):
            seconds = time.perf_counter() - self._began
            left = round(seconds * (sum(self._work.values()) - done) / (done - self._before))
            words.append(f"{left // 60}:{left % 60:02} left")
        return "  ".join(words)

    @contextlib.contextmanager
    def repeated(self) -> Iterator[None]:
        """Prints the line every PROGRESS_EVERY seconds until the end of the block."""
        ended = threading.Event()

        def repeat() -> None:
            while not ended.wait(PROGRESS_EVERY):
                _say(self.line())

        thread = threading.Thread(target=repeat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _done(self) -> float:
        """The work that is done; of an unfinished training, the steps that it has logged."""
        shares = {
            folder: 1.0 if (folder / "eval.json").exists() else step / whole
            for folder, (step, whole) in ((folder, _steps(folder)) for folder in self._work)
        }
        return sum(work * shares[folder] for folder, work in self._work.items())


def _steps(folder: pathlib.Path) -> tuple[int, int]:
    """The last step that a training has logged, and its number of steps; (0, 1) before it begins.

    Damage is not told here: the training tells it.
    """
    with contextlib.suppress(ValueError, OSError, LookupError, TypeError):
        whole = read_json(folder / "config.json")["train"]["steps"]
        return max(line["step"] for line in read_metrics(folder)), whole
    return 0, 1


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def settings(args: argparse.Namespace) -> dict[str, str]:
    """The values of --set by field."""
    return dict(text.split("=", 1) for text in args.set)


def _check_data(experiments: Iterable[Experiment], args: argparse.Namespace) -> None:
    """Exits with one line if data are missing that an unfinished run needs."""
    needed = set()
    for experiment in experiments:
        if not all(training(experiment, seed, args).finished for seed in range(args.seeds)):
            config = default.get_config(experiment.words)
            own = training(experiment, 0, args).fields
            needed.add(
                (
                    own.get("data.train", config.data.train),
                    own.get("eval.datasets", config.eval.datasets),
                )
            )
    for each in sorted(needed):
        try:
            runner.check_data(*each, args.data_dir)
        except (ValueError, OSError) as error:
            sys.exit(f"error: {error}")


def training(experiment: Experiment, seed: int, args: argparse.Namespace) -> runner.Training:
    """What trains an experiment with a seed."""
    fields = {"seed": seed, **experiment.fields}
    if args.budget == "smoke":
        fields |= SMOKE | {"eval.datasets": SMOKE_TEST}
    elif steps := STEPS[args.recipe, args.budget]:
        fields["train.steps"] = steps
        for field in ("train.log_every", "train.eval_every", "train.checkpoint_every"):
            fields[field] = max(20, steps // 400 * 20)
    words = f"{experiment.words},paper" if args.recipe == "paper" else experiment.words
    return runner.Training(
        config=f"configs/default.py:{words}",
        folder=args.workdir / f"{args.recipe}_{args.budget}" / f"{experiment.name}_{seed}",
        fields=fields | settings(args),
        weights=training(experiment.start, seed, args).folder if experiment.start else None,
        data_dir=args.data_dir,
    )


def _train(
    experiment: Experiment,
    seed: int,
    args: argparse.Namespace,
    run: Callable[[runner.Training], None],
) -> Result:
    before = _train(experiment.start, seed, args, run) if experiment.start else None
    wanted = training(experiment, seed, args)
    _say(f"{experiment.name}, seed {seed}: {wanted.folder}")
    try:
        run(wanted)
        result = read_result(wanted.folder)
    except runner.TrainingError as error:
        sys.exit(f"{experiment.name}: {error}")
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    if before:
        seconds, patches = result.seconds + before.seconds, result.patches + before.patches
        result = dataclasses.replace(result, seconds=seconds, patches=patches)
    return result


def read_result(folder: pathlib.Path) -> Result:
    """The result of a finished workdir.

    Raises:
      FileNotFoundError: if it is not finished.
    """
    evaluation, config = read_json(folder / "eval.json"), read_json(folder / "config.json")
    if evaluation is None or config is None:
        raise FileNotFoundError(f"{folder} is not the workdir of a finished run")
    return Result(
        folder=folder,
        scale=config["scale"],
        scores=evaluation["datasets"],
        validation=evaluation.get("validation") or _validation(config, evaluation["datasets"]),
        seconds=_seconds(folder, config["train"]["batch_size"]),
        patches=config["train"]["steps"] * config["train"]["batch_size"],
        weights=create_architecture(config).weight_count,
        protocol=evaluation.get("protocol"),
    )


def _validation(config: Mapping[str, Any], scores: Mapping[str, Any]) -> dict[str, Any]:
    """The entry 'validation' of an earlier version's run, which has none in its `eval.json`."""
    wanted = config["train"].get("eval_dataset")
    dataset = wanted if wanted in scores else next(iter(scores))
    mean = scores[dataset]["mean"]
    psnr = {method: mean[method]["psnr"] for method in ("bicubic", "srcnn")}
    return {"dataset": dataset, **psnr}


def _seconds(folder: pathlib.Path, batch_size: int) -> float:
    """Seconds of training; the first dispatch includes compiling."""
    seconds, before = 0.0, 0
    for line in read_metrics(folder):
        if "patches_per_second" in line:
            seconds += (line["step"] - before) * batch_size / line["patches_per_second"]
            before = line["step"]
    return seconds


def spread(values: Sequence[float], digits: int = 2) -> str:
    """'32.70', or '32.70 ± 0.01' with the standard deviation of several seeds."""
    text = f"{statistics.mean(values):.{digits}f}"
    return f"{text} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else text


def mean_difference(rows: Sequence[paper.Comparison]) -> str:
    """The mean over seeds, less the paper's score; the rows are of one score that it has."""
    published, metric = rows[0].paper, rows[0].metric
    assert published is not None
    return paper.format_difference(statistics.mean(row.ours for row in rows) - published, metric)


def compare(
    results: Mapping[str, Sequence[Result]],
    published: Mapping[str, float | None],
    psnr_of: Callable[[Result], float] = lambda result: result.mean("set5"),
) -> pd.DataFrame:
    """A row for each network: PSNR beside the paper's, difference, cost."""
    import pandas as pd

    rows = []
    for name, seeds in results.items():
        psnr = [psnr_of(result) for result in seeds]
        mean = statistics.mean(psnr)
        beside = not paper.why_not_beside(seeds[0].evaluation())
        theirs = published.get(name) if beside else None
        difference = "–" if theirs is None else paper.format_difference(mean - theirs, "psnr")
        rows.append(
            {
                "network": name,
                "weights": seeds[0].weights,
                "paper, dB": paper.format_score(theirs, "psnr"),
                "ours, dB": spread(psnr),
                "difference": difference,
                "seeds": len(seeds),
                "patches": seeds[0].patches,
                "seconds": round(statistics.mean(result.seconds for result in seeds)),
            }
        )
    frame = pd.DataFrame(rows)
    return frame if published else frame.drop(columns=["paper, dB", "difference"])


def main(
    experiments: Mapping[str, Experiment],
    published: Mapping[str, float | None],
    name: str,
    title: str,
    description: str | None,
    seeds: int = 3,
    psnr_of: Callable[[Result], float] = lambda result: result.mean("set5"),
) -> None:
    """The whole of a study whose table is that of `compare`.

    Args:
      experiments: by their names in the table.
      published: the paper's PSNR in dB by the same names; empty if it has none.
      name: of the script and of the files of the table.
      title: of the table.
      description: what --help says.
      seeds: the default of --seeds.
      psnr_of: the PSNR of a run; by default the mean over Set5.
    """
    args = options(description, seeds)
    frame = compare(train_runs(experiments, args), published, psnr_of)
    write(frame, name, title, args)


def describe_cost(results: Mapping[Any, Sequence[Result]]) -> str:
    """What training took, in a sentence for tables without such columns."""
    runs = [result for seeds in results.values() for result in seeds]
    patches = " or ".join(f"{count:,}" for count in sorted({result.patches for result in runs}))
    seconds = [result.seconds for result in runs]
    return (
        f"{len(runs)} trainings of {patches} patches, {min(seconds):.0f} to {max(seconds):.0f} "
        "seconds each."
    )


def output(name: str, args: argparse.Namespace, suffix: str) -> pathlib.Path:
    """The path of a study's table or figure; makes the folder."""
    args.workdir.mkdir(parents=True, exist_ok=True)
    return args.workdir / f"{name}_{args.recipe}_{args.budget}{suffix}"


def write(frame: pd.DataFrame, name: str, title: str, args: argparse.Namespace) -> None:
    """Prints the table, and writes it as `name`.md, .csv and .tex into the workdir."""
    typed = f"python -m experiments.paper.{name} WORKDIR" + "".join(
        f" --{key}={value}"
        for key, value in (
            ("recipe", args.recipe),
            ("budget", args.budget),
            ("seeds", args.seeds),
            *(("set", text) for text in args.set),
        )
    )
    markdown = frame.to_markdown(index=False, disable_numparse=True)
    if args.budget == "smoke":
        title = f"{title}\n\n{SMOKE_NOTE}"
    text = f"{title}\n\n`{typed}`\n\n{markdown}\n"
    output(name, args, ".md").write_text(text, encoding="utf-8")
    frame.to_csv(output(name, args, ".csv"), index=False)
    frame.to_latex(output(name, args, ".tex"), index=False, escape=True)
    print(text)
