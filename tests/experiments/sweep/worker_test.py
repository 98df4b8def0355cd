"""Workers that train, wait, die and go on.

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
from made_sweeps import GRID, ROOT, SEARCH, write
from optuna.trial import TrialState

from experiments.sweep import file, trials
from experiments.sweep.__main__ import STOPPING

# A training without a network: a line in `steps`, its checkpoint, for every step. Networks are the
# better the larger f2; those of f2 = 7 diverge. A step takes a tenth of a second, so that a test
# can interrupt it, until there is a file `hurry` beside the script.
TRAINER = """
import json, os, pathlib, signal, sys, time

folder, hurry = pathlib.Path(sys.argv[1]), pathlib.Path(__file__).with_name("hurry")
config = json.loads((folder / "config.json").read_text())
f2 = config["model"]["kernel_sizes"][1]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
with (folder / "steps").open("a+") as steps, (folder / "metrics.jsonl").open("a") as metrics:
    steps.seek(0)
    for step in range(len(steps.readlines()) + 1, config["train"]["steps"] + 1):
        time.sleep(0.0 if hurry.exists() else 0.1)
        if f2 == 7 and step == 3:
            sys.exit("error: training diverged at step 3")
        print(os.getpid(), os.getppid(), file=steps, flush=True)
        values = {"step": step, "psnr": 30.0 + f2 / 10, "patches_per_second": 640.0}
        print(json.dumps(values), file=metrics, flush=True)
psnr = 30.0 + f2 / 10 + config["seed"] / 100
result = {
    "datasets": {"set5": {"mean": {"srcnn": {"psnr": psnr}}}},
    "validation": {"dataset": "set5", "bicubic": 30.0, "srcnn": psnr},
}
(folder / "eval.json").write_text(json.dumps(result))
"""


# How long a training takes is not estimated from the machine's rate, which is measured for seconds
# on all cores, nor from the form of the convolution, whose module loads JAX.
WORKER = """
import math, signal, sys, types
sys.modules["srcnn_jax.convolution"] = types.SimpleNamespace(
    multiply_adds=lambda shape, rows: math.prod(shape)
)
from experiments import machine, runner
from experiments.sweep import file, run
from experiments.sweep.__main__ import main

def command(training):
    config = file.set_fields(runner.load_config(training.config)[1], training.fields)
    (training.folder / "config.json").write_text(config.to_json_best_effort())
    return [sys.executable, TRAINER, str(training.folder)]

# What a shell runs in its background ignores Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
machine.rate = lambda: 100.0
file._check = lambda sweep: None
if TRAINER:
    runner.Training.command = command
run.COMMAND = [sys.executable, __file__]
main()
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


def hurry(tmp_path) -> None:
    """Lets the steps of all trainings take no time from now on."""
    (tmp_path / "hurry").touch()


def finish(process: subprocess.Popen) -> str:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    return out


def study_of(url: str) -> optuna.Study:
    storage = url if "://" in url else trials.open_storage(url, 60)
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
    hurry(tmp_path)
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
    best = next(line for line in out.splitlines() if line.startswith("| 1 "))
    cells = [cell.strip() for cell in best.split("|")[2:8]]
    assert cells == [*"955", "57184", "30.505 ± 0.007", "2"]


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_ctrl_c_stops_all_workers_and_the_same_command_goes_on(kind, tmp_path):
    url = sqlite(tmp_path) if kind == "sqlite" else str(tmp_path / "journal.log")
    process = start(tmp_path, GRID, "--workers=2", f"--storage={url}")
    trials = tmp_path / "out" / "trials"

    def both_at_work():
        made = [steps(folder) for folder in trials.glob("*")]
        return len({each[-1][1] for each in made if 2 < len(each) < 15}) == 2

    until(both_at_work)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    lines = [line for line in out.splitlines() if not line.startswith("a journal file")]
    assert lines[0] == f"{tmp_path / 'study.py'} in {tmp_path / 'out'}"
    assert lines[1].startswith("study: 0 of 6 done, about ")
    assert lines[2:] == ["", STOPPING.strip()]  # one line, and no worker adds any
    states = [trial.state.name for trial in study_of(url).trials]
    assert states.count("WAITING") >= 2
    assert set(states) <= {"WAITING", "COMPLETE"}
    hurry(tmp_path)
    out = finish(start(tmp_path, GRID, f"--storage={url}", "--workers=2"))
    assert out.count("| front") == 1  # one table, whoever ends last
    again = finish(start(tmp_path, GRID, f"--storage={url}", "--workers=2"))
    assert "study: 6 of 6 done\n" in again
    assert again.partition("| front")[2] == out.partition("| front")[2]
    complete = study_of(url).trials
    assert [trial.state.name for trial in complete] == 6 * ["COMPLETE"]
    assert len({trial.user_attrs["key"] for trial in complete}) == 6
    assert [len(steps(folder)) for folder in trials.glob("*")] == 6 * [20]


