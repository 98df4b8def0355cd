"""Trainings as processes of their own: their command, and why they ended."""

import pathlib
import signal
import sys
from collections.abc import Mapping
from typing import Any


def text(value: Any) -> str:
    """A value as main's command line takes it: (9, 1, 5) is '9,1,5'."""
    return ",".join(map(text, value)) if isinstance(value, (tuple, list)) else str(value)


def train(config: str, folder: pathlib.Path, fields: Mapping[str, Any]) -> list[str]:
    """What trains a config with its words, as 'configs/default.py:x3', and some fields of it.

    It trains alone, also where a launcher has started several of us.
    """
    return [
        *(sys.executable, "-m", "srcnn_jax.main", f"--config={config}"),
        f"--workdir={folder.absolute()}",
        "--num_processes=1",
        *(f"--config.{field}={text(value)}" for field, value in fields.items()),
    ]


def reason(code: int, log: str) -> str:
    """Why a training ended with an exit code that is not 0, in one line, from what it wrote."""
    if code == -signal.SIGKILL:
        return "killed by SIGKILL; out of memory?"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    lines = [line.strip() for line in log.splitlines() if line.strip()] or ["no reason given"]
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (said or lines)[-1]
