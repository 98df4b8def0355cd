"""What a run prints while it trains."""

import math

from srcnn_jax.progress import Progress


def test_lines_on_a_pipe(capsys):
    progress = Progress(steps=100, batch_size=64, every=20, dataset="set5")
    progress.measured(0, 30.39)
    progress.show(0, math.nan)
    progress.add(10, seconds=5.0, waited=1.0)  # compiles
    progress.show(10, 0.004)
    progress.add(10, seconds=1.0, waited=0.2)
    progress.show(20, 0.002)
    progress.measured(100, 32.39)
    progress.show(100, 0.001, last=True)
    assert capsys.readouterr().out.splitlines() == [
        "step   0/100  set5 30.39 dB",
        "step  20/100  loss 2.000e-03  640 patches/s  0:08 left",
        "step 100/100  loss 1.000e-03  set5 32.39 dB  640 patches/s  0:00 left",
    ]
    assert math.isclose(progress.share_waited(), 0.2)


def test_one_line_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    progress = Progress(steps=10, batch_size=1, every=5, dataset="set5")
    progress.measured(0, 30.0)
    progress.show(1, 0.5)
    progress.measured(10, 32.0)
    progress.show(10, 0.25, last=True)
    assert capsys.readouterr().out == (
        "\rstep  1/10  loss 5.000e-01  set5 30.00 dB at step 0\033[K"
        "\rstep 10/10  loss 2.500e-01  set5 32.00 dB\033[K\n"
    )


def test_nothing_is_said_of_a_psnr_that_was_not_measured_yet(capsys):
    Progress(steps=10, batch_size=1, every=1, dataset="set5").show(5, 0.5)
    assert capsys.readouterr().out == "step  5/10  loss 5.000e-01\n"


def test_other_processes_are_silent(capsys):
    Progress(steps=10, batch_size=1, every=1, dataset="set5", silent=True).show(10, 0.5, last=True)
    assert not capsys.readouterr().out
