"""What a sweep found: the sorted table, the Pareto front, and the best config as a file."""

import pathlib
import pprint
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from experiments.paper.study import read_result, spread
from experiments.sweep.file import SHAPE, Sweep, brief, set_fields, short
from experiments.sweep.trials import by_task
from experiments.sweep.worker import create_run
from srcnn_jax.architecture import create_architecture


def rows(study: optuna.Study) -> list[dict[str, Any]]:
    """A row for each point that has begun: the best first, those without a result last.

    Returns:
      {'fields': text by field, 'params', 'multiply_adds', 'seeds', 'values': one for each seed,
      'seconds': the mean of a run, 'front': the rank on the Pareto front or None, 'notes': what
      failed, was pruned or is not finished}.
    """
    points: dict[tuple, dict[str, Any]] = {}
    for trials in by_task(study).values():
        trial = _telling(trials)
        if trial is None:
            continue
        fields = trial.user_attrs.get("fields", {key: str(v) for key, v in trial.params.items()})
        row = points.setdefault(
            tuple(fields.items()),
            {
                "fields": fields,
                "params": trial.params,
                "multiply_adds": trial.user_attrs.get("multiply_adds"),
                "values": [],
                "seconds": 0.0,
                "seeds": set(),
                "front": None,
                "notes": [],
            },
        )
        if trial.state == TrialState.COMPLETE:
            # A search may draw a point twice; its runs are those of the first.
            if not row["seeds"] & set(trial.user_attrs["seeds"]):
                row["values"] += trial.user_attrs["values"]
                row["seconds"] += trial.user_attrs["seconds"]
                row["seeds"] |= set(trial.user_attrs["seeds"])
        elif trial.state == TrialState.PRUNED:
            step, psnr = max(trial.intermediate_values.items())
            row["notes"].append(f"pruned at step {step}, {psnr:.2f} dB")
        elif trial.state == TrialState.FAIL:
            row["notes"].append(f"failed: {trial.user_attrs['reason']}")
        else:
            row["notes"].append(trial.state.name.lower())
    for row in points.values():
        row["seconds"] /= max(1, len(row["values"]))
    scored = [row for row in points.values() if row["values"]]
    front = pareto([(row["multiply_adds"], _mean(row)) for row in scored])
    for rank, index in enumerate(front):
        scored[index]["front"] = rank
    return sorted(points.values(), key=lambda row: -_mean(row))


def _telling(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The trial that tells the state of a task, or None if none has begun."""
    for states in ((TrialState.COMPLETE,), (TrialState.PRUNED,), (TrialState.RUNNING,)):
        for trial in trials:
            if trial.state in states:
                return trial
    failed = [trial for trial in trials if "reason" in trial.user_attrs]
    return failed[-1] if failed else None


def _mean(row: Mapping[str, Any]) -> float:
    return statistics.mean(row["values"]) if row["values"] else float("-inf")


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Finds the points (cost, value) that no other beats.

    A point beats another if it is better and not dearer, or cheaper and as good.

    Returns:
      Indices, by rising cost; the first one of equal points.
    """
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i)):
        if not front or points[index][1] > points[front[-1]][1]:
            front.append(index)
    return front


