"""The command line as a user meets it: errors in one line, kills, signals."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from srcnn_jax import weights

ROOT = pathlib.Path(__file__).parents[1]
TINY = (
    "--config.model.kernel_sizes=5,1,3",
    "--config.model.features=4,3",
    "--config.data.patch_size=17",
    "--config.train.batch_size=16",
    "--config.train.steps_per_dispatch=2",
    "--config.train.log_every=20",
    "--config.train.eval_every=20",
    "--config.train.checkpoint_every=4",
    "--config.optimizer.warmup_steps=2",
)


def start(*arguments, cwd=ROOT, **environment) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "srcnn_jax.main", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(*arguments, **kwargs) -> tuple[int, str, str]:
    process = start(*arguments, **kwargs)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def tiny(photographs, steps, workdir, words="x3"):
    return (
        f"--config=configs/default.py:{words}",
        *TINY,
        f"--config.train.steps={steps}",
        f"--config.data.train={photographs}",
        f"--config.train.eval_dataset={photographs}",
        f"--config.eval.datasets={photographs}",
        f"--workdir={workdir}",
    )


EVALUATE = (
    "--mode=eval",
    "--config=configs/default.py:x3",
    f"--weights={ROOT}/srcnn_jax/pretrained/srcnn_915_x3.safetensors",
)


def metrics(workdir) -> list[dict]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in line.items() if k not in ("patches_per_second", "waited")}
        for line in lines
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--config is missing"),
        (("--config=configs/default.py:x5",), "unknown config word 'x5': the words are x2 x3 x4"),
        (("--config=configs/keras_article.py:955",), "unknown config word '955': after configs/"),
        (("--config=configs/nothing.py:x3",), "no config 'configs/nothing.py' in"),
        (("--config", "configs/nothing.py"), "no config 'configs/nothing.py' in"),
        (("--config=",), "--config is empty"),
        ((f"--config={sys.executable}",), "null bytes: name a Python file that defines get_config"),
        (
            ("--config=configs/default.py:x3", "--config.nosuch=1"),
            "no field 'nosuch': --mode=config lists them",
        ),
        (
            ("--config=configs/default.py:x3", f"--workdir={ROOT}/LICENSE"),
            "LICENSE is a file",
        ),
        (("--config=configs/default.py:x3", "--weights="), "--weights is empty"),
        (("--config=configs/default.py:x3", "--workdir="), "--workdir is empty"),
        (("--config=configs/default.py:x3", "--config.name="), "config.name is empty"),
        ((f"--config={ROOT}/LICENSE",), "LICENSE' cannot be read: SyntaxError"),
        (("--config=configs/default.py:x3", "--wordkir=a"), "wordkir"),
        (("--config=configs/default.py:x3", "--mode=test"), "test"),
        (("--config=configs/default.py:x3", "--config.train.stops=3"), "did you mean train.steps?"),
        (("--config=configs/default.py:x3", "--config.train.steps=1.5"), "steps"),
        (("--config=configs/default.py:x3", "x4"), "unknown argument 'x4'"),
        (("--config=configs/default.py:x3", "--config.model.kernel_sizes=9,2,5"), "odd"),
        (("--config=configs/default.py:x3", "--config.scale=5"), "scale is 2, 3 or 4, not 5"),
        (("--config=configs/default.py:x3", "--config.data.train=no/folder"), "no/folder"),
        (("--config=configs/default.py:x3", "--config.data.train=t19"), "t19"),
        (("--config=configs/default.py:x3", "--config.train.devices=5"), "5 devices"),
        (("--config=configs/default.py:x3", "--mode=eval"), "--weights"),
        (("--config=configs/default.py:x3", "--mode=score"), "--outputs=FOLDER"),
        (("--config=configs/default.py:x3", "--outputs=a"), "goes with --mode=score"),
        (("--config=configs/default.py:x3", "--weights=LICENSE"), "LICENSE"),
        (("--config=configs/default.py:x3", "--weights=a", "--weights=b"), "from one of --weights"),
        (("--config=configs/default.py:x3", "--save_pairs"), "--save_pairs goes with --mode=eval"),
        ((*EVALUATE, EVALUATE[-1]), "name each file once"),
        *(
            ((*EVALUATE, f"--config.{field}"), f"it is a flag now, --{flag}")
            for field, flag in (
                ("data.dir=a", "data_dir"),
                ("data.allow_sample=False", "noallow_sample"),
                ("eval.save_images=True", "save_images"),
                ("eval.outputs=a", "outputs"),
            )
        ),
        *(
            ((*EVALUATE, f"--config.{field}"), f"is called {name} now")
            for field, name in (
                ("data.copies=1", "data.downscale_factors"),
                ("train.keep=best", "train.keep_weights"),
                ("optimizer.precondition_every=5", "optimizer.preconditioner.update_every"),
            )
        ),
        ((*EVALUATE, "--config.optimizer.options.b1=0.9"), "options=\"{'b1': VALUE}\""),
        ((*EVALUATE, "--config.optimizer.options=momentum=0.9"), "write \"{'momentum': 0.9}\""),
        (("--config=configs/default.py:x3", "--config.train=5"), "set one of its fields by a dot"),
        (
            ("--config=configs/default.py:x3", "--config.train={'steps': 5}"),
            "lacks the field train.batch_size (and 11 more): a dict for a group holds all of its",
        ),
        ((*EVALUATE, "--config.eval={'metrics': 'psnr'}"), "lacks the field eval.datasets: a dict"),
        (("--mode=config", "--config=configs/default.py:x3", "--config.nosuch=1"), "no field 'nos"),
        (
            ("--config=configs/default.py:x3", "--config.model={'layers': 3}"),
            "no field 'model.layers'",
        ),
        ((*EVALUATE, "--config.scale=0"), "scale is 2, 3 or 4, not 0"),
        ((*EVALUATE, "--config.eval.datasets="), "eval.datasets names no test set"),
    ],
)
def test_a_mistake_is_one_line(arguments, words, tmp_path):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    code, out, err = call(*arguments, cwd=tmp_path)
    assert code in (1, 2)
    assert "Traceback" not in err
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert words in line
    assert out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["configs"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("config.train.stepz = 5", 'Did you mean "steps" instead of "stepz"?'),
        ("config.unlock().train.stepz = 5", "no field 'train.stepz': did you mean train.steps?"),
        ("del config.unlock().name", "lacks the field name: a dict"),
        ("del config.seed", "This ConfigDict is locked"),
        ("config = ml_collections.ConfigDict({'scale': 2})", "lacks the field data.augment (and"),
        ("config = None", "mine.py' returns a NoneType, not a ConfigDict: end it by"),
        ("config = dict(config)", "mine.py' returns a dict, not a ConfigDict"),
        ("raise KeyError", "mine.py' cannot be read"),
    ],
)
def test_a_mistake_in_a_config_file_is_one_line(line, words, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import ml_collections\nfrom configs import default\n\n"
        f"def get_config(arg):\n    config = default.get_config(arg)\n    {line}\n"
        "    return config\n"
    )
    code, out, err = call(f"--config={path}:x3", PYTHONPATH=str(ROOT))
    assert (code, out) == (2, "")
    *_, line = err.splitlines()  # ml_collections may warn first
    assert line.startswith("error: ")
    assert words in line
    assert len(line) < 300
    assert "Traceback" not in err
    assert {each.name for each in tmp_path.iterdir()} <= {"mine.py", "__pycache__"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("--config.optimizer.options={'b1': 0.9}",),
            "which optax.sgd does not know: it takes mom",
        ),
        (("--config.train.loss_channels=",), "=0, or () for all"),
        (("--config.train.loss_channels=all",), "=0, or () for all"),
        (("--config.optimizer.rates=last/.*:0.1",), "is not a tuple of (pattern, factor) pairs"),
        (("--config.optimizer.rates=(('.*',1.0))",), "is not a tuple of (pattern, factor) pairs"),
    ],
)
def test_a_value_of_the_wrong_form_tells_the_right_one(arguments, words, capsys, monkeypatch):
    """In this process, as the command does it after JAX has started."""
    from absl import flags
    from ml_collections import config_flags

    from srcnn_jax import train

    holder = flags.FlagValues()
    argv = ["main", "--config=configs/default.py:x3", *arguments]
    monkeypatch.chdir(ROOT)
    config_flags.DEFINE_config_file("config", flag_values=holder, sys_argv=argv)
    holder(argv)
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the words are compared below)
        train.check_config(holder.config)
    assert words in str(error.value)


def test_values_of_every_form_reach_the_config(monkeypatch):
    from absl import flags
    from ml_collections import config_flags

    from srcnn_jax import train

    holder = flags.FlagValues()
    argv = [
        "main", "--config=configs/default.py:x3", "--config.optimizer.options.momentum=0.8",
        "--config.optimizer.rates=(('last/.*', 0.1), ('.*', 1.0))", "--config.data.colour=ycbcr",
        "--config.train.loss_channels=1,2", "--config.data.downscale_factors=1,0.9",
    ]  # fmt: skip
    monkeypatch.chdir(ROOT)
    config_flags.DEFINE_config_file("config", flag_values=holder, sys_argv=argv)
    holder(argv)
    train.check_config(holder.config)
    assert holder.config.optimizer.options.to_dict() == {"momentum": 0.8}
    assert holder.config.optimizer.rates == (("last/.*", 0.1), (".*", 1.0))
    assert holder.config.train.loss_channels == (1, 2)
    assert holder.config.data.downscale_factors == (1, 0.9)


def test_a_read_only_workdir(photographs, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = call(*tiny(photographs, 4, tmp_path / "file" / "run"))
    assert code == 1
    assert "error: " in err
    assert "file" in err.splitlines()[-1]
    assert "Traceback" not in err


def test_help_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys, srcnn_jax, srcnn_jax.main\n"
        "print(sorted({'jax', 'tensorflow', 'orbax', 'flax'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert out.stdout == "[]\n", out.stderr


def test_default_workdir_train_and_eval(photographs, tmp_path):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    arguments = [a for a in tiny(photographs, 4, "") if not a.startswith("--workdir")]
    code, out, err = call(*arguments, cwd=tmp_path)
    assert code == 0, err
    assert "mean" in out
    workdir = tmp_path / "runs" / "x3"
    trained = json.loads((workdir / "eval.json").read_text())
    code, out, err = call(
        "--mode=eval",
        "--config=configs/default.py:x3",
        f"--weights={workdir}",
        f"--workdir={tmp_path / 'eval'}",
        f"--config.eval.datasets={photographs}",
    )
    assert code == 0, err
    evaluated = json.loads((tmp_path / "eval" / "eval.json").read_text())
    assert {**evaluated, "validation": trained["validation"]} == trained
    code, out, err = call(*EVALUATE, f"--workdir={workdir}", "--config.eval.datasets=sample")
    assert code == 1
    assert f"error: {workdir} is the workdir of a training: name another" in err
    code, out, err = call(
        "--mode=eval",
        "--config=configs/default.py:x3",
        f"--weights={workdir / 'weights.safetensors'}",
        "--config.eval.datasets=sample",
        cwd=tmp_path,
    )
    assert code == 0, err
    assert json.loads((workdir / "eval.json").read_text()) == trained
    assert (tmp_path / "runs" / "x3_eval" / "eval.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_save_and_exit(photographs, tmp_path, number):
    process = start(*tiny(photographs, 100_000, tmp_path))
    for line in process.stdout:
        if line.startswith("step"):
            break
    wait_for_step(tmp_path, 4)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert f"stopped by {signal.Signals(number).name} after step" in err
    saved = max(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert metrics(tmp_path)[-1]["step"] == saved


@pytest.mark.skipif(not pathlib.Path("/proc/self/maps").exists(), reason="no /proc")
@pytest.mark.parametrize("library", ["jaxlib", "tensorflow"])
def test_ctrl_c_while_modules_load_says_nothing(photographs, tmp_path, library):
    empty = str(tmp_path / "cache")  # with kept positions it would train meanwhile
    process = start(*tiny(photographs, 100_000, tmp_path / "run"), XDG_CACHE_HOME=empty)
    while library not in pathlib.Path(f"/proc/{process.pid}/maps").read_text():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (-signal.SIGINT, "")


def test_a_second_process_in_a_workdir_is_told_so(photographs, tmp_path):
    first = start(*tiny(photographs, 100_000, tmp_path))
    wait_for_step(tmp_path, 4)
    second = call(*tiny(photographs, 100_000, tmp_path))
    assert second == (
        1,
        "",
        f"error: another process trains in {tmp_path}: wait until it has ended, or name another "
        "--workdir\n",
    )
    assert first.poll() is None
    first.terminate()
    _, err = first.communicate(timeout=60)
    assert first.returncode == 128 + signal.SIGTERM, err


def test_an_error_ends_the_process_whatever_its_threads_do():
    code = (
        "import threading, time; from srcnn_jax.multihost import launch\n"
        "threading.Thread(target=time.sleep, args=(1000,)).start()\n"
        "print('said', end='')\n"
        "launch.exit_process(3)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "said", "")


def wait_for_step(workdir, step, seconds=300):
    """Until the run has a checkpoint of that step or a later one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        folder = workdir / "checkpoints"
        if folder.is_dir() and any(
            p.name.isdigit() and int(p.name) >= step for p in folder.iterdir()
        ):
            return
        time.sleep(0.02)
    raise TimeoutError(f"no checkpoint of step {step} in {seconds} s")


