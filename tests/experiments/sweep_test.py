"""Sweeps: what a file may say, workers that die, what is written in the end.

Most tests replace the training by `TRAINER`, which needs no time; one runs the real thing.
"""

import json
import os
import pathlib
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import optuna
import pytest
from optuna.trial import TrialState

from experiments import runner
from experiments.sweep import cli
from experiments.sweep import file as sweep_file
from experiments.sweep import run as sweep_run
from experiments.sweep import slurm as sweep_slurm
from experiments.sweep import table as sweep_table
from experiments.sweep import trials as sweep_trials

ROOT = pathlib.Path(__file__).parents[2]
GRID = """
CONFIG = "configs/default.py:x3"
FIELDS = {"train.steps": 20, "optimizer.warmup_steps": 2}
SEEDS = 2
GRID = {"model.kernel_sizes": [(9, f2, 5) for f2 in (1, 3, 5)]}
"""
SEARCH = """
CONFIG = "configs/default.py:x3"
FIELDS = {"train.steps": 20}
SEARCH = 6

def space(trial):
    n1 = trial.suggest_int("n1", 8, 64, log=True)
    return {"model.features": (n1, n1 // 2), "optimizer.learning_rate": n1 / 1e4}
"""
# A training without a network: a line in `steps`, its checkpoint, for every step. Networks are the
# better the larger f2; those of f2 = 7 diverge.
TRAINER = """
import json, os, pathlib, signal, sys, time

folder = pathlib.Path(sys.argv[1])
config = json.loads((folder / "config.json").read_text())
f2 = config["model"]["kernel_sizes"][1]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
with (folder / "steps").open("a+") as steps, (folder / "metrics.jsonl").open("a") as metrics:
    steps.seek(0)
    for step in range(len(steps.readlines()) + 1, config["train"]["steps"] + 1):
        time.sleep(0.1)
        if f2 == 7 and step == 3:
            sys.exit("error: training diverged at step 3")
        print(os.getpid(), os.getppid(), file=steps, flush=True)
        values = {"step": step, "psnr": 30.0 + f2 / 10, "patches_per_second": 640.0}
        print(json.dumps(values), file=metrics, flush=True)
mean = {"srcnn": {"psnr": 30.0 + f2 / 10 + config["seed"] / 100}}
(folder / "eval.json").write_text(json.dumps({"datasets": {"set5": {"mean": mean}}}))
"""
WORKER = """
import signal, sys
from experiments.sweep import cli, file as sweep_file, run as sweep_run, training as sweep_training

def command(sweep, run):
    (run.folder / "config.json").write_text(run.config.to_json_best_effort())
    return [sys.executable, TRAINER, str(run.folder)]

# What a shell runs in its background ignores Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
sweep_file._check = lambda sweep: None
if TRAINER:
    sweep_training.command = command
sweep_run.COMMAND = [sys.executable, __file__]
sweep.main()
"""


WORKERS: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def nothing_left():
    """Stops the workers of a test that failed, and what they train."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    while WORKERS:
        with WORKERS.pop() as process:
            process.terminate()


def write(tmp_path, text: str, name: str = "study.py") -> pathlib.Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def start(tmp_path, text: str, *arguments: str, real: bool = False) -> subprocess.Popen:
    """A worker on the sweep of that text, with workdir tmp_path/out."""
    path = write(tmp_path, text)
    trainer = write(tmp_path, TRAINER, "trainer.py")
    worker = f"TRAINER = {'' if real else str(trainer)!r}\n{WORKER}"
    workdir = f"--workdir={tmp_path / 'out'}"
    process = subprocess.Popen(
        [sys.executable, write(tmp_path, worker, "worker.py"), path, workdir, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    WORKERS.append(process)
    return process


def finish(process: subprocess.Popen) -> str:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    return out


def study_of(url: str) -> optuna.Study:
    storage = url if "://" in url else sweep_trials.open_storage(url, 60)
    return optuna.load_study(study_name="study", storage=storage)


def sqlite(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/out/sweep.db"


def until(condition, seconds: float = 300.0):
    """Waits for something and returns it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def steps(folder: pathlib.Path) -> list[list[int]]:
    """(process, its worker) of every step that a trainer has made there."""
    path = folder / "steps"
    lines = path.read_text().splitlines() if path.exists() else []
    return [[int(word) for word in line.split()] for line in lines]


