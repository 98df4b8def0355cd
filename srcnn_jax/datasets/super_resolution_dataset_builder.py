"""TFDS builder of the named data sets, with one config for each.

It downloads the files that `sources.tsv` lists. If a file is in TFDS's manual directory
(`tfds.download.DownloadConfig(manual_dir="<root>/set5")`), it is taken from there, with the same
check of size and sha256. Import this module only where it is used: it imports TFDS.
"""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from srcnn_jax.datasets import sources

SPLIT = "full"  # The experiment decides which set is for training or testing.


class Builder(tfds.core.GeneratorBasedBuilder):
    """`super_resolution/<name>`: the pixels that Pillow decodes, stored losslessly.

    Examples are {"file": file name, "pixels": uint8 (H, W, C)}, where C is 1 for grey and 3 for
    RGB. TFDS's Image feature would give every image the same number of channels.
    """

    VERSION = tfds.core.Version(sources.VERSION)
    BUILDER_CONFIGS = [  # noqa: RUF012 (the name and type are TFDS's)
        tfds.core.BuilderConfig(name=name, description=description.text)
        for name, description in sources.NAMES.items()
    ]

    @property
    def _rows(self) -> list[sources.Row]:
        return sources.rows(self.builder_config.name)

    @property
    def url_infos(self) -> dict[str, Any]:
        """The sizes and sums that TFDS checks, from our table instead of its checksums.tsv."""
        return {
            row.url: tfds.core.download.checksums.UrlInfo(row.size, row.sha256, row.file)
            for row in self._rows
        }

    def _info(self) -> tfds.core.DatasetInfo:
        # The description and citations are in README.md and CITATIONS.bib beside this file.
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "file": tfds.features.Text(),
                    "pixels": tfds.features.Tensor(
                        shape=(None, None, None), dtype=np.uint8, encoding="zlib"
                    ),
                }
            )
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        paths = dl_manager.download({row.file: row.url for row in self._rows})
        return {SPLIT: self._generate_examples(paths)}

    def _generate_examples(self, paths: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        for row in self._rows:
            # This checks the sum again, because TFDS trusts the file names in its download cache.
            pixels = sources.read_file(pathlib.Path(paths[row.file]), row).pixels
            yield row.file, {"file": row.file, "pixels": np.atleast_3d(pixels)}

    def _log_download_bytes(self) -> None:
        """Logs nothing, because the caller logs the source of the data."""

    def _log_download_done(self) -> None:
        """Logs nothing, because the caller logs the source of the data."""
