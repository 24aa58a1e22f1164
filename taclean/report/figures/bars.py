"""Bars of scores: a panel for each score, a group for each attack, a bar for each defence."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from taclean.report.figures import style
from taclean.results.labels import CLEAN, NONE, Look, ordered
from taclean.results.statistics import interval_text, summary, victims
from taclean.results.table import ASR, CA, I2T, T2I, main_split, pick, scored_splits
from taclean.util.errors import UserError

NEVER: dict[str, Any] = {"color": "black", "ls": ":", "lw": 1.4}
GROUP = 0.8  # width of a group of bars, of the distance of two groups


def bars(
    table: pd.DataFrame, look: Look, splits: Sequence[str], metrics: Sequence[str], title: str
) -> Figure:
    """Draw a panel for each split and metric that has scores, from top to bottom.

    Dotted lines are the model that was never poisoned, for ASR@1 with the attack's trigger. Where
    there are several runs, a bar is their mean, a line its 95 % interval (from three seeds on), and
    points are the runs. A UserError says that the table has no score of these splits and metrics.
    """
    shown = [(s, m) for s in splits for m in metrics if len(pick(table, split=s, metric=m))]
    if not shown:
        raise UserError(f"evaluate.splits: no split for {', '.join(metrics)} here; add one")
    splits = [*dict.fromkeys(split for split, _ in shown)]
    rows = table[table["split"].isin(splits) & (table["attack"] != CLEAN)]
    attacks, colours = ordered(rows["attack"], look.attacks), look.colours(rows["defense"])
    over, defenses = interval_text(rows), list(colours)
    width = max(5.0, 1.4 + 0.16 * len(attacks) * (len(colours) + 2))
    width = width if width > 9 else min(width, 7.2)
    figure, grid = style.panels(len(shown), 1, width, 0.3 + 1.75 * len(shown), sharex=True)
    how: dict[str, Any] = {"x": "attack", "y": "percent", "hue": "defense", "legend": False}
    how |= {"order": attacks, "hue_order": defenses}
    step, places = GROUP / len(colours), np.arange(len(attacks))
    upright = step * (width - 0.8) / len(attacks) < 0.2  # inches that '100' takes
    for ax, (split, metric) in zip(grid[:, 0], shown, strict=True):
        scores = pick(rows, split=split, metric=metric)
        sns.barplot(
            victims(scores), **how, palette=colours, saturation=1, width=GROUP, gap=0.07,
            errorbar=style.interval, err_kws={"color": "black", "linewidth": 0.9}, ax=ax,
        )  # fmt: skip
        if over:
            sns.stripplot(
                scores, **how, palette=dict.fromkeys(colours, "white"), dodge=True, size=2.2,
                jitter=False, edgecolor="black", linewidth=0.5, ax=ax,
            )  # fmt: skip
        base = pick(table, attack=CLEAN, defense=NONE, metric=metric)
        of_split = [f"{split}+{attack}" if metric == ASR else split for attack in attacks]
        never = [pick(base, split=name)["percent"].mean() for name in of_split]
        ax.hlines(never, places - 0.46, places + 0.46, **NEVER)
        highest = scores.groupby(["attack", "defense"])["percent"].max()
        for cell in summary(scores).fillna({"half": 0}).to_dict("records"):
            x, defense, mean = attacks.index(cell["attack"]), cell["defense"], cell["mean"]
            top = max(highest[cell["attack"], defense], min(100, mean + cell["half"]))
            if top - 1 < never[x] < top + (20 if upright else 9):  # keep off the dotted line
                top = never[x]
            ax.text(
                x + (defenses.index(defense) - (len(colours) - 1) / 2) * step,
                top + (3.5 if over else 1.5), f"{mean:.{0 if mean >= 9.95 else 1}f}",
                size=6.8, ha="center", va="bottom", rotation=90 if upright else 0,
            )  # fmt: skip
        ax.set(ylim=(0, 119 if upright else 112), yticks=range(0, 101, 25))
        ax.set_ylabel(style.LABELS[metric])
        better = "lower is better" if metric == ASR else "higher is better"
        ax.set_title(f"{split} split: {better}" if len(splits) > 1 else better, loc="left", pad=3)
    fit = max(8, int(13 * (width - 0.8) / len(attacks)))  # characters
    ax.set_xticks(places, [textwrap.fill(look.attack_label(attack), fit) for attack in attacks])
    ax.set(xlim=(-0.55, len(attacks) - 0.45), xlabel="")
    handles = style.keys(look, colours, ls="", marker="s", ms=8, mew=0)
    handles.append(Line2D([], [], label="same model, never poisoned", **NEVER))
    subtitle = style.sample_text(rows, "points: runs, bar: mean with")
    return style.finish(figure, title, subtitle, handles)


def asr_ca(table: pd.DataFrame, look: Look) -> Figure:
    """Draw ASR@1 and CA@1 of each attack and defence on the main split."""
    title = "Attack success and clean accuracy after each defence"
    return bars(table, look, [main_split(table, look)], [ASR, CA], title)


def further_splits(table: pd.DataFrame, look: Look) -> Figure:
    """Draw ASR@1, where the target is among the classes, and CA@1 of each other split."""
    splits = [split for split in scored_splits(table, look) if split != main_split(table, look)]
    title = "Attack success and clean accuracy on further test sets"
    return bars(table, look, splits, [ASR, CA], title)


def retrieval(table: pd.DataFrame, look: Look) -> Figure:
    """Draw recall@1 in both directions on each split whose pictures have captions."""
    title = "Retrieval after each defence"
    return bars(table, look, scored_splits(table, look), [I2T, T2I], title)
