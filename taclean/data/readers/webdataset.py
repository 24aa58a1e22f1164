"""webdataset shards of pairs: tars with KEY.jpg and KEY.txt, or KEY.json's `caption`."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from taclean.data.readers import IMAGES, Reader, caption_of, make_table
from taclean.util.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Row = tuple[str, str | None, str | None]  # key, place of the picture, caption


class WebDataset(Reader):
    """The samples of the tars that match `files` (by default *.tar).

    A picture's place is SHARD:OFFSET:SIZE, so reading one does not search its tar.
    """

    gives = "pairs"
    keys = ("files",)

    def table(self) -> pd.DataFrame:
        """List the samples of all shards, with their captions."""
        return self.listed(self.files("*.tar"))

    def listed(self, shards: list[str]) -> pd.DataFrame:
        """List the samples of these shards.

        Raises:
            UserError: a shard is missing, truncated, damaged or not a tar.
        """
        return rows_table(row for shard in shards for row in _samples(self.folder / shard, shard))

    def image(self, where: str) -> bytes | np.ndarray | None:
        """Read a picture from its shard."""
        shard, offset, size = where.rsplit(":", 2)
        path = self.folder / shard
        try:
            with path.open("rb") as file:
                file.seek(int(offset))
                data = file.read(int(size))
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; put the file there") from None
        if len(data) < int(size):
            raise UserError(
                f"{path}: shorter than it was when it was indexed; fetch it again, and remove the "
                "index of this source (data/*/index)"
            )
        return data


def rows_table(rows: Iterable[Row]) -> pd.DataFrame:
    """Make the table of samples with captions."""
    keys, places, captions = zip(*rows, strict=True) if (rows := list(rows)) else ((), (), ())
    return make_table(keys, places, captions)


def _samples(path: Path, shard: str) -> Iterator[Row]:
    """Yield key, place of the picture and caption of a shard's samples.

    As webdataset groups them: a sample is neighbours with one key, which is the name up to the
    first dot behind the last slash. Names without a dot, hidden ones (macOS puts `._NAME` beside
    NAME) and `__meta__` names belong to no sample.
    """
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            key, parts = "", dict[str, tarfile.TarInfo]()
            for member in tar:
                folder, slash, name = member.name.rpartition("/")
                stem, dot, extension = name.partition(".")
                meta = member.name.startswith("__") and member.name.endswith("__")
                if not member.isreg() or not dot or not stem or meta:
                    continue
                if parts and folder + slash + stem != key:
                    yield _sample(file, shard, key, parts)
                    parts = {}
                key = folder + slash + stem
                parts.setdefault("." + extension.lower(), member)
            if parts:
                yield _sample(file, shard, key, parts)
            # tarfile takes a cut or damaged header for the end, which is a block of zeros.
            file.seek(tar.offset)
            if (end := file.read(tarfile.BLOCKSIZE)).strip(b"\0") or not end:
                raise UserError(
                    f"{path}: damaged or truncated at byte {tar.offset}; remove it or fetch it "
                    "again"
                )
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; put the file there") from None
    except tarfile.TarError as error:
        raise UserError(f"{path}: not a whole tar ({error}); fetch it again") from None


def _sample(file: BinaryIO, shard: str, key: str, parts: dict[str, tarfile.TarInfo]) -> Row:
    def contents(extension: str) -> bytes | None:
        if (member := parts.get(extension)) is None:
            return None
        file.seek(member.offset_data)
        return file.read(member.size)

    image = next((parts[extension] for extension in IMAGES if extension in parts), None)
    where = f"{shard}:{image.offset_data}:{image.size}" if image else None
    return key, where, caption_of(contents(".txt"), contents(".json"))
