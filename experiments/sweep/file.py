"""Reads a sweep, a short Python file, and checks it against its config.

The file says, in plain constants:

    CONFIG = "configs/default.py:x3"     as main's --config
    FIELDS = {"train.steps": 3_000}      what all trials set besides; may be left out
    METRIC = "set5/psnr"                 to be maximised; "psnr" is on train.eval_dataset
    SEEDS = 3                            runs of each point; 1 if left out

and the points, in one of three ways:

    GRID = {field: [value, ...], ...}    all combinations; "field,field": [(value, value), ...]
                                         couples fields; where(point), a function that gets
                                         {field: value}, leaves out those for which it is false
    space(trial) and RANDOM = 20         a function that draws from an Optuna trial and returns
                                         {field: value}; 20 points, the same every time
    space(trial) and SEARCH = 60         60 points, each drawn by Optuna's TPE from what it knows;
                                         START = [{parameter: value, ...}, ...] come first

A field is one of the config, as optimizer.learning_rate, or a number of the network's shape: f1 is
the kernel size of the first layer, and n2 the number of filters of the second. What they do not
name is as in the config, in FIELDS or in the point's model.kernel_sizes and model.features.

Names in capitals belong to the sweep, so that a typing error is found. Write names of your own in
small letters.
"""

import concurrent.futures
import dataclasses
import itertools
import multiprocessing
import operator
import pathlib
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_collections
import optuna

from experiments.runner import load_config, run_file, text
from srcnn_jax import config_fields
from srcnn_jax.datasets import validation_name

NAMES = ("CONFIG", "FIELDS", "METRIC", "SEEDS", "GRID", "RANDOM", "SEARCH", "START")
SHAPE = re.compile(r"([fn])([1-9]\d*)")  # a field of the shape: f1, n2
PREVIEWS = 20  # points of a search that are checked, and shown by --dry_run


class SweepError(ValueError):
    """What is wrong with a sweep file, in one line."""


@dataclasses.dataclass(frozen=True)
class Task:
    """What one Optuna trial does.

    Attributes:
      key: its name; no other task of the sweep has it.
      params: the point; None if Optuna is to draw it.
      seeds: one for each of its runs, which come one after the other.
    """

    key: str
    params: Mapping[str, Any] | None
    seeds: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep that has been read.

    Attributes:
      name: the file's name without '.py'; the Optuna study has it, too.
      config_file: what main's --config gets.
      config: the config of `config_file`, with `fixed`.
      fixed: fields that all trials set.
      dataset: the test set whose score is maximised; None stands for the validation set.
      metric: the score that is maximised.
      space: a function from an Optuna trial to the fields of its point.
      points: the parameters of all points; a search has some examples here.
      searching: whether Optuna draws the points.
      tasks: all that is to be done.
    """

    name: str
    config_file: str
    config: ml_collections.ConfigDict
    fixed: Mapping[str, Any]
    dataset: str | None
    metric: str
    space: Callable[[optuna.trial.BaseTrial], dict[str, Any]]
    points: Sequence[Mapping[str, Any]]
    searching: bool
    tasks: Sequence[Task]

    def fields(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a point, as the file names them."""
        return self.space(optuna.trial.FixedTrial(dict(params)))

    def title(self) -> str:
        """What is maximised, as tables and plots say it."""
        name = pathlib.Path(self.dataset or validation_name(self.config)).name
        return f"{self.metric.upper()} on {name}"

    def measure(self) -> str:
        """The title with scale and unit, for the head of a column and the axis of a plot."""
        scale = "" if "scale" in self.fields(self.points[0]) else f" x{self.config.scale}"
        unit = ", dB" if self.metric in ("psnr", "wpsnr", "nqm") else ""
        return f"{self.title()}{scale}{unit}"


def read_sweep(path: pathlib.Path) -> Sweep:
    """Reads a sweep file; raises SweepError if it cannot be run."""
    try:
        sweep = _read(path)
        _check(sweep)
    except (ValueError, FileNotFoundError) as error:
        raise SweepError(f"{path}: {error}") from error
    return sweep


