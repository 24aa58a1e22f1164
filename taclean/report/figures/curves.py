"""Attack success and clean accuracy over the epochs of cleaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from taclean.report.figures.style import (
    attack_name,
    defense_name,
    finish,
    legend_below,
    legend_height,
    note,
    wrap,
)
from taclean.results.labels import CLEAN, Look, ordered
from taclean.results.table import ASR, CA, pick, read_csv, seeds_text
from taclean.util.errors import UserError

LABELS = {CA: "clean accuracy\nCA@1 (%)", ASR: "attack success\nASR@1 (%)"}
MOST = 7  # columns beside each other


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
    histories: Sequence[pd.DataFrame],
    runs: Sequence[Mapping[str, Any]],
    look: Look | None = None,
    n: int | None = None,
) -> Figure:
    """ASR@1 and CA@1 over the epochs of cleaning: a column per attack, a line per defence.

    Args:
        runs: the attack, defense, seed and repeat of each history.
        n: images of the val split, for the title.
    """
    look = look or Look()
    data = pd.concat(
        [
            history.reindex(columns=["epoch", CA, ASR]).assign(**dict(run))
            for history, run in zip(histories, runs, strict=True)
        ],
        ignore_index=True,
    )
    attacks, colours = ordered(data["attack"], look.attacks), look.colours(data["defense"])
    many = data.duplicated(["attack", "defense", "epoch"]).any()
    lines = -(-len(attacks) // MOST)
    each = -(-len(attacks) // lines)
    width = min(7.4, max(5.0, 1.2 + 1.1 * each))
    legend = legend_height((defense_name(look, d) for d in colours), width)
    figure, grid = plt.subplots(
        2 * lines, each, figsize=(width, 0.55 + legend + 3.1 * lines), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    # CA moves little: show its own range, of 20 points at least.
    low, high = data[CA].min(), data[CA].max()
    extra = max(0.0, 20 - (high - low)) / 2 + 1
    limits = {ASR: (-4, 104), CA: (max(-1, low - extra), min(101, high + extra))}
    first, last = data["epoch"].min(), data["epoch"].max()
    pad = 0.06 * (last - first) or 0.5
    for place in range(lines * each):
        line, column = divmod(place, each)
        for ax, metric in zip(grid[2 * line : 2 * line + 2, column], (ASR, CA), strict=True):
            if place >= len(attacks):
                ax.remove()
                continue
            rows = pick(data, attack=attacks[place])
            rows = rows[rows[metric].notna()]
            for defense, colour in colours.items():
                course = pick(rows, defense=defense).groupby("epoch")[metric]
                if not len(course):
                    continue
                mean = course.mean()
                ax.plot(mean.index, mean, "o-", ms=2.6, lw=1.5, color=colour)
                if many:
                    ax.fill_between(
                        mean.index, course.min(), course.max(), color=colour, alpha=0.2, lw=0
                    )
            if rows.empty:
                note(ax, "no trigger" if attacks[place] == CLEAN else "not recorded")
            ax.set(ylim=limits[metric], xlim=(first - pad, last + pad))
            ax.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
            if first == last:
                ax.set_xticks([first])
            if metric == ASR:
                name = wrap(attack_name(look, attacks[place]), 5.6 / each, 9, lines=3)
                ax.set_title("\n".join(name))
                ax.tick_params(labelbottom=False)
            else:
                ax.set_xlabel("epoch")
            if column == 0:
                ax.set_ylabel(LABELS[metric])
            else:
                ax.tick_params(labelleft=False)
            sns.despine(ax=ax)
    handles = [
        Line2D([], [], color=colour, marker="o", ms=3.5, lw=1.8, label=defense_name(look, d))
        for d, colour in colours.items()
    ]
    legend_below(figure, handles)
    of = "val split" if n is None else f"val split, n = {n:,} images"
    spread = "; line: mean, band: lowest to highest run" if many else ""
    return finish(
        figure,
        "Attack success and clean accuracy during cleaning",
        f"{of}, {seeds_text(data['seed'])}{spread}; epoch 0: before cleaning",
    )
