"""One choice along an axis: entries of the config that differ in it alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from taclean.report.figures.bars import LABELS
from taclean.report.figures.style import (
    attack_name,
    defense_name,
    drawable,
    finish,
    head_height,
    legend_below,
    legend_height,
    note,
    text_width,
)
from taclean.results.labels import CLEAN, NONE, Look, ordered
from taclean.results.statistics import estimate, interval_text
from taclean.results.table import ASR, CA, images_text, main_split, pick, seeds_text

PANEL = 1.65  # inches, height of a panel
FAR = 2.5  # times the height of a panel: an undefended model that would flatten all else
SHOWN = 3  # values from which on their interval is drawn; that of two is 12.7 standard errors


def axis(
    table: pd.DataFrame, label: str, values: Mapping[str, str], look: Look | None = None
) -> Figure:
    """ASR@1 above, CA@1 below, at each value of the choice.

    Where the choice is a defence's, there is a column for each attack, and lines show the methods
    that are no part of it, without their variants. Where it is an attack's, there is a line for
    each defence.

    Args:
        label: what changes.
        values: attack or defence -> what stands below it, in the order of the axis.
    """
    look = look or Look()
    split = main_split(table, look)
    rows = pick(table, split=split)
    rows = rows[rows["metric"].isin([CA, ASR]) & (rows["attack"] != CLEAN)]
    of_defense = bool(set(values) & set(rows["defense"]))
    if of_defense:
        columns = ordered(rows["attack"], look.attacks)
        lines = [d for d in look.methods(rows["defense"]) if d not in values]
    else:
        rows = rows[rows["attack"].isin(list(values))]
        columns, lines = [""], ordered(rows["defense"], look.defenses)
    colours = look.colours(rows["defense"])
    over = interval_text(rows) if len(rows) else ""
    title = label[:1].upper() + label[1:]
    subtitle = (
        f"{split} split, n = {images_text(rows, split)}, {seeds_text(rows['seed'])}"
        + (f"; mean{_interval(rows)} {over}" if over else "")
        + "; thin: each victim" * (rows["seed"].nunique() > 1)
        + "; the vertical axes do not start at 0" * (len(rows) > 0)
    )
    widest = max(text_width(drawable(text), 8.5) for text in values.values()) + 0.15
    width = max(4.6, 1.0 + len(columns) * max(1.8, len(values) * max(0.45, widest)))
    names = {name: defense_name(look, name) for name in lines}
    height = head_height(title, subtitle, width)
    height += legend_height(names.values(), width) if names else 0
    figure, grid = plt.subplots(
        2, max(1, len(columns)), figsize=(width, height + 2 * PANEL + 0.6), squeeze=False,
        sharex="col", sharey="row", layout="constrained",
    )  # fmt: skip
    for (row, column), ax in np.ndenumerate(grid):
        metric = (ASR, CA)[row]
        scores = pick(rows, metric=metric)
        if of_defense:
            scores = pick(scores, attack=columns[column])
            _along(ax, scores, "defense", values, "black")
            means = {n: found.mean for n in lines if (found := estimate(pick(scores, defense=n)))}
            if metric == ASR and means.get(NONE, 0) > FAR * ax.get_ylim()[1]:
                _above(ax, f"{names[NONE]}: {means.pop(NONE):.0f} ↑", colours[NONE])
            for name, mean in means.items():
                ax.axhline(mean, color=colours[name], lw=1.2, ls="--", zorder=1)
        else:
            for n, name in enumerate(lines):
                shift = 0.06 * (n - (len(lines) - 1) / 2)
                own = pick(scores, defense=name)
                _along(ax, own, "attack", values, colours[name], shift)
        if scores.empty:
            note(ax, "no runs")
        ax.set_xticks(range(len(values)), [drawable(text) for text in values.values()])
        ax.set_xlim(-0.5, len(values) - 0.5)
        ax.grid(False, axis="x")
        if not column:
            ax.set_ylabel(LABELS[metric])
        if of_defense and not row:
            ax.set_title(attack_name(look, columns[column]))
    sns.despine(figure)
    ls = "--" if of_defense else "-"
    if names:
        legend_below(
            figure,
            [Line2D([], [], color=colours[n], ls=ls, label=text) for n, text in names.items()],
        )
    return finish(figure, title, subtitle)


def _above(ax: Axes, text: str, colour: str) -> None:
    """Say what lies above a panel."""
    ax.margins(y=0.25)
    ax.text(0.98, 0.97, text, size=8, color=colour, ha="right", va="top", transform=ax.transAxes)


def _along(
    ax: Axes,
    scores: pd.DataFrame,
    of: str,
    values: Mapping[str, str],
    colour: str,
    shift: float = 0,
) -> None:
    """Means with their intervals, joined; each victim thin."""
    places, means, ends = [], [], []
    for x, name in enumerate(values):
        if (found := estimate(pick(scores, **{of: name}))) is None:
            continue
        places.append(x + shift)
        means.append(found.mean)
        low, high = found.ends if found.ends and found.n >= SHOWN else (found.mean, found.mean)
        ends.append((found.mean - max(0.0, low), min(100.0, high) - found.mean))
    order = list(values)
    for _, victim in scores[scores[of].isin(order)].groupby("seed"):
        of_value = victim.groupby(of)["percent"].mean()
        of_value = of_value.reindex([name for name in order if name in of_value])
        x_victim = [order.index(name) + shift for name in of_value.index]
        ax.plot(x_victim, of_value, "o-", color=colour, ms=2.5, lw=0.6, alpha=0.4, mew=0)
    style: dict[str, Any] = {"color": colour, "ms": 5, "lw": 1.2, "elinewidth": 1.0}
    if places:
        halves = np.transpose(ends) if any(map(any, ends)) else None
        ax.errorbar(places, means, yerr=halves, fmt="o-", **style)


def _interval(rows: pd.DataFrame) -> str:
    """What is drawn beside the mean: of two values an interval would hide all else."""
    runs = rows[rows["defense"] != NONE]
    victims = runs["seed"].nunique()
    values = victims if victims > 1 else runs["repeat"].nunique()
    return " with 95 % interval" * (values >= SHOWN)
