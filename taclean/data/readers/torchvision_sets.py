"""CIFAR-10 and -100 and Caltech101 as torchvision reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

from taclean.data.readers.base import ListReader, Reader, Sample
from taclean.util.errors import UserError


def _cifar(classes: int) -> Any:
    from torchvision import datasets

    return datasets.CIFAR10 if classes == 10 else datasets.CIFAR100


def cifar_opener(classes: int) -> Callable[[Mapping[str, Any], Path], Reader]:
    """What opens CIFAR with this many classes: its `split` test (the default) or train."""

    def make(spec: Mapping[str, Any], folder: Path) -> Reader:
        kind = _cifar(classes)
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
        samples = [
            Sample(f"{i:05d}", None, int(label), pixels)
            for i, (pixels, label) in enumerate(zip(data.data, data.targets, strict=True))
        ]
        names = [name.replace("_", " ") for name in data.classes]
        return ListReader(f"{kind.base_folder}/{split}", samples, names)

    return make


def cifar_download(classes: int) -> Callable[[Path], None]:
    """What fetches CIFAR with this many classes; whole files (by their MD5) are kept.

    Its parts come in one archive, so sources of one folder wait for each other.
    """

    def download(folder: Path) -> None:
        from filelock import FileLock

        kind = _cifar(classes)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / "lock"):
                kind(folder, download=True)
        # Network or disk; a connection that broke off; not the published files.
        except (OSError, HTTPException, RuntimeError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(
                f"{kind.url}: cannot be fetched ({reason}); run it again, or unpack "
                f"{kind.filename} into a folder and set folder to it"
            ) from None

    return download


def open_caltech101(spec: Mapping[str, Any], folder: Path) -> Reader:
    """Open Caltech101, without its background class."""
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
    samples: list[Sample] = []
    for number, label in zip(data.index, data.y, strict=True):
        key = f"{data.categories[label]}/image_{number:04d}.jpg"
        samples.append(Sample(key, None, label, images / key))
    if not samples:
        raise UserError(f"{images}: no images; unpack it again")
    names = [name.replace("_", " ") for name in data.categories]
    return ListReader("101_ObjectCategories", samples, names)
