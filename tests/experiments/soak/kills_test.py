"""When a kill comes, and how a training that was killed is judged."""

import collections
import random
import signal

from experiments.soak import kills, trainings

FIELDS = {"steps": 20, "steps_per_dispatch": 2, "eval_every": 10, "checkpoint_every": 8}
RESULT = {"weights.safetensors": b"w", "eval.json": b"e", "metrics.jsonl": b"m"}


def test_phases_follow_the_line_of_progress():
    found = {step: kills.phase_of(step, FIELDS) for step in (None, *range(0, 21, 2))}
    assert found == {
        **dict.fromkeys((2, 4, 6, 10, 12, 14, 0), "steps"),
        None: "start",
        8: "checkpoint",
        16: "checkpoint",
        18: "evaluation",
        20: "end",
    }


def test_every_phase_of_the_training_is_drawn():
    fields = kills.train_fields()
    drawn = [kills.draw(random.Random(seed), fields) for seed in range(500)]
    phases = collections.Counter(kills.phase_of(kill.step, fields) for kill in drawn)
    assert phases.keys() == set(kills.PHASES)
    assert min(phases.values()) > 50
    assert {kill.signum for kill in drawn} == set(kills.SIGNALS)
    assert drawn == [kills.draw(random.Random(seed), fields) for seed in range(500)]


def test_a_kill_falls_before_the_next_line():
    moments = {0: 4.0, 2: 4.5, None: 6.0}
    at = {step: kills.pause(kills.Kill(signal.SIGKILL, step, 0.5), moments) for step in (None, 0)}
    assert at == {None: 2.0, 0: 0.25}
    assert kills.pause(kills.Kill(signal.SIGKILL, 2, 0.1), moments) == 0.1 * 1.5


def test_exit_codes_of_signals():
    assert kills.expected_codes(signal.SIGKILL) == {-9, 0}
    assert kills.expected_codes(signal.SIGTERM) == {-15, 143, 0}


def test_what_differs_or_is_left_over_is_a_fault(tmp_path):
    for name, content in RESULT.items():
        (tmp_path / name).write_bytes(content)
    ended = trainings.Ended(0, "", "", {})
    training = trainings.create(tmp_path, tmp_path)
    whole = trainings.Undisturbed(training, ended, RESULT, {*RESULT, "checkpoints/16"})
    (tmp_path / "checkpoints/14").mkdir(parents=True)  # of a SIGTERM
    assert kills.judge(tmp_path, ended, whole) == []
    (tmp_path / "eval.json").write_bytes(b"other")
    (tmp_path / "config.json.partial7").touch()
    (tmp_path / "checkpoints/8.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "checkpoints/16").mkdir()
    assert kills.judge(tmp_path, ended, whole) == [
        "there are 2 checkpoints",
        "eval.json differs",
        "checkpoints/8.orbax-checkpoint-tmp is left over",
        "config.json.partial7 is left over",
    ]
    failed = trainings.Ended(1, "", "error: no", {})
    assert kills.judge(tmp_path, failed, whole) == ["it does not resume, exit code 1: error: no"]
