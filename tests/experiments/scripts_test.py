"""The scripts in experiments/: what all of them have in common."""

import pathlib
import subprocess
import sys

import pytest

from experiments import runner

EXPERIMENTS = pathlib.Path(__file__).parents[2] / "experiments"
SCRIPTS = sorted(
    ".".join(path.relative_to(EXPERIMENTS.parent).with_suffix("").parts).removesuffix(".__main__")
    for path in EXPERIMENTS.rglob("*.py")
    if '__name__ == "__main__"' in path.read_text() and path.stem != "workers"
)
HEAVY = {"jax", "flax", "tensorflow", "orbax", "optuna", "pandas", "matplotlib", "skimage", "scipy"}
HELP = f"""
import contextlib, io, runpy, sys
for script in {SCRIPTS}:
    sys.argv = [script, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        runpy.run_module(script, run_name="__main__", alter_sys=True)
    print(script, len(text.getvalue()) > 100, *sorted({HEAVY} & set(sys.modules)))
"""


def test_help_loads_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-c", HELP], cwd=EXPERIMENTS.parent, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [f"{script} True" for script in SCRIPTS], done.stderr


def test_a_package_that_is_missing_is_told_in_one_line():
    runner.need("numpy")
    with pytest.raises(SystemExit, match=r"^error: not_there cannot be imported: pip install -r"):
        runner.need("numpy", "not_there")
