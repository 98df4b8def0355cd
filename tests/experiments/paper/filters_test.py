"""The picture of the first-layer filters."""

import numpy as np

from experiments.paper import filters


def test_filters_are_shown_by_their_variance():
    kernel = np.zeros((9, 9, 1, 10), np.float32)
    kernel[4, 4, 0, 3] = 1.0
    kernel[0, 0, 0, 7] = -2.0
    picture = filters.mosaic(kernel)
    assert picture.shape == (2 * 54 + 4, 8 * 54 + 7 * 4)
    assert picture[0, 0] == 0  # filter 7: its one weight is its smallest
    assert picture[20, 20] == 255
    assert picture[4 * 6, 58 + 4 * 6] == 255  # filter 3
    assert picture[0, 58] == 0
