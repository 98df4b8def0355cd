"""Every network on every kind of small images, and the star at its own."""

import dataclasses

from made_networks import IDENTITY

from experiments.paper import degradation
from srcnn_jax import datasets, weights
from srcnn_jax.degradation import RELEASED, Degradation


def test_a_row_for_each_kind(photographs):
    spline = dataclasses.replace(IDENTITY, degradation=Degradation(enlarge="spline"))
    kinds = (RELEASED, spline.degradation, Degradation(jpeg=(60, 60)))
    frame = degradation.table({"a": IDENTITY, "b": spline}, [datasets.load(photographs)], 3, kinds)
    assert list(frame["small images"]) == [str(kind) for kind in kinds]
    assert list(frame["a"]) == [f"{frame['bicubic'][0]} *", *frame["b"][1:].str.removesuffix(" *")]
    assert [text.endswith("*") for text in frame["b"]] == [False, True, False]
    assert frame["bicubic"][0] == frame["bicubic"][1] != frame["b"][1].removesuffix(" *")


def test_the_command(photographs, tmp_path, capsys):
    weights.save(tmp_path / "w.safetensors", IDENTITY)
    files = [str(tmp_path / "w.safetensors"), f"--datasets={photographs}"]
    degradation.main(["photo", *files, f"--output={tmp_path / 'table.md'}"])
    assert (tmp_path / "table.md").read_text() == capsys.readouterr().out
    assert len((tmp_path / "table.md").read_text().splitlines()) == 2 + len(
        degradation.KINDS["photo"]
    )