@pytest.mark.filterwarnings("ignore:Argument", "ignore:Heartbeat")
def test_a_search_begins_with_the_points_that_the_file_names(tmp_path):
    path = write(tmp_path, SEARCH + 'START = [{"n1": 8}, {"n1": 64}]\n')
    sweep = sweep_file._read(path)
    params = [task.params for task in sweep.tasks]
    assert params == [{"n1": 8}, {"n1": 64}, None, None, None, None]
    study = sweep_trials.open_study(sweep, sweep_trials.open_storage(f"sqlite:///{tmp_path}/a", 60))
    sweep_trials.fill(sweep, study)
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
    with pytest.raises(sweep_file.SweepError) as error:
        sweep_file.read(write(tmp_path, f"{SEARCH}\nSTART = {start}\n"))
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
    monkeypatch.setattr(sweep_file, "_check_configs", lambda *_: None)
    path = write(tmp_path, GRID.replace(old, new))
    if words is None:
        assert len(sweep_file._read(path).tasks) == 3
        return
    with pytest.raises(sweep_file.SweepError) as error:
        sweep_file.read(path)
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
    assert (done.returncode, done.stdout) == (2, "")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("metric", "words"),
    [("mse", "'mse' is not measured"), ("set99/psnr", "'set99'"), ("set14/ssim", None)],
)
def test_the_metric_is_one_that_is_measured(metric, words, tmp_path):
    read = sweep_file._read(write(tmp_path, GRID + f'METRIC = "{metric}"'))
    configs = [read.config.to_dict()]
    if words is None:
        sweep_file._check_configs(configs, read.dataset, read.metric)
        assert read.title() == "SSIM on set14"
    else:
        with pytest.raises(ValueError, match=words):
            sweep_file._check_configs(configs, read.dataset, read.metric)


@pytest.mark.parametrize("name", ["filters", "budget", "budget_check"])
def test_the_sweeps_that_come_with_it(name):
    path = ROOT / "experiments" / "sweeps" / f"{name}.py"
    read = sweep_file.read(path)
    assert len(read.tasks) == {"filters": 27, "budget": 60, "budget_check": 24}[name]
    if name == "budget":
        from srcnn_jax.architecture import weight_count

        widest = runpy.run_path(str(path))["widest"]
        assert widest((9, 1, 5), 0.5) == (64, 32)
        for point in read.points:
            fields = read.fields(point)
            cost = weight_count(fields["model.kernel_sizes"], fields["model.features"])
            assert 0.85 * 8032 < cost <= 8032


def test_fields_may_be_coupled(tmp_path):
    text = GRID.replace(
        "{", '{"model.kernel_sizes,model.features": [((9, 1, 5), (8, 4)), ((5, 3), (8,))]} #'
    )
    read = sweep_file._read(write(tmp_path, text.replace("FIELDS", "#")))
    assert [task.key for task in read.tasks] == [
        "kernel_sizes=9-1-5,features=8-4,seed=0",
        "kernel_sizes=5-3,features=8,seed=0",
        "kernel_sizes=9-1-5,features=8-4,seed=1",
        "kernel_sizes=5-3,features=8,seed=1",
    ]
    assert read.fields(read.points[1]) == {"model.kernel_sizes": (5, 3), "model.features": (8,)}
    names = ["model.kernel_sizes,model.features", "seed"]
    assert [sweep_file.short(name, names) for name in names] == ["kernel_sizes,features", "seed"]


def test_random_points_are_always_the_same(tmp_path):
    text = SEARCH.replace("SEARCH", "RANDOM")
    first, again = (sweep_file._read(write(tmp_path, text)) for _ in range(2))
    assert first.points == again.points
    assert len({task.key for task in first.tasks}) == 6
    few = text.replace("8, 64, log=True", "8, 9")
    with pytest.raises(ValueError, match="has not 6 different points, but 2"):
        sweep_file._read(write(tmp_path, few))


