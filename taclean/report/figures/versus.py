"""The last defence minus each other one, on the same victims."""

import textwrap
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from taclean.report.figures.style import GREY, finish, keys, panels, sample_text
from taclean.results.labels import NONE, Look, ordered
from taclean.results.statistics import differences
from taclean.results.table import ASR, CA, main_rows, pick

BETTER = {ASR: "left is better", CA: "right is better"}


def versus(table: pd.DataFrame, look: Look) -> Figure:
    """Draw the differences in ASR@1 and CA@1 of the last method from each method before it."""
    rows = main_rows(table, look)
    *others, tested = look.methods(d for d in rows["defense"] if d != NONE) or [NONE]
    rows = rows[rows["defense"].isin([*others, tested])]
    attacks, colours = ordered(rows["attack"], look.attacks), look.colours(others)
    found, group = differences(rows, [(tested, other) for other in others]), len(others) + 1
    at = found["attack"].map(attacks.index) * group + found["against"].map(others.index)
    found = found.assign(y=at, colour=found["against"].map(colours))
    height = 0.5 + max(1.2, 0.16 * len(attacks) * group)
    figure, [axes] = panels(1, 2, 7.2, height, sharey=True, width_ratios=(3, 2))
    for ax, (metric, better) in zip(axes, BETTER.items(), strict=True):
        own = pick(found, metric=metric)
        inside = np.where(own["settled"], own["colour"], "white")
        mark: dict[str, Any] = {"s": 26, "lw": 1.1, "zorder": 3, "edgecolor": own["colour"]}
        ax.hlines(own["y"], own["low"], own["high"], own["colour"], lw=1.2)
        ax.scatter(own["difference"], own["y"], c=inside, **mark)
        ax.axvline(0, color="black", lw=0.8, zorder=1)
        ax.set_xlabel(f"{metric}, points")
        ax.set_title(better, loc="left", pad=3)
        ax.grid(False, axis="y")
        for n in range(1, len(attacks)):
            ax.axhline(n * group - 1, color="#e2e2e2", lw=0.8, zorder=0)
    names = [textwrap.fill(look.attack_label(attack), 16) for attack in attacks]
    axes[0].set_yticks([n * group + (group - 2) / 2 for n in range(len(attacks))], names)
    axes[0].set_ylim(max(1, len(attacks)) * group - 1, -1)
    sns.despine(figure, left=True)
    handles = keys(look, colours, "minus ", marker="o", ms=5)
    for label, fill in (("settled", GREY), ("open", "white")):
        handles.append(Line2D([], [], ls="", marker="o", ms=5, mfc=fill, mec=GREY, label=label))
    subtitle = sample_text(rows, "difference of means with")
    title = f"{look.defense_label(tested)} against each other defence, on the same victims"
    return finish(figure, title, subtitle, handles)
