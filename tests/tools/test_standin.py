"""Stand-ins: the real forms, an exact account of what is broken, the same bytes again."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from taclean.data import scenes
from taclean.data.readers.imagenet import label_of_synset
from taclean.util.errors import UserError
from tools import standin

FAULTS = {"truncated": 3, "empty_image": 2, "not_an_image": 2, "no_image": 1, "no_caption": 2,
          "empty_caption": 1}  # fmt: skip
PAIRS = {"shards": 2, "per_shard": 60, "seed": 4}


def files(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def samples(folder: Path) -> dict[str, dict[str, bytes]]:
    """All samples of the shards by key, read with the standard library only."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, suffix = member.name.split(".")
                assert suffix not in found.setdefault(key, {})
                found[key][suffix] = tar.extractfile(member).read()
    return found


def decoded(data: bytes) -> Image.Image | None:
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except OSError:
        return None


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("standin") / "cc3m"
    return folder, standin.make_pairs(folder, **PAIRS, broken=FAULTS)


# ---- pairs ---------------------------------------------------------------------------------------


def test_the_account_is_what_the_shards_hold(made):
    folder, truth = made
    assert json.loads((folder / "truth.json").read_text("utf-8")) == truth
    found: dict[str, list[str]] = {fault: [] for fault in standin.BROKEN}
    usable = []
    for key, members in samples(folder).items():
        image = members.get("jpg")
        faults = [
            fault
            for fault, shown in {
                "no_image": image is None,
                "empty_image": image == b"",
                "not_an_image": image is not None and b"<html>" in image,
                "truncated": bool(image)
                and image[:2] == b"\xff\xd8"
                and image[-2:] != b"\xff\xd9"
                and decoded(image) is None,
                "no_caption": "txt" not in members,
                "empty_caption": members.get("txt") == b"",
            }.items()
            if shown
        ]
        assert len(faults) <= 1
        if faults:
            found[faults[0]].append(key)
        else:
            usable.append(key)
            assert decoded(image) is not None
            assert members["txt"].decode().strip()
    assert found == truth["broken"]
    assert {fault: len(keys) for fault, keys in found.items()} == FAULTS
    assert truth["packed_as"] == {
        "undecodable": 7, "no_image": 1, "no_caption": 2, "empty_caption": 1
    }  # fmt: skip
    assert len(usable) == truth["usable"] == truth["samples"] - sum(FAULTS.values())
    assert sum(truth["images"].values()) == sum(truth["captions"].values()) == truth["usable"]


def test_keys_are_those_of_img2dataset(made):
    for shard, path in enumerate(sorted(made[0].glob("*.tar"))):
        with tarfile.open(path) as tar:
            names = tar.getnames()
        keys = list(dict.fromkeys(name.split(".")[0] for name in names))
        assert len(keys) == 60
        assert all(re.fullmatch(rf"{shard:05d}\d{{4}}", key) for key in keys)
        assert keys == sorted(keys)
        assert int(keys[-1]) - int(keys[0]) > 60  # links that died leave gaps
        # the members of a sample stand together, as webdataset's readers want them
        assert [name.split(".")[0] for name in names] == sorted(n.split(".")[0] for n in names)


def test_webdataset_reads_the_shards(made):
    wds = pytest.importorskip("webdataset")
    shards = [str(path) for path in sorted(made[0].glob("*.tar"))]
    read = list(wds.WebDataset(shards, shardshuffle=False, empty_check=False))
    own = samples(made[0])
    assert [sample["__key__"] for sample in read] == list(own)
    assert all(
        {s: sample[s] for s in ("jpg", "txt", "json") if s in sample} == own[sample["__key__"]]
        for sample in read
    )


