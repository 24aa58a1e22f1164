"""Means with 95 % intervals, spread over victims and cleanings, and paired differences.

A victim is one poisoned model, which has an attack and a seed; it may be cleaned several times. The
model that was never poisoned counts as one victim for all seeds, unless `base.per_seed` gives each
seed a base model of its own: then its clean accuracy differs between seeds.

The unit is the seed, since its victims may share a base model: its cleanings are averaged, then its
attacks, and intervals are over seeds. Fewer than FEWEST_SEEDS give no interval.

A difference is settled if its 95 % interval does not contain 0; otherwise it is open.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from taclean.results.labels import CLEAN, FEWEST_SEEDS, NONE, Look, ordered
from taclean.results.table import CA, pick

LEVEL = 0.95
CELL = ["attack", "defense", "split", "metric"]
SPREAD = [*CELL, "mean", "sd_repeats", "sd_victims", "victims", "repeats"]
PAIRED = ["attack", "defense", "against", "split", "metric"]
PAIRED += ["difference", "low", "high", "n", "settled"]
NEW_VICTIMS = ["attack", "defense", "seed", "metric", "percent", "low", "high", "inside"]


class Estimate(NamedTuple):
    """The mean of `n` seeds and the half-width of its 95 % interval, NaN for few seeds."""

    mean: float
    half: float
    n: int


def half_width(values: Sequence[float] | pd.Series) -> float:
    """Return half of the 95 % interval of a mean (Student's t); NaN below FEWEST_SEEDS values."""
    n = len(values)
    if n < FEWEST_SEEDS:
        return math.nan
    return float(stdtrit(n - 1, (1 + LEVEL) / 2) * np.std(values, ddof=1) / math.sqrt(n))


def _own_bases(table: pd.DataFrame) -> bool:
    bases = pick(table, attack=CLEAN, defense=NONE, metric=CA).groupby("split")["percent"]
    return bool((bases.nunique() > 1).any())


def _victims(runs: pd.DataFrame, own_bases: bool) -> pd.Series:
    return runs["seed"].where((runs["attack"] != CLEAN) | own_bases, 0)


def estimate(runs: pd.DataFrame, own_bases: bool = False) -> Estimate | None:
    """Return the mean of some runs (attack, seed, percent) of one score; None without any.

    Only seeds with a score of every attack count, so that all are means over the same attacks.

    Args:
        own_bases: whether the model that was never poisoned is another one for each seed.
    """
    of_victims = runs["percent"].groupby([_victims(runs, own_bases), runs["attack"]]).mean()
    values = of_victims.unstack().dropna().mean(axis=1)
    return Estimate(values.mean(), half_width(values), len(values)) if len(values) else None


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return `estimate` of every score: columns CELL, mean, half, n."""
    seeds = _victims(table, _own_bases(table)).rename("seed")
    means = table["percent"].groupby([*(table[key] for key in CELL), seeds], sort=False).mean()
    cells = means.dropna().groupby(level=CELL, sort=False)
    return cells.agg(["mean", half_width, "size"]).set_axis(Estimate._fields, axis=1).reset_index()


def predicted(table: pd.DataFrame) -> pd.DataFrame:
    """Return the 95 % prediction interval of one more victim's score: columns CELL, low, high.

    A score with fewer than FEWEST_SEEDS victims is left out.
    """
    found = summary(table).dropna(subset="half")
    reach = found["half"] * (found["n"] + 1) ** 0.5
    return found[CELL].assign(low=found["mean"] - reach, high=found["mean"] + reach)


def difference(
    runs: pd.DataFrame, against: pd.DataFrame, own_bases: bool = False
) -> Estimate | None:
    """Return `estimate` of `runs` minus `against` on the same victims; None if they share none.

    Cleanings of a victim are paired by their repeat, which means the same order of the data, or
    with the only run of that victim.
    """
    repeated = all(part["repeat"].nunique() > 1 for part in (runs, against))
    keys = ["attack", "seed", "repeat"] if repeated else ["attack", "seed"]
    both = runs.merge(against[[*keys, "percent"]], on=keys, suffixes=("", "_against"))
    return estimate(both.assign(percent=both["percent"] - both["percent_against"]), own_bases)


def interval_text(table: pd.DataFrame) -> str:
    """Return what the interval of a mean is over, or why it has none; '' for one run of each.

    For example '95 % interval (Student's t) over 3 seeds, each the mean of 5 cleanings', or
    'no 95 % interval (n = 2, not enough)'.
    """
    seeds, repeats = table["seed"].nunique(), table["repeat"].nunique()
    if seeds >= FEWEST_SEEDS:
        each = f", each the mean of {repeats} cleanings" if repeats > 1 else ""
        return f"95 % interval (Student's t) over {seeds} seeds{each}"
    return f"no 95 % interval (n = {seeds}, not enough)" if max(seeds, repeats) > 1 else ""


def plus_minus(found: pd.DataFrame) -> pd.Series:
    """Return '87.6 ± 2.1' for each row of `summary`."""
    half = found["half"].map(" ± {:.1f}".format).where(found["half"].notna(), "")
    return found["mean"].map("{:.1f}".format) + half


def signed(found: pd.DataFrame, bold: bool = False) -> pd.Series:
    """Return '-1.4 (-2.1 to -0.8)' for each row of `differences`; `bold` marks settled ones."""
    low, high = (found[end].map("{:+.1f}".format) for end in ("low", "high"))
    ends = (" (" + low + " to " + high + ")").where(found["low"].notna(), "")
    text = found["difference"].map("{:+.1f}".format) + ends
    return text.mask(found["settled"] & bold, "**" + text + "**")


def _first(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["metric"].str.endswith("@1")]


def spread(table: pd.DataFrame) -> pd.DataFrame:
    """Return the spread of every score @1 in percent: columns SPREAD.

    `sd_repeats` is the standard deviation over the cleanings of a victim, pooled over victims, and
    empty with one cleaning each. `sd_victims` is that between victims without the part that
    cleanings explain (one-way random effects, at least 0); with one cleaning each it includes that
    part. It is empty for one victim. `repeats` counts the cleanings of a victim.
    """
    own_bases, rows = _own_bases(table), []
    for cell, runs in _first(table).groupby(CELL, sort=False):
        of_victim = runs["percent"].groupby(_victims(runs, own_bases))
        means, free = of_victim.mean(), of_victim.count() - 1
        within = float((of_victim.var() * free).sum() / free.sum()) if free.sum() else math.nan
        by_chance = 0.0 if math.isnan(within) else (within / (free + 1)).mean()
        between = max(0.0, float(means.var()) - by_chance) if len(means) > 1 else math.nan
        spreads = (math.sqrt(within), math.sqrt(between))
        rows.append((*cell, means.mean(), *spreads, len(means), int(free.max()) + 1))
    return pd.DataFrame(rows, columns=SPREAD)


def new_victims(known: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Check whether new victims' scores lie in the 95 % prediction intervals of the known ones.

    Args:
        known: runs; a cell with fewer than FEWEST_SEEDS victims is left out.
        new: runs of other victims on the same split.

    Returns:
        A row for each new victim, defence and metric: columns NEW_VICTIMS.
    """
    means = new.groupby([*CELL, "seed"], sort=False)["percent"].mean().reset_index()
    found = means.merge(predicted(known), on=CELL)
    inside = found["percent"].between(found["low"], found["high"])
    return found.assign(inside=inside)[NEW_VICTIMS]


