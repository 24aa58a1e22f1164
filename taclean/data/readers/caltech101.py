"""Caltech101, in its published folders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taclean.data import Table
from taclean.data.readers.folders import Folders
from taclean.util.errors import UserError


class Caltech101(Folders):
    """Caltech101 without its background class."""

    def __init__(self, spec: Mapping[str, Any], folder: Path) -> None:
        super().__init__(spec, folder)
        top = folder if folder.name == "caltech101" else folder / "caltech101"
        self.top = top / "101_ObjectCategories"
        if not self.top.is_dir():
            raise UserError(f"{folder}: no {self.top.name}/; unpack caltech-101.zip's tar.gz there")

    def table(self) -> Table:
        """List the pictures of the 101 classes."""
        names = {entry.name for entry in self.top.iterdir() if entry.is_dir()}
        top = self.top.relative_to(self.folder).as_posix()
        return self.listed(top, sorted(names - {"BACKGROUND_Google"}))