def test_the_plan(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_run.matrix_product, "rate", lambda: 100.0)
    text = sweep_run.plan(sweep_file._read(write(tmp_path, GRID)))
    first, *points, last = text.splitlines()
    assert first.startswith("6 runs of ")
    assert first.endswith("configs/default.py:x3, for the best PSNR on set5")
    assert points[0] == "  kernel_sizes=9-1-5  about 22 s"
    assert last == "about 3 min in all on this machine's CPU (100 GF/s in a matrix product)"
    # Measured at 150 GF/s, in ms; within a fifth.
    config = sweep_file._read(tmp_path / "study.py").config
    for f2, step in {1: 59, 3: 251, 5: 290}.items():
        config.model.kernel_sizes, config.train.steps = (9, f2, 5), 9000
        expected = sweep_run.STARTUP + 9 * step
        assert sweep_run.seconds_of_run(config, 150.0) == pytest.approx(expected, rel=0.2)


def test_two_workers_that_begin_at_once_do_every_task_once(tmp_path):
    """What `fill` of two workers may do to one study, in one process."""
    read = sweep_file._read(write(tmp_path, GRID))
    storage = optuna.storages.InMemoryStorage()
    study = sweep_trials.open_study(read, storage)
    before = study.get_trials
    study.get_trials = lambda *args, **kwargs: []  # the other one has seen none
    sweep_trials.fill(read, study)
    sweep_trials.fill(read, study)
    study.get_trials = before
    assert len(study.trials) == 12
    sweep_trials.fill(read, study)
    assert len(study.trials) == 12
    claimed = []
    while trial := sweep_trials.claim(study, storage):
        claimed.append(trial.user_attrs["key"])
        if len(claimed) == 2:  # stopped: it does not count, and the other one is still there
            study.tell(trial, state=TrialState.FAIL)
        elif len(claimed) == 3:
            trial.set_user_attr("reason", "diverged")
            study.tell(trial, state=TrialState.FAIL)
    keys = [task.key for task in read.tasks]
    assert sorted(claimed) == sorted([*keys, keys[1]])


def test_another_config_in_the_same_storage_is_an_error(tmp_path):
    storage = optuna.storages.InMemoryStorage()
    sweep_trials.open_study(sweep_file._read(write(tmp_path, GRID)), storage)
    more_seeds = GRID.replace("SEEDS = 2", "SEEDS = 3")
    sweep_trials.open_study(sweep_file._read(write(tmp_path, more_seeds)), storage)
    for old, new, words in (
        ('steps": 20', 'steps": 40', "train.steps 20, not 40"),
        ("(1, 3, 5)", "(1, 3)", "model.kernel_sizes 9,1,5; 9,3,5; 9,5,5, not 9,1,5; 9,3,5:"),
    ):
        with pytest.raises(ValueError, match=words):
            sweep_trials.open_study(
                sweep_file._read(write(tmp_path, GRID.replace(old, new))), storage
            )


@pytest.fixture(scope="module")
def postgresql():
    """URL of a PostgreSQL of our own, on loopback."""
    places = [pathlib.Path(found).parent for found in [shutil.which("initdb")] if found]
    places += sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
    if not places:
        pytest.skip("no PostgreSQL: apt-get install postgresql")
    pytest.importorskip("psycopg")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tempfile.mkdtemp()
    # It does not run as root; Debian's package makes a user for it.
    root = os.getuid() == 0
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if root else {}
    if root:
        shutil.chown(folder, "postgres")

    def call(program, *arguments):
        subprocess.run(
            [places[0] / program, "-D", f"{folder}/data", *arguments],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
            **user,
        )

    call("initdb", "--username=sweep", "--auth=trust", "--no-sync", "--encoding=UTF8")
    options = f"-h 127.0.0.1 -p {port} -c unix_socket_directories= -c fsync=off"
    call("pg_ctl", "start", "--wait", f"--log={folder}/log", f"--options={options}")
    yield f"postgresql://sweep@127.0.0.1:{port}/postgres"
    call("pg_ctl", "stop", "--wait", "--mode=immediate")
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("kind", "killed"),
    [
        ("sqlite", "worker"),
        ("postgresql", "worker and training"),
    ],
)
def test_a_worker_is_killed_and_every_trial_is_finished_once(kind, killed, tmp_path, request):
    url = sqlite(tmp_path)
    if kind == "postgresql":
        url = request.getfixturevalue("postgresql")
    arguments = (f"--storage={url}", "--heartbeat=1")
    workers = [start(tmp_path, GRID, *arguments) for _ in range(2)]
    trials = tmp_path / "out" / "trials"

    def half_way():
        for folder in trials.glob("*"):
            made = steps(folder)
            if 5 <= len(made) < 12 and made[-1][1] == workers[0].pid:
                return folder
        return None

    folder = until(half_way)
    workers[0].kill()
    if killed == "worker and training":
        os.kill(steps(folder)[-1][0], signal.SIGKILL)
    out = finish(workers[1])
    workers[0].communicate()

    study = study_of(url)
    complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    keys = [f"kernel_sizes=9-{f2}-5,seed={seed}" for f2 in (1, 3, 5) for seed in (0, 1)]
    assert sorted(trial.user_attrs["key"] for trial in complete) == keys
    assert not [t for t in study.trials if t.state in (TrialState.WAITING, TrialState.RUNNING)]
    for key in keys:  # from the checkpoint: no step was made twice, and none is missing
        assert len(steps(trials / key)) == 20
    trainings = {process for process, _ in steps(folder)}
    assert len(trainings) == (2 if killed == "worker and training" else 1)
    best = next(line for line in out.splitlines() if line.startswith("| 9,5,5"))
    assert [cell.strip() for cell in best.split("|")[2:5]] == ["57184", "30.505 ± 0.007", "2"]


