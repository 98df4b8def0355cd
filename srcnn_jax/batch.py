"""Which pictures a command works on, and where the results go."""

import collections
import contextlib
import dataclasses
import glob
import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from srcnn_jax import paths, picture_formats, pictures

STREAM = "-"  # stands for standard input or standard output
# The name of a result, without its suffix: photo_x1.5, photo_w640, photo_h480, photo_640x480.
RESULT = re.compile(r"(?P<name>.+)_(?P<ending>x\d+(?:\.\d+)?|w\d+|h\d+|\d+x\d+)")

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Task:
    """One picture.

    Attributes:
      source: the file; None for standard input.
      target: the file of the result; None for standard output.
    """

    source: Path | None
    target: Path | None


@dataclasses.dataclass(frozen=True)
class Plan:
    """The work of a command.

    Attributes:
      tasks: the pictures.
      results: files that were found, but are results of the command.
    """

    tasks: tuple[Task, ...]
    results: tuple[Path, ...]


@dataclasses.dataclass(frozen=True)
class _Found:
    """A picture that was found, and the path of its folder in the folder that was searched."""

    path: Path | None
    folder: Path = Path()


def plan(
    inputs: Sequence[str], output: str | None, ending: str, suffix: str, recursive: bool = False
) -> Plan:
    """Finds pictures, and names their results.

    A result is called NAME + `ending` + `suffix`: `photo_x2.png`. Pictures of one name in one
    folder keep their suffix in the name: `photo.jpg_x2.png`. Nothing is made.

    Args:
      inputs: files, folders, patterns such as '*.png', or '-'.
      output: a file, a folder, '-', or None for a file beside the picture. It is a folder if it
        exists as one, ends with a slash, or if there are several pictures or a folder of them. Of
        several folders, each has its own folder there.
      ending: ending of a result's name, as '_x2'.
      suffix: suffix of a result's name where `output` does not say it, as '.png'.
      recursive: whether folders in folders are searched. The output has the same folders.

    Raises:
      ValueError: if there is nothing to do, or a result would overwrite a picture or another
        result.
    """
    if output == "":
        raise ValueError("the output -o is empty: name a file, a folder or -")
    if "" in inputs:
        raise ValueError("the name of a picture is empty")
    folder = None if output in (None, STREAM) else paths.local(output or "", "-o")
    found = _without_doubles(_find(inputs, recursive, folder))
    results = _results(found)
    passed_over = set(results)
    found = [each for each in found if each.path not in passed_over]
    several = len(found) > 1 or any(map(_is_folder, inputs))
    if output == STREAM or (output is None and inputs == [STREAM]):
        if several:
            raise ValueError("standard output holds one picture: name a folder with -o")
        return Plan((Task(found[0].path, None),), results)
    if folder and not is_folder(output) and not several:
        if folder.suffix.lower() not in picture_formats.FORMATS:
            suffixes = ", ".join(picture_formats.FORMATS)
            raise ValueError(
                f"{folder}: the name of an output file ends in {suffixes}, that of a folder in /"
            )
        if not folder.parent.is_dir():
            raise ValueError(f"{folder}: its folder does not exist")
        targets = [folder]
    else:
        is_file = folder and folder.suffix.lower() in picture_formats.FORMATS
        if is_file and not is_folder(output):
            raise ValueError(f"{folder}: {len(found)} pictures need a folder; end its name with /")
        targets = _names(found, folder, ending, suffix)
    tasks = tuple(Task(each.path, target) for each, target in zip(found, targets, strict=True))
    _check(tasks)
    return Plan(tasks, results)


def is_folder(output: str | None) -> bool:
    """Whether an output is a folder, whatever the pictures are."""
    if output in (None, STREAM):
        return False
    return output.endswith(("/", os.sep)) or os.path.isdir(paths.local(output, "-o"))


def _is_folder(name: str) -> bool:
    # Unlike Path.is_dir, it is False of what we may not look at, which then is an error of its own.
    return name != STREAM and os.path.isdir(paths.local(name, "the path"))


def _exists(path: Path) -> bool:
    """Whether there is a file; False if its name is too long, or its folder closed to us."""
    with contextlib.suppress(OSError):
        return path.exists()
    return False


def _find(inputs: Sequence[str], recursive: bool, output: Path | None) -> Iterator[_Found]:
    """Yields the pictures that the inputs name; a file that does not exist, too."""
    several = sum(map(_is_folder, inputs)) > 1
    for name in inputs:
        if name == STREAM:
            yield _Found(None)
            continue
        path = paths.local(name, "the path")
        if _is_folder(name):
            yield from _search(path, recursive, output, Path(path.absolute().name * several))
        elif not _exists(path) and glob.has_magic(str(path)):
            matches = sorted(glob.glob(str(path), recursive=True), key=paths.natural_key)
            if not matches:
                raise ValueError(f"no file matches {name}")
            for match in map(Path, matches):
                if not match.is_dir():
                    yield _Found(match)
        else:
            yield _Found(path)


