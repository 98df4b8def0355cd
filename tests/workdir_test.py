"""The folder of a run: its metrics, its claim, a full disk."""

import errno
import json

import pytest

from configs import default
from srcnn_jax import config_fields, workdir


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
    assert resumed.first_losses == list(resumed.last_losses) == [1.0, 1 / 2, 1 / 3]
    assert resumed.largest == {"loss": 1.0}
    resumed.write(4, loss=0.5)
    resumed.close()
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]
    assert lines(tmp_path)[-1] == {"step": 4, "loss": 0.5}


def test_metrics_of_other_processes_are_counted_but_not_written(tmp_path):
    metrics = workdir.MetricWriter(tmp_path, 0, writes=False)
    metrics.write(1, loss=2.0)
    metrics.close()
    assert metrics.first_losses == [2.0]
    assert not list(tmp_path.iterdir())
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 4.0}\n{"step": 2, "lo')
    assert workdir.MetricWriter(tmp_path, 1, writes=False).last == {"loss": 4.0}
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


def test_other_data_is_an_error_that_names_it(tmp_path):
    config = default.get_config("x3")
    a, b = 32 * "ab", 32 * "cd"
    workdir.open_run(tmp_path, config, {"t91": ("folder a", a), "set5": ("here", a)}, "", {})
    words = r"t91 was folder a \(abababab\), and is folder b \(cdcdcdcd\) now: give it the data"
    with pytest.raises(ValueError, match=words) as error:
        workdir.open_run(tmp_path, config, {"t91": ("folder b", b), "set5": ("now", a)}, "", {})
    assert "set5" not in str(error.value)  # the same images, from another place
    words = r"sample was not used, and is photographs .*; set5 was .*, and is not used now; t91 was"
    with pytest.raises(ValueError, match=words):
        workdir.open_run(tmp_path, config, {"sample": ("photographs", a)}, "", {})


def test_only_one_process_trains_in_a_workdir(tmp_path):
    folder = tmp_path / "new"
    with workdir.lock(folder):
        with pytest.raises(BlockingIOError, match=r"^another process trains in .*new: wait until"):
            workdir.lock(folder)
        assert [path.name for path in folder.iterdir()] == ["training.lock"]
    workdir.lock(folder).close()


def test_what_a_killed_process_was_writing_is_removed(tmp_path):
    (tmp_path / "config.json.partial4711").write_text("{")
    (tmp_path / "best.safetensors.partial4711").write_text("")
    (tmp_path / "film.partial1").write_text("of somebody else")
    workdir.open_run(tmp_path, default.get_config("x3"), {}, "", {})
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["config.json", "film.partial1", "run.json"]


def test_one_file_that_was_deleted_is_written_again(tmp_path):
    config = default.get_config("x3")
    for name in ("config.json", "run.json"):
        workdir.open_run(tmp_path, config, {}, "", {})
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        workdir.open_run(tmp_path, config, {}, "", {})
        assert (tmp_path / name).read_bytes() == content


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


@pytest.mark.parametrize("content", [b'{"step": 1', b"\xff\xfe", b"", b"[1]", b"5", b"null"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "eval.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"eval\.json is damaged .* delete this one file") as error:
        workdir.read_json(tmp_path / "eval.json")
    assert "\n" not in str(error.value)
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 0, "psnr": 30.5}\n' + content + b"\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl is damaged"):
        workdir.read_metrics(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "[]"),
        ("run.json", "{}"),
        ("run.json", '{"data": 5}'),
        ("run.json", '{"data": {"t91": 5}}'),
        ("run.json", '{"data": {"t91": ["here"]}}'),
        ("run.json", '{"data": {"t91": [1, 2]}}'),
        ("run.json", '{"data": {"t91": ["here", "abc"]}, "validation": [1]}'),
        ("run.json", '{"data": {"t91": {"here": 1, "abc": 2}}}'),
        ("eval.json", "{}"),
        ("eval.json", "[1]"),
        ("eval.json", '{"datasets": {"set5": {}}}'),
        ("eval.json", '{"scale": 3, "datasets": {"set5": {"images": 5}}}'),
    ],
)
def test_json_of_another_shape_is_one_line(tmp_path, name, content):
    config = default.get_config("x3")
    workdir.open_run(tmp_path, config, {"t91": ("here", "abc")}, "", {})
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=f"{name} is damaged .* or delete this one file"):  # noqa: PT012
        workdir.read_finished(tmp_path, config)
        workdir.open_run(tmp_path, config, {"t91": ("here", "abc")}, "", {})
    (tmp_path / name).unlink()
    assert workdir.read_finished(tmp_path, config) is None
    workdir.open_run(tmp_path, config, {"t91": ("here", "abc")}, "", {})


