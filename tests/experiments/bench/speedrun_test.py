"""The table of records, and that every record's config can be trained."""

import pytest

from configs import default, speedrun
from experiments.bench import speedrun as clock
from srcnn_jax import train


def test_every_record_has_a_goal_and_a_config():
    assert list(clock.GOALS) == list(speedrun.RECORDS)


@pytest.mark.parametrize("name", speedrun.RECORDS)
def test_configs(name):
    config = speedrun.get_config(name)
    train.check_config(config)
    words, fields, changed = speedrun.RECORDS[name]
    sizes = fields.get("model.kernel_sizes", default.get_config(words).model.kernel_sizes)
    assert config.model.kernel_sizes == sizes
    assert len(config.model.features) == len(sizes) - 1
    assert config.train.steps == fields["train.steps"]
    assert f"{config.train.steps:,} steps" in changed
    assert config.name == f"speedrun_{name}"


def test_a_record_that_is_none():
    with pytest.raises(ValueError, match=r"'worst': after configs/speedrun.py: comes a record"):
        speedrun.get_config("worst")


def test_row():
    runs = [
        {"psnr": psnr, "seconds": 30.0, "gigaflops": 150.0, "patches": 64_000}
        for psnr in (32.5, 32.3, 32.4)
    ]
    row = clock.row("paper", runs)
    assert row["PSNR"] == "32.400"
    assert row["seconds at 450 GF/s"] == "10.0"
    assert row["network"] == "9-1-5"
    assert row["reached"] == "yes"
    runs[0]["psnr"] = 32.38
    assert clock.row("paper", runs)["reached"] == "no"
