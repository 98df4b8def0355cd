"""The folder of a run: its metrics, its claim, a full disk."""

import errno
import json

import pytest

from configs import default
from srcnn_jax import workdir


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path):
    metrics = workdir.MetricWriter(tmp_path, 0)
    for step in range(1, 5):
        metrics.write(step, loss=1.0 / step)
    metrics.write(4, psnr=30.0)
    metrics.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # torn by a kill

    resumed = workdir.MetricWriter(tmp_path, 3)
    assert resumed.first == {"loss": 1.0}
    assert resumed.largest == {"loss": 1.0}
    resumed.write(4, loss=0.5)
    resumed.close()
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]
    assert lines(tmp_path)[-1] == {"step": 4, "loss": 0.5}


def test_metrics_of_other_processes_are_counted_but_not_written(tmp_path):
    metrics = workdir.MetricWriter(tmp_path, 0, writes=False)
    metrics.write(1, loss=2.0)
    metrics.close()
    assert metrics.first == {"loss": 2.0}
    assert not list(tmp_path.iterdir())
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 4.0}\n{"step": 2, "lo')
    assert workdir.MetricWriter(tmp_path, 1, writes=False).first == {"loss": 4.0}
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_damaged_metrics_are_one_line_that_names_the_file(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"st\n{"step": 1, "loss": 4.0}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl is damaged"):
        workdir.MetricWriter(tmp_path, 1)


def test_another_config_is_an_error_that_names_the_fields(tmp_path):
    config = default.get_config("x3")
    workdir.open_run(tmp_path, config, {"t91": ("here", "abc")}, "", {"command": ["main"]})
    workdir.open_run(tmp_path, config, {"t91": ("there", "abc")}, "", {})
    written = json.loads((tmp_path / "run.json").read_text())  # says how the run began
    assert written == {"command": ["main"], "start": "", "data": {"t91": ["here", "abc"]}}
    config.train.steps = 7
    with pytest.raises(ValueError, match=r"differs in train\.steps \(9000 there, 7 now\)"):
        workdir.open_run(tmp_path, config, {"t91": ("here", "abc")}, "", {})


def test_other_data_is_an_error(tmp_path):
    config = default.get_config("x3")
    workdir.open_run(tmp_path, config, {"t91": ("here", "abc")}, "", {})
    with pytest.raises(ValueError, match="begun on other data: t91"):
        workdir.open_run(tmp_path, config, {"t91": ("here", "abd")}, "", {})


@pytest.mark.parametrize(
    ("began", "now", "words"),
    [
        ("", "a", "begun from random weights: leave out --weights"),
        ("a", "b", "begun from other weights: name those by --weights"),
        ("a", "", "begun from given weights: name those by --weights"),
    ],
)
def test_other_initial_weights_are_an_error(tmp_path, began, now, words):
    config = default.get_config("x3")
    workdir.open_run(tmp_path, config, {}, began, {})
    with pytest.raises(ValueError, match=words):
        workdir.open_run(tmp_path, config, {}, now, {})
    workdir.open_run(tmp_path, config, {}, began, {})
    run = json.loads((tmp_path / "run.json").read_text())
    del run["start"]  # as earlier versions wrote it
    (tmp_path / "run.json").write_text(json.dumps(run))
    workdir.open_run(tmp_path, config, {}, now, {})


def test_json_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "eval.json"
    workdir.write_json(path, {"psnr": 1.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        workdir.write_json(path, {"psnr": float("nan")})
    assert workdir.read_json(path) == {"psnr": 1.5}
    workdir.write_json(path, {"rows": [{"psnr": float("inf")}, 2]})
    assert workdir.read_json(path) == {"rows": [{"psnr": None}, 2]}
    assert workdir.read_json(tmp_path / "none.json") is None


@pytest.mark.parametrize("content", [b'{"step": 1', b"\xff\xfe", b""])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "eval.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"eval\.json is damaged .* put a good copy back"):
        workdir.read_json(tmp_path / "eval.json")
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 0, "psnr": 30.5}\n' + content + b"\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl is damaged"):
        workdir.read_metrics(tmp_path)


def test_metrics_are_read_as_they_were_written(tmp_path):
    metrics = workdir.MetricWriter(tmp_path, 0)
    metrics.write(0, psnr=30.5)
    metrics.write(1, loss=0.25)
    metrics.close()
    assert workdir.read_metrics(tmp_path) == [{"step": 0, "psnr": 30.5}, {"step": 1, "loss": 0.25}]


def test_a_full_disk_is_explained():
    with (
        pytest.raises(OSError, match="the disk of runs/x3 is all but full: make room"),
        workdir.explain_full_disk("runs/x3"),
        open("/dev/full", "w") as full,
    ):
        full.write("a line")
    with pytest.raises(OSError, match="other"), workdir.explain_full_disk("runs/x3"):
        raise OSError(errno.EACCES, "other") from None


def test_what_changes_no_result_may_differ(tmp_path):
    config = default.get_config("x3")
    workdir.open_run(tmp_path, config, {}, "", {})
    config.name, config.train.log_every, config.train.keep_checkpoints = "other", 40, 5
    workdir.open_run(tmp_path, config, {}, "", {})


def earlier(config) -> dict:
    """The `config.json` of a version before `data.copies` and others got other names and types."""
    content = json.loads(config.to_json_best_effort())
    content["data"]["copies"] = content["data"].pop("downscale_factors")
    content["data"] |= {"dir": "", "allow_sample": True}
    content["eval"] |= {"save_images": False, "outputs": ""}
    content["train"]["keep"] = content["train"].pop("keep_weights")
    del content["train"]["keep_checkpoints"], content["optimizer"]["preconditioner"]
    content["train"]["loss_channels"] = "all"
    content["optimizer"] |= {"options": "momentum=0.9", "rates": ".*:1", "precondition_every": 50}
    return content


def test_runs_of_an_earlier_version(tmp_path):
    config = default.get_config("x3")
    (tmp_path / "config.json").write_text(json.dumps(earlier(config)))
    with pytest.raises(
        ValueError, match=r"begun by an earlier version, whose .*data\.copies.*: its"
    ):
        workdir.read_finished(tmp_path, config)
    (tmp_path / "eval.json").write_text('{"scale": 3}')
    (tmp_path / "weights.safetensors").touch()
    assert workdir.read_finished(tmp_path, config) == {"scale": 3}
    config.model.features = (32, 16)
    with pytest.raises(ValueError, match=r"another config, which differs in model\.features"):
        workdir.read_finished(tmp_path, config)
