"""Drawing of splits: disjoint, from one seed, with spare rows and a wanted overlap."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pytest

from taclean.data.draw import draw
from taclean.errors import UserError

ROWS = {"pretrain": 500, "clean": 100, "patch": 10}


def refused(total: int, rows: Mapping[str, int], spare: float = 0.0, overlap: float = 0.0) -> str:
    with pytest.raises(UserError) as caught:
        draw(total, rows, 0, spare, overlap)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_splits_have_their_rows_and_nothing_twice():
    drawn = draw(1000, ROWS, 3, 0.05)
    assert {name: len(split.rows) for name, split in drawn.items()} == ROWS
    assert {name: len(split.spare) for name, split in drawn.items()} == {
        "pretrain": 25,
        "clean": 5,
        "patch": 1,  # rounded up
    }
    everything = np.concatenate([part for split in drawn.values() for part in split])
    assert len(np.unique(everything)) == len(everything)
    assert everything.min() >= 0
    assert everything.max() < 1000
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
        assert (first[name].rows == again[name].rows).all()
        assert (first[name].spare == again[name].spare).all()
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
    everything = np.concatenate([part for split in drawn.values() for part in split])
    assert len(np.unique(everything)) == len(everything)


@pytest.mark.parametrize("overlap", [0.25, 1.0])
def test_the_clean_split_takes_its_overlap_from_pretrain_and_nothing_else_is_shared(overlap):
    drawn = draw(1000, ROWS, 0, 0.1, overlap)
    shared = np.isin(drawn["clean"].rows, drawn["pretrain"].rows)
    assert shared.sum() == overlap * 100
    assert len(np.unique(drawn["clean"].rows)) == 100
    if overlap < 1:  # mixed: neither end of the drawn order is all shared or all fresh
        assert 0 < shared[:40].sum() < 40
    parts = {(name, i): part for name, split in drawn.items() for i, part in enumerate(split)}
    for (a, rows), (b, others) in itertools.combinations(parts.items(), 2):
        if {a, b} != {("clean", 0), ("pretrain", 0)}:
            assert not np.isin(rows, others).any(), (a, b)


def test_an_overlap_needs_a_smaller_pool():
    assert "610" in refused(609, ROWS)
    draw(510, ROWS, 0, 0, 1.0)
    assert "510" in refused(509, ROWS, overlap=1.0)


def test_what_cannot_be_drawn_is_refused():
    assert "'clean'" in refused(100, {"clean": 0})
    assert "spare" in refused(100, {"clean": 1}, spare=-0.1)
    assert "overlap" in refused(1000, ROWS, overlap=1.5)
    assert "'pretrain'" in refused(1000, {"clean": 10}, overlap=0.5)
    assert "lower overlap" in refused(1000, {"pretrain": 10, "clean": 100}, overlap=0.5)