def test_ctrl_c_stops_all_workers_and_the_same_command_goes_on(tmp_path):
    process = start(tmp_path, GRID, "--workers=2")
    trials = tmp_path / "out" / "trials"

    def both_at_work():
        made = [steps(folder) for folder in trials.glob("*")]
        return len({each[-1][1] for each in made if 2 < len(each) < 15}) == 2

    until(both_at_work)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out.splitlines()[-1] == "stopped; the same command goes on from there"
    study = study_of(sqlite(tmp_path))
    assert not study.get_trials(states=(TrialState.RUNNING,))
    assert len(study.get_trials(states=(TrialState.FAIL,))) == 2
    finish(start(tmp_path, GRID))
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    assert len({trial.user_attrs["key"] for trial in complete}) == len(complete) == 6
    assert [len(steps(folder)) for folder in trials.glob("*")] == 6 * [20]


def test_a_failure_is_recorded_and_the_sweep_goes_on(tmp_path):
    text = GRID.replace("SEEDS = 2", "SEEDS = 1").replace("(1, 3, 5)", "(7, 1)")
    text = text.replace('steps": 20', 'steps": 5')
    out = finish(start(tmp_path, text))
    assert "1/2  kernel_sizes=9-7-5,seed=0: failed: training diverged at step 3" in out
    assert "failed: training diverged at step 3 |" in out.splitlines()[-3]
    (folder,) = (tmp_path / "out" / "trials").glob("*9-7-5*")
    assert len(steps(folder)) == 2
    out = finish(start(tmp_path, text, "--retry=failed"))
    assert "2/2  kernel_sizes=9-7-5,seed=0: failed: " in out
    study = study_of(sqlite(tmp_path))
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE", "FAIL"]
    sweep_trials.fill(sweep_file._read(tmp_path / "study.py"), study)
    assert len(study.trials) == 3


