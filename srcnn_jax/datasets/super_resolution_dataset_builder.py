"""TFDS builder of the named datasets, one config each.

It downloads the files that `sources.tsv` lists. Files that already lie in TFDS's manual directory
(`tfds.download.DownloadConfig(manual_dir="<root>/set5")`) are taken from there instead, under the
same sizes and sums. Import this module only where it is used: it imports TFDS.
"""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from srcnn_jax.datasets import sources

SPLIT = "full"  # Whether a set trains or tests is for the experiment to say.


class Builder(tfds.core.GeneratorBasedBuilder):
    """`super_resolution/<name>`: the pixels that Pillow decodes, stored losslessly.

    Examples are {"file": file name, "pixels": uint8 (H, W, C)}, C being 1 for grey and 3 for RGB:
    TFDS's Image feature would give every image the same number of channels.
    """

    VERSION = tfds.core.Version(sources.VERSION)
    BUILDER_CONFIGS = [  # noqa: RUF012 (the name and type are TFDS's)
        tfds.core.BuilderConfig(name=name, description=description)
        for name, description in sources.NAMES.items()
    ]

    @property
    def _rows(self) -> list[sources.Row]:
        return sources.rows(self.builder_config.name)

    @property
    def url_infos(self) -> dict[str, Any]:
        """What TFDS checks downloads against, from our table in place of its checksums.tsv."""
        return {
            row.url: tfds.core.download.checksums.UrlInfo(row.size, row.sha256, row.file)
            for row in self._rows
        }

    def _info(self) -> tfds.core.DatasetInfo:
        # Description and citations are README.md and CITATIONS.bib beside this file.
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
            # Checks the sum again: TFDS trusts the names of files in its cache of downloads.
            pixels = sources.read_file(pathlib.Path(paths[row.file]), row).pixels
            yield row.file, {"file": row.file, "pixels": np.atleast_3d(pixels)}

    def _log_download_bytes(self) -> None:
        """Says nothing: the caller logs where the data came from."""

    def _log_download_done(self) -> None:
        """Says nothing, likewise."""
