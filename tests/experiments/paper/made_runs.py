"""Finished workdirs and the command line, as the tests of `experiments.paper` need them."""

import argparse
import json
import pathlib

from experiments.paper import study
from srcnn_jax import paper


def arguments(tmp_path, **changes):
    values = {"recipe": "default", "budget": "short", "seeds": 1, "workers": 1, "set": []}
    values |= {"data_dir": ""} | changes
    return argparse.Namespace(workdir=tmp_path, **values)


def finished(folder: pathlib.Path, psnr: float, kernel_sizes=(9, 1, 5), features=(64, 32)):
    """A workdir as a run leaves it, as far as a study reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    others = {"msssim": 0.9, "ifc": 4.0, "nqm": 30.0, "wpsnr": 40.0}
    both = {
        "bicubic": {"psnr": 30.0, "ssim": 0.8, **others},
        "srcnn": {"psnr": psnr, "ssim": 0.9, **others},
    }
    images = {
        name: [{"name": image, **both} for image in rows]
        for (name, _), rows in paper.SRCNN_915_T91.items()
    }
    scores = {
        name: {"images": images.get(name, []), "mean": both} for name in ("set5", "set14", "bsd200")
    }
    validation = {"dataset": "set5", "bicubic": 30.0, "srcnn": psnr}
    result = {"scale": 3, "datasets": scores, "validation": validation}
    (folder / "eval.json").write_text(json.dumps(result))
    config = {
        "scale": 3,
        "model": {"kernel_sizes": kernel_sizes, "features": features, "padding": "same"},
        "data": {"colour": "y"},
        "train": {"steps": 40, "batch_size": 64},
    }
    (folder / "config.json").write_text(json.dumps(config))
    lines = [{"step": step, "loss": 0.1, "patches_per_second": 640.0} for step in (20, 40)]
    lines += [{"step": step, "psnr_valid": psnr + 0.05 * step / 40} for step in (0, 40)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return study.read_result(folder)
