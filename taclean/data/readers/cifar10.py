"""CIFAR-10, as torchvision reads it."""

import functools
from http.client import HTTPException
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from taclean.data import Table
from taclean.data.readers import Reader, make_table
from taclean.util.errors import UserError, first_line


class Cifar10(Reader):
    """The pictures of `split`, which is test (the default) or train."""

    gives = "labels"
    keys = ("split", "download", "captions")
    parts = ("test", "train")
    published: ClassVar[str] = "CIFAR10"  # the class of torchvision

    def table(self) -> Table:
        """List the pictures; refuse files that are not the published ones by their MD5."""
        data = self._data()
        keys = [f"{i:05d}" for i in range(len(data.targets))]
        names = [name.replace("_", " ") for name in data.classes]
        return make_table(keys, keys, label=data.targets, classes=names)

    def image(self, where: str) -> np.ndarray:
        """Return the pixels of a picture (32, 32, 3)."""
        return self._data().data[int(where)]

    def _data(self) -> Any:
        return _load(self.published, self.folder, self.spec.get("split", "test"))

    @classmethod
    def download(cls, folder: Path) -> None:
        """Fetch the published files; whole ones (by their MD5) are kept.

        One archive holds both splits, so sources with the same folder wait for each other. A
        UserError says why the files cannot be fetched.
        """
        from filelock import FileLock
        from torchvision import datasets

        kind = getattr(datasets, cls.published)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / "lock"):
                kind(folder, download=True)
        # The network or the disk; a connection that broke off; not the published files.
        except (OSError, HTTPException, RuntimeError) as error:
            text = f"cannot be fetched ({first_line(error)}); run it again, or unpack"
            place = f"{kind.filename} into a folder and set folder to it"
            raise UserError(f"{kind.url}: {text} {place}") from None


@functools.lru_cache(maxsize=1)
def _load(published: str, folder: Path, split: str) -> Any:
    """Read a split with torchvision; a process that packs it does so once."""
    from torchvision import datasets

    kind = getattr(datasets, published)
    root = folder.parent if folder.name == kind.base_folder else folder
    try:
        return kind(root, train=split == "train", download=False)
    except RuntimeError:
        text = f"no {kind.base_folder}/ with all its published files; unpack {kind.filename} there"
        raise UserError(f"{folder}: {text}") from None
