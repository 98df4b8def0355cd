"""The paper's evaluation (`demo_SR.m`): the metrics of every image, and their means."""

import dataclasses
import functools
import os
import pathlib
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from srcnn_jax import colour as colours
from srcnn_jax import config_fields, image, metrics, parallel, paths, workdir
from srcnn_jax import degradation as degradations
from srcnn_jax.datasets import Dataset, dataset_names, load, load_all
from srcnn_jax.degradation import RELEASED, Degradation
from srcnn_jax.predict import predict, predict_self_ensemble, shared_columns
from srcnn_jax.weights import Network

MAX_FILE_NAME = 255  # bytes, on the usual disks


@dataclasses.dataclass(frozen=True)
class TestImage:
    """One image of a test set, cropped to a multiple of the scale.

    Attributes:
      name: name in the data set, usually the file name without its extension.
      luminance: 'ycbcr' or 'gray', the data set's kind of luminance.
      pixels: uint8 (H, W) or (H, W, 3), the original.
      truth: uint8 (H, W), the luminance of the original.
      enlarged: float32 (H, W, C), the input of the network: shrunk and enlarged, on the scale 0..1,
        not clipped.
      bicubic: float32 (H, W, C), the same small image enlarged by bicubic interpolation. It is
        `enlarged`, unless that is a spline.
      small: uint8 (h, w) or (h, w, 3), the small picture, if the degradation makes one of 8 bits;
        else None.
      degradation: how the small image was made and enlarged.
    """

    name: str
    luminance: str
    pixels: np.ndarray
    truth: np.ndarray
    enlarged: np.ndarray
    bicubic: np.ndarray
    small: np.ndarray | None
    degradation: Degradation


def check_config(config: ml_collections.ConfigDict) -> None:
    """Raises ValueError, with the value, if a config does not allow a test.

    It looks at `scale`, `eval` and `data.degradation`.
    """
    config_fields.check_whole_numbers(config)
    if config.scale not in (2, 3, 4):
        raise ValueError(f"scale is 2, 3 or 4, not {config.scale}")
    if not dataset_names(config.eval.datasets):
        raise ValueError("eval.datasets names no test set: 'set5,set14', or a folder of images")
    metrics.by_name(config.eval.metrics)
    degradations.from_config(config)


def check_sizes(dataset: Dataset, scale: int, metric_names: str = "psnr,ssim") -> None:
    """Raises ValueError if an image, cropped and shaved, is too small for one of the metrics."""
    metric = max(metrics.by_name(metric_names), key=metrics.MIN_SIDE.__getitem__)
    for name, pixels in dataset.images:
        left = min(pixels.shape[:2]) // scale * scale - 2 * scale
        if left < metrics.MIN_SIDE[metric]:
            raise ValueError(
                f"image {name!r} of {dataset.name} has {pixels.shape[1]}x{pixels.shape[0]} "
                f"pixels, too few for {metric} at scale {scale}: leave it out"
            )


def check_file_names(
    datasets: Sequence[Dataset], scale: int, methods: Sequence[str] = ("srcnn",)
) -> None:
    """Raises ValueError if the name of an image would be too long for a disk (`_write_images`)."""
    for dataset in datasets:
        for name, _ in dataset.images:
            kind = max(["original", *methods], key=lambda each: len(os.fsencode(each)))
            longest = _file_name(name, scale, kind)
            if len(os.fsencode(longest)) > MAX_FILE_NAME:
                raise ValueError(
                    f"image {name!r} of {dataset.name} cannot be saved as {longest!r}, which has "
                    f"more than {MAX_FILE_NAME} bytes: leave --save_images out, or rename it"
                )


