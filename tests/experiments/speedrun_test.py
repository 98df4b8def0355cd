"""The table of records, and that every record's config can be trained."""

import pytest

from configs import default
from experiments.bench import speedrun
from srcnn_jax import train


@pytest.mark.parametrize("name", speedrun.RECORDS)
def test_configs(name):
    record = speedrun.RECORDS[name]
    config = default.get_config(record.words)
    config.update_from_flattened_dict(dict(record.fields))
    train.check_config(config)


def test_row():
    runs = [
        {"psnr": psnr, "seconds": 30.0, "gigaflops": 150.0, "patches": 64_000}
        for psnr in (32.5, 32.3, 32.4)
    ]
    row = speedrun.row(speedrun.RECORDS["paper"], runs)
    assert row["PSNR"] == "32.400"
    assert row["seconds at 450 GF/s"] == "10.0"
    assert row["reached"] == "yes"
    runs[0]["psnr"] = 32.38
    assert speedrun.row(speedrun.RECORDS["paper"], runs)["reached"] == "no"
