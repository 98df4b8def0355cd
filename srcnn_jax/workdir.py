"""The folder of a run: config, metrics, TensorBoard events, results. A kill does not damage it.

A file is replaced as a whole (`atomic`). `metrics.jsonl` grows by appending. A checkpoint knows the
lines that came before it (`Mark`). A run that resumes removes later lines, so that no line is
doubled or incomplete.
"""

import collections
import contextlib
import errno
import hashlib
import itertools
import json
import logging
import math
import os
import pathlib
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, TypedDict

import ml_collections

from srcnn_jax import atomic, config_fields, paper, paths

# Fields that do not change what is computed. They may differ when a run resumes.
NO_IDENTITY = frozenset({"name", "train.log_every", "train.keep_checkpoints"})
REPLACED = ("config.json", "run.json", "eval.json", "weights.safetensors", "best.safetensors")
LOCK = "training.lock"  # name of the file that the process which trains has locked
HISTORY = 64  # number of first losses, and of last ones, that `MetricWriter` remembers


@contextlib.contextmanager
def explain_full_disk(folder: str) -> Iterator[None]:
    """Turns the errors of a full disk into an OSError with the folder and the fix."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            f"the disk of {folder} is all but full, in bytes or in number of files: make room, and "
            "the same command resumes from the last checkpoint"
        ) from error


def try_lock(path: pathlib.Path) -> IO[str] | None:
    """Locks a file until it is closed; returns None if another process has locked it.

    The file and its folder are made if they do not exist. A killed process holds no lock. Windows
    has no locks of this kind, and some shared disks have none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except (ImportError, OSError) as error:
        logging.warning("%s cannot be locked (%s): start no second process there", path, error)
    return file


def lock(folder: pathlib.Path) -> IO[str]:
    """Locks a workdir until the file that is returned is closed; makes the folder if necessary.

    Raises:
      BlockingIOError: if another process trains in the workdir.
    """
    file = try_lock(folder / LOCK)
    if file is None:
        raise BlockingIOError(
            f"another process trains in {folder}: wait until it has ended, or name another "
            "--workdir"
        )
    return file


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes a JSON file atomically; infinity (the PSNR of equal images) becomes null."""
    atomic.write(path, encode_json(content))


def encode_json(content: Any) -> bytes:
    """Returns the bytes that `write_json` writes."""
    return (json.dumps(_without_infinity(content), indent=1, allow_nan=False) + "\n").encode()


def seal(result: Any, lines: int) -> dict[str, str]:
    """What the weight file of a finished run knows of the other two files, as notes.

    Args:
      result: the content of `eval.json`.
      lines: number of lines of `metrics.jsonl`.
    """
    digest = hashlib.sha256(encode_json(result)).hexdigest()
    return {"eval.json": digest, "metrics.jsonl": str(lines)}


def check_seal(folder: pathlib.Path, notes: Mapping[str, str]) -> None:
    """Raises ValueError, with the fix, if a file of a finished run is not as `seal` has it.

    Notes of earlier versions have nothing of the files, and are not compared.
    """
    path = folder / "eval.json"
    if notes.get(path.name) not in (None, hashlib.sha256(path.read_bytes()).hexdigest()):
        raise ValueError(
            f"{path} is damaged (weights.safetensors has another checksum of it): delete this "
            "one file, and the same command writes it again from the last checkpoint"
        )
    path = folder / "metrics.jsonl"
    lines = len(path.read_bytes().splitlines()) if path.exists() else 0
    if notes.get(path.name) not in (None, str(lines)):
        raise ValueError(
            f"{path} has {lines} lines and had {notes[path.name]} when the run was finished: put a "
            f"good copy back, or delete {folder} and train again"
        )


def _without_infinity(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_infinity(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_without_infinity(value) for value in content]
    return None if isinstance(content, float) and math.isinf(content) else content


def read_json(path: pathlib.Path, needs: Sequence[str] = ()) -> Any:
    """Reads a JSON file that holds an object; returns None if the file does not exist.

    Args:
      path: the file.
      needs: names that the object must have, each with an object of its own.

    Raises:
      ValueError: if the file is damaged, or holds something else.
    """
    if not path.exists():
        return None
    with _as_damage(path):
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError(f"it holds {_brief(content)} and no object")
        for name in needs:
            if not isinstance(content.get(name), dict):
                raise ValueError(f"it has no object {name!r}")
    return content


@contextlib.contextmanager
def _as_damage(path: pathlib.Path) -> Iterator[None]:
    """Turns what is raised about the content of a JSON file into a ValueError with the fix."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, LookupError, StopIteration) as error:
        reason = str(error) if isinstance(error, ValueError) else f"a part is missing: {error!r}"
        raise ValueError(
            f"{path} is damaged ({reason}): put a good copy back, or delete this one file and "
            "start the same command again"
        ) from error


