"""Compare victims of other seeds with docs/results.md: python -m docs.held_back TABLE

TABLE is results/table.csv of a run of config/evidence.yaml with seeds of your own.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from docs.runs import ROOT, Run
from taclean.results.labels import CLEAN, Look
from taclean.results.statistics import NEW_VICTIMS, new_victims
from taclean.results.table import ASR, CA, main_split, pick, read_table, seeds_text
from taclean.util.errors import UserError


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
    found = new_victims(*parts)
    if found.empty:
        raise UserError(f"no CA@1 or ASR@1 on {split!r} of an attack and a defence of the evidence")
    return found


def summary(found: pd.DataFrame) -> str:
    """Return how many scores lie in the ranges, by seed and in all, then those outside."""
    inside, seeds = found["inside"], found.groupby("seed")["inside"]
    lines = [f"seed {s}: {own.sum()} of {len(own)} scores in the ranges" for s, own in seeds]
    lines += [f"{inside.sum()} of {len(inside)} ({inside.mean():.1%}); 95% are expected"]
    if not inside.all():
        lines += ["outside:", found.loc[~inside, NEW_VICTIMS[:-1]].round(1).to_string(index=False)]
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
