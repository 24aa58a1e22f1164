"""Readers of the forms in which users have data: one file per form, with one class that owns it.

A class that derives from `Reader` in taclean/data/readers/NAME.py reads the sources of the config
with `reader: NAME`. How to write one: docs/extending.md. The plan imports this package, so a reader
imports pandas, torch and their kin where it uses them.
"""

import importlib
import os
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from taclean.data import Table
from taclean.data.fetch import fetched
from taclean.util.errors import UserError
from taclean.util.files import reading, replacing

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
TEXTS = ("key", "where", "caption")  # columns of a table


class Reader(ABC):
    """A source of samples: a table of what there is, and the picture of each row.

    Readers are pickled with each piece of work that goes to a worker process: keep them small.

    Attributes:
        gives: what a sample has beside its picture: "pairs" (a caption to train on), "labels", or
            "captions" (several, one a line, for retrieval).
        keys: the config keys of a source that are this reader's own.
        parts: values of the key `split`; the first is the default.
        download: a class method that puts the published files into a folder; None if there is none.
        spec: the source's entry in the config.
        folder: where its files are; a UserError says that there is no such folder.
    """

    folder = Path()
    gives: ClassVar[Literal["pairs", "labels", "captions"]]
    keys: ClassVar[tuple[str, ...]] = ()
    parts: ClassVar[tuple[str, ...]] = ()
    download: ClassVar[Any] = None

    def __init__(self, spec: Mapping[str, Any], folder: Path) -> None:
        if not folder.is_dir():
            what = f"no such file or folder; put {spec['reader']} files there or correct the path"
            raise UserError(f"{folder.absolute()}: {what}")
        self.spec, self.folder = spec, folder

    @abstractmethod
    def table(self) -> Table:
        """List all samples, as `make_table` returns them.

        A sample that lacks something is listed, too: the packing counts it as broken. A UserError
        names files that are missing, damaged or of another form.
        """

    def image(self, where: str) -> bytes | np.ndarray | None:
        """Read a picture from its place in the table, by default a path below the source's folder.

        Return the bytes of an image file, or (H, W, 3) uint8 RGB; None where there is none. Refuse
        files that cannot be read, or that changed after they were listed.
        """
        return file_contents(self.folder / where)

    def read(self, where: str | None, caption: str | None) -> tuple[Any, str | None]:
        """Return the picture and the caption of a row of the table."""
        return (None if where is None else self.image(where)), caption

    def files(self, default: str) -> list[str]:
        """Return the sorted paths, relative to the folder, of the files that match a glob.

        The glob is `files` of the config, or else `default`. For a source that was fetched, return
        the fetched files: the folder may hold those of another revision, too. A UserError says that
        no file matches, or that a glob is wrong.
        """
        if names := fetched(self.spec, self.folder):
            return names
        patterns = self.spec.get("files") or default
        patterns = [patterns] if isinstance(patterns, str) else list(patterns)
        try:
            found = {path for pattern in patterns for path in self.folder.glob(pattern)}
        except (NotImplementedError, ValueError):
            raise UserError(f"files: no globs inside {self.folder}: {patterns}; fix them") from None
        paths = [path for path in found if path.is_file() and not path.name.startswith(".")]
        if not paths:
            wanted = " or ".join(patterns)
            raise UserError(f"{self.folder}: no file matches {wanted}; put some there or fix files")
        return sorted(path.relative_to(self.folder).as_posix() for path in paths)


def make_table(
    key: Iterable[str],
    where: Iterable[str | None],
    caption: Iterable[str | None] | None = None,
    label: Iterable[int] | int = -1,
    picture: Iterable[Any] | None = None,
    classes: list[str] | None = None,
) -> Table:
    """Make the table of a source; row ids count from 0.

    Args:
        key: the samples' names, for the published list of rows.
        where: the places of the pictures, which `Reader.image` takes; None where there is none.
        caption: None where there is none. Bytes that are not UTF-8 are lone surrogates.
        label: class indices; -1 where there is none.
        picture: anything that is equal where two rows show the same picture; by default, every row
            shows one of its own.
        classes: class names by label; None where labels count the classes of the run.

    Returns:
        Columns `key`, `where`, `caption` (objects), `label` and `picture` (int64); the classes are
        `attrs["classes"]`.
    """
    import pandas as pd

    table = pd.DataFrame({"key": list(key), "where": list(where)}, dtype=object)
    captions = [None] * len(table) if caption is None else list(caption)
    table["caption"] = pd.Series(captions, table.index, object)
    table["label"] = pd.Series(label, table.index, "int64")
    table["picture"] = range(len(table)) if picture is None else pd.factorize(pd.Series(picture))[0]
    table.attrs["classes"] = classes
    return table


def save_table(table: Table, path: Path | str) -> None:
    """Save a source's table as Parquet; text is stored as bytes, which need not be UTF-8."""
    with replacing(path) as temporary:
        _recoded(table, lambda text: text.encode("utf-8", "surrogatepass")).to_parquet(temporary)


def load_table(path: Path | str) -> Table:
    """Load what `save_table` saved; a UserError names a file that is missing or another."""
    import pandas as pd

    with reading(path, "not an index", OSError, ValueError, KeyError):
        return _recoded(pd.read_parquet(path), lambda text: text.decode("utf-8", "surrogatepass"))


def _recoded(table: Table, code: Callable[[Any], Any]) -> Table:
    """Return a copy whose texts went through `code`."""
    import pandas as pd

    texts = {name: [text if text is None else code(text) for text in table[name]] for name in TEXTS}
    return table.assign(**pd.DataFrame(texts, table.index, dtype=object))


def file_contents(path: Path) -> bytes | None:
    """Return a file's contents, or None where there is no such file; refuse an unreadable one."""
    with reading(path, "not readable", OSError, cure="check its permissions"):
        return path.read_bytes() if os.path.isfile(path) else None


def image_files(folder: Path) -> list[str]:
    """Return the paths of a folder's images at any depth, sorted; hidden ones are left out."""
    paths = (path.relative_to(folder) for path in folder.rglob("*"))
    images = (path.as_posix() for path in paths if path.suffix.lower() in IMAGES)
    return sorted(path for path in images if "/." not in f"/{path}")


def _discover() -> dict[str, type[Reader]]:
    """Import all modules of this package; return the reader that each of them defines."""
    found = {}
    for file in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{file.name}")
        for value in vars(module).values():
            if getattr(value, "__module__", "") == module.__name__ and hasattr(value, "gives"):
                found[file.name] = value
    return found


READERS = _discover()


def make_reader(spec: Mapping[str, Any], folder: Path) -> Reader:
    """Open a source by its entry in the config; a reader of CSV files may get the file itself."""
    return READERS[spec["reader"]](spec, Path(folder))
