"""Whole runs: smoke, resume, devices, divergence, workdirs."""

import contextlib
import dataclasses
import json
import math
import pathlib
import re
import shutil
import signal

import numpy as np
import pytest

from srcnn_jax import (
    datasets,
    evaluate,
    input_pipeline,
    runtime,
    train,
    train_step,
    weights,
    workdir,
)
from srcnn_jax.architecture import Architecture


def lines(workdir) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def timeless(workdir) -> list[dict]:
    times = ("patches_per_second", "waited")
    return [{k: v for k, v in line.items() if k not in times} for line in lines(workdir)]


def stop_after_the_first_dispatch(monkeypatch):
    monkeypatch.setattr(
        runtime, "collect_signals", lambda: contextlib.nullcontext([signal.SIGTERM])
    )


def test_only_the_channels_of_the_loss_are_learnt(tiny_config, tmp_path):
    tiny_config.data.colour = "ycbcr"
    tiny_config.train.loss_channels = (1, 2)
    train.train_and_evaluate(tiny_config, str(tmp_path))
    before = train_step.create_train_state(tiny_config).params
    after = weights.load(tmp_path).params
    last = f"conv{len(before)}"
    changed = np.abs(after[last]["kernel"] - before[last]["kernel"]).max(axis=(0, 1, 2)) > 0
    assert changed.tolist() == [False, True, True]


def test_a_run_leaves_everything(tiny_config, tmp_path, photographs, capsys):
    result = train.train_and_evaluate(tiny_config, str(tmp_path), save_images=True)
    assert result == json.loads((tmp_path / "eval.json").read_text())
    scores = result["datasets"][photographs]
    assert len(scores["images"]) == 4
    assert scores["mean"]["bicubic"]["psnr"] > 20
    assert {"config.json", "run.json", "weights.safetensors", "checkpoints", "tensorboard"} <= {
        path.name for path in tmp_path.iterdir()
    }
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name]
    loss_lines = [line for line in lines(tmp_path) if "loss" in line]
    assert [line["step"] for line in loss_lines] == list(range(1, 11))
    assert [line["step"] for line in lines(tmp_path) if "psnr" in line] == [0, 5, 10]
    assert len(list((tmp_path / "images").rglob("*_srcnn.png"))) == 4
    trained = weights.load(tmp_path)
    assert trained.architecture == Architecture((5, 1, 3), (4, 3), 1, "same")
    assert (trained.padding, trained.scale, trained.colour) == ("same", 3, "y")
    log = capsys.readouterr().out
    assert "step 10/10" in log
    assert "waiting for data" in log

    again = train.train_and_evaluate(tiny_config, str(tmp_path))
    assert again == result
    assert "is finished" in capsys.readouterr().out


