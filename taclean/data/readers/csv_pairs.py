"""Pairs of a CSV file and the images that it names."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from taclean.data.readers.base import Reader, Sample, file_contents, matching_files
from taclean.data.readers.csv_table import CsvForm

CSV_ROWS = 10_000  # rows of a CSV that make a shard


class CsvReader(Reader):
    """A record is an image's path and a caption; rows with the same path show the same picture.

    A shard is 10,000 records, named FILE@BYTE where they start, so that a worker needs no scan.
    """

    def __init__(self, folder: Path, files: list[str], form: CsvForm):
        self.folder, self.files, self.form = folder, files, form

    @cached_property
    def _scan(self) -> tuple[dict[str, int], np.ndarray]:
        """Records of every shard, and a hash of every record's image path."""
        counts: dict[str, int] = {}
        paths = array("q")
        for name in self.files:
            shard, n, last = None, 0, 0
            path = self.folder / name
            base = self.form.image_path(path, "")
            for end, (image, _) in self.form.records(path):
                if shard is None or n == CSV_ROWS:
                    shard, n = f"{name}@{last}", 0
                n += 1
                counts[shard] = n
                last = end
                # A record without a path shows nothing, so it has no picture to share.
                shown = os.path.normpath(os.path.join(base, image)) if image else len(paths)
                paths.append(hash(shown))
        return counts, np.frombuffer(paths, np.int64)

    def __getstate__(self) -> dict[str, Any]:
        """Without the scan: workers read from shards' names."""
        return {"folder": self.folder, "files": self.files, "form": self.form}

    def shards(self) -> list[str]:
        return list(self._scan[0])

    def count(self, shard: str) -> int:
        return self._scan[0][shard]

    def pictures(self) -> np.ndarray | None:
        return self._scan[1]

    def read(self, shard: str, positions: np.ndarray) -> Iterator[Sample]:
        name, _, start = shard.rpartition("@")
        path = self.folder / name
        wanted = iter(positions.tolist())
        position = next(wanted, None)
        for i, (_, (image, caption)) in enumerate(self.form.records(path, int(start))):
            if position is None or i == CSV_ROWS:
                return
            if i == position:
                data = file_contents(self.form.image_path(path, image)) if image else None
                yield Sample(image or "", caption, -1, data)
                position = next(wanted, None)


def open_csv_pairs(spec: Mapping[str, Any], folder: Path) -> Reader:
    """Open the CSV files that match `files` (default: *.csv), CleanCLIP's form by default.

    Their columns are `image` and `caption`, or as `columns` names them, and any others.
    """
    form = CsvForm.of(spec, folder, "image", "caption")
    return CsvReader(folder, matching_files(spec, folder, "*.csv"), form)
