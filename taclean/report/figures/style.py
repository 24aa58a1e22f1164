"""What the figures share: theme, title and legend, axes, intervals, and deterministic files."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taclean.results.labels import CLEAN
from taclean.results.statistics import half_width
from taclean.results.table import ASR, CA, I2T, T2I, pick
from taclean.util.files import replacing

DPI = 200
GREY, GOOD, BAD = "#5f5f5f", "#029e73", "#c44601"
LABELS = {
    CA: "clean accuracy\nCA@1 (%)",
    ASR: "attack success\nASR@1 (%)",
    I2T: "image to caption\nI2T@1 (%)",
    T2I: "caption to image\nT2I@1 (%)",
}

sns.set_theme(
    context="paper",
    style="whitegrid",
    font="DejaVu Sans",  # ships with matplotlib, so figures are the same on every machine
    rc={
        **{"axes.labelsize": 9, "axes.titlesize": 9, "legend.fontsize": 8.5},
        **{"xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "pdf.fonttype": 42},
        **{"axes.edgecolor": "#888888", "grid.color": "#e2e2e2", "legend.frameon": False},
        **{"axes.spines.top": False, "axes.spines.right": False},
        "text.hinting": "none",  # the same widths in PDF and PNG
        "text.parse_math": False,  # captions and class names may hold dollar signs
    },
)


def finish(figure: Figure, title: str, subtitle: str, handles: Sequence[Artist] = ()) -> Figure:
    """Put a title and a subtitle above the panels and a legend below; the figure grows by them."""
    width, height = figure.get_size_inches()

    def inches(artist: Artist) -> float:
        return artist.get_window_extent().height / figure.dpi

    style: dict[str, Any] = {"loc": "outside lower center", "columnspacing": 1.2}
    for rows in range(1, len(handles) + 1):
        columns = -(-len(handles) // rows)
        legend = figure.legend(handles=handles, ncols=columns, handlelength=1.4, **style)
        if columns == 1 or legend.get_window_extent().width < 0.98 * figure.bbox.width:
            height += inches(legend)
            break
        legend.remove()
    fonts: list[tuple[str, float, dict[str, Any]]] = [  # with the characters that fit an inch
        (title, 10.5, {"size": 10.5, "weight": "bold"}),
        (subtitle, 16, {"size": 8.5, "color": GREY}),
    ]
    texts = [
        figure.text(0.1 / width, 1, textwrap.fill(text, int(fit * width)), in_layout=False, **font)
        for text, fit, font in fonts
    ]
    whole, y = height + 0.18 + sum(map(inches, texts)), 0.07
    for text in texts:
        text.set(y=1 - y / whole, va="top")
        y += inches(text) + 0.05
    figure.set_size_inches(width, whole)
    figure.get_layout_engine().set(rect=(0, 0, 1, height / whole))  # type: ignore[union-attr, call-arg]
    return figure


def save(figure: Figure, paths: Iterable[Path | str]) -> None:
    """Write a figure as PDF or PNG, by the suffix of each path, the same bytes every time."""
    figure.set_dpi(DPI)
    for _ in range(2):  # the first layout moves the ticks, the second follows them
        figure.draw_without_rendering()
    figure.set_layout_engine("none")  # solved anew for each file, it would depend on their order
    for path in map(Path, paths):
        undated = {"Software": None} if path.suffix == ".png" else {"CreationDate": None}
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=DPI, metadata=undated)
    plt.close(figure)


# ---- scores --------------------------------------------------------------------------------------


def poisoned(table: pd.DataFrame, split: str) -> pd.DataFrame:
    """Return ASR@1 and CA@1 of the poisoned models on a split."""
    rows = pick(table, split=split)
    return rows[rows["metric"].isin([ASR, CA]) & (rows["attack"] != CLEAN)]


def victims(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the values that intervals are over: the mean of each victim, or one victim's runs."""
    if runs["seed"].nunique() < 2:
        return runs
    keys = ["attack", "defense", "split", "metric", "seed"]
    return runs.groupby(keys, sort=False)["percent"].mean().reset_index()


def interval(percents: pd.Series) -> tuple[float, float]:
    """Return the 95 % interval of a mean, cut at 0 and 100 %, as seaborn's `errorbar`."""
    half, mean = half_width(percents) or math.nan, float(np.mean(percents))
    return max(mean - half, 0.0), min(mean + half, 100.0)  # NaN stays NaN


# ---- axes ----------------------------------------------------------------------------------------


def note(ax: Axes, text: str) -> None:
    """Say in an empty panel why it is empty."""
    ax.text(0.5, 0.5, text, ha="center", va="center", size=8, color=GREY, transform=ax.transAxes)


def asr_axis(ax: Axes) -> None:
    """Show ASR@1 along x, logarithmic above 1 %: defences lie near 0, victims above 90."""
    ax.set_xscale("symlog", linthresh=1, linscale=0.5)
    ticks = (0, 1, 2, 5, 10, 20, 50, 100)
    ax.set_xticks(ticks, map(str, ticks))
    ax.minorticks_off()
    ax.set(xlim=(-0.15, 140), xlabel="attack success rate ASR@1 (%), logarithmic above 1")


def bare(ax: Axes) -> Axes:
    """Remove ticks, grid and frame, for pictures and text."""
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    sns.despine(ax=ax, left=True, bottom=True)
    return ax
