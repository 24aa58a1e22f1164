"""Readers: every form of source gives a table of samples and their pictures, or a clear error."""

import csv
import hashlib
import io
import json
import pickle
import tarfile
import threading
from collections.abc import Iterable, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import open_clip
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torchvision.datasets
import webdataset
import yaml
from joblib import parallel_config
from PIL import Image

from taclean.data.readers import READERS, Reader, cifar10, load_table, make_reader, save_table
from tests.helpers import refused, write_tar

WRONG = yaml.safe_load(Path(__file__).with_name("sources.yaml").read_text("utf-8"))
CAPTIONS = ["a dog, 2 cats and 1,000 birds", "she said \"no\" — 'twice'", "two lines\nof text"]
CAPTIONS += ["一只香蕉在桌子上", "موزة 🍌", ""]


def jpeg(shade: int, size: tuple[int, int] = (16, 12)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (shade, 0, 255 - shade)).save(out, "JPEG")
    return out.getvalue()


def pairs(captions: Iterable[str], start: int = 0) -> list[tuple[str, bytes]]:
    named = [(f"{i:09d}", i, caption.encode()) for i, caption in enumerate(captions, start)]
    return [m for key, i, text in named for m in ((f"{key}.jpg", jpeg(i)), (f"{key}.txt", text))]


class Sample(NamedTuple):
    key: str
    caption: str | None
    label: int
    image: Any


def everything(reader: Reader) -> list[Sample]:
    """All samples, by a saved table and a pickled copy of the reader, as a packing reads them."""
    table = reader.table()
    with TemporaryDirectory() as folder:
        save_table(table, Path(folder) / "index.parquet")
        loaded = load_table(Path(folder) / "index.parquet")
    pd.testing.assert_frame_equal(loaded, table)
    assert loaded.attrs == table.attrs
    assert table.index.tolist() == list(range(len(table)))
    copy = pickle.loads(pickle.dumps(reader))
    images = [copy.read(row.where, row.caption)[0] for row in loaded.itertuples()]
    rows = zip(loaded["key"], loaded["caption"], loaded["label"], images, strict=True)
    return [Sample(*row) for row in rows]


def classes_of(reader: Reader) -> list[str] | None:
    return reader.table().attrs["classes"]


def first_rows(reader: Reader) -> list[int]:
    """For every row the first row that shows the same picture."""
    picture = reader.table()["picture"]
    return picture.index.to_series().groupby(picture).transform("first").tolist()


def open_all(spec: Mapping[str, object], folder: Path) -> list[Sample]:
    return everything(make_reader(spec, folder))


def test_shards_give_what_webdataset_gives(tmp_path):
    with webdataset.TarWriter(str(tmp_path / "cc3m-train-0000.tar")) as writer:
        for i, caption in enumerate(CAPTIONS):
            writer.write({"__key__": f"{i:09d}", "jpg": jpeg(i), "txt": caption, "json": {"n": i}})
    (tmp_path / "cc3m-validation-0000.tar").write_bytes(b"not looked at")
    found = open_all({"reader": "webdataset", "files": "cc3m-train-*.tar"}, tmp_path)
    source = webdataset.WebDataset(str(tmp_path / "cc3m-train-0000.tar"), shardshuffle=False)
    wanted = [(s["__key__"], s["txt"].decode(), s["jpg"]) for s in source]
    assert [(s.key, s.caption, s.image) for s in found] == wanted
    assert [s.caption for s in found] == CAPTIONS
    assert {s.label for s in found} == {-1}


FORMS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


