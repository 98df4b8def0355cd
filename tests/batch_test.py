"""Which pictures a command works on, and the names of their results."""

import os
from pathlib import Path

import pytest
from PIL import Image

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
        "a.png": "o/a.png_x2.png",
        "a.jpg": "o/a.jpg_x2.png",
        "b.png": "o/b_x2.png",
    }
    folder("a_jpg.png")
    assert len(set(pairs(["."], "o", "_x2", ".png").values())) == 4


def save(name, width, height):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (width, height)).save(name)


@pytest.mark.parametrize(
    ("ending", "size"),
    [
        ("_x2", (80, 60)), ("_x1.5", (60, 45)), ("_w640", (640, 480)), ("_h480", (640, 480)),
        ("_640x500", (640, 480)),
    ],
)  # fmt: skip
def test_results_are_no_pictures_to_enlarge(folder, ending, size):
    save("a.png", 40, 30)
    for name in (f"a{ending}.png", f"alone{ending}.png", f"a.png{ending}.webp"):
        save(name, *size)
    plan = batch.plan(["."], None, "_x2", ".tif")
    assert {str(path) for path in plan.results} == {f"a{ending}.png", f"a.png{ending}.webp"}
    assert {str(task.source) for task in plan.tasks} == {"a.png", f"alone{ending}.png"}


def test_a_picture_that_only_has_the_name_of_a_result_is_one_to_enlarge(folder):
    save("a.png", 40, 30)
    save("a_x2.png", 90, 60)
    folder("a_600x600.png")  # no picture
    others = {"a_w640.png": (90, 60), "a_h20.png": (27, 20), "a_30x30.png": (30, 30)}
    for name, size in others.items():
        save(name, *size)
    names = ["a.png", "a_x2.png", "a_600x600.png", *others]
    assert list(pairs(names, "o/", "_x2", ".png")) == names
    with pytest.raises(ValueError, match=r"a_x2.png: the output would overwrite an input"):
        batch.plan(["a.png", "a_x2.png"], None, "_x2", ".png")
    os.link("a.png", "same.png")
    with pytest.raises(ValueError, match=r"same.png: the output would overwrite an input"):
        batch.plan(["a.png"], "same.png", "_x2", ".png")


def test_results_in_another_folder_are_known(folder):
    save("x/a.png", 40, 30)
    save("out/x/a_x2.png", 80, 60)
    assert list(pairs(["."], None, "_x3", ".png", recursive=True)) == ["x/a.png"]


def test_several_folders_have_their_own_folders(folder):
    folder("x/a.png", "y/a.png")
    assert pairs(["x", "y/"], "o", "_x2", ".png") == {
        "x/a.png": "o/x/a_x2.png",
        "y/a.png": "o/y/a_x2.png",
    }


def test_a_folder_with_the_suffix_of_a_picture(folder):
    folder("a.png")
    assert pairs(["a.png"], "new.png/", "_x2", ".png") == {"a.png": "new.png/a_x2.png"}
    os.mkdir("old.jpg")
    assert pairs(["a.png"], "old.jpg", "_x2", ".png") == {"a.png": "old.jpg/a_x2.png"}


def test_links_to_folders_and_closed_folders_are_said(folder, caplog):
    folder("in/a.png", "other/b.png")
    Path("in/link").symlink_to("../other")
    assert list(pairs(["in"], "o", "_x2", ".png", recursive=True)) == ["in/a.png"]
    assert "in/link is a link to a folder, and not followed" in caplog.text


def test_the_folder_of_results_may_be_in_the_folder_of_pictures(folder):
    folder("in/a.png", "in/big/a_x2.png", "in/big/deep/b_x2.png")
    assert list(pairs(["in"], "in/big", "_x2", ".png", recursive=True)) == ["in/a.png"]


def test_a_folder_that_cannot_be_made_is_the_fault_of_one_picture(folder):
    folder("notes")
    with pytest.raises(OSError, match=r"notes/a.png cannot be written"):
        batch.make_folder(batch.Task(None, Path("notes/a.png")))


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
        ([""], None, "the name of a picture is empty"),
        (["x*.png"], None, r"no file matches x\*.png"),
        (
            ["empty"],
            None,
            "folder empty has no pictures that can be read; -r searches",
        ),
        (["one/c.png", "two/c.png"], "big/", "the result of one/c.png and of two/c.png"),
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
