"""Clean accuracy against attack success.

Each mark is a model, tested on the main test split: its colour is the defence, its shape the
attack. To the left is safer (ASR@1: the share of triggered pictures of other classes that are
called the attacker's target class), further up is more useful (CA@1: the share of untouched
pictures that get their own class, zero-shot, from the class names alone). The upper left corner is
best. A defence that only trades accuracy for safety moves down as it moves left.

The vertical axis does not start at 0. With several seeds or cleanings, large marks are means with
95 % intervals and small ones the single runs. The grey marks are the poisoned models as they were,
without a defence.
"""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from taclean.report.figures.style import GREY, asr_axis, finish, interval, victims
from taclean.results.labels import CLEAN, Look
from taclean.results.statistics import interval_text
from taclean.results.table import ASR, CA, images_text, main_split, pick, seeds_text


def tradeoff(table: pd.DataFrame, look: Look | None = None) -> Figure:
    """Draw CA@1 against ASR@1, a marker for each attack and a colour for each defence."""
    look = look or Look()
    split = main_split(table, look)
    rows = pick(table, split=split)
    rows = rows[rows["metric"].isin([CA, ASR]) & (rows["attack"] != CLEAN)]
    over = interval_text(rows)
    models = ["attack", "defense"]
    runs = rows.pivot(index=[*models, "seed", "repeat"], columns="metric", values="percent")
    values = victims(rows).groupby([*models, "metric"], sort=False)["percent"]
    means = values.mean().unstack().reset_index()
    markers, colours = look.markers(rows["attack"]), look.colours(rows["defense"])
    labels = {
        "attack": {name: look.attack_label(name) for name in markers},
        "defense": {name: look.defense_label(name) for name in colours},
    }
    style: dict[str, Any] = {
        "x": ASR,
        "y": CA,
        "hue": "defence",
        "style": "attack",
        "size": "attack",
        "palette": {labels["defense"][name]: colour for name, colour in colours.items()},
        "markers": {labels["attack"][name]: marker for name, marker in markers.items()},
    }
    style |= {"hue_order": [*style["palette"]], "style_order": [*style["markers"]]}
    sizes = {name: 130 if marker == "*" else 60 for name, marker in style["markers"].items()}

    def named(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.replace(labels).rename(columns={"defense": "defence"})

    figure, ax = plt.subplots(figsize=(6.0, 3.7), layout="constrained")
    if over:
        faint = {"sizes": {k: v / 5 for k, v in sizes.items()}, "alpha": 0.45, "legend": False}
        sns.scatterplot(named(runs.reset_index()), **style, **faint, ax=ax)
        ends = values.apply(interval).unstack()
        for at, (attack, defense) in enumerate(zip(means["attack"], means["defense"], strict=True)):
            x, y = means.loc[at, [ASR, CA]]
            (left, right), (low, high) = ends.loc[(attack, defense), [ASR, CA]]
            ax.hlines(y, left, right, colours[defense], lw=0.9)
            ax.vlines(x, low, high, colours[defense], lw=0.9)
    sns.scatterplot(
        named(means), **style, sizes=sizes, edgecolor="white", linewidth=0.7, zorder=3, ax=ax
    )
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