def test_ten_steps_are_five_and_five(tiny_config, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train.train_and_evaluate(tiny_config, str(whole))
    with monkeypatch.context() as patch:
        stop_after_the_first_dispatch(patch)
        with pytest.raises(train.Interrupted, match="SIGTERM after step 5"):
            train.train_and_evaluate(tiny_config, str(parts))
    assert [line["step"] for line in lines(parts) if "loss" in line] == [1, 2, 3, 4, 5]
    # As after a kill within a write: a line that the checkpoint knows nothing of, and a torn one.
    with (parts / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "loss": 0.5}\n{"step": 7, "lo')
    train.train_and_evaluate(tiny_config, str(parts))
    assert timeless(parts) == timeless(whole)
    for a, b in zip(weights.load(parts).layers, weights.load(whole).layers, strict=True):
        np.testing.assert_array_equal(a["kernel"], b["kernel"])
        np.testing.assert_array_equal(a["bias"], b["bias"])


@pytest.fixture
def stopped(tiny_config, tmp_path, monkeypatch):
    """A function that trains until a stop after the steps 2 and 4, and the bytes of a whole run."""
    tiny_config.train.update(steps_per_dispatch=1, checkpoint_every=2, steps=6, eval_every=2)
    whole = tmp_path / "whole"
    train.train_and_evaluate(tiny_config, str(whole))

    def stop(folder):
        shutil.copytree(whole, folder)
        for name in ("eval.json", "weights.safetensors"):
            (folder / name).unlink()
        return folder

    return stop, whole


def check_same(folder, whole):
    assert timeless(folder) == timeless(whole)
    for name in ("eval.json", "weights.safetensors"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name


def flip(path):
    content = path.read_bytes()
    digit = next(i for i in range(len(content) // 2, len(content)) if content[i : i + 1].isdigit())
    path.write_bytes(content[:digit] + bytes([content[digit] ^ 1]) + content[digit + 1 :])


def test_a_finished_run_knows_its_files(tiny_config, tmp_path, stopped):
    _, whole = stopped
    before = {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()}
    flip(whole / "eval.json")
    with pytest.raises(ValueError, match=r"eval.json is damaged .*: delete this one file"):
        train.train_and_evaluate(tiny_config, str(whole))
    (whole / "eval.json").unlink()
    train.train_and_evaluate(tiny_config, str(whole))
    assert (whole / "eval.json").read_bytes() == before["eval.json"]
    for content, lines in ((None, 0), (before["metrics.jsonl"].splitlines(True)[0], 1)):
        (whole / "metrics.jsonl").unlink()
        if content:
            (whole / "metrics.jsonl").write_bytes(content)
        with pytest.raises(ValueError, match=rf"metrics.jsonl has {lines} lines and had"):
            train.train_and_evaluate(tiny_config, str(whole))
        (whole / "metrics.jsonl").touch()


def test_a_damaged_checkpoint_is_passed_over(tiny_config, tmp_path, stopped, capsys):
    stop, whole = stopped
    parts = stop(tmp_path / "parts")
    (parts / "checkpoints/6/default/_METADATA").write_text("")
    train.train_and_evaluate(tiny_config, str(parts))
    said = capsys.readouterr().out
    assert "checkpoint 6 was passed over, and is 6.passed_over1 now: " in said
    assert "resumed after step 4" in said
    names = {path.name for path in (parts / "checkpoints").iterdir()}
    assert names == {"4", "6", "6.passed_over1"}
    check_same(parts, whole)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines[:-3], r"lacks the steps 5 to 6"),
        (lambda lines: [*lines[:-3], b"{}\n", *lines[-2:]], r"damaged line"),
        (lambda lines: [*lines[:-2], *lines[-3:]], r"more than one line of step 5"),
    ],
)
def test_the_checkpoint_before_a_lost_line_is_used(
    tiny_config, tmp_path, stopped, capsys, change, words
):
    stop, whole = stopped
    parts = stop(tmp_path / "parts")
    path = parts / "metrics.jsonl"
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    train.train_and_evaluate(tiny_config, str(parts))
    said = capsys.readouterr().out
    assert re.search(rf"checkpoint 6 was passed over, .*metrics\.jsonl .*{words}", said)
    check_same(parts, whole)


def test_metrics_that_no_checkpoint_agrees_with_are_one_line(tiny_config, tmp_path, stopped):
    stop, _ = stopped
    parts = stop(tmp_path / "parts")
    path = parts / "metrics.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    before = {path: path.read_bytes() for path in parts.rglob("*") if path.is_file()}
    with pytest.raises(
        ValueError, match=r"6: .*metrics\.jsonl lacks the steps 2 to 6; 4: .*2 to 4"
    ):
        train.train_and_evaluate(tiny_config, str(parts))
    assert {path: path.read_bytes() for path in parts.rglob("*") if path.is_file()} == before


def test_a_checkpoint_of_an_earlier_version_resumes(tiny_config, tmp_path, stopped, capsys):
    stop, whole = stopped
    parts = stop(tmp_path / "parts")
    for path in parts.glob("checkpoints/*/_CHECKPOINT_METADATA"):
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "custom_metadata": {}}))
    (parts / "training.lock").unlink()
    train.train_and_evaluate(tiny_config, str(parts))
    said = capsys.readouterr().out
    assert "checkpoint 6 is of an earlier version and has no checksum" in said
    assert "resumed after step 6" in said
    check_same(parts, whole)


