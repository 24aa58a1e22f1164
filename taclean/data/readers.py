"""Data as users have it: shards of pairs, labelled test sets and COCO, behind one small reader.

A source is a list of shards, each with a fixed number of samples in a fixed order, so that a row
is (shard, position) and any subset of rows can be read. Labels are class indices, -1 where a
source has none. A sample that lacks something is still a sample: the packing counts it as broken.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import glob
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from taclean.data.fetch import fetched
from taclean.errors import UserError

IMAGES = (".jpg", ".jpeg", ".png", ".webp")
CSV_ROWS = 10_000  # rows of a CSV that make a shard
CHUNK = 500  # samples of a set without shards of its own that make one
STALE = "index it again (in the workflow: remove the data/*/index/*.json of this source)"
COCO_CAPTIONS = 5  # kept of each image; val2017 has a few with 6 or 7


@dataclass(frozen=True)
class Sample:
    """One sample as it was found.

    Attributes:
        key: its name in the shard.
        caption: None where there is none. Bytes that are not UTF-8 are kept as lone surrogates.
        label: class index, -1 for none.
        data: the encoded image file, None where there is none.
        more: further captions of the same image (COCO).
    """

    key: str
    caption: str | None
    label: int
    data: bytes | None
    more: tuple[str, ...] = ()


class Reader(Protocol):
    """A source of samples. Readers can be pickled: worker processes get a copy."""

    def shards(self) -> list[str]:
        """Names of all shards, in the order that numbers the rows."""
        ...

    def count(self, shard: str) -> int:
        """Samples in a shard, without reading images."""
        ...

    def read(self, shard: str, positions: np.ndarray) -> Iterator[Sample]:
        """Yield the samples at `positions` (sorted, from 0); those past the end are left out.

        Raises:
            UserError: the shard is missing, foreign or truncated.
        """
        ...

    def classes(self) -> list[str] | None:
        """Class names by label; None: no labels, or ImageNet's, whose names open_clip has."""
        ...


def make_reader(spec: Mapping[str, Any], folder: Path) -> Reader:
    """Open the source that `spec` names.

    Args:
        spec: `reader`, one of `READERS`; `files`, a glob or a list of globs of the shards
            (webdataset, img2dataset, csv, imagenet as parquet); `split`, train or test (CIFAR);
            `hub` and `revision` where they were fetched.
        folder: where the files are; a CSV file itself is fine, too.

    Raises:
        UserError: folder or files are missing, or `reader` is none of those.
    """
    name = spec.get("reader")
    if name not in READERS:
        raise UserError(f"reader: {name!r} is none of {', '.join(READERS)}; choose one of them")
    folder = Path(folder)
    if name == "csv" and folder.is_file():
        return CsvReader(folder.parent, [folder.name])
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; put the {name} files there or correct the path")
    return READERS[name](spec, folder)


