"""Settings of the defences, chosen on val by the same rule from equally many trials.

A score is the one in the history after the last epoch; a victim's is the one before the first.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import yaml

from taclean.results.table import ASR, CA, RUN, pick, seeds_text

TRIAL = ["defense", "trial", "overrides"]
SCORES = ["CA", "ASR", "TA", "victim_CA", "victim_ASR"]
GRID = [*TRIAL, "attack", "seed", *SCORES]


def grid(histories: pd.DataFrame, runs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a row for each trial, attack and seed, in percent: columns GRID.

    Args:
        histories: RUN, epoch, CA@1, ASR@1 and TA@1 of each cleaning.
        runs: the defense, trial (a number), overrides, attack and seed of each, in that order.
    """
    courses = histories.groupby(RUN, sort=False)[[CA, ASR, "TA@1"]]
    scores = courses.last().join(courses.first().add_prefix("victim_")).reset_index(drop=True)
    found = pd.DataFrame(runs).join(scores.rename(columns=lambda name: name.removesuffix("@1")))
    return found.assign(overrides=found["overrides"].map(json.dumps))[GRID]


def choose(grid: pd.DataFrame, within: float) -> pd.DataFrame:
    """Return a row for each trial: its means over attacks and seeds, `kept`, `chosen` and `oracle`.

    A trial is kept if its CA@1 is at most `within` points below the victims'. For each defence,
    the kept trial with the largest learning rate is chosen, since a defender cannot see ASR;
    `oracle` is the kept trial with the lowest ASR@1. Among equals it is the one with the highest
    CA@1, and if no trial is kept, the one that loses the least clean accuracy. The rate of a trial
    that changes none counts as the lowest.
    """
    trials = grid.groupby(TRIAL, sort=False)[SCORES].mean().reset_index()
    lost = (trials["victim_CA"] - trials["CA"]).round(9)
    trials["kept"] = lost <= within
    rate = trials["overrides"].map(lambda text: json.loads(text).get("train", {}).get("lr", 0.0))
    for name, first in (("chosen", -rate), ("oracle", trials["ASR"])):
        order = trials.assign(first=first.where(trials["kept"], lost), lost=lost)
        order = order.sort_values(["kept", "first", "lost"], ascending=[False, True, True])
        trials[name] = trials.index.isin(order.groupby("defense").head(1).index)
    return trials


def overlay(grid: pd.DataFrame, within: float) -> str:
    """Return the chosen settings as a config overlay, with comments on how they were chosen."""
    trials = choose(grid, within)
    lines = [
        f"Chosen on val over {', '.join(dict.fromkeys(grid['attack']))} "
        f"({seeds_text(grid['seed'])}) from {trials['defense'].value_counts().max()} trials each:",
        f"the largest learning rate whose mean CA@1 is within {within:g} points of the victims'.",
    ]
    chosen = trials[trials["chosen"]].to_dict("records")
    oracles = pick(trials, oracle=True).set_index("defense")
    for row in chosen:
        best = oracles.loc[row["defense"]]
        lost = "" if row["kept"] else f"; no trial is within {within:g} points, it loses the least"
        lines.append(
            f"{row['defense']}: trial {row['trial']}, CA@1 {row['CA']:.1f} (victims "
            f"{row['victim_CA']:.1f}), ASR@1 {row['ASR']:.1f}, TA@1 {row['TA']:.1f}{lost}"
        )
        if best["trial"] != row["trial"]:
            lines[-1] += (
                f"; trial {best['trial']} has ASR@1 {best['ASR']:.1f}, which no defender sees"
            )
    entries = {row["defense"]: json.loads(row["overrides"]) for row in chosen}
    head = "".join(f"# {line}\n" for line in lines)
    return head + yaml.safe_dump({"defenses": entries}, sort_keys=False, default_flow_style=None)
