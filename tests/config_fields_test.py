"""Dotted names of fields, and the line about a name that is none."""

import pathlib

import pytest

from configs import default
from srcnn_jax import config_fields


def test_flatten():
    flat = config_fields.flatten({"a": {"b": 1, "c": {"d": (2, 3)}}, "e": {}})
    assert flat == {"a.b": 1, "a.c.d": (2, 3), "e": {}}
    config = config_fields.flatten(default.get_config("x3"))
    assert config["optimizer.options.momentum"] == 0.9
    assert config["model.kernel_sizes"] == (9, 1, 5)


def test_new_names_exist_and_old_ones_do_not():
    known = config_fields.flatten(default.get_config("x3"))
    assert known.keys() >= set(config_fields.RENAMED.values())
    assert not known.keys() & {*config_fields.RENAMED, *config_fields.FLAGS}


def test_a_new_field_is_among_those_that_were_added():
    """Otherwise workdirs of earlier versions are refused as those of another config."""
    fields = config_fields.flatten(default.get_config("x3")).keys()
    assert fields >= config_fields.ADDED.keys()
    assert len(fields - config_fields.ADDED.keys()) == 45  # before fields were added


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("train.stops", "'train.stops': did you mean train.steps?"),
        ("zzz", "'zzz'"),
        ("data.copies", "'data.copies': it is called data.downscale_factors now"),
        ("eval.outputs", "'eval.outputs': it is a flag now, --outputs="),
        ("optimizer.options.b1", "'optimizer.options.b1': give all options"),
    ],
)
def test_one_line_about_an_unknown_field(field, words):
    known = config_fields.flatten(default.get_config("x3"))
    assert config_fields.explain_unknown(field, known).startswith(
        f"the config has no field {words}"
    )


@pytest.mark.parametrize("options", [{}, {"b1": 0.9}])
def test_options_are_any(options):
    config, known = default.get_config("x3"), default.get_config("x2")
    config.optimizer.options.nesterov = True
    config_fields.check_complete(config, known)
    config.optimizer.options = options
    config_fields.check_complete(config, known)
    with config.unlocked():
        config.optimizer.optionsz = options
        with pytest.raises(ValueError, match=r"'optimizer.optionsz.*': "):
            config_fields.check_complete(config, known)
        del config.optimizer.optionsz, config.optimizer.options
    with pytest.raises(ValueError, match=r"lacks the field optimizer\.options: a dict"):
        config_fields.check_complete(config, known)


def test_a_config_of_an_earlier_version_gets_what_was_added():
    config = default.get_config("x3")
    with config.unlocked():
        del config.data.degradation, config.data.degraded_copies, config.train.cauchy_scale
    config_fields.fill_added(config)
    assert config.to_dict() == default.get_config("x3").to_dict()


@pytest.mark.parametrize(
    ("group", "content", "message"),
    [
        ("train", {"steps": 5}, r"lacks the field train.batch_size \(and 12 more\): a dict for a"),
        ("data", {}, r"lacks the field data.augment \(and "),
        (
            "eval",
            {"metrics": "psnr"},
            r"lacks the field eval.datasets: .*config.eval.datasets=",
        ),
        ("eval", {"metrics": "psnr", "datasets": "a", "metric": 1}, "no field 'eval.metric': did"),
    ],
)
def test_a_group_has_all_its_fields(group, content, message):
    config = default.get_config("x3")
    config[group] = content
    with pytest.raises(ValueError, match=message):
        config_fields.check_complete(config, default.get_config("x2"))


def test_every_field_has_a_comment():
    comments = config_fields.read_comments(pathlib.Path(default.__file__))
    fields = config_fields.flatten(default.get_config("x3"))
    fields.pop("optimizer.options.momentum")  # options are commented as a whole
    assert fields.keys() <= comments.keys()
    assert comments["scale"] == "enlargement factor: 2, 3 or 4"
    assert comments["optimizer.options"] == "The optimiser's arguments, without the learning rate."
    assert comments["data.context"].startswith("Networks of same layers see the pixels around")


def test_fields_are_listed_in_the_order_of_the_file():
    comments = config_fields.read_comments(pathlib.Path(default.__file__))
    lines = config_fields.describe(default.get_config("x3"), comments).splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("model.features ")]
    assert lines[at].endswith(" (64, 32)")
    assert lines[at + 1] == "    n1, n2, ...: filters of every layer but the last"
    assert lines[at - 2].startswith("model.kernel_sizes ")
    assert any(line.startswith("optimizer.options.momentum") for line in lines)


def test_a_unit_stands_beside_the_value():
    comments = {"a": "[pixels] side of a patch", "b": "a word, of [a, b] or c", "c": "[steps]"}
    text = config_fields.describe({"a": 41, "b": "x", "c": 9, "d": ()}, comments)
    assert text.splitlines()[2:] == [
        "a  41  [pixels]",
        "    side of a patch",
        "b  'x'",
        "    a word, of [a, b] or c",
        "c  9  [steps]",
        "d  ()",
    ]