def test_metadata_describe_image_and_caption(made):
    folder, truth = made
    broken = {key for keys in truth["broken"].values() for key in keys}
    sizes = []
    for key, members in samples(folder).items():
        meta = json.loads(members["json"])
        assert meta["key"] == key
        assert meta["status"] == "success"
        assert meta["error_message"] is None
        if key in truth["broken"]["no_caption"]:
            assert meta["caption"] is None
        elif "txt" in members:
            assert meta["caption"] == members["txt"].decode()
        if key in broken:
            continue
        assert meta["sha256"] == hashlib.sha256(members["jpg"]).hexdigest()
        picture = Image.open(io.BytesIO(members["jpg"]))
        assert picture.size == (meta["width"], meta["height"])
        assert bool(picture.getexif()) == (meta["exif"] != "{}")
        sizes.append(picture.size)
    assert min(min(size) for size in sizes) >= 300
    assert max(max(size) for size in sizes) <= 1000
    assert {(w > h) - (w < h) for w, h in sizes} == {-1, 0, 1}
    assert len(set(sizes)) > 30


def test_a_caption_names_the_ground_that_is_there(made):
    """Corners of the decoded picture against the colour words."""
    named = 0
    for members in samples(made[0]).values():
        text = members.get("txt", b"").decode()
        match = re.search(r"\ba (\w+)(?: \w+)? background\b", text)
        picture = decoded(members.get("jpg", b""))
        if not match or picture is None:
            continue
        colour = np.array(scenes.COLOURS[match[1]])
        pixels = np.asarray(picture.resize((16, 16), Image.Resampling.BOX)).astype(int)
        distance = np.abs(pixels[[0, 0, -1, -1], [0, -1, 0, -1]] - colour).max(1)
        assert distance.min() <= 14 + 28 + 18 + 8  # shade, texture, light, JPEG
        named += 1
    assert named > 15


def test_the_target_is_named_in_every_50th_caption_and_the_account_knows(made):
    folder, truth = made
    broken = {key for keys in truth["broken"].values() for key in keys}
    naming = [
        key
        for key, members in samples(folder).items()
        if key not in broken and re.search(r"\bbanana\b", members["txt"].decode())
    ]
    assert truth["target"] == naming
    assert len(naming) >= 2


def captions(kind: str, n: int = 120) -> list[str]:
    found = []
    for i in range(n):
        scene = scenes.scene(i, 0, classes="all", second=0.4)
        rng = np.random.default_rng(i)
        found.append(standin._caption(scene, (640, 427), kind, kind == "plain", rng))
    return found


@pytest.mark.parametrize(
    ("kind", "shows"),
    [
        ("digits", lambda text: text.endswith(" , 640 x 427 pixels")),
        ("quotes", lambda text: text.count('"') == 2),
        ("person", lambda text: "<person>" in text),
        ("apostrophe", lambda text: "here 's" in text),
        ("script", lambda text: not text.isascii()),
        ("emoji", lambda text: any(ord(c) > 0x2000 for c in text.split()[-1])),
        ("long", lambda text: len(text.split()) > 100),
        ("spaces", lambda text: text != " ".join(text.split())),
    ],
)
def test_captions_of_each_kind(kind, shows):
    assert kind in standin._CAPTIONS
    found = captions(kind)
    assert all(map(shows, found))
    assert not any(map(shows, captions("plain")))
    for text in found:
        assert text == text.lower()
        assert not text.rstrip().endswith(".")


def test_grey_pictures_say_nothing_of_colour():
    assert not [text for text in captions("plain", 300) if "background" in text]


