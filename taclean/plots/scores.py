"""Figures of the scores: bars, trade-off, and the course of cleaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from taclean.errors import UserError
from taclean.plots.style import (
    GREY,
    attack_markers,
    attack_name,
    bare,
    defense_colours,
    defense_name,
    finish,
    legend_below,
    note,
    wrap,
)
from taclean.tables import (
    ATTACKS,
    SPLITS,
    counts_text,
    ordered,
    pick,
    read_csv,
    seeds_text,
)

CA, ASR = "CA@1", "ASR@1"
LABELS = {CA: "clean accuracy\nCA@1 (%)", ASR: "attack success\nASR@1 (%)"}


def _subject(rows: pd.DataFrame, split: str) -> str:
    """'test split, n = 2,970 triggered and 3,000 clean images, seed 0'."""
    parts = []
    for metric, of in ((ASR, "triggered"), (CA, "clean")):
        n = pick(rows, metric=metric)["n"]
        if len(n):
            parts.append(f"{counts_text(n)} {of}")
    return f"{split} split, n = {' and '.join(parts)} images, {seeds_text(rows['seed'])}"


def _split(table: pd.DataFrame) -> str:
    return next((s for s in SPLITS if (table["split"] == s).any()), str(table["split"].iloc[0]))


def asr_ca(table: pd.DataFrame) -> Figure:
    """Bars of ASR@1 and CA@1 per attack and defence; seeds as points and their deviation."""
    split = _split(table)
    rows = pick(table, split=split)
    poisoned = rows[rows["attack"] != "clean"]
    shown = poisoned if len(poisoned) else rows
    attacks, colours = ordered(shown["attack"], ATTACKS), defense_colours(shown["defense"])
    many = shown["seed"].nunique() > 1
    width = min(7.2, 2.2 + 0.24 * len(attacks) * (len(colours) + 1.4))
    figure, axes = plt.subplots(
        2, 1, figsize=(max(5.0, width), 4.9), sharex=True, layout="constrained"
    )
    step = 0.84 / len(colours)
    for ax, metric in zip(axes, (ASR, CA), strict=True):
        lines = _references(ax, table, split, metric, attacks)
        for i, (defense, colour) in enumerate(colours.items()):
            for j, attack in enumerate(attacks):
                percent = pick(shown, attack=attack, defense=defense, metric=metric)["percent"]
                if percent.empty:
                    continue
                x, mean = j + (i - (len(colours) - 1) / 2) * step, percent.mean()
                std = float(percent.std()) if len(percent) > 1 else None
                ax.bar(x, mean, step * 0.94, color=colour, yerr=std, error_kw={"lw": 0.9})
                if many:
                    at = np.full(len(percent), x)
                    ax.plot(at, percent, "o", ms=2.2, mfc="white", mec="black", mew=0.5)
                top = max(mean + (std or 0), percent.max())
                if top - 1 < lines.get(attack, -99) < top + 9:  # keep the number off that line
                    top = lines[attack]
                text = f"{mean:.0f}" if mean >= 9.95 else f"{mean:.1f}"
                ax.text(x, top + 1.5, text, ha="center", va="bottom", size=6.8, color="#222222")
        if pick(shown, metric=metric).empty:
            note(ax, "no poisoned model among the runs")
        ax.set(ylim=(0, 112), yticks=range(0, 101, 25), ylabel=LABELS[metric])
        ax.set_title("lower is better" if metric == ASR else "higher is better", loc="left", pad=3)
        ax.grid(False, axis="x")
        sns.despine(ax=ax)
    room = 0.8 * figure.get_size_inches()[0] / len(attacks)
    names = ["\n".join(wrap(attack_name(a), room, 8.5)) for a in attacks]
    axes[1].set_xticks(range(len(attacks)), names)
    side = 0.6 if len(attacks) > 1 else 1.3  # a lone group would get very wide bars
    axes[1].set(xlim=(-side, len(attacks) - 1 + side), xlabel="attack")
    handles: list[Any] = [
        plt.Rectangle((0, 0), 1, 1, color=colour, label=defense_name(d))
        for d, colour in colours.items()
    ]
    if len(poisoned) and (table["attack"] == "clean").any():
        label = "same model, never poisoned"
        handles.append(Line2D([], [], color="black", ls=":", lw=1.4, label=label))
    legend_below(figure, handles)
    spread = "; line: std, points: seeds" if many else ""
    return finish(
        figure,
        "Attack success and clean accuracy after each defence",
        _subject(shown, split) + spread,
    )


def _references(
    ax: Axes, table: pd.DataFrame, split: str, metric: str, attacks: Sequence[str]
) -> dict[str, float]:
    """Dotted lines: the model that was never poisoned, with the attack's trigger for ASR."""
    found = {}
    base = pick(table, attack="clean", defense="none", metric=metric)
    for j, attack in enumerate(attacks):
        rows = pick(base, split=split if metric == CA else f"{split}+{attack}")
        if attack != "clean" and len(rows):
            found[attack] = float(rows["percent"].mean())
            ax.hlines(found[attack], j - 0.46, j + 0.46, color="black", ls=":", lw=1.4)
    return found


