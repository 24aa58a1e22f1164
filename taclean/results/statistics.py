"""How sure a score is: means with intervals, spread by victim and by cleaning, paired differences.

A victim is a poisoned model, one for each seed; it may be cleaned several times. The model that was
never poisoned is one victim, whatever the seed, unless each seed has a base model of its own
(`base.per_seed`): then its clean accuracy differs, which else is the same to the image.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from scipy.special import stdtrit

from taclean.results.labels import CLEAN, NONE, Look, ordered
from taclean.results.table import CA, pick

LEVEL = 0.95
CELL = ["attack", "defense", "split", "metric"]
SPREAD = [*CELL, "mean", "sd_repeats", "sd_victims", "victims", "repeats"]
PAIRED = [
    "attack", "defense", "against", "split", "metric", "difference", "low", "high", "n", "over",
    "settled",
]  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    """A mean and the half-width of its 95 % interval, None where there is one value.

    Attributes:
        n: values that the interval is of.
        over: what they are: "victims", each the mean of its cleanings, or the "runs" of one victim.
    """

    mean: float
    half: float | None
    n: int
    over: str

    @property
    def ends(self) -> tuple[float, float] | None:
        """The interval, from low to high."""
        return None if self.half is None else (self.mean - self.half, self.mean + self.half)

    @property
    def settled(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.half is not None and abs(self.mean) > self.half

    @property
    def further(self) -> tuple[float, float] | None:
        """Where one more value is expected with 95 %: values spread, and the mean errs, too."""
        if self.half is None:
            return None
        half = self.half * math.sqrt(self.n + 1)
        return (self.mean - half, self.mean + half)


def half_width(values: Sequence[float] | pd.Series) -> float | None:
    """Half of the 95 % interval of the mean of at least two values: Student's t, n - 1 degrees."""
    n = len(values)
    if n < 2:
        return None
    return float(stdtrit(n - 1, (1 + LEVEL) / 2) * pd.Series(values).std() / math.sqrt(n))


def _victims(runs: pd.DataFrame, bases: bool = False) -> pd.Series:
    return runs["seed"].where((runs["attack"] != CLEAN) | bases, 0)


def _bases(table: pd.DataFrame) -> bool:
    """Whether each seed has a base model of its own."""
    own = pick(table, attack=CLEAN, defense=NONE, metric=CA)
    return bool((own.groupby("split")["percent"].nunique() > 1).any())


def estimate(runs: pd.DataFrame) -> Estimate | None:
    """The mean of some runs (attack, seed, percent) of one score; None where there are none.

    Each victim has the same weight, those of several attacks, too.
    """
    if runs.empty:
        return None
    of_victims = runs["percent"].groupby([runs["attack"], _victims(runs)]).mean()
    many = len(of_victims) > 1
    values = of_victims if many else runs["percent"]
    over = "victims" if many else "runs"
    return Estimate(float(values.mean()), half_width(values), len(values), over)


def difference(runs: pd.DataFrame, against: pd.DataFrame) -> Estimate | None:
    """The mean of `runs` minus `against` on the same victims; None where they share none.

    The cleanings of a victim are paired by their repeat, which is the same order of data, or with
    its only run.
    """
    repeated = all(part["repeat"].nunique() > 1 for part in (runs, against))
    keys = ["attack", "seed", "repeat"] if repeated else ["attack", "seed"]
    both = runs.merge(against[[*keys, "percent"]], on=keys, suffixes=("", "_against"))
    return estimate(both.assign(percent=both["percent"] - both["percent_against"]))


def interval_text(table: pd.DataFrame) -> str:
    """What an interval is over: 'over 3 victims, each the mean of 5 cleanings'; '' for one run."""
    poisoned = table[table["attack"] != CLEAN]
    shown = poisoned if len(poisoned) else table
    victims, repeats = _victims(shown).nunique(), shown["repeat"].nunique()
    if victims > 1:
        each = f", each the mean of {repeats} cleanings" if repeats > 1 else ""
        return f"over {victims} victims{each}"
    runs = shown.groupby("defense")[["seed", "repeat"]].apply(lambda r: len(r.drop_duplicates()))
    return f"over {runs.max()} cleanings of one victim" if runs.max() > 1 else ""


def _first(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["metric"].str.endswith("@1")]


def spread(table: pd.DataFrame) -> pd.DataFrame:
    """The spread of every score @1, in percent: columns SPREAD.

    `sd_repeats` is the standard deviation over the cleanings of a victim, pooled over the victims;
    `sd_victims` that between victims, without what the cleanings add to it (one-way random
    effects, 0 where they explain it all); with one cleaning of each it cannot be told from them.
    `repeats` are the cleanings of each victim. Empty where there are not two.
    """
    rows, bases = [], _bases(table)
    for cell, runs in _first(table).groupby(CELL, sort=False):
        of_victim = runs["percent"].groupby(_victims(runs, bases))
        means, free = of_victim.mean(), of_victim.count() - 1
        within = float((of_victim.var() * free).sum() / free.sum()) if free.sum() else math.nan
        by_chance = 0.0 if math.isnan(within) else (within / (free + 1)).mean()
        between = max(0.0, float(means.var()) - by_chance) if len(means) > 1 else math.nan
        spreads = (math.sqrt(within), math.sqrt(between))
        rows.append((*cell, means.mean(), *spreads, len(means), int(free.max()) + 1))
    return pd.DataFrame(rows, columns=SPREAD)


LANDED = ["attack", "defense", "seed", "metric", "percent", "low", "high", "inside"]


def landed(known: pd.DataFrame, further: pd.DataFrame) -> pd.DataFrame:
    """Whether further victims fall where the known ones let expect them: columns LANDED.

    Args:
        known: runs of one split, of at least two victims in each cell that is to count.
        further: runs of other victims on the same split.
    """
    rows, cell = [], ["attack", "defense", "metric"]
    of_cell = dict(iter(known.groupby(cell)))
    for (*names, seed), runs in further.groupby([*cell, "seed"], sort=False):
        expected = estimate(of_cell.get(tuple(names), known[:0]))
        if expected is None or expected.further is None or expected.over != "victims":
            continue
        mean, (low, high) = float(runs["percent"].mean()), expected.further
        rows.append((names[0], names[1], seed, names[2], mean, low, high, low <= mean <= high))
    return pd.DataFrame(rows, columns=LANDED).astype({"inside": bool})


def paired(table: pd.DataFrame, look: Look | None = None) -> pd.DataFrame:
    """The difference of each defence from each before it, in points of a score @1: columns PAIRED.

    `low` to `high` is the 95 % interval over `n` victims or, of one victim, runs (`over`); settled
    where it leaves out 0. One pair has no interval and settles nothing.
    """
    defenses = ordered(table["defense"], (look or Look()).defenses)
    rows = []
    for (attack, split, metric), cell in _first(table).groupby(
        ["attack", "split", "metric"], sort=False
    ):
        for against, defense in itertools.combinations(defenses, 2):
            found = difference(pick(cell, defense=defense), pick(cell, defense=against))
            if found is None:
                continue
            ends = found.ends or (math.nan, math.nan)
            names = (attack, defense, against, split, metric)
            rows.append((*names, found.mean, *ends, found.n, found.over, found.settled))
    return pd.DataFrame(rows, columns=PAIRED)
