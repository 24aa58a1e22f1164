"""Clean accuracy against attack success.

Each mark is a model on the main test split: its colour is the defence, its shape the attack. To the
left is safer, further up more useful. A defence that only trades accuracy for safety moves down as
it moves left. The grey marks are the poisoned models without a defence. Large marks are means with
95 % intervals and small ones the single runs. The vertical axis does not start at 0.
"""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from taclean.report.figures.style import (
    GREY,
    finish,
    interval,
    poisoned,
    safety_axes,
    sample_text,
    victims,
)
from taclean.results.labels import Look
from taclean.results.statistics import interval_text
from taclean.results.table import ASR, CA, main_split

MODEL = ["attack", "defence"]


def tradeoff(table: pd.DataFrame, look: Look) -> Figure:
    """Draw CA@1 against ASR@1, a marker for each attack and a colour for each defence."""
    split = main_split(table, look)
    rows = poisoned(table, split)
    over = interval_text(rows)
    shapes, hues = look.markers(rows["attack"]), look.colours(rows["defense"])
    markers = {look.attack_label(name): marker for name, marker in shapes.items()}
    colours = {look.defense_label(name): colour for name, colour in hues.items()}
    sizes = {name: 130 if marker == "*" else 60 for name, marker in markers.items()}
    style: dict[str, Any] = {
        **{"x": ASR, "y": CA, "hue": "defence", "style": "attack", "size": "attack"},
        **{"palette": colours, "markers": markers},
        **{"hue_order": list(colours), "style_order": list(markers)},
    }

    def wide(runs: pd.DataFrame, *keys: str) -> pd.DataFrame:
        """Return a row for each model, or each of its `keys`, with a column for each metric."""
        attack, defence = (runs["attack"].map(look.attack_label), runs["defense"])
        named = runs.assign(attack=attack, defence=defence.map(look.defense_label))
        return named.pivot_table("percent", [*MODEL, *keys], "metric", sort=False).reset_index()

    runs = wide(rows, "seed", "repeat")
    height = 0.8 + 0.19 * (len(markers) + len(colours))  # of the legend
    figure, ax = plt.subplots(figsize=(6.0, max(3.7, height)), layout="constrained")
    if over:
        small = {name: size / 5 for name, size in sizes.items()}
        sns.scatterplot(runs, **style, sizes=small, alpha=0.45, legend=False, ax=ax)
        several = [name for name in ("seed", "repeat") if name in victims(rows)]
        for (_, defence), own in wide(victims(rows), *several).groupby(MODEL):
            x, y, colour = own[ASR].mean(), own[CA].mean(), colours[defence]
            ax.plot(interval(own[ASR]), [y, y], color=colour, lw=0.9)
            ax.plot([x, x], interval(own[CA]), color=colour, lw=0.9)
    large: dict[str, Any] = {"edgecolor": "white", "linewidth": 0.7, "zorder": 3}
    sns.scatterplot(wide(victims(rows)), **style, sizes=sizes, **large, ax=ax)
    sns.move_legend(ax, "center left", bbox_to_anchor=(1, 0.5), handletextpad=0.2)
    margin = max(1.5, 0.12 * (runs[CA].max() - runs[CA].min()))
    safety_axes(ax, runs[CA].min() - margin, runs[CA].max() + 1.7 * margin)
    ax.annotate(
        "upper left is best", (0.012, 0.988), (0.1, 0.93), xycoords="axes fraction", color=GREY,
        size=8.5, weight="bold", ha="left", va="center",
        arrowprops={"arrowstyle": "-|>", "color": GREY},
    )  # fmt: skip
    spread = f"; large: mean with 95 % interval {over}, small: runs" if over else ""
    subtitle = sample_text(rows, split) + spread
    return finish(figure, "Clean accuracy against attack success", subtitle)
