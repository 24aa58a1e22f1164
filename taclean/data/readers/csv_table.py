"""Chosen columns of a CSV file, record by record."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taclean.data.readers.base import STALE
from taclean.util.errors import UserError


@dataclass(frozen=True)
class CsvForm:
    """How the CSV files of a source are written and where their images are.

    Attributes:
        columns: names of the wanted columns.
        separator: one character.
        images: folder that the images' paths start from; None: that of the CSV file.
    """

    columns: tuple[str, ...]
    separator: str = ","
    images: Path | None = None

    @classmethod
    def of(cls, spec: Mapping[str, Any], folder: Path, *columns: str) -> CsvForm:
        """The form that `columns`, `separator` and `images` of a source's spec describe.

        Args:
            folder: the source's, which `images` starts from.
            columns: what is wanted; `spec["columns"]` gives names to those that have another.

        Raises:
            UserError: a column that is not wanted, a longer separator, or no such folder.
        """
        names = spec.get("columns") or {}
        if foreign := [key for key in names if key not in columns]:
            raise UserError(f"columns.{foreign[0]}: unknown; known are {', '.join(columns)}")
        separator = spec.get("separator") or ","
        if len(separator) != 1 or separator in '"\r\n':
            raise UserError(
                f'separator: {separator!r} is not one character; give one, a tab as "\\t" in '
                "double quotes"
            )
        images = folder / spec["images"] if spec.get("images") else None
        if images is not None and not images.is_dir():
            raise UserError(f"{images}: no such folder; put the images there or correct images")
        return cls(tuple(names.get(column, column) for column in columns), separator, images)

    def image_path(self, table: Path, image: str) -> Path:
        """Where an image is that the CSV file `table` names."""
        return (self.images or table.parent) / image

    def records(self, path: Path, start: int = 0) -> Iterator[tuple[int, list[str | None]]]:
        """Yield (byte where the next record starts, the columns' values) from byte `start` on.

        Blanks around names and values go. A value is None where the record is too short. Bytes
        that are not UTF-8 are kept as lone surrogates.

        Raises:
            UserError: no such file, no CSV, a column is missing, or no record starts at `start`.
        """
        at, line = 0, 0
        try:
            with path.open("rb") as file:

                def lines() -> Iterator[str]:
                    nonlocal at, line
                    for raw in file:
                        mark = b"\xef\xbb\xbf" if at == 0 else b""
                        at, line = at + len(raw), line + 1
                        yield raw.removeprefix(mark).decode("utf-8", "surrogateescape")

                def rows() -> Iterator[list[str]]:
                    return csv.reader(lines(), strict=True, delimiter=self.separator)

                header = [name.strip() for name in next(rows(), [])]
                places = [self._place(column, header, path) for column in self.columns]
                if start:
                    file.seek(start - 1)
                    if file.read(1) != b"\n":
                        raise UserError(f"{path}: changed since it was indexed; {STALE}")
                    at = start
                for row in rows():
                    if row:  # not a blank line
                        yield at, [row[i].strip() if i < len(row) else None for i in places]
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; put the file there") from None
        except csv.Error as error:
            where = f"line {line} from byte {start} on" if start else f"line {line}"
            raise UserError(f"{path}, {where}: no CSV ({error}); mend the quotes") from None

    def _place(self, column: str, header: list[str], path: Path) -> int:
        if column in header:
            return header.index(column)
        # Whatever the file is, the line must be one and not too long.
        shown = ", ".join(ascii(name)[1:-1] for name in header)[:200] or "none"
        raise UserError(
            f"{path}: no column {column!r}, its first line names {shown}; set columns and "
            "separator, or correct files"
        )
