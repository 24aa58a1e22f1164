"""Stand-ins: the real forms, an exact account of what is broken, the same bytes again."""

import hashlib
import io
import json
import re
import tarfile
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from taclean.data.readers import make_reader
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


def is_whole(data: bytes) -> bool:
    try:
        return Image.open(io.BytesIO(data)).convert("RGB").size > (0, 0)
    except OSError:
        return False


def fault_of(members: dict[str, bytes]) -> str | None:
    """What is wrong with a sample, by its files alone."""
    image, text = members.get("jpg"), members.get("txt")
    shown = {
        "no_image": image is None, "empty_image": image == b"", "no_caption": text is None,
        "empty_caption": text == b"", "not_an_image": b"<html>" in (image or b""),
    }  # fmt: skip
    shown["truncated"] = not any(shown.values()) and not is_whole(image)
    assert sum(shown.values()) <= 1
    return next((fault for fault in shown if shown[fault]), None)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("standin") / "cc3m"
    return folder, standin.make_pairs(folder, **PAIRS, broken=FAULTS)


def test_the_account_is_what_the_shards_hold(made):
    folder, truth = made
    assert json.loads((folder / "truth.json").read_text("utf-8")) == truth
    found: dict[str | None, list[str]] = {fault: [] for fault in (*standin.BROKEN, None)}
    for key, members in samples(folder).items():
        found[fault_of(members)].append(key)
    usable = len(found.pop(None))
    assert found == truth["broken"]
    assert {fault: len(keys) for fault, keys in found.items()} == FAULTS
    packed = {"undecodable": 7, "no_image": 1, "no_caption": 2, "empty_caption": 1}
    assert truth["packed_as"] == packed
    assert usable == truth["usable"] == truth["samples"] - sum(FAULTS.values())
    assert sum(truth["images"].values()) == sum(truth["captions"].values()) == usable


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
        standin.make_pairs(folder, shards=1, per_shard=2, seed=0)
    before = files(tmp_path)

    def fails(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(standin, "_write_truth", fails)  # the last of its files
    with pytest.raises(OSError, match="disk full"):
        standin.make_pairs(folder, shards=1, per_shard=4, seed=0)
    assert files(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["cc3m"] * old


def test_a_folder_of_other_files_is_refused_and_an_empty_one_taken(tmp_path):
    one = {"shards": 1, "per_shard": 1, "seed": 0}
    mine = tmp_path / "mine" / "cc3m-train-0000.tar"
    mine.parent.mkdir()
    mine.write_text("precious")
    for place, message in ((mine.parent, "holds other files"), (mine, "is a file")):
        refused(lambda place=place: standin.make_pairs(place, **one), message)
    assert files(tmp_path / "mine") == {"cc3m-train-0000.tar": b"precious"}
    (tmp_path / "empty").mkdir()
    standin.make_pairs(tmp_path / "empty", **one)
    assert len(files(tmp_path / "empty")) == 2


def test_all_forms_of_imagenet_hold_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(standin, "CLASSES", 40)
    monkeypatch.setattr(standin, "PARQUET_ROWS", 50)
    found = {}
    for form in standin.FORMS:
        truth = standin.make_imagenet(tmp_path / form, per_class=3, seed=0, form=form, broken=2)
        assert json.loads((tmp_path / form / "truth.json").read_text("utf-8")) == truth
        reader = make_reader({"reader": "imagenet"}, tmp_path / form)
        found[form] = {
            re.sub(r"_n\d{8}", "", row.key): (row.label, reader.image(row.where))
            for row in reader.table().itertuples()
        }
        broken = {name for name, (_, image) in found[form].items() if not is_whole(image)}
        assert broken == set(truth["broken"]["truncated"])
        assert len(broken) == 2
        assert sum(truth["images"].values()) == truth["usable"] == 118
    tree, flat, parquet = found.values()
    assert tree == flat == parquet
    assert list(flat) == list(parquet) == [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, 121)]
    labels, images = zip(*flat.values(), strict=True)
    assert Counter(labels) == dict.fromkeys(range(40), 3)
    assert labels != tuple(sorted(labels))
    assert len(set(images)) == 120
    assert sorted(path.name for path in (tmp_path / "tree/val").iterdir()) == [*label_of_synset()]
    paths = sorted((tmp_path / "parquet/data").iterdir())
    assert [path.name for path in paths] == [
        f"validation-0000{i}-of-00003.parquet" for i in range(3)
    ]
    features = json.loads(pq.read_schema(paths[0]).metadata[b"huggingface"])["info"]["features"]
    assert features["label"]["names"][954] == "banana"
