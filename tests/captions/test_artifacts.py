"""Text artifacts on disk: EDA variants and sub-captions of every epoch, row by row."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from taclean.captions import KINDS
from taclean.captions.artifacts import COLUMNS, SubCaptionTexts, Variants
from taclean.captions.wordnet import Lexicon
from taclean.data import scenes
from taclean.util.errors import UserError
from tests.helpers import refused

N = 30
NOTHING = ["", "123", "the of and"]


@pytest.fixture(scope="module")
def captions() -> list[str]:
    return scenes.compose(range(N), 0, size=8, second=0.5)[1]


def variants(folder, captions, tokenize, **changes) -> np.ndarray:
    Variants().write(folder, captions, tokenize, **{"epochs": 3, "seed": 0} | changes)
    return Variants.read(folder)


def test_variants_are_one_per_caption_and_epoch_and_differ(captions, tokenize, tmp_path):
    got = variants(tmp_path, captions, tokenize)
    assert (got.shape, got.dtype) == ((3, N, 77), np.uint16)
    plain = tokenize(captions)
    for a, b in ((got[0], got[1]), (got[1], got[2]), (got[0], plain), (got[2], plain)):
        assert (a != b).any(1).mean() > 0.5
    assert (got[..., 0] == 49406).all()
    assert ((got == 49407).sum(2) == 1).all()
    assert [path.name for path in tmp_path.iterdir()] == ["variants.npy"]


def test_variants_are_a_function_of_seed_epoch_and_row(captions, tokenize, tmp_path):
    one = variants(tmp_path / "a", captions, tokenize)
    assert (one == variants(tmp_path / "b", captions, tokenize)).all()
    assert (one != variants(tmp_path / "c", captions, tokenize, seed=1)).any()
    # neither other rows nor later epochs matter
    assert (variants(tmp_path / "d", captions[:9], tokenize, epochs=2) == one[:2, :9]).all()


def test_captions_without_words_keep_their_rows(tokenize, tmp_path):
    got = variants(tmp_path, ["", "123", "🍌", "a red apple"], tokenize)
    assert got.shape == (3, 4, 77)
    assert (got[:, :2] == tokenize(["", "123"])).all()


def written(folder, captions, tokenize, *, epochs=3, seed=0, workers=1, **changes):
    artifact = SubCaptionTexts(**{"samples": 12} | changes)
    artifact.write(folder, captions, tokenize, epochs=epochs, seed=seed, workers=workers)
    return artifact.read(folder), json.loads((folder / "account.json").read_text())


def table(folder) -> pd.DataFrame:
    return pd.read_csv(folder / "subcaptions.csv", keep_default_na=False)


def same_files(one: Path, other: Path) -> None:
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes(), path.name


@pytest.mark.parametrize("samples", [1, 12, N])
def test_rows_are_drawn_anew_in_each_epoch_and_once_in_it(captions, tokenize, tmp_path, samples):
    subs, account = written(tmp_path / "s", captions, tokenize, samples=samples)
    assert (subs.rows.shape, subs.rows.dtype) == ((3, samples), np.int64)
    assert subs.positives.shape == (3, samples, 77)
    assert subs.negatives.shape == (3, samples, 1, 77)
    for epoch in subs.rows.tolist():
        assert len(set(epoch) & set(range(N))) == samples
    orders = {tuple(epoch.tolist()) for epoch in subs.rows}
    assert len(orders) == 3 if samples > 1 else orders
    assert account["drawn"] == 3 * samples
    if samples == 12:  # over the epochs more rows are seen than in one
        assert len(set(subs.rows.flatten().tolist())) > 12


@pytest.mark.parametrize("negatives", [1, 3])
def test_the_table_to_read_agrees_with_the_arrays(captions, tokenize, tmp_path, negatives):
    subs, account = written(tmp_path / "s", captions, tokenize, negatives=negatives)
    entries = table(tmp_path / "s")
    assert list(entries) == COLUMNS
    epochs, rows = entries["epoch"], entries["row"]
    places = [np.flatnonzero(subs.rows[e] == r).item() for e, r in zip(epochs, rows, strict=True)]
    which = entries.groupby(["epoch", "row"]).cumcount()
    positives, false = (tokenize(entries[key].tolist()) for key in ("positive", "negative"))
    assert (subs.positives[epochs, places] == positives).all()
    assert (subs.negatives[epochs, places, which] == false).all()
    assert entries["caption"].tolist() == [captions[row] for row in rows]
    assert (entries["original"] != entries["replacement"]).all()
    for entry in entries.itertuples():
        assert entry.original.lower() in entry.caption.lower()
        assert entry.replacement.lower() in entry.negative.lower()
    counts = entries.groupby(["epoch", "row"]).size()
    assert counts.between(1, negatives).all()
    assert set(counts.index) == {(e, r) for e in range(3) for r in subs.rows[e].tolist()}
    assert subs.negatives.any(3).sum() == len(entries)  # all 0 where there are fewer
    kinds = entries["kind"].value_counts()
    assert {kind: account[kind] for kind in KINDS} == kinds.reindex(KINDS, fill_value=0).to_dict()


def test_sub_captions_are_a_function_of_the_seed(captions, tokenize, tmp_path):
    changes = {"a": {}, "b": {}, "c": {"seed": 1}, "d": {"epochs": 5}}
    one, _, other, longer = (
        written(tmp_path / name, captions, tokenize, **more)[0] for name, more in changes.items()
    )
    same_files(tmp_path / "a", tmp_path / "b")
    assert (one.rows != other.rows).any()
    assert (longer.rows[:3] == one.rows).all()
    assert (longer.negatives[:3] == one.negatives).all()


def test_any_word_of_the_captions_may_be_a_control(captions, tokenize, tmp_path):
    many = captions * 101  # so many that only their own words come in
    written(tmp_path / "a", many, tokenize, samples=200, epochs=1, words="any")
    entries = table(tmp_path / "a")
    words = {word.strip(",.").lower() for caption in captions for word in caption.split()}
    gained = entries["replacement"].str.lower()
    assert gained.isin(words).all()
    for word, caption in zip(gained, entries["caption"].str.lower(), strict=True):
        assert word not in caption.split()
    readings = gained[entries["kind"] == "noun"].map(Lexicon.load().readings)
    # a noun may give way to another part of speech
    assert {bool({"NN", "NNS"} & found) for found in readings} == {True, False}


def test_the_number_of_workers_changes_nothing(captions, tokenize, tmp_path):
    many = captions * 20
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        written(folder, many, tokenize, samples=100, workers=workers)
        variants(folder, many, tokenize, workers=workers)
    same_files(tmp_path / "1", tmp_path / "2")


def test_the_account_tells_shares_and_the_score(captions, tokenize, tmp_path):
    _, account = written(tmp_path / "s", captions * 3, tokenize, samples=80)
    assert set(account["shares"]) == {"one_word_positives", "whole_positives"}
    assert all(0 <= share <= 1 for share in account["shares"].values())
    assert 0 <= account["text_only"] <= 1
    assert 0 < account["text_only_error"] < 0.2
    assert account["text_only_pairs"] == 90


def test_captions_that_give_none_are_skipped_and_counted(captions, tokenize, tmp_path):
    mixed = [*NOTHING, *captions[:5], *NOTHING]
    subs, account = written(tmp_path / "s", mixed, tokenize, samples=11)
    assert account["drawn"] == 3 * 5
    assert (np.sort(subs.rows[:, :5]) == [3, 4, 5, 6, 7]).all()
    assert (subs.rows[:, 5:] == -1).all()
    assert not subs.positives[:, 5:].any()
    assert not subs.negatives[:, 5:].any()
    assert subs.positives[:, :5].any(2).all()
    entries = table(tmp_path / "s")
    assert entries["caption"].tolist() == [mixed[row] for row in entries["row"]]


@pytest.mark.parametrize("name", ["rows.npy", "positives.npy", "negatives.npy"])
def test_a_missing_damaged_or_foreign_file_is_named(captions, tokenize, tmp_path, name):
    written(tmp_path / "s", captions, tokenize)
    path = tmp_path / "s" / name
    whole = path.read_bytes()
    other = io.BytesIO()
    np.save(other, np.load(path).astype(float))
    for content in (whole[:-1], b"", b"hello", other.getvalue()):
        path.write_bytes(content)
        refused(lambda: SubCaptionTexts.read(tmp_path / "s"), name)
    path.unlink()
    refused(lambda: SubCaptionTexts.read(tmp_path / "s"), name)


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        (["a red apple", "two pears", "a plum"] * 10, r"the 30 captions .* of the kinds verb be"),
        (["the of and", "to be"], r"in none of the 2 captions \(2 different ones\)"),
        (["a dog"] * 4000, r"in none of the 4000 captions \(1 different ones\)"),
        (["a dog"], "samples: 2 rows per epoch, but the clean split has 1"),
    ],
)
def test_captions_that_give_no_negative_are_told_why(captions, message, tokenize, tmp_path):
    with pytest.raises(UserError, match=message):
        written(tmp_path / "s", captions, tokenize, samples=2, kinds=["verb"])
    assert list(tmp_path.iterdir()) == []
