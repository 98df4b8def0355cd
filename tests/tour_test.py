"""The notebook runs from top to bottom, and its numbers are what its text says."""

import json
import pathlib

import nbclient
import nbformat
import pytest

TOUR = pathlib.Path(__file__).parents[1] / "docs" / "tour.ipynb"
NUMBERS = """
import json

curve = [line["psnr"] for line in workdir.read_metrics(folder / "n1_16") if "psnr" in line]
print(json.dumps({
    "bicubic": psnr(bicubic),
    "ours": psnr(ours),
    "shipped": psnr(shipped),
    "mean": {name: scores["psnr"] for name, scores in result.items()},
    "mean_of_2_filters": fewer["srcnn"]["psnr"],
    "curve": curve,
}))
"""


def test_its_numbers():
    notebook = nbformat.read(TOUR, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(NUMBERS))
    folder = {"metadata": {"path": str(TOUR.parent)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=folder).execute()
    numbers = json.loads(notebook.cells[-1].outputs[0].text)

    assert numbers["bicubic"] == pytest.approx(28.40, abs=0.01)
    assert numbers["mean"]["bicubic"] == pytest.approx(30.64, abs=0.01)
    # It begins as bicubic interpolation.
    assert numbers["curve"][0] == pytest.approx(numbers["mean"]["bicubic"], abs=0.05)
    assert len(numbers["curve"]) == 1 + 200 // 20
    assert numbers["curve"][-1] == pytest.approx(numbers["mean"]["srcnn"], abs=1e-3)
    # Nearly half a dB is gained, and less by two filters.
    assert numbers["mean"]["srcnn"] == pytest.approx(31.10, abs=0.05)
    assert 30.9 < numbers["mean_of_2_filters"] < numbers["mean"]["srcnn"] - 0.03
    assert numbers["bicubic"] + 0.5 < numbers["ours"] < numbers["shipped"]


def test_it_is_committed_without_outputs():
    notebook = json.loads(TOUR.read_text())
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in notebook["cells"]:
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
    assert set(notebook["metadata"]) <= {"kernelspec", "language_info"}
