"""The folder of a run: config, metrics, TensorBoard events, results; whole after a kill.

Files that are replaced appear by a rename. `metrics.jsonl` is appended to, and cut back to the
checkpoint when a run resumes, so that no line is there twice or torn.
"""

import json
import os
import pathlib
import shutil
from typing import IO, Any

import ml_collections


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes a JSON file that is there whole or not at all."""
    partial = path.with_name(f"{path.name}.partial{os.getpid()}")
    partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    partial.replace(path)


def read_json(path: pathlib.Path) -> Any:
    """Reads a JSON file; None if there is none."""
    return json.loads(path.read_text()) if path.exists() else None


def claim(folder: pathlib.Path, config: ml_collections.ConfigDict) -> None:
    """Makes the folder the workdir of a config, or checks that it is.

    Raises:
      ValueError: if it belongs to another config, naming the fields that differ.
      OSError: if it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    new = _flatten(json.loads(config.to_json_best_effort()))
    found = read_json(folder / "config.json")
    if found is None:
        write_json(folder / "config.json", json.loads(config.to_json_best_effort()))
        return
    old = _flatten(found)
    differing = [
        f"{key} ({old.get(key)!r} there, {new.get(key)!r} now)"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    if differing:
        raise ValueError(
            f"{folder} is the workdir of another config, which differs in {', '.join(differing)}: "
            "name another --workdir, or delete it"
        )


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= (
            _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat


class Metrics:
    """Appends metrics of steps to `metrics.jsonl` and to TensorBoard events.

    Each line is {'step': n, name: number, ...}, n updates having been made.
    """

    def __init__(self, folder: pathlib.Path | None, step: int):
        """Opens the metrics of a run that goes on after `step`; later lines are removed.

        Without a folder nothing is written: for the processes that leave that to the first.
        """
        self.lines: list[dict[str, float]] = []
        self._file: IO[str] | None = None
        if folder is None:
            return
        from tensorboard.summary import Writer

        path = folder / "metrics.jsonl"
        self.lines = [line for line in _whole_lines(path) if 0 < step >= line["step"]]
        partial = folder / "metrics.jsonl.partial"
        partial.write_text("".join(json.dumps(line) + "\n" for line in self.lines))
        partial.replace(path)
        self._file = path.open("a")
        events = folder / "tensorboard"
        shutil.rmtree(events, ignore_errors=True)
        self._events = Writer(str(events))
        for line in self.lines:
            self._add_events(line)

    def write(self, step: int, **values: float) -> None:
        if self._file is None:
            return
        line = {"step": step, **values}
        self.lines.append(line)
        self._file.write(json.dumps(line) + "\n")
        self._add_events(line)

    def flush(self) -> None:
        """Returns when all lines are on the disk: before a checkpoint that counts on them."""
        if self._file is None:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._events.flush()

    def close(self) -> None:
        if self._file is None:
            return
        self.flush()
        self._file.close()
        self._events.close()

    def _add_events(self, line: dict[str, float]) -> None:
        for name, value in line.items():
            if name != "step":
                self._events.add_scalar(name, value, step=int(line["step"]))


def _whole_lines(path: pathlib.Path) -> list[dict[str, float]]:
    """The lines of a file that a kill may have cut within the last."""
    if not path.exists():
        return []
    text = path.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
