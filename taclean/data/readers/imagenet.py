"""ImageNet-1K's validation set: the tree, a flat folder with labels, or the hub's Parquet files."""

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from taclean.data import Table
from taclean.data.labels import class_names
from taclean.data.readers import Reader, file_contents, image_files, make_table
from taclean.util.errors import UserError
from taclean.util.files import reading


@functools.cache
def label_of_synset() -> dict[str, int]:
    """Return the label of each of ImageNet-1K's 1,000 WordNet ids."""
    from timm.data import ImageNetInfo

    return {synset: i for i, synset in enumerate(ImageNetInfo("imagenet-1k").label_names())}


class ImageNet(Reader):
    """The form that lies in the source's folder, in its `val` or `data`, or as in Kaggle's."""

    gives = "labels"
    keys = ("files", "captions")

    def table(self) -> Table:
        """List the pictures; labels count open_clip's class names. Refuse any other form."""
        if self.spec.get("files"):
            return self._parquet(self.files(""))
        parts = ("ILSVRC/Data/CLS-LOC/val", "", "val", "data")  # Kaggle's labels are at the top
        for base in filter(Path.is_dir, map(self.folder.joinpath, parts)):
            if synsets := sorted(p.name for p in base.glob("n" + 8 * "[0-9]") if p.is_dir()):
                return self._tree(base, synsets)
            if labels := _label_file(base) or _label_file(self.folder):
                return self._flat(labels, base)
            if paths := sorted(base.glob("val*.parquet")):
                return self._parquet([path.relative_to(self.folder).as_posix() for path in paths])
        forms = "ILSVRC2012_val_*.JPEG with labels.txt (lines NAME LABEL), or validation-*.parquet"
        text = f"put there the tree n01440764/*.JPEG, or {forms} (for other names set files)"
        raise UserError(f"{self.folder}: no ImageNet validation set; {text}")

    def _table(self, keys: list[str], places: list[str], labels: list[int]) -> Table:
        return make_table(keys, places, label=labels, classes=class_names("imagenet", ""))

    def _tree(self, base: Path, synsets: list[str]) -> Table:
        """List a folder for each WordNet id."""
        label_of = label_of_synset()
        if foreign := [name for name in synsets if name not in label_of]:
            raise UserError(f"{base / foreign[0]}: no class of ImageNet-1K; move the folder away")
        top = base.relative_to(self.folder)
        found = [(name, file) for name in synsets for file in image_files(base / name)]
        places = [(top / name / file).as_posix() for name, file in found]
        return self._table([file for _, file in found], places, [label_of[n] for n, _ in found])

    def _flat(self, labels: Path, base: Path) -> Table:
        """List the images in a folder, by a file of labels."""
        listed = _listed(labels, base)
        paths = [path for path, _ in listed.values()]
        if missing := sorted({*base.glob("ILSVRC2012_val_*")}.difference(paths)):
            raise UserError(f"{labels}: no label for {missing[0].name}; complete the file")
        places = [path.relative_to(self.folder).as_posix() for path in paths]
        return self._table(list(listed), places, [label for _, label in listed.values()])

    def _parquet(self, files: list[str]) -> Table:
        """List the rows of Parquet files; a place is FILE:ROW_GROUP:POSITION."""
        keys, places, labels = [], [], []
        for name in files:
            with _opened(self.folder / name) as file:
                for group in range(file.num_row_groups):
                    rows = file.read_row_group(group, columns=["image.path", "label"])
                    for position, row in enumerate(rows.to_pylist()):
                        keys.append((row.get("image") or {}).get("path") or f"{group}/{position}")
                        places.append(f"{name}:{group}:{position}")
                        labels.append(row["label"])
                        if labels[-1] not in range(1000):
                            text = f"label {labels[-1]} in row group {group}, expected 0 to 999"
                            text += "; use the validation files"
                            raise UserError(f"{self.folder / name}: {text}")
        return self._table(keys, places, labels)

    def image(self, where: str) -> bytes | np.ndarray | None:
        if ".parquet:" not in where:
            return file_contents(self.folder / where)
        name, group, position = where.rsplit(":", 2)
        return (_images(self.folder / name, int(group))[int(position)].as_py() or {}).get("bytes")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a Parquet file; refuse one that is damaged, or has no image{bytes, path} and label."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    errors = (pa.ArrowException, OSError, ValueError)
    with reading(path, "missing, damaged or not Parquet", *errors):
        file = pq.ParquetFile(path)
        if not {"image.bytes", "label"} <= {column.path for column in file.schema}:
            raise UserError(f"{path}: no columns image{{bytes, path}} and label; correct files")
        yield file


@functools.lru_cache(maxsize=1)  # neighbours are read one after the other
def _images(path: Path, group: int) -> Any:
    with _opened(path) as file:
        return file.read_row_group(group, columns=["image.bytes"], use_threads=False)["image"]


def _label_file(folder: Path) -> Path | None:
    """Return the file of labels in a folder, if there is one."""
    names = ("labels.csv", "labels.txt", "LOC_val_solution.csv")
    usual = [folder / name for name in names if (folder / name).is_file()]
    tables = usual[:1] or sorted(folder.glob("*.csv"))
    if len(tables) > 1:
        raise UserError(f"{folder}: {len(tables)} CSV files; call that of the labels labels.csv")
    return tables[0] if tables else None


def _listed(path: Path, base: Path) -> dict[str, tuple[Path, int]]:
    """Return image and label by name of lines `NAME LABEL` or `NAME,LABEL`, also below a header."""
    found: dict[str, tuple[Path, int]] = {}
    with reading(path, "not UTF-8", UnicodeDecodeError, cure="give it lines NAME,LABEL"):
        lines = path.read_text("utf-8-sig").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        # Kaggle's list has boxes behind the WordNet id.
        name, label, *_ = *re.split(r"[\s,]+", line.replace('"', "").strip()), ""
        # pandas writes an index as a float where its column had a gap.
        value = int(float(label)) if re.fullmatch(r"\d{1,9}(\.0)?", label) else -1
        value, image = label_of_synset().get(label, value), base / name
        image = image if image.suffix else image.with_suffix(".JPEG")
        if number == 1 and value < 0 and not image.is_file():
            continue  # a header
        if not 0 <= value < 1000 or name in found:
            text = f"{name!a} has the label {label!a}; list each picture once, with a class index"
            raise UserError(f"{path}, line {number}: {text} 0 to 999 or a WordNet id")
        found[name] = image, value
    if not found:
        raise UserError(f"{path}: no lines NAME,LABEL; correct the file")
    return found
