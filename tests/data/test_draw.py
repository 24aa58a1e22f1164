"""Drawing of splits: disjoint, from one seed, with spare rows."""

from collections.abc import Mapping

import numpy as np
import pytest

from taclean.data.draw import Drawn, within
from taclean.data.draw import draw as draw_pictures
from taclean.data.readers import make_table
from taclean.util.errors import UserError

ROWS = {"pretrain": 500, "clean": 100, "patch": 10}


def draw(total: int, rows: Mapping[str, int], seed: int, spare: float) -> dict[str, Drawn]:
    """Draw from rows that each show a picture of their own."""
    return draw_pictures(np.arange(total), rows, seed, spare)


def test_splits_have_their_rows_and_nothing_twice():
    drawn = draw(1000, ROWS, 3, 0.05)
    assert {name: len(split.rows) for name, split in drawn.items()} == ROWS
    spares = {name: len(split.spare) for name, split in drawn.items()}
    assert spares == {"pretrain": 25, "clean": 5, "patch": 1}  # rounded up
    check_apart(drawn, np.arange(1000))
    assert all(part.dtype == np.int64 for split in drawn.values() for part in split)


def test_rows_are_drawn_from_the_whole_pool():
    rows = draw(100_000, {"a": 20_000}, 1, 0)["a"].rows
    # A fifth of each tenth of the pool, and in no order.
    tenths = np.bincount(rows // 10_000, minlength=10)
    assert (abs(tenths - 2000) < 200).all()
    assert abs(np.corrcoef(np.arange(len(rows)), rows)[0, 1]) < 0.05


def test_the_seed_alone_decides():
    first, again, other = draw(1000, ROWS, 3, 0.1), draw(1000, ROWS, 3, 0.1), draw(1000, ROWS, 4, 0)
    for name in ROWS:
        assert all(map(np.array_equal, first[name], again[name]))
        assert (first[name].rows != other[name].rows).any()


def test_a_split_added_at_the_end_leaves_the_rows_of_the_others():
    before, after = draw(1000, ROWS, 3, 0.1), draw(1000, ROWS | {"val": 50}, 3, 0.1)
    for name in ROWS:
        assert (before[name].rows == after[name].rows).all()


@pytest.mark.parametrize("left", [0, 7, 30, 60])
def test_where_the_pool_is_short_all_splits_get_fewer_spare_rows(left):
    drawn = draw(610 + left, ROWS, 0, 0.1)
    spares = {name: len(split.spare) for name, split in drawn.items()}
    assert sum(spares.values()) <= left
    assert sum(spares.values()) > left - len(ROWS)
    assert spares["pretrain"] >= 4 * spares["clean"]
    check_apart(drawn, np.arange(610 + left))


def test_a_source_that_is_too_small_is_refused():
    with pytest.raises(UserError, match="610 rows wanted"):
        draw(609, ROWS, 0, 0)


def groups(sizes: list[int], seed: int = 0) -> np.ndarray:
    """For every row the first row with its picture; the rows of a picture stand anywhere."""
    names = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    _, first, group = np.unique(names, return_index=True, return_inverse=True)
    return first[group]


def check_apart(drawn: Mapping[str, Drawn], pictures: np.ndarray) -> None:
    """Each row is drawn once, and each picture for one split."""
    rows = np.concatenate([np.concatenate(split) for split in drawn.values()])
    assert len(np.unique(rows)) == len(rows)
    shown = [np.unique(pictures[np.concatenate(split)]) for split in drawn.values()]
    assert len(np.unique(np.concatenate(shown))) == sum(map(len, shown))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("spare", [0.0, 0.1, 5.0])
def test_splits_share_no_picture(seed, spare):
    pictures = groups(np.random.default_rng(seed).integers(1, 9, 200).tolist(), seed)
    drawn = draw_pictures(pictures, ROWS, seed, spare)
    assert {name: len(split.rows) for name, split in drawn.items()} == ROWS
    check_apart(drawn, pictures)
    if spare == 0.1:
        spares = {name: len(split.spare) for name, split in drawn.items()}
        assert spares == {"pretrain": 50, "clean": 10, "patch": 1}


@pytest.mark.parametrize("seed", range(5))
def test_a_split_may_take_some_of_the_rows_only(seed):
    pictures = groups(np.random.default_rng(seed).integers(1, 9, 400).tolist(), seed)
    even = pictures % 2 == 0
    drawn = draw_pictures(pictures, ROWS, seed, 0.1, {"clean": even})
    assert {name: len(split.rows) for name, split in drawn.items()} == ROWS
    check_apart(drawn, pictures)
    assert even[np.concatenate(drawn["clean"])].all()
    assert not any(even[drawn[name].rows].all() for name in ROWS if name != "clean")
    with pytest.raises(UserError, match="610 rows wanted"):
        draw_pictures(pictures, ROWS, seed, 0, {"clean": np.zeros(len(pictures), bool)})


def test_the_rows_of_a_split_are_limited_by_their_captions_or_their_classes():
    names = ["pear", "fig", "nut", "plum"]
    pairs = make_table("abcd", "abcd", ["A fig.", "FIGS and a nut", None, "a pear"])
    assert within(pairs, [], without="fig").tolist() == [False, False, True, True]
    shared = make_table("abc", "aab", ["a pear", "a fig", "a nut"], picture=[0, 0, 1])
    assert within(shared, [], without="fig").tolist() == [False, False, True]  # as its picture
    assert within(shared, [], cover=1.0).all()
    labelled = make_table("abcd", "abcd", label=[0, 1, 2, 3], classes=names)
    assert within(labelled, [], cover=0.5).tolist() == [True, False, True, False]
    numbered = make_table("abcd", "abcd", label=[0, 1, 2, 3])
    assert within(numbered, names, without="fig").tolist() == [True, False, True, True]


def test_a_draw_of_former_versions_comes_again():
    rows, spare = draw(20, {"a": 5, "b": 3}, 7, 0.4)["b"]
    assert (rows.tolist(), spare.tolist()) == ([4, 9, 15], [0, 3])


def test_pictures_with_many_rows_are_drawn_no_sooner():
    pictures = groups([1] * 2000 + [10] * 200)
    many = np.bincount(pictures, minlength=4000)[pictures] == 10
    shares = [many[draw_pictures(pictures, {"a": 1000}, s, 0)["a"].rows].mean() for s in range(9)]
    assert abs(np.mean(shares) - 0.5) < 0.05


def test_a_pool_that_pictures_make_too_small_is_refused():
    with pytest.raises(UserError, match="no two splits may show the same picture"):
        draw_pictures(np.zeros(610, int), ROWS, 0, 0.0)
    drawn = draw_pictures(np.zeros(610, int), {"pretrain": 600}, 0, 1.0)
    assert len(drawn["pretrain"].spare) == 10