def _globbed(spec: Mapping[str, Any], folder: Path, default: str) -> list[str]:
    """Files that match the spec's `files`, as sorted paths relative to `folder`.

    Of a fetched source, those that were fetched: files of another revision may lie there too.
    """
    if names := fetched(spec, folder):
        return names
    patterns = spec.get("files") or default
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    try:
        found = {
            path
            for pattern in patterns
            for path in folder.glob(pattern)
            if path.is_file() and not path.name.startswith(".")
        }
    except (NotImplementedError, ValueError):
        raise UserError(f"files: {patterns} are no globs inside {folder}; correct them") from None
    if not found:
        wanted = " or ".join(patterns)
        raise UserError(f"{folder}: no file matches {wanted}; put the files there or change files")
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _contents(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            return None  # no path of an image
        raise UserError(f"{path}: cannot be read ({error.strerror}); mend that") from None


def _caption(text: bytes | None, record: bytes | None) -> str | None:
    """The caption of KEY.txt, or else of KEY.json's `caption`."""
    if text is not None:
        return text.decode("utf-8", "surrogateescape")
    try:
        value = json.loads(record or b"")
    except (ValueError, RecursionError):
        return None
    caption = value.get("caption") if isinstance(value, dict) else None
    return caption if isinstance(caption, str) else None


# ---- tar shards ----------------------------------------------------------------------------------


_FILES = (b"0", b"\0", b"7")  # type flags of regular files


def _header(header: bytes) -> tuple[bytes, int]:
    """Type flag and size of a tar header; a ValueError where it is none."""
    own = header[148:156]
    # The sum is over the header with its own field taken as blanks.
    if int(own.split(b"\0")[0], 8) != sum(header) - sum(own) + 8 * ord(" "):
        raise ValueError
    if header[124] & 0x80:  # more than 8 GiB
        return header[156:157], int.from_bytes(header[125:136], "big")
    return header[156:157], int(header[124:136].strip(b"\0 ") or b"0", 8)


def _pax(records: bytes) -> dict[bytes, bytes]:
    """The `LENGTH KEY=VALUE` records of a pax header."""
    found, at = {}, 0
    while at < len(records) and records[at : at + 1] != b"\0":
        length = int(records[at : records.index(b" ", at)])
        key, value = records[at : at + length - 1].split(b" ", 1)[1].split(b"=", 1)
        found[key] = value
        at += length
    return found


def _opened(path: Path) -> BinaryIO:
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
            kind, size = _header(header)
            if kind in _FILES:
                size = int(more.get(b"size", size))
            data = at + 512
            # Links and devices have a size but no data.
            length = 0 if kind in b"123456" else size
            if data + length > end:
                raise UserError(f"{path}: truncated at {end} bytes; fetch it again")
            at = data + (length + 511) // 512 * 512
            if kind == b"x":
                more |= _pax(os.pread(fd, length, data))
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
        if kind in _FILES:
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


class TarReader:
    """webdataset shards: KEY.jpg (.jpeg, .png, .webp) with KEY.txt or KEY.json's `caption`."""

    def __init__(self, folder: Path, files: list[str]):
        self.folder, self.files = folder, files

    def shards(self) -> list[str]:
        return self.files

    def count(self, shard: str) -> int:
        with _opened(self.folder / shard) as file:
            return sum(1 for _ in tar_samples(file))

    def read(self, shard: str, positions: np.ndarray) -> Iterator[Sample]:
        wanted = iter(positions.tolist())
        position = next(wanted, None)
        with _opened(self.folder / shard) as file:

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
                    yield Sample(key, _caption(part(".txt"), part(".json")), -1, part(*IMAGES))
                    position = next(wanted, None)

    def classes(self) -> list[str] | None:
        return None


def _webdataset(spec: Mapping[str, Any], folder: Path) -> Reader:
    return TarReader(folder, _globbed(spec, folder, "*.tar"))


# ---- img2dataset ---------------------------------------------------------------------------------


class FilesReader:
    """img2dataset's `files` output: 00000/000000000.jpg beside .txt and .json; a folder a shard."""

    def __init__(self, folder: Path, names: list[str]):
        self.folder, self.names = folder, names

    def shards(self) -> list[str]:
        return self.names

    def _samples(self, shard: str) -> dict[str, dict[str, str]]:
        """The files of every key by their extensions in lower case."""
        found: dict[str, dict[str, str]] = {}
        try:
            for name in os.listdir(self.folder / shard):
                stem, dot, extension = name.rpartition(".")
                extension = dot + extension.lower()
                if extension in (*IMAGES, ".txt", ".json") and not name.startswith("."):
                    found.setdefault(stem, {})[extension] = name
        except OSError as error:
            raise UserError(
                f"{self.folder / shard}: {error.strerror}; put the shard there"
            ) from None
        return dict(sorted(found.items()))

    def count(self, shard: str) -> int:
        return len(self._samples(shard))

    def read(self, shard: str, positions: np.ndarray) -> Iterator[Sample]:
        samples = list(self._samples(shard).items())
        for position in positions[positions < len(samples)].tolist():
            key, files = samples[position]

            def part(*wanted: str, files: dict[str, str] = files) -> bytes | None:
                for extension in wanted:
                    if extension in files:
                        return _contents(self.folder / shard / files[extension])
                return None

            yield Sample(key, _caption(part(".txt"), part(".json")), -1, part(*IMAGES))

    def classes(self) -> list[str] | None:
        return None


def _img2dataset(spec: Mapping[str, Any], folder: Path) -> Reader:
    if spec.get("files"):
        return TarReader(folder, _globbed(spec, folder, ""))
    tars = sorted(path.name for path in folder.glob("*.tar"))
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and re.fullmatch(r"\d+", p.name))
    if tars and names:
        raise UserError(f"{folder}: both tars and numbered folders; keep one kind or set files")
    if not tars and not names:
        raise UserError(
            f"{folder}: neither 00000.tar nor 00000/; put img2dataset's output there "
            "(output_format webdataset or files)"
        )
    return TarReader(folder, tars) if tars else FilesReader(folder, names)


