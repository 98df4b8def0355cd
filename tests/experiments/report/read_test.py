"""What a folder must hold to be shown, and what is said if it does not."""

import json
import pathlib
import re
import shutil

import pytest
from PIL import Image

from experiments.report import read
from experiments.report.__main__ import main as report_main


def test_a_sweep_has_its_table_its_plots_and_its_runs(tmp_path, finished):
    folder, output = tmp_path / "a sweep", tmp_path / "report.html"
    for name in ("f2=1,seed=0", "f2=1,seed=1"):
        shutil.copytree(finished, folder / "trials" / name)
    (folder / "trials" / "f2=3,seed=0").mkdir()  # it has only begun
    arguments = [str(folder), str(folder / "trials" / "f2=1,seed=1"), "-o", str(output)]
    with pytest.raises(SystemExit, match=r"is a sweep without table\.csv: its command"):
        report_main(arguments)
    (folder / "table.csv").write_text(
        f'f2,multiply-adds,PSNR on set5,front\n"{finished.name[:16]}",9,–,*\n'
    )
    plots = {
        "cost": "PSNR on set5 over multiply-adds",
        "importance": "Importance of each parameter",
    }
    for index, name in enumerate(plots):
        Image.new("L", (150, 75), index).save(folder / f"{name}.png", dpi=(150, 150))
    report_main([*arguments, "--images="])
    text = output.read_text()
    (section,) = re.findall(r'<section id="sweeps">.*?</section>', text, re.DOTALL)
    assert '<th scope="row">&lt;img src=x onerr</th><td>9</td><td>–</td><td>*</td>' in section
    for name, words in plots.items():
        uri = read.data_uri((folder / f"{name}.png").read_bytes())
        assert f'<img src="{uri}" width="96" height="48" alt="{words}' in section
    (table,) = re.findall(r'<section id="summary">.*?</section>', text, re.DOTALL)
    assert re.findall(r'<th scope="row">(.*?)</th>', table) == ["f2=1,seed=1", "f2=1,seed=0"]
    report_main(arguments)  # pictures of the run that was named, and not of all
    assert 'alt="2, ' in output.read_text()
    assert "SRCNN f2" not in output.read_text()


def test_mistakes_are_one_line(tmp_path, finished, pictures):
    def error(*arguments) -> str:
        with pytest.raises(SystemExit) as stop:
            report_main([*map(str, arguments), "-o", str(tmp_path / "report.html")])
        assert "\n" not in stop.value.code
        return stop.value.code

    def damaged(name: str, content: bytes | None) -> pathlib.Path:
        folder = tmp_path / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(finished, folder)
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        return folder

    assert "there is no workdir" in error(tmp_path / "none")
    for name in read.FILES:
        message = error(damaged(name, None))
        assert f"damaged has no {name}" in message
        assert "start its command again" in message
        assert f"damaged/{name} is" in error(damaged(name, b'{"step": 1'))
    for name in ("config.json", "eval.json"):
        assert "damaged holds a damaged file" in error(damaged(name, b'{"datasets": {}}'))
    assert "not tested on 'set5': choose --images from" in error(finished, "--images=set5")
    evaluation = json.loads((finished / "run.json").read_text())
    evaluation["data"][pictures][1] = "other"
    changed = damaged("run.json", json.dumps(evaluation).encode())
    assert "is not what" in error(changed)
    report_main([str(changed), "--images=", "-o", str(tmp_path / "report.html")])
    text = (tmp_path / "report.html").read_text()
    assert 'class="viewer"' not in text
