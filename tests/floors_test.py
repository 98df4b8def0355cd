"""The floors of pyproject.toml: no module imports one that stands above it or beside it."""

import pathlib

from importlinter import cli


def test_every_import_goes_down(monkeypatch, capsys):
    monkeypatch.chdir(pathlib.Path(__file__).parents[1])
    assert cli.lint_imports(no_cache=True, no_logo=True) == 0, capsys.readouterr().out