def test_kills_leave_no_trace(photographs, tmp_path):
    """SIGKILL at moments that fall anywhere, and the run ends as if nothing had happened."""
    steps = 80
    code, _, err = call(*tiny(photographs, steps, tmp_path / "whole"))
    assert code == 0, err
    killed = tmp_path / "killed"
    for step, pause in ((4, 0.013), (40, 0.031)):
        process = start(*tiny(photographs, steps, killed))
        wait_for_step(killed, step)
        time.sleep(pause)
        process.kill()
        process.communicate()
    code, out, err = call(*tiny(photographs, steps, killed))
    assert code == 0, err
    assert "resumed after step" in out
    assert metrics(killed) == metrics(tmp_path / "whole")
    for a, b in zip(
        weights.load(killed).layers, weights.load(tmp_path / "whole").layers, strict=True
    ):
        np.testing.assert_array_equal(a["kernel"], b["kernel"])
        np.testing.assert_array_equal(a["bias"], b["bias"])


def test_a_flagfile_may_name_the_config(tmp_path):
    (tmp_path / "flags").write_text("--config=configs/default.py:x3\n--mode=config\n")
    code, out, err = call(f"--flagfile={tmp_path / 'flags'}", "--config.train.steps=77")
    assert code == 0, err
    assert re.search(r"^train\.steps +77 ", out, re.MULTILINE)
    code, out, err = call(f"--flagfile={tmp_path / 'flags'}", "--config.train.stops=77")
    assert (code, out) == (2, "")
    assert "no field 'train.stops': did you mean train.steps?" in err


