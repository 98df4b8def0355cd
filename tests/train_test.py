"""The step by hand, and whole runs: smoke, resume, devices, divergence, workdirs."""

import contextlib
import json
import pathlib
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from srcnn_jax import architecture, train, weights


def lines(workdir) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def timeless(workdir) -> list[dict]:
    times = ("patches_per_second", "waited")
    return [{k: v for k, v in line.items() if k not in times} for line in lines(workdir)]


def stop_after_the_first_dispatch(monkeypatch):
    monkeypatch.setattr(train, "signals", lambda: contextlib.nullcontext([signal.SIGTERM]))


def make_batch(rng, config, n=16):
    side = config.data.patch_size
    x = rng.random((n, side, side, 1), np.float32)
    return {
        "input": x,
        "label": np.clip(x + 0.1 * rng.normal(size=x.shape), 0, 1).astype(np.float32),
    }


def test_loss_is_the_mean_squared_error(tiny_config):
    state = train.create_train_state(tiny_config)
    batch = make_batch(np.random.default_rng(0), tiny_config)
    out = np.asarray(jax.jit(state.apply_fn)({"params": state.params}, batch["input"]), np.float64)
    loss = jax.jit(train.loss_fn, static_argnums=1)(state.params, state.apply_fn, batch)
    np.testing.assert_allclose(loss, np.mean((out - batch["label"]) ** 2), rtol=1e-5)
    with pytest.raises(ValueError, match="labels are"):
        train.loss_fn(state.params, state.apply_fn, batch | {"label": batch["label"][:, 1:]})


def test_loss_of_some_channels(tiny_config):
    tiny_config.data.colour = "ycbcr"
    assert train.loss_channels(tiny_config) == (0, 1, 2)
    predictions = np.zeros((1, 2, 2, 3), np.float32)
    batch = {"input": predictions, "label": predictions + np.float32([3, 1, 2])}
    loss = train.loss_fn(None, lambda _, x: x, batch, (1, 2))
    np.testing.assert_allclose(loss, (1 + 4) / 2)
    tiny_config.train.loss_channels = "1,2"
    assert train.loss_channels(tiny_config) == (1, 2)
    for bad in ("", "3", "2,1", "y", "0,"):
        tiny_config.train.loss_channels = bad
        with pytest.raises(ValueError, match=r"train.loss_channels '.*' is neither 'all' nor"):
            train.check_config(tiny_config)


def test_only_the_channels_of_the_loss_are_learnt(tiny_config, tmp_path):
    tiny_config.data.colour = "ycbcr"
    tiny_config.train.loss_channels = "1,2"
    train.train_and_evaluate(tiny_config, str(tmp_path))
    before = train.create_train_state(tiny_config).params
    after = weights.load(tmp_path).params
    last = f"conv{len(before)}"
    changed = np.abs(after[last]["kernel"] - before[last]["kernel"]).max(axis=(0, 1, 2)) > 0
    assert changed.tolist() == [False, True, True]


def test_step_is_sgd_with_momentum_by_hand(tiny_config):
    tiny_config.optimizer.update(
        precondition=False, learning_rate=0.1, schedule="constant", warmup_steps=0
    )
    state = train.create_train_state(tiny_config)
    batch = make_batch(np.random.default_rng(0), tiny_config)
    velocity = jax.tree.map(np.zeros_like, state.params)
    params = state.params
    step = jax.jit(train.train_step)
    grad = jax.jit(jax.grad(train.loss_fn), static_argnums=1)
    for _ in range(3):
        grads = grad(params, state.apply_fn, batch)
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, grads)
        params = jax.tree.map(lambda p, v: p - 0.1 * v, params, velocity)
        state, _ = step(state, batch)
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert int(state.step) == 3