def test_a_finished_run_whose_weights_are_damaged(tiny_config, tmp_path, stopped):
    _, whole = stopped
    path = whole / "weights.safetensors"
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    words = "not a usable weight file: .*: delete it, and the same command writes it again"
    with pytest.raises(ValueError, match=words):
        train.train_and_evaluate(tiny_config, str(whole))
    path.unlink()
    train.train_and_evaluate(tiny_config, str(whole))
    assert path.read_bytes() == good


def test_a_second_process_touches_nothing(tiny_config, tmp_path, stopped):
    stop, _ = stopped
    parts = stop(tmp_path / "parts")
    (parts / "config.json.partial4711").touch()  # of the process that trains
    with workdir.lock(parts):
        before = {path: path.read_bytes() for path in parts.rglob("*") if path.is_file()}
        with pytest.raises(BlockingIOError, match="another process trains in"):
            train.train_and_evaluate(tiny_config, str(parts))
        assert {path: path.read_bytes() for path in parts.rglob("*") if path.is_file()} == before


def test_a_finished_run_without_images_says_so(tiny_config, tmp_path, capsys):
    run, words = str(tmp_path / "run"), "its images were not saved: --mode=eval --weights="
    train.train_and_evaluate(tiny_config, run)
    train.train_and_evaluate(tiny_config, run)
    assert words not in capsys.readouterr().out
    train.train_and_evaluate(tiny_config, run, save_images=True)
    assert f"{words}{run} --save_images" in capsys.readouterr().out


def test_a_finished_run_of_other_data_is_not_shown(tiny_config, tmp_path):
    folder = tmp_path / "photographs"
    shutil.copytree(tiny_config.data.train, folder)
    tiny_config.data.train = str(folder)
    result = train.train_and_evaluate(tiny_config, str(tmp_path / "run"))
    (folder / "cat3.png").rename(tmp_path / "cat3.png")
    with pytest.raises(ValueError, match=r"was begun on other data: .*photographs was folder"):
        train.train_and_evaluate(tiny_config, str(tmp_path / "run"))
    shutil.rmtree(folder)  # absent, and not other
    assert train.train_and_evaluate(tiny_config, str(tmp_path / "run")) == result


def test_a_run_on_the_sample_is_not_shown_as_one_on_the_data(tiny_config, tmp_path, monkeypatch):
    result = {"scale": 3, "datasets": {}}
    photographs = datasets.load("sample", split="train")
    workdir.open_run(tmp_path, tiny_config, train.origins(photographs, []), "", {})
    workdir.write_json(tmp_path / "eval.json", result)
    weights.save(tmp_path / "weights.safetensors", weights.load_pretrained(3))

    def load_all(*_, **__):
        raise datasets.DatasetNotFoundError("'t91' cannot be found")

    monkeypatch.setattr(datasets, "load_all", load_all)
    assert train.read_finished(tmp_path, tiny_config, "", None) == result
    t91 = dataclasses.replace(photographs, name="t91", source="folder a", fingerprint="ab" * 32)
    monkeypatch.setattr(datasets, "load_all", lambda *_, **__: (t91, []))
    words = (
        r"sample was .*, and is not used now; t91 was not used, and is folder a \(abababab\) now"
    )
    with pytest.raises(ValueError, match=words):
        train.read_finished(tmp_path, tiny_config, "", None)


def losses_and_layers(config, folder):
    train.train_and_evaluate(config, str(folder))
    return [line["loss"] for line in lines(folder) if "loss" in line], weights.load(folder).layers


def test_one_two_and_eight_devices_are_equal_to_the_bit(tiny_config, tmp_path):
    tiny_config.train.microbatch_size = 2
    results = {}
    for devices in (1, 2, 8):
        tiny_config.train.devices = devices
        results[devices] = losses_and_layers(tiny_config, tmp_path / str(devices))
    for devices in (2, 8):
        assert results[devices][0] == results[1][0]
        for a, b in zip(results[devices][1], results[1][1], strict=True):
            np.testing.assert_array_equal(a["kernel"], b["kernel"])


