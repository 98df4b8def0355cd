"""Every word of the configs, and that each config makes a network and an optimiser."""

import pathlib
import runpy
import sys

import pytest

from configs import default, keras_article, paper
from srcnn_jax import train
from srcnn_jax.architecture import create_architecture

CONFIGS = ("default", "keras_article", "networks", "paper", "speedrun")


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(
    "words", ["", ",935", ",955,valid", ",paper", ",runlocal", ",955,paper,runlocal"]
)
def test_every_config_can_be_trained(scale, words):
    config = default.get_config(f"x{scale}{words}")
    assert config.scale == scale
    assert config.name == f"x{scale}{words}".replace(",", "_")
    train.check_config(config)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_articles_code(scale):
    config = keras_article.get_config(f"x{scale}")
    assert (config.scale, config.name) == (scale, f"keras_article_x{scale}")
    assert config.train.steps * config.train.batch_size == 3_456_000
    train.check_config(config)
    arch = create_architecture(config)
    assert arch.weight_count == 85_696
    assert config.data.patch_size - 2 * arch.margin == 20


@pytest.mark.parametrize("arg", ["", "x5", "x3,valid"])
def test_the_articles_code_has_no_words_but_the_scale(arg):
    with pytest.raises(ValueError, match=f"word '{arg}': .*comes the scale, x2 or x3 or x4"):
        keras_article.get_config(arg)


def test_no_config_is_left_out():
    folder = pathlib.Path(default.__file__).parent
    assert {path.stem for path in folder.glob("*.py")} == {*CONFIGS, "__init__"}


@pytest.mark.parametrize("words", ["x2", "x3,955", "x4,same"])
def test_the_papers_config_is_the_word_paper(words):
    config, word = paper.get_config(words), default.get_config(f"{words},paper")
    assert config.name == f"paper_{words}".replace(",", "_")
    config.name = word.name
    assert config == word
    train.check_config(config)


def test_a_config_works_from_any_folder(tmp_path, monkeypatch):
    """Also where `configs` cannot be imported."""
    folder = pathlib.Path(default.__file__).parent
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [p for p in sys.path if pathlib.Path(p) != folder.parent])
    monkeypatch.setitem(sys.modules, "configs", None)
    for name, arg in zip(CONFIGS, ("x3,paper", "x3", "955,x3", "x3", "best"), strict=True):
        config = runpy.run_path(str(folder / f"{name}.py"))["get_config"](arg)
        assert config.scale == 3


def test_words():
    assert default.get_config("955,x3").model.kernel_sizes == (9, 5, 5)
    assert default.get_config("x3").model.padding == "same"
    assert default.get_config("x3,valid").model.padding == "valid"
    released = default.get_config("x3,paper")
    assert released.model.padding == "valid"
    assert released.train.steps * released.train.batch_size == 800_000_000
    assert default.get_config("x3,paper,same").model.padding == "same"


@pytest.mark.parametrize(
    ("arg", "words"),
    [
        ("x5", "x5"), ("", "x2 or x3 or x4"), ("x3,x4", "one scale"),
        ("x3,955,935", "one set of kernel sizes"),
        ("x3,runlocal,runlocal", "'runlocal' is there twice"),
        ("x3,9-5-5", "unknown config word '9-5-5': the words are x2 x3 x4 915"),
    ],
)  # fmt: skip
def test_wrong_words_list_the_right_ones(arg, words):
    with pytest.raises(ValueError, match=words):
        default.get_config(arg)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("scale", 5, "scale is 2, 3 or 4, not 5"),
        ("model.kernel_sizes", (9, 2, 5), "odd"),
        ("model.padding", "mirror", "mirror"),
        ("data.patch_size", 10, "data.patch_size 10 is too small: this network needs 13"),
        ("data.colour", "cmyk", "cmyk"),
        ("data.downscale_factors", (2.0,), r"downscale_factors \(2.0,\) are not numbers above 0"),
        ("data.downscale_factors", ("",), "downscale_factors"),
        ("data.stride", 0, "data.stride"),
        ("data.degradation.shrink", "gaussian", "needs a degradation.sigma"),
        ("data.degradation.jpeg", (95, 50), r"degradation.jpeg \(95, 50\)"),
        ("data.degraded_copies", 8, "degraded_copies is 1, or more with .*noise or jpeg, not 8"),
        ("data.degraded_copies", 0, "not 0"),
        ("train.steps", 0, "train.steps"),
        ("train.eval_every", 30, "multiple"),
        ("train.devices", 3, "3"),
        ("train.keep_weights", "first", "first"),
        ("train.keep_checkpoints", 0, "train.keep_checkpoints must be positive"),
        ("eval.metrics", "psnr,lpips", "unknown metric 'lpips'"),
        ("eval.metrics", "", "the metrics '' are none"),
        ("eval.metrics", "psnr,psnr", "the metrics 'psnr,psnr' have 'psnr' twice"),
        ("eval.datasets", "set5,set14,set5", "'set5,set14,set5' have 'set5' twice"),
        ("data.train", "", "data.train names no training set"),
        ("data.train", "t91, t91", "'t91, t91' have 't91' twice"),
        ("train.steps", 12345678901234567890, "train.steps 12345678901234567890 is too large"),
        ("seed", -12345678901234567890, "seed -12345678901234567890 is too large"),
        ("train.batch_size", 10**11, "train.batch_size 100000000000 is too large"),
        ("train.batch_size", 10**8, "train.batch_size 100000000 times train.steps_per_dispatch 20"),
        ("model.features", (10**8, 32), r"features \(100000000, 32\) make 11,300,000,800 weights"),
        (
            "model.kernel_sizes",
            (9, 100_001, 5),
            r"kernel_sizes \(9, 100001, 5\) and",
        ),
        ("optimizer.rates", ((".*", float("nan")),), "nan.* a factor is 0 or more"),
        ("optimizer.rates", ((".*", -1.0),), "-1.0.* a factor is 0 or more"),
        ("optimizer.name", "sdg", "sdg"),
        ("optimizer.name", "lbfgs", "lbfgs"),
        ("optimizer.name", "clip", "clip"),
        ("optimizer.name", "polyak_sgd", "polyak_sgd"),
        ("optimizer.learning_rate", float("nan"), "nan"),
        ("optimizer.learning_rate", -1.0, "-1"),
        ("optimizer.warmup_steps", -5, "-5"),
        ("optimizer.preconditioner.update_every", 0, "0"),
        ("train.max_loss_ratio", 0.5, "0.5"),
        ("train.microbatch_size", 7, "7"),
        ("train.microbatch_size", -4, "-4"),
    ],
)
def test_wrong_fields(field, value, words):
    config = default.get_config("x3,valid")
    config.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=words):
        train.check_config(config)
