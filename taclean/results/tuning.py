"""Settings of the defences, chosen on val: for all the same number of trials and the same rule.

Scores are those that a training writes after its last epoch; a victim's are those before the first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from taclean.results.table import read_csv, seeds_text
from taclean.util.files import replacing

TRIAL = ["defense", "trial", "overrides"]
SCORES = ["CA", "ASR", "TA", "victim_CA", "victim_ASR"]
GRID = [*TRIAL, "attack", "seed", *SCORES]


def grid(histories: Sequence[Path | str], runs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row for each trial, attack and seed, in percent: columns GRID.

    Args:
        histories: the `history.csv` of each cleaning.
        runs: its defense, trial (a number), overrides, attack and seed.

    Raises:
        UserError: a history is missing, or lacks a score.
    """
    rows = []
    for path, run in zip(histories, runs, strict=True):
        history = read_csv(path, ["epoch", "CA@1", "ASR@1", "TA@1"])
        first, last = history.iloc[0], history.iloc[-1]
        rows.append(
            {
                **run,
                "overrides": json.dumps(run["overrides"]),
                **{name: last[f"{name}@1"] for name in ("CA", "ASR", "TA")},
                **{f"victim_{name}": first[f"{name}@1"] for name in ("CA", "ASR")},
            }
        )
    return pd.DataFrame(rows, columns=GRID)


def choose(grid: pd.DataFrame, within: float) -> pd.DataFrame:
    """One row for each trial: its means over attacks and seeds, `kept` and `chosen`.

    `kept`: its CA@1 is at most `within` points below the victims'. Of each defence's kept trials
    the one with the lowest ASR@1 is chosen (of equal ones that with the higher CA@1); where none
    is kept, the one that loses least.
    """
    trials = grid.groupby(TRIAL, sort=False)[SCORES].mean().reset_index()
    lost = (trials["victim_CA"] - trials["CA"]).round(9)
    trials["kept"] = lost <= within
    order = trials.assign(first=trials["ASR"].where(trials["kept"], lost), lost=lost)
    order = order.sort_values(["kept", "first", "lost"], ascending=[False, True, True])
    trials["chosen"] = trials.index.isin(order.groupby("defense").head(1).index)
    return trials


def overlay(grid: pd.DataFrame, within: float) -> str:
    """What was chosen as a config overlay; its comments say how, and where nothing was kept."""
    trials = choose(grid, within)
    number = trials["defense"].value_counts().max()
    lines = [
        f"Chosen on val, over {', '.join(dict.fromkeys(grid['attack']))}; "
        f"{seeds_text(grid['seed'])}: of {number} trials each",
        f"the lowest mean ASR@1 whose mean CA@1 is within {within:g} points of the victims'.",
    ]
    chosen = trials[trials["chosen"]]
    for row in chosen.to_dict("records"):
        but = "" if row["kept"] else f"; none was within {within:g} points, it loses least"
        lines.append(
            f"{row['defense']}: trial {row['trial']}, CA@1 {row['CA']:.1f} (victims "
            f"{row['victim_CA']:.1f}), ASR@1 {row['ASR']:.1f}, TA@1 {row['TA']:.1f}{but}"
        )
    entries = {row["defense"]: json.loads(row["overrides"]) for row in chosen.to_dict("records")}
    head = "".join(f"# {line}\n" for line in lines)
    return head + yaml.safe_dump({"defenses": entries}, sort_keys=False, default_flow_style=None)


def write_overlay(grid: pd.DataFrame, within: float, path: Path | str) -> None:
    """Write `overlay`, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(overlay(grid, within), "utf-8")
