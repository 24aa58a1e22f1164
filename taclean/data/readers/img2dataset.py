"""The output of img2dataset: tars, or numbered folders of files."""

from collections.abc import Iterator

import numpy as np

from taclean.data import Table
from taclean.data.readers import file_contents, make_table
from taclean.data.readers.webdataset import TEXTS, Member, WebDataset, samples
from taclean.util.errors import UserError


class Img2Dataset(WebDataset):
    """Tars, as webdataset's, or 00000/000000000.jpg beside .txt and .json."""

    def table(self) -> Table:
        """List the samples of the tars (those that match `files`, if it is set) or folders."""
        if self.spec.get("files"):
            return self.listed(self.files(""))
        tars = sorted(path.name for path in self.folder.glob("*.tar"))
        folders = (path.name for path in self.folder.iterdir() if path.is_dir())
        numbers = sorted(filter(str.isdecimal, folders))
        if tars and numbers:
            raise UserError(f"{self.folder}: tars and numbered folders; keep one kind or set files")
        if tars:
            return self.listed(tars)
        if not numbers:
            raise UserError(f"{self.folder}: no *.tar, no 00000/; put img2dataset's output there")
        rows = [row for number in numbers for row in samples(self._files_in(number))]
        return make_table(*(zip(*rows, strict=True) if rows else ((), (), ())))

    def _files_in(self, number: str) -> Iterator[Member]:
        for path in sorted((self.folder / number).iterdir(), key=lambda path: path.name.split(".")):
            text = file_contents(path) if path.suffix.lower() in TEXTS else None
            yield path.name, f"{number}/{path.name}", text

    def image(self, where: str) -> bytes | np.ndarray | None:
        return super().image(where) if ":" in where else file_contents(self.folder / where)
