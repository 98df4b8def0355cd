"""A finished workdir of the network that ships, on two small photographs."""

import json
import pathlib
import shutil

import pytest
import skimage.data
from PIL import Image

from configs import default
from srcnn_jax import datasets, evaluate, weights, workdir

SCALE = 3
NASTY = "<img src=x onerror=alert(1)>&\"'"


def finish(folder: pathlib.Path, tests: str) -> pathlib.Path:
    """A finished workdir of the bundled network, as a run leaves it."""
    config = default.get_config(f"x{SCALE}")
    config.eval.datasets = tests
    network = weights.load_pretrained(SCALE, "915")
    test = datasets.load(tests)
    data = {name: (test.source, test.fingerprint) for name in ("t91", tests)}
    workdir.open_run(folder, config, data, "", {"command": ["main", NASTY], "devices": ["cpu:0"]})
    metrics = workdir.MetricWriter(folder, 0)
    metrics.write(0, psnr=30.0)
    for step in (1000, 9000):
        metrics.write(step, loss=0.1, patches_per_second=640.0)
        metrics.write(step, psnr=31.0 + step / 9000, psnr_valid=31.1 + step / 9000)
    metrics.close()
    weights.save(folder / "weights.safetensors", network)
    workdir.write_json(folder / "eval.json", evaluate.evaluate(network, [test], SCALE))
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> str:
    """Two small photographs, of colour and grey, of sizes that the scale does not divide."""
    folder = tmp_path_factory.mktemp("pictures")
    cat = skimage.data.cat()[60:, 130:]
    Image.fromarray(cat[:91, :110]).save(folder / f"1{NASTY}.png")
    Image.fromarray(cat[100:200, 40:141, 1]).save(folder / "2.png")
    return str(folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, pictures) -> pathlib.Path:
    return finish(tmp_path_factory.mktemp("runs") / NASTY, pictures)


@pytest.fixture(scope="session")
def sweep(tmp_path_factory) -> pathlib.Path:
    """The workdir of a sweep: five points, the later the better, each with three seeds."""
    folder = tmp_path_factory.mktemp("sweeps") / "a sweep"
    images = tmp_path_factory.mktemp("images")
    Image.fromarray(skimage.data.cat()[60:180, 130:250]).save(images / "cat.png")
    template = finish(folder / "trials" / "template", str(images))
    for point in range(1, 6):
        for seed in range(3):
            run = folder / "trials" / f"f2={point},seed={seed}"
            shutil.copytree(template, run)
            change(run / "config.json", lambda content, seed=seed: content.update(seed=seed))
            text = (run / "metrics.jsonl").read_text()
            (run / "metrics.jsonl").write_text(text.replace("31.", f"3{point}.{seed}"))
            score = {"psnr": 30.0 + point + 0.1 * seed}
            change(
                run / "eval.json",
                lambda content, score=score: content["datasets"][str(images)]["mean"][
                    "srcnn"
                ].update(score),
            )
    shutil.rmtree(template)
    return folder


def change(path: pathlib.Path, edit) -> None:
    """Changes the content of a JSON file in place."""
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