def create_test_images(
    dataset: Dataset, scale: int, colour: str, degradation: Degradation = RELEASED
) -> list[TestImage]:
    """Prepares a test set for networks of this colour ('y', 'ycbcr' or 'rgb').

    What a degradation draws is a function of the image's name. So every network gets the same
    small images.
    """
    images = []
    for name, original in dataset.images:
        pixels = image.modcrop(original, scale)
        small = None
        if degradation.is_drawn:
            picture, random = pixels / np.float32(255), degradations.create_random(0, name)
            small = degradations.damage(picture, scale, degradation, random)
            planes = colours.to_planes(small / 255.0, colour, dataset.luminance)  # (h, w, C)
        else:
            planes = colours.to_planes(pixels, colour, dataset.luminance)
            planes = planes.astype(np.float32) / np.float32(255)  # (H, W, C)
            planes = degradations.shrink(planes, scale, degradation)
        enlarged = degradations.enlarge(planes, scale, degradation).astype(np.float32)
        bicubic = enlarged
        if degradation.enlarge != "bicubic":
            bicubic = image.imresize(planes, scale).astype(np.float32)
        images.append(
            TestImage(
                name=name,
                luminance=dataset.luminance,
                pixels=pixels,
                truth=image.luminance(pixels, dataset.luminance),
                enlarged=enlarged,
                bicubic=bicubic,
                small=small,
                degradation=degradation,
            )
        )
    return images


def to_luminance(planes: np.ndarray, colour: str, luminance: str) -> np.ndarray:
    """Converts a network's float (H, W, C) to the uint8 (H, W) luminance that is scored."""
    if colour == "y" or (colour == "ycbcr" and luminance == "ycbcr"):
        return metrics.quantise(planes[..., 0])
    rgb = planes if colour == "rgb" else image.ycbcr2rgb(planes)
    return image.luminance(metrics.quantise(rgb), luminance)


def score(
    truth: np.ndarray,
    outputs: Mapping[str, np.ndarray],
    scale: int,
    chosen: Mapping[str, metrics.Metric],
) -> dict[str, dict[str, float]]:
    """Returns the metrics of several outputs for one image, by the names of the outputs.

    Args:
      truth: uint8 (H, W).
      outputs: uint8 (H, W) by name.
      scale: number of pixels that are shaved off every side.
      chosen: as `metrics.by_name` returns them.
    """
    reference = metrics.Plane(image.shave(truth, scale))
    planes = {name: metrics.Plane(image.shave(output, scale)) for name, output in outputs.items()}
    return {
        name: {metric: compute(reference, plane) for metric, compute in chosen.items()}
        for name, plane in planes.items()
    }


def restore(network: Network, images: Sequence[TestImage]) -> Iterator[np.ndarray]:
    """Yields the luminance that a network restores of each image of a test set, uint8 (H, W)."""
    columns = shared_columns(test.enlarged.shape[1] for test in images)
    for test in images:
        planes = predict(network, test.enlarged, tile_columns=columns)
        yield to_luminance(planes, network.colour, test.luminance)


def mean_psnr(network: Network, images: Sequence[TestImage], borders: Sequence[int]) -> list[float]:
    """Mean PSNR in dB over a test set, measured on the validation set during training.

    Args:
      network: the network.
      images: test images from `create_test_images`.
      borders: numbers of pixels to shave off every side. A small image loses fewer pixels, so that
        at least one is left.

    Returns:
      One mean for each border.
    """
    rows = []
    for test, output in zip(images, restore(network, images), strict=True):
        most = (min(output.shape) - 1) // 2
        rows.append(
            [
                metrics.psnr(image.shave(test.truth, border), image.shave(output, border))
                for border in np.minimum(borders, most)
            ]
        )
    return np.mean(rows, axis=0).tolist()


def mean_bicubic_psnr(images: Sequence[TestImage], scale: int, colour: str) -> float:
    """Mean PSNR in dB of bicubic interpolation over a test set, as `mean_psnr` of a network."""
    outputs = [to_luminance(test.bicubic, colour, test.luminance) for test in images]
    return statistics.mean(
        metrics.psnr(image.shave(test.truth, scale), image.shave(output, scale))
        for test, output in zip(images, outputs, strict=True)
    )


