"""Compare victims of other seeds with docs/results.md: python -m docs.held_back TABLE

TABLE is results/table.csv of a run of config/evidence.yaml with seeds of your own.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from docs.runs import ROOT, Run
from taclean.results import statistics as stats
from taclean.results.labels import CLEAN, Look
from taclean.results.table import ASR, CA, main_split, pick, read_table, seeds_text
from taclean.util.errors import UserError


def expected(known: pd.DataFrame) -> pd.DataFrame:
    """Return the 95 % prediction interval of one more victim's score: columns CELL, low, high.

    A score with fewer than FEWEST_SEEDS victims is left out.
    """
    found = stats.summary(known).dropna(subset="half")
    reach = found["half"] * (found["n"] + 1) ** 0.5
    return found[stats.CELL].assign(low=found["mean"] - reach, high=found["mean"] + reach)


def against(known: pd.DataFrame, table: pd.DataFrame, look: Look) -> pd.DataFrame:
    """Compare CA@1 and ASR@1 of new victims, in `table`, with those that are `known`.

    A UserError says that a seed is one of the known ones, or that there is no score to compare.
    """
    if shared := sorted(set(known["seed"]) & set(table["seed"])):
        known_seeds = seeds_text(known["seed"])
        raise UserError(f"seed {shared[0]} is one of the evidence ({known_seeds}); take others")
    split = main_split(known, look)
    parts = [pick(scores, split=split) for scores in (known, table)]
    parts = [part[part["metric"].isin([CA, ASR]) & (part["attack"] != CLEAN)] for part in parts]
    found = stats.victims(parts[1]).merge(expected(parts[0]), on=stats.CELL)
    if found.empty:
        raise UserError(f"no CA@1 or ASR@1 on {split!r} of an attack and a defence of the evidence")
    return found.assign(inside=found["percent"].between(found["low"], found["high"]))


def summary(found: pd.DataFrame) -> str:
    """Return how many scores lie in the ranges, by seed and in all, then those outside."""
    inside, seeds = found["inside"], found.groupby("seed")["inside"]
    lines = [f"seed {s}: {own.sum()} of {len(own)} scores in the ranges" for s, own in seeds]
    lines += [f"{inside.sum()} of {len(inside)} ({inside.mean():.1%}); 95% are expected"]
    if not inside.all():
        others = found[~inside].drop(columns=["split", "inside"]).round(1)
        lines += ["outside:", others.to_string(index=False)]
    return "\n".join(lines)


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(prog="python -m docs.held_back", description=__doc__)
    parser.add_argument("table", type=Path, help="table.csv of a run with seeds of your own")
    table, evidence = parser.parse_args().table, Run(ROOT, "evidence")
    try:
        print(summary(against(evidence.table, read_table(table), evidence.look)))
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
