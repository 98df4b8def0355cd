"""Eight CPU devices for every test, and where the shared research data is, if it is there."""

import os
import pathlib

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)

SHARED = pathlib.Path(__file__).parents[2] / "shared"


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
