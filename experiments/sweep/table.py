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
from experiments.sweep.file import Sweep, set_fields, short
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
    """The table of `rows`."""
    digits = 3 if sweep.metric in ("psnr", "wpsnr", "nqm") else 4
    lines = []
    for row in found:
        line = {short(name, row["fields"]): value for name, value in row["fields"].items()}
        line["multiply-adds"] = row["multiply_adds"] or "–"
        line[sweep.title()] = spread(row["values"], digits) if row["values"] else "–"
        line["runs"] = len(row["values"])
        line["seconds"] = round(row["seconds"]) if row["values"] else "–"
        line["front"] = "" if row["front"] is None else "*"
        line["notes"] = "; ".join(dict.fromkeys(row["notes"]))
        lines.append(line)
    return pd.DataFrame(lines)


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


def _cost(sweep: Sweep, params: Mapping[str, Any]) -> dict[str, int]:
    arch = create_architecture(set_fields(sweep.config, sweep.fields(params)))
    return {"weights": arch.weight_count, "multiply_adds": arch.multiply_adds}


def write(sweep: Sweep, study: optuna.Study, workdir: pathlib.Path) -> str:
    """Writes table.md, table.csv, runs.csv, cost.png and importance.png; returns the table."""
    found = rows(study)
    frame_of_points(sweep, found).to_csv(workdir / "table.csv", index=False)
    frame_of_runs(sweep, found, workdir).to_csv(workdir / "runs.csv", index=False)
    frame = table_of_points(sweep, found).fillna("–")
    markdown = frame.to_markdown(index=False, disable_numparse=True)
    (workdir / "table.md").write_text(
        f"Sweep `{sweep.name}`, {len(sweep.tasks)} trials of `{sweep.config.name}`; * is on the "
        f"Pareto front of {sweep.title()} over multiply-adds per pixel.\n\n{markdown}\n",
        encoding="utf-8",
    )
    scored = [row for row in found if row["values"]]
    if scored:
        from experiments.sweep import plots

        points = [(row["multiply_adds"], row["values"]) for row in scored]
        names = [" ".join(row["fields"].values()).replace(",", "-") for row in scored]
        front = [index for index, row in enumerate(scored) if row["front"] is not None]
        front.sort(key=lambda index: scored[index]["front"])
        plots.plot_cost(points, names, front, sweep.title(), workdir / "cost.png")
        shares = importances(study)
        if shares:
            plots.plot_importance(shares, sweep.title(), workdir / "importance.png")
    return markdown


def importances(study: optuna.Study) -> dict[str, float]:
    """The share of each parameter in the spread of the results (fANOVA); empty if they are few."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    seen: dict[str, set] = {}
    for trial in trials:
        for name, value in trial.params.items():
            seen.setdefault(name, set()).add(value)
    always = [name for name in seen if all(name in trial.params for trial in trials)]
    varied = [name for name in always if len(seen[name]) > 1]
    if len(trials) < 4 or not varied or len({t.value for t in trials}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator, params=varied)
    return {short(name, shares): float(share) for name, share in shares.items()}


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
