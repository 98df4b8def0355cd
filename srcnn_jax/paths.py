"""Paths that people type: `~` is their home, and an address is no path."""

import argparse
import os
import pathlib
import re


def local(path: str | os.PathLike, flag: str) -> pathlib.Path:
    """Returns a path with `~` replaced by the user's home.

    A shell replaces `~` only at the beginning of a word, so `--workdir=~/runs` arrives as it is.

    Args:
      path: what the user typed.
      flag: where it was typed, for the message.

    Raises:
      ValueError: if it is empty, or an address, as gs://bucket/folder, and not a path on a disk.
    """
    if not os.fspath(path):
        raise ValueError(f"{flag} is empty: name a path")
    if "://" in os.fspath(path):
        raise ValueError(f"{flag} {path} is an address: name a path on a disk of this machine")
    return pathlib.Path(path).expanduser()


def folder(path: str | os.PathLike, flag: str) -> pathlib.Path:
    """As `local`, for a folder that is there or will be made; raises ValueError for a file, too."""
    place = local(path, flag)
    if place.exists() and not place.is_dir():
        raise ValueError(f"{flag} {path} is a file: name a folder, or another place for one")
    return place


def argument(path: str) -> pathlib.Path:
    """`local` as the type of an argument of argparse."""
    try:
        return local(path, "the path")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def folder_argument(path: str) -> pathlib.Path:
    """`folder` as the type of an argument of argparse."""
    try:
        return folder(path, "the path")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Returns a sorting key that puts `t2.bmp` before `t10.bmp` and ignores case."""
    parts = re.split(r"(\d+)", name.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name
