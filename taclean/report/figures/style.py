"""Parts that figures share: theme, title and legend, axes, intervals, deterministic files."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
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
from matplotlib.lines import Line2D

from taclean.results.labels import Look
from taclean.results.statistics import half_width, interval_text
from taclean.results.table import ASR, CA, I2T, T2I, images_text, seeds_text
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
        "image.interpolation": "nearest",
        "text.hinting": "none",  # the same widths in PDF and PNG
        "text.parse_math": False,  # captions and class names may hold dollar signs
    },
)


def panels(rows: int, columns: int, width: float, height: float, **more: Any) -> Any:
    """Return a figure of a size in inches and the array (rows, columns) of its axes."""
    size: dict[str, Any] = {"figsize": (width, height), "layout": "constrained"}
    return plt.subplots(rows, columns, squeeze=False, **size, **more)


def finish(figure: Figure, title: str, subtitle: str, handles: Sequence[Artist] = ()) -> Figure:
    """Write a title and a subtitle above the panels and a legend below; `save` includes them."""
    width, height = figure.get_size_inches()
    below = textwrap.fill(subtitle, int(16 * width))  # 16 characters an inch
    y = 1 + (0.13 + 0.14 * len(below.split("\n"))) / height
    title = textwrap.fill(title, int(10.5 * width))
    figure.text(0, y, title, size=10.5, weight="bold", va="bottom")
    figure.text(0, 1 + 0.07 / height, below, size=8.5, color=GREY, va="bottom")
    if handles:
        inches = sum(0.48 + 0.067 * len(str(handle.get_label())) for handle in handles)
        rows = math.ceil(inches / width)
        figure.legend(
            handles=handles, ncols=math.ceil(len(handles) / rows), loc="upper center",
            bbox_to_anchor=(0.5, 0), columnspacing=1.2, handlelength=1.4,
        )  # fmt: skip
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
            figure.savefig(temporary, dpi=DPI, metadata=undated, bbox_inches="tight")
    plt.close(figure)


def interval(percents: pd.Series) -> tuple[float, float]:
    """Return the 95 % interval of a mean, cut at 0 and 100 %, as seaborn's `errorbar`."""
    half, mean = half_width(percents) or math.nan, float(np.mean(percents))
    return max(mean - half, 0.0), min(mean + half, 100.0)  # NaN stays NaN


def sample_text(rows: pd.DataFrame, mean: str = "") -> str:
    """Return 'test split, n = 3,000 clean and 2,970 triggered images, seed 0' for each split.

    Where there are several runs, `mean` stands before what its interval is over.
    """
    counts = {split: images_text(rows, split) for split in rows["split"].unique()}
    seeds, over = seeds_text(rows["seed"]), interval_text(rows)
    texts = [f"{split} split, n = {n}, {seeds}" for split, n in counts.items()]
    return "; ".join([*texts, f"{mean} {over}"] if mean and over else texts)


def keys(look: Look, colours: Mapping[str, str], before: str = "", **line: Any) -> list[Line2D]:
    """Return the entries of a legend for defences, with their colours."""
    labels = {name: before + look.defense_label(name) for name in colours}
    return [Line2D([], [], color=c, label=labels[name], **line) for name, c in colours.items()]


def bare(ax: Axes) -> Axes:
    """Remove ticks, grid and frame, for pictures and text."""
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    sns.despine(ax=ax, left=True, bottom=True)
    return ax
