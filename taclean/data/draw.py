"""Draw the rows of each split from a source: disjoint, from one seed."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from taclean.util.errors import UserError
from taclean.util.rng import permutation

_ROWS = 0xD4A  # names the random stream


def shown_labels(names: Sequence[str], cover: float = 1.0, without: str = "") -> list[int]:
    """Return the labels of a share of the classes, at least two, evenly spread, but `without`."""
    count = max(2, round(cover * len(names)))
    spread = (np.arange(count) * len(names) // count).tolist()
    return [label for label in spread if names[label] != without]


def within(
    table: pd.DataFrame, names: Sequence[str], cover: float = 1.0, without: str = ""
) -> pd.Series:
    """Return (N,) bool, the rows that show a share of the classes, or captions without a text.

    The labels count `names` if the source has no classes of its own.
    """
    captions = table["caption"]
    if captions.notna().any():
        named = captions.fillna("").str.contains(without, case=False, regex=False) & (without != "")
    else:
        shown = shown_labels(table.attrs["classes"] or names, cover, without)
        named = ~table["label"].isin(shown)
    return ~named.groupby(table["picture"].to_numpy()).transform("any")  # no picture is in two


class Drawn(NamedTuple):
    """Rows of a split in drawn order: its own, and those that can replace broken ones."""

    rows: np.ndarray
    spare: np.ndarray


def draw(
    pictures: pd.Series | np.ndarray,
    rows: Mapping[str, int],
    seed: int,
    spare: float,
    only: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Drawn]:
    """Draw disjoint rows for every split; no picture is in two. Refuse a source with too few rows.

    The splits take their rows from one permutation of the source, in the order of the mapping; the
    spare rows follow behind all of them. So a split's rows depend on `seed`, the source and the
    sizes of the splits before it; a split added at the end changes spare rows only. The last
    picture of a split may have more rows than fit; the rest are its first spare rows.

    Args:
        pictures: (N,) for each row of the source a number of the picture that it shows.
        spare: spare rows as a share of each split's rows, rounded up. If too few rows are left, all
            splits get the same share of what they asked for, rounded down.
        only: for some splits, (N,) bool, the rows that they may take, the same within a picture.
    """
    total = len(pictures)
    place = np.empty(total, np.int64)
    place[permutation(total, seed, _ROWS)] = np.arange(total)
    # A picture stands where its first row does: one with many rows is drawn no sooner than others.
    group = pd.Series(place).groupby(np.asarray(pictures)).transform("first").to_numpy()
    pool = np.lexsort([place, group])
    several = len(np.unique(group)) < total

    def next_picture(at: int) -> int:
        """Return the place of the first row at or behind `at` of another picture."""
        if not 0 < at < total:
            return at
        return at + int(np.sum(group[pool[at:]] == group[pool[at - 1]]))

    taken, left_over, start = {}, {}, 0
    for name, count in rows.items():
        there, limit = total - start, (only or {}).get(name)
        if limit is not None:  # what it may take comes first
            may = limit[rest := pool[start:].copy()]
            pool[start:], there = np.append(rest[may], rest[~may]), int(may.sum())
        if count > there:
            counts = ", ".join(f"{name} {count}" for name, count in rows.items())
            apart = " and no two splits may show the same picture" * several
            text = f"{sum(rows.values())} rows wanted ({counts}) but the source has {total}{apart}"
            raise UserError(f"splits: {text}, {there} left for {name}; lower rows or add shards")
        end = next_picture(start + count)
        taken[name], left_over[name] = pool[start : start + count], pool[start + count : end]
        if limit is not None:  # the next split has the drawn order again
            pool[end:] = rest[~np.isin(rest, pool[start:end])]
        start = end
    first = {name: left_over[name][: math.ceil(spare * count)] for name, count in rows.items()}
    wanted = {name: math.ceil(spare * count) - len(first[name]) for name, count in rows.items()}
    left, asked = total - start, sum(wanted.values())
    drawn = {}
    for name, count in wanted.items():
        count = count if asked <= left else left * count // asked
        spares = np.append(first[name], pool[start : start + count])
        if only and name in only:
            spares = spares[only[name][spares]]
        drawn[name] = Drawn(taken[name], spares)
        start = next_picture(min(start + count, total))
    return drawn
