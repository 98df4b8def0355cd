"""The lock file holds what the files of requirements say, for all systems, and hashes for all."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
LOCK = (ROOT / "requirements-lock.txt").read_text()


def pins(text):
    """{name: version}, with names as the index has them."""
    found = re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==([\w.]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def test_the_lock_has_the_pins():
    """After a change of a pin, `.ci/lock` writes the lock anew."""
    locked = pins(LOCK)
    for name in ("requirements.txt", "requirements-experiments.txt", "requirements-dev.txt"):
        for package, version in pins((ROOT / name).read_text()).items():
            assert locked.get(package) == version, f"{name}: {package}; run .ci/lock"


def test_the_lock_is_for_every_system_and_has_only_hashes():
    assert {"tensorflow", "tensorflow-cpu"} <= pins(LOCK).keys()
    assert "http" not in LOCK
    assert "index" not in LOCK
    packages = re.split(r"\n(?=\S)", LOCK.strip())
    assert all("--hash=sha256:" in package for package in packages if "==" in package)
    assert len(packages) > 150


def test_the_lower_bounds_allow_the_pins():
    bounds = re.findall(r'"([\w.-]+)>=([\w.]+)', (ROOT / "pyproject.toml").read_text())
    locked = pins(LOCK)
    for name, bound in bounds:
        if name == "setuptools":
            continue
        version = locked[re.sub(r"[-_.]+", "-", name).lower()]
        assert numbers(version) >= numbers(bound), name


def numbers(version):
    return [int(part) for part in re.findall(r"\d+", version)]
