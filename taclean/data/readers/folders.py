"""A folder for each class: CLASS/*.jpg, .png and the like, at any depth."""

import os
import re
from pathlib import Path

from taclean.data import Table
from taclean.data.labels import class_name
from taclean.data.readers import IMAGES, Reader, image_files, make_table
from taclean.util.errors import UserError
from taclean.util.progress import say

SPLITS = {"train", "test", "val", "valid", "validation"}  # usual names of parts of a data set


class Folders(Reader):
    """Labelled pictures; labels count the class folders in the order of their names.

    Hidden files and folders are ignored.
    """

    gives = "labels"
    keys = ("captions",)

    def table(self) -> Table:
        """List the pictures of all classes; refuse a folder that has none or that is no class."""
        folders = [path.name for path in self.folder.iterdir() if path.is_dir()]
        names = sorted(name for name in folders if not name.startswith("."))
        if not names:
            raise UserError(f"{self.folder}: no class folders; put CLASS/*.jpg there or fix folder")
        if {name.lower() for name in names} <= SPLITS:
            held, one = ", ".join(names), self.folder / names[-1]
            raise UserError(f"{self.folder}: holds {held}, no classes; set folder to {one}")
        titles = [class_name(name) for name in names]
        for i, (name, title) in enumerate(zip(names, titles, strict=True)):
            if not title or re.search("[\ud800-\udfff]", name):
                raise UserError(f"{self.folder}: the class {name!a} has no UTF-8 name; rename it")
            if title in titles[:i]:
                two = f"{names[titles.index(title)]!a} and {name!a} are both the class {title!r}"
                raise UserError(f"{self.folder}: the folders {two}; rename one")
        return self.listed(self.folder, names)

    def listed(self, top: Path, names: list[str]) -> Table:
        """List the pictures in the class folders `names` of `top`; refuse one without pictures."""
        keys, places, labels, kinds = [], [], [], ", ".join(IMAGES)
        for label, name in enumerate(names):
            if not (files := image_files(top / name)):
                raise UserError(f"{top / name}: no {kinds}; add some or remove the folder")
            keys += files
            places += [(top / name / file).relative_to(self.folder).as_posix() for file in files]
            labels += [label] * len(files)
        below = (path for name in names for path in (top / name).rglob("[!.]*"))
        others = [path for path in below if path.suffix.lower() not in IMAGES]
        for path in filter(Path.is_dir, others):
            if path.is_symlink() or not os.access(path, os.R_OK | os.X_OK):
                say(f"{path}: skips a folder that is a link or cannot be read")
        if skipped := ", ".join(sorted({p.suffix for p in others if p.suffix and p.is_file()})):
            say(f"{top}: skips files with the ending {skipped}; it reads {kinds}")
        return make_table(keys, places, label=labels, classes=[class_name(name) for name in names])