def read_metrics(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Reads `metrics.jsonl`: a dict {'step': n, name: number, ...} for each line.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if a line is damaged.
    """
    path = folder / "metrics.jsonl"
    return [_parse_metrics(line, path) for line in path.read_bytes().splitlines()]


def parse_metrics(line: str | bytes) -> dict[str, Any]:
    """Reads a line of `metrics.jsonl`, where null stands for infinity.

    Raises:
      ValueError: if it is not {"step": n, name: number, ...}.
    """
    values = json.loads(line)
    if not isinstance(values, dict) or type(values.get("step")) is not int:
        raise ValueError(f"{_brief(values)} is no line with a step")
    values = {name: math.inf if value is None else value for name, value in values.items()}
    for name, value in values.items():
        if type(value) not in (int, float):
            raise ValueError(f"its {name} is {_brief(value)} and no number")
    return values


def _parse_metrics(line: bytes, path: pathlib.Path) -> dict[str, Any]:
    try:
        return parse_metrics(line)
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}): put a good copy back, or delete its folder and run again"
        ) from error


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def find_runs(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the workdirs of runs that a folder holds, at most two folders down.

    A sweep has its runs in `trials/NAME`, and a study of the paper in `RECIPE_BUDGET/NAME`.
    """
    found = [*folder.glob("*/run.json"), *folder.glob("*/*/run.json")]
    runs = [path.parent for path in found if (path.parent / "config.json").is_file()]
    return sorted(runs, key=lambda run: paths.natural_key(str(run)))


def explain_folder_of_runs(folder: pathlib.Path) -> str:
    """Says in a sentence what a folder of runs is, and names a run of it; '' for another folder."""
    if (folder / "config.json").exists() or not (runs := find_runs(folder)):
        return ""
    kind = "the workdir of a sweep" if (folder / "trials").is_dir() else "a folder of runs"
    finished = [run for run in runs if (run / "weights.safetensors").exists()]
    count = f"{len(runs)} run{'s' * (len(runs) > 1)}, {len(finished)} finished"
    return f"{folder} is {kind} ({count}), and no run: name one, as {(finished or runs)[0]}"


def check_no_runs_within(folder: pathlib.Path) -> None:
    """Raises ValueError if a folder that is to be written is one of other runs, as a sweep's."""
    if explained := explain_folder_of_runs(folder):
        raise ValueError(f"{explained}, or a new --workdir")


def read_finished(folder: pathlib.Path, config: ml_collections.ConfigDict) -> Any:
    """Returns the content of `eval.json` if the folder holds a finished run of this config.

    Returns:
      The result, or None if the run is not finished or does not exist.

    Raises:
      ValueError: as `check_same_config` and `read_json`.
    """
    result = read_json(folder / "eval.json", ["datasets"])
    if result is not None:
        with _as_damage(folder / "eval.json"):
            paper.format_table(result)
    finished = result is not None and (folder / "weights.safetensors").exists()
    check_same_config(folder, config, finished)
    return result if finished else None


def check_same_config(
    folder: pathlib.Path, config: ml_collections.ConfigDict, finished: bool = False
) -> None:
    """Raises ValueError, with the fields, if the folder belongs to a different config.

    A folder of other runs, as a sweep's, is no workdir of a run and raises ValueError, too.
    Fields that do not change what is computed may differ (`NO_IDENTITY`). Fields that were added
    later (`config_fields.ADDED`) have the value of before. Still earlier versions had other names
    for some fields. For their finished runs, only the fields of both versions are compared. Their
    unfinished runs cannot resume.
    """
    found = read_json(folder / "config.json")
    if found is None:
        check_no_runs_within(folder)
        return
    old = config_fields.ADDED | config_fields.flatten(found)
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
        more = [f"and {len(differing) - 8} more"] if len(differing) > 8 else []
        raise ValueError(
            f"{folder} is the workdir of another config, which differs in "
            f"{', '.join(differing[:8] + more)}: name another --workdir, or delete it"
        )


def open_run(
    folder: pathlib.Path,
    config: ml_collections.ConfigDict,
    data: Mapping[str, Sequence[str]],
    start: str,
    notes: dict[str, Any],
    validation: Mapping[str, Sequence[str]] | None = None,
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
      validation: as `data`, of the validation set, which measures and may choose the weights.

    Raises:
      ValueError: if the config, the data or the initial weights differ.
      OSError: if the folder cannot be written.
    """
    check_same_config(folder, config)
    parts = {"data": data} if validation is None else {"data": data, "validation": validation}
    for part, origins in parts.items():
        check_same_data(folder, origins, part)
    check_same_start(folder, start)
    folder.mkdir(parents=True, exist_ok=True)
    for name in REPLACED:
        atomic.clean(folder / name)
    if not (folder / "config.json").exists():
        write_json(folder / "config.json", json.loads(config.to_json_best_effort()))
    if not (folder / "run.json").exists():
        write_json(folder / "run.json", {**notes, "start": start, **parts})


def _read_run(folder: pathlib.Path) -> dict[str, Any]:
    """The content of `run.json`; {} if there is none."""
    path = folder / "run.json"
    content = read_json(path, ["data"]) or {}
    with _as_damage(path):
        found = [content.get(part, {}).items() for part in ("data", "validation")]
        for name, origin in itertools.chain(*found):
            if not isinstance(origin, list) or [type(each) for each in origin] != [str, str]:
                raise ValueError(f"its {name} is {_brief(origin)}, not a source and a fingerprint")
    return content


def check_same_data(
    folder: pathlib.Path, data: Mapping[str, Sequence[str]], part: str = "data"
) -> None:
    """Raises ValueError, with the names, if the run in the folder was begun on other data.

    Args:
      folder: the workdir. It may be new, or of a version that did not record this part.
      data: `data` or `validation` of `open_run`.
      part: which of the two, 'data' or 'validation'.
    """
    before = _read_run(folder).get(part, data)
    changes = [
        f"{name} was {_origin(before.get(name))}, and is {_origin(data.get(name))} now"
        for name in sorted(data.keys() | before.keys())
        if _fingerprint(before.get(name)) != _fingerprint(data.get(name))
    ]
    if changes:
        raise ValueError(
            f"{folder} was begun on other data: {'; '.join(changes)}: give it the data of its "
            "beginning (SRCNN_DATA_DIR, --data_dir), name another --workdir, or delete it"
        )


def _fingerprint(origin: Sequence[str] | None) -> str:
    return origin[1] if origin else ""


def _origin(origin: Sequence[str] | None) -> str:
    """What a data set is for a message: its source, and the beginning of its fingerprint."""
    return f"{origin[0]} ({origin[1][:8]})" if origin else "not used"


def check_same_start(folder: pathlib.Path, start: str) -> None:
    """Raises ValueError if the run in the folder was begun from other weights.

    Args:
      folder: the workdir. It may be new, or of a version that did not record the weights.
      start: `weights.fingerprint` of the weights that a run begins from; '' for random ones.
    """
    before = _read_run(folder).get("start", start)
    if before != start:
        began, fix = ("other weights" if start else "given weights"), "name those by --weights"
        if not before:
            began, fix = "random weights", "leave out --weights"
        raise ValueError(
            f"{folder} was begun from {began}: {fix}, name another --workdir, or delete it"
        )


class Mark(TypedDict):
    """What a checkpoint knows of `metrics.jsonl`: number and crc32 of the lines before it."""

    lines: int
    crc32: int


def check_lines(folder: pathlib.Path, step: int, mark: Mark | None) -> None:
    """Raises ValueError, with what is wrong, unless the lines before a checkpoint are as they were.

    Args:
      folder: the workdir.
      step: number of updates before the checkpoint.
      mark: what `MetricWriter.mark` returned before the checkpoint was saved; None if an earlier
        version saved it. Then the file only has to be there.
    """
    path = folder / "metrics.jsonl"
    if not path.exists():
        raise ValueError(f"{path}, with the steps 1 to {step}, is not there")
    if mark is None:
        return
    if not isinstance(mark, dict) or {type(mark.get(name)) for name in ("lines", "crc32")} != {int}:
        raise ValueError(f"what the checkpoint knows of {path} is damaged: {_brief(mark)}")
    with path.open("rb") as file:
        lines, crc32 = 0, 0
        for line in itertools.islice(file, mark["lines"]):
            lines, crc32 = lines + 1, zlib.crc32(line, crc32)
    if (lines, crc32) != (mark["lines"], mark["crc32"]):
        raise ValueError(f"{path} {_explain_lines(path, step)}")


def _explain_lines(path: pathlib.Path, step: int) -> str:
    """What is wrong with the lines up to a step: every update should have one with its loss."""
    found: collections.Counter[int] = collections.Counter()
    damaged = 0
    with path.open("rb") as file:
        for line in file:
            try:
                values = parse_metrics(line)
                found[values["step"]] += "loss" in values
            except ValueError:
                damaged += 1
    missing = [each for each in range(1, step + 1) if not found[each]]
    doubled = sorted(each for each, count in found.items() if count > 1 and each <= step)
    faults = [
        *([f"lacks {_steps(missing)}"] if missing else []),
        *([f"has more than one line of {_steps(doubled)}"] if doubled else []),
        *([f"has {damaged} damaged line{'s' * (damaged > 1)}"] if damaged else []),
    ]
    return " and ".join(faults) or f"has other lines before step {step} than were written"


def _steps(steps: Iterable[int]) -> str:
    """'step 3', or 'the steps 3 to 5, 9': at most four ranges."""
    ranges = [
        [step for _, step in group]
        for _, group in itertools.groupby(enumerate(steps), lambda pair: pair[1] - pair[0])
    ]
    words = [f"{each[0]} to {each[-1]}" if len(each) > 1 else str(each[0]) for each in ranges]
    one = len(words) == 1 and " " not in words[0]
    return ("step " if one else "the steps ") + ", ".join(words[:4] + ["..."] * (len(words) > 4))


class MetricWriter:
    """Appends the metrics of steps to `metrics.jsonl`.

    Each line is {'step': n, name: number, ...}, measured after n updates. Infinity is written as
    null, and a value that is not a number is left out.

    Attributes:
      last, largest: the last and the largest value so far, by name.
      first_losses, last_losses: the first and the last `HISTORY` losses.
      mark: what a checkpoint has to know of the lines so far.
    """

    def __init__(
        self, folder: pathlib.Path, step: int, mark: Mark | None = None, writes: bool = True
    ):
        """Opens the metrics of a run that resumes after `step`; later lines are removed.

        Args:
          folder: the workdir.
          step: number of updates that were made before; 0 starts an empty file.
          mark: as `check_lines`, which has found the lines whole. None keeps the lines up to
            `step`.
          writes: False for all processes except the first. They write no file, but they know what
            was measured.

        Raises:
          ValueError: if a line cannot be read.
        """
        self.last: dict[str, float] = {}
        self.largest: dict[str, float] = {}
        self.first_losses: list[float] = []
        self.last_losses: collections.deque[float] = collections.deque(maxlen=HISTORY)
        self.mark: Mark = {"lines": 0, "crc32": 0}
        self._file: IO[bytes] | None = None
        path, partial = folder / "metrics.jsonl", folder / "metrics.jsonl.partial"
        if writes:
            self._file = partial.open("wb")
        if step > 0 and path.exists():
            with path.open("rb") as old:
                # After a kill the last line may be incomplete. It is never a line before the
                # checkpoint, because `flush` comes before every checkpoint.
                whole = filter(lambda text: text.endswith(b"\n"), old)
                for text in itertools.islice(whole, mark["lines"] if mark else None):
                    line = _parse_metrics(text, path)
                    if line["step"] <= step:
                        self.write(**line)
        if self._file is not None:
            self.flush()
            self._file.close()
            atomic.replace(partial, path)
            self._file = path.open("ab")

    def write(self, step: int, **values: float) -> None:
        """Writes a line."""
        values = {name: value for name, value in values.items() if value > -math.inf}  # no NaN
        for name, value in values.items():
            self.last[name] = value
            self.largest[name] = max(value, self.largest.get(name, value))
        if "loss" in values:
            if len(self.first_losses) < HISTORY:
                self.first_losses.append(values["loss"])
            self.last_losses.append(values["loss"])
        if self._file is None:
            return
        text = json.dumps(_without_infinity({"step": step, **values}), allow_nan=False) + "\n"
        line = text.encode()
        self._file.write(line)
        self.mark = {
            "lines": self.mark["lines"] + 1,
            "crc32": zlib.crc32(line, self.mark["crc32"]),
        }

    def flush(self) -> None:
        """Waits until all lines are on the disk; call it before a checkpoint."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self.flush()
        if self._file is not None:
            self._file.close()