def tradeoff(table: pd.DataFrame) -> Figure:
    """CA@1 against ASR@1, a marker per attack and a colour per defence."""
    split = _split(table)
    rows = pick(table, split=split)
    rows = rows[rows["metric"].isin([CA, ASR]) & (rows["attack"] != "clean")]
    figure, ax = plt.subplots(figsize=(5.9, 4.1), layout="constrained")
    wide = rows.pivot(index=["attack", "defense", "seed"], columns="metric", values="percent")
    title = "Clean accuracy against attack success"
    if not {CA, ASR} <= set(wide):
        note(ax, "no poisoned model among the runs")
        bare(ax)
        return finish(figure, title, f"{split} split")
    attacks, colours = ordered(rows["attack"], ATTACKS), defense_colours(rows["defense"])
    markers = attack_markers(attacks)
    sizes = {attack: {"*": 11.0, "D": 6.2}.get(markers[attack], 7.0) for attack in attacks}
    mean = wide.groupby(["attack", "defense"]).mean()
    many = rows["seed"].nunique() > 1
    # each seed small and pale, the means large on top
    for points, scale, look in ((wide, 0.45, {"alpha": 0.45}), (mean, 1.0, {"mec": "white"})):
        for point in points.reset_index().to_dict("records") if many or points is mean else ():
            attack, colour = point["attack"], colours[point["defense"]]
            marker, size = markers[attack], scale * sizes[attack]
            ax.plot(point[ASR], point[CA], marker, ms=size, mew=0.7 * scale, color=colour, **look)
    low, high = wide[CA].min(), wide[CA].max()
    margin = max(1.5, 0.12 * (high - low))
    ax.set(
        xlim=(-4, 104), ylim=(low - margin, high + 1.7 * margin),
        xlabel="attack success rate ASR@1 (%)", ylabel="clean accuracy CA@1 (%)",
    )  # fmt: skip
    ax.annotate(
        "upper left is best", (0.012, 0.988), (0.1, 0.93), xycoords="axes fraction", color=GREY,
        size=8.5, weight="bold", ha="left", va="center",
        arrowprops={"arrowstyle": "-|>", "color": GREY},
    )  # fmt: skip
    sns.despine(ax=ax)
    handles: list[Any] = [Line2D([], [], ls="", label="defence")]
    for defense, colour in colours.items():
        label = defense_name(defense)
        handles.append(Line2D([], [], ls="", marker="o", color=colour, ms=7, label=label))
    handles.append(Line2D([], [], ls="", label="\nattack"))
    for attack in attacks:
        handles.append(
            Line2D([], [], ls="", marker=markers[attack], mfc="none", mec="black",
                   ms=0.9 * sizes[attack], label=attack_name(attack))
        )  # fmt: skip
    figure.legend(handles=handles, loc="outside right center", frameon=False, handlelength=1.0)
    spread = "; large: mean, small: seeds" if many else ""
    return finish(figure, title, _subject(rows, split) + spread)


