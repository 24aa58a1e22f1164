"""What img2dataset writes: tars, or numbered folders of files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from taclean.data.readers.base import (
    IMAGES,
    Reader,
    Sample,
    caption_of,
    file_contents,
    matching_files,
)
from taclean.data.readers.webdataset import TarReader
from taclean.util.errors import UserError


class FilesReader(Reader):
    """img2dataset's `files` output: 00000/000000000.jpg beside .txt and .json; a folder a shard."""

    def __init__(self, folder: Path, names: list[str]):
        self.folder, self.names = folder, names

    def shards(self) -> list[str]:
        return self.names

    def _samples(self, shard: str) -> dict[str, dict[str, str]]:
        """The files of every key by their extensions in lower case."""
        found: dict[str, dict[str, str]] = {}
        try:
            for name in os.listdir(self.folder / shard):
                stem, dot, extension = name.rpartition(".")
                extension = dot + extension.lower()
                if extension in (*IMAGES, ".txt", ".json") and not name.startswith("."):
                    found.setdefault(stem, {})[extension] = name
        except OSError as error:
            raise UserError(
                f"{self.folder / shard}: {error.strerror}; put the shard there"
            ) from None
        return dict(sorted(found.items()))

    def count(self, shard: str) -> int:
        return len(self._samples(shard))

    def read(self, shard: str, positions: np.ndarray) -> Iterator[Sample]:
        samples = list(self._samples(shard).items())
        for position in positions[positions < len(samples)].tolist():
            key, files = samples[position]

            def part(*wanted: str, files: dict[str, str] = files) -> bytes | None:
                for extension in wanted:
                    if extension in files:
                        return file_contents(self.folder / shard / files[extension])
                return None

            yield Sample(key, caption_of(part(".txt"), part(".json")), -1, part(*IMAGES))


def open_img2dataset(spec: Mapping[str, Any], folder: Path) -> Reader:
    """Open tars (those that match `files`, where it is set) or numbered folders."""
    if spec.get("files"):
        return TarReader(folder, matching_files(spec, folder, ""))
    tars = sorted(path.name for path in folder.glob("*.tar"))
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and re.fullmatch(r"\d+", p.name))
    if tars and names:
        raise UserError(f"{folder}: both tars and numbered folders; keep one kind or set files")
    if not tars and not names:
        raise UserError(
            f"{folder}: neither 00000.tar nor 00000/; put img2dataset's output there "
            "(output_format webdataset or files)"
        )
    return TarReader(folder, tars) if tars else FilesReader(folder, names)