def differences(
    table: pd.DataFrame,
    pairs: Iterable[tuple[str, str]],
    by: Sequence[str] = ("attack", "split", "metric"),
) -> pd.DataFrame:
    """Return the difference of the two defences of each pair in each score: columns PAIRED.

    Differences are in points. `low` to `high` is the 95 % interval over `n` seeds; with fewer than
    FEWEST_SEEDS there is none, and nothing is settled.

    Args:
        pairs: a defence, and the one that is subtracted.
        by: what separates the scores. Without "attack", a seed is the mean of its attacks.
    """
    pairs, rows, own = list(pairs), [], _own_bases(table)
    for cell, runs in table.groupby([*by], sort=False):
        for defense, against in pairs:
            found = difference(pick(runs, defense=defense), pick(runs, defense=against), own)
            rows += [(*cell, defense, against, *found)] if found else []
    columns = [*by, "defense", "against", "difference", "half", "n"]
    table = pd.DataFrame(rows, columns=columns).astype({"difference": float, "half": float})
    mean, half = table["difference"], table["half"]
    table = table.assign(low=mean - half, high=mean + half, settled=mean.abs() > half)
    return table.reindex(columns=PAIRED)


def paired(table: pd.DataFrame, look: Look | None = None) -> pd.DataFrame:
    """Return `differences` of each defence from each one before it, by score @1."""
    defenses = ordered(table["defense"], (look or Look()).defenses)
    pairs = [(defense, against) for against, defense in itertools.combinations(defenses, 2)]
    return differences(_first(table), pairs)
