"""A finished workdir of the network that ships, on two small photographs."""

import pathlib

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
    network = weights.load_pretrained(SCALE)
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
