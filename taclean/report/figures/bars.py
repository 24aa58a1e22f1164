"""Bars of scores: a group for each attack, a bar for each defence, a panel for each score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from taclean.report.figures.style import (
    attack_name,
    defense_name,
    finish,
    head_height,
    legend_below,
    legend_height,
    note,
    text_width,
    wrap,
)
from taclean.results.labels import CLEAN, NONE, Look, ordered
from taclean.results.statistics import estimate, interval_text
from taclean.results.table import ASR, CA, I2T, T2I, images_text, pick, seeds_text

LABELS = {
    CA: "clean accuracy\nCA@1 (%)",
    ASR: "attack success\nASR@1 (%)",
    I2T: "image to caption\nI2T@1 (%)",
    T2I: "caption to image\nT2I@1 (%)",
}
WIDTH, MARGIN, NARROW = 7.2, 0.75, 0.11  # inches: at most, left of the bars, least of a bar
NEVER = "same model, never poisoned"
NUMBER = 6.8  # size of the numbers on the bars


def bars(table: pd.DataFrame, look: Look, panels: Sequence[tuple[str, str]], title: str) -> Figure:
    """Draw a panel for each (split, metric), from top to bottom; too many attacks take new rows.

    Dotted lines: the model that was never poisoned, with the attack's trigger for ASR. Where
    there are several runs they are points, and a line is the 95 % interval of their mean.
    """
    splits = list(dict.fromkeys(split for split, _ in panels))
    rows = table[table["split"].isin(splits)]
    poisoned = rows[rows["attack"] != CLEAN]
    shown = poisoned if len(poisoned) else rows
    attacks, colours = ordered(shown["attack"], look.attacks), look.colours(shown["defense"])
    over = interval_text(shown)
    group = len(colours) * NARROW / 0.84
    lines = -(-len(attacks) // max(1, int((WIDTH - MARGIN) / group)))
    each = -(-len(attacks) // lines)  # attacks in a row
    width = max(5.0, min(WIDTH, 2.2 + 0.24 * each * (len(colours) + 1.4)))
    said = [f"{split} split, n = {images_text(shown, split)}" for split in splits]
    subtitle = f"{'; '.join(said)}, {seeds_text(shown['seed'])}"
    subtitle += f"; bar: mean, line: 95 % interval {over}, points: runs" if over else ""
    height = head_height(title, subtitle, width) + 0.2 + lines * (0.45 + 1.75 * len(panels))
    height += legend_height([*(defense_name(look, d) for d in colours), NEVER], width)
    figure, grid = plt.subplots(
        lines * len(panels), 1, figsize=(width, height), squeeze=False, layout="constrained"
    )
    step = 0.84 / len(colours)
    # A lone group would get very wide bars.
    side = 1.3 if each == 1 and len(colours) < 6 else 0.6
    bar = step * (width - MARGIN) / (each - 1 + 2 * side)
    upright = bar < text_width("100", NUMBER)
    references = 0
    for number, ax in enumerate(grid[:, 0]):
        line, (split, metric) = number // len(panels), panels[number % len(panels)]
        here = attacks[line * each : (line + 1) * each]
        scores = pick(shown, split=split, metric=metric)
        dotted = _never_poisoned(ax, table, split, metric, here)
        references += len(dotted)
        for i, (defense, colour) in enumerate(colours.items()):
            for j, attack in enumerate(here):
                runs = pick(scores, attack=attack, defense=defense)
                if (found := estimate(runs)) is None:
                    continue
                x, mean, top = j + (i - (len(colours) - 1) / 2) * step, found.mean, found.mean
                ax.bar(x, mean, step * 0.94, color=colour)
                if found.ends is not None:
                    low, top = max(0.0, found.ends[0]), min(100.0, found.ends[1])
                    ax.vlines(x, low, top, color="black", lw=0.9)
                    at = np.full(len(runs), x)
                    ax.plot(at, runs["percent"], "o", ms=2.2, mfc="white", mec="black", mew=0.5)
                    top = max(top, runs["percent"].max())
                # Keep the number off that line.
                if top - 1 < dotted.get(attack, -99) < top + (20 if upright else 9):
                    top = dotted[attack]
                ax.text(
                    x, top + (3.5 if upright and over else 1.5),
                    f"{mean:.0f}" if mean >= 9.95 else f"{mean:.1f}", size=NUMBER,
                    ha="center", va="bottom", color="#222222", rotation=90 if upright else 0,
                )  # fmt: skip
        if scores.empty:
            note(ax, "not scored" if len(poisoned) else "no poisoned model among the runs")
        ax.set(ylim=(0, 119 if upright else 112), yticks=range(0, 101, 25), ylabel=LABELS[metric])
        better = "lower is better" if metric == ASR else "higher is better"
        ax.set_title(f"{split} split: {better}" if len(splits) > 1 else better, loc="left", pad=3)
        last = number % len(panels) == len(panels) - 1
        room = 0.8 * (width - MARGIN) / (each - 1 + 2 * side)
        names = ["\n".join(wrap(attack_name(look, a), room, 8.5, lines=4)) for a in here]
        ax.set_xticks(range(len(here)), names if last else [""] * len(here))
        ax.set(xlim=(-side, each - 1 + side))
        ax.grid(False, axis="x")
        sns.despine(ax=ax)
    grid[-1, 0].set_xlabel("attack")
    handles: list[Any] = [
        plt.Rectangle((0, 0), 1, 1, color=colour, label=defense_name(look, d))
        for d, colour in colours.items()
    ]
    if references:
        handles.append(Line2D([], [], color="black", ls=":", lw=1.4, label=NEVER))
    legend_below(figure, handles)
    return finish(figure, title, subtitle)


def _never_poisoned(
    ax: Axes, table: pd.DataFrame, split: str, metric: str, attacks: Sequence[str]
) -> dict[str, float]:
    """The percentages of the dotted lines, which it draws."""
    found = {}
    base = pick(table, attack=CLEAN, defense=NONE, metric=metric)
    for j, attack in enumerate(attacks):
        percent = pick(base, split=f"{split}+{attack}" if metric == ASR else split)["percent"]
        if attack != CLEAN and len(percent):
            found[attack] = float(percent.mean())
            ax.hlines(found[attack], j - 0.46, j + 0.46, color="black", ls=":", lw=1.4)
    return found
