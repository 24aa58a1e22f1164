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

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from taclean.results.labels import CLEAN, FEWEST_SEEDS, NONE, Look, ordered
from taclean.results.table import CA, pick

LEVEL = 0.95
WIDE = 50.0  # points: half of an interval as wide as the scale, which excludes nothing
CELL = ["attack", "defense", "split", "metric"]
SPREAD = [*CELL, "mean", "sd_repeats", "sd_victims", "victims", "repeats"]
PAIRED = ["attack", "defense", "against", "split", "metric"]
PAIRED += ["difference", "low", "high", "n", "settled"]


def half_width(values: Sequence[float] | pd.Series) -> float:
    """Return half of the 95 % interval of a mean (Student's t); NaN below FEWEST_SEEDS values."""
    n = len(values)
    if n < FEWEST_SEEDS:
        return math.nan
    return float(stdtrit(n - 1, (1 + LEVEL) / 2) * np.std(values, ddof=1) / math.sqrt(n))


def _with_victims(table: pd.DataFrame) -> pd.DataFrame:
    """Add `victim`: the seed, or 0 for a model that was never poisoned and is that of all seeds."""
    bases = pick(table, attack=CLEAN, defense=NONE, metric=CA).groupby("split")["percent"]
    own = bool((bases.nunique() > 1).any())
    return table.assign(victim=table["seed"].where((table["attack"] != CLEAN) | own, 0))


def _estimates(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return the mean over seeds of each score of some runs: columns `by`, mean, half, n.

    Only seeds with a score of every attack count, so that all are means over the same attacks.
    """
    keys = dict.fromkeys([*by, "victim", "attack"])
    means = runs.groupby([*keys], sort=False)["percent"].mean().dropna().reset_index()
    attacks = means.groupby([*by], sort=False)["attack"].transform("nunique")
    seen = means.groupby([*by, "victim"], sort=False)["attack"].transform("size")
    seeds = means[seen == attacks].groupby([*by, "victim"], sort=False)["percent"].mean()
    found = seeds.groupby(level=[*by], sort=False).agg([pd.Series.mean, half_width, "size"])
    return found.set_axis(["mean", "half", "n"], axis=1).reset_index()


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of every score and half of its 95 % interval: columns CELL, mean, half, n."""
    return _estimates(_with_victims(table), CELL)


def victims(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of each poisoned model's cleanings: columns CELL, seed, percent."""
    return runs.groupby([*CELL, "seed"], sort=False)["percent"].mean().reset_index()


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


def half_text(half: float) -> str:
    """Return ' ± 2.1'; ' ± 50+' for an interval that excludes nothing, '' where there is none."""
    if math.isnan(half):
        return ""
    return f" ± {half:.1f}" if half < WIDE else f" ± {WIDE:g}+"


def ends_text(low: float, high: float) -> str:
    """Return ' (-2.1 to -0.8)', the ends of the interval that `half_text` tells."""
    half = (high - low) / 2
    return f" ({low:+.1f} to {high:+.1f})" if half < WIDE else half_text(half)


def plus_minus(found: pd.DataFrame) -> pd.Series:
    """Return '87.6 ± 2.1' for each row of `summary`."""
    return found["mean"].map("{:.1f}".format) + found["half"].astype(float).map(half_text)


def signed(found: pd.DataFrame, bold: bool = False) -> pd.Series:
    """Return '-1.4 (-2.1 to -0.8)' for each row of `differences`; `bold` marks settled ones."""
    ends = [*map(ends_text, found["low"].astype(float), found["high"].astype(float))]
    text = found["difference"].map("{:+.1f}".format) + pd.Series(ends, found.index, dtype=object)
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
    runs = _first(_with_victims(table)).groupby([*CELL, "victim"], sort=False)["percent"]
    found = runs.agg(["mean", "var", "count"]).assign(free=lambda victims: victims["count"] - 1)
    found["squares"], found["share"] = found["var"] * found["free"], 1 / found["count"]
    cells = found.groupby(level=CELL, sort=False)
    within = cells["squares"].sum() / cells["free"].sum()
    between = cells["mean"].var() - within.fillna(0) * cells["share"].mean()
    spreads = {"mean": cells["mean"].mean(), "sd_repeats": within**0.5}
    spreads |= {"sd_victims": between.clip(lower=0) ** 0.5}
    spreads |= {"victims": cells.size(), "repeats": cells["count"].max()}
    return pd.DataFrame(spreads).reset_index()[SPREAD]


def differences(
    table: pd.DataFrame,
    pairs: Iterable[tuple[str, str]],
    by: Sequence[str] = ("attack", "split", "metric"),
) -> pd.DataFrame:
    """Return the difference of the two defences of each pair in each score: columns PAIRED.

    Differences are in points, on the same victims. Cleanings of a victim are paired by their
    repeat, which means the same order of the data, or with the only run of that victim. `low` to
    `high` is the 95 % interval over `n` seeds; with fewer than FEWEST_SEEDS there is none, and
    nothing is settled.

    Args:
        pairs: a defence, and the one that is subtracted.
        by: what separates the scores. Without "attack", a seed is the mean of its attacks.
    """
    victim = ["attack", "split", "metric", "seed"]
    runs = _with_victims(table).assign(cell=table.groupby([*by], sort=False).ngroup())
    runs["alone"] = runs.groupby([*victim, "defense"])["repeat"].transform("nunique") == 1
    wanted = pd.DataFrame([*pairs], columns=["defense", "against"]).reset_index(names="pair")
    other = runs[[*victim, "defense", "repeat", "alone", "percent"]]
    other = other.rename(columns={"defense": "against"})
    both = runs.merge(wanted).merge(other, on=[*victim, "against"], suffixes=("", "_against"))
    same = (both["repeat"] == both["repeat_against"]) | both["alone"] | both["alone_against"]
    both = both[same].sort_values(["cell", "pair"], kind="stable")
    both["percent"] -= both["percent_against"]
    found = _estimates(both, [*by, "defense", "against"])
    mean, half = found["mean"], found["half"].astype(float)
    found = found.assign(difference=mean, low=mean - half, high=mean + half)
    return found.assign(settled=mean.abs() > half).reindex(columns=PAIRED)


def paired(table: pd.DataFrame, look: Look) -> pd.DataFrame:
    """Return `differences` of each defence from each one before it, by score @1."""
    defenses = ordered(table["defense"], look.defenses)
    pairs = [(defense, against) for against, defense in itertools.combinations(defenses, 2)]
    return differences(_first(table), pairs)