@pytest.mark.parametrize("form", FORMS)
def test_shards_are_sorted_and_hold_every_kind_of_sample(tmp_path, form):
    write_tar(tmp_path / "b.tar", pairs(["later"], 9))
    folder = "f/" if form == "ustar" else "f/" * 80  # longer than ustar has room for
    members = [
        ("__meta__", b"x"),
        ("f/0.jpeg", b"A"),
        ("f/0.json", json.dumps({"caption": "from json"}).encode()),
        ("f/1.PNG", b"B"),
        ("f/1.json", b"{broken"),
        ("f/2.webp", b"C"),
        ("f/2.json", b'{"caption": 3}'),
        (f"{folder}ключ.jpg", b"long"),
        (f"{folder}ключ.json", b'{"caption":' + b"[" * 100_000),
        ("f/3.txt", b"no image"),
        ("f/4.jpg", b""),
        ("f/4.txt", b"caf\xe9"),
        ("f/4.json", b'{"caption": "not this one"}'),
        ("README", b"no key"),
        ("g/4.jpg", b"another folder is another sample"),
    ]
    write_tar(tmp_path / "a.tar", members, format=FORMS[form])
    reader = make_reader({"reader": "webdataset"}, tmp_path)
    assert [(s.key, s.caption, s.image) for s in everything(reader)] == [
        ("f/0", "from json", b"A"),
        ("f/1", None, b"B"),
        ("f/2", None, b"C"),
        (f"{folder}ключ", None, b"long"),
        ("f/3", "no image", None),
        ("f/4", "caf\udce9", b""),
        ("g/4", None, b"another folder is another sample"),
        ("000000009", "later", jpeg(9)),
    ]


