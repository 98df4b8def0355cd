"""Which file is damaged, and how the training that follows is judged."""

import random

import pytest

from experiments.soak import flips, trainings


@pytest.mark.parametrize(
    ("code", "out", "err", "unequal", "outcome", "fault"),
    [
        (0, "", "", [], "equal", ""),
        (0, "checkpoint 8 was passed over", "", [], "equal, and a line said so", ""),
        (1, "", "error: it is damaged\n", [], "refused in one line", ""),
        (0, "", "", ["eval.json"], "", "exit code 0, and eval.json differs"),
        (1, "", "error: a\nerror: b\n", [], "", "exit code 1 with 2 lines"),
        (1, "", "", [], "", "exit code 1 with 0 lines"),
        (-11, "", "", [], "", "exit code -11"),
        (1, "", "Traceback (most recent call last):\n", [], "", "a line of stderr is 'Traceback"),
    ],
)
def test_judgement(code, out, err, unequal, outcome, fault):
    found = flips.judge(trainings.Ended(code, out, err, {}), unequal)
    assert found[0] == outcome
    assert found[1].startswith(fault)
    assert bool(found[0]) != bool(found[1])


def test_every_file_is_damaged_but_locks_and_events(tmp_path):
    for name in ("eval.json", "training.lock", "tensorboard/events", "checkpoints/8/a/b"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"content")
    chosen = {flips.choose(tmp_path, random.Random(seed)) for seed in range(50)}
    assert chosen == {tmp_path / "eval.json", tmp_path / "checkpoints/8/a/b"}


def test_harm_is_named(tmp_path):
    found = set()
    for seed in range(50):
        path = tmp_path / str(seed)
        path.write_bytes(b"content")
        how = flips.harm(path, random.Random(seed))
        assert path.exists() != (how == "deleted")
        assert how == "deleted" or path.read_bytes() != b"content"
        found.add(how)
    assert found == {"a bit flipped", "a block lost", "cut", "deleted"}
