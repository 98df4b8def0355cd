"""The floors of pyproject.toml: no module imports one that stands above it or beside it."""

import ast
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]


def test_every_import_goes_down():
    """In a process of its own: the linter sets up logging, which would silence the loggers here."""
    command = pathlib.Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_preconditioner_can_be_lifted_out():
    """It imports JAX, optax and the standard library alone, so that a copy of the file works."""
    tree = ast.parse((ROOT / "srcnn_jax" / "preconditioner.py").read_text())
    names = {
        module.partition(".")[0]
        for node in ast.walk(tree)
        for module in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or "a relative import"]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert names - set(sys.stdlib_module_names) == {"jax", "optax"}
