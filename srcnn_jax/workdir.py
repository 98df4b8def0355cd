"""The folder of a run: config, metrics, TensorBoard events, results. A kill does not damage it.

A file is replaced by a rename. `metrics.jsonl` grows by appending. A run that resumes removes its
lines after the checkpoint, so that no line is doubled or incomplete.
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

from srcnn_jax import config_fields

# Fields that do not change what is computed. They may differ when a run resumes.
NO_IDENTITY = frozenset({"name", "train.log_every", "train.keep_checkpoints"})


@contextlib.contextmanager
def explain_full_disk(folder: str) -> Iterator[None]:
    """Turns the errors of a full disk into an OSError with the folder and the fix."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            f"the disk of {folder} is all but full: make room, and the same command resumes from "
            "the last checkpoint"
        ) from error


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes a JSON file atomically; infinity (the PSNR of equal images) becomes null."""
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
    """Reads a JSON file; returns None if it does not exist.

    Raises:
      ValueError: if the file is damaged.
    """
    return _parse(path.read_bytes(), path) if path.exists() else None


def read_metrics(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Reads `metrics.jsonl`: a dict {'step': n, name: number, ...} for each line.

    Raises:
      ValueError: as `read_json`.
    """
    path = folder / "metrics.jsonl"
    return [_parse(line, path) for line in path.read_bytes().splitlines()]


def _parse(text: bytes, path: pathlib.Path) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:  # not JSON, or not text
        raise ValueError(
            f"{path} is damaged ({error}): put a good copy back, or delete its folder and run again"
        ) from error


def read_finished(folder: pathlib.Path, config: ml_collections.ConfigDict) -> Any:
    """Returns the content of `eval.json` if the folder holds a finished run of this config.

    Returns:
      The result, or None if the run is not finished or does not exist.

    Raises:
      ValueError: as `check_same_config` and `read_json`.
    """
    result = read_json(folder / "eval.json")
    finished = bool(result) and (folder / "weights.safetensors").exists()
    check_same_config(folder, config, finished)
    return result if finished else None


def check_same_config(
    folder: pathlib.Path, config: ml_collections.ConfigDict, finished: bool = False
) -> None:
    """Raises ValueError, with the fields, if the folder belongs to a different config.

    Fields that do not change what is computed may differ (`NO_IDENTITY`). Earlier versions had
    other names for some fields. For their finished runs, only the fields of both versions are
    compared. Their unfinished runs cannot resume.
    """
    found = read_json(folder / "config.json")
    if found is None:
        return
    old = config_fields.flatten(found)
    new = config_fields.flatten(json.loads(config.to_json_best_effort()))
    earlier = [*config_fields.RENAMED, *config_fields.FLAGS]
    if begun_by_earlier := [field for field in earlier if field in old]:
        if not finished:
            raise ValueError(
                f"{folder} was begun by an earlier version, whose config has "
                f"{', '.join(begun_by_earlier)}: its training cannot resume; name another "
                "--workdir, or delete it"
            )
        both = (old.keys() & new.keys()).difference(config_fields.RETYPED)
        old, new = {key: old[key] for key in both}, {key: new[key] for key in both}
    differing = [
        f"{key} ({old.get(key)!r} there, {new.get(key)!r} now)"
        for key in sorted((old.keys() | new.keys()).difference(NO_IDENTITY))
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
    start: str,
    notes: dict[str, Any],
) -> None:
    """Makes the folder the workdir of a run: writes `config.json` and `run.json`.

    A run that resumes keeps both files, because they say how it began.

    Args:
      folder: the folder; it is made if it does not exist.
      config: the config of the run. If the folder has a config, the two must be equal.
      data: [source, fingerprint] of every data set by name. In a run that resumes, the fingerprints
        must be the same, so that no run mixes data.
      start: as `check_same_start`.
      notes: additional content of `run.json`.

    Raises:
      ValueError: if the config, the data or the initial weights differ.
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
        check_same_start(folder, start)
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", json.loads(config.to_json_best_effort()))
    write_json(folder / "run.json", {**notes, "start": start, "data": data})


def check_same_start(folder: pathlib.Path, start: str) -> None:
    """Raises ValueError if the run in the folder was begun from other weights.

    Args:
      folder: the workdir. It may be new, or of a version that did not record the weights.
      start: `weights.fingerprint` of the weights that a run begins from; '' for random ones.
    """
    before = (read_json(folder / "run.json") or {}).get("start", start)
    if before != start:
        began, fix = ("other weights" if start else "given weights"), "name those by --weights"
        if not before:
            began, fix = "random weights", "leave out --weights"
        raise ValueError(
            f"{folder} was begun from {began}: {fix}, name another --workdir, or delete it"
        )


class MetricWriter:
    """Appends the metrics of steps to `metrics.jsonl`, and some of them to TensorBoard events.

    Each line is {'step': n, name: number, ...}, measured after n updates.

    Attributes:
      first, last, largest: the first, the last and the largest value so far, by name.
    """

    def __init__(self, folder: pathlib.Path, step: int, writes: bool = True):
        """Opens the metrics of a run that resumes after `step`; later lines are removed.

        Args:
          folder: the workdir.
          step: number of updates that were made before; 0 starts an empty file.
          writes: False for all processes except the first. They write no file, but they know
            `first`, `last` and `largest`.

        Raises:
          ValueError: if a line cannot be read.
        """
        self.first: dict[str, float] = {}
        self.last: dict[str, float] = {}
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
                # After a kill the last line may be incomplete. It is never a line before the
                # checkpoint, because `flush` comes before every checkpoint.
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
        """Writes a line; also to TensorBoard, unless it holds only a loss."""
        for name, value in values.items():
            self.first.setdefault(name, value)
            self.last[name] = value
            self.largest[name] = max(value, self.largest.get(name, value))
        if self._file is None:
            return
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        if values.keys() != {"loss"}:
            for name, value in values.items():
                self._events.add_scalar(name, value, step=step)

    def flush(self) -> None:
        """Waits until all lines are on the disk; call it before a checkpoint."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._events.flush()

    def close(self) -> None:
        self.flush()
        if self._file is not None:
            self._file.close()
            self._events.close()
