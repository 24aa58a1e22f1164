"""CSV files with pictures' paths and captions, by default in CleanCLIP's form (image, caption)."""

import csv
import os
from collections.abc import Mapping
from glob import escape
from pathlib import Path
from typing import Any, ClassVar

from taclean.data import Table
from taclean.data.readers import Reader, make_table
from taclean.util.errors import UserError
from taclean.util.files import reading

PLACES = ["key", "where", "picture"]  # arguments of `make_table`


class CsvReader(Reader):
    """Pictures that CSV files name, each with a text; the source may be one CSV file itself.

    Rows with the same path show the same picture. Paths start from `images`, or else from the
    folder of the CSV file.
    """

    keys: ClassVar[tuple[str, ...]] = ("files", "columns", "separator", "images")
    text: ClassVar[str]  # the column beside `image`

    def __init__(self, spec: Mapping[str, Any], folder: Path) -> None:
        if folder.is_file():
            if spec.get("files"):
                raise UserError(f"files: {folder} is one CSV file itself; leave files out")
            spec = {**spec, "files": escape(folder.name), "hub": None}
            folder = folder.parent
        super().__init__(spec, folder)

    def records(self) -> Table:
        """Read all CSV files.

        Return columns `file`, `image` (the path as it is written), `key`, `where` and `picture` of
        `make_table`, and the column `text`; blanks around values are removed, and a value is None
        where the record is too short. A UserError says that a file is not CSV, that a column or a
        folder is missing, or that a key is wrong.
        """
        import pandas as pd

        columns = {"image": "image", self.text: self.text}
        given = self.spec.get("columns") or {}
        if foreign := [key for key in given if key not in columns]:
            raise UserError(f"columns.{foreign[0]}: unknown; known are {', '.join(columns)}")
        images = self.spec.get("images")
        if images and not (self.folder / images).is_dir():
            raise UserError(f"{self.folder / images}: no such folder; correct images")
        tables = []
        for name in self.files("*.csv"):
            table = _read(self.folder / name, columns | given, self.spec.get("separator") or ",")
            base = os.path.dirname(name) if images is None else images
            places = [os.path.join(base, path) if path else None for path in table["image"]]
            tables.append(table.assign(file=name, where=pd.Series(places, dtype=object)))
        records = pd.concat(tables, ignore_index=True)
        records["key"] = records["image"].fillna("")
        pictures = [
            f"record {row}" if where is None else os.path.normpath(self.folder / where)
            for row, where in enumerate(records["where"])
        ]
        return records.assign(picture=pd.Series(pictures, dtype=object))


class CsvPairs(CsvReader):
    """Pairs of a picture and a caption; a picture may have several records."""

    gives = "pairs"
    text = "caption"

    def table(self) -> Table:
        return make_table(**self.records()[[*PLACES, "caption"]])


def _read(path: Path, columns: dict[str, str], separator: str) -> Table:
    """Read columns of a CSV file as text; `columns` are the new names with those in the file."""
    import pandas as pd

    with (
        reading(path, "not CSV", csv.Error, ValueError, cure="correct the file or the separator"),
        path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file,
    ):
        lines = csv.reader(file, delimiter=separator, strict=True)
        cells = [(lines.line_num, [cell.strip() for cell in line]) for line in lines]
    (_, header), *rows = [row for row in cells if row[1] not in ([], [""])] or [(0, [])]
    if "\0" in "".join(header):
        raise UserError(f"{path}: not text in UTF-8; save it as UTF-8")
    if missing := [name for name in columns.values() if header.count(name) != 1]:
        shown = ", ".join(ascii(name)[1:-1] for name in header)[:200] or "none"
        count = "two columns" if missing[0] in header else "no column"
        text = f"{count} {missing[0]!r}, its first line names {shown}"
        raise UserError(f"{path}: {text}; set columns and separator, or correct files")
    for number, record in rows:
        if any(record[len(header) :]):  # published files have blank cells at the end
            text = f"{separator.join(record)[:70]!r} has more values than the first line has names"
            raise UserError(f"{path}, line {number}: {text}; quote a value with a {separator!r}")
    at = {new: header.index(name) for new, name in columns.items()}
    texts = {new: [row[i] if i < len(row) else None for _, row in rows] for new, i in at.items()}
    return pd.DataFrame(texts, dtype=object)
