"""Projection of clean and triggered image embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from taclean.report.figures.samples import Samples, by_attack, split_text
from taclean.report.figures.style import (
    attack_name,
    bare,
    defense_name,
    drawable,
    finish,
    head_height,
    legend_below,
    wrap,
)
from taclean.results.labels import Look, ordered
from taclean.results.table import counts_text, seeds_text


def pca(points: np.ndarray, towards: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal axes of (n, d) points.

    Returns:
        mean (d,), the two axes (2, d), their shares of the variance (2,). The axes point along
        `towards` (d,), or else their largest entry is positive: no sign depends on the solver.
    """
    points = points.astype(np.float64)
    mean = points.mean(0)
    _, scale, axes = np.linalg.svd(points - mean, full_matrices=False)
    axes = np.pad(axes[:2], ((0, max(0, 2 - len(axes))), (0, 0)))
    along = axes @ towards
    largest = axes[np.arange(2), np.abs(axes).argmax(1)]
    sign = np.where(np.abs(along) > 1e-9, along, largest)
    share = np.pad(scale, (0, 2))[:2] ** 2 / max(float((scale**2).sum()), 1e-12)
    return mean, axes * np.where(sign < 0, -1.0, 1.0)[:, None], share


# Clean images, triggered ones that the model calls the target, and the other triggered ones.
_KINDS = (
    ("clean image", "#9a9a9a", "o", 7),
    ("triggered, classified as the target", "#c44601", "X", 13),
    ("triggered, classified otherwise", "#0173b2", "^", 11),
)


def embeddings(samples: Sequence[Samples], look: Look | None = None) -> Figure:
    """Clean and triggered image embeddings in 2-D: a row per attack, a column per defence.

    The axes of a row are fitted to all of its points, so its panels can be compared.
    """
    look = look or Look()
    seed, found = by_attack(samples, look)
    defenses = ordered((d for own in found.values() for d in own), look.defenses)
    any_one = next(iter(next(iter(found.values())).values()))
    n = counts_text(len(s) for own in found.values() for s in own.values())
    title, subtitle = (
        "Image embeddings with and without the trigger",
        "first two principal components (share of variance), fitted per row; "
        f"{split_text(look)}, n = {n} images of other classes than the target "
        f"'{drawable(any_one.classes[any_one.target])}', {seeds_text([seed])}",
    )
    width = max(5.4, min(7.2, 0.5 + 1.7 * len(defenses)), 0.5 + 1.25 * len(defenses))
    figure, grid = plt.subplots(
        len(found), len(defenses), squeeze=False, sharex="row", sharey="row", layout="constrained",
        figsize=(width, head_height(title, subtitle, width) + 0.65 + 1.45 * len(found)),
    )  # fmt: skip
    for axes, (attack, own) in zip(grid.tolist(), found.items(), strict=True):
        both = [part for s in own.values() for part in (s.clean, s.triggered)]
        shift = np.sum([(s.triggered - s.clean).mean(0) for s in own.values()], axis=0)
        mean, axis, share = pca(np.concatenate(both), shift)
        for ax, defense in zip(axes, defenses, strict=True):
            bare(ax)
            if defense in own:
                sample = own[defense]
                hit = sample.triggered_top == sample.target
                sets = (sample.clean, sample.triggered[hit], sample.triggered[~hit])
                for points, (_, colour, marker, size) in zip(sets, _KINDS, strict=True):
                    x, y = axis @ (points.astype(np.float64) - mean).T
                    style = {"s": size, "color": colour, "marker": marker, "alpha": 0.7}
                    ax.scatter(x, y, linewidths=0, rasterized=True, **style)
                ax.text(
                    0.03, 0.97, f"{100 * hit.mean():.0f} % to the target", size=7.5,
                    va="top", transform=ax.transAxes,
                )  # fmt: skip
                for side in ax.spines.values():
                    side.set_visible(True)
            if axes[0] is grid[0, 0]:
                name = wrap(defense_name(look, defense), (width - 0.7) / len(defenses), 9, lines=3)
                ax.set_title("\n".join(name))
        low, high = axes[0].get_ylim()
        axes[0].set_ylim(low, high + 0.17 * (high - low))  # room for the words
        name = wrap(attack_name(look, attack), 1.25, 8, lines=2)
        axes[0].set_ylabel("\n".join([*name, f"PC 2 ({100 * share[1]:.0f} %)"]), size=8)
        axes[0].set_xlabel(f"PC 1 ({100 * share[0]:.0f} %)", size=8)
    handles = [
        Line2D([], [], ls="", marker=marker, color=colour, ms=6, mew=0, label=label)
        for label, colour, marker, _ in _KINDS
    ]
    legend_below(figure, handles)
    return finish(figure, title, subtitle)
