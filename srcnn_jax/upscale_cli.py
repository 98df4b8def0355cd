"""The command line of `upscale`: its options, and what does not go together."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import srcnn_jax
from srcnn_jax import batch, enlargement, paths, picture_formats

SCALE = 2  # default factor of the enlargement
EXAMPLES = """\
examples:
  srcnn-upscale photo.jpg                              makes photo_x2.png beside it
  srcnn-upscale -r holidays -o big/ -s 3 --format jpg  a folder, and the folders in it
  srcnn-upscale - --width 3840 < a.heic > wide.png     from standard input to standard output
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line; a mistake in one option ends the process with a line and status 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if "--" in given:  # argparse forgets it when pictures and options are mixed
        at = given.index("--")
        names = (f"./{each}" if each[:1] == "-" != each else each for each in given[at + 1 :])
        given = [*given[:at], *names]
    return _parser().parse_intermixed_args(given)


def check(args: argparse.Namespace) -> None:
    """Completes the arguments; raises ValueError if they do not go together."""
    if args.scale is None and args.width is None and args.height is None:
        args.scale = float(SCALE)
    if args.scale is not None and args.height is not None:
        raise ValueError("--scale and --height: name one of them")
    for name in ("width", "height"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise ValueError(f"--{name} is a number of pixels, not {getattr(args, name)}")
    if args.scale is not None:
        enlargement.chain(args.scale, [2])  # checks the factor
    if args.quality is not None and not 1 <= args.quality <= 100:
        raise ValueError(f"--quality is from 1 to 100, not {args.quality}")
    named = args.output and Path(args.output).suffix.lower() in picture_formats.FORMATS
    named = named and not batch.is_folder(args.output)
    if args.format and named and Path(args.output).suffix.lower() != f".{args.format}":
        raise ValueError(f"--format {args.format} and -o {args.output}: name one format")
    format = Path(args.output).suffix.lower() if named else suffix(args)
    if args.quality is not None and not picture_formats.FORMATS[format].lossy:
        lossy = ", ".join(name for name, each in picture_formats.FORMATS.items() if each.lossy)
        raise ValueError(f"--quality is of the formats {lossy}, not of {format}: see --format")
    if batch.STREAM in args.pictures and sys.stdin is None:
        raise ValueError("standard input is closed")
    if args.output == batch.STREAM or (args.output is None and args.pictures == [batch.STREAM]):
        if sys.stdout is None:
            raise ValueError("standard output is closed")
        if sys.stdout.isatty():
            raise ValueError("standard output is a terminal: name a file by -o, or use a pipe")


def ending(args: argparse.Namespace) -> str:
    """The ending of a result's name: '_x2', '_x1.5', '_w1920', '_h1080' or '_1920x1080'."""
    if args.scale is not None:
        return f"_x{args.scale:.12g}"
    if args.width and args.height:
        return f"_{args.width}x{args.height}"
    return f"_w{args.width}" if args.width else f"_h{args.height}"


def suffix(args: argparse.Namespace) -> str:
    """The suffix of a result's name where -o does not say it: '.png'."""
    return f".{args.format or 'png'}"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="srcnn-upscale",
        description="Enlarge pictures by SRCNN.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    version = f"%(prog)s {srcnn_jax.__version__}"
    parser.add_argument("--version", action="version", version=version)
    parser.add_argument(
        "--list", action=_List, help="list the networks, with sizes and PSNR, and exit"
    )

    group = parser.add_argument_group("which pictures")
    group.add_argument(
        "pictures",
        nargs="+",
        metavar="PICTURE",
        help="files, folders, patterns such as '*.png', or - for standard input",
    )
    group.add_argument(
        "-r", "--recursive", action="store_true", help="search the folders in folders, too"
    )
    number = _number(int, "a number from 1 on")
    group.add_argument(
        "--frame", type=number, metavar="N", help="one frame of an animation, or page; from 1 on"
    )

    group = parser.add_argument_group("how large")
    size = group.add_mutually_exclusive_group()
    size.add_argument(
        "-s",
        "--scale",
        type=_number(float, "a number, as 3 or 1.5"),
        help=f"factor, above 1 and up to {enlargement.MAX_SCALE} (default: {SCALE})",
    )
    pixels = _number(int, "a number of pixels, as 1920")
    size.add_argument("--width", type=pixels, metavar="PIXELS", help="width of the result")
    group.add_argument(
        "--height",
        type=pixels,
        metavar="PIXELS",
        help="height of the result; with --width, the result fits into both",
    )

    group = parser.add_argument_group("where to")
    group.add_argument(
        "-o",
        "--output",
        help="file, folder (ending in /, or for several pictures), or - for standard output; "
        "default: NAME_xSCALE.png beside the picture",
    )
    group.add_argument(
        "--format",
        type=str.lower,
        choices=[suffix.removeprefix(".") for suffix in picture_formats.FORMATS],
        help="format of the results that -o does not name (default: png)",
    )
    group.add_argument(
        "--quality",
        type=_number(int, "a number from 1 to 100"),
        metavar="1..100",
        help=f"of JPEG, WebP, AVIF and HEIC (default: {picture_formats.QUALITY})",
    )
    existing = group.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace results that exist")
    existing.add_argument(
        "--skip_existing", action="store_true", help="leave out pictures whose result exists"
    )

    group = parser.add_argument_group("how well")
    by = group.add_mutually_exclusive_group()
    by.add_argument(
        "--network",
        default="best",
        help="one of the networks of --list (default: the one with the highest PSNR); photo: for "
        "pictures saved as JPEG; auto: photo or the default, by the picture's JPEG quality",
    )
    by.add_argument(
        "--weights", type=paths.argument, help="weight file, or workdir of a finished run"
    )
    group.add_argument(
        "--overlap",
        choices=enlargement.OVERLAPS,
        default="band",
        help="average: mean over overlapping patches, slower (default: %(default)s)",
    )
    group.add_argument(
        "--self_ensemble",
        action="store_true",
        help="mean over eight flips and rotations: a little better, eight times as long",
    )
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> Any:
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def _number(kind: type[float] | type[int], what: str) -> Callable[[str], float]:
    """A function that reads a number for argparse; `what` describes it."""

    def read(text: str) -> float:
        try:
            return kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"it is {what}, not {text!r}") from None

    return read


class _List(argparse.Action):
    """Prints the list of networks, and exits."""

    def __init__(self, option_strings: Sequence[str], dest: str, **kwargs: Any):
        super().__init__(option_strings, dest, nargs=0, **kwargs)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from srcnn_jax.weights import pretrained

        print(pretrained.format_list())
        parser.exit()
