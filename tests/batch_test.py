"""Which pictures a command works on, and the names of their results."""

import os
from pathlib import Path

import pytest

from srcnn_jax import batch


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, which is the current one; returns a function that makes files."""
    monkeypatch.chdir(tmp_path)

    def make(*names):
        for name in names:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(b"")

    return make


def pairs(*args, **kwargs):
    """{source: target} of a plan, as text."""
    tasks = batch.plan(*args, **kwargs).tasks
    return {str(task.source): str(task.target) for task in tasks}


def test_a_file_beside_and_elsewhere(folder):
    folder("in/a.png")
    assert pairs(["in/a.png"], None, "_x2", ".png") == {"in/a.png": "in/a_x2.png"}
    assert pairs(["in/a.png"], "b.jpg", "_x2", ".png") == {"in/a.png": "b.jpg"}
    assert pairs(["in/a.png"], "big/", "_x2", ".webp") == {"in/a.png": "big/a_x2.webp"}
    os.mkdir("there")
    assert pairs(["in/a.png"], "there", "_x2", ".png") == {"in/a.png": "there/a_x2.png"}


def test_home_is_expanded_everywhere(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder("a.png")
    home = str(tmp_path)
    assert pairs(["~/a.png"], "~/big/", "_x2", ".png") == {f"{home}/a.png": f"{home}/big/a_x2.png"}
    assert pairs(["~/*.png"], None, "_x2", ".png") == {f"{home}/a.png": f"{home}/a_x2.png"}


def test_folders_are_searched_in_natural_order(folder):
    folder("in/t10.png", "in/t2.jpg", "in/deep/t1.bmp", "in/deep/.h.png", "in/.git/a.png")
    folder("in/notes.txt", "in/movie.mpg")
    assert pairs(["in"], "big", "_x3", ".png") == {
        "in/t2.jpg": "big/t2_x3.png",
        "in/t10.png": "big/t10_x3.png",
    }
    found = pairs(["in"], "big", "_x3", ".png", recursive=True)
    assert found["in/deep/t1.bmp"] == "big/deep/t1_x3.png"
    assert len(found) == 3
    assert pairs(["in/"], None, "_x3", ".png")["in/t2.jpg"] == "in/t2_x3.png"


def test_patterns_and_files_are_each_taken_once(folder):
    folder("a1.png", "a2.png", "b.png", "deep/c.png")
    assert list(pairs(["a*.png", "*.png", "a1.png"], "o/", "_x2", ".png")) == [
        "a1.png", "a2.png", "b.png",
    ]  # fmt: skip
    assert list(pairs(["**/c.png"], "o/", "_x2", ".png")) == ["deep/c.png"]


def test_a_file_with_the_name_of_a_pattern(folder):
    folder("a[1].png", "a1.png")
    assert pairs(["a[1].png"], None, "_x2", ".png") == {"a[1].png": "a[1]_x2.png"}


def test_pictures_of_one_name_keep_their_suffix(folder):
    folder("a.png", "a.jpg", "b.png")
    assert pairs(["a.png", "a.jpg", "b.png"], "o", "_x2", ".png") == {
        "a.png": "o/a_png_x2.png",
        "a.jpg": "o/a_jpg_x2.png",
        "b.png": "o/b_x2.png",
    }


@pytest.mark.parametrize("ending", ["_x2", "_x1.5", "_w640", "_h480", "_640x480"])
def test_results_are_no_pictures_to_enlarge(folder, ending):
    folder("a.png", f"a{ending}.png", f"alone{ending}.png", f"a_png{ending}.webp")
    plan = batch.plan(["."], None, "_x2", ".tif")
    assert {str(path) for path in plan.results} == {f"a{ending}.png", f"a_png{ending}.webp"}
    assert {str(task.source) for task in plan.tasks} == {"a.png", f"alone{ending}.png"}


def test_the_folder_of_results_may_be_in_the_folder_of_pictures(folder):
    folder("in/a.png", "in/big/a_x2.png", "in/big/deep/b_x2.png")
    assert list(pairs(["in"], "in/big", "_x2", ".png", recursive=True)) == ["in/a.png"]
    # Without a folder for them, they are beside their pictures.
    assert "in/big/a_x2.png" in pairs(["in"], None, "_x2", ".png", recursive=True)


def test_streams(folder):
    folder("a.png", "b.png")
    assert batch.plan(["-"], None, "_x2", ".png").tasks == (batch.Task(None, None),)
    assert pairs(["-"], "a_big.png", "_x2", ".png") == {"None": "a_big.png"}
    assert pairs(["-"], "o/", "_x2", ".png") == {"None": "o/stdin_x2.png"}
    assert pairs(["a.png"], "-", "_x2", ".png") == {"a.png": "None"}
    with pytest.raises(ValueError, match="standard output holds one picture"):
        batch.plan(["a.png", "b.png"], "-", "_x2", ".png")


@pytest.mark.parametrize(
    ("inputs", "output", "message"),
    [
        (["a.png"], "", "the output -o is empty"),
        (["a.png"], "big", "big: the name of an output file ends in .*, that of a folder in /"),
        (["a.png"], "no/a.png", "no/a.png: its folder does not exist"),
        (["a.png"], "a.png", "a.png: the output would overwrite an input"),
        (["a.png", "b.png"], "c.png", "c.png: 2 pictures need a folder"),
        (["a.png"], "notes/", "its folder notes cannot be written to"),
        (["x*.png"], None, r"no file matches x\*.png"),
        (["empty"], None, "folder empty has no pictures; -r searches the folders in it"),
        (["one/c.png", "two/c.png"], "big/", "one/c.png and two/c.png have one name"),
        (["gs://b/a.png"], None, "the path gs://b/a.png is an address"),
    ],
)
def test_mistakes(folder, inputs, output, message):
    folder("a.png", "b.png", "notes", "one/c.png", "two/c.png", "empty/deep/d.png")
    with pytest.raises(ValueError, match=message):
        batch.plan(inputs, output, "_x2", ".png")


def test_nothing_is_made_and_what_exists_is_known(folder):
    folder("a.png", "b.png", "o/b_x2.png")
    before = sorted(map(str, Path().rglob("*")))
    tasks = batch.plan(["a.png", "b.png"], "o/", "_x2", ".png").tasks
    assert [str(task.source) for task in batch.existing(tasks)] == ["b.png"]
    assert before == sorted(map(str, Path().rglob("*")))
