"""The plan of the long trainings, and what is shipped of them."""

import json
import shutil

import pytest

from configs import networks as config_file
from experiments import networks, runner
from srcnn_jax.architecture import create_architecture
from srcnn_jax.weights import pretrained


def test_config_words():
    config = config_file.get_config("x3,955")
    assert config.model.kernel_sizes == (9, 5, 5)
    assert (config.scale, config.name) == (3, "network_955_x3")
    assert config.train.steps == config_file.STEPS["955"]
    assert config_file.get_config("deep,x3").train.steps == config_file.STEPS["deep"]
    assert config_file.get_config("deep,x4").train.steps == config_file.STEPS_FROM_X3["deep"]
    photo = config_file.get_config("photo,x2")
    assert (photo.model.kernel_sizes, photo.name) == ((9, 1, 5), "network_photo_x2")
    assert (photo.data.degradation.jpeg, photo.data.degraded_copies) == ((50, 95), 8)
    deep = create_architecture(config_file.get_config("deep,x4"))
    limit = create_architecture(config).weight_count
    assert 0.95 * limit < deep.weight_count <= limit == 57_184
    for words in ("", "x3", "955", "955,x5", "955,x3,valid", "915,955"):
        with pytest.raises(ValueError, match="come a network, 915, 955, deep, photo, and a scale"):
            config_file.get_config(words)


def test_the_plan_is_kept(tmp_path, monkeypatch):
    first = networks.plan(tmp_path, ["955,x3"], None, "")
    assert first["955,x3"]["fields"] == {"train.steps": config_file.STEPS["955"]}
    times = {"955,x3": 1e-3, "915,x2": 5e-4, "915,x4": 5e-4}
    monkeypatch.setattr(networks, "_time_step", lambda workdir, name, data_dir: times[name])
    monkeypatch.setattr(runner, "list_gpus", lambda: ["0"])
    plan = networks.plan(tmp_path, list(times), 3.0, "")
    assert plan["955,x3"] == first["955,x3"]
    fields = plan["915,x2"]["fields"]
    assert fields == plan["915,x4"]["fields"]
    # 180 seconds less the start of two networks, for steps that take a millisecond together.
    assert fields["train.steps"] == 100_000
    every = fields["train.checkpoint_every"]
    assert every == fields["train.eval_every"] == 5_000
    assert every % fields["train.steps_per_dispatch"] == 0
    assert networks.plan(tmp_path, list(times), 3.0, "") == plan  # the same command again
    with pytest.raises(ValueError, match="are too few for 1 networks"):
        networks.plan(tmp_path / "other", ["915,x2"], 0.01, "")


def test_networks_begin_from_that_for_x3(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="error: deep,x2 begins from deep,x3: train that first"):
        networks.main([str(tmp_path), "--only=deep,x2"])
    started = []

    def run(training, log):
        started.append(training)
        training.folder.mkdir()
        (training.folder / "eval.json").write_text("{}")

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(networks.paper, "format_table", str)
    networks.main([str(tmp_path), "--only=deep,x2", "--only=deep,x3", "--only=photo,x2"])
    weights = {training.folder.name: training.weights for training in started}
    assert weights == {"deep_x3": None, "photo_x2": None, "deep_x2": tmp_path / "deep_x3"}
    assert config_file.begins_from("955", "x4") == "955,x3"


def test_what_is_finished_is_shipped(tmp_path, monkeypatch):
    package = tmp_path / "pretrained"
    shutil.copytree(pretrained.FOLDER, package)
    monkeypatch.setattr(pretrained, "FOLDER", package)
    before = {(card.network, card.scale): card for card in pretrained.read_cards()}
    networks.plan(tmp_path, ["915,x3", "955,x4", "photo,x2", "deep,x2"], None, "")
    with pytest.raises(SystemExit, match=r"error: .* has no finished network: train one first"):
        networks.main([str(tmp_path), "--ship"])
    folder = tmp_path / "915_x3"
    folder.mkdir()
    scores = {"mean": {"bicubic": {}, "srcnn": {"psnr": 33.3333, "ssim": 0.91}}}
    files = {
        "config": {
            "scale": 3,
            "model": {"kernel_sizes": [9, 1, 5], "features": [64, 32], "padding": "same"},
            "data": {"colour": "y", "downscale_factors": [1, 0.9]},
            "train": {"steps": 40, "batch_size": 64},
        },
        "run": {"devices": ["TFRT_CPU_0", "TFRT_CPU_1"]},
        "eval": {"datasets": {"set5": scores}, "validation": {"dataset": "set5"}},
    }
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    lines = [{"step": step, "patches_per_second": 640.0} for step in (20, 40)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "weights.safetensors").write_bytes(b"weights")
    shutil.copytree(folder, tmp_path / "photo_x2")
    content = files["config"] | {"scale": 2}
    content["data"] = {**content["data"], "degradation": {"jpeg": [50, 95]}}
    (tmp_path / "photo_x2" / "config.json").write_text(json.dumps(content))
    shutil.copytree(folder, tmp_path / "deep_x2")
    (tmp_path / "deep_x2" / "config.json").write_text(json.dumps(files["config"] | {"scale": 2}))
    networks.main([str(tmp_path), "--ship"])
    cards = {(card.network, card.scale): card for card in pretrained.read_cards()}
    assert cards.keys() == {*before, ("photo", 2), ("deep", 2)}
    deep = cards["deep", 2]
    assert deep.recipe == "configs/networks.py:deep,x2, 40 steps from deep,x3"
    assert "deep,x2 --weights=runs/network_deep_x3 --config.train.steps=40" in deep.command
    assert cards["photo", 2].small_images == "bicubic, JPEG 50 to 95 (4:2:0)"
    assert cards["photo", 2].file.name == "srcnn_photo_x2.safetensors"
    assert pretrained.choose(2).network != "photo"  # the best for clean pictures
    assert cards["915", 2] == before["915", 2]
    card = cards["915", 3]
    assert card.file.read_bytes() == b"weights"
    pretrained.check(card)
    assert (card.psnr, card.weights, card.architecture) == (33.333, 8032, "9-1-5, 64-32")
    assert card.trained_on == "T91, with copies of 1, 0.9"
    assert card.command.endswith("--config=configs/networks.py:915,x3 --config.train.steps=40")
    assert card.device.startswith("2 CPU cores (")
    assert card.seconds == 4
