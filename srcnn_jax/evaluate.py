"""The paper's evaluation (`demo_SR.m`): metrics of every image, and their means."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from srcnn_jax import image, metrics
from srcnn_jax.datasets import Dataset, dataset_names
from srcnn_jax.input_pipeline import degrade, to_planes
from srcnn_jax.predict import predict
from srcnn_jax.weights import Network


@dataclasses.dataclass(frozen=True)
class TestImage:
    """One image of a test set, cut to a multiple of the scale.

    Attributes:
      name: file name without its extension.
      luminance: 'ycbcr' or 'gray', as the data set says.
      pixels: uint8 (H, W) or (H, W, 3), the original.
      truth: uint8 (H, W), its luminance.
      enlarged: float32 (H, W, C) in 0..1: what the network is given.
    """

    name: str
    luminance: str
    pixels: np.ndarray
    truth: np.ndarray
    enlarged: np.ndarray


def check_config(config: ml_collections.ConfigDict) -> None:
    """Raises ValueError, naming the value, if a config's scale or `eval` cannot be tested by."""
    if config.scale not in (2, 3, 4):
        raise ValueError(f"scale is 2, 3 or 4, not {config.scale}")
    if not dataset_names(config.eval.datasets):
        raise ValueError("eval.datasets names no test set: 'set5,set14', or a folder of images")
    metrics.by_name(config.eval.metrics)


def check_sizes(dataset: Dataset, scale: int, metric_names: str = "psnr,ssim") -> None:
    """Raises ValueError if an image, cut and shaved, is too small for one of the metrics."""
    metric = max(metrics.by_name(metric_names), key=metrics.MIN_SIDE.__getitem__)
    for name, pixels in dataset.images:
        left = min(pixels.shape[:2]) // scale * scale - 2 * scale
        if left < metrics.MIN_SIDE[metric]:
            raise ValueError(
                f"image {name!r} of {dataset.name} has {pixels.shape[1]}x{pixels.shape[0]} "
                f"pixels, too few for {metric} at scale {scale}: leave it out"
            )


def create_test_images(dataset: Dataset, scale: int, colour: str) -> list[TestImage]:
    """Prepares a test set for networks of a colour ('y', 'ycbcr' or 'rgb')."""
    images = []
    for name, original in dataset.images:
        pixels = image.modcrop(original, scale)
        planes = to_planes(pixels, colour, dataset.luminance).astype(np.float32) / np.float32(255)
        images.append(
            TestImage(
                name=name,
                luminance=dataset.luminance,
                pixels=pixels,
                truth=image.luminance(pixels, dataset.luminance),
                enlarged=degrade(planes, scale),
            )
        )
    return images


def to_luminance(planes: np.ndarray, colour: str, luminance: str) -> np.ndarray:
    """Float (H, W, C) of a network to the uint8 (H, W) that is scored."""
    if colour == "y" or (colour == "ycbcr" and luminance == "ycbcr"):
        return image.to_uint8(planes[..., 0])
    rgb = planes if colour == "rgb" else image.ycbcr2rgb(planes)
    return image.luminance(image.to_uint8(rgb), luminance)


def score(
    truth: np.ndarray, output: np.ndarray, scale: int, chosen: Mapping[str, metrics.Metric]
) -> dict[str, float]:
    """Metrics of uint8 (H, W) images, `scale` pixels shaved off every side."""
    truth, output = image.shave(truth, scale), image.shave(output, scale)
    return {name: metric(truth, output) for name, metric in chosen.items()}


def mean_psnr(weights: Network, images: Sequence[TestImage], borders: Sequence[int]) -> list[float]:
    """Mean PSNR in dB over a test set: what a training run watches.

    Args:
      weights: the network.
      images: of `create_test_images`.
      borders: numbers of pixels to shave off every side; less where nothing would be left.

    Returns:
      One mean for each border.
    """
    rows = []
    for test in images:
        output = to_luminance(predict(weights, test.enlarged), weights.colour, test.luminance)
        most = (min(output.shape) - 1) // 2
        rows.append(
            [
                metrics.psnr(image.shave(test.truth, border), image.shave(output, border))
                for border in np.minimum(borders, most)
            ]
        )
    return np.mean(rows, axis=0).tolist()


def evaluate(
    weights: Network,
    datasets: Sequence[Dataset],
    scale: int,
    images_dir: pathlib.Path | None = None,
    metric_names: str = "psnr,ssim",
) -> dict[str, Any]:
    """Scores a network and bicubic interpolation on test sets.

    Args:
      weights: the network.
      datasets: test sets.
      scale: factor of the enlargement.
      images_dir: where to write the enlarged images as PNG, if anywhere.
      metric_names: as `metrics.by_name`.

    Returns:
      {'scale': ..., 'datasets': {name: {'source', 'fingerprint', 'images': [{'name', 'bicubic':
      {'psnr', 'ssim'}, 'srcnn': {...}}, ...], 'mean': {'bicubic': {...}, 'srcnn': {...}}}}}.

    Raises:
      ValueError: if a metric is unknown, or an image is too small for one.
    """

    def restore(dataset: Dataset, test: TestImage) -> tuple[str, np.ndarray]:
        planes = predict(weights, test.enlarged)
        if images_dir:
            _write_images(
                images_dir / pathlib.Path(dataset.name).resolve().name,
                test,
                planes,
                weights.colour,
                scale,
            )
        return "srcnn", to_luminance(planes, weights.colour, test.luminance)

    return _score_all(datasets, scale, weights.colour, restore, metric_names)


