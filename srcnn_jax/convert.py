"""Converts weight files: `python -m srcnn_jax.convert IN OUT`.

The end of a file's name says its format. `--padding`, `--scale` and `--colour` add what a file does
not say.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from srcnn_jax import paths, runtime
except ModuleNotFoundError as error:
    if error.name != "srcnn_jax":
        raise
    sys.exit("error: start it in the project's checkout, as `python -m srcnn_jax.convert`")


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
      target: the file to write. It may exist, but it must not be `source`.
      padding, scale, colour: as `weights.Network`; None keeps the value of `source`.

    Raises:
      ValueError, OSError: if a file cannot be read or written. The message names it and the fault.
    """
    from srcnn_jax import weights

    source, target = (paths.local(each, "the weight file") for each in (source, target))
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
    """Runs the command line and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m srcnn_jax.convert",
        description="Convert SRCNN weight files.",
        allow_abbrev=False,
    )
    parser.add_argument("source", help=".safetensors, .mat, .pth, .pt, .pth.tar, or a workdir")
    parser.add_argument("target", help=".safetensors, .mat, .pth, .pt, .pth.tar or .onnx")
    parser.add_argument("--padding", help="'same', 'valid', or a word for each layer, with commas")
    parser.add_argument("--scale", type=int, help="scale that the network was trained for")
    parser.add_argument("--colour", help="channels of the network: y, ycbcr or rgb")
    options = parser.parse_args(arguments)
    runtime.print_any_name()
    os.environ.setdefault("JAX_LOGGING_LEVEL", "ERROR")  # no messages about absent accelerators
    try:
        convert(**vars(options))
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
