"""Data as users have it: pairs, labelled test sets and COCO, behind one small reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any, Literal

from taclean.data.readers.base import ListReader, Reader, Sample
from taclean.data.readers.coco import open_coco
from taclean.data.readers.csv_pairs import open_csv_pairs
from taclean.data.readers.imagenet import open_imagenet
from taclean.data.readers.img2dataset import open_img2dataset
from taclean.data.readers.labelled import open_folders, open_labels
from taclean.data.readers.torchvision_sets import (
    cifar_download,
    cifar_opener,
    open_caltech101,
)
from taclean.data.readers.webdataset import open_webdataset
from taclean.util.errors import UserError

__all__ = ["READERS", "ListReader", "Reader", "ReaderKind", "Sample", "make_reader"]


@dataclass(frozen=True)
class ReaderKind:
    """A form that a source can have.

    Attributes:
        open: (spec, folder) -> reader.
        gives: what its samples have beside the image: "pairs" (captions to train on), "labels", or
            "captions" (several of each image, for retrieval).
        keys: the spec's keys that are this form's own.
        download: puts the published files into a folder.
    """

    open: Callable[[Mapping[str, Any], Path], Reader]
    gives: Literal["pairs", "labels", "captions"]
    keys: tuple[str, ...] = ()
    download: Callable[[Path], None] | None = None


_CSV = ("files", "columns", "separator", "images")
_CIFAR = ("split", "download", "captions")

READERS = {
    "webdataset": ReaderKind(open_webdataset, "pairs", ("files",)),
    "img2dataset": ReaderKind(open_img2dataset, "pairs", ("files",)),
    "csv": ReaderKind(open_csv_pairs, "pairs", _CSV),
    "imagenet": ReaderKind(open_imagenet, "labels", ("files", "captions")),
    "cifar10": ReaderKind(cifar_opener(10), "labels", _CIFAR, cifar_download(10)),
    "cifar100": ReaderKind(cifar_opener(100), "labels", _CIFAR, cifar_download(100)),
    "caltech101": ReaderKind(open_caltech101, "labels", ("captions",)),
    "folders": ReaderKind(open_folders, "labels", ("captions",)),
    "labels": ReaderKind(open_labels, "labels", (*_CSV, "classes", "captions")),
    "coco": ReaderKind(open_coco, "captions"),
}


def make_reader(spec: Mapping[str, Any], folder: Path) -> Reader:
    """Open the source that `spec` names.

    Args:
        spec: `reader`, one of `READERS`, and the keys of that kind: `files`, a glob or a list of
            globs of the shards or CSV files; `columns`, `separator` and `images` of a CSV;
            `classes` of labels; `split`, train or test (CIFAR); `hub` and `revision` where they
            were fetched.
        folder: where the files are; a CSV file itself is fine, too.

    Raises:
        UserError: folder or files are missing, a key is wrong, or `reader` is none of those.
    """
    name = spec.get("reader")
    if name not in READERS:
        raise UserError(f"reader: {name!r} is none of {', '.join(READERS)}; choose one of them")
    folder = Path(folder)
    kind = READERS[name]
    if "separator" in kind.keys and folder.is_file():
        spec = {**spec, "files": escape(folder.name), "hub": None}
        folder = folder.parent
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; put the {name} files there or correct the path")
    return kind.open(spec, folder)