def table_of_points(sweep: Sweep, found: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The table of `rows` for people; its first column has the numbers that pictures have."""
    digits = 3 if sweep.measure().endswith("dB") else 4
    lines = []
    for number, row in enumerate(found, 1):
        own = _numbers(sweep, row["params"])
        line = {"#": number, **{name: brief(value) for name, value in own.items()}}
        line["multiply-adds"] = row["multiply_adds"] or "–"
        line[sweep.measure()] = spread(row["values"], digits) if row["values"] else "–"
        line["runs"] = len(row["values"])
        line["seconds"] = round(row["seconds"]) if row["values"] else "–"
        line["front"] = "" if row["front"] is None else "*"
        line["notes"] = "; ".join(dict.fromkeys(row["notes"]))
        lines.append(line)
    # A network with more layers than the first has more columns: they stand beside the others.
    names = _names(sweep, found)
    rest = [name for name in (lines[0] if lines else {}) if name not in ("#", *names)]
    frame = pd.DataFrame(lines, columns=["#", *names, *rest], dtype=object)
    return frame.fillna("–")


def frame_of_points(sweep: Sweep, found: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The table of `rows` for programs: a column for each number, empty where there is none.

    A network's shape has the columns f1, f2, ..., n1, n2, ... . The metric's column is called as in
    the file, and that of its standard deviation ends in _std.
    """
    name = f"{sweep.dataset}/{sweep.metric}" if sweep.dataset else sweep.metric
    lines = []
    for row in found:
        values = row["values"]
        lines.append(
            {
                **_numbers(sweep, row["params"]),
                name: statistics.mean(values) if values else None,
                f"{name}_std": statistics.stdev(values) if len(values) > 1 else None,
                "seeds": len(values),
                **_cost(sweep, row["params"]),
                "seconds": row["seconds"] if values else None,
                "pareto": row["front"] is not None,
                "notes": "; ".join(dict.fromkeys(row["notes"])),
            }
        )
    return pd.DataFrame(lines)


def frame_of_runs(
    sweep: Sweep, found: Sequence[Mapping[str, Any]], workdir: pathlib.Path
) -> pd.DataFrame:
    """A line for each finished run, with all of its scores: set5/psnr, set5/ssim, ..."""
    lines = []
    for row in found:
        for seed in sorted(row["seeds"]):
            run = create_run(sweep, sweep.fields(row["params"]), seed, workdir)
            if not run.finished:
                continue
            result = read_result(run.folder)
            scores = {
                f"{dataset}/{metric}": value
                for dataset, each in result.scores.items()
                for metric, value in each["mean"]["srcnn"].items()
            }
            lines.append(
                {
                    **_numbers(sweep, row["params"]),
                    "seed": seed,
                    **scores,
                    **_cost(sweep, row["params"]),
                    "seconds": result.seconds,
                    "folder": str(run.folder.relative_to(workdir)),
                }
            )
    return pd.DataFrame(lines)


def _numbers(sweep: Sweep, params: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a point; those of the network's shape are a column for each layer."""
    fields = sweep.fields(params)
    columns: dict[str, Any] = {}
    for field, value in fields.items():
        letter = {"model.kernel_sizes": "f", "model.features": "n"}.get(field)
        if letter:
            columns |= {f"{letter}{layer}": number for layer, number in enumerate(value, 1)}
        else:
            columns[short(field, fields)] = value
    return columns


def _names(sweep: Sweep, found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of all points: f1, f2, ..., n1, n2, ..., then the others as they come."""
    names = dict.fromkeys(name for row in found for name in _numbers(sweep, row["params"]))
    shape = [name for name in names if SHAPE.fullmatch(name)]
    shape.sort(key=lambda name: (name[0], int(name[1:])))
    return [*shape, *(name for name in names if name not in shape)]


def varied(numbers: pd.DataFrame) -> dict[str, str]:
    """The fields that vary, and that every point has.

    Fields that always change together count as one, since nothing can tell them apart.

    Args:
      numbers: a row for each point, and a column for each field.

    Returns:
      {'f2': 'f2', 'n1, n2': 'n1'}: the names of all, and the first column of each.
    """
    groups: list[list[str]] = []
    for name in numbers.columns:
        column = numbers[name]
        if column.isna().any() or column.astype(str).nunique() < 2:
            continue
        for group in groups:
            if _change_together(numbers[group[0]], column):
                group.append(name)
                break
        else:
            groups.append([name])
    return {", ".join(group): group[0] for group in groups}


def _change_together(one: pd.Series, other: pd.Series) -> bool:
    codes, others = (pd.factorize(column.astype(str))[0] for column in (one, other))
    if list(codes) != list(others):
        return False
    if codes.max() + 1 < len(codes):
        return True
    # Values that are all different prove nothing, unless they rise or fall together.
    if not all(pd.api.types.is_numeric_dtype(column) for column in (one, other)):
        return False
    return abs(one.rank().corr(other.rank())) > 1 - 1e-9


def _cost(sweep: Sweep, params: Mapping[str, Any]) -> dict[str, int]:
    arch = create_architecture(set_fields(sweep.config, sweep.fields(params)))
    return {"weights": arch.weight_count, "multiply_adds": arch.multiply_adds}


def write(sweep: Sweep, study: optuna.Study, workdir: pathlib.Path) -> str:
    """Writes the tables and the pictures, which --help names; returns the table for people."""
    found = rows(study)
    frame_of_points(sweep, found).to_csv(workdir / "table.csv", index=False)
    frame_of_runs(sweep, found, workdir).to_csv(workdir / "runs.csv", index=False)
    frame = table_of_points(sweep, found)
    markdown = frame.to_markdown(index=False, disable_numparse=True)
    (workdir / "table.md").write_text(
        f"Sweep `{sweep.name}`, {len(sweep.tasks)} trials of `{sweep.config.name}` with "
        f"{sweep.config.train.steps:,} steps of {sweep.config.train.batch_size} patches; * is on "
        f"the Pareto front of {sweep.title()} over multiply-adds per pixel.\n\n{markdown}\n",
        encoding="utf-8",
    )
    frame.to_latex(workdir / "table.tex", index=False, escape=True)
    if any(row["values"] for row in found):
        draw(sweep, study, found, workdir)
    return markdown


def draw(
    sweep: Sweep, study: optuna.Study, found: Sequence[Mapping[str, Any]], workdir: pathlib.Path
) -> None:
    """Writes the pictures of the points that have a result; at least one has."""
    from experiments.sweep import plots

    measure = sweep.measure()
    scored = [row for row in found if row["values"]]  # the first of all rows
    means = [_mean(row) for row in scored]
    deviations = [
        statistics.stdev(row["values"]) if len(row["values"]) > 1 else None for row in scored
    ]
    numbers = pd.DataFrame([_numbers(sweep, row["params"]) for row in scored])
    fields = varied(numbers)
    shapes = [_shape(sweep, row["params"]) for row in scored]
    points = [
        plots.Point(
            number,
            _name(shapes, numbers, fields, number - 1),
            row["multiply_adds"],
            means[number - 1],
            deviations[number - 1],
            row["front"] is not None,
            shapes[number - 1] == plots.REFERENCE,
        )
        for number, row in enumerate(scored, 1)
    ]
    config = set_fields(sweep.config, {"model.kernel_sizes": (9, 1, 5), "model.features": (64, 32)})
    cost = create_architecture(config).multiply_adds
    plots.plot_cost(points, cost, measure, workdir / "cost.png")
    shares = importances(numbers, [row["values"] for row in scored])
    if shares:
        plots.plot_importance(shares, measure, workdir / "importance.png")
    if fields:
        names = sorted(fields, key=lambda name: -shares.get(name, 0.0))
        shown = [
            plots.Field(name, numbers[fields[name]].tolist(), _texts(numbers[name.split(", ")]))
            for name in names[:2]
        ]
        plots.plot_fields(shown, means, deviations, measure, names[2:], workdir / "fields.png")
    if sweep.searching:
        complete = [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
        stopped = study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
        values = {t.number + 1: t.value for t in complete if t.value is not None}
        pruned = {t.number + 1: max(t.intermediate_values.items())[1] for t in stopped}
        same = [t for t in complete if _shape(sweep, t.params) == plots.REFERENCE]
        references = [(t.number + 1, values[t.number + 1]) for t in same]
        path = workdir / "best_so_far.png"
        plots.plot_search([*values.items()], [*pruned.items()], references, measure, path)


def _texts(columns: pd.DataFrame) -> list[str]:
    """'32, 16', the values of fields that change together, at each point."""
    every = zip(*(columns[name].tolist() for name in columns), strict=True)
    return [", ".join(map(brief, values)) for values in every]


def _shape(sweep: Sweep, params: Mapping[str, Any]) -> str:
    """'9-1-5, 64-32', the network of a point as the paper writes it."""
    arch = create_architecture(set_fields(sweep.config, sweep.fields(params)))
    return ", ".join("-".join(map(str, each)) for each in (arch.kernel_sizes, arch.features))


def _name(
    shapes: Sequence[str], numbers: pd.DataFrame, fields: Mapping[str, str], index: int
) -> str:
    """The name of a point in a picture: the shape if it varies, and the other fields that do."""
    words = [shapes[index]] if len(set(shapes)) > 1 else []
    for name, column in fields.items():
        if not SHAPE.fullmatch(column):
            words.append(f"{name.partition(',')[0]} {brief(numbers[column].iloc[index])}")
    return ", ".join(words) or shapes[index]


def importances(numbers: pd.DataFrame, values: Sequence[Sequence[float]]) -> dict[str, float]:
    """The share of each field that varies in the variance of the results, by Optuna's fANOVA.

    A number counts by its rank, so that every value that was tried has the same weight.

    Args:
      numbers: a row for each point, and a column for each field.
      values: the metric of each run of each point.

    Returns:
      The shares by the names of `varied`; empty if there are too few results.
    """
    params: dict[str, list[Any]] = {}
    distributions: dict[str, optuna.distributions.BaseDistribution] = {}
    for name, column in varied(numbers).items():
        if pd.api.types.is_numeric_dtype(numbers[column]):
            ranks = numbers[column].rank(method="dense").astype(int) - 1
            params[name] = ranks.tolist()
            # Trees split half way between two ranks, so that each has the length 1.
            bounds = -0.5, ranks.max() + 0.5
            distributions[name] = optuna.distributions.FloatDistribution(*bounds)
        else:
            params[name] = numbers[column].astype(str).tolist()
            choices = tuple(dict.fromkeys(params[name]))
            distributions[name] = optuna.distributions.CategoricalDistribution(choices)
    every = [value for each in values for value in each]
    if len(every) < 4 or not params or len(set(every)) < 2:
        return {}
    study = optuna.create_study(direction="maximize")
    for index, each in enumerate(values):
        own = {name: column[index] for name, column in params.items()}
        for value in each:
            study.add_trial(
                optuna.trial.create_trial(params=own, distributions=distributions, value=value)
            )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)


def write_best(sweep: Sweep, study: optuna.Study, path: pathlib.Path) -> str:
    """Writes the config of the best point as a file for main's --config; returns its description.

    A point with missing runs is taken only if every point misses some.

    Raises:
      ValueError: if no trial is complete.
    """
    found = [row for row in rows(study) if row["values"]]
    if not found:
        raise ValueError("no trial is complete yet: there is no best config")
    most = max(len(row["values"]) for row in found)
    best = next(row for row in found if len(row["values"]) == most)
    config = set_fields(sweep.config, sweep.fields(best["params"]))
    config.name = f"{sweep.config.name}_{sweep.name}_best"
    named = {short(name, best["fields"]): value for name, value in best["fields"].items()}
    what = ", ".join(f"{name} {value}" for name, value in named.items())
    score = spread(best["values"], 3)
    values = pprint.pformat(config.to_dict(), width=96, sort_dicts=False)
    path.write_text(
        f'"""The best of the sweep {sweep.name}: {what}.\n\n'
        f"{sweep.title()} {score} ({most} runs), {best['multiply_adds']:,} multiply-adds a pixel.\n"
        f'"""\n\nimport ml_collections\n\nVALUES = {values}\n\n\n'
        "def get_config() -> ml_collections.ConfigDict:\n"
        "    return ml_collections.ConfigDict(VALUES)\n",
        encoding="utf-8",
    )
    return f"{what}: {score}"
