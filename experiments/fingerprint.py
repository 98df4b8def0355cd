"""Prints fingerprints of what the commands compute: the same before and after code was moved.

    SRCNN_DATA_DIR=DATA python experiments/fingerprint.py > before.txt

Each line is the first 16 hex digits of a sha256, and a name. The hash is over the arrays of a
weight file or a checkpoint (name, dtype, shape, bytes), over metrics without times, over a table
without folders, or over the pixels of a picture. Files are not hashed: their metadata has no fixed
order. Digits hold on one machine, since another kind of CPU rounds differently. The whole takes
about six minutes on two cores.

The commands run in the current folder, and this file imports nothing of the project. So it can
describe an older checkout: go there, and start this file by its path.
"""

import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

TIMES = {"patches_per_second", "waited", "seconds", "source"}  # keys that differ in equal runs
SHORT = {
    "train.steps": 60,
    "train.eval_every": 20,
    "train.log_every": 20,
    "train.checkpoint_every": 20,
    "optimizer.warmup_steps": 10,
}
TRAININGS: dict[str, tuple[str, dict[str, Any]]] = {
    "x3": ("x3", {}),
    "x3,valid,955": ("x3,valid,955", {}),
    "x3 rgb": ("x3", {"data.colour": "rgb"}),
}
SWEEP = """
CONFIG = "configs/default.py:x3,runlocal"
FIELDS = {"train.steps": 20, "train.steps_per_dispatch": 10, "train.eval_every": 20,
          "train.log_every": 20, "train.checkpoint_every": 20}
METRIC = "set5/psnr"
GRID = {"optimizer.learning_rate": [1e-3, 5e-4]}
"""


def main() -> None:
    argparse.ArgumentParser(
        prog="python -m experiments.fingerprint",
        description=__doc__.partition("\n")[0],
        allow_abbrev=False,
    ).parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        for name, (words, fields) in TRAININGS.items():
            for devices in (1, 2):
                describe_training(folder, f"{name}, {devices} devices", words, fields, devices)
        describe_sweep(folder)
        describe_evaluation(folder)
        describe_pictures(folder)


def describe_training(
    folder: pathlib.Path, name: str, words: str, fields: Mapping[str, Any], devices: int
) -> None:
    """Trains for 60 steps; prints the weights, the newest checkpoint, metrics, result and table."""
    workdir = folder / name.replace(" ", "_").replace(",", "_")
    fields = {**SHORT, **fields, "train.devices": devices}
    output = run(
        *("-m", "srcnn_jax.main", f"--config=configs/default.py:{words}", f"--workdir={workdir}"),
        *(f"--config.{field}={value}" for field, value in fields.items()),
    )
    show(f"{name}: weights", hash_arrays(safetensors(workdir / "weights.safetensors")))
    show(f"{name}: checkpoint", hash_arrays(checkpoint(workdir / "checkpoints/60")))
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    show(f"{name}: metrics", hash_json([json.loads(line) for line in lines]))
    show(f"{name}: result", hash_json(json.loads((workdir / "eval.json").read_text())))
    show(f"{name}: table", hash_text(table_of(output)))


def describe_sweep(folder: pathlib.Path) -> None:
    """Runs a grid of two points; prints the weights of its trials and their scores."""
    (folder / "grid.py").write_text(SWEEP)
    workdir = folder / "sweep"
    run("-m", "experiments.sweep", str(folder / "grid.py"), f"--workdir={workdir}")
    for trial in sorted((workdir / "trials").iterdir()):
        if (trial / "eval.json").exists():
            name = f"sweep, {trial.name}"
            show(f"{name}: weights", hash_arrays(safetensors(trial / "weights.safetensors")))
            show(f"{name}: result", hash_json(json.loads((trial / "eval.json").read_text())))


def describe_evaluation(folder: pathlib.Path) -> None:
    """Scores a network that ships by all six metrics on Set5 and Set14."""
    weights, workdir = "srcnn_jax/pretrained/srcnn_915_x3.safetensors", folder / "evaluation"
    output = run(
        *("-m", "srcnn_jax.main", "--mode=eval", "--config=configs/default.py:x3"),
        *(f"--weights={weights}", f"--workdir={workdir}"),
        "--config.eval.datasets=set5,set14",
        "--config.eval.metrics=psnr,ssim,msssim,ifc,nqm,wpsnr",
    )
    show("evaluation: result", hash_json(json.loads((workdir / "eval.json").read_text())))
    show("evaluation: table", hash_text(table_of(output)))


def describe_pictures(folder: pathlib.Path) -> None:
    """Enlarges an RGBA, a 16-bit grey and a CMYK picture; prints their modes and pixels."""
    from PIL import Image

    random = np.random.default_rng(0)
    smooth = np.cumsum(np.cumsum(random.normal(size=(48, 64, 4)), 0), 1)
    smooth = (smooth - smooth.min((0, 1))) / np.ptp(smooth, (0, 1))
    eight = np.round(255 * smooth).astype(np.uint8)
    sixteen = np.round(65535 * smooth[..., 0]).astype(np.uint16)
    pictures = {
        "rgba.png": Image.fromarray(eight),
        "grey16.png": Image.fromarray(sixteen),
        "cmyk.tif": Image.frombytes("CMYK", (64, 48), eight.tobytes()),
    }
    for name, picture in pictures.items():
        source, target = folder / name, folder / f"{name}.x3.png"
        picture.save(source)
        run("-m", "srcnn_jax.upscale", str(source), "--scale", "3", "-o", str(target))
        with Image.open(target) as enlarged:
            pixels = np.asarray(enlarged)
            show(f"upscale {name}: {enlarged.mode}", hash_arrays({"pixels": pixels}))


def run(*arguments: str) -> str:
    """Runs Python in the current folder; returns standard output, exits with what went wrong."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(path)


def checkpoint(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of an Orbax checkpoint by the path of each in its tree."""
    import jax
    import orbax.checkpoint as ocp

    tree = ocp.StandardCheckpointer().restore(path.absolute() / "default")
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def table_of(output: str) -> str:
    """The result table at the end of what main prints, without the folders of data sets."""
    lines = output.splitlines()
    ends = [i for i, line in enumerate(lines) if line.startswith(("saved", "trained"))]
    first = ends[-1] if ends else 0
    return "\n".join(line.partition(" (folder")[0] for line in lines[first + 1 :])


def hash_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    parts: list[bytes] = []
    for name, array in sorted(arrays.items()):
        parts.append(f"{name} {array.dtype} {array.shape}".encode())
        parts.append(np.ascontiguousarray(array).tobytes())
    return hash_parts(parts)


def hash_json(content: Any) -> str:
    """The hash of what JSON holds, without TIMES."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items() if key not in TIMES}
        return [plain(inner) for inner in value] if isinstance(value, list) else value

    return hash_text(json.dumps(plain(content), sort_keys=True))


def hash_text(text: str) -> str:
    return hash_parts([text.encode()])


def hash_parts(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:16]


def show(name: str, digest: str) -> None:
    print(f"{digest}  {name}", flush=True)


if __name__ == "__main__":
    main()
