"""Tiny-ImageNet's form, as folders and as a zip: labels, boxes, pictures, and what is refused."""

import io
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import open_clip
import pytest
from PIL import Image

from taclean.config.schema import Source
from taclean.data.labels import class_names, count_classes, tiny_imagenet
from taclean.data.pack import pack_rows
from taclean.data.readers import make_reader
from taclean.data.readers.imagenet import label_of_synset
from tests.data.test_readers import everything
from tests.helpers import refused

SYNSETS = ["n03126707", "n02124075", "n99999999"]  # the last one is in no committed table
TRAIN = {"reader": "tiny_imagenet", "split": "train"}
VAL = {"reader": "tiny_imagenet"}


def jpeg(mode: str, shade: int) -> bytes:
    out = io.BytesIO()
    Image.new(mode, (64, 64), (shade,) * len(mode) if len(mode) > 1 else shade).save(out, "JPEG")
    return out.getvalue()


def files() -> dict[str, bytes]:
    """Return a set of two training pictures of each class and two of val: RGB, grey, CMYK."""
    found = {"wnids.txt": "\n".join(SYNSETS).encode(), "words.txt": b"n99999999\tnew thing, thing"}
    for i, synset in enumerate(SYNSETS):
        lines = [f"{synset}_{n}.JPEG\t0\t{16 * n}\t31\t63\n" for n in range(2)]
        found[f"train/{synset}/{synset}_boxes.txt"] = "".join(lines).encode()
        for n, mode in enumerate(("RGB", "L")):
            found[f"train/{synset}/images/{synset}_{n}.JPEG"] = jpeg(mode, 80 * i + n)
    lines = [f"val_{n}.JPEG\t{SYNSETS[2 - n]}\t5\t5\t5\t5\n" for n in range(2)]
    found["val/val_annotations.txt"] = "".join(lines).encode()
    return found | {f"val/images/val_{n}.JPEG": jpeg("CMYK", 90 * n) for n in range(2)}


def write(folder: Path, form: str, content: dict[str, bytes]) -> Path:
    """Write the set as a folder, below a folder, or as a zip; return what `folder` may name."""
    if "zip" in form:
        path = folder / "tiny-imagenet-200.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in content.items():
                archive.writestr(f"tiny-imagenet-200/{name}", data)
        return path if form == "zip" else folder
    for name, data in content.items():
        path = folder / "tiny-imagenet-200" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder / "tiny-imagenet-200" if form == "folder" else folder


