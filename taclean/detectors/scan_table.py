"""A table of how well the scan tells poisoned models from clean ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from taclean.detectors.roc import auc
from taclean.results.labels import CLEAN, Look, ordered
from taclean.results.table import markdown_table
from taclean.util.files import read_json

COLUMNS = "attack defense seed target named score margin rank target_score".split()


def read_scans(paths: Sequence[Path | str], runs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a row for each scanned model: columns COLUMNS.

    `attack` is "clean" for a model that was never poisoned. `named` is the class that the scan
    names and `score` its score. `margin` is its cosine above that of the best other class, under
    the probe where this is largest. `rank` (1: named) and `target_score` are those of the attacks'
    `target`, empty if the target was not scanned.

    Args:
        paths: the file of each scan.
        runs: the attack, defense and seed of each scan.
    """
    rows = []
    for path, run in zip(paths, runs, strict=True):
        scan = read_json(path)
        probes = pd.DataFrame(list(scan["probes"].values()))
        scores, margins = (np.max(probes[key].tolist(), 0) for key in ("anomaly", "margin"))
        of_class = dict(zip(scan["classes"], zip(scores, margins, strict=True), strict=True))
        own = of_class[scan["target"]][0] if scan["target"] in of_class else None
        rank = None if own is None else 1 + int((scores > own).sum())
        found = {"margin": of_class[scan["named"]][1], "rank": rank, "target_score": own}
        rows.append({**run, **{key: scan[key] for key in ("target", "named", "score")}, **found})
    return pd.DataFrame(rows, columns=COLUMNS).astype({"rank": "Int64"})


def markdown(table: pd.DataFrame, look: Look) -> str:
    """Return the table by model, then the AUC, how often the target was named, and the misses.

    The margin was chosen on 16 models, which it separates better than the score does; on others
    the score is better (docs/own_model.md).
    """
    clean, poisoned = table[table["attack"] == CLEAN], table[table["attack"] != CLEAN]
    order = ordered(table["attack"], look.attacks)
    shown = table.sort_values("attack", key=lambda names: names.map(order.index), kind="stable")
    rank = shown["rank"].astype("Int64").astype("object").where(shown["rank"].notna(), "–")
    rows = pd.DataFrame(
        {
            "Model": shown["attack"].map(look.attack_label),
            "Seed": shown["seed"],
            "Class named": shown["named"],
            "Score": shown["score"].map("{:.1f}".format),
            "Margin": shown["margin"].map("{:+.2f}".format),
            "Rank of the target": rank.where(shown["attack"] != CLEAN, "–"),
        }
    )
    lines = []
    if len(clean) and len(poisoned):
        highest = clean["score"].max()
        score, margin = (auc([*poisoned[key]], [*clean[key]]) for key in ("score", "margin"))
        lines = [
            f"AUC of the score, {len(poisoned)} poisoned against {len(clean)} clean models: "
            f"**{score:.2f}**. AUC of the margin: {margin:.2f}.",
            f"Misses, not above the highest clean score ({highest:.1f}): "
            f"{_models(poisoned[poisoned['score'] <= highest], look)}.",
        ]
    if len(poisoned):
        right = poisoned["rank"] == 1
        lines += [
            f"The target is named in {right.sum()} of {len(poisoned)} poisoned models.",
            f"Misses, another class is named: {_models(poisoned[~right.fillna(False)], look)}.",
        ]
    return "\n\n".join([markdown_table(rows), *lines]) + "\n"


def _models(rows: pd.DataFrame, look: Look) -> str:
    pairs = zip(rows["attack"], rows["seed"], strict=True)
    return ", ".join(f"{look.attack_label(a)} (seed {s})" for a, s in pairs) or "none"