@pytest.mark.parametrize(
    ("kind", "form", "mode"),
    [
        ("RGB", "JPEG", "RGB"),
        ("progressive", "JPEG", "RGB"),
        ("L", "JPEG", "L"),
        ("CMYK", "JPEG", "CMYK"),
        ("png", "PNG", "RGBA"),
        ("palette", "PNG", "P"),
        ("webp", "WEBP", "RGB"),
    ],
)
def test_files_of_each_kind(kind, form, mode):
    rng = np.random.default_rng(0)
    picture = standin._picture("green", "striped", [], (320, 300), rng)
    data = standin._encoded(picture, kind, rng, exif=False)
    got = Image.open(io.BytesIO(data))
    assert (got.format, got.mode, got.size) == (form, mode, (320, 300))
    assert bool(got.info.get("progressive")) == (kind == "progressive")
    if kind != "L":
        difference = np.asarray(got.convert("RGB")).astype(int) - np.asarray(picture)
        assert np.abs(difference).mean() < 8


def test_the_same_arguments_give_the_same_bytes(made, tmp_path):
    folder, truth = made
    assert standin.make_pairs(tmp_path / "again", **PAIRS, broken=FAULTS) == truth
    assert files(tmp_path / "again") == files(folder)


def test_a_sample_is_the_same_whatever_else_is_broken_or_asked_for(made, tmp_path):
    folder, truth = made
    broken = {key for keys in truth["broken"].values() for key in keys}
    standin.make_pairs(tmp_path / "one", **PAIRS | {"shards": 1}, broken={})
    ours, theirs = samples(folder), samples(tmp_path / "one")
    assert set(theirs) < set(ours)
    assert all(theirs[key] == ours[key] for key in theirs if key not in broken)
    standin.make_pairs(tmp_path / "other", shards=1, per_shard=10, seed=5, broken={})
    other = samples(tmp_path / "other")
    assert not {m["jpg"] for m in other.values()} & {m.get("jpg") for m in ours.values()}


# ---- whole or not at all -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change", [{"per_shard": 10_001}, {"broken": {"no_image": 60, "truncated": 61}}]
)
def test_pairs_that_cannot_be_made_are_refused(tmp_path, change):
    with pytest.raises(UserError, match="standin: 2 shards"):
        standin.make_pairs(tmp_path / "new", **PAIRS | {"broken": {}} | change)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("old", [True, False])
def test_a_stand_in_appears_whole_or_not_at_all(tmp_path, monkeypatch, old):
    folder = tmp_path / "cc3m"
    if old:
        standin.make_pairs(folder, shards=1, per_shard=2, seed=0, broken={})
    before = files(tmp_path)
    encoded, calls = standin._encoded, iter(range(100))

    def fails(*args, **options):
        if next(calls) == 5:
            raise OSError("disk full")
        return encoded(*args, **options)

    monkeypatch.setattr(standin, "_encoded", fails)
    with pytest.raises(OSError, match="disk full"):
        standin.make_pairs(folder, shards=2, per_shard=4, seed=0, broken={})
    assert files(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == (["cc3m"] if old else [])


def test_a_folder_of_other_files_is_refused_and_an_empty_one_taken(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "cc3m-train-0000.tar").write_text("precious")
    with pytest.raises(UserError, match="holds other files"):
        standin.make_pairs(tmp_path / "mine", shards=1, per_shard=1, seed=0, broken={})
    assert files(tmp_path / "mine") == {"cc3m-train-0000.tar": b"precious"}
    (tmp_path / "empty").mkdir()
    standin.make_pairs(tmp_path / "empty", shards=1, per_shard=1, seed=0, broken={})
    assert len(files(tmp_path / "empty")) == 2
    with pytest.raises(UserError, match="is a file"):
        standin.make_pairs(
            tmp_path / "mine" / "cc3m-train-0000.tar", shards=1, per_shard=1, seed=0, broken={}
        )


# ---- ImageNet ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imagenet") / "tree"
    return folder, standin.make_imagenet(folder, per_class=1, seed=2, form="tree", broken=3)


def test_the_tree_has_all_classes_in_order(tree):
    from torchvision.datasets import ImageFolder

    folder, truth = tree
    found = ImageFolder(folder / "val")
    assert found.classes == list(label_of_synset())
    assert found.class_to_idx["n07753592"] == 954  # banana
    assert [label for _, label in found.samples] == list(range(1000))
    names = sorted(Path(path).name for path, _ in found.samples)
    assert names == [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, 1001)]
    assert json.loads((folder / "truth.json").read_text("utf-8")) == truth
    by_number = sorted((Path(path).name, label) for path, label in found.samples)
    assert [label for _, label in by_number] != list(range(1000))