@pytest.mark.parametrize("form", ["folder", "parent", "zip", "zip in a folder"])
def test_pictures_labels_and_boxes(tmp_path, form):
    content = files()
    place = write(tmp_path, form, content)
    names = [f"{s}_{n}.JPEG" for s in SYNSETS for n in range(2)]
    reader = make_reader(TRAIN, place)
    assert [(s.key, s.label, s.image) for s in everything(reader)] == [
        (name, i // 2, content[f"train/{name[:9]}/images/{name}"]) for i, name in enumerate(names)
    ]
    table = reader.table()
    assert table.attrs["classes"] == ["construction crane", "Egyptian Mau", "new thing"]
    assert table.attrs["synsets"] == SYNSETS
    boxes = table[["left", "top", "right", "bottom"]].to_numpy().tolist()
    assert boxes[:2] == [[0, 0, 0.5, 1], [0, 0.25, 0.5, 1]]
    val = make_reader(VAL, place)
    assert [(s.label, s.image) for s in everything(val)] == [
        (2 - n, content[f"val/images/val_{n}.JPEG"]) for n in range(2)
    ]
    counted = count_classes(val.table(), ["new thing", "egyptian mau", "x", "Construction crane"])
    assert counted["label"].tolist() == [0, 1]
    assert counted.attrs["synsets"] == [SYNSETS[2], SYNSETS[1], None, SYNSETS[0]]


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_broken_pictures_are_counted_and_others_packed(tmp_path, form):
    content = files()
    content[f"train/{SYNSETS[0]}/images/{SYNSETS[0]}_0.JPEG"] = jpeg("RGB", 1)[:300]
    del content[f"train/{SYNSETS[1]}/images/{SYNSETS[1]}_1.JPEG"]
    reader = make_reader(TRAIN, write(tmp_path, form, content))
    work = {"size": 64, "tokenize": lambda texts: np.zeros((len(texts), 77), np.uint16)}
    account = pack_rows(tmp_path / "split", reader, reader.table(), max_broken=0.5, **work)
    assert (account["packed"], account["broken"]["undecodable"]) == (4, 1)
    assert account["broken"]["no_image"] == 1
    refused(lambda: pack_rows(tmp_path / "other", reader, reader.table(), max_broken=0, **work),
            "undecodable 1", f"{SYNSETS[0]}_0.JPEG")  # fmt: skip
    val = make_reader(VAL, reader.folder)
    account = pack_rows(tmp_path / "val", val, val.table(), max_broken=0, **work)
    assert account["packed"] == 2  # CMYK


BOXES, NOTES = f"train/{SYNSETS[1]}/{SYNSETS[1]}_boxes.txt", "val/val_annotations.txt"
MISTAKES: list[tuple[str, bytes | None, str]] = [
    ("wnids.txt", None, "wnids.txt; put tiny-imagenet-200.zip or its unpacked files there"),
    ("wnids.txt", b"n02124075\nn02124075\n", "wnids.txt, line 2: 'n02124075'; give each"),
    ("wnids.txt", b"\n../../x\n", "wnids.txt, line 2: '../../x'; give each"),
    ("words.txt", None, "no tiny-imagenet-200/words.txt"),
    ("words.txt", b"n1\tx", "words.txt: no name of the class n99999999; add a line"),
    ("words.txt", b"n99999999\tEgyptian Mau", "words.txt: 'Egyptian Mau' is given twice"),
    (NOTES, None, f"no tiny-imagenet-200/{NOTES}"),
    (NOTES, b"\xff\xfe", f"{NOTES}: not UTF-8"),
    (NOTES, b"a.JPEG\tn00000001\t0\t0\t9\t9\n", f"{NOTES}, line 1: 'n00000001' is not in wnids"),
    (NOTES, b"a.JPEG\n", f"{NOTES}, line 1: '' is not in wnids.txt"),
    (BOXES, None, f"no tiny-imagenet-200/{BOXES}"),
    (BOXES, b"a.JPEG\t0\t0\t9\t9\na.JPEG\t0\t0\t9\n", f"{BOXES}, line 2: not NAME, x0, y0"),
    (BOXES, b"a.JPEG\t0\t0\t9\t64\n", f"{BOXES}, line 1: not NAME"),
    (BOXES, b"../../a.JPEG\t0\t0\t9\t9\n", f"{BOXES}, line 1: not NAME"),
]


@pytest.mark.parametrize("form", ["parent", "zip"])
@pytest.mark.parametrize(("name", "data", "says"), MISTAKES)
def test_mistakes_are_named(tmp_path, form, name, data, says):
    content = {k: v for k, v in (files() | {name: data}).items() if v is not None}
    place = write(tmp_path, form, content)
    spec = VAL if name == NOTES else TRAIN
    refused(lambda: make_reader(spec, place).table(), f"{tmp_path}", says)


def test_a_zip_that_is_damaged_is_named(tmp_path):
    path = write(tmp_path, "zip", files())
    whole, reader = path.read_bytes(), make_reader(TRAIN, path)
    where = reader.table()["where"][0]
    offset = int(where.rsplit(":", 2)[1])
    for content in (whole[:-30], whole[: len(whole) // 2], b"", b"<html>no</html>", whole[9:-9]):
        path.write_bytes(content)
        refused(lambda: make_reader(TRAIN, tmp_path).table(), str(path), "not a whole zip")
    for content in (whole[: offset + 100], b"!" * len(whole), whole[:offset]):
        path.write_bytes(content)
        refused(lambda: reader.image(where), str(path), "damaged", "fetch it again")
    at = offset + 30 + len(where.rsplit(":", 2)[0]) + 200
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    refused(lambda: reader.image(where), str(path), "damaged")


def test_the_committed_names_are_those_of_200_classes():
    names = tiny_imagenet()
    assert len({name.lower() for name in names.values()}) == 200
    assert class_names("tiny_imagenet", "") == [*names.values()]
    own = {s: open_clip.IMAGENET_CLASSNAMES[label_of_synset()[s]] for s in names}
    assert sum(own[s] != name for s, name in names.items()) == 4  # written better
    assert not [name for name in names.values() if re.search("[/,]", name)]
    if folder := os.environ.get("TINY_IMAGENET"):  # the data set itself
        assert make_reader(VAL, Path(folder)).table().attrs["synsets"] == [*names]


def test_a_part_that_the_reader_lacks_is_refused():
    assert Source(reader="tiny_imagenet", download=True, split="val").split == "val"
    for reader, part in (("tiny_imagenet", "test"), ("cifar10", "val")):
        with pytest.raises(ValueError, match=f"{part}' is no part of {reader}"):
            Source(reader=reader, download=True, split=part)