# ---- CSV -----------------------------------------------------------------------------------------


class _Counted:
    """Shards that a scan of the files finds; workers get its result with the reader."""

    @cached_property
    def counts(self) -> dict[str, int]:
        """Samples of every shard, in the order that numbers the rows."""
        raise NotImplementedError

    def shards(self) -> list[str]:
        return list(self.counts)

    def count(self, shard: str) -> int:
        return self.counts[shard]


class CsvReader(_Counted):
    """CleanCLIP's CSV: columns `image` (path from the CSV's folder on) and `caption`, any others.

    A shard is 10,000 records, named FILE@BYTE where they start, so that a worker needs no scan.
    """

    def __init__(self, folder: Path, files: list[str]):
        self.folder, self.files = folder, files

    def _records(self, path: Path, start: int = 0) -> Iterator[tuple[int, str, str | None]]:
        """Yield (byte where the next record starts, image, caption) from byte `start` on."""
        at, line = 0, 0
        try:
            with path.open("rb") as file:

                def lines() -> Iterator[str]:
                    nonlocal at, line
                    for raw in file:
                        mark = b"\xef\xbb\xbf" if at == 0 else b""
                        at, line = at + len(raw), line + 1
                        yield raw.removeprefix(mark).decode("utf-8", "surrogateescape")

                rows = csv.reader(lines(), strict=True)
                header = [name.strip() for name in next(rows, [])]
                if not {"image", "caption"} <= set(header):
                    raise UserError(
                        f"{path}: its first line names no columns image and caption; "
                        "add them or correct files"
                    )
                image, caption = header.index("image"), header.index("caption")
                if start:
                    file.seek(start - 1)
                    if file.read(1) != b"\n":
                        raise UserError(f"{path}: changed since it was indexed; {STALE}")
                    at = start
                    rows = csv.reader(lines(), strict=True)
                for row in rows:
                    if row:  # not a blank line
                        yield (
                            at,
                            row[image] if image < len(row) else "",
                            row[caption] if caption < len(row) else None,
                        )
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; put the file there") from None
        except csv.Error as error:
            where = f"line {line} from byte {start} on" if start else f"line {line}"
            raise UserError(f"{path}, {where}: no CSV ({error}); mend the quotes") from None

    @cached_property
    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for name in self.files:
            shard, n, last = None, 0, 0
            for end, _, _ in self._records(self.folder / name):
                if shard is None or n == CSV_ROWS:
                    shard, n = f"{name}@{last}", 0
                n += 1
                counts[shard] = n
                last = end
        return counts

    def read(self, shard: str, positions: np.ndarray) -> Iterator[Sample]:
        name, _, start = shard.rpartition("@")
        path = self.folder / name
        wanted = iter(positions.tolist())
        position = next(wanted, None)
        for i, (_, image, caption) in enumerate(self._records(path, int(start))):
            if position is None or i == CSV_ROWS:
                return
            if i == position:
                data = _contents(path.parent / image) if image else None
                yield Sample(image, caption, -1, data)
                position = next(wanted, None)

    def classes(self) -> list[str] | None:
        return None


def _csv(spec: Mapping[str, Any], folder: Path) -> Reader:
    return CsvReader(folder, _globbed(spec, folder, "*.csv"))