def test_the_pictures_are_of_imagenets_sizes_and_the_account_is_exact(tree):
    folder, truth = tree
    sizes, modes, broken = Counter(), Counter(), []
    for path in sorted((folder / "val").rglob("*.JPEG"), key=lambda path: path.name):
        with Image.open(path) as picture:
            assert picture.format == "JPEG"
            if path.read_bytes()[-2:] != b"\xff\xd9":
                assert decoded(path.read_bytes()) is None
                broken.append(path.name)
            else:
                sizes[picture.size] += 1
                modes[picture.mode] += 1
    assert broken == truth["broken"]["truncated"]
    assert len(broken) == 3
    assert modes == truth["images"]
    assert min(modes.values()) >= 1
    assert sum(modes.values()) == truth["usable"] == 997
    assert sizes.most_common(1)[0][0] == (500, 375)
    assert len(sizes) > 30


def test_all_forms_hold_the_same(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    monkeypatch.setattr(standin, "CLASSES", 40)
    monkeypatch.setattr(standin, "PARQUET_ROWS", 50)
    made = {
        form: standin.make_imagenet(tmp_path / form, per_class=3, seed=0, form=form, broken=2)
        for form in standin.FORMS
    }
    assert [{**truth, "form": ""} for truth in made.values()] == [{**made["tree"], "form": ""}] * 3
    wnids = list(label_of_synset())
    from_tree = {
        path.name: (wnids.index(path.parent.name), path.read_bytes())
        for path in (tmp_path / "tree" / "val").rglob("*.JPEG")
    }
    lines = (tmp_path / "flat" / "labels.txt").read_text("utf-8").splitlines()
    from_flat = {
        name: (int(label), (tmp_path / "flat" / name).read_bytes())
        for name, label in map(str.split, lines)
    }
    assert list(from_flat) == sorted(path.name for path in (tmp_path / "flat").glob("*.JPEG"))
    paths = sorted((tmp_path / "parquet" / "data").iterdir())
    assert [path.name for path in paths] == [
        f"validation-0000{i}-of-00003.parquet" for i in range(3)
    ]
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    features = json.loads(pq.read_schema(paths[0]).metadata[b"huggingface"])["info"]["features"]
    assert features["label"]["names"][954] == "banana"
    from_parquet = {}
    for row in rows:
        name, number, wnid = re.fullmatch(
            r"(ILSVRC2012_val_(\d+))_(n\d+)\.JPEG", row["image"]["path"]
        ).groups()
        assert wnid == wnids[row["label"]]
        assert int(number) == len(from_parquet) + 1
        from_parquet[f"{name}.JPEG"] = (row["label"], row["image"]["bytes"])
    assert from_tree == from_flat == from_parquet
    assert Counter(label for label, _ in from_flat.values()) == dict.fromkeys(range(40), 3)
    assert len({image for _, image in from_flat.values()}) == 120


def test_classes_can_be_told_apart():
    sprites = standin._class_sprites()
    assert len(sprites) == 1000
    names = [noun.name for noun in scenes.nouns("all")]
    drawn = [i for i, name in enumerate(standin.IMAGENET_CLASSNAMES) if name.lower() in names]
    assert 954 in drawn
    assert len(drawn) > 50
    firsts = np.stack([s[0] for s in sprites])[:, 2::10, 2::10].reshape(1000, -1).astype(int)
    for label in range(1000):
        apart = np.abs(firsts - firsts[label]).mean(1)
        apart[label] = 255
        assert apart.min() > 10, (label, int(apart.argmin()))
