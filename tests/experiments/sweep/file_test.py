"""Sweep files: what one may say, and what a mistake in one is answered by."""

import re
import runpy
import subprocess
import sys

import ml_collections
import pytest
from made_sweeps import GRID, ROOT, SEARCH, write

from configs import default
from experiments.sweep import file, trials, worker
from srcnn_jax.architecture import Architecture, create_architecture


@pytest.mark.filterwarnings("ignore:Argument", "ignore:Heartbeat")
def test_a_search_begins_with_the_points_that_the_file_names(tmp_path):
    path = write(tmp_path, SEARCH + 'START = [{"n1": 8}, {"n1": 64}]\n')
    sweep = file._read(path)
    params = [task.params for task in sweep.tasks]
    assert params == [{"n1": 8}, {"n1": 64}, None, None, None, None]
    study = trials.open_study(sweep, trials.open_storage(f"sqlite:///{tmp_path}/a", 60))
    trials.fill(sweep, study)
    assert [study.ask().suggest_int("n1", 8, 64, log=True) for _ in range(2)] == [8, 64]


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("8", "START is [{parameter: value, ...}, ...], not 8"),
        ("[8]", "START is [{parameter: value, ...}, ...], not [8]"),
        ("[{}]", "n1"),
        ('[{"n1": 4}]', "n1"),
        ('[{"n1": 8, "n2": 4}]', "the space has no 'n2'"),
        ('[{"n1": 8}] * 7', "START has 7 points, and SEARCH is 6"),
    ],
)
def test_a_mistake_in_where_a_search_begins_is_one_line(start, words, tmp_path):
    with pytest.raises(file.SweepError) as error:
        file.read_sweep(write(tmp_path, f"{SEARCH}\nSTART = {start}\n"))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("f2, 5)", "f2, 5", "line 5: "),
        ("(9, f2, 5)", "g", "NameError: name 'g' is not defined"),
        ("kernel_sizes", "kernel_size", "no field 'model.kernel_size': did you mean model.kernel_"),
        ("train.steps", "train.step", "no field 'train.step': did you mean train.steps"),
        ("(9, f2, 5)", "f2", "model.kernel_sizes is a tuple, as (9, 1, 5): not 1"),
        ('"train.steps": 20', '"train.steps": 1.5', "train.steps is a int, as 9000: not 1.5"),
        ('"train.steps": 20', '"train.steps": True', "train.steps is a int"),
        ("(1, 3, 5)", "()", "is a list of values, and not empty"),
        ("(1, 3, 5)", "(1, 3, 1)", "has 9,1,5 twice"),
        ("GRID = {", "GRID = {} #", "not empty"),
        ("GRID =", "GIRD =", "GIRD is none of CONFIG,"),
        ("GRID =", "grid =", "needs one of GRID, RANDOM and SEARCH, and has 0"),
        ("GRID =", "RANDOM = 3\nGRID =", "has 2"),
        ("SEEDS = 2", "SEEDS = 0", "SEEDS is a positive number, not 0"),
        ("SEEDS = 2", "", None),
        ("x3", "x5", "unknown config word 'x5'"),
        ("configs/default.py", "configs/nothing.py", "there is no config configs/nothing.py"),
        ("CONFIG =", "config =", "it needs CONFIG ="),
        ("model.kernel_sizes", "model.padding,model.features", "couples 2 fields: not (9, 1, 5)"),
        ("train.steps", "model.kernel_sizes", "model.kernel_sizes"),
        ("SEEDS = 2", "START = []", "START goes with SEARCH"),
        ('FIELDS = {"train.steps": 20, "optimizer.warmup_steps": 2}', "FIELDS = [3]", "FIELDS is"),
        ('{"model.kernel_sizes"', "{3", "the config has no field '3'"),
        ('{"model.kernel_sizes"', '{"seed"', "seed is no field to sweep: say SEEDS"),
    ],
)
def test_a_mistake_in_a_file_is_one_line(old, new, words, tmp_path, monkeypatch):
    monkeypatch.setattr(file, "_check_configs", lambda *_: None)
    path = write(tmp_path, GRID.replace(old, new))
    if words is None:
        assert len(file._read(path).tasks) == 3
        return
    with pytest.raises(file.SweepError) as error:
        file.read_sweep(path)
    assert words in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_every_point_is_checked_before_anything_starts(tmp_path):
    bad = GRID.replace("(1, 3, 5)", "(1, 3, 4)")
    command = [sys.executable, "-m", "experiments.sweep", write(tmp_path, bad)]
    command += [f"--workdir={tmp_path / 'out'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    message = "kernel sizes must be odd and positive, not 4"
    assert done.stderr == f"error: {tmp_path / 'study.py'}: {message}\n"
    assert (done.returncode, done.stdout) == (2, f"{tmp_path / 'study.py'} in {tmp_path / 'out'}\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("metric", "words"),
    [("mse", "'mse' is not measured"), ("set99/psnr", "'set99'"), ("set14/ssim", None)],
)
def test_the_metric_is_one_that_is_measured(metric, words, tmp_path):
    read = file._read(write(tmp_path, GRID + f'METRIC = "{metric}"'))
    configs = [read.config.to_dict()]
    if words is None:
        file._check_configs(configs, read.dataset, read.metric)
        assert read.title() == "SSIM on set14"
    else:
        with pytest.raises(ValueError, match=words):
            file._check_configs(configs, read.dataset, read.metric)


@pytest.mark.parametrize("name", ["filters", "budget", "budget_check"])
def test_the_sweeps_that_come_with_it(name):
    path = ROOT / "experiments" / "sweeps" / f"{name}.py"
    read = file.read_sweep(path)
    assert len(read.tasks) == {"filters": 27, "budget": 60, "budget_check": 24}[name]
    if name == "budget":
        widest = runpy.run_path(str(path))["widest"]
        assert widest((9, 1, 5), 0.5) == (64, 32)
        for point in read.points:
            fields = read.fields(point)
            arch = Architecture(fields["model.kernel_sizes"], fields["model.features"], 1, "same")
            cost = arch.multiply_adds
            assert 0.85 * 8032 < cost <= 8032


def test_fields_may_be_coupled(tmp_path):
    text = GRID.replace(
        "{", '{"model.kernel_sizes,model.features": [((9, 1, 5), (8, 4)), ((5, 3), (8,))]} #'
    )
    read = file._read(write(tmp_path, text.replace("FIELDS", "#")))
    assert [task.key for task in read.tasks] == [
        "kernel_sizes=9-1-5,features=8-4,seed=0",
        "kernel_sizes=5-3,features=8,seed=0",
        "kernel_sizes=9-1-5,features=8-4,seed=1",
        "kernel_sizes=5-3,features=8,seed=1",
    ]
    assert read.fields(read.points[1]) == {"model.kernel_sizes": (5, 3), "model.features": (8,)}
    names = ["model.kernel_sizes,model.features", "seed"]
    assert [file.short(name, names) for name in names] == ["kernel_sizes,features", "seed"]


SHAPES = """
CONFIG = "configs/default.py:x3"
FIELDS = {"train.steps": 20, "optimizer.warmup_steps": 2, "f2": 3}
GRID = {"f1": [7, 9], "n1": [16, 32], "n2": [16, 32]}

def where(point):
    return point["n2"] <= point["n1"]
"""


def test_shapes_are_swept_by_layer(tmp_path):
    read = file._read(write(tmp_path, SHAPES))
    assert [task.key for task in read.tasks] == [
        "f1=7,n1=16,n2=16,seed=0", "f1=7,n1=32,n2=16,seed=0", "f1=7,n1=32,n2=32,seed=0",
        "f1=9,n1=16,n2=16,seed=0", "f1=9,n1=32,n2=16,seed=0", "f1=9,n1=32,n2=32,seed=0",
    ]  # fmt: skip
    run = worker.create_run(read, read.fields(read.points[1]), 0, tmp_path)
    assert (run.config.model.kernel_sizes, run.config.model.features) == ((7, 3, 5), (32, 16))
    assert run.training.fields["model.kernel_sizes"] == (7, 3, 5)
    assert not {"f1", "f2", "n1"} & run.training.fields.keys()


@pytest.mark.parametrize(
    ("fields", "sizes", "features"),
    [
        ({"f2": 5}, (9, 5, 5), (64, 32)),
        ({"f4": 3, "n3": 8}, (9, 1, 5, 3), (64, 32, 8)),
        ({"f3": 7, "model.kernel_sizes": (11, 1, 5)}, (11, 1, 7), (64, 32)),
        ({"f5": 3, "f4": 1, "n4": 4, "n3": 8}, (9, 1, 5, 1, 3), (64, 32, 8, 4)),
    ],
)
def test_fields_of_the_shape(fields, sizes, features):
    config = file.set_fields(default.get_config("x3"), fields)
    assert (config.model.kernel_sizes, config.model.features) == (sizes, features)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"f1"', '"f5"', "f5: model.kernel_sizes is 9,3,5, and f4 is not named"),
        ('"f1"', '"f4"', "features"),
        ('"f1": [7, 9]', '"f1": [7.5]', "7.5"),
        ('"f1": [7, 9]', '"f1": [8]', "8"),
        ('"f1": [7, 9]', '"g1": [8]', "the config has no field 'g1'"),
        ("<=", "> 99 *", "where(point) leaves out all 8 points of GRID"),
        ('point["n2"]', 'point["n3"]', "where(point): KeyError: 'n3'"),
        ("GRID =", "RANDOM = 2\ngrid =", "a function space(trial) goes with RANDOM"),
    ],
)
def test_a_mistake_in_a_shape_is_one_line(old, new, words, tmp_path):
    with pytest.raises(file.SweepError) as error:
        file.read_sweep(write(tmp_path, SHAPES.replace(old, new, 1)))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_random_points_are_always_the_same(tmp_path):
    text = SEARCH.replace("SEARCH", "RANDOM")
    first, again = (file._read(write(tmp_path, text)) for _ in range(2))
    assert first.points == again.points
    assert len({task.key for task in first.tasks}) == 6
    few = text.replace("8, 64, log=True", "8, 9")
    with pytest.raises(ValueError, match="has not 6 different points, but 2"):
        file._read(write(tmp_path, few))


