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
    for process, left in _partials(path):
        if not _is_alive(process):
            left.unlink(missing_ok=True)
    partial = path.with_name(f"{path.name}.partial{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


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
    for _, left in _partials(path):
        left.unlink(missing_ok=True)


def _partials(path: pathlib.Path) -> list[tuple[int, pathlib.Path]]:
    """What `write` has not renamed yet, or never will, with the number of its process."""
    start = f"{path.name}.partial"
    found = [each for each in path.parent.glob("*") if each.name.startswith(start)]
    ends = [(each.name.removeprefix(start), each) for each in found]
    return [(int(end), each) for end, each in ends if end.isdecimal()]


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