def run(
    config: ml_collections.ConfigDict,
    folder: str,
    networks: Mapping[str, Network],
    *,
    outputs: str | None = None,
    data_dir: str | None = None,
    allow_sample: bool = True,
    save_images: bool = False,
    save_pairs: bool = False,
    self_ensemble: bool = False,
) -> dict[str, Any]:
    """Scores networks, or the images of another program, on the test sets of a config.

    Args:
      config: as `configs/default.py`; `scale`, `eval` and `data.degradation` are used.
      folder: folder for `eval.json` and the images; it is made if it does not exist.
      networks: the networks by the names that the result has; {} to score `outputs`.
      outputs: `folder` of `evaluate_outputs`.
      data_dir, allow_sample: as `datasets.load_all`.
      save_images: whether the enlarged test images are also written, into `images`.
      save_pairs: whether images for other programs' metrics are written, into `pairs`
        (`_write_pairs`).
      self_ensemble: as `evaluate_all`.

    Returns:
      The result of `evaluate_all` or `evaluate_outputs`, which is also in `eval.json`.

    Raises:
      ValueError, FileNotFoundError, OSError: a mistake that the user can correct, in one line.
    """
    check_config(config)
    path = paths.folder(folder, "the folder")
    if (path / "config.json").exists():
        raise ValueError(f"{folder} is the workdir of a training: name another --workdir")
    workdir.check_no_runs_within(path)
    _, tests = load_all(
        None,
        dataset_names(config.eval.datasets),
        data_dir=data_dir,
        allow_sample=allow_sample,
    )
    if save_images:
        check_file_names(tests, config.scale, list(networks))
    how = {
        "metric_names": config.eval.metrics,
        "degradation": degradations.from_config(config),
        "pairs_dir": path / "pairs" if save_pairs else None,
    }
    if networks:
        images = path / "images" if save_images else None
        result = evaluate_all(
            networks, tests, config.scale, images_dir=images, self_ensemble=self_ensemble, **how
        )
    else:
        assert outputs is not None
        result = evaluate_outputs(outputs, tests, config.scale, **how)
    path.mkdir(parents=True, exist_ok=True)
    workdir.write_json(path / "eval.json", result)
    return result


def evaluate(
    network: Network,
    datasets: Sequence[Dataset],
    scale: int,
    images_dir: pathlib.Path | None = None,
    metric_names: str = "psnr,ssim",
    self_ensemble: bool = False,
    degradation: Degradation = RELEASED,
) -> dict[str, Any]:
    """`evaluate_all` for one network, which the result calls 'srcnn'."""
    return evaluate_all(
        {"srcnn": network},
        datasets,
        scale,
        images_dir=images_dir,
        metric_names=metric_names,
        self_ensemble=self_ensemble,
        degradation=degradation,
    )


