"""ImageNet-1K's validation set: the tree, a flat folder with labels, or the hub's parquet."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np

from taclean.data.readers.base import (
    IMAGES,
    ListReader,
    Reader,
    Sample,
    ScannedShards,
    file_contents,
    matching_files,
)
from taclean.util.errors import UserError


def _synsets() -> list[str]:
    """ImageNet-1K's 1000 WordNet ids by class index, as timm has them."""
    from timm.data import ImageNetInfo

    return list(ImageNetInfo("imagenet-1k").label_names())


def _class_names() -> list[str]:
    """The classes' names by index."""
    from open_clip import IMAGENET_CLASSNAMES

    return list(IMAGENET_CLASSNAMES)


class TreeReader(Reader):
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
            data = file_contents(self.folder / shard / files[position])
            yield Sample(files[position], None, self.labels[shard], data)

    def classes(self) -> list[str]:
        return _class_names()


class ParquetReader(ScannedShards):
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

    def classes(self) -> list[str]:
        return _class_names()


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


def _listed_samples(path: Path) -> list[Sample]:
    """Samples of `NAME LABEL` or `NAME,LABEL` lines, with or without a header line."""
    index = {synset: i for i, synset in enumerate(_synsets())}
    samples: list[Sample] = []
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
        if number == 1 and value < 0 and file_contents(image) is None:
            continue  # header
        if not 0 <= value < 1000:
            raise UserError(
                f"{path}, line {number}: label {label!r}, expected a class index 0 to 999 or a "
                "WordNet id; correct the file"
            )
        if image in seen:
            raise UserError(f"{path}, line {number}: {name} is listed twice; correct the file")
        seen.add(image)
        samples.append(Sample(name, None, value, image))
    if not samples:
        raise UserError(f"{path}: no lines NAME,LABEL; correct the file")
    return samples


class FlatReader(ListReader):
    """Images in one folder with a list of their labels."""

    def classes(self) -> list[str]:
        return _class_names()


def _flat(folder: Path, labels: Path) -> Reader:
    samples = _listed_samples(labels)
    listed = {sample.image for sample in samples}
    for path in sorted(folder.glob("ILSVRC2012_val_*")):
        if path not in listed:
            raise UserError(f"{labels}: no label for {path.name}; complete the file")
    return FlatReader(labels.name, samples, None)


def open_imagenet(spec: Mapping[str, Any], folder: Path) -> Reader:
    """Find which of its forms lies in `folder`, its `val` or its `data`."""
    if spec.get("files"):
        return ParquetReader(folder, matching_files(spec, folder, ""))
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
