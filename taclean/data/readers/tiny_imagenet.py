"""Tiny-ImageNet-200: its unpacked folder, or its zip as it is published."""

import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from taclean.data import Table
from taclean.data.download import PUBLISHED, fetch_published
from taclean.data.labels import class_name, tiny_imagenet, unique_names
from taclean.data.readers import Reader, file_contents, make_table
from taclean.util.errors import UserError
from taclean.util.files import reading

SIDE = 64  # px that boxes count
TOP = "tiny-imagenet-200"
BOX = ("left", "top", "right", "bottom")
# A member's header in a zip: signature, method, CRC-32, lengths of its name and its extra field.
HEADER = struct.Struct("<4s4xH4xL8xHH")


class TinyImageNet(Reader):
    """The pictures of `split`, which is val (the default) or train.

    The zip is read as it is: unpacking 110,000 files takes longer than all later reading. A place
    in it is MEMBER:OFFSET:SIZE, so that no worker reads the list of its members.
    """

    gives = "labels"
    keys = ("split", "download", "captions")
    parts = ("val", "train")

    def __init__(self, spec: Mapping[str, Any], folder: Path) -> None:
        archive = folder / PUBLISHED["tiny_imagenet"].name
        unpacked = any((folder / top / "wnids.txt").is_file() for top in ("", TOP))
        self.zipped = folder.is_file() or (archive.is_file() and not unpacked)
        if self.zipped:
            self.spec, self.folder = spec, folder if folder.is_file() else archive
        else:
            super().__init__(spec, folder)

    def table(self) -> Table:
        """List the pictures of the files with boxes, also of those that are missing.

        Beside the columns of `make_table` there are `left`, `top`, `right` and `bottom`: the box of
        the object, in shares of the picture. `attrs["synsets"]` are the WordNet ids by label. A
        UserError names a file that is missing or damaged, and a line of another form.
        """
        with self._opened() as (contents, place):

            def lines(name: str) -> Iterator[tuple[str, list[str]]]:
                """Yield each line of a file with its place."""
                if (data := contents(name)) is None:
                    archive = PUBLISHED["tiny_imagenet"].name
                    text = f"no {name}; put {archive} or its unpacked files there"
                    raise UserError(f"{self.folder}: {text}")
                with reading(self.folder / name, "not UTF-8", ValueError):
                    texts = data.decode("utf-8-sig").splitlines()
                for number, text in enumerate(texts, 1):
                    if text.strip():
                        yield f"{self.folder / name}, line {number}", text.split("\t")

            top = "" if contents("wnids.txt") is not None else f"{TOP}/"
            label_of: dict[str, int] = {}
            for where, [synset, *more] in lines(f"{top}wnids.txt"):
                if more or synset in label_of or not re.fullmatch(r"n\d{8}", synset):
                    text = f"{synset!a}; give each line another WordNet id, such as n02124075"
                    raise UserError(f"{where}: {text}")
                label_of[synset] = len(label_of)
            known = tiny_imagenet()
            if unknown := [synset for synset in label_of if synset not in known]:
                words = {row[0]: row[-1].split(",")[0] for _, row in lines(f"{top}words.txt")}
                known |= {s: name for s in unknown if (name := class_name(words.get(s, "")))}
                if nameless := [synset for synset in unknown if synset not in known]:
                    text = f"no name of the class {nameless[0]}; add a line with it and its name"
                    raise UserError(f"{self.folder / top}/words.txt: {text}")
            names = unique_names((known[s] for s in label_of), f"{self.folder / top}/words.txt")

            keys, places, labels, boxes = [], [], [], []
            if self.spec.get("split", self.parts[0]) == "val":
                lists = [(f"{top}val/", "val_annotations.txt", "")]
            else:
                lists = [(f"{top}train/{name}/", f"{name}_boxes.txt", name) for name in label_of]
            for folder, file, synset in lists:
                for where, (name, *rest) in lines(folder + file):
                    own, *box = [synset, *rest] if synset else rest or [""]
                    if own not in label_of:
                        text = f"{own!a} is not in wnids.txt; add it or correct the line"
                        raise UserError(f"{where}: {text}")
                    numbers = [int(px) for px in box if re.fullmatch(r"\d{1,3}", px)]
                    if len(numbers) != len(box) or not _is_box(numbers) or "/" in name:
                        form = f"NAME,{' WNID,' * (not synset)} x0, y0, x1, y1 (0 to {SIDE - 1})"
                        text = f"not {form}, separated by tabs; correct it or fetch the file again"
                        raise UserError(f"{where}: {text}")
                    keys.append(name)
                    places.append(place(f"{folder}images/{name}"))
                    labels.append(label_of[own])
                    boxes.append((*numbers[:2], numbers[2] + 1, numbers[3] + 1))
        table = make_table(keys, places, label=labels, classes=names)
        for i, name in enumerate(BOX):
            table[name] = [box[i] / SIDE for box in boxes]
        table.attrs["synsets"] = list(label_of)
        return table

    def image(self, where: str) -> bytes | None:
        """Return the bytes of a picture; None where there is none."""
        if not self.zipped:
            return file_contents(self.folder / where)
        errors = (OSError, ValueError, struct.error, zlib.error)
        with reading(self.folder, "damaged, or not as it was listed", *errors):
            _, offset, size = where.rsplit(":", 2)
            with self.folder.open("rb") as file:
                file.seek(int(offset))
                signature, method, crc, name, extra = HEADER.unpack(file.read(HEADER.size))
                if signature != b"PK\3\4":
                    raise ValueError(f"no file at byte {offset}")
                data = file.read(name + extra + int(size))[name + extra :]
            data = zlib.decompress(data, -zlib.MAX_WBITS) if method else data
            if crc not in (0, zlib.crc32(data)):  # 0: it is not in the header
                raise ValueError(f"wrong CRC-32 of the file at byte {offset}")
            return data

    @contextmanager
    def _opened(self) -> Iterator[tuple[Callable[[str], bytes | None], Callable[[str], Any]]]:
        """Give functions that return the contents of a file, and its place in the table."""
        if not self.zipped:
            yield (lambda name: file_contents(self.folder / name)), str
            return
        errors = (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, zlib.error)
        with (
            reading(self.folder, "not a whole zip", *errors, cure="fetch it again"),
            zipfile.ZipFile(self.folder) as archive,
        ):
            members = {info.filename: info for info in archive.infolist()}

            def place(name: str) -> str | None:
                if (info := members.get(name)) is None:
                    return None
                if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise ValueError(f"{name}: another compression than deflate")
                return f"{name}:{info.header_offset}:{info.compress_size}"

            yield (lambda name: archive.read(name) if name in members else None), place

    @classmethod
    def download(cls, folder: Path) -> None:
        """Fetch the published zip; a UserError says why it cannot be fetched."""
        fetch_published("tiny_imagenet", folder)


def _is_box(px: list[int]) -> bool:
    return len(px) == 4 and px[0] <= px[2] < SIDE and px[1] <= px[3] < SIDE
