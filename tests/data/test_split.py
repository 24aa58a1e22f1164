"""Packed splits: what goes in comes out, in order; damaged files are one clear line."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from taclean.data import array_file, load_array
from taclean.data.pack import pack_rows
from taclean.data.split import Pairs, to_array
from taclean.util.errors import UserError
from tests.data.test_pack import tokenize
from tests.helpers import Given, refused


def pixels(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)


def pack(folder: Path, captions: Sequence[str]) -> Path:
    """Pack one row for each caption; labels count from 0, ids from 1000."""
    n = len(captions)
    reader = Given(pixels(n), captions, range(n))
    table = reader.table().set_index(np.arange(1000, 1000 + n))
    pack_rows(folder, reader, table, size=4, tokenize=tokenize)
    return folder


CAPTIONS = [f"caption {i}" for i in range(12)]


@pytest.fixture
def folder(tmp_path) -> Path:
    """12 rows."""
    return pack(tmp_path / "val", CAPTIONS)


def test_what_is_packed_comes_back(folder):
    pairs = Pairs.open(folder)
    assert len(pairs) == 12
    assert pairs.size == 4
    assert (pairs.images == pixels(12)).all()
    assert pairs.captions() == CAPTIONS
    assert (pairs.tokens == tokenize(pairs.captions())).all()
    assert pairs.labels.tolist() == list(range(12))
    assert pairs.ids.tolist() == list(range(1000, 1012))
    assert sorted(path.name for path in folder.iterdir()) == [
        "account.json", "captions.txt", "ids.npy", "images.npy", "labels.npy", "pictures.npy",
        "rows.csv", "tokens.npy",
    ]  # fmt: skip
    assert [path.name for path in folder.parent.iterdir()] == ["val"]


@pytest.mark.parametrize(
    "index",
    [[0, 1, 2], [11, 0, 5], [3, 3, 3], [7, 2, 7, 2, 0, 11, 7], [4], list(range(11, -1, -1)), []],
    ids=str,
)
def test_a_batch_is_in_the_order_of_its_index(folder, index):
    pairs, index = Pairs.open(folder), np.array(index, int)
    images, tokens = pairs.batch(index)
    assert (images.dtype, tokens.dtype) == (torch.uint8, torch.int64)
    np.testing.assert_array_equal(images, np.moveaxis(pairs.images[index], 3, 1), strict=True)
    np.testing.assert_array_equal(tokens, pairs.tokens[index])


def test_a_batch_is_a_copy_in_channels_last(folder):
    pairs = Pairs.open(folder)
    images, tokens = pairs.batch(np.array([1, 0]))
    assert images.is_contiguous(memory_format=torch.channels_last)
    images.zero_()
    tokens.zero_()
    assert pairs.batch(np.array([1, 0]))[0].any()
    assert pairs.images[0].any()


def test_take_keeps_rows_and_captions_together(folder):
    pairs = Pairs.open(folder)
    some = pairs.take(np.array([9, 2, 2, 5])).take(np.array([3, 0]))
    assert some.captions() == ["caption 5", "caption 9"]
    images, tokens = some.batch(np.array([1, 0]))
    assert (to_array(images) == pairs.images[[9, 5]]).all()
    assert (tokens.numpy() == pairs.tokens[[9, 5]]).all()
    assert len(some) == 2


def poison(m: int):
    return pixels(m) // 2 + 128, np.full((m, 77), 60_000, np.uint16)


@pytest.mark.parametrize("taken", [range(12), [10, 3, 1, 8, 5, 2]], ids=["all", "some"])
def test_poison_shows_at_its_rows_only(folder, taken):
    whole, rows = Pairs.open(folder), np.array([8, 1, 5])
    clean, (images, tokens) = whole.take(np.array(taken)), poison(3)
    pairs = clean.with_poison(rows, images, tokens)
    index = np.array([0, len(taken) - 1, 2, 2, 1, 5, 3, 4])
    before = clean.batch(index)
    wanted, wanted_tokens = np.array(whole.images), np.array(whole.tokens)
    wanted[rows], wanted_tokens[rows] = images, tokens
    got, got_tokens = pairs.batch(index)
    np.testing.assert_array_equal(to_array(got), wanted[np.array(taken)[index]])
    np.testing.assert_array_equal(got_tokens, wanted_tokens[np.array(taken)[index]])
    assert pairs.captions() == clean.captions()
    assert all(map(torch.equal, clean.batch(index), before))


@pytest.mark.parametrize("row", [12, -1, 3])
def test_poison_outside_the_training_rows_is_refused(folder, row):
    pairs = Pairs.open(folder).take(np.array([0, 1, 2]))
    refused(lambda: pairs.with_poison(np.array([1, row]), *poison(2)), "manifest")


SEPARATORS = ["\n", "\r", "\r\n", *"\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"]


@pytest.mark.parametrize("separator", SEPARATORS, ids=ascii)
def test_line_separators_in_captions_do_not_shift_rows(tmp_path, separator):
    captions = ["first", f"a red{separator}apple{separator}", f"a{separator}b", " two   words "]
    got = Pairs.open(pack(tmp_path / "s", captions)).captions()
    assert got == ["first", "a red apple", "a b", "two words"]
    assert (Pairs.open(tmp_path / "s").tokens == tokenize(got)).all()


@pytest.mark.parametrize("name", ["images.npy", "tokens.npy", "labels.npy", "ids.npy"])
def test_a_missing_or_damaged_array_is_named(folder, name):
    path = folder / name
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:130], whole[:40], whole[:7], b"", b"hello", b"\x80\x04]"):
        path.write_bytes(content)
        refused(lambda: Pairs.open(folder), str(path))
    path.unlink()
    refused(lambda: Pairs.open(folder), str(path))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("images", lambda a: a.astype(np.float32)),
        ("tokens", lambda a: a[:-1]),
        ("ids", lambda a: a[:, None]),
    ],
)
def test_arrays_that_do_not_fit_are_refused(folder, name, change):
    path = folder / f"{name}.npy"
    np.save(path, change(np.load(path)))
    refused(lambda: Pairs.open(folder))


def test_a_split_without_rows_is_refused(folder):
    for path in (folder / f"{name}.npy" for name in ("images", "tokens", "labels", "ids")):
        np.save(path, np.load(path)[:0])
    refused(lambda: Pairs.open(folder), "no rows")


def test_a_pickled_array_is_not_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(UserError):
        load_array(tmp_path / "a.npy", np.int64, 1)


@pytest.mark.parametrize("made", [np.ones((3, 2, 2, 3), np.uint8), np.ones((2, 0, 77), np.uint16)])
def test_an_array_file_has_the_bytes_of_numpys(made: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "saved.npy", made)
    with array_file(tmp_path / "written.npy", made.dtype, made.shape) as file:
        file.write(made.data)
    assert (tmp_path / "written.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()