def test_an_unknown_flag_tells_where_the_flags_are_listed():
    code, _, err = call("--config=configs/default.py:x3", "--nope=1")
    assert code == 2
    assert err == "error: Unknown command line flag 'nope'; --help lists the flags\n"


def test_devices_that_are_not_there_are_one_line(tmp_path):
    for arguments in (("--config=configs/default.py:x3",), EVALUATE):
        code, out, err = call(*arguments, f"--workdir={tmp_path}/w", JAX_PLATFORMS="cuda")
        assert (code, out) == (1, "")
        assert err.startswith("error: JAX_PLATFORMS=cuda names devices that JAX does not find")
        assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["main", "upscale", "convert"])
def test_a_start_by_its_file_tells_the_right_start(command):
    name = f"srcnn_jax.{command}"
    command = [sys.executable, f"srcnn_jax/{command}.py", "--config=configs/default.py:x3"]
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if "srcnn_jax" not in done.stderr:
        pytest.skip("the project is installed here")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: start it in the project's checkout, as `python -m {name}`\n"


def test_want_of_memory_is_one_line():
    from srcnn_jax import main

    for error in (MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocating 9.")):
        line = main._one_line(error)
        assert line.startswith("there is not enough memory (")
        assert "lower train.batch_size" in line
        assert "\n" not in line
    assert main._one_line(ValueError("a\nb")) == "a b"
    assert main._one_line(RuntimeError("a fault")) == ""


def test_the_fields_of_a_config_are_listed():
    code, out, err = call("--mode=config", "--config=configs/default.py:x3,955", "--config.seed=7")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    (seed,) = [number for number, line in enumerate(lines) if line.split() == ["seed", "7"]]
    assert lines[seed + 1].strip().startswith("seed of the initial weights")
    assert any(
        line.split() == ["model.kernel_sizes", "(9,", "5,", "5)", "[pixels]"] for line in lines
    )
