"""What all readers share: the sample, the protocol, lists of samples, and files by their globs.

A source is a list of shards, each with a fixed number of samples in a fixed order, so that a row
is (shard, position) and any subset of rows can be read. Labels are class indices, -1 where a
source has none. A sample that lacks something is still a sample: the packing counts it as broken.
"""

from __future__ import annotations

import errno
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from taclean.data.fetch import fetched
from taclean.util.errors import UserError

IMAGES = (".jpg", ".jpeg", ".png", ".webp")
LIST_SHARD = 500  # samples of a set without shards of its own that make one
STALE = "index it again (in the workflow: remove the data/*/index/*.json of this source)"


@dataclass(frozen=True)
class Sample:
    """One sample as it was found.

    Attributes:
        key: its name in the shard.
        caption: None where there is none. Bytes that are not UTF-8 are kept as lone surrogates.
        label: class index, -1 for none.
        image: the encoded image file, or (H, W, 3) uint8 pixels; None where there is none. In a
            `ListReader`'s list also the file's path.
        more: further captions of the same image (COCO).
    """

    key: str
    caption: str | None
    label: int
    image: bytes | np.ndarray | Path | None
    more: tuple[str, ...] = ()


class Reader(ABC):
    """A source of samples. Readers can be pickled: worker processes get a copy."""

    first_id = 0  # of the rows

    @abstractmethod
    def shards(self) -> list[str]:
        """Names of all shards, in the order that numbers the rows."""

    @abstractmethod
    def count(self, shard: str) -> int:
        """Samples in a shard, without reading images."""

    @abstractmethod
    def read(self, shard: str, positions: np.ndarray) -> Iterator[Sample]:
        """Yield the samples at `positions` (sorted, from 0); those past the end are left out.

        Raises:
            UserError: the shard is missing, foreign or truncated.
        """

    def classes(self) -> list[str] | None:
        """Class names by label; None: no labels, or labels that count the run's own classes."""
        return None

    def pictures(self) -> np.ndarray | None:
        """(rows,) int64, equal where rows show the same picture; None: each has one of its own."""
        return None


class ScannedShards(Reader):
    """Shards that a scan of the files finds; workers get its result with the reader."""

    @cached_property
    def counts(self) -> dict[str, int]:
        """Samples of every shard, in the order that numbers the rows."""
        raise NotImplementedError

    def shards(self) -> list[str]:
        return list(self.counts)

    def count(self, shard: str) -> int:
        return self.counts[shard]


class ListReader(Reader):
    """A list of samples in memory, in shards of 500; an image may be a path, read when wanted."""

    def __init__(self, name: str, samples: Sequence[Sample], classes: list[str] | None):
        self.name, self.samples, self._classes = name, samples, classes

    def shards(self) -> list[str]:
        return [f"{self.name}@{start}" for start in range(0, len(self.samples), LIST_SHARD)]

    def count(self, shard: str) -> int:
        return min(LIST_SHARD, len(self.samples) - int(shard.rpartition("@")[2]))

    def read(self, shard: str, positions: np.ndarray) -> Iterator[Sample]:
        start = int(shard.rpartition("@")[2])
        for position in positions[positions < self.count(shard)].tolist():
            sample = self.samples[start + position]
            if isinstance(sample.image, Path):
                sample = replace(sample, image=file_contents(sample.image))
            yield sample

    def classes(self) -> list[str] | None:
        return self._classes


def matching_files(spec: Mapping[str, Any], folder: Path, default: str) -> list[str]:
    """Files that match the spec's `files`, as sorted paths relative to `folder`.

    Of a fetched source, those that were fetched: files of another revision may lie there too.
    """
    if names := fetched(spec, folder):
        return names
    patterns = spec.get("files") or default
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    try:
        found = {
            path
            for pattern in patterns
            for path in folder.glob(pattern)
            if path.is_file() and not path.name.startswith(".")
        }
    except (NotImplementedError, ValueError):
        raise UserError(f"files: {patterns} are no globs inside {folder}; correct them") from None
    if not found:
        wanted = " or ".join(patterns)
        raise UserError(f"{folder}: no file matches {wanted}; put the files there or change files")
    names = sorted(path.relative_to(folder).as_posix() for path in found)
    for name in names:
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:  # an index cannot name it
            raise UserError(f"{folder}: the name of {name!a} is not UTF-8; rename it") from None
    return names


def file_contents(path: Path) -> bytes | None:
    """A file's bytes; None where there is no such file, or what is named can be none."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            return None  # no path of an image
        raise UserError(f"{path}: cannot be read ({error.strerror}); mend that") from None


def caption_of(text: bytes | None, record: bytes | None) -> str | None:
    """The caption of KEY.txt, or else of KEY.json's `caption`."""
    if text is not None:
        return text.decode("utf-8", "surrogateescape")
    try:
        value = json.loads(record or b"")
    except (ValueError, RecursionError):
        return None
    caption = value.get("caption") if isinstance(value, dict) else None
    return caption if isinstance(caption, str) else None