def _search(
    folder: Path, recursive: bool, output: Path | None, inside_output: Path
) -> Iterator[_Found]:
    """Yields the pictures of a folder in natural order, but none of the output's folder."""
    none = True

    def closed(error: OSError) -> None:
        _log.warning("warning: folder %s cannot be read (%s)", error.filename, error.strerror)

    for top, folders, names in os.walk(folder, onerror=closed):
        here = Path(top)
        # The folder of results may be in the folder of pictures.
        if output and here != folder and output.exists() and here.samefile(output):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if recursive and not name.startswith("."))
        for link in (name for name in folders if (here / name).is_symlink()):
            _log.warning("warning: %s is a link to a folder, and not followed", here / link)
        for name in sorted(names, key=paths.natural_key):
            if pictures.has_picture_name(here / name):
                none = False
                yield _Found(here / name, inside_output / here.relative_to(folder))
    if none:
        more = "" if recursive else "; -r searches the folders in it"
        raise ValueError(f"folder {folder} has no pictures that can be read{more}")


def _without_doubles(found: Iterator[_Found]) -> list[_Found]:
    """Each file once: patterns may overlap."""
    return list({each.path and each.path.absolute(): each for each in found}.values())


def _results(found: Sequence[_Found]) -> tuple[Path, ...]:
    """Those files that are results of others: they are not enlarged again.

    They have the name and the size of a result. (A folder may have a_x2.png from elsewhere.)
    """
    files = [each.path for each in found if each.path]
    sources = collections.defaultdict(list)
    for path in files:
        sources[path.stem].append(path)
        sources[path.name].append(path)
    results = []
    for path in files:
        match = RESULT.fullmatch(path.stem)
        size = _size(path) if match and match["name"] in sources else None
        if match and size:
            befores = filter(None, map(_size, sources[match["name"]]))
            if any(_is_result(match["ending"], before, size) for before in befores):
                results.append(path)
    return tuple(results)


def _is_result(ending: str, before: tuple[int, int], after: tuple[int, int]) -> bool:
    """Whether a picture has the size of another one enlarged as the ending of its name says."""
    for width, height in (before, before[::-1]):  # the file may be one that is turned
        if ending[0] == "x":
            factor = float(ending[1:])
        elif ending[0] in "wh":
            factor = int(ending[1:]) / (width if ending[0] == "w" else height)
        else:
            box = map(int, ending.split("x"))
            factor = min(limit / side for limit, side in zip(box, (width, height), strict=True))
        size = factor * width, factor * height
        if factor > 1 and all(abs(a - b) <= 1 for a, b in zip(after, size, strict=True)):
            return True
    return False


def _size(path: Path) -> tuple[int, int] | None:
    """Width and height of a picture file as its header has them, or None."""
    with contextlib.suppress(Exception), Image.open(path) as opened:  # decoders raise anything
        return opened.size
    return None


def _names(found: Sequence[_Found], folder: Path | None, ending: str, suffix: str) -> list[Path]:
    """The paths of results."""

    def target(each: _Found, name: str) -> Path:
        if each.path is None:
            return (folder or Path()) / f"{name}{ending}{suffix}"
        beside = folder / each.folder if folder else each.path.parent
        return beside / f"{name}{ending}{suffix}"

    plain = [target(each, each.path.stem if each.path else "stdin") for each in found]
    count = collections.Counter(plain)
    return [
        target(each, each.path.name) if each.path and count[path] > 1 else path
        for each, path in zip(found, plain, strict=True)
    ]


def _check(tasks: Sequence[Task]) -> None:
    """Raises ValueError if a result would overwrite a picture or another result."""
    originals = {_identity(task.source) for task in tasks if task.source} - {None}
    taken: dict[Path, Task] = {}
    for task in tasks:
        target = task.target
        if target is None:
            continue
        if _identity(target) in originals:
            raise ValueError(f"{target}: the output would overwrite an input; name another with -o")
        other = taken.setdefault(target.absolute(), task)
        if other is not task:
            raise ValueError(
                f"{target} would be the result of {other.source} and of {task.source}: enlarge "
                "them into different folders"
            )


def _identity(path: Path) -> tuple[int, int] | None:
    """What a file has in common with all its names and links; None if there is no such file."""
    with contextlib.suppress(OSError):
        status = path.stat()
        return status.st_dev, status.st_ino
    return None


def make_folder(task: Task) -> None:
    """Makes the folder of a task's result.

    Raises:
      OSError: if it cannot be made or written to, or the name of the result is too long.
    """
    if task.target is None:
        return
    folder = task.target.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        task.target.exists()
    except OSError as error:
        raise OSError(f"{task.target} cannot be written ({error.strerror})") from error
    if not os.access(folder, os.W_OK):
        raise OSError(f"{task.target}: its folder {folder} cannot be written to")


def existing(tasks: Sequence[Task]) -> list[Task]:
    """Those tasks whose result exists."""
    return [task for task in tasks if task.target and _exists(task.target)]
