"""Pairs of a CSV file and images beside it."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from taclean.data.readers.base import (
    STALE,
    Reader,
    Sample,
    ScannedShards,
    file_contents,
    matching_files,
)
from taclean.errors import UserError

CSV_ROWS = 10_000  # rows of a CSV that make a shard


class CsvReader(ScannedShards):
    """CleanCLIP's CSV: columns `image` (path from the CSV's folder on) and `caption`, any others.

    A shard is 10,000 records, named FILE@BYTE where they start, so that a worker needs no scan.
    """

    def __init__(self, folder: Path, files: list[str]):
        self.folder, self.files = folder, files

    def _records(self, path: Path, start: int = 0) -> Iterator[tuple[int, str, str | None]]:
        """Yield (byte where the next record starts, image, caption) from byte `start` on."""
        at, line = 0, 0
        try:
            with path.open("rb") as file:

                def lines() -> Iterator[str]:
                    nonlocal at, line
                    for raw in file:
                        mark = b"\xef\xbb\xbf" if at == 0 else b""
                        at, line = at + len(raw), line + 1
                        yield raw.removeprefix(mark).decode("utf-8", "surrogateescape")

                rows = csv.reader(lines(), strict=True)
                header = [name.strip() for name in next(rows, [])]
                if not {"image", "caption"} <= set(header):
                    raise UserError(
                        f"{path}: its first line names no columns image and caption; "
                        "add them or correct files"
                    )
                image, caption = header.index("image"), header.index("caption")
                if start:
                    file.seek(start - 1)
                    if file.read(1) != b"\n":
                        raise UserError(f"{path}: changed since it was indexed; {STALE}")
                    at = start
                    rows = csv.reader(lines(), strict=True)
                for row in rows:
                    if row:  # not a blank line
                        yield (
                            at,
                            row[image] if image < len(row) else "",
                            row[caption] if caption < len(row) else None,
                        )
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; put the file there") from None
        except csv.Error as error:
            where = f"line {line} from byte {start} on" if start else f"line {line}"
            raise UserError(f"{path}, {where}: no CSV ({error}); mend the quotes") from None

    @cached_property
    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for name in self.files:
            shard, n, last = None, 0, 0
            for end, _, _ in self._records(self.folder / name):
                if shard is None or n == CSV_ROWS:
                    shard, n = f"{name}@{last}", 0
                n += 1
                counts[shard] = n
                last = end
        return counts

    def read(self, shard: str, positions: np.ndarray) -> Iterator[Sample]:
        name, _, start = shard.rpartition("@")
        path = self.folder / name
        wanted = iter(positions.tolist())
        position = next(wanted, None)
        for i, (_, image, caption) in enumerate(self._records(path, int(start))):
            if position is None or i == CSV_ROWS:
                return
            if i == position:
                data = file_contents(path.parent / image) if image else None
                yield Sample(image, caption, -1, data)
                position = next(wanted, None)

    def classes(self) -> list[str] | None:
        return None


def open_csv_pairs(spec: Mapping[str, Any], folder: Path) -> Reader:
    """Open the CSV files that match `files` (default: *.csv)."""
    return CsvReader(folder, matching_files(spec, folder, "*.csv"))