@pytest.mark.parametrize(
    "line", [b"5", b"{}", b'{"step": "1"}', b'{"step": true}', b'{"step": 1, "loss": "a"}', b"{"]
)
def test_a_line_of_another_shape_is_damaged(line):
    with pytest.raises(ValueError, match=r"is no line|no number|Expecting"):
        workdir.parse_metrics(line)


def test_infinity_is_null_and_comes_back(tmp_path):
    metrics = workdir.MetricWriter(tmp_path, 0)
    metrics.write(1, loss=0.5)
    metrics.write(1, psnr=float("inf"), psnr_valid=float("nan"))
    metrics.close()
    text = (tmp_path / "metrics.jsonl").read_text()
    assert text == '{"step": 1, "loss": 0.5}\n{"step": 1, "psnr": null}\n'
    assert workdir.read_metrics(tmp_path)[1] == {"step": 1, "psnr": float("inf")}
    resumed = workdir.MetricWriter(tmp_path, 1, metrics.mark)
    assert resumed.largest["psnr"] == resumed.last["psnr"] == float("inf")
    resumed.close()
    assert (tmp_path / "metrics.jsonl").read_text() == text
    assert resumed.mark == metrics.mark


@pytest.fixture
def marked(tmp_path):
    """Metrics of 6 steps, with an evaluation after 3, and the marks of each step."""
    metrics, marks = workdir.MetricWriter(tmp_path, 0), {}
    for step in range(1, 7):
        metrics.write(step, loss=1.0 / step)
        if step == 3:
            metrics.write(step, psnr=30.0)
        marks[step] = metrics.mark
    metrics.close()
    return tmp_path, marks


def test_lines_after_a_checkpoint_may_be_anything(marked):
    folder, marks = marked
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "loss": 9}\n5\n{"step": 7, "lo')
    for step, mark in marks.items():
        workdir.check_lines(folder, step, mark)
    workdir.MetricWriter(folder, 4, marks[4]).close()
    assert [line["step"] for line in lines(folder)] == [1, 2, 3, 3, 4]
    workdir.check_lines(folder, 3, marks[3])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines[:3], "lacks the steps 4 to 6"),
        (lambda lines: lines[:1] + lines[2:4] + lines[5:], "lacks the steps 2, 4"),
        (lambda lines: [*lines[:4], *lines[5:]], "lacks step 4"),
        (lambda lines: lines[:3] + lines[4:], "has other lines before step 6"),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], "has more than one line of step 2"),
        (lambda lines: [*lines[:4], b"5\n", *lines[5:]], "lacks step 4 and has 1 damaged line"),
        (lambda lines: [*lines[:-1], lines[-1][:-9]], "lacks step 6 and has 1 damaged line"),
        (lambda lines: [lines[0].replace(b"1.0", b"1.5"), *lines[1:]], "has other lines"),
        (lambda lines: [], "lacks the steps 1 to 6"),
    ],
)
def test_lines_before_a_checkpoint_are_as_they_were(marked, change, words):
    folder, marks = marked
    path = folder / "metrics.jsonl"
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(ValueError, match=rf"metrics\.jsonl {words}"):
        workdir.check_lines(folder, 6, marks[6])


