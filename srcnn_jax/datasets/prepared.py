"""Downloaded datasets, prepared by TFDS once and read from its data directory afterwards.

TFDS and TensorFlow are imported inside functions, because they take seconds to start.
"""

import contextlib
import logging
import os
import pathlib
import shutil
import threading
import urllib.parse
import uuid
from typing import Any

from srcnn_jax.datasets import files, sources

PROBE_SECONDS = 3.0

_importing = threading.Lock()


def directory(name: str) -> pathlib.Path:
    """Where the prepared copy of a named dataset is, or would be.

    The path holds a digest of the table's rows, so that a changed source is prepared anew, and the
    directory appears by one rename, so that a copy which exists is complete.
    """
    from tensorflow_datasets.core import constants  # Obeys TFDS_DATA_DIR; does not start TF.

    root = pathlib.Path(constants.get_default_data_dir()).expanduser()
    return root / "srcnn_jax" / f"{name}-{sources.digest(name)}"


def unreachable(url: str, dead_hosts: dict[str, str]) -> str | None:
    """Asks for a URL once, for `PROBE_SECONDS` at most.

    Args:
      url: the URL to try.
      dead_hosts: what is known of hosts that gave no answer; read and extended, so that several
        datasets on one host wait once.

    Returns:
      None if the server delivers the URL, else one phrase that says why not.
    """
    import requests  # What TFDS downloads with: the same proxies and certificates.

    host = urllib.parse.urlsplit(url).netloc
    if host in dead_hosts:
        return dead_hosts[host]
    answers: list[str | None] = []

    def ask() -> None:
        try:
            with requests.get(url, stream=True, timeout=PROBE_SECONDS) as response:
                answers.append(None if response.ok else f"HTTP status {response.status_code}")
        except requests.RequestException as error:
            dead_hosts[host] = type(error).__name__
            answers.append(dead_hosts[host])

    # A thread, because timeouts bound neither the look-up of a name nor a host of many addresses.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    if not answers:
        dead_hosts[host] = f"no answer within {PROBE_SECONDS:.0f} s"
        return dead_hosts[host]
    return answers[0]


def prepare(name: str) -> None:
    """Downloads a named dataset and makes its prepared copy; several workers may do so at once.

    Each worker prepares in a directory of its own and renames it. One that was killed leaves a
    directory `*.incomplete.*` that nobody reads.

    Raises:
      ValueError: the download failed, a file is not the published one, or the data directory
        cannot be written.
    """
    tf, tfds = import_tensorflow(), _import_tfds()
    import requests
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

    from srcnn_jax.datasets.super_resolution_dataset_builder import Builder

    target = directory(name)
    downloads = target.parent / "downloads"
    scratch = target.with_name(f"{target.name}.incomplete.{uuid.uuid4().hex}")
    source = sources.rows(name)[0].url.rpartition("/")[0]
    try:
        scratch.mkdir(parents=True)
        Builder(config=name, data_dir=scratch).download_and_prepare(download_dir=downloads)
        try:
            scratch.rename(target)
        except OSError:
            if not target.is_dir():  # Otherwise another worker was quicker.
                raise
    except NonMatchingChecksumError as error:
        raise ValueError(
            f"download of dataset {name!r} is not the published data: {_one_line(error)}; "
            "provide the right files in a folder (SRCNN_DATA_DIR)"
        ) from error
    except (requests.RequestException, tfds.download.DownloadError) as error:
        raise ValueError(
            f"download of dataset {name!r} from {source} failed: {_one_line(error)}; run again to "
            f"go on (what has come is kept in {str(downloads)!r})"
        ) from error
    except (OSError, tf.errors.OpError) as error:
        raise ValueError(
            f"cannot prepare dataset {name!r} in {str(target.parent)!r}: {_one_line(error)}; set "
            "TFDS_DATA_DIR to a folder that can be written and has space"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def read(name: str) -> list[files.ImageFile]:
    """All images of the prepared copy of a named dataset.

    Raises:
      ValueError: the copy is damaged.
    """
    tfds = _import_tfds()
    from srcnn_jax.datasets.super_resolution_dataset_builder import SPLIT, Builder

    copy = directory(name)
    try:
        examples = tfds.as_numpy(Builder(config=name, data_dir=copy).as_dataset(split=SPLIT))
        pixels = {example["file"].decode(): example["pixels"] for example in examples}
        return [
            files.ImageFile(
                row.file,
                row.sha256,
                pixels[row.file] if pixels[row.file].shape[2] == 3 else pixels[row.file][:, :, 0],
            )
            for row in sources.rows(name)
        ]
    except Exception as error:  # TFDS and TensorFlow raise many kinds on damaged records.
        raise ValueError(
            f"prepared copy {str(copy)!r} of dataset {name!r} is damaged ({_one_line(error)}): "
            "delete that folder and run again"
        ) from error


def import_tensorflow() -> Any:
    """TensorFlow, quiet, and kept from reserving the memory of GPUs that JAX needs."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # or it tells about them on some CPUs
    # Unless the old Keras is asked for, which need not be there, TensorFlow imports the new one at
    # once. That takes longer than the rest of it; who wants it in this process still gets it.
    with _importing:
        keras = os.environ.get("TF_USE_LEGACY_KERAS")
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
        import tensorflow as tf

        del os.environ["TF_USE_LEGACY_KERAS"]
        if keras is not None:
            os.environ["TF_USE_LEGACY_KERAS"] = keras
    with contextlib.suppress(RuntimeError):  # TensorFlow has started already; its choice stands.
        tf.config.set_visible_devices([], "GPU")
    return tf


def _import_tfds() -> Any:
    """TensorFlow Datasets, quiet."""
    import_tensorflow()
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    logging.getLogger("absl").addFilter(_is_of_use)
    return tfds


def _is_of_use(record: logging.LogRecord) -> bool:
    """False for TFDS's warnings that its own code uses what it has deprecated."""
    return "`FeatureConnector.dtype` is deprecated" not in str(record.msg)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