# ---- sets that fit in memory as a list -----------------------------------------------------------

Entry = tuple[str, str | None, int, Any, tuple[str, ...]]  # key, caption, label, image, more


class ListReader:
    """A list of entries, in shards of 500; an image is a path, or an (H, W, 3) uint8 array."""

    def __init__(self, name: str, entries: Sequence[Entry], classes: list[str] | None):
        self.name, self.entries, self._classes = name, entries, classes

    def shards(self) -> list[str]:
        return [f"{self.name}@{start}" for start in range(0, len(self.entries), CHUNK)]

    def count(self, shard: str) -> int:
        return min(CHUNK, len(self.entries) - int(shard.rpartition("@")[2]))

    def read(self, shard: str, positions: np.ndarray) -> Iterator[Sample]:
        start = int(shard.rpartition("@")[2])
        for position in positions[positions < self.count(shard)].tolist():
            key, caption, label, image, more = self.entries[start + position]
            data = _png(image) if isinstance(image, np.ndarray) else _contents(image)
            yield Sample(key, caption, label, data, more)

    def classes(self) -> list[str] | None:
        return self._classes


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


# ---- ImageNet ------------------------------------------------------------------------------------


def _synsets() -> list[str]:
    """ImageNet-1K's 1000 WordNet ids by class index, as timm has them."""
    from timm.data import ImageNetInfo

    return list(ImageNetInfo("imagenet-1k").label_names())


class TreeReader:
    """ImageNet's usual tree: a folder for each WordNet id; a folder is a shard."""

    def __init__(self, folder: Path, names: list[str]):
        index = {synset: i for i, synset in enumerate(_synsets())}
        if foreign := [name for name in names if name not in index]:
            raise UserError(
                f"{folder / foreign[0]}: no class of ImageNet-1K; keep only the 1000 classes there"
            )
        self.folder = folder
        self.labels = {name: index[name] for name in names}

    def shards(self) -> list[str]:
        return list(self.labels)

    def _files(self, shard: str) -> list[str]:
        try:
            names = os.listdir(self.folder / shard)
        except OSError as error:
            raise UserError(f"{self.folder / shard}: {error.strerror}; put it there") from None
        return sorted(
            name for name in names if name.lower().endswith(IMAGES) and not name.startswith(".")
        )

    def count(self, shard: str) -> int:
        return len(self._files(shard))

    def read(self, shard: str, positions: np.ndarray) -> Iterator[Sample]:
        files = self._files(shard)
        for position in positions[positions < len(files)].tolist():
            data = _contents(self.folder / shard / files[position])
            yield Sample(files[position], None, self.labels[shard], data)

    def classes(self) -> list[str] | None:
        return None


class ParquetReader(_Counted):
    """The hub's ImageNet: columns image{bytes, path} and label; a row group is a shard."""

    def __init__(self, folder: Path, files: list[str]):
        self.folder, self.files = folder, files

    def _open(self, name: str) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / name
        try:
            file = pq.ParquetFile(path)
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; put it there") from None
        except (pa.ArrowException, OSError, ValueError):
            raise UserError(f"{path}: no parquet file, or truncated; fetch it again") from None
        schema = file.schema_arrow
        image = schema.field("image").type if "image" in schema.names else None
        if (
            image is None
            or "label" not in schema.names
            or not pa.types.is_struct(image)
            or image.get_field_index("bytes") < 0
        ):
            raise UserError(f"{path}: no columns image{{bytes, path}} and label; correct files")
        return file

    @cached_property
    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for name in self.files:
            metadata = self._open(name).metadata
            for group in range(metadata.num_row_groups):
                counts[f"{name}@{group}"] = metadata.row_group(group).num_rows
        return counts

    def read(self, shard: str, positions: np.ndarray) -> Iterator[Sample]:
        import pyarrow as pa

        name, _, group = shard.rpartition("@")
        path = self.folder / name
        try:
            file = self._open(name)
            if int(group) >= file.num_row_groups:
                return
            table = file.read_row_group(int(group), columns=["image", "label"], use_threads=False)
        except (pa.ArrowException, OSError):
            raise UserError(
                f"{path}: row group {group} is damaged or truncated; fetch it again"
            ) from None
        images, labels = table["image"], table["label"]
        for position in positions[positions < table.num_rows].tolist():
            image, label = images[position].as_py() or {}, labels[position].as_py()
            if not isinstance(label, int) or not 0 <= label < 1000:
                raise UserError(
                    f"{path}: label {label} in row group {group}, expected 0 to 999; "
                    "use the validation files (the hub's test files have no labels)"
                )
            key = image.get("path") or f"{group}/{position}"
            yield Sample(key, None, label, image.get("bytes"))

    def classes(self) -> list[str] | None:
        return None