def evaluate_all(
    networks: Mapping[str, Network],
    datasets: Sequence[Dataset],
    scale: int,
    *,
    images_dir: pathlib.Path | None = None,
    metric_names: str = "psnr,ssim",
    self_ensemble: bool = False,
    degradation: Degradation = RELEASED,
    pairs_dir: pathlib.Path | None = None,
) -> dict[str, Any]:
    """Scores networks and bicubic interpolation on test sets.

    Args:
      networks: the networks by the names that the result has.
      datasets: test sets.
      scale: factor of the enlargement.
      images_dir: folder for the enlarged images as PNG; None to write no images.
      metric_names: as `metrics.by_name`.
      self_ensemble: whether an image is restored by `predict_self_ensemble`.
      degradation: how the small images are made and enlarged.
      pairs_dir: folder for images for other programs' metrics; None to write none.

    Returns:
      {'scale', 'self_ensemble', 'protocol', 'networks': {name: {'scale', 'colour', 'degradation'}},
      'datasets': {name: {'source', 'fingerprint', 'colour', 'images': [{'name', 'bicubic':
      {'psnr', 'ssim'}, 'srcnn': {...}}, ...], 'mean': {'bicubic': {...}, 'srcnn': {...}}}}}, with
      the metrics of `metric_names`, and the names of the networks for 'srcnn'. 'protocol' is that
      of `create_protocol`. The colour of a test set is `TestImage.luminance`.

    Raises:
      ValueError: if a metric is unknown, or an image is too small for one.
    """
    restored = predict_self_ensemble if self_ensemble else predict
    folders = folder_names(datasets)
    columns = shared_columns(
        pixels.shape[1] // scale * scale for dataset in datasets for _, pixels in dataset.images
    )

    def restore_by(method: str, dataset: Dataset, test: TestImage) -> np.ndarray:
        network = networks[method]
        planes = restored(network, test.enlarged, tile_columns=columns)
        luminance = to_luminance(planes, network.colour, test.luminance)
        if images_dir or pairs_dir:
            shown = pictures(test, planes, network.colour, scale, method)
            if images_dir:
                _write_images(images_dir / folders[dataset.name], test.name, shown, scale)
            if pairs_dir:
                bicubic = to_luminance(test.bicubic, network.colour, test.luminance)
                grey = {"original": test.truth, "bicubic": bicubic, method: luminance}
                _write_pairs(pairs_dir / folders[dataset.name], test.name, shown, grey, scale)
        return luminance

    methods = {
        name: (network.colour, functools.partial(restore_by, name))
        for name, network in networks.items()
    }
    trained = {
        name: {
            "scale": network.scale,
            "colour": network.colour,
            "degradation": network.degradation.to_fields(),
        }
        for name, network in networks.items()
    }
    return {
        "scale": scale,
        "self_ensemble": self_ensemble,
        "protocol": create_protocol(scale, degradation),
        "networks": trained,
        **_score_all(datasets, scale, methods, metric_names, degradation),
    }


def create_protocol(scale: int, degradation: Degradation) -> dict[str, Any]:
    """Returns what has to be equal for two results to compare, besides data and colour.

    Returns:
      {'degradation': fields of `Degradation`, 'crop': pixels, of which the sides of an image are
      made a multiple, 'border': pixels shaved off every side before a metric, 'peak': the value of
      white}.
    """
    return {
        "degradation": degradation.to_fields(),
        "crop": scale,
        "border": scale,
        "peak": 255,
    }


def network_names(files: Sequence[str]) -> dict[str, str]:
    """Returns what a result calls each weight file or workdir.

    One alone is 'srcnn'. Several have the last parts of their paths that tell them apart, without
    the suffix.

    Raises:
      ValueError: if a file is there twice.
    """
    if len(files) == 1:
        return {files[0]: "srcnn"}
    resolved = {file: pathlib.Path(file).resolve() for file in files}
    parts = {
        file: (path.with_suffix("") if path.is_file() else path).parts
        for file, path in resolved.items()
    }
    for depth in range(1, max(map(len, parts.values()), default=0) + 1):
        names = {file: "_".join(found[-depth:]) for file, found in parts.items()}
        taken = {"name", "bicubic", "original"} & set(names.values())
        if len(set(names.values())) == len(files) and not taken:
            return names
    if files:
        raise ValueError(f"--weights {', '.join(files)}: name each file once")
    return {}


def folder_names(datasets: Sequence[Dataset]) -> dict[str, str]:
    """Returns the name of the sub-folder for the images of each test set, by the set's name.

    It is the last part of the set's name or path. Where two are equal, as for Set5/HR and Set14/HR,
    it has as many of the last parts as tell all sets apart: 'Set5_HR'.
    """
    parts = {each.name: pathlib.Path(each.name).resolve().parts for each in datasets}
    for depth in range(1, max(map(len, parts.values()))):
        names = {name: "_".join(found[-depth:]) for name, found in parts.items()}
        if len(set(names.values())) == len(parts):
            return names
    raise ValueError(f"test sets {', '.join(parts)} are the same folder")


