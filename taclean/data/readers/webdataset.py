"""webdataset shards of pairs, found by their headers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from taclean.data.readers.base import IMAGES, Reader, Sample, caption_of, matching_files
from taclean.util.errors import UserError

_REGULAR = (b"0", b"\0", b"7")  # type flags of regular files


def _read_header(header: bytes) -> tuple[bytes, int]:
    """Type flag and size of a tar header; a ValueError where it is none."""
    field = header[148:156]
    # The sum is over the header with its own field taken as blanks.
    if int(field.split(b"\0")[0], 8) != sum(header) - sum(field) + 8 * ord(" "):
        raise ValueError
    if header[124] & 0x80:  # more than 8 GiB
        return header[156:157], int.from_bytes(header[125:136], "big")
    return header[156:157], int(header[124:136].strip(b"\0 ") or b"0", 8)


def _pax_records(records: bytes) -> dict[bytes, bytes]:
    """The `LENGTH KEY=VALUE` records of a pax header."""
    found, at = {}, 0
    while at < len(records) and records[at : at + 1] != b"\0":
        length = int(records[at : records.index(b" ", at)])
        key, value = records[at : at + length - 1].split(b" ", 1)[1].split(b"=", 1)
        found[key] = value
        at += length
    return found


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; put the file there") from None


def tar_members(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, offset of the data, size) of a tar's regular files, reading headers only.

    Ten times as fast as the standard library's tarfile, which an index of millions of members is
    worth; it knows the ustar, GNU and pax formats.

    Raises:
        UserError: the file is no tar, damaged, or ends before its end mark.
    """
    path, fd = file.name, file.fileno()
    end = os.fstat(fd).st_size
    at = 0
    more: dict[bytes, bytes] = {}
    while True:
        header = os.pread(fd, 512, at)
        if len(header) < 512:
            if at == 0:
                raise UserError(f"{path}: no tar file; remove it or fetch it again")
            raise UserError(f"{path}: truncated after {at} bytes; fetch it again")
        if header[0] == 0 and not header.strip(b"\0"):
            return
        try:
            kind, size = _read_header(header)
            if kind in _REGULAR:
                size = int(more.get(b"size", size))
            data = at + 512
            # Links and devices have a size but no data.
            length = 0 if kind in b"123456" else size
            if data + length > end:
                raise UserError(f"{path}: truncated at {end} bytes; fetch it again")
            at = data + (length + 511) // 512 * 512
            if kind == b"x":
                more |= _pax_records(os.pread(fd, length, data))
                continue
            if kind == b"L":
                more[b"path"] = os.pread(fd, length, data).rstrip(b"\0")
                continue
            if kind in (b"g", b"K"):
                continue
        except ValueError:
            what = "no tar file" if at == 0 else f"damaged at byte {at}"
            raise UserError(f"{path}: {what}; remove it or fetch it again") from None
        name = header[:100].split(b"\0", 1)[0]
        if header[257:263] == b"ustar\0" and header[345]:
            name = header[345:500].split(b"\0", 1)[0] + b"/" + name
        name, more = more.get(b"path", name), {}
        if kind in _REGULAR:
            yield name, data, size


def tar_samples(file: BinaryIO) -> Iterator[tuple[str, dict[str, tuple[int, int]]]]:
    """Yield (key, {extension: (offset, size)}): neighbours with one key, as webdataset groups them.

    The key is the name up to the first dot behind the last slash; names without one, hidden ones
    (macOS puts `._NAME` beside NAME) and `__meta__` names are no samples.
    """
    key: str | None = None
    parts: dict[str, tuple[int, int]] = {}
    for name, offset, size in tar_members(file):
        text = name.decode("utf-8", "backslashreplace")
        folder, slash, base = text.rpartition("/")
        stem, dot, extension = base.partition(".")
        if not dot or not stem or (text.startswith("__") and text.endswith("__")):
            continue
        if (new := folder + slash + stem) != key:
            if key is not None:
                yield key, parts
            key, parts = new, {}
        parts.setdefault("." + extension.lower(), (offset, size))
    if key is not None:
        yield key, parts


class TarReader(Reader):
    """webdataset shards: KEY.jpg (.jpeg, .png, .webp) with KEY.txt or KEY.json's `caption`."""

    def __init__(self, folder: Path, files: list[str]):
        self.folder, self.files = folder, files

    def shards(self) -> list[str]:
        return self.files

    def count(self, shard: str) -> int:
        with _open(self.folder / shard) as file:
            return sum(1 for _ in tar_samples(file))

    def read(self, shard: str, positions: np.ndarray) -> Iterator[Sample]:
        wanted = iter(positions.tolist())
        position = next(wanted, None)
        with _open(self.folder / shard) as file:

            def part(*extensions: str) -> bytes | None:
                for extension in extensions:
                    if extension in parts:
                        offset, size = parts[extension]
                        return os.pread(file.fileno(), size, offset)
                return None

            for i, (key, parts) in enumerate(tar_samples(file)):  # noqa: B007
                if position is None:
                    return
                if i == position:
                    yield Sample(key, caption_of(part(".txt"), part(".json")), -1, part(*IMAGES))
                    position = next(wanted, None)


def open_webdataset(spec: Mapping[str, Any], folder: Path) -> Reader:
    """Open the tars that match `files` (default: *.tar)."""
    return TarReader(folder, matching_files(spec, folder, "*.tar"))
