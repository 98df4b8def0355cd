"""Files that are replaced as a whole: a kill or a power cut leaves the old one or the new one."""

import contextlib
import os
import pathlib


def write(path: pathlib.Path, content: bytes) -> None:
    """Writes a file under another name, waits until it is on the disk, and renames it.

    A process that is killed in between leaves NAME.partialPID. The next `write` of this file
    removes it, and so does `clean`.

    Args:
      path: the file. An existing one is replaced.
      content: its bytes.

    Raises:
      OSError: if the file cannot be written. Then the old file is as it was.
    """
    start = f"{path.name}.partial"
    remove_left(path.parent, start)
    partial = path.with_name(f"{start}{os.getpid()}")
    try:
        write_through(partial, content)
        replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_through(path: pathlib.Path, content: bytes) -> None:
    """Writes a file in place, and waits until its bytes are on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace(partial: pathlib.Path, path: pathlib.Path) -> None:
    """Renames a file that is on the disk, and waits until the new name is on the disk, too."""
    partial.replace(path)
    with contextlib.suppress(OSError):  # Windows, and some shared disks, cannot sync a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def clean(path: pathlib.Path) -> None:
    """Removes what killed processes left of `write`. Nobody may be writing the file."""
    for _, left in _partials(path.parent, f"{path.name}.partial"):
        left.unlink(missing_ok=True)


def remove_left(folder: pathlib.Path, start: str, end: str = "") -> None:
    """Removes the files START<number>END of a folder whose number is no running process."""
    for process, left in _partials(folder, start, end):
        if not _is_alive(process):
            left.unlink(missing_ok=True)


def _partials(folder: pathlib.Path, start: str, end: str = "") -> list[tuple[int, pathlib.Path]]:
    """The files START<number>END of a folder, with their numbers."""
    found = [
        (each.name.removeprefix(start).removesuffix(end), each)
        for each in folder.glob("*")
        if each.name.startswith(start) and each.name.endswith(end)
    ]
    return [(int(number), each) for number, each in found if number.isdecimal()]


def _is_alive(process: int) -> bool:
    """Whether a process of this machine runs. True where that cannot be known."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)  # sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        return True
    return True
