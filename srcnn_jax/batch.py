"""Which pictures a command works on, and where the results go."""

import collections
import dataclasses
import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from srcnn_jax import paths, picture_formats, pictures

STREAM = "-"  # stands for standard input or standard output


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
    folder keep their suffix in the name: `photo_jpg_x2.png`. Nothing is made.

    Args:
      inputs: files, folders, patterns such as '*.png', or '-'.
      output: a file, a folder, '-', or None for a file beside the picture. It is a folder if it
        exists as one, ends with a slash, or if there are several pictures or a folder of them.
      ending: ending of a result's name, as '_x2'.
      suffix: suffix of a result's name where `output` does not say it, as '.png'.
      recursive: whether folders in folders are searched. The output has the same folders.

    Raises:
      ValueError: if there is nothing to do, or a result cannot be written, or would overwrite a
        picture or another result.
    """
    if output == "":
        raise ValueError("the output -o is empty: name a file, a folder or -")
    folder = None if output in (None, STREAM) else paths.local(output or "", "-o")
    found = _without_doubles(_find(inputs, recursive, folder))
    results = _results(found)
    found = [each for each in found if each.path not in results]
    several = len(found) > 1 or any(Path(each).is_dir() for each in inputs if each != STREAM)
    if output == STREAM or (output is None and inputs == [STREAM]):
        if several:
            raise ValueError("standard output holds one picture: name a folder with -o")
        return Plan((Task(found[0].path, None),), results)
    as_folder = several or (folder and (folder.is_dir() or str(output).endswith(("/", os.sep))))
    if folder and not as_folder:
        if folder.suffix.lower() not in picture_formats.FORMATS:
            suffixes = ", ".join(picture_formats.FORMATS)
            raise ValueError(
                f"{folder}: the name of an output file ends in {suffixes}, that of a folder in /"
            )
        if not folder.parent.is_dir():
            raise ValueError(f"{folder}: its folder does not exist")
        targets = [folder]
    else:
        if folder and folder.suffix.lower() in picture_formats.FORMATS and not folder.is_dir():
            raise ValueError(f"{folder}: {len(found)} pictures need a folder; end its name with /")
        targets = _names(found, folder, ending, suffix)
    tasks = tuple(Task(each.path, target) for each, target in zip(found, targets, strict=True))
    _check(tasks)
    return Plan(tasks, results)


def _find(inputs: Sequence[str], recursive: bool, output: Path | None) -> Iterator[_Found]:
    """Yields the pictures that the inputs name; a file that does not exist, too."""
    for name in inputs:
        if name == STREAM:
            yield _Found(None)
            continue
        path = paths.local(name, "the path")
        if path.is_dir():
            yield from _search(path, recursive, output)
        elif not path.exists() and glob.has_magic(str(path)):
            matches = sorted(glob.glob(str(path), recursive=True), key=paths.natural_key)
            if not matches:
                raise ValueError(f"no file matches {name}")
            for match in map(Path, matches):
                if match.is_file():
                    yield _Found(match)
        else:
            yield _Found(path)


def _search(folder: Path, recursive: bool, output: Path | None) -> Iterator[_Found]:
    """Yields the pictures of a folder in natural order, but none of the output's folder."""
    none = True
    for top, folders, names in os.walk(folder):
        inside = Path(top)
        # The folder of results may be in the folder of pictures.
        if output and inside != folder and output.exists() and inside.samefile(output):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if recursive and not name.startswith("."))
        for name in sorted(names, key=paths.natural_key):
            if pictures.has_picture_name(inside / name):
                none = False
                yield _Found(inside / name, inside.relative_to(folder))
    if none:
        more = "" if recursive else "; -r searches the folders in it"
        raise ValueError(f"folder {folder} has no pictures{more}")


def _without_doubles(found: Iterator[_Found]) -> list[_Found]:
    """Each file once: patterns may overlap."""
    return list({each.path and each.path.absolute(): each for each in found}.values())


def _results(found: Sequence[_Found]) -> tuple[Path, ...]:
    """Those files that have the name of a result of another one: they are not enlarged again."""
    files = [each.path for each in found if each.path]
    names = {(path.parent, path.stem) for path in files}
    names |= {(path.parent, _stem_with_suffix(path)) for path in files}
    results = []
    for path in files:
        match = re.fullmatch(r"(.+)_(x[\d.]+|w\d+|h\d+|\d+x\d+)", path.stem)
        if match and (path.parent, match[1]) in names:
            results.append(path)
    return tuple(results)


def _names(found: Sequence[_Found], folder: Path | None, ending: str, suffix: str) -> list[Path]:
    """The paths of results."""

    def target(each: _Found, stem: str) -> Path:
        if each.path is None:
            return (folder or Path()) / f"{stem}{ending}{suffix}"
        beside = folder / each.folder if folder else each.path.parent
        return beside / f"{stem}{ending}{suffix}"

    plain = [target(each, each.path.stem if each.path else "stdin") for each in found]
    count = collections.Counter(plain)
    return [
        target(each, _stem_with_suffix(each.path)) if each.path and count[path] > 1 else path
        for each, path in zip(found, plain, strict=True)
    ]


def _stem_with_suffix(path: Path) -> str:
    """'photo_jpg' for photo.jpg."""
    return f"{path.stem}_{path.suffix.removeprefix('.')}"


def _check(tasks: Sequence[Task]) -> None:
    """Raises ValueError if results cannot be written, or are in the way of something."""
    originals = [task.source for task in tasks if task.source and task.source.exists()]
    taken: dict[Path, Task] = {}
    for task in tasks:
        target = task.target
        if target is None:
            continue
        parent = next(folder for folder in target.parents if folder.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            raise ValueError(f"{target}: its folder {parent} cannot be written to")
        if target.exists() and any(map(target.samefile, originals)):
            raise ValueError(f"{target}: the output would overwrite an input; name another with -o")
        other = taken.setdefault(target.absolute(), task)
        if other is not task:
            raise ValueError(
                f"{target}: {other.source} and {task.source} have one name; enlarge them one by "
                "one, or their common folder with -r"
            )


def existing(tasks: Sequence[Task]) -> list[Task]:
    """Those tasks whose result exists."""
    return [task for task in tasks if task.target and task.target.exists()]