def _label_file(folder: Path) -> Path | None:
    for name in ("labels.csv", "labels.txt"):
        if (folder / name).is_file():
            return folder / name
    tables = sorted(folder.glob("*.csv"))
    if len(tables) > 1:
        raise UserError(
            f"{folder}: {len(tables)} CSV files; name the one with the labels labels.csv"
        )
    return tables[0] if tables else None


def _labelled_entries(path: Path) -> list[Entry]:
    """Entries of `NAME LABEL` or `NAME,LABEL` lines, with or without a header line."""
    index = {synset: i for i, synset in enumerate(_synsets())}
    entries: list[Entry] = []
    seen: set[Path] = set()
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8; give it lines NAME,LABEL") from None
    for number, line in enumerate(lines, 1):
        row = next(csv.reader([line])) if "," in line else line.rsplit(None, 1)
        if not row:
            continue
        # Kaggle's list has boxes behind the WordNet id.
        name, label = row[0].strip(), (row[1].split() or [""])[0] if len(row) > 1 else ""
        # Written as a float where pandas saw a gap in the column.
        value = index.get(label, int(float(label)) if re.fullmatch(r"\d+(\.0)?", label) else -1)
        image = path.parent / name
        if not image.suffix:
            image = image.with_suffix(".JPEG")
        if number == 1 and value < 0 and _contents(image) is None:
            continue  # header
        if not 0 <= value < 1000:
            raise UserError(
                f"{path}, line {number}: label {label!r}, expected a class index 0 to 999 or a "
                "WordNet id; correct the file"
            )
        if image in seen:
            raise UserError(f"{path}, line {number}: {name} is listed twice; correct the file")
        seen.add(image)
        entries.append((name, None, value, image, ()))
    if not entries:
        raise UserError(f"{path}: no lines NAME,LABEL; correct the file")
    return entries


def _flat(folder: Path, labels: Path) -> Reader:
    entries = _labelled_entries(labels)
    listed = {entry[3] for entry in entries}
    for path in sorted(folder.glob("ILSVRC2012_val_*")):
        if path not in listed:
            raise UserError(f"{labels}: no label for {path.name}; complete the file")
    return ListReader(labels.name, entries, None)


def _imagenet(spec: Mapping[str, Any], folder: Path) -> Reader:
    if spec.get("files"):
        return ParquetReader(folder, _globbed(spec, folder, ""))
    for base in (folder, folder / "val", folder / "data"):
        if not base.is_dir():
            continue
        names = [p.name for p in base.iterdir() if re.fullmatch(r"n\d{8}", p.name) and p.is_dir()]
        if names:
            return TreeReader(base, sorted(names))
        if labels := _label_file(base):
            return _flat(base, labels)
        tables = sorted(glob("*.parquet", root_dir=base))
        if tables := [name for name in tables if name.startswith("val")] or tables:
            if foreign := [name for name in tables if name.startswith(("train", "test"))]:
                raise UserError(
                    f"{base / foreign[0]}: not of the validation set; put validation-*.parquet "
                    "there or set files"
                )
            return ParquetReader(base, tables)
    if any(folder.glob("ILSVRC2012_val_*")):
        raise UserError(f"{folder}: images without labels; add labels.txt with lines NAME LABEL")
    raise UserError(
        f"{folder}: no ImageNet validation set; put there the tree n01440764/*.JPEG, or "
        "ILSVRC2012_val_*.JPEG with labels.txt, or the hub's validation-*.parquet"
    )


