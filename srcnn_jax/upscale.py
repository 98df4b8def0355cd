"""Enlarges pictures of any size and mode: `python -m srcnn_jax.upscale photo.jpg --scale 3`.

`upscale` is the function, and `main` the command. JAX is imported on first use, so `--help` and
errors on the command line need no waiting.
"""

import argparse
import contextlib
import dataclasses
import functools
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, overload

import numpy as np
from PIL import Image

try:
    from srcnn_jax import (
        batch,
        enlargement,
        paths,
        picture_formats,
        pictures,
        runtime,
        upscale_cli,
    )
    from srcnn_jax.pictures import Picture
except ModuleNotFoundError as error:
    if error.name != "srcnn_jax":
        raise
    sys.exit("error: start it in the project's checkout, as `python -m srcnn_jax.upscale`")

if TYPE_CHECKING:
    from srcnn_jax.weights import Network

AUTO = "auto"  # a network that is chosen for each picture
# Up to this JPEG quality `AUTO` takes the network for photographs: on held-out pictures of that
# quality it has 0.1 to 0.3 dB more than the other one and the same SSIM, and from 90 on it has less
# (experiments/results/paper/photo.md).
PHOTO_QUALITY = 85

Kind = TypeVar("Kind", np.ndarray, Image.Image)

_log = logging.getLogger(__name__)


@overload
def upscale(picture: Kind, scale: float = ..., *args: Any, **options: Any) -> Kind: ...
@overload
def upscale(
    picture: str | os.PathLike, scale: float = ..., *args: Any, **options: Any
) -> Image.Image: ...
def upscale(
    picture: Any,
    scale: float = 2,
    weights: "Network | str | os.PathLike | None" = None,
    *,
    network: str = "best",
    overlap: str = "band",
    self_ensemble: bool = False,
) -> Any:
    """Enlarges a picture.

    Networks are for whole scales. Other factors are reached by networks one after the other: 6 is
    2 times 3. If there is no such chain, the nearest larger one is taken, and its result is shrunk
    with antialiasing.

    Colour is split into BT.601 YCbCr, as in the paper. A network for three channels gets all of
    them; a grey picture becomes three equal channels for it. Colours of fully transparent pixels
    are not kept, because they would leak into the visible pixels.

    The networks that come with the project are read once in a process. Read your own once by
    `weights.load`, too, if you enlarge many pictures.

    Args:
      picture: a PIL image of any mode; the path of a picture file, of which the first frame is
        taken; or an array (H, W), (H, W, 2) with alpha, (H, W, 3) RGB or (H, W, 4) RGBA of uint8,
        uint16 or float in 0..1.
      scale: factor of the enlargement, above 1 and up to 16.
      weights: the network, its file or its workdir; None for bundled ones.
      network: the bundled networks, as '915', if there are no `weights`; 'best' are those with the
        highest PSNR, 'photo' those for pictures saved as JPEG. 'auto' is 'photo' for a JPEG up to
        `PHOTO_QUALITY`, and 'best' for other pictures and for arrays.
      overlap: 'band', or 'average' for the mean over overlapping patches, each restored by itself.
      self_ensemble: whether the result is the mean over eight flips and rotations, which takes
        eight times as long; with overlap 'band'.

    Returns:
      The enlarged picture, scale * H by scale * W pixels, rounded: an array with the axes and dtype
      of `picture`, or a PIL image of mode L, LA, RGB, RGBA, I;16 or F, upright. Its `info` has the
      metadata, as `save(path, **info)` takes them.

    Raises:
      ValueError, FileNotFoundError: the message names the value and the fix.
    """
    if weights is not None and network != "best":
        raise ValueError(f"weights and network {network!r}: name one of them")
    restored_by = enlargement.choose_method(overlap, self_ensemble)
    if isinstance(picture, np.ndarray):
        networks = load_networks(weights, choose_network(network))
        enlargement.check_pixels(picture)
        shape = target_size((picture.shape[1], picture.shape[0]), scale)[::-1]
        return enlargement.enlarge(picture, shape, networks, restored_by)
    if isinstance(picture, Image.Image):
        given = pictures.from_image(picture)
    elif isinstance(picture, str | os.PathLike):
        given = _read(paths.local(picture, "the picture"))
    else:
        kind = type(picture).__name__
        raise ValueError(f"a picture is a PIL image, a NumPy array or a path, not of type {kind}")
    networks = load_networks(weights, choose_network(network, given.jpeg_quality))
    enlarged = _enlarge(given, target_size(given.size, scale), networks, restored_by)
    return pictures.to_image(enlarged)


