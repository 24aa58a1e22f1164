"""What the figures share: theme, head and legend, axes, intervals, and deterministic files."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taclean.results.statistics import half_width
from taclean.results.table import ASR, CA, I2T, T2I
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
        "pdf.fonttype": 42,
        "axes.labelsize": 9,
        "axes.titlesize": 9,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "legend.fontsize": 8.5,
        "legend.frameon": False,
        "axes.edgecolor": "#888888",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": "#e2e2e2",
        "text.hinting": "none",  # the same widths in PDF and PNG
        "text.parse_math": False,  # captions and class names may hold dollar signs
    },
)


def finish(figure: Figure, title: str, subtitle: str, handles: Sequence[Artist] = ()) -> Figure:
    """Put a title and a subtitle above the panels and a legend below; the figure grows by them."""
    width, height = figure.get_size_inches()

    def inches(artist: Artist) -> float:
        return artist.get_window_extent().height / figure.dpi

    for rows in range(1, len(handles) + 1):
        style = {"columnspacing": 1.2, "handlelength": 1.4, "ncols": -(-len(handles) // rows)}
        legend = figure.legend(handles=handles, loc="outside lower center", **style)
        if rows == len(handles) or legend.get_window_extent().width < 0.98 * figure.bbox.width:
            height += inches(legend)
            break
        legend.remove()
    texts = [
        figure.text(0.1 / width, 1, textwrap.fill(text, int(a_inch * width)), va="top", **font)
        for text, a_inch, font in (  # characters that fit an inch
            (title, 10.5, {"size": 10.5, "weight": "bold", "in_layout": False}),
            (subtitle, 16, {"size": 8.5, "color": GREY, "in_layout": False}),
        )
    ]
    head = 0.18 + sum(map(inches, texts))
    figure.set_size_inches(width, height + head)
    y = 0.07
    for text in texts:
        text.set_y(1 - y / (height + head))
        y += inches(text) + 0.05
    figure.get_layout_engine().set(rect=(0, 0, 1, height / (height + head)))  # type: ignore[union-attr, call-arg]
    return figure


def save(figure: Figure, paths: Iterable[Path | str]) -> None:
    """Write a figure as PDF and PNG, by the suffix of each path, the same bytes every time."""
    figure.set_dpi(DPI)
    for _ in range(2):  # the first layout moves the ticks, the second follows them
        figure.draw_without_rendering()
    figure.set_layout_engine("none")  # solved anew for each file, it would depend on their order
    for path in map(Path, paths):
        no_date = {"Software": None} if path.suffix == ".png" else {"CreationDate": None}
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=DPI, metadata=no_date)
    plt.close(figure)


# ---- scores --------------------------------------------------------------------------------------


def victims(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the values that intervals are over: the mean of each victim, or one victim's runs."""
    if runs["seed"].nunique() < 2:
        return runs
    keys = ["attack", "defense", "split", "metric", "seed"]
    return runs.groupby(keys, sort=False, as_index=False)["percent"].mean()


def interval(percents: pd.Series) -> tuple[float, float]:
    """Return the 95 % interval of a mean, cut at 0 and 100 %, as seaborn's `errorbar`."""
    half = half_width(percents)
    if half is None:
        return math.nan, math.nan
    return max(0.0, percents.mean() - half), min(100.0, percents.mean() + half)


# ---- axes ----------------------------------------------------------------------------------------


def note(ax: Axes, text: str) -> None:
    """Say in an empty panel why it is empty."""
    ax.text(0.5, 0.5, text, ha="center", va="center", size=8, color=GREY, transform=ax.transAxes)


def asr_axis(ax: Axes) -> None:
    """Show ASR@1 along x, logarithmic above 1 %: defences lie near 0, victims above 90."""
    ax.set_xscale("symlog", linthresh=1, linscale=0.5)
    ticks = (0, 1, 2, 5, 10, 20, 50, 100)
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.set(xlim=(-0.15, 140), xlabel="attack success rate ASR@1 (%), logarithmic above 1")


def bare(ax: Axes) -> Axes:
    """Remove ticks, grid and frame, for pictures and text."""
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    sns.despine(ax=ax, left=True, bottom=True)
    return ax


def show(ax: Axes, pixels: object) -> None:
    """Show a picture (H, W, 3) uint8, with its pixels as they are if it is small."""
    bare(ax).imshow(pixels, interpolation="nearest" if len(pixels) < 128 else "antialiased")  # type: ignore[arg-type]
