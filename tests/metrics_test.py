"""The metrics by hand, by slow references, and against the paper's bicubic and 9-5-5 rows."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import skimage.data

from srcnn_jax import datasets, evaluate, image, metrics, paper, weights
from srcnn_jax.predict import predict


@pytest.fixture(scope="module")
def cat() -> np.ndarray:
    """uint8 (200, 240): the luminance of a photograph."""
    return image.rgb2ycbcr(skimage.data.cat())[20:220, 100:340, 0]


def noisy(pixels: np.ndarray, deviation: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, deviation, pixels.shape)
    return image.to_uint8((pixels + noise) / 255)


def test_psnr_by_hand():
    a, b = np.zeros((2, 2), np.uint8), np.array([[0, 0], [0, 10]], np.uint8)
    assert metrics.psnr(a, b) == pytest.approx(10 * np.log10(255**2 / 25))
    assert metrics.psnr(a, a) == float("inf")
    assert metrics.psnr(a / 255.0, b / 255.0, peak=1.0) == pytest.approx(metrics.psnr(a, b))


def test_nothing_is_broadcast():
    with pytest.raises(ValueError, match=r"\(4, 4\) and \(4, 1\)"):
        metrics.psnr(np.zeros((4, 4)), np.zeros((4, 1)))
    with pytest.raises(ValueError, match="shapes"):
        metrics.ssim(np.zeros((16, 16)), np.zeros((16, 1)))


def test_ssim_is_ssim_index_m():
    """Wang et al.'s code in NumPy: fspecial('gaussian', 11, 1.5), 'valid' filtering."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (24, 31)).astype(np.uint8)
    b = np.clip(a + rng.normal(0, 20, a.shape), 0, 255).astype(np.uint8)
    x = np.arange(-5, 6)
    window = np.exp(-(x[:, None] ** 2 + x**2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(image):
        return scipy.ndimage.correlate(image, window)[5:-5, 5:-5]

    p, q = a.astype(np.float64), b.astype(np.float64)
    mp, mq = mean(p), mean(q)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    variances = mean(p * p) - mp**2 + mean(q * q) - mq**2
    expected = np.mean(
        (2 * mp * mq + c1)
        * (2 * (mean(p * q) - mp * mq) + c2)
        / ((mp**2 + mq**2 + c1) * (variances + c2))
    )
    assert metrics.ssim(a, b) == pytest.approx(expected, abs=1e-10)
    assert metrics.ssim(a, a) == 1.0


def test_equal_images(cat):
    values = {name: metric(cat, cat) for name, metric in metrics.METRICS.items()}
    for name in ("psnr", "nqm", "wpsnr"):
        assert values[name] == float("inf")
    assert values["ssim"] == values["msssim"] == pytest.approx(1.0)
    assert metrics.ifc(cat, noisy(cat, 1)) < values["ifc"] < float("inf")


@pytest.mark.parametrize("name", metrics.METRICS)
def test_more_noise_is_worse(cat, name):
    values = [metrics.METRICS[name](cat, noisy(cat, deviation)) for deviation in (2, 5, 10, 20, 40)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("name", metrics.METRICS)
def test_the_peak_is_a_unit(cat, name):
    metric, other = metrics.METRICS[name], noisy(cat, 5)
    assert metric(cat / 255, other / 255, peak=1.0) == pytest.approx(metric(cat, other), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "bicubic", "noise"),
    [
        ("psnr", 28.76807, 28.12117),
        ("ssim", 0.68016, 0.71974),
        ("msssim", 0.91626, 0.95656),
        ("ifc", 2.08788, 3.11823),
        ("nqm", 13.75764, 18.20966),
        ("wpsnr", 38.87024, 43.39547),
    ],
)
def test_golden_values(cat, name, bicubic, noise):
    enlarged = image.imresize(image.imresize(cat / 255, 1 / 4), 4)
    metric = metrics.METRICS[name]
    assert metric(cat, image.to_uint8(enlarged)) == pytest.approx(bicubic, abs=1e-5)
    assert metric(cat, noisy(cat, 10)) == pytest.approx(noise, abs=1e-5)


def test_msssim_step_by_step(cat):
    """In two dimensions, with the formulas of the paper, over the windows inside the image."""
    x = np.arange(-5, 6)
    window = np.exp(-(x[:, None] ** 2 + x**2) / (2 * 1.5**2))
    window /= window.sum()
    half = [0.03782845550726, -0.02384946501956, -0.11062440441844, 0.37740285561283]
    lowpass = np.array([*half, 0.85269867900889, *half[::-1]])
    lowpass = np.outer(lowpass, lowpass) / lowpass.sum() ** 2

    def mean(plane):
        return scipy.signal.convolve2d(plane, window, "valid")

    p, q = cat.astype(np.float64), noisy(cat, 10).astype(np.float64)
    expected = 1.0
    c1, c2 = 6.5025, 58.5225
    for exponent in (0.0448, 0.2856, 0.3001, 0.2363, 0.1333):
        mp, mq = mean(p), mean(q)
        sp, sq = np.sqrt(mean(p * p) - mp**2), np.sqrt(mean(q * q) - mq**2)
        contrast = np.mean((2 * sp * sq + c2) / (sp**2 + sq**2 + c2))
        structure = np.mean((mean(p * q) - mp * mq + c2 / 2) / (sp * sq + c2 / 2))
        expected *= (contrast * structure) ** exponent
        luminance = np.mean((2 * mp * mq + c1) / (mp**2 + mq**2 + c1))
        p, q = (
            scipy.signal.convolve2d(np.pad(plane, 4, "symmetric"), lowpass, "valid")[::2, ::2]
            for plane in (p, q)
        )
    expected *= luminance**0.1333
    assert metrics.msssim(cat, noisy(cat, 10)) == pytest.approx(expected, abs=1e-10)
    assert metrics.msssim(cat, 255 - cat) == 0


def test_nqm_of_a_grating_by_hand():
    """One frequency, 8 cycles per image, is in the third band alone."""
    angle = 180 / np.pi / 3.5
    wave = np.cos(2 * np.pi * 8 * np.arange(64) / 64) * np.ones((64, 1))
    reference, other = 128 + 60 * wave, 128 + 20 * wave

    def threshold(frequency):
        f = 0.114 * frequency
        return 1 / (520 * (0.0192 + f) * np.exp(-(f**1.1)))

    p, q = 60 * wave, 20 * wave
    masked = np.abs(q - p) / 128 < 0.86 * p / 128 - 0.56 * threshold(3)
    assert 0 < masked.sum() < masked.size
    q = np.where(masked, p, q)
    p = np.where(np.abs(60 * wave / 128) < threshold(8 / angle), 0, p)
    q = np.where(np.abs(20 * wave / 128) < threshold(8 / angle), 0, q)
    expected = 10 * np.log10(np.sum(p**2) / np.sum((p - q) ** 2))
    assert metrics.nqm(reference, other) == pytest.approx(expected, abs=1e-6)


def test_wpsnr_of_one_wrong_pixel_by_hand():
    """The power of the filter's taps is that of its response, summed frequency by frequency."""
    power = 0.0
    for u in range(-20, 21):
        for v in range(-20, 21):
            w = 2 * np.pi * np.hypot(u, v) / 60
            sensitivity = 1.5 * np.exp(-4 * w**2 / 2) - np.exp(-2 * 4 * w**2 / 2)
            fine = np.exp(8 * (w - 2 * np.pi * 11.13 / 60))
            oblique = np.cos(2 * np.arctan2(v, u)) ** 4
            power += (sensitivity * (1 + fine * oblique) / (1 + fine)) ** 2
    reference = np.full((101, 81), 100)
    other = reference.copy()
    other[50, 40] += 30
    expected = 10 * np.log10(255**2 * reference.size / (30**2 * power / 41**2))
    assert metrics.wpsnr(reference, other) == pytest.approx(expected, abs=1e-9)


def test_ifc_of_images_that_hold_nothing(cat):
    flat = np.full_like(cat, 90)
    assert metrics.ifc(flat, cat) == 0
    assert metrics.ifc(cat, flat) == 0
    assert metrics.ifc(cat, 255 - cat) == pytest.approx(0, abs=1e-6)  # the gain is negative


def test_ifc_is_of_changes_only(cat):
    cat = cat // 2
    other = noisy(cat, 5)
    assert metrics.ifc(cat + 50, other) == pytest.approx(metrics.ifc(cat, other), abs=1e-4)


@pytest.mark.parametrize("name", metrics.METRICS)
def test_images_that_cannot_be_compared(name):
    metric, least = metrics.METRICS[name], metrics.MIN_SIDE[name]
    with pytest.raises(ValueError, match=r"\(200, 200\) and \(200, 1\)"):
        metric(np.zeros((200, 200)), np.zeros((200, 1)))
    smallest = np.random.default_rng(0).integers(0, 256, (least, 170))
    assert metric(smallest, smallest) >= 0
    if least > 1:
        small = smallest[1:]
        with pytest.raises(ValueError, match=f"{name}.*{least}x{least}.*{least - 1}, 170"):
            metric(small, small)


@pytest.mark.parametrize("shape", [(128, 160), (192, 128)])
def test_the_pyramid_is_that_of_direct_correlation(shape):
    plane = np.random.default_rng(0).uniform(0, 255, shape)
    bands = metrics._subbands(metrics.Plane(plane))
    expected = scipy.ndimage.correlate(plane, metrics._PYRAMID_FIRST, mode="mirror")
    for vertical, horizontal in zip(bands[::2], bands[1::2], strict=True):
        for band, taps in (
            (vertical, metrics._PYRAMID_VERTICAL),
            (horizontal, metrics._PYRAMID_VERTICAL.T),
        ):
            height, width = band.pixels.shape
            direct = scipy.ndimage.correlate(expected, taps, mode="mirror")[:height, :width]
            np.testing.assert_allclose(band.pixels, direct, rtol=0, atol=1e-11)
        lowpass = scipy.ndimage.correlate(expected, metrics._PYRAMID_LOWPASS, mode="mirror")
        expected = lowpass[::2, ::2]
    sums = scipy.ndimage.convolve(bands[0].pixels, np.ones((17, 17)), mode="mirror")[1::3, 1::3]
    np.testing.assert_allclose(bands[0].mean, sums / 17**2, rtol=0, atol=1e-11)


@pytest.mark.parametrize("shape", [(60, 80), (61, 83), (200, 171)])
def test_the_bands_of_nqm_are_those_of_the_whole_transform(shape):
    """As the MATLAB code: all frequencies, about the middle of the image, and the real part."""
    plane = np.random.default_rng(0).uniform(100, 200, shape)
    height, width = shape
    radius = np.hypot(*np.ogrid[-height / 2 : height / 2, -width / 2 : width / 2])

    def filtered(radius, centre):
        response = np.fft.fftshift(metrics._cosine_log(radius, centre))
        return np.fft.ifft2(response * np.fft.fft2(plane)).real

    below = filtered(radius + 2, 2)
    bands = list(metrics._local_contrasts(metrics.Plane(plane)))
    assert len(bands) == 5
    for octave, (band, contrast) in enumerate(bands, 1):
        expected = filtered(radius, 2**octave)
        np.testing.assert_allclose(band, expected, rtol=0, atol=1e-11)
        np.testing.assert_allclose(contrast, expected / below, rtol=0, atol=1e-11)
        below += expected


def test_a_plane_is_the_array_and_computes_its_part_once(cat):
    others = [noisy(cat, 5), noisy(cat, 10)]
    reference = metrics.Plane(cat / 255, peak=1.0)
    for other in others:
        plane = metrics.Plane(other)
        for metric in metrics.METRICS.values():
            assert metric(reference, plane) == metric(cat / 255 * 255, other)
    calls = []
    assert reference.derive(lambda plane: calls.append(plane.pixels.shape)) is None
    function = calls.append
    assert reference.derive(function) is reference.derive(function) is None
    assert calls == [cat.shape, reference]


def test_metrics_by_name():
    assert list(metrics.by_name("ssim, ifc")) == ["psnr", "ssim", "ifc"]
    assert list(metrics.by_name("psnr")) == ["psnr"]
    with pytest.raises(ValueError, match="'' are none: name some of psnr, ssim"):
        metrics.by_name("")
    with pytest.raises(ValueError, match="'ssim,ifc, ssim' have 'ssim' twice"):
        metrics.by_name("ssim,ifc, ssim")
    with pytest.raises(ValueError, match="unknown metric 'lpips': the metrics are psnr, ssim, "):
        metrics.by_name("psnr,lpips")


def restore(truth: np.ndarray, scale: int, network=None) -> np.ndarray:
    """By bicubic or a network, with the `imresize` of the authors, which replicates the edge."""
    plane = truth.astype(np.float32) / np.float32(255)
    low = image.imresize(plane, 1 / scale, boundary="replicate")
    output = image.imresize(low, scale, boundary="replicate")
    if network:
        output = predict(network, output[..., None])[..., 0]
    return image.to_uint8(output)


def means(dataset: datasets.Dataset, scale: int, network=None) -> paper.Score:
    """Of bicubic or a network over a test set."""
    rows = []
    for _, pixels in dataset.images:
        truth = image.luminance(image.modcrop(pixels, scale), dataset.luminance)
        output = restore(truth, scale, network)
        rows.append(evaluate.score(truth, {"ours": output}, scale, metrics.METRICS)["ours"])
    return paper.Score(**{name: np.mean([row[name] for row in rows]) for name in metrics.METRICS})


def compare(ours: paper.Score, published: paper.Score) -> None:
    """All digits of the paper, but for a rounding of its own."""
    for name, value in published._asdict().items():
        least = 0.000055 if name.endswith("ssim") else 0.0055
        assert getattr(ours, name) == pytest.approx(value, abs=least), name


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["set5", "set14"])
def test_all_six_are_the_papers(data_dir, name, scale):
    published, _ = paper.BICUBIC_AND_SRCNN_955_IMAGENET_MEAN[name, scale]
    compare(means(datasets.load(name, data_dir=data_dir), scale), published)


@pytest.mark.parametrize("name", ["set5", "set14"])
def test_all_six_are_the_papers_with_the_authors_network(data_dir, oracle_dir, name):
    network = weights.load(oracle_dir / "authors_weights" / "srcnn_955_imagenet_x3.mat")
    _, published = paper.BICUBIC_AND_SRCNN_955_IMAGENET_MEAN[name, 3]
    compare(means(datasets.load(name, data_dir=data_dir), 3, network), published)


@pytest.mark.parametrize(("name", "scale"), paper.SRCNN_915_T91)
def test_every_image_is_the_papers_with_the_authors_network(data_dir, oracle_dir, name, scale):
    network = weights.load(oracle_dir / "authors_weights" / f"srcnn_915_t91_x{scale}.mat")
    published = paper.SRCNN_915_T91[name, scale]
    test_set = datasets.load(name, data_dir=data_dir)
    for image_name, pixels in test_set.images:
        truth = image.luminance(image.modcrop(pixels, scale), test_set.luminance)
        output = restore(truth, scale, network)
        chosen = metrics.by_name("psnr")
        psnr = evaluate.score(truth, {"srcnn": output}, scale, chosen)["srcnn"]["psnr"]
        expected = published[image_name.removesuffix("_GT")]
        assert psnr == pytest.approx(expected, abs=0.0055), image_name


def test_quantise_is_the_papers_rounding():
    """`uint8(x * 255)` of MATLAB: halves away from zero, saturated."""
    values = np.array([0.5, 1.5, 2.49, -3.0, 254.5, 300.0]) / 255
    assert metrics.quantise(values).tolist() == [1, 2, 2, 0, 255, 255]
    with pytest.raises(ValueError, match="NaN"):
        metrics.quantise(np.array([np.nan]))