def evaluate_outputs(
    folder: str, datasets: Sequence[Dataset], scale: int, metric_names: str = "psnr,ssim"
) -> dict[str, Any]:
    """Scores images that another program made, by the same protocol.

    Args:
      folder: holds one image for every test image, of the same name and of the size of the
        original cut to a multiple of `scale`; directly, or in a sub-folder of the name of the set
        or of its folder.
      datasets, scale, metric_names: as `evaluate`.

    Returns:
      As `evaluate`, with 'outputs' in place of 'srcnn'.

    Raises:
      FileNotFoundError: if an image is missing.
      ValueError: if an image has another size, or as `evaluate`.
    """
    from srcnn_jax.datasets import load

    def read(dataset: Dataset, test: TestImage) -> tuple[str, np.ndarray]:
        if dataset.name not in outputs:
            own = pathlib.Path(folder, pathlib.Path(dataset.name).resolve().name)
            place = own if own.is_dir() else pathlib.Path(folder)
            outputs[dataset.name] = dict(load(str(place.absolute())).images)
        pixels = outputs[dataset.name].get(test.name)
        if pixels is None:
            raise FileNotFoundError(f"{folder} has no output for {test.name!r} of {dataset.name}")
        if pixels.shape[:2] != test.truth.shape:
            raise ValueError(
                f"the output for {test.name!r} of {dataset.name} has {pixels.shape[1]}x"
                f"{pixels.shape[0]} pixels, not {test.truth.shape[1]}x{test.truth.shape[0]}"
            )
        return "outputs", image.luminance(pixels, test.luminance)

    outputs: dict[str, dict[str, np.ndarray]] = {}
    return _score_all(datasets, scale, "y", read, metric_names)


def _score_all(
    datasets: Sequence[Dataset],
    scale: int,
    colour: str,
    restore: Callable[[Dataset, TestImage], tuple[str, np.ndarray]],
    metric_names: str,
) -> dict[str, Any]:
    """Rows and means of bicubic and of one method; restore gives its name and uint8 luminance."""
    chosen = metrics.by_name(metric_names)
    for dataset in datasets:
        check_sizes(dataset, scale, metric_names)
    results = {}
    for dataset in datasets:
        rows: list[dict[str, Any]] = []
        for test in create_test_images(dataset, scale, colour):
            bicubic = to_luminance(test.enlarged, colour, test.luminance)
            method, output = restore(dataset, test)
            rows.append(
                {
                    "name": test.name,
                    "bicubic": score(test.truth, bicubic, scale, chosen),
                    method: score(test.truth, output, scale, chosen),
                }
            )
        results[dataset.name] = {
            "source": dataset.source,
            "fingerprint": dataset.fingerprint,
            "images": rows,
            "mean": {
                kind: {
                    metric: float(np.mean([row[kind][metric] for row in rows])) for metric in chosen
                }
                for kind in rows[0]
                if kind != "name"
            },
        }
    return {"scale": scale, "datasets": results}


def pictures(test: TestImage, planes: np.ndarray, colour: str, scale: int) -> dict[str, np.ndarray]:
    """A test image to look at, in colour where the original is.

    Args:
      test: the image.
      planes: float (H, W, C), what a network made of `test.enlarged`.
      colour: of the network: 'y', 'ycbcr' or 'rgb'.
      scale: factor of the enlargement.

    Returns:
      uint8 (H, W) or (H, W, 3) by 'original', 'bicubic' and 'srcnn'.
    """

    def show(result: np.ndarray) -> np.ndarray:
        if colour == "rgb":
            return image.to_uint8(result)
        if colour == "ycbcr":
            return image.to_uint8(image.ycbcr2rgb(result))
        if test.pixels.ndim == 2:
            return image.to_uint8(result[..., 0])
        # the network restores luminance only; chroma is bicubic
        ycbcr = degrade(image.rgb2ycbcr(test.pixels / 255.0), scale)
        grey = test.luminance == "gray"  # full range, Y is 16 to 235
        ycbcr[..., 0] = (16.0 + 219.0 * result[..., 0]) / 255.0 if grey else result[..., 0]
        return image.to_uint8(image.ycbcr2rgb(ycbcr))

    return {"original": test.pixels, "bicubic": show(test.enlarged), "srcnn": show(planes)}


def _write_images(
    folder: pathlib.Path, test: TestImage, planes: np.ndarray, colour: str, scale: int
) -> None:
    """PNG files of the pictures of a test image."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for kind, pixels in pictures(test, planes, colour, scale).items():
        Image.fromarray(pixels).save(folder / f"{test.name}_x{scale}_{kind}.png")
