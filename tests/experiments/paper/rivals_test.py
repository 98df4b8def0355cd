"""The literature's networks beside ours."""

from experiments.paper import rivals
from srcnn_jax.weights import pretrained


def test_weights_are_those_of_the_layers():
    by_name = {each.name: each for each in rivals.RIVALS}
    # FSRCNN(d, s, m) and FSRCNN-s: its last layer, a deconvolution, has 9x9 weights for each of d.
    for name, (d, s, m) in {"FSRCNN": (56, 12, 4), "FSRCNN-s": (32, 5, 1)}.items():
        count = 25 * d + d * s + 9 * s * s * m + s * d + 81 * d
        assert by_name[name].weights == count, name
    assert by_name["ESPCN"].weights == 25 * 64 + 9 * 64 * 32 + 9 * 32 * 9  # x3
    assert by_name["SRCNN 9-1-5"].multiply_adds(3) == 8_032
    assert round(by_name["FSRCNN"].multiply_adds(2)) == 3_116


def test_the_picture_and_the_table_have_all(tmp_path):
    figure = rivals.plot(rivals.RIVALS, rivals.ours())
    for axis, scale in zip(figure.axes, rivals.SCALES, strict=True):
        names = [text.get_text() for text in axis.texts]
        assert any(name.startswith("ours, 9-1-5") for name in names)
        assert len(names) == sum(scale in each.psnr for each in (*rivals.RIVALS, *rivals.ours()))
    table = rivals.table([*rivals.RIVALS, *rivals.ours()])
    assert table["weights"].iloc[0] == "2,800"
    assert (table["source"].str.contains("not read")).sum() == 10


def test_ours_are_those_for_clean_pictures():
    clean = {card.psnr for card in pretrained.read_cards() if card.network != "photo"}
    assert {psnr for each in rivals.ours() for psnr in each.psnr.values()} == clean
