"""Clean accuracy against attack success."""

from __future__ import annotations

import itertools
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
    bare,
    defense_name,
    finish,
    head_height,
    note,
    text_width,
    wrap,
)
from taclean.results.labels import CLEAN, Look
from taclean.results.statistics import Estimate, estimate, interval_text
from taclean.results.table import ASR, CA, RUN, images_text, main_split, pick, seeds_text

MOST = 1.9  # inches of a name in the legend


def _within(found: Estimate) -> list[list[float]] | None:
    """An interval's parts below and above its mean, cut at 0 and 100 %."""
    if found.half is None:
        return None
    return [[min(found.half, found.mean)], [min(found.half, 100 - found.mean)]]


def tradeoff(table: pd.DataFrame, look: Look | None = None) -> Figure:
    """CA@1 against ASR@1, a marker per attack and a colour per defence."""
    look = look or Look()
    split = main_split(table, look)
    rows = pick(table, split=split)
    rows = rows[rows["metric"].isin([CA, ASR]) & (rows["attack"] != CLEAN)]
    wide = rows.pivot(index=RUN, columns="metric", values="percent")
    title = "Clean accuracy against attack success"
    if not {CA, ASR} <= set(wide):
        figure, ax = plt.subplots(figsize=(5.9, 4.1), layout="constrained")
        note(ax, "no poisoned model among the runs")
        bare(ax)
        return finish(figure, title, f"{split} split")
    over = interval_text(rows)
    markers, colours = look.markers(rows["attack"]), look.colours(rows["defense"])
    sizes = {attack: {"*": 11.0, "D": 6.2}.get(marker, 7.0) for attack, marker in markers.items()}
    names = {
        key: "\n".join(wrap(name, MOST, 8.5, lines=2))
        for key, name in [
            *((("defence", d), defense_name(look, d)) for d in colours),
            *((("attack", a), attack_name(look, a)) for a in markers),
        ]
    }
    spread = f"; large: mean with 95 % interval {over}, small: runs" if over else ""
    subtitle = f"{split} split, n = {images_text(rows, split)}, {seeds_text(rows['seed'])}{spread}"
    # The legend stands beside the axes and takes nothing from them.
    widest = max(text_width(line, 8.5) for name in names.values() for line in name.split("\n"))
    lines = sum(name.count("\n") + 1 for name in names.values()) + 3
    width = 4.9 + widest
    height = max(4.1, 2 * head_height(title, subtitle, width) + 0.1 + 0.18 * lines)
    figure, ax = plt.subplots(figsize=(width, height), layout="constrained")
    for attack, defense in itertools.product(markers, colours):
        runs = pick(wide.reset_index(), attack=attack, defense=defense)
        asr, ca = (estimate(runs.rename(columns={metric: "percent"})) for metric in (ASR, CA))
        if asr is None or ca is None:
            continue
        style: dict[str, Any] = {"color": colours[defense], "marker": markers[attack], "ls": ""}
        size = sizes[attack]
        if len(runs) > 1:
            ax.plot(runs[ASR], runs[CA], **style, alpha=0.45, ms=0.45 * size, mew=0.3, zorder=2)
        style |= {"xerr": _within(asr), "yerr": _within(ca), "elinewidth": 0.9}
        ax.errorbar(asr.mean, ca.mean, **style, ms=size, mew=0.7, mec="white", zorder=3)
    low, high = wide[CA].min(), wide[CA].max()
    margin = max(1.5, 0.12 * (high - low))
    asr_axis(ax)
    ax.set(ylim=(low - margin, high + 1.7 * margin), ylabel="clean accuracy CA@1 (%)")
    ax.annotate(
        "upper left is best", (0.012, 0.988), (0.1, 0.93), xycoords="axes fraction", color=GREY,
        size=8.5, weight="bold", ha="left", va="center",
        arrowprops={"arrowstyle": "-|>", "color": GREY},
    )  # fmt: skip
    sns.despine(ax=ax)
    handles: list[Any] = [Line2D([], [], ls="", label="defence")]
    for defense, colour in colours.items():
        label = names["defence", defense]
        handles.append(Line2D([], [], ls="", marker="o", color=colour, ms=7, label=label))
    handles.append(Line2D([], [], ls="", label="\nattack"))
    for attack, marker in markers.items():
        handles.append(
            Line2D([], [], ls="", marker=marker, mfc="none", mec="black", ms=0.9 * sizes[attack],
                   label=names["attack", attack])
        )  # fmt: skip
    figure.legend(handles=handles, loc="outside right center", frameon=False, handlelength=1.0)
    return finish(figure, title, subtitle)