def evaluate_outputs(
    folder: str,
    datasets: Sequence[Dataset],
    scale: int,
    metric_names: str = "psnr,ssim",
    degradation: Degradation = RELEASED,
    pairs_dir: pathlib.Path | None = None,
) -> dict[str, Any]:
    """Scores images that another program made, by the same protocol.

    Args:
      folder: a folder with one image for every test image. The image has the same name, or that
        name as `evaluate_all` saves it, 'NAME_x3_srcnn', and the size of the original cropped to a
        multiple of `scale`. The images of a test set may be in a sub-folder (`folder_names`).
      datasets, scale, metric_names, pairs_dir: as `evaluate_all`.
      degradation: how the small images are made that the program was given.

    Returns:
      As `evaluate_all`, with 'outputs' in place of 'srcnn', and without 'networks'.

    Raises:
      FileNotFoundError: if an image is missing.
      ValueError: if an image has another size, and as `evaluate_all`.
    """

    def read(dataset: Dataset, test: TestImage) -> np.ndarray:
        if dataset.name not in outputs:
            own = place / folders[dataset.name]
            found = own if own.is_dir() else place
            outputs[dataset.name] = dict(load(str(found.absolute())).images)
        names = test.name, f"{test.name}_x{scale}_srcnn"
        pixels = next((outputs[dataset.name][n] for n in names if n in outputs[dataset.name]), None)
        if pixels is None:
            raise FileNotFoundError(
                f"{folder} has no output for {test.name!r} of {dataset.name}: neither "
                f"{' nor '.join(map(repr, names))}, with the suffix of an image"
            )
        if pixels.shape[:2] != test.truth.shape:
            raise ValueError(
                f"the output for {test.name!r} of {dataset.name} has {pixels.shape[1]}x"
                f"{pixels.shape[0]} pixels, not {test.truth.shape[1]}x{test.truth.shape[0]}"
            )
        luminance = image.luminance(pixels, test.luminance)
        if pairs_dir:
            ours = pictures(test, test.bicubic, "y", scale, "bicubic")
            bicubic = to_luminance(test.bicubic, "y", test.luminance)
            grey = {"original": test.truth, "bicubic": bicubic, "outputs": luminance}
            shown = {**ours, "outputs": pixels}
            _write_pairs(pairs_dir / folders[dataset.name], test.name, shown, grey, scale)
        return luminance

    place = paths.local(folder, "the folder of outputs")
    folders = folder_names(datasets)
    outputs: dict[str, dict[str, np.ndarray]] = {}
    scores = _score_all(datasets, scale, {"outputs": ("y", read)}, metric_names, degradation)
    return {"scale": scale, "protocol": create_protocol(scale, degradation), **scores}


def _score_all(
    datasets: Sequence[Dataset],
    scale: int,
    methods: Mapping[str, tuple[str, Callable[[Dataset, TestImage], np.ndarray]]],
    metric_names: str,
    degradation: Degradation,
) -> dict[str, Any]:
    """Scores bicubic and some methods.

    A method has a colour, that of the test images it needs, and a function that returns uint8
    luminance. Bicubic is that of the first method's colour. A thread for each core computes
    metrics, while the next images are restored.
    """
    chosen = metrics.by_name(metric_names)

    def outputs_of(dataset: Dataset) -> Iterator[tuple[TestImage, dict[str, np.ndarray]]]:
        tests = {
            colour: create_test_images(dataset, scale, colour, degradation)
            for colour in dict.fromkeys(colour for colour, _ in methods.values())
        }
        first, *_ = tests
        for index, test in enumerate(tests[first]):
            outputs = {"bicubic": to_luminance(test.bicubic, first, test.luminance)}
            for method, (colour, restore) in methods.items():
                outputs[method] = restore(dataset, tests[colour][index])
            yield test, outputs

    def score_image(task: tuple[TestImage, dict[str, np.ndarray]]) -> dict[str, Any]:
        test, outputs = task
        try:
            return {"name": test.name, **score(test.truth, outputs, scale, chosen)}
        except Exception as error:
            error.add_note(f"in the metrics of image {test.name!r}")
            raise

    for dataset in datasets:
        check_sizes(dataset, scale, metric_names)
    results = {}
    for dataset in datasets:
        rows = list(parallel.map_in_threads(score_image, outputs_of(dataset)))
        results[dataset.name] = {
            "source": dataset.source,
            "fingerprint": dataset.fingerprint,
            "colour": dataset.luminance,
            "images": rows,
            "mean": {
                kind: {
                    metric: float(np.mean([row[kind][metric] for row in rows])) for metric in chosen
                }
                for kind in rows[0]
                if kind != "name"
            },
        }
    return {"datasets": results}