def read_history(path: Path | str) -> pd.DataFrame:
    """Read the `history.csv` of a run.

    Raises:
        UserError: it is missing, empty, or lacks the epochs or the clean accuracy.
    """
    history = read_csv(path, ["epoch", CA])
    if history.empty:
        raise UserError(f"{path}: no epochs; train that run again")
    return history


def curves(
    histories: Sequence[pd.DataFrame], runs: Sequence[Mapping[str, Any]], n: int | None = None
) -> Figure:
    """ASR@1 and CA@1 over the epochs of cleaning: a column per attack, a line per defence.

    Args:
        runs: the attack, defense and seed of each history.
        n: images of the val split, for the title.
    """
    data = pd.concat(
        [
            history.reindex(columns=["epoch", CA, ASR]).assign(**dict(run))
            for history, run in zip(histories, runs, strict=True)
        ],
        ignore_index=True,
    )
    attacks, colours = ordered(data["attack"], ATTACKS), defense_colours(data["defense"])
    many = data["seed"].nunique() > 1
    figure, grid = plt.subplots(
        2, len(attacks), figsize=(min(7.4, max(5.0, 1.2 + 1.1 * len(attacks))), 3.9),
        sharex=True, sharey="row", squeeze=False, layout="constrained",
    )  # fmt: skip
    # CA moves little: show its own range, of 20 points at least.
    low, high = data[CA].min(), data[CA].max()
    extra = max(0.0, 20 - (high - low)) / 2 + 1
    limits = {ASR: (-4, 104), CA: (max(-1, low - extra), min(101, high + extra))}
    for column, attack in enumerate(attacks):
        for ax, metric in zip(grid[:, column], (ASR, CA), strict=True):
            rows = data[(data["attack"] == attack) & data[metric].notna()]
            for defense, colour in colours.items():
                line = pick(rows, defense=defense).groupby("epoch")[metric]
                if not len(line):
                    continue
                mean = line.mean()
                ax.plot(mean.index, mean, "o-", ms=2.6, lw=1.5, color=colour)
                if many:
                    ax.fill_between(
                        mean.index, line.min(), line.max(), color=colour, alpha=0.2, lw=0
                    )
            if rows.empty:
                note(ax, "no trigger" if attack == "clean" else "not recorded")
            ax.set_ylim(limits[metric])
            ax.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
            sns.despine(ax=ax)
        name = wrap(attack_name(attack), 5.6 / len(attacks), 9)
        grid[0, column].set_title("\n".join(name))
    span = data["epoch"].max() - data["epoch"].min()
    pad = 0.06 * span if span else 0.5
    if not span:
        grid[0, 0].set_xticks([data["epoch"].min()])
    grid[0, 0].set_xlim(data["epoch"].min() - pad, data["epoch"].max() + pad)
    for ax, metric in zip(grid[:, 0], (ASR, CA), strict=True):
        ax.set_ylabel(LABELS[metric])
    for ax in grid[1]:
        ax.set_xlabel("epoch")
    handles = [
        Line2D([], [], color=colour, marker="o", ms=3.5, lw=1.8, label=defense_name(d))
        for d, colour in colours.items()
    ]
    legend_below(figure, handles)
    of = "val split" if n is None else f"val split, n = {n:,} images"
    spread = "; line: mean, band: lowest to highest seed" if many else ""
    return finish(
        figure,
        "Attack success and clean accuracy during cleaning",
        f"{of}, {seeds_text(data['seed'])}{spread}; epoch 0: before cleaning",
    )
