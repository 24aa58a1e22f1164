"""The output of img2dataset: tars, or numbered folders of files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from taclean.data.readers import IMAGES, caption_of, file_contents
from taclean.data.readers.webdataset import Row, WebDataset, rows_table
from taclean.util.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class Img2Dataset(WebDataset):
    """Tars, as webdataset's, or 00000/000000000.jpg beside .txt and .json."""

    def table(self) -> pd.DataFrame:
        """List the samples of the tars (those that match `files`, if it is set) or folders."""
        if self.spec.get("files"):
            return self.listed(self.files(""))
        tars = sorted(path.name for path in self.folder.glob("*.tar"))
        folders = [path for path in self.folder.iterdir() if path.is_dir()]
        numbers = sorted(path.name for path in folders if re.fullmatch(r"\d+", path.name))
        if tars and numbers:
            raise UserError(
                f"{self.folder}: both tars and numbered folders; keep one kind or set files"
            )
        if tars:
            return self.listed(tars)
        if not numbers:
            raise UserError(
                f"{self.folder}: neither 00000.tar nor 00000/; put img2dataset's output there "
                "(output_format webdataset or files)"
            )
        return rows_table(row for number in numbers for row in self._files_in(number))

    def _files_in(self, number: str) -> list[Row]:
        """Return key, place of the picture and caption of the samples in a numbered folder."""
        samples: dict[str, dict[str, str]] = {}
        for path in (self.folder / number).iterdir():
            extension = path.suffix.lower()
            if extension in (*IMAGES, ".txt", ".json") and not path.name.startswith("."):
                samples.setdefault(path.stem, {})[extension] = f"{number}/{path.name}"

        def contents(name: str | None) -> bytes | None:
            return file_contents(self.folder / name) if name else None

        return [
            (
                key,
                next((parts[extension] for extension in IMAGES if extension in parts), None),
                caption_of(contents(parts.get(".txt")), contents(parts.get(".json"))),
            )
            for key, parts in sorted(samples.items())
        ]

    def image(self, where: str) -> bytes | np.ndarray | None:
        """Read a picture from its tar or its folder."""
        return super().image(where) if ":" in where else file_contents(self.folder / where)
