"""The comparison of two checkouts' evaluations: the table of made-up rounds, and mistakes."""

import sys

import pytest

from experiments.bench import evaluate


def made(seconds, psnr):
    scores = {"set5": {"bicubic": {"psnr": psnr, "ssim": 0.9}}}
    return {"seconds": seconds, "processor_seconds": 2 * seconds, "scores": scores}


def test_table():
    rounds = [
        {"gflops": 160.0, "before": made(10.0, 32.0), "ours": made(2.0, 32.0)},
        {"gflops": 150.0, "before": made(10.0, 32.0), "ours": made(3.0, 32.5)},
        {"gflops": 140.0, "before": made(10.0, 32.0), "ours": made(4.0, 32.0)},
    ]
    _, _, first, *_, last = evaluate.table(rounds).splitlines()
    assert first == "| 160 | 10.0 | 2.0 | 0.20 | 20.0 | 4.0 | 0.20 |"
    assert last.startswith("median ratio 0.30 in seconds, 0.30 in the processor's seconds")
    assert last.endswith("means 5.0e-01")


def test_a_folder_that_is_no_checkout(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["evaluate", str(tmp_path)])
    with pytest.raises(SystemExit):
        evaluate.main()
    assert "is no checkout: it has no srcnn_jax" in capsys.readouterr().err


def test_a_checkout_that_fails_is_one_line(tmp_path):
    (tmp_path / "srcnn_jax").mkdir()
    (tmp_path / "srcnn_jax" / "__init__.py").write_text("raise ImportError('too old')")
    with pytest.raises(SystemExit, match=r"^error: .*: ImportError: too old"):
        evaluate.measure(tmp_path, 1)