def watch_metric(sweep: Sweep) -> Sweep:
    """The sweep with METRIC measured during training, for pruning: on its data set.

    Raises:
      SweepError: if METRIC is not PSNR, or training measures on another data set.
    """
    if sweep.metric != "psnr":
        raise SweepError(
            f"--prune watches METRIC, and training measures PSNR alone: leave out --prune, or say "
            f"psnr, not {sweep.metric}"
        )
    if sweep.dataset in (None, validation_name(sweep.config)):
        return sweep
    change = {"train.eval_dataset": sweep.dataset}
    config = set_fields(sweep.config, change)
    if validation_name(config) != sweep.dataset:
        raise SweepError(
            f"--prune watches METRIC on {sweep.dataset}, but train.keep_weights=best measures on "
            f"{validation_name(config)}, which is no test set: leave out one of the two"
        )
    return dataclasses.replace(sweep, config=config, fixed={**sweep.fixed, **change})


def _read(path: pathlib.Path) -> Sweep:
    said = run_file(path)
    own = {name: value for name, value in said.items() if name.isupper() and name[0] != "_"}
    for name in own:
        if name not in NAMES:
            raise ValueError(
                f"{name} is none of {', '.join(NAMES)}: write names of your own in small letters"
            )
    if "CONFIG" not in own:
        raise ValueError('it needs CONFIG = "configs/default.py:x3", or another')
    ways = [name for name in ("GRID", "RANDOM", "SEARCH") if name in own]
    if len(ways) != 1:
        raise ValueError(f"it needs one of GRID, RANDOM and SEARCH, and has {len(ways)}")
    (way,) = ways
    for name in {"SEEDS", way} - {"GRID"}:
        count = own.get(name, 1)
        if type(count) is not int or count < 1:
            raise ValueError(f"{name} is a positive number, not {count!r}")
    if (way == "GRID") == callable(said.get("space")):
        raise ValueError("a function space(trial) goes with RANDOM and SEARCH, and not with GRID")
    fixed = own.get("FIELDS", {})
    if not isinstance(fixed, Mapping):
        raise ValueError(f"FIELDS is {{field: value, ...}}, not {fixed!r}")
    config_file, config = load_config(str(own["CONFIG"]))
    fixed = resolve(config, fixed)
    config = set_fields(config, fixed)
    if way != "GRID" and callable(said.get("where")):
        raise ValueError("a function where(point) goes with GRID, and not with space(trial)")
    if way == "GRID":
        space = _grid_space(own["GRID"])
        points = _combinations(own["GRID"], space, said.get("where"))
    else:
        space = said["space"]
        points = _draw(space, PREVIEWS if way == "SEARCH" else own[way], needed=way == "RANDOM")
    seeds = tuple(range(config.seed, config.seed + own.get("SEEDS", 1)))
    if "START" in own and way != "SEARCH":
        raise ValueError("START goes with SEARCH")
    if way == "SEARCH":
        first = _starts(space, own.get("START", []), own[way])
        points = [*first, *points]
        drawn = [*first, *[None] * (own[way] - len(first))]
        tasks = [Task(f"trial {index}", params, seeds) for index, params in enumerate(drawn)]
    else:
        # Tasks go seed by seed, so that a sweep that is stopped early has every point once.
        tasks = [
            Task(trial_name(space(optuna.trial.FixedTrial(point)), seed), point, (seed,))
            for seed in seeds
            for point in points
        ]
    dataset, _, metric = str(own.get("METRIC", "psnr")).rpartition("/")
    return Sweep(
        name=path.stem,
        config_file=config_file,
        config=config,
        fixed=fixed,
        dataset=dataset or None,
        metric=metric,
        space=space,
        points=points,
        searching=way == "SEARCH",
        tasks=tasks,
    )