def _read(path: Path) -> Picture:
    """Reads the first frame of a file; the errors name it."""
    try:
        picture = pictures.read(path, frame=1)
    except (ValueError, OSError) as error:
        raise type(error)(f"{path}: {error}") from error
    if pictures.has_deep_colour(picture):
        line = "warning: %s has 16 bits of colour, which become 8 in Pillow: the command keeps them"
        _log.warning(line, path)
    return picture


def choose_network(network: str, jpeg_quality: int | None = None) -> str:
    """Returns the network for a picture: `network`, or what `AUTO` chooses for the quality.

    Args:
      network: name of a bundled network, or `AUTO`.
      jpeg_quality: as `pictures.Picture.jpeg_quality`.
    """
    from srcnn_jax.weights import pretrained

    if network != AUTO:
        return network
    saved = jpeg_quality is not None and jpeg_quality <= PHOTO_QUALITY
    return pretrained.PHOTO if saved else pretrained.BEST


def load_networks(
    weights: "Network | str | os.PathLike | None" = None, network: str = "best"
) -> Mapping[int, "Network"]:
    """Loads networks by scale; arguments and errors as `upscale`.

    A network that does not say its scale is taken for any.
    """
    from srcnn_jax import weights as weight_files

    if weights is None:
        return _bundled(network)
    if not isinstance(weights, weight_files.Network):
        if not isinstance(weights, str | os.PathLike):
            kind = type(weights).__name__
            raise ValueError(f"weights are a Network or a path, not of type {kind}")
        weights = weight_files.load(weights)
    scales = [weights.scale] if weights.scale else range(2, enlargement.MAX_SCALE + 1)
    return dict.fromkeys(scales, weights)


@functools.cache
def _bundled(network: str) -> Mapping[int, "Network"]:
    """The bundled networks of a name, by scale."""
    from srcnn_jax.weights import load_pretrained, pretrained

    return {scale: load_pretrained(scale, network) for scale in pretrained.scales(network)}


def target_size(
    size: tuple[int, int],
    scale: float | None = None,
    width: int | None = None,
    height: int | None = None,
) -> tuple[int, int]:
    """Returns the size of an enlarged picture: by a factor, or as large as fits into a box.

    Args:
      size: width and height in pixels.
      scale: factor of the enlargement.
      width, height: the box in pixels, instead of the scale; None where it has no limit.

    Raises:
      ValueError: if it is no enlargement, or a larger one than `enlargement.MAX_SCALE`.
    """
    if scale is not None:
        enlargement.chain(scale, [2])  # checks the factor
    limits = [limit / side for limit, side in zip((width, height), size, strict=True) if limit]
    if scale is None and not limits:
        raise ValueError("an enlargement needs a scale, a width or a height")
    factor = scale if scale is not None else min(limits)
    box = " and ".join(f"{word} {n}" for word, n in (("width", width), ("height", height)) if n)
    if limits and factor <= 1:
        raise ValueError(f"a {box} is no enlargement of {size[0]}x{size[1]} pixels")
    if limits and factor > enlargement.MAX_SCALE:
        raise ValueError(
            f"a {box} is {factor:.4g} times {size[0]}x{size[1]} pixels, and "
            f"{enlargement.MAX_SCALE} times is the limit"
        )
    return math.floor(size[0] * factor + 0.5), math.floor(size[1] * factor + 0.5)


