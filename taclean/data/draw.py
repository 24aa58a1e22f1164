"""Which rows of a source go into which split: disjoint, from one seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from taclean.util.errors import UserError
from taclean.util.rng import permutation

_ROWS, _OVERLAP = 0xD4A, 0xD4B  # name the random streams


class Drawn(NamedTuple):
    """Row ids of one split in drawn order: its own, and those that stand in for broken ones."""

    rows: np.ndarray
    spare: np.ndarray


def draw(
    total: int,
    rows: Mapping[str, int],
    seed: int,
    spare: float,
    overlap: float = 0.0,
    pictures: np.ndarray | None = None,
    clean: str = "clean",
    pretrain: str = "pretrain",
) -> dict[str, Drawn]:
    """Draw disjoint rows for every split from a pool of `total` rows.

    The splits take their rows from one permutation of the pool, in the order of the mapping, and
    the spare rows follow behind all of them. So a split's rows depend on `seed`, `total` and the
    sizes of the splits before it; a split added at the end changes spare rows only.

    Args:
        rows: rows of each split.
        spare: spare rows as a share of each split's rows, rounded up. Where the pool has fewer
            left, all splits get the same share of what they asked for, rounded down.
        overlap: share of the split `clean` (rounded) that is taken from the rows of `pretrain`
            instead of fresh ones, as in the literature, where both come from the same pairs.
        clean, pretrain: the names of those two.
        pictures: (total,) for each row the first row that shows the same picture (see
            `index_pictures`). Two splits never share a picture then, but for the overlap: the rows
            of a picture stand together, and those that a split has no more room for are the first
            of its spare rows. None: every row has a picture of its own.

    Returns:
        {split: (rows, spare)}, int64 in drawn order. Nothing is in two lists but the overlap.

    Raises:
        UserError: the pool is too small, or a number is out of range.
    """
    for name, count in rows.items():
        if count < 1:
            raise UserError(f"split {name!r}: {count} rows; give it at least 1")
    if spare < 0:
        raise UserError(f"spare: {spare:g} is no share of rows; give 0 or more")
    if not 0 <= overlap <= 1:
        raise UserError(f"overlap: {overlap:g} is no share; give a number from 0 to 1")
    shared = 0
    if overlap:
        if missing := {clean, pretrain} - rows.keys():
            raise UserError(f"overlap: needs a split {sorted(missing)[0]!r}; set overlap to 0")
        shared = round(overlap * rows[clean])
        if shared > rows[pretrain]:
            raise UserError(
                f"overlap: {shared} rows of {clean!r} cannot be among the {rows[pretrain]} of "
                f"{pretrain!r}; lower overlap or the rows of {clean!r}"
            )
    fresh = {name: count - shared * (name == clean) for name, count in rows.items()}
    pool, starts = _pool(total, seed, pictures)

    def next_picture(at: int) -> int:
        """The place from `at` on where a picture's rows start."""
        place = int(np.searchsorted(starts, at))
        return int(starts[place]) if place < len(starts) else total

    taken: dict[str, np.ndarray] = {}
    left_over: dict[str, np.ndarray] = {}  # of the last picture of a split
    start = 0
    for name, count in fresh.items():
        taken[name] = pool[start : start + count]
        end = next_picture(start + count)
        left_over[name] = pool[start + count : end]
        start = end
    if any(len(taken[name]) < count for name, count in fresh.items()):
        counts = ", ".join(f"{name} {count}" for name, count in rows.items())
        apart = " and no two splits may show the same picture" if pictures is not None else ""
        raise UserError(
            f"splits: {sum(fresh.values())} rows wanted ({counts}) but the source has {total}"
            f"{apart}; lower the rows or add shards"
        )
    if shared:
        both = np.concatenate([taken[pretrain][:shared], taken[clean]])
        # Mixed, so that every prefix of the split has the overlap of the whole.
        taken[clean] = both[permutation(len(both), seed, _OVERLAP)]
    wanted = {name: math.ceil(spare * count) for name, count in rows.items()}
    first_spares = {name: left_over[name][:count] for name, count in wanted.items()}
    wanted = {name: count - len(first_spares[name]) for name, count in wanted.items()}
    left, asked = total - start, sum(wanted.values())
    if asked > left:
        wanted = {name: left * count // asked for name, count in wanted.items()}
    drawn: dict[str, Drawn] = {}
    for name, count in wanted.items():
        spares = np.concatenate([first_spares[name], pool[start : start + count]])
        drawn[name] = Drawn(taken[name].astype(np.int64), spares.astype(np.int64))
        start = next_picture(start + count)
    return drawn


def _pool(total: int, seed: int, pictures: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """All rows, shuffled, those of a picture together, and the places where pictures start."""
    pool = permutation(total, seed, _ROWS)
    if pictures is None:
        return pool, np.arange(total)
    place = np.empty(total, np.int64)
    place[pool] = np.arange(total)
    # A picture stands where its first row does, so that one with many rows is drawn no sooner.
    places = place[pictures[pool]]
    order = np.argsort(places, kind="stable")
    return pool[order], np.flatnonzero(np.diff(places[order], prepend=-1))
