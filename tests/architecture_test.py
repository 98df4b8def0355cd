"""The numbers that follow from an architecture, and what makes none."""

import pytest

from srcnn_jax.architecture import Architecture


def test_the_papers_network():
    arch = Architecture((9, 1, 5), (64, 32), 1, "valid")
    assert str(arch) == "9-1-5"
    assert arch.layers == 3
    assert arch.shapes == ((9, 9, 1, 64), (1, 1, 64, 32), (5, 5, 32, 1))
    assert arch.weight_count == arch.multiply_adds == 8_032
    assert arch.margin == arch.receptive_field_radius == 6


def test_colour_counts_in_the_first_and_the_last_layer():
    arch = Architecture((9, 5, 5), (64, 32), 3, "same")
    assert arch.shapes[0] == (9, 9, 3, 64)
    assert arch.shapes[-1] == (5, 5, 32, 3)
    assert arch.weight_count == 81 * 3 * 64 + 25 * 64 * 32 + 25 * 32 * 3


@pytest.mark.parametrize(
    ("padding", "paddings", "margin"),
    [
        ("same", ("same",) * 3, 0),
        ("valid", ("valid",) * 3, 8),
        ("valid,same,valid", ("valid", "same", "valid"), 6),
        ("same,valid,same", ("same", "valid", "same"), 2),
    ],
)
def test_paddings(padding, paddings, margin):
    arch = Architecture((9, 5, 5), (64, 32), 1, padding)
    assert (arch.paddings, arch.margin) == (paddings, margin)
    assert arch.receptive_field_radius == 8


def test_equal_numbers_are_equal_and_lists_are_taken_for_tuples():
    from_json = Architecture([9, 1, 5], [64, 32], 1, "same")
    assert from_json == Architecture((9, 1, 5), (64, 32), 1, "same")
    assert hash(from_json) == hash(Architecture((9, 1, 5), (64, 32), 1, "same"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kernel_sizes": (9, 2, 5)}, "odd and positive, not 2"),
        ({"kernel_sizes": (9, -1, 5)}, "odd and positive, not -1"),
        ({"kernel_sizes": (9, 1)}, "one entry more"),
        ({"kernel_sizes": (9,), "features": ()}, "one entry more"),
        ({"features": (64, 0)}, "positive, not 0"),
        ({"channels": 0}, "positive, not 0"),
        ({"padding": "valid,same"}, "each of 3 layers .*'valid,same'"),
        ({"padding": "mirror"}, "'mirror'"),
        ({"padding": ""}, "''"),
    ],
)
def test_what_makes_no_network(changes, words):
    sizes = {"kernel_sizes": (9, 1, 5), "features": (64, 32), "channels": 1, "padding": "same"}
    with pytest.raises(ValueError, match=words):
        Architecture(**sizes | changes)
