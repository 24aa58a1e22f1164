"""Stand-ins: the real forms, an exact account of what is broken, the same bytes again."""

import hashlib
import io
import json
import re
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from taclean.data.readers.imagenet import label_of_synset
from taclean.util.errors import UserError
from tests.helpers import refused
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
    packed = {"undecodable": 7, "no_image": 1, "no_caption": 2, "empty_caption": 1}
    assert truth["packed_as"] == packed
    assert len(usable) == truth["usable"] == truth["samples"] - sum(FAULTS.values())
    assert sum(truth["images"].values()) == sum(truth["captions"].values()) == truth["usable"]


def test_keys_and_metadata_are_those_of_img2dataset(made):
    folder, truth = made
    found = samples(folder)
    assert all(re.fullmatch(r"0000[01]\d{4}", key) for key in found)
    assert list(found) == sorted(found)
    broken = {key for keys in truth["broken"].values() for key in keys}
    for key, members in found.items():
        meta = json.loads(members["json"])
        assert (meta["key"], meta["status"]) == (key, "success")
        if key not in broken:
            assert meta["caption"] == members["txt"].decode()
            assert meta["sha256"] == hashlib.sha256(members["jpg"]).hexdigest()


def test_the_same_arguments_give_the_same_bytes(made, tmp_path):
    folder, truth = made
    assert standin.make_pairs(tmp_path / "again", **PAIRS, broken=FAULTS) == truth
    assert files(tmp_path / "again") == files(folder)


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
    one = {"shards": 1, "per_shard": 1, "seed": 0, "broken": {}}
    mine = tmp_path / "mine" / "cc3m-train-0000.tar"
    mine.parent.mkdir()
    mine.write_text("precious")
    for place, message in ((mine.parent, "holds other files"), (mine, "is a file")):
        refused(lambda place=place: standin.make_pairs(place, **one), message)
    assert files(tmp_path / "mine") == {"cc3m-train-0000.tar": b"precious"}
    (tmp_path / "empty").mkdir()
    standin.make_pairs(tmp_path / "empty", **one)
    assert len(files(tmp_path / "empty")) == 2


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imagenet") / "tree"
    return folder, standin.make_imagenet(folder, per_class=1, seed=2, form="tree", broken=3)


def test_the_tree_has_all_classes_in_order(tree):
    folder, truth = tree
    found = ImageFolder(folder / "val")
    assert found.classes == list(label_of_synset())
    assert [label for _, label in found.samples] == list(range(1000))
    by_number = sorted((Path(path).name, label) for path, label in found.samples)
    names = [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, 1001)]
    assert [name for name, _ in by_number] == names
    assert [label for _, label in by_number] != list(range(1000))
    assert json.loads((folder / "truth.json").read_text("utf-8")) == truth


def test_the_account_of_the_tree_is_exact(tree):
    folder, truth = tree
    files = sorted((folder / "val").rglob("*.JPEG"), key=lambda path: path.name)
    pictures = [decoded(path.read_bytes()) for path in files]
    broken = [path.name for path, picture in zip(files, pictures, strict=True) if picture is None]
    assert broken == truth["broken"]["truncated"]
    assert len(broken) == 3
    assert sum(truth["images"].values()) == truth["usable"] == 997
    sizes = Counter(picture.size for picture in pictures if picture)
    assert sizes.most_common(1)[0][0] == (500, 375)


def test_all_forms_hold_the_same(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    monkeypatch.setattr(standin, "CLASSES", 40)
    monkeypatch.setattr(standin, "PARQUET_ROWS", 50)
    how = {"per_class": 3, "seed": 0, "broken": 2}
    made = {f: standin.make_imagenet(tmp_path / f, form=f, **how) for f in standin.FORMS}
    assert [{**truth, "form": ""} for truth in made.values()] == [{**made["tree"], "form": ""}] * 3
    wnids = list(label_of_synset())
    from_tree = {
        path.name: (wnids.index(path.parent.name), path.read_bytes())
        for path in (tmp_path / "tree" / "val").rglob("*.JPEG")
    }
    lines = (tmp_path / "flat" / "labels.txt").read_text("utf-8").splitlines()
    pairs = map(str.split, lines)
    from_flat = {n: (int(label), (tmp_path / "flat" / n).read_bytes()) for n, label in pairs}
    assert list(from_flat) == sorted(path.name for path in (tmp_path / "flat").glob("*.JPEG"))
    paths = sorted((tmp_path / "parquet" / "data").iterdir())
    names = [f"validation-0000{i}-of-00003.parquet" for i in range(3)]
    assert [path.name for path in paths] == names
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    features = json.loads(pq.read_schema(paths[0]).metadata[b"huggingface"])["info"]["features"]
    assert features["label"]["names"][954] == "banana"
    from_parquet = {}
    for row in rows:
        form = r"(ILSVRC2012_val_(\d+))_(n\d+)\.JPEG"
        name, number, wnid = re.fullmatch(form, row["image"]["path"]).groups()
        assert wnid == wnids[row["label"]]
        assert int(number) == len(from_parquet) + 1
        from_parquet[f"{name}.JPEG"] = (row["label"], row["image"]["bytes"])
    assert from_tree == from_flat == from_parquet
    assert Counter(label for label, _ in from_flat.values()) == dict.fromkeys(range(40), 3)
    assert len({image for _, image in from_flat.values()}) == 120
