"""One choice at a time.

The entries along the axis differ in this one choice alone. Above: ASR@1, the share of triggered
pictures of other classes that are called the attacker's target class; lower is safer. Below: CA@1,
the share of untouched pictures that get their own class, zero-shot; higher is more useful. Dashed
lines are defences that have no part in the choice. Points are means over victims, with 95 %
intervals from three victims on; small points are the single victims.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from taclean.report.figures.style import LABELS, finish, interval, note, poisoned, victims
from taclean.results.labels import NONE, Look, ordered
from taclean.results.statistics import CELL, interval_text
from taclean.results.table import ASR, CA, images_text, main_split, pick, seeds_text

FAR = 2.5  # times the height of a panel: an undefended model that would flatten all else
SHOWN = 3  # values from which on their interval is drawn; that of two is 12.7 standard errors


def axis(
    table: pd.DataFrame, label: str, values: Mapping[str, str], look: Look | None = None
) -> Figure:
    """Draw ASR@1 above and CA@1 below at each value of the choice.

    If the choice is a defence's, there is a column for each attack, and lines show the methods that
    are no part of it, without their variants. If it is an attack's, there is a line for each
    defence.

    Args:
        label: what changes.
        values: attack or defence -> what stands below it, in the order of the axis.
    """
    look = look or Look()
    split = main_split(table, look)
    rows, places = poisoned(table, split), list(values)
    of_defense = bool(set(values) & set(rows["defense"]))
    rows = rows if of_defense else rows[rows["attack"].isin(places)]
    columns = ordered(rows["attack"], look.attacks) if of_defense else [""]
    lines = look.methods(rows["defense"]) if of_defense else ordered(rows["defense"], look.defenses)
    lines, colours = [name for name in lines if name not in values], look.colours(rows["defense"])
    texts = [textwrap.fill(text, 16) for text in values.values()]
    widest = max(len(line) for text in texts for line in text.split("\n"))
    width = max(4.6, 1.0 + len(columns) * max(1.8, len(values) * max(0.45, 0.1 + 0.07 * widest)))
    figure, grid = plt.subplots(
        2, len(columns), figsize=(width, 3.8), squeeze=False, sharex="col", sharey="row",
        layout="constrained",
    )  # fmt: skip
    for (row, column), ax in np.ndenumerate(grid):
        scores = pick(rows, metric=(ASR, CA)[row])
        if of_defense:
            scores = pick(scores, attack=columns[column])
            ax.set_title("" if row else look.attack_label(columns[column]))
            _along(ax, scores, "defense", places, "black")
            means = {n: victims(pick(scores, defense=n))["percent"].mean() for n in lines}
            if not row and means.get(NONE, 0) > FAR * ax.get_ylim()[1]:
                ax.margins(y=0.25)
                style: dict[str, Any] = {"size": 8, "color": colours[NONE], "ha": "right"}
                above = f"{look.defense_label(NONE)}: {means.pop(NONE):.0f} ↑"
                ax.text(0.98, 0.97, above, va="top", transform=ax.transAxes, **style)
            for name, mean in means.items():
                ax.axhline(mean, color=colours[name], lw=1.2, ls="--", zorder=1)
        else:
            for n, name in enumerate(lines):
                shift = 0.06 * (n - (len(lines) - 1) / 2)
                _along(ax, pick(scores, defense=name), "attack", places, colours[name], shift)
        if scores.empty:
            note(ax, "no runs")
        ax.set_xticks(range(len(values)), texts)
        ylabel = "" if column else LABELS[(ASR, CA)[row]]
        ax.set(xlim=(-0.5, len(values) - 0.5), xlabel="", ylabel=ylabel)
        ax.grid(False, axis="x")
    over, many = interval_text(rows), victims(rows).groupby(CELL).size().max() >= SHOWN
    parts = [
        f"{split} split, n = {images_text(rows, split)}, {seeds_text(rows['seed'])}",
        *([f"mean{' with 95 % interval' if many else ''} {over}"] if over else []),
        *(["thin: each victim"] if rows["seed"].nunique() > 1 else []),
        "vertical axes do not start at 0",
    ]
    style = {"ls": "--" if of_defense else "-"}
    handles = [
        Line2D([], [], color=colours[name], label=look.defense_label(name), **style)
        for name in lines
    ]
    return finish(figure, label[:1].upper() + label[1:], "; ".join(parts), handles)


def _along(
    ax: Axes, scores: pd.DataFrame, of: str, values: list[str], colour: str, shift: float = 0
) -> None:
    """Draw means with their intervals, joined; each victim thin."""
    own = victims(scores[scores[of].isin(values)])
    if own.empty:
        return
    own = own.assign(x=own[of].map(values.index) + shift).sort_values("x")
    style: dict[str, Any] = {"x": "x", "y": "percent", "color": colour, "marker": "o", "mew": 0}
    if own["seed"].nunique() > 1:
        thin = {"units": "seed", "estimator": None, "ms": 2.5, "lw": 0.6, "alpha": 0.4}
        sns.lineplot(own, **style, **thin, ax=ax)
    many = own.groupby("x").size().max() >= SHOWN
    bars = {"errorbar": interval if many else None, "err_style": "bars"}
    sns.lineplot(own, **style, **bars, ms=5, lw=1.2, ax=ax)