def test_a_training_that_is_stopped_alone_has_not_failed(tmp_path):
    text = GRID.replace("SEEDS = 2", "SEEDS = 1").replace("(1, 3, 5)", "(1,)")
    worker = start(tmp_path, text)
    folder = tmp_path / "out" / "trials" / "kernel_sizes=9-1-5,seed=0"
    until(lambda: len(steps(folder)) > 5)
    os.kill(steps(folder)[-1][0], signal.SIGTERM)
    hurry(tmp_path)
    assert "0/1  kernel_sizes=9-1-5,seed=0: stopped by SIGTERM" in finish(worker)
    assert [trial.state.name for trial in study_of(sqlite(tmp_path)).trials] == ["COMPLETE"]
    assert len(steps(folder)) == 20
    assert len({process for process, _ in steps(folder)}) == 2


def test_a_failure_is_recorded_and_the_sweep_goes_on(tmp_path):
    text = GRID.replace("SEEDS = 2", "SEEDS = 1").replace("(1, 3, 5)", "(7, 1)")
    text = text.replace('steps": 20', 'steps": 5')
    hurry(tmp_path)
    out = finish(start(tmp_path, text))
    assert "1/2  kernel_sizes=9-7-5,seed=0: failed: training diverged at step 3" in out
    assert "study: 1 of 2 done, 1 failed\n" in finish(start(tmp_path, text))
    assert "failed: training diverged at step 3 |" in out.splitlines()[-3]
    (folder,) = (tmp_path / "out" / "trials").glob("*9-7-5*")
    assert len(steps(folder)) == 2
    out = finish(start(tmp_path, text, "--retry=failed"))
    assert "2/2  kernel_sizes=9-7-5,seed=0: failed: " in out
    study = study_of(sqlite(tmp_path))
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE", "FAIL"]
    trials.fill(file._read(tmp_path / "study.py"), study)
    assert len(study.trials) == 3


def test_a_journal_file_needs_to_be_told_of_a_dead_worker(tmp_path):
    text = GRID.replace("SEEDS = 2", "SEEDS = 1").replace("(1, 3, 5)", "(1, 3)")
    journal = str(tmp_path / "journal.log")
    arguments = (f"--storage={journal}",)
    worker = start(tmp_path, text, *arguments)
    folder = tmp_path / "out" / "trials" / "kernel_sizes=9-1-5,seed=0"
    until(lambda: len(steps(folder)) > 5)
    worker.kill()
    hurry(tmp_path)
    out, _ = worker.communicate()
    assert "a journal file has no heartbeat" in out
    out = finish(start(tmp_path, text, *arguments))
    assert "trials left to other workers: 1;" in out
    out = finish(start(tmp_path, text, *arguments, "--retry=running"))
    assert "running trials that are taken over: 1" in out
    assert [t.state.name for t in study_of(journal).trials] == ["COMPLETE", "COMPLETE"]
    assert len(steps(folder)) == 20


def test_a_search_draws_as_many_points_as_it_says(tmp_path):
    text = SEARCH.replace('steps": 20', 'steps": 2') + "\nSEEDS = 2\n"
    hurry(tmp_path)
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
        "optimizer.learning_rate": 1e-3,
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