def resolve(config: ml_collections.ConfigDict, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces fields of the network's shape, as f1 and n2, by the config's two fields for it.

    Args:
      config: has the shape that the fields change, unless they have model.kernel_sizes and
        model.features themselves.
      fields: {field: value}.

    Raises:
      ValueError: if a layer is named, but not one before it.
    """
    parts = {field: match for field in fields if (match := SHAPE.fullmatch(str(field)))}
    resolved = {field: value for field, value in fields.items() if field not in parts}
    numbered = sorted((int(match[2]), match[1], field) for field, match in parts.items())
    for layer, letter, field in numbered:
        name = {"f": "model.kernel_sizes", "n": "model.features"}[letter]
        whole = list(resolved.get(name, config.model[name.removeprefix("model.")]))
        if layer > len(whole) + 1:
            before = f"{letter}{len(whole) + 1}"
            raise ValueError(f"{field}: {name} is {text(tuple(whole))}, and {before} is not named")
        whole[layer - 1 : layer] = [fields[field]]
        resolved[name] = tuple(whole)
    return resolved


def set_fields(
    config: ml_collections.ConfigDict, fields: Mapping[str, Any]
) -> ml_collections.ConfigDict:
    """A copy of a config with other values in some fields, which may be those of `resolve`.

    A field that holds a dict is replaced as a whole, as on main's command line.

    Raises:
      ValueError: if there is no such field, or it is of another type.
    """
    changed = ml_collections.ConfigDict(config.to_dict())
    for field, value in resolve(config, fields).items():
        parent, _, name = field.rpartition(".")
        try:
            section = operator.attrgetter(parent)(changed) if parent else changed
            old = section[name]
        except (AttributeError, KeyError, TypeError) as error:
            known = config_fields.flatten(config)
            raise ValueError(config_fields.explain_unknown(field, known)) from error
        if isinstance(old, ml_collections.ConfigDict):
            if not isinstance(value, Mapping):
                raise ValueError(f"{field} is a dict, as {old.to_dict()!r}: not {value!r}")
            with section.unlocked():
                section[name] = ml_collections.ConfigDict(dict(value))
            continue
        kind = type(old)
        if isinstance(value, bool) and kind is not bool:
            raise ValueError(f"{field} is a {kind.__name__}, as {old!r}: not {value}")
        try:
            section[name] = value
        except (TypeError, ValueError) as error:
            message = f"{field} is a {kind.__name__}, as {old!r}: not {value!r}"
            raise ValueError(message) from error
    return changed


def trial_name(fields: Mapping[str, Any], seed: int | None = None) -> str:
    """The folder of a run: 'kernel_sizes=9-1-5,features=64-32,seed=0'."""
    named = {short(field, fields): value for field, value in fields.items()}
    if seed is not None:
        named["seed"] = seed
    words = (f"{name}={text(value).replace(',', '-')}" for name, value in named.items())
    return "".join(c if c.isalnum() or c in "=-+._," else "_" for c in ",".join(words))


def brief(value: Any) -> str:
    """A value for people: a number with a fraction has four digits."""
    return f"{value:.4g}" if isinstance(value, float) else text(value)


def short(field: str, fields: Mapping[str, Any]) -> str:
    """The last word of a field's name, if no other field ends in it; one for each if coupled."""

    def last(name: str) -> str:
        return ",".join(part.rpartition(".")[2] for part in name.split(","))

    alike = [other for other in fields if last(other) == last(field)]
    return last(field) if len(alike) == 1 else field


def _values(grid: Any) -> dict[str, dict[str, dict[str, Any]]]:
    """The grid's fields by parameter and by the text of the value."""
    if not isinstance(grid, Mapping) or not grid:
        raise ValueError("GRID is {field: [value, ...], ...}, and not empty")
    named: dict[str, dict[str, dict[str, Any]]] = {}
    for key, values in grid.items():
        if not isinstance(values, (list, tuple)) or not values:
            raise ValueError(f"GRID[{key!r}] is a list of values, and not empty")
        fields = [field.strip() for field in str(key).split(",")]
        named[key] = {}
        for value in values:
            each = value if len(fields) > 1 else (value,)
            if not isinstance(each, (list, tuple)) or len(each) != len(fields):
                raise ValueError(f"GRID[{key!r}] couples {len(fields)} fields: not {value!r}")
            name = " ".join(map(text, each))
            if name in named[key]:
                raise ValueError(f"GRID[{key!r}] has {name} twice")
            named[key][name] = dict(zip(fields, each, strict=True))
    names = [field for values in named.values() for field in next(iter(values.values()))]
    for field in names:
        if names.count(field) > 1:
            raise ValueError(f"GRID has {field} twice")
    return named


def _grid_space(grid: Any) -> Callable[[optuna.trial.BaseTrial], dict[str, Any]]:
    named = _values(grid)

    def space(trial):
        fields: dict[str, Any] = {}
        for key, values in named.items():
            fields |= values[trial.suggest_categorical(key, list(values))]
        return fields

    return space


def _combinations(grid: Any, space: Callable, where: Any) -> list[dict[str, Any]]:
    """The points of a grid, as parameters of `space`; `where` is the file's function or None."""
    named = _values(grid)
    points = [dict(zip(named, names, strict=True)) for names in itertools.product(*named.values())]
    if not callable(where):
        return points
    try:
        kept = [point for point in points if where(space(optuna.trial.FixedTrial(point)))]
    except Exception as error:  # the user's function may raise anything
        raise ValueError(f"where(point): {type(error).__name__}: {error}") from error
    if not kept:
        raise ValueError(f"where(point) leaves out all {len(points)} points of GRID")
    return kept


def _draw(space: Callable, count: int, needed: bool) -> list[dict[str, Any]]:
    """Draws different points at random, the same ones every time.

    Raises:
      ValueError: if `space` fails, or if all `count` points are needed and it has fewer.
    """
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    points: dict[str, dict[str, Any]] = {}
    for _ in range(20 * count):
        trial = study.ask()
        try:
            fields = space(trial)
        except Exception as error:
            raise ValueError(f"space(trial): {type(error).__name__}: {error}") from error
        if not isinstance(fields, Mapping) or not fields:
            raise ValueError(f"space(trial) must return {{field: value, ...}}, not {fields!r}")
        points.setdefault(trial_name(fields), trial.params)
        if len(points) == count:
            break
    if needed and len(points) < count:
        raise ValueError(f"space(trial) has not {count} different points, but {len(points)}")
    return list(points.values())


def _starts(space: Callable, starts: Any, count: int) -> list[dict[str, Any]]:
    """The points that a search begins with; each must have every parameter of the space."""
    if not isinstance(starts, (list, tuple)) or not all(isinstance(s, Mapping) for s in starts):
        raise ValueError(f"START is [{{parameter: value, ...}}, ...], not {starts!r}")
    if len(starts) > count:
        raise ValueError(f"START has {len(starts)} points, and SEARCH is {count}")
    for start in starts:
        trial = optuna.trial.FixedTrial(dict(start))
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a value outside of its range
            try:
                space(trial)
            except Exception as error:
                raise ValueError(f"START {start}: {error}") from error
        if unknown := start.keys() - trial.params.keys():
            raise ValueError(f"START {start}: the space has no {sorted(unknown)[0]!r}")
    return [dict(start) for start in starts]


def _check(sweep: Sweep) -> None:
    """Raises ValueError if a point cannot be trained, or the metric is not measured."""
    configs = []
    for point in sweep.points:
        fields = sweep.fields(point)
        if "seed" in fields:
            raise ValueError("seed is no field to sweep: say SEEDS, and the seeds are 0, 1, 2, ...")
        for field in fields.keys() & sweep.fixed.keys():
            raise ValueError(f"{field} is a field of the sweep, and cannot be fixed by FIELDS too")
        configs.append(set_fields(sweep.config, fields))
    # The check has a process of its own, so that no worker keeps TensorFlow in its memory.
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        dicts = [config.to_dict() for config in configs]
        pool.submit(_check_configs, dicts, sweep.dataset, sweep.metric).result()


def _check_configs(dicts: list[dict[str, Any]], dataset: str | None, metric: str) -> None:
    import jax

    from srcnn_jax import datasets, train

    jax.config.update("jax_platforms", "cpu")  # no GPU's memory is taken for this
    for values in dicts:
        config = ml_collections.ConfigDict(values)
        names = datasets.dataset_names(config.eval.datasets)
        measured = {"psnr", *datasets.dataset_names(config.eval.metrics)}
        if metric not in measured:
            raise ValueError(
                f"METRIC {metric!r} is not measured: eval.metrics is {config.eval.metrics!r}"
            )
        if dataset and dataset not in names:
            raise ValueError(
                f"METRIC is on {dataset!r}, and eval.datasets is {config.eval.datasets!r}"
            )
        config.train.devices = 0  # the machine that will train it may have others
        train.check_config(config)
