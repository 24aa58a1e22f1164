"""The course of the scores, in cleaning and after it."""

import textwrap

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from taclean.report.figures.style import GREY, LABELS, finish, keys
from taclean.results.labels import CLEAN, Look, ordered
from taclean.results.table import ASR, CA, RUN, pick, seeds_text


def curves(
    histories: pd.DataFrame,
    look: Look,
    n: int | None = None,
    x: str = "epoch",
    title: str = "Attack success and clean accuracy during cleaning",
    zero: str = "before cleaning",
) -> Figure:
    """Draw ASR@1 and CA@1 over the epochs of cleaning.

    Args:
        histories: attack, defense, seed, repeat, epoch and CA@1 in percent; ASR@1 if it was scored.
        n: pictures of the val split, for the subtitle.
        x: "epoch" or "step".
        zero: what x = 0 is, for the subtitle.
    """
    scores = histories.reindex(columns=[*RUN, x, ASR, CA])
    scores = scores.melt([*RUN, x], var_name="metric", value_name="percent")
    attacks, colours = ordered(scores["attack"], look.attacks), look.colours(scores["defense"])
    grid = sns.relplot(
        scores.dropna(), x=x, y="percent", hue="defense", palette=colours, row="metric",
        row_order=[ASR, CA], col="attack", col_order=attacks, kind="line", errorbar=("pi", 100),
        marker="o", ms=4, mew=0, lw=1.5, legend=False, height=1.55,
        aspect=max(1.12, 6.0 / len(attacks)) / 1.55, facet_kws={"sharey": "row"},
    )  # fmt: skip
    grid.figure.set_layout_engine("constrained")
    # CA moves little: show its own range, of 20 points at least.
    low, high = histories[CA].min(), histories[CA].max()
    extra = max(0.0, 20 - (high - low)) / 2 + 1
    limits = {ASR: (-4, 104), CA: (max(-1, low - extra), min(101, high + extra))}
    for (metric, attack), ax in grid.axes_dict.items():
        name = textwrap.fill(look.attack_label(attack), int(13 * ax.bbox.width / 100))
        ax.set(title=name if metric == ASR else "", ylim=limits[metric])
        ax.set_ylabel(LABELS[metric] if attack == attacks[0] else "")
        ax.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        if pick(scores, attack=attack, metric=metric)["percent"].isna().all():
            empty = "no trigger" if attack == CLEAN else "not recorded"
            ax.text(0.5, 0.5, empty, ha="center", size=8, color=GREY, transform=ax.transAxes)
    many = histories.duplicated(["attack", "defense", x]).any()
    subtitle = f"val split{f', n = {n:,} images' if n else ''}, {seeds_text(scores['seed'])}"
    subtitle += "; line: mean, band: lowest to highest run" if many else ""
    subtitle += f"; {x} 0: {zero}"
    return finish(grid.figure, title, subtitle, keys(look, colours, marker="o", ms=3.5, lw=1.8))


def trajectory(histories: pd.DataFrame, look: Look, n: int | None = None) -> Figure:
    """Draw ASR@1 and CA@1 over the steps of further training; the arguments are those of curves."""
    title = "What comes back when cleaned models are trained further"
    zero = "the cleaned model; square-root scale"
    figure = curves(histories, look, n, x="step", title=title, zero=zero)
    root = (lambda x: np.sign(x) * np.abs(x) ** 0.5, lambda x: np.sign(x) * x**2)
    last = int(histories["step"].max())
    for ax in figure.axes:  # the first steps matter most
        ax.set_xscale("function", functions=root)
        ax.set_xticks(sorted({0, 10 ** (len(str(last)) - 1), last}))
    return figure
