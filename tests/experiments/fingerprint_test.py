"""Fingerprints: what changes them, and what does not."""

import numpy as np

from experiments import fingerprint


def test_a_name_a_type_a_shape_and_a_value_change_the_hash_of_arrays():
    zeros = np.zeros((2, 3), np.float32)
    arrays = {"a": zeros, "b": np.arange(3)}
    known = fingerprint.hash_arrays(arrays)
    assert known == fingerprint.hash_arrays(dict(reversed(arrays.items())))
    one = zeros.copy()
    one[1, 2] = 1
    for other in (
        {"c": zeros, "b": np.arange(3)},
        {**arrays, "a": zeros.astype(np.float64)},
        {**arrays, "a": zeros.reshape(3, 2)},
        {**arrays, "a": one},
    ):
        assert fingerprint.hash_arrays(other) != known


def test_times_and_folders_do_not_change_the_hash():
    lines = [{"step": 1, "psnr": 30.0, "waited": 0.1}, {"step": 2}]
    other = [{"psnr": 30.0, "step": 1, "patches_per_second": 5.0}, {"step": 2}]
    assert fingerprint.hash_json(lines) == fingerprint.hash_json(other)
    assert fingerprint.hash_json(lines) != fingerprint.hash_json([{"step": 1}, {"step": 2}])
    output = "step 20\nsaved weights\nset5 x3 (folder {}/set5)\nmean  30.0\n"
    here, there = (fingerprint.table_of(output.format(folder)) for folder in ("a", "b"))
    assert here == there == "set5 x3\nmean  30.0"


def test_hashes_stay_what_they_are():
    assert fingerprint.hash_text("a") == "ae6121c88ba555f6"
    assert fingerprint.hash_arrays({"a": np.ones(2, np.float32)}) == "524c44a6501757dd"
