"""Downloaded data sets: TFDS prepares them once, and later runs read them from its data directory.

TFDS and TensorFlow are imported inside functions, because their import takes seconds.
"""

import logging
import pathlib
import shutil
import threading
import urllib.parse
import uuid
from typing import Any

from srcnn_jax.datasets import files, sources
from srcnn_jax.runtime import import_tensorflow

PROBE_SECONDS = 3.0  # max seconds to wait for a server's answer


def directory(name: str) -> pathlib.Path:
    """Returns the directory of the prepared copy of a named data set; it need not exist.

    The path contains a digest of the table's rows, so a changed source is prepared again. The
    directory appears by one rename, so an existing copy is complete.
    """
    from tensorflow_datasets.core import constants  # Reads TFDS_DATA_DIR; does not start TF.

    root = pathlib.Path(constants.get_default_data_dir()).expanduser()
    return root / "srcnn_jax" / f"{name}-{sources.digest(name)}"


def unreachable(url: str, dead_hosts: dict[str, str]) -> str | None:
    """Requests a URL once, for `PROBE_SECONDS` at most.

    Args:
      url: the URL.
      dead_hosts: reason by host, for hosts that gave no answer. It is read and extended, so that
        several data sets on one host wait only once.

    Returns:
      None if the server delivers the URL, else the reason why not, in a few words.
    """
    import requests  # TFDS downloads with it, so proxies and certificates are the same.

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

    # A thread is needed, because the timeout of a request does not limit the look-up of the host's
    # name, nor the attempts at several addresses.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    if not answers:
        dead_hosts[host] = f"no answer within {PROBE_SECONDS:.0f} s"
        return dead_hosts[host]
    return answers[0]


def prepare(name: str) -> None:
    """Downloads a named data set and makes its prepared copy.

    Several processes may do this at the same time. Each prepares the copy in its own directory and
    renames it. A killed process leaves a directory `*.incomplete.*`, which is never read.

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
            if not target.is_dir():  # Otherwise another process was faster.
                raise
    except NonMatchingChecksumError as error:
        raise ValueError(
            f"download of dataset {name!r} is not the published data: {_one_line(error)}; "
            "provide the right files in a folder (SRCNN_DATA_DIR)"
        ) from error
    except (requests.RequestException, tfds.download.DownloadError) as error:
        raise ValueError(
            f"download of dataset {name!r} from {source} failed: {_one_line(error)}; run again to "
            f"continue (downloaded files are kept in {str(downloads)!r})"
        ) from error
    except (OSError, tf.errors.OpError) as error:
        raise ValueError(
            f"cannot prepare dataset {name!r} in {str(target.parent)!r}: {_one_line(error)}; set "
            "TFDS_DATA_DIR to a folder that can be written and has space"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def read(name: str) -> list[files.ImageFile]:
    """Reads all images of the prepared copy of a named data set.

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
    except Exception as error:  # TFDS and TensorFlow raise many kinds of errors on damaged records.
        raise ValueError(
            f"prepared copy {str(copy)!r} of dataset {name!r} is damaged ({_one_line(error)}): "
            "delete that folder and run again"
        ) from error


def _import_tfds() -> Any:
    """Imports TensorFlow Datasets without its progress bars and some warnings."""
    import_tensorflow()
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    logging.getLogger("absl").addFilter(_is_of_use)
    return tfds


def _is_of_use(record: logging.LogRecord) -> bool:
    """Returns False for TFDS's warnings about deprecated features in its own code."""
    return "`FeatureConnector.dtype` is deprecated" not in str(record.msg)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
