"""Which rows of a source go into which split: disjoint, from one seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from taclean.errors import UserError
from taclean.rng import permutation

_ROWS, _OVERLAP = 0xD4A, 0xD4B  # name the random streams


class Drawn(NamedTuple):
    """Row ids of one split in drawn order: its own, and those that stand in for broken ones."""

    rows: np.ndarray
    spare: np.ndarray


def draw(
    total: int, rows: Mapping[str, int], seed: int, spare: float, overlap: float = 0.0
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
        if missing := {"clean", "pretrain"} - rows.keys():
            raise UserError(f"overlap: needs a split {sorted(missing)[0]!r}; set overlap to 0")
        shared = round(overlap * rows["clean"])
        if shared > rows["pretrain"]:
            raise UserError(
                f"overlap: {shared} rows of 'clean' cannot be among the {rows['pretrain']} of "
                "'pretrain'; lower overlap or the rows of 'clean'"
            )
    fresh = {name: count - shared * (name == "clean") for name, count in rows.items()}
    needed = sum(fresh.values())
    if needed > total:
        counts = ", ".join(f"{name} {count}" for name, count in rows.items())
        raise UserError(
            f"splits: {needed} rows wanted ({counts}) but the source has {total}; "
            "lower the rows or add shards"
        )
    pool = permutation(total, seed, _ROWS)
    taken: dict[str, np.ndarray] = {}
    start = 0
    for name, count in fresh.items():
        taken[name] = pool[start : start + count]
        start += count
    if shared:
        both = np.concatenate([taken["pretrain"][:shared], taken["clean"]])
        # Mixed, so that every prefix of the split has the overlap of the whole.
        taken["clean"] = both[permutation(len(both), seed, _OVERLAP)]
    wanted = {name: math.ceil(spare * count) for name, count in rows.items()}
    left, asked = total - needed, sum(wanted.values())
    if asked > left:
        wanted = {name: left * count // asked for name, count in wanted.items()}
    drawn: dict[str, Drawn] = {}
    for name, count in wanted.items():
        drawn[name] = Drawn(taken[name].astype(np.int64), pool[start : start + count].astype("i8"))
        start += count
    return drawn
