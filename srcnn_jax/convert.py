"""Converts weight files: `python -m srcnn_jax.convert IN OUT`, each of the kind its name says.

Also tells what a file cannot say itself: `--padding`, `--scale`, `--colour`.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path


def convert(
    source: str | os.PathLike,
    target: str | os.PathLike,
    *,
    padding: str | None = None,
    scale: int | None = None,
    colour: str | None = None,
) -> None:
    """Reads `source` as `weights.load` does and writes `target` as `weights.save` does.

    Args:
      source: a weight file or workdir.
      target: the file to write; it may exist, but not be `source`.
      padding, scale, colour: as `weights.Network`; None for what `source` says.

    Raises:
      ValueError, OSError: naming the file and what is wrong with it.
    """
    from srcnn_jax import weights

    network = weights.load(source)
    original = Path(source, "weights.safetensors") if os.path.isdir(source) else Path(source)
    if os.path.exists(target) and os.path.samefile(original, target):
        raise ValueError(f"{target}: the output would overwrite the input")
    if scale is not None and scale < 2:
        raise ValueError(f"the scale is a whole number from 2 up, not {scale}")
    network = dataclasses.replace(
        network,
        padding=padding or network.padding,
        scale=scale or network.scale,
        colour=colour or network.colour,
    )
    weights.save(target, network, {"converted_from": Path(source).name})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m srcnn_jax.convert",
        description="Convert SRCNN weight files.",
        allow_abbrev=False,
    )
    parser.add_argument("source", help=".safetensors, .mat, .pth, .pt, .pth.tar, or a workdir")
    parser.add_argument("target", help=".safetensors, .mat, .pth, .pt, .pth.tar or .onnx")
    parser.add_argument("--padding", help="'same', 'valid', or one of them per layer, by commas")
    parser.add_argument("--scale", type=int, help="the enlargement it was trained for")
    parser.add_argument("--colour", help="what it sees: y, ycbcr or rgb")
    options = parser.parse_args(arguments)
    os.environ.setdefault("JAX_LOGGING_LEVEL", "ERROR")  # no talk of accelerators that are absent
    try:
        convert(**vars(options))
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