def pictures(
    test: TestImage, planes: np.ndarray, colour: str, scale: int, method: str = "srcnn"
) -> dict[str, np.ndarray]:
    """Returns a test image as pictures, in colour if the original is in colour.

    Args:
      test: the image.
      planes: float (H, W, C), a network's output for `test.enlarged`.
      colour: colour of the network: 'y', 'ycbcr' or 'rgb'.
      scale: factor of the enlargement.
      method: what the network's picture is called.

    Returns:
      {'original', 'bicubic', method}, each uint8 (H, W) or RGB (H, W, 3).
    """
    is_grey = test.pixels.ndim == 2
    interpolated = test.enlarged
    if colour == "y" and not is_grey:  # the network restores luminance only
        how = test.degradation
        if test.small is not None:
            small = image.rgb2ycbcr(test.small / 255.0)
        else:
            small = degradations.shrink(image.rgb2ycbcr(test.pixels / 255.0), scale, how)
        interpolated = degradations.enlarge(small, scale, how)

    def show(result: np.ndarray) -> np.ndarray:
        if colour == "y" and is_grey:
            return image.to_uint8(result[..., 0])
        if colour == "y" and test.luminance == "gray":
            result = (16.0 + 219.0 * result) / 255.0  # from full range to Y in 16..235
        return image.to_uint8(colours.to_rgb(result, colour, interpolated))

    return {"original": test.pixels, "bicubic": show(test.bicubic), method: show(planes)}


def _write_images(
    folder: pathlib.Path, name: str, shown: Mapping[str, np.ndarray], scale: int
) -> None:
    """Writes the `pictures` of a test image as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, pixels in shown.items():
        _write_png(folder / _file_name(name, scale, kind), pixels)


def _write_pairs(
    folder: pathlib.Path,
    name: str,
    shown: Mapping[str, np.ndarray],
    luminance: Mapping[str, np.ndarray],
    scale: int,
) -> None:
    """Writes a test image for programs that compare two folders of images, as pyiqa does.

    The files are KIND/NAME.png, in colour, and KIND_y/NAME.png, the luminance that our metrics
    compare. All have the border shaved off, and those of an image have one size and one mode. The
    colour of an image is left out where its mode differs, as of grey outputs for a colour image.

    Args:
      folder: the folder.
      name: name of the image.
      shown: uint8 pictures by kind, as `pictures`.
      luminance: uint8 (H, W) by kind.
      scale: pixels that are shaved off.
    """
    grey = {f"{kind}_y": pixels for kind, pixels in luminance.items()}
    if len({pixels.ndim for pixels in shown.values()}) > 1:
        shown = {}
    for kind, pixels in {**shown, **grey}.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        _write_png(folder / kind / f"{name}.png", image.shave(pixels, scale))


def _write_png(path: pathlib.Path, pixels: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(np.ascontiguousarray(pixels)).save(path)


def _file_name(name: str, scale: int, kind: str) -> str:
    """Returns the file name of one of `pictures`."""
    return f"{name}_x{scale}_{kind}.png"
