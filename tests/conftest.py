"""Eight CPU devices for every test, and where the shared research data is, if it is there."""

import os
import pathlib
import signal
from collections.abc import Callable, Iterator

import jax
import jax.extend
import pytest

from srcnn_jax import runtime

jax.config.update("jax_num_cpu_devices", 8)

# Tests compile as a training does, which is faster. The commands that they start set their own.
if runtime.has_only_cpus():
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XLA_FLAGS", runtime.CPU_OPTIMIZATION_FLAG, prepend=" ")
        jax.devices()  # JAX reads the flags once

# A shell lets its background commands ignore Ctrl-C, and what tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto` is one worker more than cores: many tests wait for commands that they started."""
    return runtime.available_cores() + 1


SHARED = pathlib.Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory) -> None:
    """A cache for what tests and the commands that they start compile: most of it more than once.

    All workers of pytest-xdist share it.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    runtime.cache_compilations()


@pytest.fixture(scope="session")
def equations() -> Callable:
    """Each equation of a program and of what it calls, with the primitives that it is inside of."""

    def walk(jaxpr, above=()):
        for equation in jaxpr.eqns:
            yield equation, above
            for below in jax.extend.core.jaxprs_in_params(equation.params):
                yield from walk(below, (*above, equation.primitive.name))

    return walk


@pytest.fixture
def programs() -> Iterator[list[str]]:
    """An event for each program that JAX compiles, or reads from the cache, during a test."""
    made: list[str] = []

    def listen(event: str, *_: float, **__: str | int) -> None:
        if "backend_compile" in event:
            made.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield made
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.fixture
def disk_calls(monkeypatch) -> list[str]:
    """'fsync' and 'rename' of a test's files, in the order of the calls."""
    calls: list[str] = []
    fsync, replace = os.fsync, pathlib.Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd)))
    monkeypatch.setattr(
        pathlib.Path, "replace", lambda *paths: (calls.append("rename"), replace(*paths))
    )
    return calls


@pytest.fixture(scope="session")
def data_dir() -> str:
    """Folder of t91, set5, ...: SRCNN_DATA_DIR, or shared/data beside the checkout."""
    folder = pathlib.Path(os.environ.get("SRCNN_DATA_DIR") or SHARED / "data")
    if not (folder / "set5").is_dir():
        pytest.skip(f"no research images: {folder} has no set5 (set SRCNN_DATA_DIR)")
    return str(folder)


@pytest.fixture(scope="session")
def oracle_dir() -> pathlib.Path:
    """Folder of the authors' weights and MATLAB's output: SRCNN_ORACLE_DIR, or shared/oracle."""
    folder = pathlib.Path(os.environ.get("SRCNN_ORACLE_DIR") or SHARED / "oracle")
    if not folder.is_dir():
        pytest.skip(f"no oracle data: {folder} is not there (set SRCNN_ORACLE_DIR)")
    return folder


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> str:
    """A folder of four small pictures, cut from scikit-image's cat."""
    import skimage.data
    from PIL import Image

    folder = tmp_path_factory.mktemp("photographs")
    cat = skimage.data.cat()
    for i in range(4):
        Image.fromarray(cat[60 + 30 * i :, 90 * i :][:72, :80]).save(folder / f"cat{i}.png")
    return str(folder)


@pytest.fixture
def tiny_config(photographs):
    """Trains a network of 166 weights on small pictures for 10 steps, in a second."""
    from configs import default

    config = default.get_config("x3")
    config.update_from_flattened_dict(
        {
            "name": "tiny",
            "model.kernel_sizes": (5, 1, 3),
            "model.features": (4, 3),
            "data.train": photographs,
            "data.patch_size": 17,
            "train.steps": 10,
            "train.batch_size": 16,
            "train.steps_per_dispatch": 5,
            "train.log_every": 5,
            "train.eval_every": 5,
            "train.checkpoint_every": 5,
            "train.eval_dataset": photographs,
            "optimizer.warmup_steps": 2,
            "eval.datasets": photographs,
        }
    )
    return config
