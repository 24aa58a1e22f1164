"""Clean accuracy against attack success.

Each mark is a model on the main test split: its colour is the defence, its shape the attack. To the
left is safer, further up more useful. A defence that only trades accuracy for safety moves down as
it moves left. The grey marks are the poisoned models without a defence. Large marks are means with
95 % intervals and small ones the single runs. The vertical axis does not start at 0.
"""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from taclean.report.figures import style
from taclean.results.labels import Look
from taclean.results.statistics import interval_text
from taclean.results.table import ASR, CA, main_split, pick


def tradeoff(table: pd.DataFrame, look: Look) -> Figure:
    """Draw CA@1 against ASR@1, a marker for each attack and a colour for each defence."""
    split = main_split(table, look)
    rows = style.poisoned(table, split)
    values, over = style.victims(rows), interval_text(rows)
    markers, colours = look.markers(rows["attack"]), look.colours(rows["defense"])
    models = ["attack", "defense", "seed", "repeat"]
    runs = rows.pivot(index=models, columns="metric", values="percent")
    height = 0.8 + 0.19 * (len(markers) + len(colours))  # of the legend
    figure, ax = plt.subplots(figsize=(6.0, max(3.7, height)), layout="constrained")
    for attack, marker in markers.items():
        for defense, colour in colours.items():
            mark: dict[str, Any] = {"color": colour, "marker": marker, "ls": ""}
            if over:
                own = runs.query("attack == @attack and defense == @defense")
                ax.plot(own[ASR], own[CA], **mark, ms=4, mew=0, alpha=0.45)
            own = pick(values, attack=attack, defense=defense)
            asr, ca = (pick(own, metric=metric)["percent"] for metric in (ASR, CA))
            x, y = asr.mean(), ca.mean()
            ax.plot(style.interval(asr), [y, y], color=colour, lw=0.9)
            ax.plot([x, x], style.interval(ca), color=colour, lw=0.9)
            large = 11.5 if marker == "*" else 8
            ax.plot(x, y, **mark, ms=large, mec="white", mew=0.7, zorder=3)
    handles = style.keys(look, colours, lw=4)
    handles += [
        Line2D([], [], color=style.GREY, ls="", marker=marker, label=look.attack_label(attack))
        for attack, marker in markers.items()
    ]
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), handletextpad=0.2)
    margin = max(1.5, 0.12 * (runs[CA].max() - runs[CA].min()))
    style.safety_axes(ax, runs[CA].min() - margin, runs[CA].max() + 1.7 * margin)
    ax.annotate(
        "upper left is best", (0.012, 0.988), (0.1, 0.93), xycoords="axes fraction",
        color=style.GREY, size=8.5, weight="bold", va="center",
        arrowprops={"arrowstyle": "-|>", "color": style.GREY},
    )  # fmt: skip
    subtitle = style.sample_text(rows, split)
    subtitle += f"; small: runs, large: mean with {over}" if over else ""
    return style.finish(figure, "Clean accuracy against attack success", subtitle)