def test_microbatches_and_many_steps_change_nothing(tiny_config):
    tiny_config.optimizer.precondition = False  # it magnifies rounding in its first steps
    tiny_config.optimizer.learning_rate = 0.1
    rng = np.random.default_rng(0)
    batches = [make_batch(rng, tiny_config) for _ in range(3)]
    one = train.create_train_state(tiny_config)
    step = jax.jit(train.train_step)
    losses = []
    for batch in batches:
        one, loss = step(one, batch)
        losses.append(loss)
    many, many_losses = jax.jit(lambda s, b: train.train_steps(s, b, microbatches=4))(
        train.create_train_state(tiny_config), jax.tree.map(lambda *x: jnp.stack(x), *batches)
    )
    np.testing.assert_allclose(many_losses, losses, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(many.params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(("words", "products"), [("x3", 10), ("x3,valid", 10), ("x3,955", 12)])
def test_a_step_on_a_cpu_is_so_many_matrix_products(words, products):
    """The fast form: no convolution.

    A layer takes a product forward, one for the kernel and one for what it was given, of which the
    first layer needs no gradient; one in tiles has one more matrix, G, for the kernel, forward and
    back. Its matrices A and B are loops.
    """
    from configs import default

    config = default.get_config(words)
    config.optimizer.precondition = False
    state = train.create_train_state(config)
    margin = architecture.margin(config.model.kernel_sizes, config.model.padding)
    batch = {
        "input": np.zeros((2, 45, 45, 1), np.float32),
        "label": np.zeros((2, 45 - 2 * margin, 45 - 2 * margin, 1), np.float32),
    }
    step = jax.jit(lambda s, b: train.train_step(s, b, microbatches=2)).lower(state, batch)
    compiled = step.compile().as_text()
    assert step.as_text().count("stablehlo.dot_general") == compiled.count(" dot(") == products
    assert " convolution(" not in compiled


def test_a_run_leaves_everything(tiny_config, tmp_path, photographs, capsys):
    tiny_config.eval.save_images = True
    result = train.train_and_evaluate(tiny_config, str(tmp_path))
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
    assert (trained.kernel_sizes, trained.features) == ((5, 1, 3), (4, 3))
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


def test_devices_hold_the_same_weights(tiny_config):
    from srcnn_jax import parallel

    devices = jax.local_devices()[:4]
    step = parallel.pmap_steps(
        lambda s, b, p: train.train_steps(s, b, p, axis_name=parallel.AXIS), devices
    )
    batch = make_batch(np.random.default_rng(0), tiny_config)
    batches = parallel.prefetch_to_devices(iter([jax.tree.map(lambda x: x[None], batch)]), devices)
    state, _ = step(
        parallel.replicate(train.create_train_state(tiny_config), devices), next(batches), None
    )
    for leaf in jax.tree.leaves((state.params, state.opt_state)):
        copies = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert len(copies) == 4
        for copy in copies[1:]:
            np.testing.assert_array_equal(copy, copies[0])


def test_images_too_large_for_the_devices_train_the_same(tiny_config, tmp_path, monkeypatch):
    """tf.data cuts their patches, rather than the devices."""
    cut_by_jax = losses_and_layers(tiny_config, tmp_path / "jax")
    monkeypatch.setattr(train, "MAX_DEVICE_BYTES", 0)
    cut_by_tf = losses_and_layers(tiny_config, tmp_path / "tf")
    np.testing.assert_allclose(cut_by_jax[0], cut_by_tf[0], rtol=1e-6)


def test_divergence_stops_and_keeps_the_last_good_checkpoint(tiny_config, tmp_path):
    tiny_config.optimizer.update(
        precondition=False, learning_rate=1e3, schedule="constant", warmup_steps=0
    )
    tiny_config.train.update(steps_per_dispatch=1, checkpoint_every=1)
    with pytest.raises(train.DivergedError, match="diverged at step 2"):
        train.train_and_evaluate(tiny_config, str(tmp_path))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["1"]
    assert not (tmp_path / "eval.json").exists()


def test_another_config_in_the_same_workdir(tiny_config, tmp_path):
    train.train_and_evaluate(tiny_config, str(tmp_path))
    tiny_config.optimizer.learning_rate = 0.5
    tiny_config.model.features = (6, 3)
    words = r"model.features \(\[4, 3\] there, \[6, 3\] now\), optimizer.learning_rate"
    with pytest.raises(ValueError, match=words):
        train.train_and_evaluate(tiny_config, str(tmp_path))


def test_a_run_does_not_go_on_with_other_data(tiny_config, tmp_path, monkeypatch):
    import shutil

    folder = tmp_path / "photographs"
    shutil.copytree(tiny_config.data.train, folder)
    tiny_config.data.train = str(folder)
    with monkeypatch.context() as patch:
        stop_after_the_first_dispatch(patch)
        with pytest.raises(train.Interrupted):
            train.train_and_evaluate(tiny_config, str(tmp_path / "run"))
    (folder / "cat3.png").unlink()
    with pytest.raises(ValueError, match="begun on other data"):
        train.train_and_evaluate(tiny_config, str(tmp_path / "run"))


def test_best_weights_are_kept(tiny_config, tmp_path):
    tiny_config.train.keep = "best"
    # Good at first, then spoiled by a rate that grows too high for the network.
    tiny_config.optimizer.update(learning_rate=0.03, schedule="constant", warmup_steps=5)
    tiny_config.train.max_loss_ratio = 1e9
    result = train.train_and_evaluate(tiny_config, str(tmp_path))
    (scores,) = result["datasets"].values()
    psnrs = [line["psnr"] for line in lines(tmp_path) if "psnr" in line]
    assert scores["mean"]["srcnn"]["psnr"] == pytest.approx(max(psnrs))
    assert max(psnrs) > psnrs[-1]


def test_fine_tuning_starts_from_the_given_weights(tiny_config, tmp_path):
    train.train_and_evaluate(tiny_config, str(tmp_path / "first"))
    given = weights.load(tmp_path / "first")
    state = train.create_train_state(tiny_config, given)
    np.testing.assert_array_equal(state.params["conv2"]["kernel"], given.params["conv2"]["kernel"])
    tiny_config.model.features = (6, 3)
    with pytest.raises(ValueError, match=r"\(4, 3\) filters for 'y', the .* of \(6, 3\)"):
        train.create_train_state(tiny_config, given)
    tiny_config.model.features, tiny_config.data.colour = (4, 3), "rgb"
    with pytest.raises(ValueError, match=r"for 'y', the config's .* for 'rgb'"):
        train.create_train_state(tiny_config, given)


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
