"""What two trainings are compared by."""

from experiments.soak import trainings


def test_lines_of_progress():
    assert trainings.step_of("step  8/60  loss 1.000e-02") == 8
    assert trainings.step_of("resumed after step 8") is None


def test_times_do_not_count_and_damaged_lines_do():
    lines = b'{"step": 2, "loss": 0.5, "waited": 0.1}\n{"step"\n5\n'
    assert trainings.without_times(lines) == b'{"step": 2, "loss": 0.5}\n{"step"\n5'


def test_a_file_that_is_missing_differs():
    assert trainings.differences({}, {"eval.json": b"e"}) == ["eval.json"]


def test_tracebacks_are_found_and_warnings_are_none():
    err = "W1 a warning\nTraceback (most recent call last):\n  a\nException ignored in: b\n"
    ended = trainings.Ended(1, "", err, {None: 2.0, 4: 1.0, 2: 0.5})
    assert len(ended.tracebacks) == 2
    assert ended.last_step == 4
    assert trainings.Ended(1, "", "error: no", {None: 2.0}).last_step is None
