"""How well the scan tells poisoned models from clean ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from taclean.results.labels import CLEAN, Look, ordered
from taclean.util.errors import UserError
from taclean.util.files import read_json, replacing

COLUMNS = (
    *("attack", "defense", "seed", "target"),
    *("named", "score", "margin", "rank", "target_score"),
)


def read_scans(paths: Sequence[Path | str], runs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A row for each scanned model.

    Columns: attack ("clean": never poisoned), defense, seed; target of the attacks; the class
    `named` by the scan, its `score`, and its `margin` by the probe that gets it furthest: the
    cosine above that of the best other class; `rank` (1: named) and `target_score` of the target
    among the classes, empty where it was not scanned.

    Raises:
        UserError: a file is no scan.
    """
    rows = []
    for path, run in zip(paths, runs, strict=True):
        scan = read_json(path)
        try:
            probes = scan["probes"].values()
            scores, margins = (
                np.array([probe[key] for probe in probes]).max(0) for key in ("anomaly", "margin")
            )
            margin = float(margins[scan["classes"].index(scan["named"])])
            rank = own = None
            if scan["target"] in scan["classes"]:
                own = float(scores[scan["classes"].index(scan["target"])])
                rank = 1 + int((scores > own).sum())
            row = {key: scan[key] for key in ("target", "named", "score")}
            rows.append({**run, **row, "margin": margin, "rank": rank, "target_score": own})
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: not a scan ({error!r}); scan that model again") from None
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"rank": "Int64"})


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """The chance that a positive's score is above a negative's; equal ones count half."""
    above = np.sign(np.subtract.outer(np.asarray(positive), np.asarray(negative)))
    return float((above + 1).mean() / 2)


def markdown(table: pd.DataFrame, look: Look) -> str:
    """The table by model, and what it comes to: AUC, models whose target was named, misses.

    The margin came in after the score had been seen on the default's models, which it tells apart
    better; what it is worth on others is to be measured.
    """
    clean = table[table.attack == CLEAN]
    poisoned = table[table.attack != CLEAN]
    lines = [
        "| Model | Seed | Class named | Score | Margin | Rank of the target |",
        "|:--|--:|:--|--:|--:|--:|",
    ]
    for attack in ordered(table.attack, [*look.attacks]):
        for row in table[table.attack == attack].to_dict("records"):
            rank = "–" if attack == CLEAN or pd.isna(row["rank"]) else row["rank"]
            numbers = (f"{row['score']:.1f}", f"{row['margin']:+.2f}", rank)
            cells = (look.attack_label(attack), row["seed"], row["named"], *numbers)
            lines.append(f"| {' | '.join(map(str, cells))} |")
    told = []
    if len(clean) and len(poisoned):
        highest = clean.score.max()
        told.append(
            f"AUC of the score, {len(poisoned)} poisoned against {len(clean)} clean models: "
            f"**{auc([*poisoned.score], [*clean.score]):.2f}**. Of the margin: "
            f"{auc([*poisoned.margin], [*clean.margin]):.2f}."
        )
        below = poisoned[poisoned.score <= highest]
        told.append(_misses(f"not above the highest clean score ({highest:.1f})", below, look))
    if len(poisoned):
        right = poisoned[poisoned["rank"] == 1]
        told.append(f"The target is named in {len(right)} of {len(poisoned)} poisoned models.")
        told.append(_misses("another class is named", poisoned[poisoned["rank"] != 1], look))
    return "\n".join([*lines, "", *(f"{line}\n" for line in told)])


def _misses(what: str, rows: pd.DataFrame, look: Look) -> str:
    pairs = zip(rows["attack"], rows["seed"], strict=True)
    names = [f"{look.attack_label(attack)} (seed {seed})" for attack, seed in pairs]
    return f"Misses, {what}: {', '.join(names) or 'none'}."


def write_scans(table: pd.DataFrame, look: Look, csv: Path | str, told: Path | str) -> None:
    """Write the table and what it comes to, each whole or not at all."""
    with replacing(csv) as temporary:
        table.to_csv(temporary, index=False, float_format="%.4f", lineterminator="\n")
    with replacing(told) as temporary:
        temporary.write_text(markdown(table, look), "utf-8")