def test_three_devices_agree_to_rounding(tiny_config, tmp_path):
    tiny_config.train.batch_size = 12
    tiny_config.optimizer.update(precondition=False, learning_rate=0.1)
    results = {}
    for devices in (1, 3):
        tiny_config.train.devices = devices
        results[devices] = losses_and_layers(tiny_config, tmp_path / str(devices))
    np.testing.assert_allclose(results[3][0], results[1][0], rtol=1e-5)
    for a, b in zip(results[3][1], results[1][1], strict=True):
        np.testing.assert_allclose(a["kernel"], b["kernel"], atol=1e-6)


def test_images_too_large_for_the_devices_train_the_same(tiny_config, tmp_path, monkeypatch):
    """The host extracts their patches, and not the devices."""
    by_devices = losses_and_layers(tiny_config, tmp_path / "devices")
    monkeypatch.setattr(input_pipeline, "MAX_DEVICE_BYTES", 0)
    by_host = losses_and_layers(tiny_config, tmp_path / "host")
    np.testing.assert_allclose(by_devices[0], by_host[0], rtol=1e-6)


def test_divergence_stops_and_keeps_the_last_good_checkpoint(tiny_config, tmp_path):
    tiny_config.optimizer.update(
        precondition=False, learning_rate=1e3, schedule="constant", warmup_steps=0
    )
    tiny_config.train.update(steps_per_dispatch=1, checkpoint_every=1)
    words = r"diverged at step 2: .* \(the checkpoint of step 1 is good\)"
    with pytest.raises(train.DivergedError, match=words):
        train.train_and_evaluate(tiny_config, str(tmp_path))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["1"]
    assert not (tmp_path / "eval.json").exists()
    tiny_config.train.update(steps_per_dispatch=5, checkpoint_every=5)
    with pytest.raises(train.DivergedError, match=r"\(no checkpoint was saved\)"):
        train.train_and_evaluate(tiny_config, str(tmp_path / "other"))


def open_run(config, folder) -> train.OpenRun:
    return train.OpenRun(config, folder, None, workdir.MetricWriter(folder, 0, writes=False))


def record(run, losses) -> None:
    """As `train.record`, a step at a time."""
    for step, loss in enumerate(losses):
        train.record(run, step, np.array([loss], np.float64), 0.1, 1.0, 0.0)


@pytest.mark.parametrize("batch_size", [1, 4, 16, 64, 256])
def test_losses_of_few_patches_differ_without_divergence(tiny_config, tmp_path, batch_size):
    """A patch of sky, then hair: a thousand times the loss."""
    tiny_config.train.batch_size = batch_size
    patches = 10 ** np.random.default_rng(0).uniform(-5, -1.5, size=(300, batch_size))
    patches[0] = 1e-5 if batch_size < 64 else patches[0]
    record(open_run(tiny_config, tmp_path), patches.mean(1))


@pytest.mark.parametrize("batch_size", [1, 16, 64])
@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e3])
@pytest.mark.parametrize("step", [2, 100])
def test_a_bad_loss_is_seen_at_once(tiny_config, tmp_path, batch_size, bad, step):
    tiny_config.train.batch_size = batch_size
    with pytest.raises(train.DivergedError, match=f"diverged at step {step}: "):
        record(open_run(tiny_config, tmp_path), [*[1e-3] * (step - 1), bad])


def test_a_first_loss_that_is_not_finite_is_bad(tiny_config, tmp_path):
    for bad in (math.nan, math.inf):
        with pytest.raises(train.DivergedError, match="diverged at step 1: "):
            record(open_run(tiny_config, tmp_path), [bad])


def test_a_network_that_got_stuck_has_diverged(tiny_config, tmp_path):
    tiny_config.train.batch_size = 1
    losses = 10 ** np.random.default_rng(0).uniform(-5, -2, size=400)
    losses[200:] = 0.05
    with pytest.raises(train.DivergedError, match=r"diverged at step 2\d\d: "):
        record(open_run(tiny_config, tmp_path), losses)