def _enlarge(
    picture: Picture,
    size: tuple[int, int],
    networks: Mapping[int, "Network"],
    restored_by: enlargement.Method,
    done: Callable[[int], object] = lambda pixels: None,
) -> Picture:
    """Enlarges all frames of a picture to a size."""
    frames = tuple(
        enlargement.enlarge(frame, size[::-1], networks, restored_by, done)
        for frame in picture.frames
    )
    info = pictures.resized(picture.info, size)
    return dataclasses.replace(picture, frames=frames, info=info)


# --- the command ----------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    runtime.print_any_name()
    logging.lastResort = _LineHandler(logging.WARNING)
    try:
        return _main(upscale_cli.parse(arguments))
    except KeyboardInterrupt:
        return 130


def _main(args: argparse.Namespace) -> int:
    """`main`, when the command line has been read."""
    os.environ.setdefault("JAX_LOGGING_LEVEL", "ERROR")  # no messages about absent accelerators
    try:
        upscale_cli.check(args)
        plan = batch.plan(
            args.pictures,
            args.output,
            upscale_cli.ending(args),
            upscale_cli.suffix(args),
            args.recursive,
        )
        restored_by = enlargement.choose_method(args.overlap, args.self_ensemble)
        networks = _load_named(args)
        tasks = _without_existing(plan.tasks, args)
        runtime.start_alone()
        runtime.check_devices()
    except (ValueError, OSError) as error:
        return _complain(str(error))
    if plan.results:
        names = ", ".join(map(str, plan.results[:3])) + ", ..." * (len(plan.results) > 3)
        _say(f"passed over {len(plan.results)} results of this command: {names}", tasks)
    status = 0
    with _bar(len(tasks), "picture", visible=len(tasks) > 1) as bar:
        for number, task in enumerate(tasks):
            try:
                line = _upscale_file(task, args, networks, restored_by)
                with bar.external_write_mode():
                    _say(line, tasks)
            except (ValueError, OSError) as error:
                status = _complain(f"{task.source or 'standard input'}: {error}")
            except KeyboardInterrupt:
                again = "; --skip_existing goes on with the rest" if number else ""
                _complain(f"stopped: {number} of {len(tasks)} pictures are done{again}")
                return 130
            except Exception as error:  # whatever one picture raises, the others are enlarged
                reason = " ".join(str(error).split())
                status = _complain(f"{task.source}: {type(error).__name__}: {reason}")
            bar.update()
    return status


def _without_existing(tasks: Sequence[batch.Task], args: argparse.Namespace) -> list[batch.Task]:
    """The tasks that are to be done; raises ValueError if one would overwrite a file."""
    existing = batch.existing(tasks)
    if not existing or args.overwrite:
        return list(tasks)
    count = f"{len(existing)} of {len(tasks)} results exist, {existing[0].target} first"
    if len(tasks) == 1:
        count = f"{existing[0].target} exists"
    if not args.skip_existing:
        raise ValueError(f"{count}: add --overwrite or --skip_existing")
    _say(f"{count}: left out", tasks)
    return [task for task in tasks if task not in existing]


def _upscale_file(
    task: batch.Task,
    args: argparse.Namespace,
    named: Mapping[str, Mapping[int, "Network"]],
    restored_by: enlargement.Method,
) -> str:
    """Enlarges one file; returns the line that says so."""
    start = time.perf_counter()
    batch.make_folder(task)
    name = str(task.target or f"standard output{upscale_cli.suffix(args)}")
    if task.source is None:
        picture = pictures.decode(sys.stdin.buffer.read(), "standard input", args.frame)
    else:
        picture = pictures.read(task.source, args.frame)
    size = target_size(picture.size, args.scale, args.width, args.height)
    picture = picture_formats.fit(picture, name, size)
    chosen = choose_network(args.network, picture.jpeg_quality)
    networks = named[chosen]
    scales = enlargement.chain(_factor(picture.size, size), networks)
    pixels = enlargement.count_pixels(picture.size, scales) * len(picture.frames)
    label = _printable(task.source.name) if task.source else "standard input"
    with _bar(pixels, label, visible=pixels > enlargement.BAND_PIXELS) as bar:
        enlarged = _enlarge(picture, size, networks, restored_by, bar.update)
    content = picture_formats.encode(enlarged, name, args.quality)
    if task.target is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        picture_formats.write(content, task.target, args.overwrite)
    sizes = "{}x{} -> {}x{}".format(*picture.size, *size)
    frames = f", {len(picture.frames)} frames" if picture.durations else ""
    seconds = time.perf_counter() - start
    by = _by(args, chosen, picture.size, size, scales)
    hint = _suggest(args, picture.jpeg_quality)
    return f"{name}: {sizes}{frames}, {seconds:.1f} s ({by}){hint}"


