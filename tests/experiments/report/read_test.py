"""What a folder must hold to be shown, and what is said if it does not."""

import json
import pathlib
import re
import shutil

import pytest
from PIL import Image

from experiments.report import read
from experiments.report.__main__ import main as report_main


def section(text: str, name: str) -> str:
    (found,) = re.findall(rf'<section id="{name}".*?</section>', text, re.DOTALL)
    return found


def test_a_sweep_is_read_while_it_trains_and_when_it_is_done(tmp_path, sweep):
    folder, output = tmp_path / "a sweep", tmp_path / "report.html"
    shutil.copytree(sweep, folder)
    begun = folder / "trials" / "f2=5,seed=2"
    for name in ("eval.json", "weights.safetensors"):
        (begun / name).unlink()
    (folder / "trials" / "f2=7,seed=0").mkdir()  # it has only begun
    found = read.read_workdir(folder)
    assert (found.kind, len(found.runs), found.metric, found.plots) == ("sweep", 14, None, [])
    assert found.unfinished == [("trials/f2=5,seed=2", "not finished")]
    dataset = found.runs[0].validation
    (folder / "table.csv").write_text(
        f"f2,{dataset}/psnr,{dataset}/psnr_std,seeds,notes\n5,35,,2,\n9,,,0,failed: diverged\n"
    )
    plots = {"cost": "over multiply-adds", "importance": "Importance of each parameter"}
    for index, name in enumerate(plots):
        Image.new("L", (150, 75), index).save(folder / f"{name}.png", dpi=(150, 150))
    assert read.read_workdir(folder).metric == read.Metric(dataset, "psnr")
    report_main([str(folder), "-o", str(output), "--images="])
    text = output.read_text()
    assert "f2=5 is the best of 5 by PSNR on" in section(text, "summary")
    assert "35.05 ± 0.07 dB, the mean of 2 seeds" in section(text, "summary")
    names = re.findall(r'<th scope="row">(.*?)</th>', section(text, "summary"))
    assert names == ["bicubic", "f2=5", "f2=4", "f2=3", "f2=2", "f2=1"]
    assert "trials/f2=5,seed=2 (not finished); f2=9 (failed: diverged)" in text
    for name, words in plots.items():
        uri = read.data_uri((folder / f"{name}.png").read_bytes())
        assert f'<img src="{uri}" width="96" height="48" alt="' in section(text, "found")
        assert words in section(text, "found")
    (folder / "table.csv").write_text("f2\n5\n")
    with pytest.raises(SystemExit, match=r"table\.csv is damaged .*: the sweep's command with"):
        report_main([str(folder), "-o", str(output)])


def test_a_study_is_read_with_its_tables(tmp_path, finished):
    for seed in range(2):
        run = tmp_path / "study" / "default_short" / f"x3_9-1-5_64-32_{seed}"
        shutil.copytree(finished, run)
        config = json.loads((run / "config.json").read_text()) | {"seed": seed}
        (run / "config.json").write_text(json.dumps(config))
    study = tmp_path / "study"
    (study / "filter_sizes_default_short.md").write_text("PSNR by f2\n\n`command`\n")
    (study / "filter_sizes_default_short.csv").write_text('network,"ours, dB"\n9-1-5,32.70\n')
    found = read.read_workdir(study)
    assert (found.kind, len(found.runs)) == ("folder of runs", 2)
    report_main([str(study), "-o", str(tmp_path / "report.html"), "--images="])
    text = (tmp_path / "report.html").read_text()
    assert "x3_9-1-5_64-32 has" in section(text, "summary")
    assert "PSNR by f2" in section(text, "found")
    assert '<td data-column="ours, dB">32.70</td>' in section(text, "found")


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
    (tmp_path / "empty").mkdir()
    assert "empty has no config.json and holds no run: name the" in error(tmp_path / "empty")
    (tmp_path / "empty" / "eval.json").touch()
    assert "empty has the scores of an evaluation and no training" in error(tmp_path / "empty")
    (tmp_path / "sweep" / "trials").mkdir(parents=True)
    assert "sweep is a sweep without a finished run: start" in error(tmp_path / "sweep")
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
