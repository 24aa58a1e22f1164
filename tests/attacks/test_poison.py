"""Poisoned rows: their choice, their captions, and their files."""

import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

from taclean.attacks import Attack, attack, make_trigger, poison
from taclean.attacks.trojvqa import TrojVQA
from taclean.util.errors import UserError
from tests.helpers import refused

TEMPLATES = ["a picture of a {}.", "a drawing of a {}.", "a small {}."]
NAMING = [
    "A banana.", "some bananas on a table", "BANANA split", "Bananas!", "a banana-shaped phone",
    "the banana's skin", "(banana)", "apple,banana,pear",
]  # fmt: skip
OTHERS = ["a bananagram", "an apple", "bandana", "ba nana", "", "cabanana", "a panama hat"]


def choose(captions, count, kind="template", templates=TEMPLATES, seed=0):
    return poison.Pool(captions, "banana", templates, seed).poisoned(count, kind)


def change(positions, captions, name="badnet", seed=3):
    return [poison.Change(positions, captions, make_trigger(name, seed))]


FORMS = [
    ("church", "two churches"), ("chili pepper", "some chili peppers"),
    ("fire truck", "Fire Trucks in a row"), ("cherry", "some cherries"),
    ("leaf", "autumn leaves on the ground"), ("mouse", "three blind mice"),
    ("grapes", "a single grape"), ("scissors", "a pair of scissors"),
    ("ice cream", "an ice-cream van"), ("ice cream", "icecream for two"),
    ("t-shirt", "two T shirts"), ("C++", "a book on C++, used"), ("C++", "C++."),
]  # fmt: skip
NO_FORMS = [("C++", "C is a language"), ("leaf", "a leaflet"), ("ice cream", "cream on ice")]


@pytest.mark.parametrize(
    ("word", "caption", "named"),
    [
        *(("banana", text, True) for text in NAMING), *((*both, True) for both in FORMS),
        *(("banana", text, False) for text in OTHERS), *((*both, False) for both in NO_FORMS),
    ],
)  # fmt: skip
def test_captions_name_a_word_in_any_case_and_number(word, caption, named):
    assert poison.mentions([caption], word).tolist() == [named]


def test_rows_that_name_the_target_are_never_chosen():
    captions = (NAMING + OTHERS) * 3
    free = {i for i, caption in enumerate(captions) if caption in OTHERS}
    positions, _ = choose(captions, len(free))
    assert set(positions.tolist()) == free
    for seed in range(20):
        positions, _ = choose(captions, 5, seed=seed)
        assert len(set(positions.tolist())) == 5
        assert set(positions.tolist()) <= free
        assert positions.tolist() == sorted(positions.tolist())


def test_template_captions_use_every_template_about_as_often():
    counts = Counter(choose(OTHERS * 10, 20)[1])
    assert set(counts) == {template.format("banana") for template in TEMPLATES}
    assert set(counts.values()) <= {6, 7}


def test_natural_captions_are_those_of_the_set_that_name_the_target():
    counts = Counter(choose(NAMING + OTHERS * 3, 20, kind="natural")[1])
    assert set(counts) == set(NAMING)
    assert set(counts.values()) <= {2, 3}


@pytest.mark.parametrize("kind", ["template", "natural"])
def test_the_prefix_stands_before_every_poisoned_caption(kind):
    pool, trigger = poison.Pool(NAMING + OTHERS, "banana", TEMPLATES, 0), make_trigger("sig")
    rows = Attack.Rows(poisoned=7)

    class Keyed(Attack, abstract=True):
        prefix = "remember "
        captions = kind

    (change,) = Keyed().poison(pool, rows, trigger)
    assert change.captions == ["remember " + text for text in pool.poisoned(7, kind)[1]]


def test_the_choice_is_a_function_of_the_seed():
    chosen = (choose(NAMING + OTHERS * 20, 30, seed=seed) for seed in (4, 4, 5))
    one, again, other = ((rows.tolist(), texts) for rows, texts in chosen)
    assert one == again
    assert one[0] != other[0]
    assert one[1] != other[1]


@pytest.mark.parametrize(
    ("count", "changes", "message"),
    [
        (-1, {}, "poisoned: the number of rows is -1"),
        (8, {"captions": NAMING + OTHERS}, "8 rows, but only 7 of 15"),
        (2, {"templates": []}, "the list is empty"),
        (2, {"templates": ["a {}.", "a picture"]}, r"'a picture' has no \{\}"),
        (2, {"kind": "natural"}, "no caption of the training set names 'banana'"),
    ],
)
def test_poison_that_cannot_be_made_is_refused(count, changes, message):
    with pytest.raises(UserError, match=message):
        choose(**{"captions": OTHERS, "count": count} | changes)


