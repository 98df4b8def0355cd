"""The process: its cores, and where compiled programs are kept."""

import logging
import os
import pathlib
import signal
import subprocess
import sys

import jax
import pytest
from absl import logging as absl_logging

from srcnn_jax import runtime

ROOT = pathlib.Path(__file__).parents[1]


def test_largest_divisor():
    assert runtime.largest_divisor(64, 2) == 2
    assert runtime.largest_divisor(96, 5) == 4
    assert runtime.largest_divisor(7, 4) == 1
    assert runtime.largest_divisor(6, 100) == 6


def test_available_cores_respects_affinity(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3}, raising=False)
    assert runtime.available_cores() == 1


def test_available_memory_respects_the_cgroup(monkeypatch):
    machine = runtime.available_memory()
    assert 1e8 < machine < 1e15
    monkeypatch.setattr(pathlib.Path, "read_text", lambda _: "max\n")
    assert runtime.available_memory() >= machine
    monkeypatch.setattr(pathlib.Path, "read_text", lambda _: "200000000\n")
    assert runtime.available_memory() == 2e8


def test_available_cores_respects_the_cgroup(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    for content, cores in (("150000 100000\n", 2), ("max 100000\n", 16), ("50000 100000\n", 1)):
        monkeypatch.setattr("pathlib.Path.read_text", lambda _, content=content: content)
        assert runtime.available_cores() == cores


@pytest.fixture
def compilation_cache():
    before = jax.config.jax_compilation_cache_dir
    yield lambda: jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", before)


def test_compilations_are_kept_per_kind_of_cpu(compilation_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kinds = set()
    for flags in ("flags: avx", "flags: avx avx2"):
        monkeypatch.setattr("pathlib.Path.read_text", lambda _, flags=flags: flags)
        jax.config.update("jax_compilation_cache_dir", None)
        runtime.cache_compilations()
        folder = pathlib.Path(compilation_cache())
        assert folder.is_dir()
        assert folder.parent == tmp_path / "srcnn_jax"
        kinds.add(folder)
    assert len(kinds) == 2


def test_a_cache_that_the_user_named_is_left_alone(compilation_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    runtime.cache_compilations()
    assert compilation_cache() == str(tmp_path)


def test_without_a_place_for_the_cache_all_works(compilation_cache, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    jax.config.update("jax_compilation_cache_dir", None)
    runtime.cache_compilations()
    assert compilation_cache() is None


def test_a_signal_is_answered_at_once(capfd):
    with runtime.collect_signals() as received:
        signal.raise_signal(signal.SIGTERM)
        assert received == [signal.SIGTERM]
        assert capfd.readouterr().err == "\nSIGTERM: saving, then stopping\n"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


IN_A_SCRIPT = """
import jax
from configs import default
from srcnn_jax import runtime, train
runtime.available_cores = lambda: 2
{before}
config = default.get_config("x3")
config.train.steps = 0  # so that no training begins
try:
    train.train_and_evaluate(config, "never")
except ValueError:
    print(len(jax.devices()))
"""


@pytest.mark.parametrize(
    ("before", "printed"),
    [
        ("", "2\n"),
        (
            "jax.devices()",
            "This training uses 1 of 2 cores, because JAX has started before it. Call "
            "srcnn_jax.runtime.start(64, 0) before anything of JAX to use all.\n1\n",
        ),
        ("runtime.start(64, 0); jax.devices()", "2\n"),
    ],
)
def test_a_training_in_a_script_uses_all_cores(before, printed):
    code = IN_A_SCRIPT.format(before=before)
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout == printed


def test_more_devices_than_patches_are_not_made():
    with pytest.raises(ValueError, match="20000 are more than the 64 patches"):
        runtime.start(64, 20_000)


def test_warnings_of_a_command_are_plain_lines(capsys):
    handler = absl_logging.get_absl_handler()
    before = handler.python_handler.formatter
    try:
        runtime.log_plainly()
        record = logging.LogRecord("absl", logging.WARNING, __file__, 1, "no %s", ("t91",), None)
        assert handler.python_handler.format(record) == "warning: no t91"
    finally:
        handler.setFormatter(before)


def test_flags_of_xla(monkeypatch):
    """A flag of the user stays, and what is for CPUs only is not set where a GPU may be."""
    level, timeout = runtime.CPU_OPTIMIZATION_FLAG, runtime.COLLECTIVE_TIMEOUT_FLAG
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)

    def flags_after_a_start(before, platforms="", plugins=()):
        monkeypatch.setenv("XLA_FLAGS", before)
        monkeypatch.setenv("JAX_PLATFORMS", platforms)
        monkeypatch.setattr("importlib.metadata.entry_points", lambda group: plugins)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        runtime.start(64, 1)
        return os.environ["XLA_FLAGS"].split()

    user = "--xla_backend_optimization_level=2"
    assert flags_after_a_start("") == [level, timeout]
    assert flags_after_a_start(user) == [timeout, user]
    assert flags_after_a_start("", plugins=["xla_cuda12"]) == [timeout]
    assert flags_after_a_start("", "cpu", plugins=["xla_cuda12"]) == [level, timeout]
    assert flags_after_a_start("", "cuda,cpu") == [timeout]
