"""Labelled images of any kind: a folder for each class, or a CSV of images and labels."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from taclean.data.layout import one_line
from taclean.data.readers.base import (
    IMAGES,
    ListReader,
    Reader,
    Sample,
    file_contents,
    matching_files,
)
from taclean.data.readers.csv_table import CsvForm
from taclean.util.errors import UserError

SPLITS = {"train", "test", "val", "valid", "validation"}  # what parts of a data set are called


def class_name(text: str) -> str:
    """A class as prompts name it: `_` is a blank, and letters are composed (macOS parts them)."""
    return one_line(unicodedata.normalize("NFC", text).replace("_", " "))


# ---- a folder for each class ---------------------------------------------------------------------


class FoldersReader(Reader):
    """CLASS/*.jpg, .png or .webp, at any depth; a class is a shard. Hidden files are no part of it.

    Args:
        names: the classes' folders in label order.
    """

    def __init__(self, folder: Path, names: list[str]):
        self.folder, self.names = folder, names

    def shards(self) -> list[str]:
        return self.names

    def _files(self, shard: str) -> list[str]:
        top = self.folder / shard
        found = []

        def refuse(error: OSError) -> None:
            raise UserError(f"{error.filename}: {error.strerror}; mend that") from None

        for place, folders, files in os.walk(top, onerror=refuse):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [
                os.path.relpath(os.path.join(place, name), top)
                for name in files
                if name.lower().endswith(IMAGES) and not name.startswith(".")
            ]
        return sorted(found)

    def count(self, shard: str) -> int:
        if not (count := len(self._files(shard))):
            raise UserError(
                f"{self.folder / shard}: no {', '.join(IMAGES)} in this class; put its images "
                "there or remove the folder"
            )
        return count

    def read(self, shard: str, positions: np.ndarray) -> Iterator[Sample]:
        files, label = self._files(shard), self.names.index(shard)
        for position in positions[positions < len(files)].tolist():
            file = files[position]
            yield Sample(file, None, label, file_contents(self.folder / shard / file))

    def classes(self) -> list[str]:
        return [class_name(name) for name in self.names]


def open_folders(spec: Mapping[str, Any], folder: Path) -> Reader:
    """Open a folder of class folders; labels count them in the order of their names."""
    names = sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".")
    )
    if not names:
        raise UserError(f"{folder}: no class folders; put CLASS/*.jpg there or correct folder")
    if set(map(str.lower, names)) <= SPLITS:
        raise UserError(
            f"{folder}: holds {', '.join(names)} and no classes; set folder to {folder / names[-1]}"
        )
    of_class: dict[str, str] = {}
    for name in names:
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:
            raise UserError(
                f"{folder}: the class folder {name!a} is not UTF-8; rename it"
            ) from None
        if not (title := class_name(name)):
            raise UserError(f"{folder}: the class folder {name!a} names no class; rename it")
        if title in of_class:
            raise UserError(
                f"{folder}: the folders {of_class[title]!a} and {name!a} are both the class "
                f"{title!r}; rename one"
            )
        of_class[title] = name
    return FoldersReader(folder, names)


# ---- a CSV of images and labels ------------------------------------------------------------------


class LabelsReader(ListReader):
    """Listed images; those with the same path show the same picture."""

    def pictures(self) -> np.ndarray:
        return np.array(
            [hash(os.path.normpath(str(s.image or i))) for i, s in enumerate(self.samples)]
        )


def open_labels(spec: Mapping[str, Any], folder: Path) -> Reader:
    """Open the CSV files that match `files` (default: *.csv) with columns `image` and `label`.

    A label is a class's name, or its index from 0. Names count in the order of `classes`, a list or
    a text file with one on each line; without it, in alphabetical order. Where all labels are
    indices and `classes` is not set, they count the run's own classes.

    Raises:
        UserError: a label is missing, or is none of the classes.
    """
    form = CsvForm.of(spec, folder, "image", "label")
    files = matching_files(spec, folder, "*.csv")
    listed: list[tuple[str, str, Path | None]] = []
    for file in files:
        for n, (_, (image, label)) in enumerate(form.records(folder / file), 1):
            if not label:
                raise UserError(f"{folder / file}, record {n}: no label; give each image one")
            listed.append(
                (image or "", label, form.image_path(folder / file, image) if image else None)
            )
    if not listed:
        raise UserError(f"{folder / files[0]}: no records; put images and their labels there")
    indices = [
        int(float(label)) if re.fullmatch(r"\d+(\.0)?", label) else -1 for _, label, _ in listed
    ]
    classes = _listed_classes(spec, folder)
    if classes is None and min(indices) < 0:
        classes = sorted({class_name(label) for _, label, _ in listed})
    if classes is not None:
        label_of = {name: i for i, name in enumerate(classes)}
        for i, (image, label, _) in enumerate(listed):
            indices[i] = label_of.get(class_name(label), indices[i])
            if not 0 <= indices[i] < len(classes):
                raise UserError(
                    f"{folder / files[0]}: label {label!a} of {image!a} is none of the "
                    f"{len(classes)} classes; correct it or add it to classes"
                )
    samples = [
        Sample(image, None, index, path)
        for (image, _, path), index in zip(listed, indices, strict=True)
    ]
    return LabelsReader(files[0], samples, classes)


def _listed_classes(spec: Mapping[str, Any], folder: Path) -> list[str] | None:
    given: str | Sequence[str] | None = spec.get("classes")
    if not given:
        return None
    if isinstance(given, str):
        path = folder / given
        try:
            given = path.read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8"
            raise UserError(
                f"{path}: {reason}; set classes to a text file with a class on each line"
            ) from None
    names = [name for name in map(class_name, given) if name]
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise UserError(f"classes: {twice[0]!r} is given twice; keep one")
    return names