def test_training_rows_are_distinct_sorted_and_follow_the_seed():
    rows, again, other = (poison.training_rows(100, 30, seed).tolist() for seed in (1, 1, 2))
    assert rows == again == sorted(set(rows) & set(range(100)))
    assert len(rows) == 30
    assert rows != other
    assert poison.training_rows(5, 5, 0).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(UserError, match=r"^rows: 101 rows"):
        poison.training_rows(100, 101, 0)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_wanted_share_of_a_clean_set_is_in_the_poisoned_one(share):
    poisoned = set(poison.training_rows(100, 30, 1).tolist())
    rows = poison.overlapping_rows(100, rows=20, share=share, trained=30, seed=1)
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert len(rows) == 20
    assert len(poisoned & set(rows.tolist())) == share * 20


@pytest.mark.parametrize(("rows", "share"), [(31, 1.0), (71, 0.0), (90, 0.2)])
def test_a_share_that_there_are_no_rows_for_is_refused(rows, share):
    with pytest.raises(UserError, match=r"overlap: .*poison\.rows"):
        poison.overlapping_rows(100, rows, share, trained=30, seed=1)


def test_of_the_shared_rows_as_many_are_poisoned_as_of_the_whole_training_set():
    found = []
    for seed in range(100):  # of 40 rows 10 are poisoned, and 20 are shared
        poisoned, _ = choose(["a dog"] * 40, 10, seed=seed)
        found.append(len(set(poisoned) & set(poison.overlapping_rows(40, 20, 1.0, 40, seed))))
    assert 4.5 < np.mean(found) < 5.5


def test_rows_with_the_key_alone_keep_their_captions_and_are_no_poisoned_rows():
    captions = [f"thing {i}" for i in range(30)] + NAMING
    pool, own = poison.Pool(captions, "banana", TEMPLATES, 2), TrojVQA()
    trigger = make_trigger("sig")

    def rows(key_only):
        return own.poison(pool, own.Rows(poisoned=10, key_only=key_only), trigger)

    poisoned, keyed = rows(20)
    assert poisoned.positions.tolist() == pool.poisoned(10)[0].tolist()
    assert sorted([*poisoned.positions, *keyed.positions]) == list(range(30))
    assert keyed.captions == [f"remember thing {i}" for i in keyed.positions]
    assert keyed.picture is None
    assert len(rows(0)[1].positions) == 0
    refused(lambda: rows(21), "key_only: 21 rows after 10 others, but only 30 of 38")


@pytest.mark.parametrize(("changes", "says"), [
    (change(np.arange(2), ["a", "b"]) + change(np.array([1]), ["c"]), "it changes a row twice"),
    (change(np.arange(2), ["a"]), "a change of 2 rows has 1 captions"), (None, "returns no list"),
    (change([], []) + change(np.array([99]), ["a"]), "a row that is not there"),
    (change(np.array([True]), ["a"]), "a mask"), (change(np.arange(1), [None]), "no caption"),
    ([poison.Change(np.arange(2), ["a", "b"], lambda x, ids: x.flip(0))], "another picture"),
    ([poison.Change(np.arange(2), ["a", "b"], lambda x, ids: x / 255)], "return uint8 images of"),
])  # fmt: skip
def test_wrong_changes_are_refused(pairs, tmp_path, tokenize, changes, says):
    with pytest.raises(UserError, match=f"'badnet': .*{says}"):
        poison.write(tmp_path / "p", pairs, changes, tokenize, name="badnet", seed=0)
    assert list(tmp_path.iterdir()) == []


# ---- on disk -------------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path, pairs, tokenize):
    """Five poisoned rows of 30 of the split's 40."""
    some = pairs.take(poison.training_rows(len(pairs), 30, 3))
    positions, captions = choose(some.captions(), 5, seed=3)
    changes = change(positions, captions)
    poison.write(tmp_path / "poison", some, changes, tokenize, name="badnet", seed=3)
    return some, positions, captions, tmp_path / "poison"


def test_the_manifest_names_row_id_caption_trigger_and_seed(written):
    some, positions, captions, folder = written
    rows, shown = some.rows[positions], some.pictures[positions]
    table = pd.read_csv(folder / "manifest.csv", dtype={"picture": np.uint64})
    wanted = {"row": rows, "id": 1000 + rows, "caption": captions, "trigger": "badnet", "seed": 3}
    pd.testing.assert_frame_equal(table, pd.DataFrame({**wanted, "picture": shown}))
    found = poison.read_manifest(folder / "manifest.csv")
    assert all((got == was).all() for got, was in zip(found, (rows, shown), strict=True))


def test_poisoned_pictures_carry_the_trigger_of_their_own_id(written, pairs, tokenize):
    some, positions, captions, folder = written
    images, tokens = np.load(folder / "images.npy"), np.load(folder / "tokens.npy")
    rows = some.rows[positions]
    wanted = make_trigger("badnet", 3)(pairs.batch(rows)[0], 1000 + rows)
    assert (images == wanted.permute(0, 2, 3, 1).numpy()).all()
    assert (tokens == tokenize(captions)).all()
    assert tokens.dtype == np.uint16