@pytest.mark.parametrize("cauchy_scale", [1e-6, 1e-3, 0.03, 1.0])
def test_a_cauchy_loss_diverges_as_the_error_does(tiny_config, tmp_path, cauchy_scale):
    """Its own ratio would never be 10: it grows with the logarithm of the error."""
    tiny_config.train.cauchy_scale = cauchy_scale
    losses = {
        error: train_step.cauchy_loss(error, cauchy_scale) for error in (1e-3, 5e-3, 0.1, 1e30)
    }
    assert train_step.cauchy_error(losses[0.1], cauchy_scale) == pytest.approx(0.1)
    record(open_run(tiny_config, tmp_path), [*[losses[1e-3]] * 9, *[losses[5e-3]] * 90])
    for bad in (0.1, 1e30):
        with pytest.raises(train.DivergedError, match=r"diverged at step 1\d: "):
            record(open_run(tiny_config, tmp_path), [*[losses[1e-3]] * 9, *[losses[bad]] * 9])


def test_black_images_do_not_diverge(tiny_config, tmp_path):
    record(open_run(tiny_config, tmp_path), [0.0, 1e-9, 5.8e-6, 5.8e-6, 9e-5, 1e-4])


def test_divergence_is_the_same_after_a_stop(tiny_config, tmp_path):
    """What the losses are compared with comes back from metrics.jsonl."""
    tiny_config.train.batch_size = 16
    run = train.OpenRun(tiny_config, tmp_path, None, workdir.MetricWriter(tmp_path, 0))
    record(run, [0.01, 0.02, 0.03, 0.04, 0.05, 0.06])
    run.metrics.close()
    resumed = workdir.MetricWriter(tmp_path, 6, run.metrics.mark)
    assert resumed.first_losses == run.metrics.first_losses
    assert resumed.last_losses == run.metrics.last_losses
    resumed.close()


def test_another_config_in_the_same_workdir(tiny_config, tmp_path):
    train.train_and_evaluate(tiny_config, str(tmp_path))
    tiny_config.optimizer.learning_rate = 0.5
    tiny_config.model.features = (6, 3)
    words = r"model.features \(\[4, 3\] there, \[6, 3\] now\), optimizer.learning_rate"
    with pytest.raises(ValueError, match=words):
        train.train_and_evaluate(tiny_config, str(tmp_path))


@pytest.mark.parametrize("field", ["data.train", "train.eval_dataset", "eval.datasets"])
def test_a_run_does_not_go_on_with_other_data(tiny_config, tmp_path, monkeypatch, field):
    folder = tmp_path / "photographs"
    shutil.copytree(tiny_config.data.train, folder)
    tiny_config.update_from_flattened_dict({field: str(folder)})
    with monkeypatch.context() as patch:
        stop_after_the_first_dispatch(patch)
        with pytest.raises(train.Interrupted):
            train.train_and_evaluate(tiny_config, str(tmp_path / "run"))
    (folder / "cat3.png").unlink()
    with pytest.raises(ValueError, match="begun on other data"):
        train.train_and_evaluate(tiny_config, str(tmp_path / "run"))


def test_best_weights_are_kept(tiny_config, tmp_path):
    tiny_config.train.keep_weights = "best"
    # Good at first, then spoiled by a rate that grows too high for the network.
    tiny_config.optimizer.update(learning_rate=0.03, schedule="constant", warmup_steps=5)
    tiny_config.train.max_loss_ratio = 1e9
    result = train.train_and_evaluate(tiny_config, str(tmp_path))
    psnrs = [line["psnr"] for line in lines(tmp_path) if "psnr" in line]
    assert result["validation"]["srcnn"] == max(psnrs) > psnrs[-1]
    data = train.load_data(tiny_config)  # of held-out photographs, if they are there
    kept = evaluate.mean_psnr(weights.load(tmp_path), data.validation_images, [3])
    assert kept == pytest.approx([max(psnrs)])
    (tmp_path / "eval.json").unlink()
    (tmp_path / "best.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no good checkpoint .*best\.safetensors is not a usable"):
        train.train_and_evaluate(tiny_config, str(tmp_path))