def _load_named(args: argparse.Namespace) -> dict[str, Mapping[int, "Network"]]:
    """The networks by what `choose_network` may return; raises ValueError or OSError."""
    from srcnn_jax.weights import pretrained

    if args.weights:
        return {args.network: load_networks(args.weights)}
    both = [pretrained.BEST, pretrained.PHOTO]
    names = both if args.network == AUTO else [args.network]
    return {name: load_networks(None, name) for name in names}


def _suggest(args: argparse.Namespace, jpeg_quality: int | None) -> str:
    """What the line of a JPEG says of the network for photographs, if there is one; else ''."""
    from srcnn_jax.weights import pretrained

    if args.weights or args.network != pretrained.BEST:
        return ""
    if choose_network(AUTO, jpeg_quality) != pretrained.PHOTO:
        return ""
    if not any(card.network == pretrained.PHOTO for card in pretrained.read_cards()):
        return ""
    return f"; its JPEG quality is about {jpeg_quality}: --network photo may be better"


def _factor(before: tuple[int, int], after: tuple[int, int]) -> float:
    return max(after[0] / before[0], after[1] / before[1])


def _by(
    args: argparse.Namespace,
    network: str,
    before: tuple[int, int],
    after: tuple[int, int],
    scales: tuple[int, ...],
) -> str:
    """What enlarged a picture: 'network 915, 9-1-5', or the weight file; and the chain, if any."""
    if args.weights:
        what = args.weights.name
    else:
        from srcnn_jax.weights import pretrained

        card = pretrained.choose(scales[-1], network)
        what = f"network {card.network}, {card.architecture.partition(',')[0]}"
    shrunk = math.prod(scales) * before[0] != after[0] or math.prod(scales) * before[1] != after[1]
    if len(scales) > 1 or shrunk:
        what += ", " + " ".join(f"x{scale}" for scale in scales) + ", shrunk" * shrunk
    return what


def _bar(total: int, what: str, visible: bool) -> Any:
    """A progress bar, which only a terminal sees."""
    from tqdm import tqdm

    form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    hidden = not visible or sys.stderr is None
    # None: hidden unless standard error is a terminal
    return tqdm(total=total, desc=what, bar_format=form, leave=False, disable=hidden or None)


def _say(line: str, tasks: Sequence[batch.Task]) -> None:
    """Prints a line where it is in nobody's way: standard output may be a picture."""
    _print(line, sys.stderr if any(task.target is None for task in tasks) else sys.stdout)


def _complain(what: str) -> int:
    _print(f"srcnn-upscale: {what}", sys.stderr)
    return 1


class _LineHandler(logging.Handler):
    """Prints warnings, which name files and texts of files, as one line each."""

    def emit(self, record: logging.LogRecord) -> None:
        _print(self.format(record), sys.stderr)


def _printable(text: str) -> str:
    """Writes control characters with backslashes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _print(text: str, file: TextIO | None) -> None:
    """Prints one line, also of names with control characters; nobody may be there to read it."""
    try:
        if file is not None:
            print(_printable(text), file=file, flush=True)
    except OSError:  # a closed pipe, or a full disk: Python would complain again at its end
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())  # type: ignore[union-attr]


if __name__ == "__main__":
    sys.exit(main())
