"""Packing: the transform, an exact account, and the same bytes with any number of workers."""

import hashlib
import io
import itertools
import json
import os
import signal
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import pytest
from PIL import Image

from taclean import cli
from taclean import config as configs
from taclean.data import pack, scenes
from taclean.data.draw import draw
from taclean.data.images import Broken, load_image
from taclean.data.labels import add_captions, count_classes
from taclean.data.pack import KINDS, pack_rows
from taclean.data.readers import make_reader, make_table, save_table
from taclean.data.readers.webdataset import WebDataset
from taclean.data.scenes import SETS, SceneReader
from taclean.data.split import Pairs
from taclean.stages import stage_config
from taclean.util.errors import UserError
from taclean.util.files import write_json
from tests.helpers import ROOT, Given, refused, write_tar

SIZE = 24


def hashed(caption: str) -> np.ndarray:
    """A hash of the caption, so that swapped tokens would show."""
    return np.resize(np.frombuffer(hashlib.sha256(caption.encode()).digest(), np.uint8), 77)


def tokenize(captions: Sequence[str]) -> np.ndarray:
    return np.stack([hashed(caption) for caption in captions]).astype(np.uint16)


def picture(seed: int, width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Smooth noise, as photographs are: neighbours are alike."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    return image if mode == "RGB" else image.convert(mode)


def encode(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def transformed(image: Image.Image, size: int) -> np.ndarray:
    """open_clip's evaluation transform, back in 0..255."""
    transform = open_clip.image_transform(size, is_train=False, mean=(0, 0, 0), std=(1, 1, 1))
    return (transform(image).numpy() * 255).round().transpose(1, 2, 0).astype(np.int64)


# ---- pixels --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sides",
    [(500, 375), (375, 500), (224, 224), (640, 640), (223, 300), (90, 61), (1023, 512), (1, 1)],
)
@pytest.mark.parametrize("size", [224, 32])
def test_geometry_is_that_of_open_clips_evaluation_transform(sides, size):
    image = picture(sum(sides), *sides)
    for data in (encode(image), np.asarray(image)):
        wanted = transformed(image, size).astype(np.uint8)
        np.testing.assert_array_equal(load_image(data, size), wanted, strict=True)


def test_sharp_jpegs_are_decoded_at_full_size():
    noise = np.random.default_rng(0).integers(0, 256, (512, 700, 3), np.uint8)
    data = encode(Image.fromarray(noise), "JPEG", quality=95)
    assert (load_image(data, 224) == transformed(Image.open(io.BytesIO(data)), 224)).all()


@pytest.mark.parametrize(
    ("mode", "form"),
    [
        ("L", "JPEG"), ("CMYK", "JPEG"), ("L", "PNG"), ("P", "PNG"), ("P", "GIF"), ("1", "PNG"),
        ("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "WEBP"), ("CMYK", "TIFF"), ("RGB", "BMP"),
    ],
)  # fmt: skip
def test_every_mode_becomes_the_rgb_that_pillow_shows(mode, form):
    image = picture(1, 60, 40, mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(picture(2, 60, 40, "L"))
    data = encode(image, form)
    image = Image.open(io.BytesIO(data))
    assert image.mode == mode
    assert (load_image(data, SIZE) == transformed(image.convert("RGB"), SIZE)).all()


def test_sixteen_bit_grey_keeps_its_upper_byte():
    values = (np.arange(40 * 40, dtype=np.uint16) * 40).reshape(40, 40)
    assert (load_image(encode(Image.fromarray(values)), 40) == (values >> 8)[..., None]).all()


@pytest.mark.parametrize("sides", [(20_000, 2), (2, 20_000), (1, 50_000), (400, 10)], ids=str)
def test_extreme_shapes_are_cut_before_they_are_resized(sides, monkeypatch):
    image = picture(1, *sides)
    data, wanted = encode(image), transformed(image, 16)
    sizes = []
    resize = Image.Image.resize

    def spied(self, size, *arguments, **options):
        sizes.append(size)
        return resize(self, size, *arguments, **options)

    monkeypatch.setattr(Image.Image, "resize", spied)
    assert abs(load_image(data, 16) - wanted).max() <= 2
    assert sizes == [(16, 16)]


def kind_of(data: bytes) -> str:
    with pytest.raises(Broken) as caught:
        load_image(data, SIZE)
    return str(caught.value)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few kB that claims a large size."""
    whole = bytearray(encode(Image.new("RGB", (1, 1))))
    header = struct.pack(">II", width, height) + whole[24:29]
    whole[16:29] = header
    whole[29:33] = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return bytes(whole)


def test_what_cannot_be_shown_is_broken_by_kind():
    png, jpeg = encode(picture(0, 300, 300)), encode(picture(0, 300, 300), "JPEG")
    for data in (b"", b"<html></html>", png[:50], png[: len(png) // 2], jpeg[: len(jpeg) // 2],
                 jpeg[:200], jpeg[:2] + b"\0" * 500, b"%!PS-Adobe-3.0 EPSF-3.0\n" * 9):  # fmt: skip
        assert kind_of(data) == "undecodable"
    assert kind_of(bomb(10_000, 9_000)) == "too_large"  # Pillow only warns
    assert kind_of(bomb(60_000, 60_000)) == "too_large"
    assert kind_of(encode(Image.new("F", (30, 30), 0.5), "TIFF")) == "wrong_mode"
    assert kind_of(encode(Image.new("I", (30, 30), 70_000), "TIFF")) == "wrong_mode"


def test_truncated_images_stay_broken_where_another_library_allows_them(monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", True)
    jpeg = encode(picture(0, 300, 300), "JPEG")
    assert kind_of(jpeg[: len(jpeg) // 2]) == "undecodable"


# ---- a source with faults ------------------------------------------------------------------------

CAPTIONS = ['a "quoted", comma-ed dog', "two\nlines\r\nand\u2028more\ttabs", "香蕉和橘子"]
CAPTIONS += ["موزة صفراء 🍌", "plain caption"]
FAULTS = {
    3: "undecodable", 8: "no_image", 11: "empty_caption", 12: "no_caption", 17: "too_large",
    20: "wrong_mode", 21: "undecodable", 30: "caption_not_utf8", 31: "undecodable",
}  # fmt: skip


def members(i: int, fault: str | None = None) -> list[tuple[str, bytes]]:
    key, caption = f"{i:09d}", f"{CAPTIONS[i % len(CAPTIONS)]} {i}".encode()
    forms = [("JPEG", "RGB"), ("PNG", "P"), ("JPEG", "L"), ("WEBP", "RGBA"), ("JPEG", "CMYK")]
    form, mode = forms[i % len(forms)]
    data = encode(picture(i, 30 + i % 7, 40, mode), form)
    if fault == "undecodable":
        data = data[: len(data) // 2]
    elif fault == "too_large":
        data = bomb(10_000, 9_000)
    elif fault == "wrong_mode":
        data = encode(Image.new("F", (30, 30)), "TIFF")
    elif fault == "empty_caption":
        caption = b" \n\t"
    elif fault == "caption_not_utf8":
        caption = b"caf\xe9"
    suffix = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}[form]
    parts = [(f"{key}.{suffix}", data), (f"{key}.txt", caption), (f"{key}.json", b"{}")]
    return [part for part in parts if not (
        (fault == "no_image" and part[1] is data) or (fault == "no_caption" and part[1] is caption)
    )]  # fmt: skip


def write_shards(folder: Path, sizes: Iterable[int], faults: dict[int, str] | None = None) -> Path:
    ids = itertools.count()
    for shard, size in enumerate(sizes):
        some = [members(i, (faults or {}).get(i)) for i in itertools.islice(ids, size)]
        write_tar(folder / f"cc3m-train-{shard:04d}.tar", itertools.chain(*some))
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> WebDataset:
    """40 samples in 6 shards, 9 of them with a fault."""
    folder = write_shards(tmp_path_factory.mktemp("s") / "s", [7, 7, 7, 7, 7, 5], FAULTS)
    return make_reader({"reader": "webdataset"}, folder)


ROWS = np.array([31, 5, 3, 19, 8, 38, 0, 27, 14, 12, 11, 39])
SPARE = np.array([21, 36, 1, 20, 9, 25, 30, 10, 33])


@pytest.fixture(autouse=True)
def as_many_workers_as_given(monkeypatch) -> None:
    monkeypatch.setattr(pack, "FEWEST", 1)


def run(folder: Path, reader, rows=ROWS, spare=SPARE, **options) -> dict:
    settings = {"size": SIZE, "tokenize": tokenize, "max_broken": 1.0}
    table = reader.table()
    chosen = table if rows is None else table.loc[rows]
    spares = None if spare is None else table.loc[spare]
    return pack_rows(folder, reader, chosen, spares, **settings | options)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def refuse(folder: Path, reader, *words: str, **options) -> str:
    return refused(lambda: run(folder, reader, **options), str(folder), *words)


def test_broken_rows_are_counted_and_replaced_by_spare_rows_in_drawn_order(source, tmp_path):
    account = run(tmp_path / "split", source)
    # Broken: 3, 8, 11, 12, 31; then of the spares 21, 36, 1, 20, 9 the 21 and the 20; then 25, 30
    # of which the 30; then 10, which is sound.
    assert (account["read"], account["packed"]) == (12 + 5 + 2 + 1, 12)
    assert account["broken"] == dict(zip(KINDS, (1, 1, 1, 1, 3, 0, 1), strict=True))
    assert json.loads((tmp_path / "split" / "account.json").read_text()) == account
    pairs = Pairs.open(tmp_path / "split")
    # Slots of 3, 8, 11, 12, 31 in source order; 21 and 20 fail, so their slots come up again.
    assert pairs.ids.tolist() == [0, 25, 5, 36, 1, 10, 14, 19, 27, 9, 38, 39]


def test_a_row_is_its_image_its_caption_and_its_place_in_the_list(source, tmp_path):
    run(tmp_path / "split", source)
    pairs = Pairs.open(tmp_path / "split")
    listed = pd.read_csv(tmp_path / "split/rows.csv", dtype={"key": str})
    assert listed["row"].tolist() == list(range(12))
    assert listed["id"].tolist() == pairs.ids.tolist()
    assert listed["key"].tolist() == [f"{i:09d}" for i in pairs.ids]
    assert set(pairs.labels) == {-1}
    assert (pairs.tokens == tokenize(pairs.captions())).all()
    for row, caption in zip(listed.itertuples(), pairs.captions(), strict=True):
        parts = dict(members(row.id))
        name = next(name for name in parts if not name.endswith((".txt", ".json")))
        assert (pairs.images[row.row] == load_image(parts[name], SIZE)).all()
        assert caption == " ".join(f"{CAPTIONS[row.id % len(CAPTIONS)]} {row.id}".split())
        shard, offset, size = row.where.split(":")
        assert shard == f"cc3m-train-{row.id // 7:04d}.tar"
        data = (source.folder / shard).read_bytes()[int(offset) :][: int(size)]
        assert data == parts[name]


def test_five_captions_of_a_photograph_are_in_one_split(tmp_path):
    """Flickr8k's form, with broken photographs, so that spare rows come in."""
    (tmp_path / "Images").mkdir()
    photographs, lines = [], ["image,caption"]
    for i in range(60):
        photographs.append(encode(picture(i, 30, 24), "JPEG"))
        whole = len(photographs[i]) // (1 + (i % 6 == 0))
        (tmp_path / "Images" / f"{i}.jpg").write_bytes(photographs[i][:whole])
        lines += [f"{'./' * (j % 2)}{i}.jpg,caption {j} of {i} ." for j in range(5)]
    (tmp_path / "captions.txt").write_text("\n".join(lines))
    reader = make_reader({"reader": "csv", "files": "captions.txt", "images": "Images"}, tmp_path)
    counts = {"pretrain": 103, "clean": 52, "patch": 11}
    splits, broken = {}, 0
    for name, drawn in draw(reader.table()["picture"], counts, 3, 0.4).items():
        account = run(tmp_path / name, reader, *drawn, max_broken=0.5)
        assert account["packed"] == counts[name]
        splits[name] = Pairs.open(tmp_path / name)
        broken += account["broken"]["undecodable"]
    assert broken > 10
    for one, other in itertools.combinations(splits.values(), 2):
        assert not np.isin(one.pictures, other.pictures).any()
    for caption, image in zip(splits["clean"].captions(), splits["clean"].images, strict=True):
        assert (image == load_image(photographs[int(caption.split()[3])], SIZE)).all()


@pytest.mark.parametrize("rows", [ROWS, None], ids=["rows", "all"])
def test_the_number_of_workers_does_not_change_a_byte(source, tmp_path, rows):
    spare = None if rows is None else SPARE
    one = run(tmp_path / "one", source, rows, spare)
    assert run(tmp_path / "many", source, rows, spare, workers=2) == one
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_without_rows_all_sound_ones_are_packed(source, tmp_path):
    account = run(tmp_path / "split", source, None, None)
    ids = Pairs.open(tmp_path / "split").ids.tolist()
    assert ids == [i for i in range(40) if i not in FAULTS]
    assert (account["read"], account["packed"]) == (40, 31)
    assert account["broken"] == {kind: list(FAULTS.values()).count(kind) for kind in KINDS}


def test_labelled_sets_keep_labels_and_classes_and_need_no_captions(tmp_path):
    images = [np.full((9, 9, 3), 20 * i, np.uint8) for i in range(5)]
    names = ["a b", "c", "d", "e", "ñ"]
    account = run(tmp_path / "split", Given(images, None, [4, 3, 2, 1, 0], names), None, None)
    pairs = Pairs.open(tmp_path / "split")
    assert pairs.labels.tolist() == [4, 3, 2, 1, 0]
    assert pairs.images[:, 0, 0, 0].tolist() == [0, 20, 40, 60, 80]
    assert pairs.captions() == [""] * 5
    assert (tmp_path / "split" / "classes.txt").read_text("utf-8") == "a b\nc\nd\ne\nñ\n"
    assert account["packed"] == account["read"] == 5


RUN = ["zebra", "golden retriever", "ice cream", "T-shirt", "Élan", "no image"]


@pytest.mark.parametrize(
    ("own", "labels", "wanted"),
    [
        (RUN, [0, 1, 5], [0, 1, 5]),
        (["ice cream", "zebra"], [0, 1, 0], [2, 0, 2]),
        (["Golden_Retriever", "ICE-CREAM", "t shirt", "E\u0301lan"], [0, 1, 2, 3], [1, 2, 3, 4]),
        (["not the run's", "zebra"], [1, 1], [0, 0]),
        (None, [3, 0], [3, 0]),
    ],
    ids=["same", "other order", "other forms", "foreign, but unused", "indices"],
)  # fmt: skip
def test_labels_count_the_runs_classes(own, labels, wanted):
    table = make_table(map(str, labels), map(str, labels), label=labels, classes=own)
    counted = count_classes(table, RUN)
    assert counted["label"].tolist() == wanted
    assert counted.attrs["classes"] == RUN


@pytest.mark.parametrize(
    ("own", "label", "classes", "message"),
    [
        (["zebra", "okapi"], 1, RUN, "'okapi'.* 6 classes .zebra, golden retriever.*add it"),
        (None, 6, RUN, "label 6.*6 classes"),
        (["the t_shirt"], 0, RUN, "'the t_shirt'"),
        (["ICE CREAM"], 0, ["Ice Cream", "ice cream"], "not one of the run's"),
    ],
)
def test_labels_of_other_classes_are_refused(own, label, classes, message):
    with pytest.raises(UserError, match=message):
        count_classes(make_table(["0"], ["0"], label=label, classes=own), classes)


def test_two_classes_of_one_name_stay_two_where_the_lists_are_one():
    names = list(open_clip.IMAGENET_CLASSNAMES)
    assert names[836] == names[837]
    table = make_table("ab", "ab", label=[836, 837], classes=names)
    assert count_classes(table, names)["label"].tolist() == [836, 837]


TEMPLATES = ["a photo of a {}.", "a photo of the small {}.", "a blurry photo of a {}."]


@pytest.fixture
def tree(tmp_path) -> Path:
    """CLASS/PICTURE: two classes of 40 and 20 plain pictures, whose first grey level counts."""
    for start, count, name in ((0, 40, "T_Shirt"), (100, 20, "zebra")):
        (tmp_path / "tree" / name).mkdir(parents=True)
        for i in range(count):
            image = Image.new("RGB", (9, 9), (start + i,) * 3)
            image.save(tmp_path / "tree" / name / f"{i:02d}.png")
    return tmp_path / "tree"


def test_captions_are_made_of_labels(tree):
    table = count_classes(make_reader({"reader": "folders"}, tree).table(), RUN)
    captions = add_captions(table, TEMPLATES, 0)["caption"]
    assert captions.nunique() == 6
    for label, caption in zip(table["label"], captions, strict=True):
        assert caption in [template.format(RUN[label]) for template in TEMPLATES]
    some = [50, 3, 17]
    assert (add_captions(table.loc[some], TEMPLATES, 0)["caption"] == captions[some]).all()
    assert (add_captions(table, TEMPLATES, 1)["caption"] != captions).any()


def test_splits_of_one_labelled_source_are_pairs_and_test_sets(tree, tmp_path, capsys):
    overlay = tmp_path / "small.yaml"
    overlay.write_text(
        f"""
run: {{attacks: [badnet, blended, badclip]}}
data:
  target: airplane
  photos:
    classes: [zebra, airplane, t-shirt]
    sources:
      train: {{reader: folders, folder: {tree}, download: null, split: null, details: null}}
    splits:
      pretrain: {{rows: 20}}
      clean: {{rows: 18}}
      patch: {{rows: 10}}
      val: {{from: train, rows: 10}}
poison: {{rows: 20}}
attacks: {{badnet: {{poisoned: 2}}, blended: {{poisoned: 2}}, badclip: {{poisoned: 2}}}}
defenses: {{taclean: {{subcaptions: {{samples: 4}}}}}}
""",
        "utf-8",
    )
    config = configs.load(configs.DEFAULT, ROOT / "config/photos.yaml", overlay)
    index = tmp_path / "index.parquet"
    save_table(make_reader({"reader": "folders"}, tree).table(), index)
    seen: list[int] = []
    for split in ("pretrain", "clean", "patch", "val"):
        write_json(tmp_path / "stage.json", stage_config(config, f"pack/{split}"))
        command = ["pack", "--config", tmp_path / "stage.json", "--index", index]
        cli.main([*map(str, command), "--folder", str(tree), "--out", str(tmp_path / split)])
        pairs = Pairs.open(tmp_path / split)
        seen += pairs.images[:, 0, 0, 0].tolist()
        for label, caption in zip(pairs.labels, pairs.captions(), strict=True):
            name = ["zebra", "airplane", "t-shirt"][label]
            assert caption.endswith(f" {name}.") if split != "val" else caption == ""
    assert len(set(seen)) == len(seen) == 58
    assert "pack val: no picture of 1 of the run's classes (airplane)" in capsys.readouterr().out


def blank(*values: int) -> list[np.ndarray]:
    return [np.full((9, 9, 3), value, np.uint8) for value in values]


@pytest.mark.parametrize("workers", [1, 2])
def test_copies_give_way_to_spare_rows(tmp_path, monkeypatch, workers):
    monkeypatch.setattr(pack, "PART", 2)
    run(tmp_path / "val", Given(blank(50, 60), labels=0), None, None)
    known = Pairs.open(tmp_path / "val").pictures
    # Row 2 is a copy of row 0, row 3 of val; of the spares 7 is one of row 4, and 6 of val.
    reader = Given([*blank(10, 20, 10, 50, 30, 40, 60, 30, 70, 80)], labels=0)
    given = (reader, [4, 0, 1, 2, 3], [7, 6, 8, 9, 5])
    how = {"known": known, "workers": workers}
    account = run(tmp_path / "split", *given, **how, max_copies=0.45)  # 4 of 9, but first 2 of 7
    assert (account["read"], account["packed"], account["copies"]) == (9, 5, 4)
    assert not any(account["broken"].values())
    assert json.loads((tmp_path / "split" / "account.json").read_text()) == account
    assert Pairs.open(tmp_path / "split").ids.tolist() == [0, 1, 8, 9, 4]
    says = ("4 of 9 rows", "copy 4", "max_copies = 0.4;", "raise max_copies")
    refuse(tmp_path / "none", reader, *says, rows=given[1], spare=given[2], **how, max_copies=0.4)
    says = ("2 of 5 rows", "copy 2", "0 are left that no split has")
    refuse(tmp_path / "none", reader, *says, rows=given[1], spare=[], **how, max_copies=1.0)
    assert not (tmp_path / "none").exists()


def test_scored_splits_keep_copies_and_whole_ones_lose_them(tmp_path):
    reader, known = Given(blank(1, 2, 1, 1), labels=0), np.empty(0, np.uint64)
    kept = run(tmp_path / "test", reader, None, None, known=known)
    assert (kept["packed"], kept["copies"]) == (4, 2)
    left = run(tmp_path / "extra", reader, None, None, known=known, max_copies=0.5)
    assert (left["packed"], left["copies"]) == (2, 2)
    pairs = Pairs.open(tmp_path / "extra")
    assert pairs.images[:, 0, 0, 0].tolist() == [1, 2]
    assert "copies" not in run(tmp_path / "scenes", reader, None, None)


def test_captions_of_one_picture_are_no_copies(tmp_path):
    reader = Given(blank(1, 1, 2, 1), [*"abcd"])
    reader.given["picture"] = [0, 0, 1, 2]
    account = run(tmp_path / "a", reader, None, None, known=np.empty(0, np.uint64), max_copies=1)
    assert Pairs.open(tmp_path / "a").captions() == [*"abc"]
    assert account["copies"] == 1


def test_further_captions_of_an_image_are_kept_for_retrieval(tmp_path):
    class Several(Given):
        gives = "captions"

    image = np.zeros((9, 9, 3), np.uint8)
    captions = ["zero\nzero b\nzero  c", None, "two\ntwo b\ntwo c\ntwo d", "one\ncaf\udce9", "1"]
    account = run(tmp_path / "split", Several([image] * 5, captions), None, None)
    texts = ["zero", "zero b", "zero c", "two", "two b", "two c", "two d", "1"]
    assert (tmp_path / "split" / "texts.txt").read_text() == "".join(f"{t}\n" for t in texts)
    assert np.load(tmp_path / "split" / "text_rows.npy").tolist() == [0, 0, 0, 1, 1, 1, 1, 2]
    assert (np.load(tmp_path / "split" / "texts.npy") == tokenize(texts)).all()
    assert Pairs.open(tmp_path / "split").captions() == ["zero", "two", "1"]
    assert account["broken"]["caption_not_utf8"] == 1


@pytest.mark.parametrize(("styles", "classes"), [("train", "default"), ("shift", "all")])
def test_scenes_are_packed_as_they_are_composed(tmp_path, styles, classes):
    options = {"classes": classes, "styles": SETS[styles], "second": 0.4}
    ids = range(5_000_003, 5_000_153)
    for workers in (1, 2):
        run(tmp_path / str(workers), SceneReader(ids, 7, SIZE, **options), None, None,
            workers=workers)  # fmt: skip
    pixels, captions, labels = scenes.compose(ids, 7, size=SIZE, **options)
    pairs = Pairs.open(tmp_path / "1")
    assert (pairs.images == pixels).all()
    assert pairs.captions() == captions
    assert (pairs.tokens == tokenize(captions)).all()
    assert pairs.labels.tolist() == labels.tolist()
    assert pairs.ids.tolist() == list(ids)
    assert pairs.classes == [noun.name for noun in scenes.nouns(classes)]
    assert contents(tmp_path / "2") == contents(tmp_path / "1")


# ---- refusals ------------------------------------------------------------------------------------


def test_too_many_broken_rows_are_refused_with_the_account(source, tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "PART", 1)
    message = refuse(tmp_path / "split", source, "max_broken = 0.29", max_broken=0.29)
    assert "5 of 17" in message  # each broken row makes a spare one be read
    assert "undecodable 2" in message
    assert "empty_caption 1" in message
    assert not (tmp_path / "split").exists()
    # In the end it is 8 of 20, and exactly the share is allowed.
    refuse(tmp_path / "split", source, "8 of 20", max_broken=0.39)
    assert run(tmp_path / "split", source, max_broken=0.4)["packed"] == 12


def test_a_lost_source_is_refused_before_all_of_it_is_read(tmp_path):
    class Counting(Given):
        read_rows = 0

        def read(self, where, caption):
            self.read_rows += 1
            return super().read(where, caption)

    reader = Counting([None] * 5000, ["caption"] * 5000)
    refuse(tmp_path / "split", reader, "no_image", rows=None, spare=None, max_broken=0.2)
    assert reader.read_rows == 1000 // pack.PART * pack.PART + pack.PART


def test_too_few_spare_rows_are_refused_with_the_account(source, tmp_path):
    message = refuse(tmp_path / "split", source, "spare", "undecodable 3", spare=SPARE[:6])
    assert "2 of 12" in message
    assert not (tmp_path / "split").exists()


def test_no_sound_row_is_refused(tmp_path):
    refuse(tmp_path / "a", Given([None], ["caption"]), "no_image 1", rows=None, spare=None)
    refuse(tmp_path / "b", Given([], []), "no rows", rows=None, spare=None)


@pytest.mark.parametrize(
    ("image", "content", "says"),
    [
        ("a/0.jpg", None, "no_image 1, such as '{}/a/0.jpg'"),
        ("0.jpg", b"version https://git-lfs.github.com/", "'{}/0.jpg' (a Git LFS pointer:"),
        ("0.jpg", b"\n<!DOCTYPE html><title>404", "undecodable 1, such as '{}/0.jpg' (an HTML"),
        ("http://a.b/0.jpg", None, "such as 'http://a.b/0.jpg': URLs are not fetched, download"),
    ],
)
def test_a_picture_that_is_none_is_shown_with_its_place(tmp_path, image, content, says):
    (tmp_path / "pairs.csv").write_text(f"image,caption\n{image},a dog\n", "utf-8")
    if content:
        (tmp_path / image).write_bytes(content)
    reader = make_reader({"reader": "csv"}, tmp_path)
    refuse(tmp_path / "split", reader, says.format(tmp_path), rows=None, spare=None)


def test_a_source_that_shrank_after_the_index_is_refused(tmp_path):
    folder = write_shards(tmp_path / "s", [4, 4])
    reader = make_reader({"reader": "webdataset"}, folder)
    table = reader.table()
    shard = folder / "cc3m-train-0001.tar"
    shard.write_bytes(shard.read_bytes()[:1000])
    for workers in (1, 2):
        with pytest.raises(UserError, match=r"cc3m-train-0001\.tar"):
            pack_rows(tmp_path / "split", reader, table, size=SIZE, tokenize=tokenize,
                      workers=workers)  # fmt: skip
        assert not (tmp_path / "split").exists()
        shard.unlink(missing_ok=True)


def test_a_full_disk_is_foreseen(source, tmp_path, monkeypatch):
    usage = pack.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(pack.shutil, "disk_usage", lambda path: usage._replace(free=100))
    refuse(tmp_path / "split", source, "MB")


# ---- whole or not at all -------------------------------------------------------------------------


def test_another_packing_replaces_the_split_and_keeps_others_files(source, tmp_path):
    run(tmp_path / "new", source, np.array([1, 2]), None)
    run(tmp_path / "split", source, None, None)
    (tmp_path / "split" / "texts.npy").write_bytes(b"of an earlier set")
    (tmp_path / "split" / "kept.txt").write_text("others' file")
    left = tmp_path / ".split.12345.tmp"  # of a killed packing
    left.mkdir()
    run(tmp_path / "split", source, np.array([1, 2]), None)
    assert not left.exists()
    assert (tmp_path / "split" / "kept.txt").read_text() == "others' file"
    (tmp_path / "split" / "kept.txt").unlink()
    assert contents(tmp_path / "split") == contents(tmp_path / "new")


class Failing(WebDataset):
    """Raises or kills its worker at a picture of the third shard."""

    kill = False

    def image(self, where):
        if "0002" in where:
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(28, "No space left on device")
        return super().image(where)


@pytest.mark.parametrize("kill", [False, True], ids=["full disk", "killed worker"])
def test_a_packing_that_fails_in_a_worker_leaves_nothing(source, tmp_path, kill, monkeypatch):
    monkeypatch.setattr(pack, "PART", 4)
    reader = Failing(source.spec, source.folder)
    reader.kill = kill
    refuse(tmp_path / "split", reader, "memory" if kill else "disk is full", workers=2)
    assert not list(tmp_path.iterdir())


def test_names_that_are_not_utf8_are_listed(tmp_path):
    reader = Given([encode(picture(0, 9, 9))], ["caption"])
    reader.given["key"] = pd.Series(["caf\udce9"], dtype=object)
    run(tmp_path / "split", reader, None, None)
    assert "caf\\udce9" in (tmp_path / "split" / "rows.csv").read_text("utf-8")