@pytest.mark.parametrize("mark", [5, [], {}, {"lines": "6", "crc32": 0}, {"lines": 6}])
def test_a_mark_of_another_shape_is_damaged(marked, mark):
    folder, _ = marked
    with pytest.raises(ValueError, match=r"knows of .*metrics\.jsonl is damaged"):
        workdir.check_lines(folder, 6, mark)


def test_metrics_that_are_lost_are_named(marked):
    folder, marks = marked
    (folder / "metrics.jsonl").unlink()
    for mark in (marks[6], None):
        with pytest.raises(ValueError, match=r"metrics\.jsonl, with the steps 1 to 6, is not"):
            workdir.check_lines(folder, 6, mark)


def test_metrics_are_read_as_they_were_written(tmp_path):
    metrics = workdir.MetricWriter(tmp_path, 0)
    metrics.write(0, psnr=30.5)
    metrics.write(1, loss=0.25)
    metrics.close()
    assert workdir.read_metrics(tmp_path) == [{"step": 0, "psnr": 30.5}, {"step": 1, "loss": 0.25}]


def test_a_full_disk_is_explained():
    with (
        pytest.raises(OSError, match=r"the disk of runs/x3 is all but full, .*: make room"),
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


def test_a_config_without_the_fields_that_were_added_later(tmp_path):
    config = default.get_config("x3")
    assert config_fields.flatten(json.loads(config.to_json_best_effort())).items() >= (
        config_fields.ADDED.items()
    )
    content = json.loads(config.to_json_best_effort())
    del content["data"]["degradation"], content["data"]["degraded_copies"]
    del content["train"]["cauchy_scale"]
    (tmp_path / "config.json").write_text(json.dumps(content))
    workdir.check_same_config(tmp_path, config)
    config.data.degradation.jpeg = (50, 95)
    with pytest.raises(ValueError, match=r"data\.degradation\.jpeg \(\[\] there, \[50, "):
        workdir.check_same_config(tmp_path, config)


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


def test_a_folder_of_runs_is_no_workdir(tmp_path):
    config = default.get_config("x3")
    sweep, study = tmp_path / "sweep", tmp_path / "study"
    for folder in (
        *(sweep / "trials" / f"f2={size},seed=0" for size in (10, 9)),
        study / "default_smoke" / "x3_9-1-5_64-32_0",
    ):
        workdir.open_run(folder, config, {}, "", {})
    (sweep / "trials" / "f2=10,seed=0" / "weights.safetensors").touch()
    runs = [sweep / "trials" / f"f2={size},seed=0" for size in (9, 10)]
    assert workdir.find_runs(sweep) == runs
    for run in runs:
        assert workdir.find_runs(run) == []
        assert workdir.explain_folder_of_runs(run) == ""
    words = rf"sweep is the workdir of a sweep \(2 runs, 1 finished\), and no run: .* as {runs[1]}"
    for check in (
        lambda: workdir.open_run(sweep, config, {}, "", {}),
        lambda: workdir.read_finished(sweep, config),
        lambda: workdir.check_no_runs_within(sweep),
    ):
        with pytest.raises(ValueError, match=words):
            check()
    with pytest.raises(ValueError, match=r"study is a folder of runs \(1 run, 0 finished\)"):
        workdir.open_run(study, config, {}, "", {})
    assert not (study / "config.json").exists()


def test_runs_of_an_earlier_version(tmp_path):
    config = default.get_config("x3")
    (tmp_path / "config.json").write_text(json.dumps(earlier(config)))
    with pytest.raises(
        ValueError, match=r"begun by an earlier version, whose .*data\.copies.*: its"
    ):
        workdir.read_finished(tmp_path, config)
    (tmp_path / "eval.json").write_text('{"scale": 3, "datasets": {}}')
    (tmp_path / "weights.safetensors").touch()
    assert workdir.read_finished(tmp_path, config) == {"scale": 3, "datasets": {}}
    config.model.features = (32, 16)
    with pytest.raises(ValueError, match=r"another config, which differs in model\.features"):
        workdir.read_finished(tmp_path, config)