def test_a_journal_file_needs_to_be_told_of_a_dead_worker(tmp_path):
    text = GRID.replace("SEEDS = 2", "SEEDS = 1").replace("(1, 3, 5)", "(1, 3)")
    journal = str(tmp_path / "journal.log")
    arguments = (f"--storage={journal}",)
    worker = start(tmp_path, text, *arguments)
    folder = tmp_path / "out" / "trials" / "kernel_sizes=9-1-5,seed=0"
    until(lambda: len(steps(folder)) > 5)
    worker.kill()
    out, _ = worker.communicate()
    assert "a journal file has no heartbeat" in out
    out = finish(start(tmp_path, text, *arguments))
    assert "1 trials are left to other workers" in out
    out = finish(start(tmp_path, text, *arguments, "--retry=running"))
    assert "1 running trials are taken over" in out
    assert [t.state.name for t in study_of(journal).trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert len(steps(folder)) == 20


def test_a_search_draws_as_many_points_as_it_says(tmp_path):
    text = SEARCH.replace('steps": 20', 'steps": 2') + "\nSEEDS = 2\n"
    workers = [start(tmp_path, text) for _ in range(2)]
    for worker in workers:
        finish(worker)
    trials = study_of(sqlite(tmp_path)).get_trials(states=(TrialState.COMPLETE,))
    assert sorted(t.user_attrs["key"] for t in trials) == [f"trial {index}" for index in range(6)]
    assert all(trial.user_attrs["values"] == pytest.approx([30.1, 30.11]) for trial in trials)


def test_pruning(tmp_path):
    text = GRID.replace("SEEDS = 2", "SEEDS = 4").replace("(1, 3, 5)", "(3, 1)")
    text = text.replace('steps": 20', 'steps": 12')
    finish(start(tmp_path, text, "--prune"))
    trials = study_of(sqlite(tmp_path)).trials
    pruned = [t for t in trials if t.state == TrialState.PRUNED]
    assert {t.user_attrs["key"] for t in pruned} == {
        f"kernel_sizes=9-1-5,seed={seed}" for seed in (2, 3)
    }
    assert all(6 <= t.last_step < 12 for t in pruned)
    assert len([t for t in trials if t.state == TrialState.COMPLETE]) == 6
    table = (tmp_path / "out" / "table.md").read_text().splitlines()
    assert "pruned at step" in table[-1]


def test_the_real_training_resumes_and_main_accepts_the_best_config(tmp_path, photographs):
    fields = {
        "model.kernel_sizes": (5, 1, 3),
        "data.patch_size": 17,
        "train.batch_size": 16,
        "train.steps": 2000,
        "train.steps_per_dispatch": 4,
        "train.log_every": 20,
        "train.eval_every": 2000,
        "train.checkpoint_every": 100,
        "optimizer.warmup_steps": 2,
        "optimizer.precondition": False,
        "data.train": photographs,
        "train.eval_dataset": photographs,
        "eval.datasets": photographs,
    }
    text = f'CONFIG = "configs/default.py:x3"\nFIELDS = {fields}\n'
    text += 'GRID = {"model.features": [(4, 3)]}\n'
    worker = start(tmp_path, text, "--heartbeat=1", real=True)
    folder = tmp_path / "out" / "trials" / "features=4-3,seed=0"
    until(lambda: [path for path in folder.glob("checkpoints/*") if path.name.isdigit()])
    worker.kill()
    worker.communicate()
    # The training goes on; who takes over waits for it. It is killed too.
    processes = pathlib.Path("/proc").glob("[0-9]*/cmdline")
    mine = [p for p in processes if f"--workdir={folder}" in p.read_text().split("\0")]
    for path in mine:
        os.kill(int(path.parent.name), signal.SIGKILL)
    finish(start(tmp_path, text, "--heartbeat=1", real=True))
    assert ", resumed after step " in (folder / "log.txt").read_text()
    states = [trial.state.name for trial in study_of(sqlite(tmp_path)).trials]
    assert states == ["FAIL", "COMPLETE"]

    out = finish(start(tmp_path, text, "--best"))
    best = tmp_path / "out" / "best.py"
    assert out.endswith(f"{best}\n")
    command = [sys.executable, "-m", "srcnn_jax.main", f"--config={best}", "--mode=eval"]
    command += [f"--weights={folder}", f"--workdir={tmp_path / 'evaluated'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    again = json.loads((tmp_path / "evaluated" / "eval.json").read_text())
    assert again["datasets"] == json.loads((folder / "eval.json").read_text())["datasets"]
    config = runpy.run_path(str(best))["get_config"]()
    assert config.model.features == (4, 3)
    assert config.train.steps == 2000


def test_pareto_by_hand():
    points = [(10, 1.0), (20, 3.0), (15, 0.5), (20, 2.0), (30, 3.0), (40, 4.0), (10, 1.0)]
    assert sweep_table.pareto(points) == [0, 1, 5]
    assert sweep_table.pareto([]) == []


def test_table_and_best_by_hand(tmp_path):
    read = sweep_file._read(write(tmp_path, GRID))
    storage = optuna.storages.InMemoryStorage()
    study = sweep_trials.open_study(read, storage)
    with pytest.raises(ValueError, match="no trial is complete yet"):
        sweep_table.write_best(read, study, tmp_path / "best.py")
    sweep_trials.fill(read, study)
    scores = {(1, 0): 32.5, (1, 1): 32.7, (3, 0): 32.4, (5, 0): 32.9}
    while trial := sweep_trials.claim(study, storage):
        (sizes,) = sweep_file.Sweep.fields(
            read, study.trials[trial.number].system_attrs["fixed_params"]
        ).values()
        read.space(trial)
        trial.set_user_attr("fields", {"model.kernel_sizes": sweep_file.text(sizes)})
        trial.set_user_attr("multiply_adds", 1000 * sizes[1])
        score = scores.get((sizes[1], trial.user_attrs["seeds"][0]))
        if score is None:
            trial.set_user_attr("reason", "diverged")
            study.tell(trial, state=TrialState.FAIL)
        else:
            trial.set_user_attr("values", [score])
            trial.set_user_attr("seconds", 10.0 * sizes[1])
            study.tell(trial, score)
    # A search may draw a point twice: the same runs, found finished.
    again = next(t for t in study.get_trials() if t.value == scores[1, 0])
    again.user_attrs = {**again.user_attrs, "key": "trial 9"}
    study.add_trial(again)
    sweep_table.write(read, study, tmp_path)
    assert (tmp_path / "table.csv").read_text().splitlines() == [
        "kernel_sizes,multiply-adds,PSNR on set5,runs,seconds,front,notes",
        '"9,5,5",5000,32.900,1,50,*,failed: diverged',
        '"9,1,5",1000,32.600 ± 0.141,2,10,*,',
        '"9,3,5",3000,32.400,1,30,,failed: diverged',
    ]
    for name in ("cost.png", "importance.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    what = sweep_table.write_best(read, study, tmp_path / "best.py")
    assert what == "kernel_sizes 9,1,5: 32.600 ± 0.141"  # all of its seeds are there


def test_slurm(tmp_path, monkeypatch):
    command = [*sweep_run.COMMAND, "study.py", f"--workdir={tmp_path}"]
    parameters = {"partition": "gpu", "time": 240, "reservation": "ours"}
    script = sweep_slurm.script(command, 3, parameters, tmp_path)
    for line in (
        "#SBATCH --array=0-2%3",
        "#SBATCH --partition=gpu",
        "#SBATCH --time=240",
        "#SBATCH --reservation=ours",
        f"cd {ROOT}",
    ):
        assert line in script.splitlines()
    assert f"-m experiments.sweep study.py --workdir={tmp_path}" in script
    assert "#SBATCH --time=240" in sweep_slurm.script(command, 3, {}, tmp_path).splitlines()

    for program in ("srun", "sbatch"):
        path = write(tmp_path, f'#!/bin/sh\ncp "$1" {tmp_path}/given; echo job 77\n', program)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert sweep_slurm.available()
    jobs = sweep_slurm.submit(sweep_run.work, ["--help"], 3, parameters, tmp_path / "slurm")
    assert jobs == ["77_0", "77_1", "77_2"]
    assert "#SBATCH --array=0-2%3" in (tmp_path / "given").read_text()
    from submitit.core import utils

    # The command itself fills the storage first.
    (tmp_path / "given").unlink()
    path = write(tmp_path, GRID)
    given = [str(path), f"--workdir={tmp_path}", "--slurm=2", f"--storage={tmp_path / 'a.log'}"]
    assert sweep_run.main(cli.parse(given)) == 0
    assert (tmp_path / "given").exists()
    assert len(study_of(f"{tmp_path / 'a.log'}").trials) == 6

    pickled = utils.DelayedSubmission.load(tmp_path / "slurm" / "77_0_submitted.pkl")
    again = pickled.function.checkpoint()
    assert again.function._work is sweep_run.work


def test_a_storage_s_url_that_is_none():
    with pytest.raises(ValueError, match="--storage my-sql://x is no URL"):
        sweep_trials.open_storage("my-sql://x", 60)


def test_sqlite_is_for_one_machine(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.parse(["study.py", "--workdir=out", "--slurm=2"])
    assert stop.value.code == 2
    assert "SQLite is for one machine" in capsys.readouterr().err
    choices = cli.parse(["study.py", "--workdir=out", "--slurm=2", "--storage=a.log"])
    assert choices.storage == str(pathlib.Path("a.log").absolute())


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores are shared on Linux alone")
def test_shares_of_the_machine():
    mine = os.sched_getaffinity(0)
    for index, gpu in enumerate("232"):
        with runner.share(index, 3, ["2", "3"]) as environment:
            assert environment["CUDA_VISIBLE_DEVICES"] == gpu
            assert environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.450"  # two share one
            assert len(os.sched_getaffinity(0)) == max(1, len(range(index, len(mine), 3)))
    assert os.sched_getaffinity(0) == mine


def test_workers_share_the_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert runner.list_gpus() == ["2", "3"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert runner.list_gpus() == []