def test_pruning_watches_the_metric(tmp_path):
    def read(metric, fields=""):
        text = GRID.replace("FIELDS = {", f"FIELDS = {{{fields}")
        return file._read(write(tmp_path, f"{text}\nMETRIC = {metric!r}\n"))

    own = read("psnr", '"train.eval_dataset": ".",')
    assert file.watch_metric(own) is own
    first = read("set5/psnr")
    assert file.watch_metric(first) is first
    other = file.watch_metric(read("set14/psnr"))
    assert other.title() == "PSNR on set14"
    assert other.fixed["train.eval_dataset"] == other.config.train.eval_dataset == "set14"
    with pytest.raises(file.SweepError, match=r"training measures PSNR alone: .* not ssim"):
        file.watch_metric(read("set5/ssim"))
    with pytest.raises(file.SweepError, match="keep_weights=best measures on held_out"):
        file.watch_metric(read("set14/psnr", '"train.keep_weights": "best",'))


def test_a_field_that_holds_a_dict_is_replaced_as_a_whole():
    config = ml_collections.ConfigDict({"optimizer": {"options": {"momentum": 0.9}, "rate": 1.0}})
    changed = file.set_fields(config, {"optimizer.options": {"b1": 0.8}})
    assert changed.to_dict() == {"optimizer": {"options": {"b1": 0.8}, "rate": 1.0}}
    assert config.optimizer.options.momentum == 0.9
    changed = file.set_fields(config, {"optimizer.options.momentum": 0.5})
    assert changed.optimizer.options.momentum == 0.5
    with pytest.raises(ValueError, match=r"optimizer.options is a dict, as .*: not 'momentum=0.9'"):
        file.set_fields(config, {"optimizer.options": "momentum=0.9"})
    with pytest.raises(ValueError, match=r"no field 'optimizer.options.b1'"):
        file.set_fields(config, {"optimizer.options.b1": 0.8})
    with pytest.raises(ValueError, match=r"no field 'optimizer.rate.b1'"):
        file.set_fields(config, {"optimizer.rate.b1": 0.8})
    name = file.trial_name({"optimizer.options": {"b1": 0.8}, "optimizer.rates": ((".*", 1.0),)})
    assert name == "options=__b1___0.8_,rates=___.__-_1.0_-_"


def test_nested_values_keep_their_shape():
    rates = (("last/.*", 0.1), (".*", 1.0))
    config = ml_collections.ConfigDict({"rates": ((".*", 1.0),), "channels": ()})
    changed = file.set_fields(config, {"rates": rates, "channels": (1, 2)})
    assert (changed.rates, changed.channels) == (rates, (1, 2))
    assert file.set_fields(changed, {"channels": ()}).channels == ()


def test_the_sweeps_of_the_page_can_be_read(tmp_path):
    page = (ROOT / "docs/sweeps.md").read_text()
    grid, search = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    read = file._read(write(tmp_path, grid))
    assert (len(read.points), len(read.tasks)) == (6, 12)
    (start,) = re.findall(r"`(START = [^`]*)`", page)
    read = file._read(write(tmp_path, f"{search}\n{start}\n"))
    configs = [file.set_fields(read.config, read.fields(point)) for point in read.points]
    costs = [create_architecture(config).multiply_adds for config in configs]
    assert costs[0] == 8_032  # the start, the paper's network
    assert (min(costs) > 7_000, max(costs)) == (True, 8_032)
