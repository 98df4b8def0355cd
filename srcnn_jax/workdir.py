"""The folder of a run: config, metrics, TensorBoard events, results; whole after a kill.

Files that are replaced appear by a rename. `metrics.jsonl` is appended to, and cut back to the
checkpoint when a run resumes, so that no line is there twice or torn.
"""

import contextlib
import errno
import json
import math
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import ml_collections


@contextlib.contextmanager
def explain_full_disk(folder: str) -> Iterator[None]:
    """Turns what a full disk raises into an OSError that names the folder and the way on."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            f"the disk of {folder} is all but full: make room, and the same command goes on from "
            "the last checkpoint"
        ) from error


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes a JSON file that is there whole or not at all; infinity (PSNR of equals) is null."""
    partial = path.with_name(f"{path.name}.partial{os.getpid()}")
    partial.write_text(json.dumps(_without_infinity(content), indent=1, allow_nan=False) + "\n")
    partial.replace(path)


def _without_infinity(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_infinity(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_without_infinity(value) for value in content]
    return None if isinstance(content, float) and math.isinf(content) else content


def read_json(path: pathlib.Path) -> Any:
    """Reads a JSON file; None if there is none, ValueError naming it if it is damaged."""
    return _parse(path.read_bytes(), path) if path.exists() else None


def read_metrics(folder: pathlib.Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`, as `MetricWriter.write` got them; raises as `read_json`."""
    path = folder / "metrics.jsonl"
    return [_parse(line, path) for line in path.read_bytes().splitlines()]


def _parse(text: bytes, path: pathlib.Path) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:  # no JSON, or no text
        raise ValueError(
            f"{path} is damaged ({error}): put a good copy back, or delete its folder and run again"
        ) from error


def check_same_config(folder: pathlib.Path, config: ml_collections.ConfigDict) -> None:
    """Raises ValueError, naming the fields, if the folder belongs to a config that differs."""
    found = read_json(folder / "config.json")
    if found is None:
        return
    old, new = _flatten(found), _flatten(json.loads(config.to_json_best_effort()))
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


def open_run(
    folder: pathlib.Path,
    config: ml_collections.ConfigDict,
    data: Mapping[str, Sequence[str]],
    notes: dict[str, Any],
) -> None:
    """Makes the folder the workdir of a run: writes `config.json` and `run.json`.

    Args:
      folder: made if it is not there.
      config: must be the folder's own, if it has one.
      data: [source, fingerprint] of every dataset by its name; those of a run that goes on must be
        the same, so that no run mixes data.
      notes: what else `run.json` says.

    Raises:
      ValueError: if the config or the data differ.
      OSError: if the folder cannot be written.
    """
    check_same_config(folder, config)
    before = read_json(folder / "run.json")
    if before is not None:
        for name in sorted(data.keys() | before["data"].keys()):
            old, new = before["data"].get(name), data.get(name)
            if old is None or new is None or old[1] != new[1]:
                raise ValueError(
                    f"{folder} was begun on other data: {name} {old} there, {new} now; "
                    "name another --workdir, or delete it"
                )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", json.loads(config.to_json_best_effort()))
    write_json(folder / "run.json", {**notes, "data": data})


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= (
            _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat


class MetricWriter:
    """Appends metrics of steps to `metrics.jsonl`, and some of them to TensorBoard events.

    Each line is {'step': n, name: number, ...}, n updates having been made.

    Attributes:
      first, largest: by name, the first and the largest value so far.
    """

    def __init__(self, folder: pathlib.Path, step: int, writes: bool = True):
        """Opens the metrics of a run that goes on after `step`; later lines are removed.

        If it does not write, it still knows `first` and `largest`: for the processes that leave
        the writing to the first.

        Raises:
          ValueError: if a line cannot be read.
        """
        self.first: dict[str, float] = {}
        self.largest: dict[str, float] = {}
        self._file: IO[str] | None = None
        path, partial = folder / "metrics.jsonl", folder / "metrics.jsonl.partial"
        if writes:
            from tensorboard.summary import Writer

            shutil.rmtree(folder / "tensorboard", ignore_errors=True)
            self._events = Writer(str(folder / "tensorboard"))
            self._file = partial.open("w")
        if step > 0 and path.exists():
            with path.open("rb") as old:
                # A kill may have cut the last line, but not one that a checkpoint counts on.
                for text in filter(lambda text: text.endswith(b"\n"), old):
                    line = _parse(text, path)
                    if line["step"] <= step:
                        self.write(**line)
        if self._file is not None:
            self.flush()
            self._file.close()
            partial.replace(path)
            self._file = path.open("a")

    def write(self, step: int, **values: float) -> None:
        """Writes a line; TensorBoard gets it too, if it holds more than a loss."""
        for name, value in values.items():
            self.first.setdefault(name, value)
            self.largest[name] = max(value, self.largest.get(name, value))
        if self._file is None:
            return
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        if values.keys() != {"loss"}:
            for name, value in values.items():
                self._events.add_scalar(name, value, step=step)

    def flush(self) -> None:
        """Returns when all lines are on the disk: before a checkpoint that counts on them."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._events.flush()

    def close(self) -> None:
        self.flush()
        if self._file is not None:
            self._file.close()
            self._events.close()
