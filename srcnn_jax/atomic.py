"""Files that are replaced as a whole: a kill or a power cut leaves the old one or the new one."""

import contextlib
import os
import pathlib


def write(path: pathlib.Path, content: bytes) -> None:
    """Writes a file under another name, waits until it is on the disk, and renames it.

    A process that is killed in between leaves NAME.partialPID. `clean` removes it.

    Args:
      path: the file. An existing one is replaced.
      content: its bytes.

    Raises:
      OSError: if the file cannot be written. Then the old file is as it was.
    """
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
    for left in path.parent.glob(f"{path.name}.partial*"):
        if left.name.removeprefix(f"{path.name}.partial").isdecimal():
            left.unlink(missing_ok=True)
