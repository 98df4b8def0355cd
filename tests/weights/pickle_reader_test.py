"""Pickles as plain data; hostile_files_test.py has those that are made to do harm."""

import argparse
import collections
import io
import pickle

import pytest

from srcnn_jax.weights.pickle_reader import Unread, read


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_data_is_what_pickle_reads(protocol):
    shared = [1, 2]
    data = {
        "numbers": [0, 300, -70_000, 2**40, 1.5, True, None],
        "words": ("a", "é" * 300, b"bytes" if protocol > 2 else ""),
        "nested": {"a": {"b": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)]}},
        "shared": [shared, shared],
    }
    found = read(io.BytesIO(pickle.dumps(data, protocol)))
    assert found == data
    assert found["shared"][0] is found["shared"][1]


def test_what_code_makes_is_a_name():
    data = [argparse.Namespace(a=1), collections.OrderedDict(a=1), len, {3, 4}]
    found = read(io.BytesIO(pickle.dumps(data, 4)))
    names = "argparse.Namespace", "collections.OrderedDict", "builtins.len", "builtins.set"
    assert found == [Unread(name) for name in names]


def test_functions_and_references_are_the_callers():
    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("block", 3) if value == "here" else None

    Pickler(file := io.BytesIO(), 2).dump([collections.OrderedDict(), "here"])
    file.seek(0)
    calls = lambda name, arguments: {"made by": name}  # noqa: E731
    assert read(file, calls, lambda reference: reference[1]) == [
        {"made by": "collections.OrderedDict"},
        3,
    ]


def test_only_strings_are_keys():
    data = {1: 2, "a": 3, (4, 5): 6, None: 7}
    assert read(io.BytesIO(pickle.dumps(data, 2))) == {"a": 3}


def test_it_reads_one_pickle_after_another():
    file = io.BytesIO(pickle.dumps(1, 2) + pickle.dumps([2], 2) + b"rest")
    assert (read(file), read(file), file.read()) == (1, [2], b"rest")


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x02", b"\x80\x02u.", b"\x80\x02K\x01a.", b"\x80\x02."]
)
def test_damaged_pickles(content):
    with pytest.raises(ValueError, match=r"damaged|ended|exhausted|premature"):
        read(io.BytesIO(content))
