"""The trials of a tuning: what each defence can have of both."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from taclean.report.figures.style import (
    GREY,
    asr_axis,
    attack_name,
    defense_name,
    finish,
    head_height,
    legend_below,
    legend_height,
)
from taclean.results.labels import NONE, Look
from taclean.results.table import seeds_text
from taclean.results.tuning import choose

WIDTH = 6.0


def front(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials that no other has beaten in ASR and CA, by their ASR."""
    order = trials.sort_values(["ASR", "CA"], ascending=[True, False])
    return order[order["CA"] > order["CA"].cummax().shift(fill_value=float("-inf"))]


def tuning(grid: pd.DataFrame, within: float, look: Look | None = None) -> Figure:
    """Mean CA@1 against mean ASR@1 on val: a point per trial, a line per defence's best ones.

    Args:
        grid: of `taclean.results.tuning`.
        within: points of CA@1 that a choice may lose.
    """
    look = look or Look()
    trials = choose(grid, within)
    colours = look.colours(trials["defense"])
    victims = grid.drop_duplicates(["attack", "seed"])[["victim_CA", "victim_ASR"]].mean()
    attacks = ", ".join(attack_name(look, attack) for attack in dict.fromkeys(grid["attack"]))
    title, subtitle = (
        "What each defence can have of clean accuracy and safety",
        f"val split, means over {attacks}; {seeds_text(grid['seed'])}; a point: a trial, by its "
        "number; line: trials that no other of the defence beats; ringed: the chosen one",
    )
    names = {
        "victims": defense_name(look, NONE),
        "limit": f"{within:g} points below",
        "ring": "chosen",
        **{defense: defense_name(look, defense) for defense in colours},
    }
    height = 3.7 + head_height(title, subtitle, WIDTH) + legend_height(names.values(), WIDTH)
    figure, ax = plt.subplots(figsize=(WIDTH, height), layout="constrained")
    limit = victims["victim_CA"] - within
    ax.axhline(victims["victim_CA"], color=GREY, lw=1.0)
    ax.axhline(limit, color=GREY, lw=1.0, ls="--")
    ax.plot(
        victims["victim_ASR"], victims["victim_CA"], "X", color=look.colours([NONE])[NONE], ms=8
    )
    for defense, colour in colours.items():
        own = trials[trials["defense"] == defense]
        best, chosen = front(own), own[own["chosen"]]
        ax.plot(own["ASR"], own["CA"], "o", color=colour, ms=5, alpha=0.5, mew=0)
        ax.plot(best["ASR"], best["CA"], "o-", color=colour, ms=5, lw=1.4)
        ax.plot(chosen["ASR"], chosen["CA"], "o", ms=11, mfc="none", mec=colour, mew=1.6)
        for row in own.to_dict("records"):
            ax.annotate(
                str(row["trial"]), (row["ASR"], row["CA"]), (5, -8), color=colour, size=6.8,
                textcoords="offset points",
            )  # fmt: skip
    low, high = (f([*trials["CA"], victims["victim_CA"], limit]) for f in (min, max))
    margin = max(1.0, 0.08 * (high - low))
    asr_axis(ax)
    ax.set(ylim=(low - margin, high + margin), ylabel="clean accuracy CA@1 (%)")
    sns.despine(ax=ax)
    handles: list[Any] = [
        *(Line2D([], [], color=colours[d], marker="o", ms=4, label=names[d]) for d in colours),
        Line2D([], [], color=GREY, marker="X", ms=6, lw=1.0, label=names["victims"]),
        Line2D([], [], color=GREY, ls="--", lw=1.0, label=names["limit"]),
        Line2D([], [], ls="", marker="o", ms=9, mfc="none", mec="black", label=names["ring"]),
    ]
    legend_below(figure, handles)
    return finish(figure, title, subtitle)
