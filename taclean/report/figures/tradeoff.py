"""Clean accuracy against attack success.

Each mark is a model, tested on the main test split: its colour is the defence, its shape the
attack. To the left is safer (ASR@1: the share of triggered pictures of other classes that are
called the attacker's target class), further up is more useful (CA@1: the share of untouched
pictures that get their own class, zero-shot, from the class names alone). A defence that only
trades accuracy for safety moves down as it moves left. The grey marks are the poisoned models
without a defence. The vertical axis does not start at 0. With several seeds or cleanings, large
marks are means with 95 % intervals and small ones the single runs.
"""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from taclean.report.figures.style import GREY, asr_axis, finish, interval, poisoned, victims
from taclean.results.labels import Look
from taclean.results.statistics import interval_text
from taclean.results.table import ASR, CA, images_text, main_split, pick, seeds_text


def tradeoff(table: pd.DataFrame, look: Look | None = None) -> Figure:
    """Draw CA@1 against ASR@1, a marker for each attack and a colour for each defence."""
    look = look or Look()
    split = main_split(table, look)
    rows = poisoned(table, split)
    over = interval_text(rows)
    shapes, hues = look.markers(rows["attack"]), look.colours(rows["defense"])
    markers = {look.attack_label(name): marker for name, marker in shapes.items()}
    colours = {look.defense_label(name): colour for name, colour in hues.items()}
    rows = rows.assign(
        attack=rows["attack"].map(look.attack_label),
        defense=rows["defense"].map(look.defense_label),
    )
    models = ["attack", "defence"]
    values, rows = (part.rename(columns={"defense": "defence"}) for part in (victims(rows), rows))
    runs = rows.pivot(index=[*models, "seed", "repeat"], columns="metric", values="percent")
    style: dict[str, Any] = {
        **{"x": ASR, "y": CA, "hue": "defence", "style": "attack", "size": "attack"},
        **{"palette": colours, "markers": markers},
        **{"hue_order": list(colours), "style_order": list(markers)},
    }
    sizes = {name: 130 if marker == "*" else 60 for name, marker in markers.items()}
    height = 0.8 + 0.19 * (len(markers) + len(colours))  # of the legend
    figure, ax = plt.subplots(figsize=(6.0, max(3.7, height)), layout="constrained")
    if over:
        small = {name: size / 5 for name, size in sizes.items()}
        sns.scatterplot(runs.reset_index(), **style, sizes=small, alpha=0.45, legend=False, ax=ax)
        for _, own in values.groupby(models):
            colour = colours[own["defence"].iloc[0]]
            (x, *across), (y, *along) = (
                (percents.mean(), *interval(percents))
                for percents in (pick(own, metric=metric)["percent"] for metric in (ASR, CA))
            )
            ax.plot(across, [y, y], color=colour, lw=0.9)
            ax.plot([x, x], along, color=colour, lw=0.9)
    means = values.pivot_table("percent", models, "metric", sort=False).reset_index()
    large: dict[str, Any] = {"edgecolor": "white", "linewidth": 0.7, "zorder": 3}
    sns.scatterplot(means, **style, sizes=sizes, **large, ax=ax)
    sns.move_legend(ax, "center left", bbox_to_anchor=(1, 0.5), handletextpad=0.2)
    asr_axis(ax)
    low, high = runs[CA].min(), runs[CA].max()
    margin = max(1.5, 0.12 * (high - low))
    ax.set(ylim=(low - margin, high + 1.7 * margin), ylabel="clean accuracy CA@1 (%)")
    ax.annotate(
        "upper left is best", (0.012, 0.988), (0.1, 0.93), xycoords="axes fraction", color=GREY,
        size=8.5, weight="bold", ha="left", va="center",
        arrowprops={"arrowstyle": "-|>", "color": GREY},
    )  # fmt: skip
    spread = f"; large: mean with 95 % interval {over}, small: runs" if over else ""
    subtitle = f"{split} split, n = {images_text(rows, split)}, {seeds_text(rows['seed'])}{spread}"
    return finish(figure, "Clean accuracy against attack success", subtitle)
