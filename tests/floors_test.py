"""The floors of pyproject.toml: no module imports one that stands above it or beside it."""

import ast
import pathlib
import sys

from importlinter import cli

ROOT = pathlib.Path(__file__).parents[1]


def test_every_import_goes_down(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert cli.lint_imports(no_cache=True, no_logo=True) == 0, capsys.readouterr().out


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
