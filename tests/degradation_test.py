"""How small images are made and enlarged: each kind, in bands, and what is drawn."""

import io

import numpy as np
import pytest
from PIL import Image

from configs import default
from srcnn_jax import degradation, image
from srcnn_jax.degradation import RELEASED, Degradation

SPLINE = Degradation(enlarge="spline")


def _random(shape, seed=0):
    return np.random.default_rng(seed).random(shape)


def test_released_is_matlabs_bicubic_to_the_bit():
    picture = _random((12, 18, 3)).astype(np.float32)
    small = degradation.shrink(picture, 3)
    assert small.shape == (4, 6, 3)
    np.testing.assert_array_equal(small, image.imresize(picture, 1 / 3))
    np.testing.assert_array_equal(degradation.enlarge(small, 3), image.imresize(small, 3))
    both = image.imresize(small, 3)
    np.testing.assert_array_equal(degradation.degrade(picture, 3), both)
    assert degradation.from_config(default.get_config("x3")) == RELEASED


def test_a_golden_number_of_each_kind():
    picture = _random((24, 24, 1))
    means = {
        RELEASED: 0.0766430818,
        Degradation("gaussian", 1.0): 0.0772132402,
        SPLINE: 0.0761573720,
    }
    for kind, expected in means.items():
        error = np.mean((degradation.degrade(picture, 3, kind) - picture) ** 2)
        assert error == pytest.approx(expected, rel=1e-8), str(kind)


@pytest.mark.parametrize("kind", [RELEASED, SPLINE], ids=str)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_rows_of_an_enlargement(scale, kind):
    planes = _random((80, 3, 2))
    whole = degradation.enlarge(planes, scale, kind)
    end = 80 * scale
    for first, last in ((0, 1), (0, end), (7, 8), (scale * 5, scale * 6), (end // 2, end)):
        rows = degradation.enlarge_rows(planes, first, last, scale, kind)
        np.testing.assert_allclose(rows, whole[first:last], atol=1e-12)


def test_bands_of_a_spline_need_more_than_bicubic_does():
    """The reach of bicubic would be wrong by a thousandth."""
    planes, scale = _random((80, 3, 2)), 3
    whole = degradation.enlarge(planes, scale, SPLINE)
    short = degradation.enlarge(planes[40 - 3 : 50 + 3], scale, SPLINE)[9:-9]
    assert np.abs(short - whole[120:150]).max() > 1e-4


def test_drawn_pictures_are_a_function_of_seed_image_and_copy():
    picture, kind = _random((24, 30, 3)), Degradation(noise=(0, 20), jpeg=(10, 90))

    def draw(**changes):
        random = degradation.create_random(**{"seed": 1, "name": "a", "copy": 0} | changes)
        return degradation.damage(picture, 3, kind, random)

    first = draw()
    assert first.shape == (8, 10, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(draw(), first)
    for changes in ({"seed": 2}, {"name": "b"}, {"copy": 1}, {"size": 0.9}):
        assert (draw(**changes) != first).any(), changes


def test_damage_step_by_step():
    picture, scale = _random((24, 30, 3)), 3
    small = image.imresize(picture, 1 / scale)
    random = degradation.create_random(0, "a")
    eight = degradation.damage(picture, scale, Degradation(noise=(0, 0)), random)
    np.testing.assert_array_equal(eight, image.to_uint8(small))
    noisy = degradation.damage(np.full((300, 300), 0.5), 3, Degradation(noise=(7, 7)), random)
    assert noisy.std() == pytest.approx(7, rel=0.05)
    file = io.BytesIO()
    Image.fromarray(eight).save(file, "JPEG", quality=60, subsampling="4:2:0")
    coded = degradation.damage(picture, scale, Degradation(jpeg=(60, 60)), random)
    np.testing.assert_array_equal(coded, np.asarray(Image.open(file)))
    grey = degradation.damage(picture[..., 0], scale, Degradation(jpeg=(60, 60)), random)
    assert grey.shape == (8, 10)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (RELEASED, "bicubic"),
        (Degradation("gaussian", 1.6), "gaussian 1.6"),
        (Degradation("gaussian", 1, "spline"), "gaussian 1, enlarged by spline"),
        (Degradation(noise=(0, 0)), "bicubic, 8 bits"),
        (
            Degradation(noise=(0, 10), jpeg=(50, 95)),
            "bicubic, noise 0 to 10, JPEG 50 to 95 (4:2:0)",
        ),
        (Degradation(jpeg=(60, 60)), "bicubic, JPEG 60 (4:2:0)"),
    ],
)
def test_words_and_json(kind, text):
    assert str(kind) == text
    assert degradation.from_json(kind.to_json()) == kind


def test_configs_of_earlier_versions_mean_the_released_code():
    assert degradation.from_config({"data": {}}) == RELEASED
    fields = {"shrink": "gaussian", "sigma": 2.0, "jpeg": [5, 6]}
    found = degradation.from_config({"data": {"degradation": fields}})
    assert found == Degradation("gaussian", 2.0, jpeg=(5, 6))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"shrink": "lanczos"}, "shrink is one of .*not 'lanczos'"),
        ({"enlarge": "nearest"}, "enlarge is one of .*not 'nearest'"),
        ({"shrink": "gaussian"}, "needs a degradation.sigma from 0.1 to 100, .*not 0.0"),
        ({"shrink": "gaussian", "sigma": float("nan")}, "not nan"),
        ({"sigma": 1.0}, "sigma 1.0 goes with degradation.shrink 'gaussian'"),
        ({"noise": (10, 0)}, r"noise \(10, 0\) is not \(\) or the lowest"),
        ({"noise": (0, 300)}, "from 0 to 255: 0,10"),
        ({"noise": ("a", "b")}, "noise"),
        ({"jpeg": (60,)}, r"jpeg \(60,\) is not"),
        ({"jpeg": (0, 60)}, "from 1 to 100: 50,95"),
        ({"jpeg": (50.5, 60)}, "are not whole numbers"),
        ({"blur": 1}, "a degradation has the fields"),
    ],
)
def test_wrong_values(fields, words):
    with pytest.raises(ValueError, match=words):
        degradation.from_fields(fields)