# ---- CIFAR, Caltech101, COCO ---------------------------------------------------------------------


def _cifar(classes: int) -> Callable[[Mapping[str, Any], Path], Reader]:
    def make(spec: Mapping[str, Any], folder: Path) -> Reader:
        from torchvision import datasets

        kind = datasets.CIFAR10 if classes == 10 else datasets.CIFAR100
        split = spec.get("split", "test")
        if split not in ("train", "test"):
            raise UserError(f"split: {split!r} is neither train nor test; choose one")
        root = folder.parent if folder.name == kind.base_folder else folder
        try:
            data = kind(root, train=split == "train", download=False)
        except RuntimeError:  # missing, or not the published files by their MD5
            raise UserError(
                f"{folder}: no {kind.base_folder}/ with all its published files; unpack "
                f"{kind.filename} there"
            ) from None
        entries: list[Entry] = [
            (f"{i:05d}", None, int(label), pixels, ())
            for i, (pixels, label) in enumerate(zip(data.data, data.targets, strict=True))
        ]
        names = [name.replace("_", " ") for name in data.classes]
        return ListReader(f"{kind.base_folder}/{split}", entries, names)

    return make


def _caltech101(spec: Mapping[str, Any], folder: Path) -> Reader:
    from torchvision.datasets import Caltech101

    root = folder.parent if folder.name == "caltech101" else folder
    images = root / "caltech101" / "101_ObjectCategories"
    if not images.is_dir():
        raise UserError(
            f"{folder}: no caltech101/101_ObjectCategories; unpack 101_ObjectCategories.tar.gz "
            "of caltech-101.zip there"
        )
    try:
        data = Caltech101(root, download=False)
    except (ValueError, OSError) as error:
        raise UserError(f"{images}: not as published ({error}); unpack it again") from None
    entries: list[Entry] = []
    for number, label in zip(data.index, data.y, strict=True):
        key = f"{data.categories[label]}/image_{number:04d}.jpg"
        entries.append((key, None, label, images / key, ()))
    if not entries:
        raise UserError(f"{images}: no images; unpack it again")
    names = [name.replace("_", " ") for name in data.categories]
    return ListReader("101_ObjectCategories", entries, names)


def _coco(spec: Mapping[str, Any], folder: Path) -> Reader:
    name = "captions_val2017.json"
    paths = [path for path in (folder / name, folder / "annotations" / name) if path.is_file()]
    if not paths or not (folder / "val2017").is_dir():
        missing = "val2017/" if paths else name
        raise UserError(f"{folder}: no {missing}; put {name} and val2017/ of COCO 2017 there")
    try:
        table = json.loads(paths[0].read_text("utf-8"))
        captions: dict[int, list[str]] = {}
        for note in sorted(table["annotations"], key=lambda note: note["id"]):
            captions.setdefault(note["image_id"], []).append(str(note["caption"]))
        entries: list[Entry] = []
        for image in sorted(table["images"], key=lambda image: image["id"]):
            found = captions.get(image["id"], [])
            found = ([text for text in found if text.strip()] or found)[:COCO_CAPTIONS]
            path = folder / "val2017" / image["file_name"]
            first = found[0] if found else None
            entries.append((image["file_name"], first, -1, path, tuple(found[1:])))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{paths[0]}: no COCO captions ({error!r}); fetch it again") from None
    if not entries:
        raise UserError(f"{paths[0]}: lists no images; fetch it again")
    return ListReader("val2017", entries, None)


READERS: dict[str, Callable[[Mapping[str, Any], Path], Reader]] = {
    "webdataset": _webdataset,
    "img2dataset": _img2dataset,
    "csv": _csv,
    "imagenet": _imagenet,
    "cifar10": _cifar(10),
    "cifar100": _cifar(100),
    "caltech101": _caltech101,
    "coco": _coco,
}
