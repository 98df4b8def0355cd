"""Dotted names of fields, and the line about a name that is none."""

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
