"""Caltech101, in its published folders."""

from taclean.data import Table
from taclean.data.readers.folders import Folders
from taclean.util.errors import UserError


class Caltech101(Folders):
    """Caltech101 without its background class."""

    def table(self) -> Table:
        base = self.folder if self.folder.name == "caltech101" else self.folder / "caltech101"
        top = base / "101_ObjectCategories"
        if not top.is_dir():
            raise UserError(f"{self.folder}: no {top.name}/; unpack caltech-101.zip's tar.gz there")
        names = {entry.name for entry in top.iterdir() if entry.is_dir()}
        return self.listed(top, sorted(names - {"BACKGROUND_Google"}))
