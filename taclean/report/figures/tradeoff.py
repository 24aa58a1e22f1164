"""Clean accuracy against attack success: of models, of learning rates, of the tuning."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from taclean.report.figures import style
from taclean.results.histories import Rates, choose, cleanings
from taclean.results.labels import NONE, Look, ordered
from taclean.results.statistics import interval_text, victims
from taclean.results.table import ASR, CA, RUN, main_rows, pick, seeds_text

SAFETY: dict[str, Any] = {"xlim": (-3, 103), "xlabel": "attack success rate ASR@1 (%)"}
SAFETY |= {"ylabel": "clean accuracy CA@1 (%)"}


def tradeoff(table: pd.DataFrame, look: Look) -> Figure:
    """Draw CA@1 against ASR@1, a marker for each attack and a colour for each defence."""
    rows = main_rows(table, look)
    means, over = victims(rows), interval_text(rows)
    markers, colours = look.markers(rows["attack"]), look.colours(rows["defense"])
    runs = rows.pivot(index=RUN, columns="metric", values="percent")
    height = 0.8 + 0.19 * (len(markers) + len(colours))  # of the legend
    figure, ax = plt.subplots(figsize=(6.0, max(3.7, height)), layout="constrained")
    for attack, marker in markers.items():
        for defense, colour in colours.items():
            mark: dict[str, Any] = {"color": colour, "marker": marker, "ls": ""}
            if over:
                own = runs.query("attack == @attack and defense == @defense")
                ax.plot(own[ASR], own[CA], **mark, ms=4, mew=0, alpha=0.45)
            own = pick(means, attack=attack, defense=defense)
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
    ax.set(**SAFETY, ylim=(runs[CA].min() - margin, runs[CA].max() + 1.7 * margin))
    ax.annotate(
        "upper left is best", (0.012, 0.988), (0.1, 0.93), xycoords="axes fraction",
        color=style.GREY, size=8.5, weight="bold", va="center",
        arrowprops={"arrowstyle": "-|>", "color": style.GREY},
    )  # fmt: skip
    subtitle = style.sample_text(rows, "small: runs, large: mean with")
    return style.finish(figure, "Clean accuracy against attack success", subtitle)


def rates(table: pd.DataFrame, rates: Rates, budgets: Sequence[float], look: Look) -> Figure:
    """Draw ASR@1 against the loss of CA@1, a panel for each attack and a line for each defence.

    The budgets, in points of CA@1, are vertical lines.
    """
    rows = main_rows(table, look)
    runs = cleanings(rows, rates)
    starts = runs.assign(rate=0.0, lost=0.0)
    starts[ASR] = starts[f"{ASR} before"]
    means = pd.concat([starts, runs]).groupby(["attack", "method", "rate"])[["lost", ASR]].mean()
    attacks, colours = ordered(runs["attack"], look.attacks), look.colours(runs["method"])
    grid = sns.relplot(
        means.reset_index(), x="lost", y=ASR, hue="method", palette=colours, col="attack",
        col_order=attacks, col_wrap=3, kind="line", sort=False, marker="o", ms=5, mew=0, lw=1.5,
        legend=False, height=1.9, aspect=1.25,
    )  # fmt: skip
    grid.figure.set_layout_engine("constrained")
    for attack, ax in grid.axes_dict.items():
        own = runs[runs["attack"] == attack]
        ax.scatter(own["lost"], own[ASR], s=8, c=own["method"].map(colours), alpha=0.4, lw=0)
        for budget in budgets:
            ax.axvline(budget, color=style.GREY, ls=":", lw=0.9, zorder=0)
        ax.set(title=look.attack_label(attack), ylim=(-4, 104), ylabel=style.LABELS[ASR])
        ax.set_xlabel("points of CA@1 lost")
    title = "Attack success against the clean accuracy that a defence gives away"
    subtitle = f"{style.sample_text(rows)}; a point for each learning rate"
    return style.finish(grid.figure, title, subtitle, style.keys(look, colours, lw=4))


def tuning(grid: pd.DataFrame, within: float, look: Look) -> Figure:
    """Draw mean CA@1 against mean ASR@1 on val, a point for each trial of a `grid`.

    The grey lines are the CA@1 of the poisoned models and the limit, `within` points below.
    """
    trials = choose(grid, within)
    colours, grey = look.colours(trials["defense"]), look.colours([NONE])[NONE]
    ca, asr = grid.drop_duplicates(["attack", "seed"])[["victim_CA", "victim_ASR"]].mean()
    figure, ax = plt.subplots(figsize=(6.0, 3.5), layout="constrained")
    ax.axhline(ca, color=style.GREY, lw=1.0)
    ax.axhline(ca - within, color=style.GREY, lw=1.0, ls="--", label=f"{within:g} points below")
    ax.plot(asr, ca, "X", color=grey, ms=8, label=look.defense_label(NONE))
    ax.plot([], [], "o", ms=9, mfc="none", mec="black", label="chosen")
    dots, chosen = trials["defense"].map(colours), trials["chosen"]
    ax.scatter(trials["ASR"], trials["CA"], 25, dots)
    rings: dict[str, Any] = {"facecolors": "none", "edgecolors": dots[chosen], "lw": 1.6}
    ax.scatter(trials["ASR"][chosen], trials["CA"][chosen], 120, **rings)
    for (_, row), colour in zip(trials.iterrows(), dots, strict=True):
        number: dict[str, Any] = {"size": 6.8, "color": colour, "textcoords": "offset points"}
        ax.annotate(str(row["trial"]), (row["ASR"], row["CA"]), (5, -8), **number)
    low, high = (f([*trials["CA"], ca, ca - within]) for f in (min, max))
    margin = max(1.0, 0.08 * (high - low))
    ax.set(**SAFETY, ylim=(low - margin, high + margin))
    handles = [*style.keys(look, colours, marker="o", ms=4), *ax.get_legend_handles_labels()[0]]
    attacks = ", ".join(map(look.attack_label, dict.fromkeys(grid["attack"])))
    subtitle = (
        f"val split, means over {attacks}; {seeds_text(grid['seed'])}; a point: a trial, by its "
        "number; ringed: the largest rate within the limit"
    )
    title = "What each defence can have of clean accuracy and safety"
    return style.finish(figure, title, subtitle, handles)
