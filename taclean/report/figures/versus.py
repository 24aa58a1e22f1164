"""The defence under test less each other one, on the same victims."""

from __future__ import annotations

import itertools
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from taclean.report.figures.style import (
    GREY,
    attack_name,
    defense_name,
    finish,
    head_height,
    legend_below,
    legend_height,
    note,
    wrap,
)
from taclean.results.labels import CLEAN, NONE, Look, ordered
from taclean.results.statistics import difference, interval_text
from taclean.results.table import ASR, CA, images_text, main_split, pick, seeds_text

WIDTH, NAMES = 7.2, 1.1  # inches: of all, of an attack's name
ROW, GAP = 0.15, 0.17  # inches: of a difference, between two attacks
LABELS = {ASR: ("ASR@1, points", "left is better"), CA: ("CA@1, points", "right is better")}


def versus(table: pd.DataFrame, look: Look | None = None) -> Figure:
    """Differences in ASR@1 and CA@1 with 95 % intervals: the last method less each before it.

    A mark is filled where the interval leaves out 0. Variants of a method are left out.
    """
    look = look or Look()
    split = main_split(table, look)
    rows = pick(table, split=split)
    rows = rows[rows["metric"].isin([CA, ASR]) & (rows["attack"] != CLEAN)]
    methods = look.methods(d for d in rows["defense"] if d != NONE)
    *others, tested = methods or [NONE]
    rows = rows[rows["defense"].isin([*others, tested])]
    attacks = ordered(rows["attack"], look.attacks)
    over = interval_text(rows) if len(rows) else ""
    colours = look.colours(others)
    title = f"{defense_name(look, tested)} against each other defence, on the same victims"
    title = title if others else "One defence is compared with none"
    said = f"{split} split, n = {images_text(rows, split)}, {seeds_text(table['seed'])}"
    subtitle = f"{said}; difference of means with 95 % interval {over}" if over else said
    handles: list[Any] = [
        Line2D([], [], color=colour, marker="o", ms=5, label=f"less {defense_name(look, other)}")
        for other, colour in colours.items()
    ]
    for label, fill in (("settled", GREY), ("open", "white")):
        style = {"marker": "o", "ms": 5, "mfc": fill, "mec": GREY}
        handles.append(Line2D([], [], ls="", label=label, **style))  # type: ignore[arg-type]
    names = [str(handle.get_label()) for handle in handles]
    height = head_height(title, subtitle, WIDTH) + legend_height(names, WIDTH)
    height += max(1.5, len(attacks) * (len(others) * ROW + GAP) + 0.75)
    figure, axes = plt.subplots(
        1, 2, figsize=(WIDTH, height), sharey=True, layout="constrained", width_ratios=(3, 2)
    )
    group = len(others) * ROW + GAP
    for ax, metric in zip(axes, (ASR, CA), strict=True):
        ends = [0.0]
        for (j, attack), (i, other) in itertools.product(enumerate(attacks), enumerate(others)):
            scores = pick(rows, attack=attack, metric=metric)
            found = difference(pick(scores, defense=tested), pick(scores, defense=other))
            if found is None:
                continue
            y, low_high = j * group + i * ROW, found.ends or (found.mean, found.mean)
            ends += low_high
            fill = colours[other] if found.settled else "white"
            ax.plot(low_high, (y, y), color=colours[other], lw=1.2)
            ax.plot(found.mean, y, "o", ms=5, mfc=fill, mec=colours[other], mew=1.1)
        label, better = LABELS[metric]
        ax.axvline(0, color="black", lw=0.8, zorder=1)
        ax.set_xlabel(label)
        ax.set_title(better, loc="left", pad=3)
        ax.grid(False, axis="y")
        if len(ends) == 1:
            note(ax, "nothing to compare")
        elif metric == ASR:
            _points(ax, min(ends), max(ends))
    middle = (len(others) - 1) / 2 * ROW
    axes[0].set_yticks(
        [j * group + middle for j in range(len(attacks))],
        ["\n".join(wrap(attack_name(look, a), NAMES, 8.5, lines=2)) for a in attacks],
    )
    for j in range(1, len(attacks)):
        for ax in axes:
            ax.axhline(j * group - (ROW + GAP) / 2, color="#e2e2e2", lw=0.8, zorder=0)
    axes[0].set_ylim(max(1, len(attacks)) * group - GAP, -(ROW + GAP) / 2)
    sns.despine(figure, left=True)
    legend_below(figure, handles)
    return finish(figure, title, subtitle)


def _points(ax: Axes, low: float, high: float) -> None:
    """Points of ASR along x: most differences lie within a few points of 0, some at 20."""
    ax.set_xscale("symlog", linthresh=1, linscale=0.7)
    steps = np.array([1, 3, 10, 30, 100])
    ticks = [t for t in (*-steps[::-1], 0, *steps) if low <= t <= high]
    ax.set_xticks(ticks, [f"{t:+d}".replace("-", "−") if t else "0" for t in ticks])
    ax.minorticks_off()
    ax.set_xlim(min(low * 1.15, -0.5), max(high * 1.15, 0.5))
