"""Trains the networks that come with the project, and makes them ready to ship.

    python -m experiments.networks WORKDIR
    python -m experiments.networks WORKDIR --minutes=12       (on a GPU)
    python -m experiments.networks WORKDIR --ship

The networks are those of configs/networks.py: 915, 955, deep and photo at x2, x3 and x4. Each has a
folder in WORKDIR. A stopped command goes on where it was. With --minutes the time of a step is
measured first, and all networks get as many steps as fit. --ship copies what is finished into
srcnn_jax/pretrained, with its cards.
"""

import argparse
import dataclasses
import hashlib
import json
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from configs import networks
from experiments import runner
from experiments.paper import study
from srcnn_jax import degradation, paper, paths
from srcnn_jax.architecture import create_architecture
from srcnn_jax.weights import pretrained
from srcnn_jax.workdir import read_json, read_metrics, write_json

SCALES = ("x3", "x2", "x4")
NAMES = [f"{network},{scale}" for scale in SCALES for network in networks.STEPS]
STARTUP = 40.0  # seconds of a run besides its steps: imports, compiling, evaluation
PROBE = 10  # dispatches that are timed


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.networks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("workdir", type=paths.folder_argument, metavar="WORKDIR")
    parser.add_argument("--minutes", type=float, help="time for all networks; by default as needed")
    parser.add_argument(
        "--only", default=[], action="append", choices=NAMES, help="a network; may be repeated"
    )
    parser.add_argument("--ship", action="store_true", help="copy what is finished, with cards")
    parser.add_argument("--data_dir", default="", help="folder of the data sets, as main's")
    args = parser.parse_args(arguments)
    try:
        if args.ship:
            ship(args.workdir)
        else:
            names = [name for name in NAMES if name in (args.only or NAMES)]
            train(args.workdir, names, args.minutes, args.data_dir)
    except (runner.TrainingError, ValueError, OSError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")


def train(
    workdir: pathlib.Path, names: Sequence[str], minutes: float | None, data_dir: str
) -> None:
    """Trains the networks, one after the other; finished ones stay as they are."""
    workdir.mkdir(parents=True, exist_ok=True)
    planned = plan(workdir, names, minutes, data_dir)
    for name in names:
        fields = planned[name]["fields"]
        training = _training(workdir, name, fields, data_dir)
        if start := networks.begins_from(*name.split(",")):
            if not (_folder(workdir, start) / "eval.json").exists():
                raise ValueError(f"{name} begins from {start}: train that first")
            training = dataclasses.replace(training, weights=_folder(workdir, start))
        print(f"{name}: {fields['train.steps']:,} steps, {training.folder}", flush=True)
        runner.run(training, log=workdir / f"{training.folder.name}.log")
        result = read_json(training.folder / "eval.json")
        print(paper.format_table(result), flush=True)


def plan(
    workdir: pathlib.Path, names: Sequence[str], minutes: float | None, data_dir: str
) -> dict[str, dict[str, Any]]:
    """The fields of each training and the commit that began it, by the network's name.

    What a command has planned stays, in WORKDIR/plan.json.

    Raises:
      ValueError: if the time is too short for a step.
    """
    path = workdir / "plan.json"
    found = read_json(path) or {}
    missing = [name for name in names if name not in found]
    if not missing:
        return found
    fields: dict[str, dict[str, Any]]
    if minutes is None:
        fields = {name: {"train.steps": networks.count_steps(*name.split(","))} for name in missing}
    else:
        seconds = {name: _time_step(workdir, name, data_dir) for name in missing}
        steps = (60 * minutes - STARTUP * len(missing)) / sum(seconds.values())
        unit = _dispatch()
        steps = int(steps) // unit * unit
        if steps < 1:
            raise ValueError(f"--minutes={minutes:g} are too few for {len(missing)} networks")
        every = max(unit, steps // 20 // unit * unit)
        often = {f"train.{each}_every": every for each in ("log", "eval", "checkpoint")}
        common = {"train.steps": steps, "train.steps_per_dispatch": _dispatch(), **often}
        fields = dict.fromkeys(missing, common)
    found |= {name: {"fields": fields[name], "commit": _commit()} for name in missing}
    write_json(path, found)
    return found


def _dispatch() -> int:
    """Steps of a dispatch: many on a GPU, where one takes less than a millisecond."""
    return 500 if runner.list_gpus() else 20


def _time_step(workdir: pathlib.Path, name: str, data_dir: str) -> float:
    """Seconds of a training step, from a short training."""
    k = _dispatch()
    often = {f"train.{each}_every": PROBE * k for each in ("log", "eval", "checkpoint")}
    fields = {
        "train.steps": PROBE * k,
        "train.steps_per_dispatch": k,
        "eval.datasets": "set5",
        **often,
    }
    training = _training(workdir / "probe", name, fields, data_dir)
    runner.run(training, unless_finished=True)
    lines = read_metrics(training.folder)
    rates = [line["patches_per_second"] for line in lines if "patches_per_second" in line]
    config = read_json(training.folder / "config.json")
    return config["train"]["batch_size"] / statistics.median(rates)


def _training(
    workdir: pathlib.Path, name: str, fields: Mapping[str, Any], data_dir: str
) -> runner.Training:
    return runner.Training(
        config=f"configs/networks.py:{name}",
        folder=_folder(workdir, name),
        fields=fields,
        data_dir=data_dir,
        allow_sample=False,
    )


def _folder(workdir: pathlib.Path, name: str) -> pathlib.Path:
    return workdir / name.replace(",", "_")


def ship(workdir: pathlib.Path) -> None:
    """Copies the finished networks of WORKDIR into the package, and writes their cards.

    Raises:
      FileNotFoundError: if none is finished.
    """
    finished = [name for name in NAMES if (_folder(workdir, name) / "eval.json").exists()]
    if not finished:
        raise FileNotFoundError(f"{workdir} has no finished network: train one first")
    cards = {(card.network, card.scale): card for card in pretrained.read_cards()}
    for name in finished:
        folder = _folder(workdir, name)
        card = create_card(name, folder, read_json(workdir / "plan.json")[name]["commit"])
        shutil.copy(folder / "weights.safetensors", card.file)
        cards[card.network, card.scale] = card
        print(f"{card.file.name}: {card.psnr:.2f} dB on Set5")
    ordered = sorted(cards.values(), key=lambda card: (card.network, card.scale))
    content = json.dumps([dataclasses.asdict(card) for card in ordered], indent=1)
    (pretrained.FOLDER / "cards.json").write_text(content + "\n", encoding="utf-8")


def create_card(name: str, folder: pathlib.Path, commit: str) -> pretrained.Card:
    """The card of a finished run of `train`, which began at a commit."""
    config, notes = read_json(folder / "config.json"), read_json(folder / "run.json")
    result = study.read_result(folder)
    arch, steps = create_architecture(config), config["train"]["steps"]
    network, scale = name.split(",")
    start = networks.begins_from(network, scale)
    changed = f" --weights=runs/network_{start.replace(',', '_')}" if start else ""
    if steps != networks.count_steps(network, scale):
        changed += f" --config.train.steps={steps}"
    return pretrained.Card(
        network=network,
        scale=config["scale"],
        architecture=f"{arch}, {'-'.join(map(str, arch.features))}",
        weights=arch.weight_count,
        trained_on="T91, with copies of "
        + ", ".join(f"{factor:g}" for factor in config["data"]["downscale_factors"]),
        recipe=f"configs/networks.py:{name}, {steps:,} steps" + (f" from {start}" if start else ""),
        command=f"python -m srcnn_jax.main --config=configs/networks.py:{name}{changed}",
        seconds=round(result.seconds),
        device=_device(notes["devices"]),
        commit=commit,
        seeds=1,
        sha256=hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest(),
        results={
            dataset: {
                metric: round(value, 3 if metric == "psnr" else 4)
                for metric, value in scores["mean"]["srcnn"].items()
            }
            for dataset, scores in result.scores.items()
        },
        small_images=str(degradation.from_config(config)),
    )


def _device(devices: Sequence[str]) -> str:
    """'2 CPU cores (AMD EPYC)', or JAX's names of other devices."""
    if not all("cpu" in device.lower() for device in devices):
        return ", ".join(devices)
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(devices)} CPU cores ({models[0] if models else platform.processor()})"


def _commit() -> str:
    """The short name of the checkout's commit; 'unknown' in a copy without git."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=runner.ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