def test_initial_weights_are_part_of_a_run(tiny_config, tmp_path):
    train.train_and_evaluate(tiny_config, str(tmp_path / "first"))
    start = weights.load(tmp_path / "first")
    train.train_and_evaluate(tiny_config, str(tmp_path / "second"), initial=start)
    train.train_and_evaluate(tiny_config, str(tmp_path / "second"), initial=start)  # is finished
    for folder, initial in (("first", start), ("second", None)):
        with pytest.raises(ValueError, match=r"was begun from (random|given) weights"):
            train.train_and_evaluate(tiny_config, str(tmp_path / folder), initial=initial)


def test_a_test_set_does_not_choose_the_best_weights(tiny_config, tmp_path, monkeypatch, caplog):
    tiny_config.train.keep_weights, tiny_config.train.eval_dataset = "best", ""
    assert datasets.validation_name(tiny_config) == "held_out"
    loaded = []

    def load(name, data_dir):
        loaded.append(name)
        if name == "held_out" and not data_dir:
            raise datasets.DatasetNotFoundError("'held_out' cannot be found")
        return datasets.Dataset("held_out", "a test", version, "ycbcr", tests.images[:2])

    version = "0"
    _, (tests,) = datasets.load_all(None, [tiny_config.eval.datasets])
    monkeypatch.setattr(datasets, "load", load)
    assert train.load_data(tiny_config).validation == tests.name
    assert "will choose the best weights" in caplog.text
    data = train.load_data(tiny_config, data_dir=str(tmp_path))
    assert (data.validation, len(data.validation_images)) == ("held_out", 2)
    assert loaded == ["held_out"] * 2
    result = train.train_and_evaluate(tiny_config, str(tmp_path / "a"), data_dir=str(tmp_path))
    assert result["validation"]["dataset"] == "held_out"
    assert "held_out" not in result["datasets"]
    assert result["validation"]["srcnn"] == max(
        line["psnr"] for line in lines(tmp_path / "a") if "psnr" in line
    )
    again = train.train_and_evaluate(tiny_config, str(tmp_path / "a"), data_dir=str(tmp_path))
    assert again == result  # it is finished
    assert train.train_and_evaluate(tiny_config, str(tmp_path / "a")) == result  # the set is absent
    version = "1"
    with pytest.raises(ValueError, match="begun on other data: held_out was a test"):
        train.train_and_evaluate(tiny_config, str(tmp_path / "a"), data_dir=str(tmp_path))


@pytest.mark.parametrize("colour", ["ycbcr", "rgb"])
def test_colour_networks(tiny_config, tmp_path, colour):
    tiny_config.data.colour = colour
    result = train.train_and_evaluate(tiny_config, str(tmp_path))
    (scores,) = result["datasets"].values()
    assert scores["mean"]["srcnn"]["psnr"] > scores["mean"]["bicubic"]["psnr"] - 1
    assert weights.load(tmp_path).colour == colour


def test_bad_data_leaves_no_workdir(tiny_config, tmp_path):
    (tmp_path / "empty").mkdir()
    tiny_config.data.train = str(tmp_path / "empty")
    with pytest.raises(ValueError, match="empty"):
        train.train_and_evaluate(tiny_config, str(tmp_path / "run"))
    assert not pathlib.Path(tmp_path / "run").exists()


def test_fine_tuning_starts_from_the_given_weights(tiny_config, tmp_path):
    train.train_and_evaluate(tiny_config, str(tmp_path / "first"))
    given = weights.load(tmp_path / "first")
    state = train_step.create_train_state(tiny_config, given)
    np.testing.assert_array_equal(state.params["conv2"]["kernel"], given.params["conv2"]["kernel"])
    tiny_config.model.features = (6, 3)
    with pytest.raises(ValueError, match=r"\(4, 3\) filters for 'y', the .* of \(6, 3\)"):
        train_step.create_train_state(tiny_config, given)
    tiny_config.model.features, tiny_config.data.colour = (4, 3), "rgb"
    with pytest.raises(ValueError, match=r"for 'y', the config's .* for 'rgb'"):
        train_step.create_train_state(tiny_config, given)