def test_a_bad_shard_is_named(tmp_path):
    whole = write_tar(tmp_path / "a.tar", pairs(CAPTIONS)).read_bytes()
    spec = {"reader": "webdataset"}
    for end in (0, 100, 512, 1200, len(whole) // 2 // 512 * 512, len(whole.rstrip(b"\0"))):
        (tmp_path / "a.tar").write_bytes(whole[:end])
        refused(lambda: open_all(spec, tmp_path), str(tmp_path / "a.tar"), "fetch it again")
    (tmp_path / "a.tar").write_bytes(b"<html>not found</html>" * 100)
    refused(lambda: open_all(spec, tmp_path), str(tmp_path / "a.tar"), "not a whole tar")
    second = whole.index(b"000000001.jpg")
    (tmp_path / "a.tar").write_bytes(whole[:second] + b"!" + whole[second + 1 :])
    refused(lambda: open_all(spec, tmp_path), "a.tar", f"truncated at byte {second}")


def test_a_bad_shard_is_left_out_as_far_as_max_broken_allows(tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr("taclean.data.readers.webdataset.say", said.append)
    for i, name in enumerate("abcd"):
        write_tar(tmp_path / f"{name}.tar", pairs(CAPTIONS, 10 * i))
    (tmp_path / "b.tar").write_bytes((tmp_path / "b.tar").read_bytes()[:1200])
    for name in ("webdataset", "img2dataset"):
        spec = {"reader": name, "max_broken": 0.25}
        table = make_reader(spec, tmp_path).table()
        assert {where[0] for where in table["where"]} == {"a", "c", "d"}
        assert said.pop().startswith(f"left out: {tmp_path / 'b.tar'}: ")
        with parallel_config(n_jobs=2):
            pd.testing.assert_frame_equal(make_reader(spec, tmp_path).table(), table)
        (tmp_path / "d.tar").write_bytes(b"")
        refused(make_reader(spec, tmp_path).table, "d.tar", "raise max_broken")
        write_tar(tmp_path / "d.tar", pairs(CAPTIONS, 30))


@pytest.mark.parametrize(
    ("reader", "source"), [(reader, source) for reader in WRONG for source in WRONG[reader]]
)
def test_a_source_of_another_form_is_refused(
    tmp_path: Path, reader: str, source: dict[str, Any]
) -> None:
    for name, text in source["files"].items():
        path = tmp_path / name
        (path if text is None else path.parent).mkdir(parents=True, exist_ok=True)
        if text is not None:
            path.write_text(text, "utf-8")
    spec = {"reader": reader, **source.get("keys", {})}
    refused(lambda: open_all(spec, tmp_path), source["says"])


@pytest.mark.parametrize("name", READERS)
def test_a_missing_or_empty_folder_is_named(tmp_path, name):
    refused(lambda: make_reader({"reader": name}, tmp_path / "none"), str(tmp_path / "none"))
    put = "unpack" if name in ("cifar10", "cifar100", "caltech101") else "put"
    refused(lambda: open_all({"reader": name}, tmp_path), str(tmp_path), put)


def write_img2dataset(folder: Path) -> None:
    for shard in range(2):
        number = f"{shard:05d}"
        (folder / number).mkdir(parents=True)
        for i, caption in enumerate(CAPTIONS[shard * 3 : shard * 3 + 3]):
            key = folder / number / f"{number}{i:04d}"
            key.with_suffix(".jpg").write_bytes(jpeg(i))
            key.with_suffix(".txt").write_text(caption)
            meta = {"caption": caption, "status": "success"}
            key.with_suffix(".json").write_text(json.dumps(meta))
        (folder / f"{number}_stats.json").write_text("{}")
        (folder / f"{number}.parquet").write_bytes(b"PAR1")


def test_both_outputs_of_img2dataset_give_the_same_samples(tmp_path):
    """Also where a sample lacks a part."""
    write_img2dataset(tmp_path / "files")
    for part in ("0.jpg", "1.txt", "2.txt", "2.json"):
        (tmp_path / "files/00000" / f"00000000{part}").unlink()
    for shard in ("00000", "00001"):
        members = [(p.name, p.read_bytes()) for p in sorted((tmp_path / "files" / shard).iterdir())]
        write_tar(tmp_path / "tars" / f"{shard}.tar", members)
        (tmp_path / "tars" / f"{shard}_stats.json").write_text("{}")
    files = open_all({"reader": "img2dataset"}, tmp_path / "files")
    assert files == open_all({"reader": "img2dataset"}, tmp_path / "tars")
    assert [s.caption for s in files] == [*CAPTIONS[:2], None, *CAPTIONS[3:]]
    assert [s.image is None for s in files] == [True] + [False] * 5
    assert (files[4].key, files[4].image) == ("000010001", jpeg(1))


def test_img2dataset_folders_that_hold_both_kinds_are_refused(tmp_path):
    write_img2dataset(tmp_path)
    write_tar(tmp_path / "00000.tar", pairs(CAPTIONS))
    refused(lambda: open_all({"reader": "img2dataset"}, tmp_path), str(tmp_path), "files")
    assert len(open_all({"reader": "img2dataset", "files": "*.tar"}, tmp_path)) == len(CAPTIONS)


def test_hidden_members_and_shards_are_no_samples(tmp_path):
    members = pairs(CAPTIONS)
    both = [m for name, content in members for m in ((f"a/._{name}", b"of macOS"), (name, content))]
    write_tar(tmp_path / "plain/0.tar", members)
    write_tar(tmp_path / "macos/0.tar", both)
    (tmp_path / "macos/._0.tar").write_bytes(b"of macOS")
    spec = {"reader": "webdataset"}
    assert open_all(spec, tmp_path / "macos") == open_all(spec, tmp_path / "plain")


def write_csv(path: Path, rows: Iterable[Iterable[str]], **options) -> None:
    with path.open("w", encoding=options.pop("encoding", "utf-8"), newline="") as file:
        csv.writer(file, **options).writerows(rows)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_records_of_any_caption_are_read(tmp_path, encoding, end):
    (tmp_path / "images").mkdir()
    rows = [["x", "caption", "image"]]
    for i, caption in enumerate(CAPTIONS):
        (tmp_path / "images" / f"{i}.jpg").write_bytes(jpeg(i))
        rows.append([str(i), caption, f"images/{i}.jpg"])
    rows.insert(3, [])  # a blank line
    rows += [["6", "gone", "images/6.jpg"], ["7", "no image", ""], ["8"]]
    write_csv(tmp_path / "train.csv", rows, encoding=encoding, lineterminator=end)
    found = open_all({"reader": "csv"}, tmp_path)
    assert [s.caption for s in found] == [*CAPTIONS, "gone", "no image", None]
    assert [s.image for s in found] == [*(jpeg(i) for i in range(6)), None, None, None]
    assert found[2].key == "images/2.jpg"


@pytest.mark.parametrize("image", ["a\0.jpg", "a" * 300 + ".jpg", "0.jpg/1.jpg", "loop.jpg"])
def test_what_is_no_path_of_an_image_is_a_sample_without_one(tmp_path, image):
    (tmp_path / "0.jpg").write_bytes(jpeg(0))
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    write_csv(tmp_path / "a.csv", [["image", "caption"], [image, "c"], ["0.jpg", "d"]])
    assert [s.image for s in open_all({"reader": "csv"}, tmp_path)] == [None, jpeg(0)]


CSV = {"reader": "csv"}


@pytest.mark.parametrize(
    ("spec", "name", "text"),
    [
        (
            {"columns": {"image": "image_name", "caption": "comment"}, "separator": "|"},
            "results.csv",
            "image_name| comment_number| comment\n"
            '0.jpg| 0| "Two", he said | \n0.jpg| 1| b , c .\n1.jpg| 4   no third field\n',
        ),
        (
            {"files": "captions.txt"},
            "captions.txt",
            'image,caption\n0.jpg,"""Two"", he said"\n0.jpg,"b , c ."\n1.jpg\n',
        ),
        (
            {"files": "*.tsv", "columns": {"image": "filepath", "caption": "title"},
             "separator": "\t"},
            "coco.tsv",
            'filepath\ttitle\n./0.jpg\t"""Two"", he said"\n../Images/0.jpg\tb , c .\n1.jpg\n',
        ),
    ],
    ids=["flickr30k", "flickr8k", "coco"],
)  # fmt: skip
def test_csv_files_of_others_are_read_as_they_are(tmp_path, spec, name, text):
    (tmp_path / "Images").mkdir()
    for i in range(2):
        (tmp_path / "Images" / f"{i}.jpg").write_bytes(jpeg(i))
    (tmp_path / name).write_text(text)
    spec = CSV | {"images": "Images"} | spec
    found = open_all(spec, tmp_path)
    assert [(s.caption, s.image) for s in found] == [
        ('"Two", he said', jpeg(0)), ("b , c .", jpeg(0)), (None, jpeg(1)),
    ]  # fmt: skip
    assert first_rows(make_reader(spec, tmp_path)) == [0, 0, 2]
    if "files" not in spec:  # the images' folder is the source's also where a file is named
        assert open_all(spec, tmp_path / name) == found
    else:
        refused(lambda: open_all(spec, tmp_path / name), "one CSV file itself; leave files out")


def test_pictures_are_the_same_by_their_path_alone(tmp_path):
    """In several files and folders, by relative and absolute paths."""
    (tmp_path / "a").mkdir()
    write_csv(tmp_path / "a" / "1.csv", [["image", "caption"], ["0.jpg", "a"], ["1.jpg", "b"]])
    write_csv(tmp_path / "2.csv", [["image", "caption"], ["a//0.jpg", "c"], ["0.jpg", "d"],
                                   [f"{tmp_path}/a/1.jpg", "e"]])  # fmt: skip
    write_csv(tmp_path / "3.csv", [["image", "caption"], ["", "f"], ["", "g"]])  # share none
    reader = make_reader(CSV | {"files": "**/*.csv"}, tmp_path)
    assert reader.table()["caption"].tolist() == ["c", "d", "e", "f", "g", "a", "b"]
    assert first_rows(reader) == [0, 1, 2, 3, 4, 0, 2]


WNIDS = {"n01440764": 0, "n07753592": 954, "n15075141": 999}


@pytest.mark.parametrize("parent", [".", "val"])
def test_imagenet_tree_with_missing_classes(tmp_path, parent):
    for n, (wnid, label) in enumerate(WNIDS.items()):
        folder = tmp_path / parent / wnid
        folder.mkdir(parents=True)
        for i in range(2):
            (folder / f"ILSVRC2012_val_{n}{i}.JPEG").write_bytes(jpeg(label // 4 + i))
        (folder / "notes.txt").write_text("no image")
    reader = make_reader({"reader": "imagenet"}, tmp_path)
    assert [(s.key, s.label, s.image) for s in everything(reader)] == [
        (f"ILSVRC2012_val_{n}{i}.JPEG", label, jpeg(label // 4 + i))
        for n, label in enumerate(WNIDS.values())
        for i in range(2)
    ]
    assert classes_of(reader) == list(open_clip.IMAGENET_CLASSNAMES)
    (tmp_path / parent / "n00007846").mkdir()
    refused(lambda: open_all({"reader": "imagenet"}, tmp_path), "n00007846")


FLAT = ["ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000002.JPEG"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.txt", f"{FLAT[0]} 954\n{FLAT[1]} 3\n"),
        ("labels.txt", f"{FLAT[0]} n07753592\n{FLAT[1]} n01491361\n\n"),
        ("labels.txt", f"{FLAT[0]},954\n{FLAT[1]},3"),
        ("labels.csv", f"image,label\n{FLAT[0]},954\r\n{FLAT[1]},3\r\n"),
    ],
    ids=["index", "wnid", "comma", "cleanclip"],
)
def test_flat_imagenet_with_any_label_file(tmp_path, name, text):
    for i, file in enumerate(FLAT):
        (tmp_path / file).write_bytes(jpeg(i))
    refused(lambda: open_all({"reader": "imagenet"}, tmp_path), str(tmp_path), "labels.txt")
    (tmp_path / name).write_text(text)
    reader = make_reader({"reader": "imagenet"}, tmp_path)
    assert [(s.label, s.image) for s in everything(reader)] == [(954, jpeg(0)), (3, jpeg(1))]
    assert classes_of(reader) == list(open_clip.IMAGENET_CLASSNAMES)


def test_kaggles_imagenet_is_read_as_it_is_unpacked(tmp_path):
    folder = tmp_path / "ILSVRC/Data/CLS-LOC/val"
    folder.mkdir(parents=True)
    for i, file in enumerate(FLAT):
        (folder / file).write_bytes(jpeg(i))
    header = "ImageId,PredictionString\n"
    for name in ("LOC_train_solution.csv", "LOC_sample_submission.csv"):
        (tmp_path / name).write_text(header)
    lines = f"{FLAT[0][:-5]},n07753592 1 2 3 4\n{FLAT[1][:-5]},n01491361 8\n"
    (tmp_path / "LOC_val_solution.csv").write_text(header + lines)
    reader = make_reader({"reader": "imagenet"}, tmp_path)
    assert [(s.label, s.image) for s in everything(reader)] == [(954, jpeg(0)), (3, jpeg(1))]


def write_parquet(path: Path, labels: list[int], start: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": jpeg(start + i), "path": f"{start + i}.JPEG"} for i in range(len(labels))]
    pq.write_table(pa.table({"image": images, "label": labels}), path, row_group_size=3)


def test_imagenet_as_the_hubs_parquet_files(tmp_path):
    write_parquet(tmp_path / "data" / "validation-00000-of-00002.parquet", [5, 4, 3, 2])
    write_parquet(tmp_path / "data" / "validation-00001-of-00002.parquet", [1, 0, 999], 4)
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", [-1, -1], 7)
    found = open_all({"reader": "imagenet"}, tmp_path)
    assert [(s.label, s.image, s.key) for s in found] == [
        (label, jpeg(i), f"{i}.JPEG") for i, label in enumerate([5, 4, 3, 2, 1, 0, 999])
    ]
    globbed = open_all({"reader": "imagenet", "files": "data/validation-*.parquet"}, tmp_path)
    assert globbed == found
    spec = {"reader": "imagenet", "files": "data/test-*.parquet"}
    refused(lambda: open_all(spec, tmp_path), "test-00000-of-00001.parquet", "label -1")
    for path in tmp_path.glob("data/validation-*"):
        path.unlink()
    refused(lambda: open_all({"reader": "imagenet"}, tmp_path), str(tmp_path), "validation-*")


def test_bad_parquet_files_are_named(tmp_path):
    path = tmp_path / "validation-0.parquet"
    write_parquet(path, [1, 2])
    whole = path.read_bytes()
    for content in (whole[:-20], whole[:100], b"", b"<html>" * 50):
        path.write_bytes(content)
        refused(lambda: open_all({"reader": "imagenet"}, tmp_path), str(path), "fetch it again")
    middle = len(jpeg(0)) // 2
    path.write_bytes(whole[:4] + b"\xff" * middle + whole[4 + middle :])
    refused(lambda: open_all({"reader": "imagenet"}, tmp_path), str(path), "fetch it again")
    pq.write_table(pa.table({"img": [1], "label": [1]}), path)
    refused(lambda: open_all({"reader": "imagenet"}, tmp_path), str(path), "columns")


@pytest.fixture(params=["cifar10", "cifar100"])
def cifar(request, monkeypatch, tmp_path) -> tuple[str, Any, Path, np.ndarray]:
    """A small set in the published form: reader, torchvision's class, its folder and pixels."""
    name, count = request.param, int(request.param[5:])
    kind = getattr(torchvision.datasets, name.upper())
    base = tmp_path / "files" / kind.base_folder
    base.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), np.uint8)
    labels = [0, count - 1, 3, 1, 2, 5]
    key, meta = "labels" if count == 10 else "fine_labels", kind.meta["filename"]
    (base / "batch").write_bytes(pickle.dumps({"data": pixels.reshape(6, -1), key: labels}))
    classes = [f"fine_{i}" for i in range(count)]
    (base / meta).write_bytes(pickle.dumps({kind.meta["key"]: classes}))
    sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in base.iterdir()}
    for part in ("train_list", "test_list"):
        monkeypatch.setattr(kind, part, [["batch", sums["batch"]]])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": sums[meta]})
    cifar10._load.cache_clear()
    return name, kind, base, pixels.transpose(0, 2, 3, 1)


def test_cifar_is_downloaded_once(cifar, tmp_path, monkeypatch):
    name, kind, base, pixels = cifar
    archive = tmp_path / kind.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(base, kind.base_folder)
    monkeypatch.setattr(kind, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "data" / "sources"
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(kind, "url", f"{address}/{kind.filename}")
        READERS[name].download(folder)
        server.shutdown()
    READERS[name].download(folder)  # what is there is not fetched again
    for split in ("train", "test"):
        assert len(open_all({"reader": name, "split": split}, folder)) == len(pixels)
    (folder / kind.base_folder / "batch").write_bytes(b"cut")
    (folder / kind.filename).unlink()
    refused(lambda: READERS[name].download(folder), kind.url, "set folder to it")


def test_cifar_from_a_local_folder(cifar, tmp_path):
    name, kind, base, pixels = cifar
    count = int(name[5:])
    for folder in (base.parent, base):
        reader = make_reader({"reader": name}, folder)
        found = everything(reader)
        assert [s.label for s in found] == [0, count - 1, 3, 1, 2, 5]
        assert classes_of(reader) == [f"fine {i}" for i in range(count)]
        assert (np.stack([s.image for s in found]) == pixels).all()
    (base / "batch").write_bytes(b"cposix\nsystem\n")  # never unpickled: its sum is wrong
    cifar10._load.cache_clear()
    refused(lambda: open_all({"reader": name}, base.parent), str(base.parent), kind.filename)


def test_caltech101_from_a_local_folder(tmp_path):
    root = tmp_path / "caltech101" / "101_ObjectCategories"
    for category, count in {"BACKGROUND_Google": 1, "Leopards": 2, "crocodile_head": 3}.items():
        (root / category).mkdir(parents=True)
        for i in range(count):
            (root / category / f"image_{i + 1:04d}.jpg").write_bytes(jpeg(i))
    for folder in (tmp_path, tmp_path / "caltech101"):
        reader = make_reader({"reader": "caltech101"}, folder)
        assert classes_of(reader) == ["Leopards", "crocodile head"]
        found = everything(reader)
        assert [(s.label, s.image) for s in found] == [
            (0, jpeg(0)), (0, jpeg(1)), (1, jpeg(0)), (1, jpeg(1)), (1, jpeg(2)),
        ]  # fmt: skip
        assert found[2].key == "image_0001.jpg"


def test_coco_keeps_five_captions_of_each_image(tmp_path):
    captions = {7: [f"seven {i}" for i in range(6)], 3: [" ", "three 一", "three b"], 5: []}
    notes = [(i, text) for i, texts in captions.items() for text in texts]
    notes = [{"id": n, "image_id": i, "caption": text} for n, (i, text) in enumerate(notes)]
    images = [{"id": i, "file_name": f"{i:012d}.jpg"} for i in captions]
    for folder in ("val2017", "annotations"):
        (tmp_path / folder).mkdir()
    for i in captions:
        (tmp_path / "val2017" / f"{i:012d}.jpg").write_bytes(jpeg(i))
    file = tmp_path / "annotations" / "captions_val2017.json"
    file.write_text(json.dumps({"images": images, "annotations": notes[::-1]}))
    assert [(s.key, s.caption, s.image) for s in open_all({"reader": "coco"}, tmp_path)] == [
        ("000000000003.jpg", "three 一\nthree b", jpeg(3)),
        ("000000000005.jpg", None, jpeg(5)),
        ("000000000007.jpg", "\n".join(f"seven {i}" for i in range(5)), jpeg(7)),
    ]
    file.write_text('{"images": [{}]}')
    refused(lambda: open_all({"reader": "coco"}, tmp_path), "captions_val2017.json")


FOLDERS = {"reader": "folders"}
LABELS = {"reader": "labels"}


def write_folders(top: Path, classes: Mapping[str, int]) -> None:
    for shade, (name, count) in enumerate(classes.items()):
        (top / name).mkdir(parents=True)
        for i in range(count):
            (top / name / f"{i}.jpg").write_bytes(jpeg(10 * shade + i))


def test_a_folder_for_each_class(tmp_path, caplog):
    caplog.set_level("INFO")
    write_folders(tmp_path / "test", {"zebra": 1, "ice_cream": 2, "Élan  vital": 1})
    (tmp_path / "test" / "ice_cream" / "more" / "x").mkdir(parents=True)
    (tmp_path / "test" / "ice_cream" / "more" / "x" / "A.PNG").write_bytes(b"no image, but counted")
    for hidden in (".git", "zebra/.thumbnails"):
        (tmp_path / "test" / hidden).mkdir()
        (tmp_path / "test" / hidden / "0.jpg").write_bytes(jpeg(1))
    for other in ("zebra/._0.jpg", "zebra/notes.txt", "list.txt", "0.jpg"):
        (tmp_path / "test" / other).write_bytes(jpeg(2))
    (tmp_path / "test/zebra/caf\udce9.jpg").write_bytes(jpeg(7))  # a name that is not UTF-8
    (tmp_path / "test/zebra/d.TIF").write_bytes(b"read as well")
    (tmp_path / "test/zebra/linked").symlink_to(tmp_path)
    reader = make_reader(FOLDERS, tmp_path / "test")
    assert classes_of(reader) == ["ice cream", "zebra", "Élan vital"]
    found = everything(reader)
    assert "zebra/linked: skips a folder that is a link" in caplog.text
    assert "skips files with the ending .txt; it reads .jpg, " in caplog.text
    assert [(s.label, s.image) for s in found] == [
        (0, jpeg(10)), (0, jpeg(11)), (0, b"no image, but counted"), (1, jpeg(0)), (1, jpeg(7)),
        (1, b"read as well"), (2, jpeg(20)),
    ]  # fmt: skip
    assert found[2].key == "more/x/A.PNG"
    refused(lambda: open_all(FOLDERS, tmp_path), "holds test", str(tmp_path / "test"))
    (tmp_path / "test" / "caf\udce9").mkdir()
    refused(lambda: open_all(FOLDERS, tmp_path / "test"), "has no UTF-8 name; rename it")


@pytest.mark.parametrize(
    ("labels", "more", "classes", "wanted"),
    [
        (["2", "0", "1"], {}, None, [2, 0, 1]),
        (["dog", "ant", "ice_cream"], {}, ["ant", "dog", "ice cream"], [1, 0, 2]),
        (["dog", "7", "ant"], {}, ["7", "ant", "dog"], [2, 0, 1]),
        (["dog", "2", "ant"], {"classes": ["ant", "dog", "ox"]}, ["ant", "dog", "ox"], [1, 2, 0]),
        (["7", "1", "8"], {"classes": ["7", "8"]}, ["7", "8"], [0, 1, 1]),
        (["ox", "0", "ant"], {"classes": "names.txt"}, ["ox", "ant", "a b"], [0, 0, 1]),
    ],
    ids=["indices", "names", "mixed", "both", "names that are numbers", "a file"],
)  # fmt: skip
def test_labels_of_a_csv(tmp_path, labels, more, classes, wanted):
    (tmp_path / "names.txt").write_text("ox\nant\n\na_b\n")
    rows = [["image", "label"], *([f"i/{i}.jpg", label] for i, label in enumerate(labels))]
    rows.append(["./i/0.jpg", labels[0]])
    write_csv(tmp_path / "test.csv", rows)
    (tmp_path / "i").mkdir()
    for i in range(2):
        (tmp_path / "i" / f"{i}.jpg").write_bytes(jpeg(i))
    for folder in (tmp_path, tmp_path / "test.csv"):
        reader = make_reader(LABELS | more, folder)
        found = everything(reader)
        assert classes_of(reader) == classes
        assert [s.label for s in found] == [*wanted, wanted[0]]
        assert [s.image for s in found] == [jpeg(0), jpeg(1), None, jpeg(0)]
        assert first_rows(reader) == [0, 1, 2, 0]
