"""webdataset shards of pairs: tars with KEY.jpg and KEY.txt, or KEY.json's `caption`."""

import itertools
import json
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from taclean.data import Table
from taclean.data.readers import IMAGES, Reader, make_table
from taclean.util.errors import UserError
from taclean.util.files import mistaken, reading
from taclean.util.progress import say

TEXTS = (".txt", ".json")
# Name and place (see `Reader.image`) of a file, and its contents where the name ends as in TEXTS.
Member = tuple[str, str, bytes | None]
Sample = tuple[str, str | None, str | None]  # key, place of the picture, caption


class WebDataset(Reader):
    """The samples of the tars that match `files` (by default *.tar).

    A picture's place is SHARD:OFFSET:SIZE, so reading one does not search its tar.
    """

    gives = "pairs"
    keys = ("files",)

    def table(self) -> Table:
        """List the samples of all shards, with their captions."""
        return self.listed(self.files("*.tar"))

    def listed(self, shards: list[str]) -> Table:
        """List the samples of these shards; leave out as many broken ones as `max_broken` allows.

        The caller's `joblib.parallel_config` says in how many processes; the table is the same.
        """
        from joblib import Parallel, delayed

        allowed = int(self.spec.get("max_broken", 0) * len(shards))
        parallel = Parallel(return_as="generator")
        each = parallel(delayed(_listed)(self.folder / shard, shard) for shard in shards)
        rows = []
        for shard, found in zip(shards, each, strict=True):
            if isinstance(found, Exception):
                what = mistaken(self.folder / shard) or f" ({found})"
                text = f"{self.folder / shard}: not a whole tar{what}; fetch it again"
                if (allowed := allowed - 1) < 0:
                    raise UserError(f"{text}, or raise max_broken to leave it out") from None
                say(f"left out: {text}")
            else:
                rows += found
        return make_table(*(zip(*rows, strict=True) if rows else ((), (), ())))

    def image(self, where: str) -> bytes | np.ndarray | None:
        shard, offset, size = where.rsplit(":", 2)
        path = self.folder / shard
        with reading(path, "not readable", OSError), path.open("rb") as file:
            file.seek(int(offset))
            data = file.read(int(size))
        if len(data) < int(size):
            text = "shorter than when it was indexed; fetch it again, and remove data/*/index"
            raise UserError(f"{path}: {text}")
        return data


def samples(members: Iterable[Member]) -> list[Sample]:
    """Return the samples that the files of a shard form, as webdataset groups them.

    A sample is neighbours with one key, which is the name up to the first dot behind the last
    slash. Names without a dot, hidden ones (macOS puts `._NAME` beside NAME) and `__meta__` names
    belong to no sample.
    """
    rows = []
    named = ((*_key(name), place, text) for name, place, text in members)
    parts = (part for part in named if part[0])
    for key, group in itertools.groupby(parts, lambda part: part[0]):
        found: dict[str, tuple[str, bytes | None]] = {}
        for _, extension, place, text in group:
            found.setdefault(extension, (place, text))
        image = next((found[extension][0] for extension in IMAGES if extension in found), None)
        texts = (found.get(extension, ("", None))[1] for extension in TEXTS)
        rows.append((key, image, _caption(*texts)))
    return rows


def _listed(path: Path, shard: str) -> list[Sample] | Exception:
    """Return the samples of a tar, or what is wrong with it."""
    try:
        return samples(_members(path, shard))
    except (tarfile.TarError, ValueError, MemoryError, OverflowError) as error:  # of header numbers
        return error


def _key(name: str) -> tuple[str, str]:
    """Return the key of a file's name, "" where it has none, and the extension in lower case."""
    folder, slash, base = name.rpartition("/")
    stem, dot, extension = base.partition(".")
    if not dot or not stem or (name.startswith("__") and name.endswith("__")):
        return "", ""
    return folder + slash + stem, dot + extension.lower()


def _caption(text: bytes | None, record: bytes | None) -> str | None:
    """Return the caption in the contents of KEY.txt, or else in `caption` of KEY.json."""
    if text is not None:
        return text.decode("utf-8", "surrogateescape")
    try:
        value = json.loads(record or b"")
    except (ValueError, RecursionError):
        return None
    caption = value.get("caption") if isinstance(value, dict) else None
    return caption if isinstance(caption, str) else None


def _members(path: Path, shard: str) -> Iterator[Member]:
    """Yield the regular files of a tar.

    Raises a TarError if the shard is truncated, damaged or no tar, a UserError if it is missing.
    """
    with (
        reading(path, "not readable", OSError),
        path.open("rb") as file,
        tarfile.open(fileobj=file, mode="r:") as tar,
    ):
        for member in filter(tarfile.TarInfo.isreg, tar):
            text = None
            if member.name.lower().endswith(TEXTS):
                file.seek(member.offset_data)
                text = file.read(member.size)
            yield member.name, f"{shard}:{member.offset_data}:{member.size}", text
        # tarfile takes a cut or damaged header for the end, which is a block of zeros.
        file.seek(tar.offset)
        if (end := file.read(tarfile.BLOCKSIZE)).strip(b"\0") or not end:
            raise tarfile.ReadError(f"damaged or truncated at byte {tar.offset}")