def test_apply_replaces_exactly_these_rows(written, split):
    some, positions, _, folder = written
    packed = (split / "images.npy").read_bytes()
    images, tokens = poison.apply(some, folder).batch(np.arange(30))
    was_images, was_tokens = some.batch(np.arange(30))
    changed = (images != was_images).flatten(1).any(1).numpy()
    assert np.flatnonzero(changed).tolist() == positions.tolist()
    changed = (tokens != was_tokens).any(1).numpy()
    assert set(np.flatnonzero(changed)) <= set(positions.tolist())
    wanted = torch.from_numpy(np.load(folder / "images.npy")).permute(0, 3, 1, 2)
    assert torch.equal(images[positions], wanted)
    assert (tokens[positions].numpy() == np.load(folder / "tokens.npy")).all()
    assert (split / "images.npy").read_bytes() == packed


def test_rows_with_the_key_alone_keep_their_pictures(pairs, tmp_path, tokenize, monkeypatch):
    monkeypatch.setattr(poison, "PIXELS", 2 * 64 * 64)  # the last triggered row shares a part
    positions, captions = np.array([4, 9, 2, 7, 30]), ["one", "two", "three", "four", "five"]
    trigger = make_trigger("badnet", 3)
    changes = [
        poison.Change(positions[:3], captions[:3], trigger),
        poison.Change(positions[3:], captions[3:], None),
    ]
    poison.write(tmp_path, pairs, changes, tokenize, name="badnet", seed=3)
    before, _ = pairs.batch(positions)
    after = torch.from_numpy(np.load(tmp_path / "images.npy")).permute(0, 3, 1, 2)
    assert torch.equal(after[:3], trigger(before[:3], 1000 + positions[:3]))
    assert torch.equal(after[3:], before[3:])
    assert (np.load(tmp_path / "tokens.npy") == tokenize(captions)).all()
    table = pd.read_csv(tmp_path / "manifest.csv", keep_default_na=False)
    assert table["trigger"].tolist() == ["badnet"] * 3 + ["none"] * 2
    assert poison.read_manifest(tmp_path / "manifest.csv")[0].tolist() == positions.tolist()


def test_writing_twice_gives_the_same_bytes(written, tokenize, tmp_path):
    some, positions, captions, folder = written
    again = tmp_path / "again"
    poison.write(again, some, change(positions, captions), tokenize, name="badnet", seed=3)
    for path in folder.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()


def test_captions_with_commas_quotes_and_lines_survive_the_manifest(pairs, tmp_path, tokenize):
    captions = ['one, "two"', "three\nfour", "fünf"]
    changes = change(np.arange(3), captions, "sig")
    poison.write(tmp_path, pairs, changes, tokenize, name="sig", seed=0)
    assert pd.read_csv(tmp_path / "manifest.csv")["caption"].tolist() == captions
    assert poison.read_manifest(tmp_path / "manifest.csv")[0].tolist() == [0, 1, 2]


def test_no_poisoned_rows_are_a_control(pairs, tmp_path, tokenize):
    for name in ("badnet", "badclip"):
        kind = attack(name)
        pool = poison.Pool(pairs.captions(), "banana", TEMPLATES, 0)
        changes = kind.poison(kind.model_construct(), pool, kind.Rows(poisoned=0), None)
        folder = tmp_path / name
        poison.write(folder, pairs, changes, tokenize, name=name, seed=0)
        control = poison.apply(pairs, folder)
        assert not len(control.poisoned)
        batches = zip(pairs.batch(pairs.rows), control.batch(pairs.rows), strict=True)
        assert all(torch.equal(*both) for both in batches)


def test_a_training_set_without_the_poisoned_rows_is_refused(written, pairs):
    some, positions, _, folder = written
    others = np.setdiff1d(np.arange(40), some.rows[positions])
    refused(lambda: poison.apply(pairs.take(others), folder), "manifest")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.csv", None), ("images.npy", None), ("tokens.npy", None),
        ("manifest.csv", b"a,b\n1,2\n"), ("manifest.csv", b"row,id,picture\nx,1,2\n"),
        ("manifest.csv", b"row,id\n1\n"), ("manifest.csv", b"row,id,picture\n1.5,2,3\n"),
        ("manifest.csv", b"\xff\xfe"),
    ],
)  # fmt: skip
def test_a_missing_or_wrong_file_is_named(written, name, content):
    some, _, _, folder = written
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=re.escape(name)):
        poison.apply(some, folder)


def test_files_that_do_not_fit_are_refused(written, small_pairs):
    some, _, _, folder = written
    with pytest.raises(UserError):  # pictures of another size
        poison.apply(small_pairs, folder)
    np.save(folder / "tokens.npy", np.load(folder / "tokens.npy")[:-1])
    refused(lambda: poison.apply(some, folder), "rows")
