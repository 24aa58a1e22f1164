"""The sample predictions of a run, and the projection of their embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from taclean.errors import UserError
from taclean.plots.style import (
    attack_name,
    bare,
    defense_name,
    drawable,
    finish,
    head_height,
    legend_below,
)
from taclean.tables import ATTACKS, DEFENSES, counts_text, ordered, seeds_text


@dataclass(frozen=True)
class Samples:
    """What a model says about the first n test images of other classes than the target.

    Attributes:
        clean, triggered: (n, d) float32 image embeddings.
        clean_top, triggered_top: (n,) predicted labels.
        images, triggered_images: (n, H, W, 3) uint8, or None where the run stores none.
    """

    attack: str
    defense: str
    seed: int
    rows: np.ndarray
    labels: np.ndarray
    clean: np.ndarray
    triggered: np.ndarray
    clean_top: np.ndarray
    triggered_top: np.ndarray
    classes: list[str]
    target: int
    images: np.ndarray | None = None
    triggered_images: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)


def read_samples(path: Path | str, run: Mapping[str, Any], pictures: bool = False) -> Samples:
    """Read the `samples.npz` of a run (its attack, defense and seed).

    Raises:
        UserError: it is missing, not such a file, or has no pictures where they are asked for.
    """
    names = ["rows", "labels", "clean", "triggered", "clean_top", "triggered_top"]
    try:
        with np.load(path, allow_pickle=False) as file:
            wanted = [n for n in ("images", "triggered_images") if pictures and n in file]
            arrays = {name: file[name] for name in names + wanted}
            classes = [str(name) for name in file["classes"]]
            target = int(file["target"])
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; evaluate that run again") from None
    except (KeyError, ValueError, OSError, EOFError, BadZipFile) as error:
        raise UserError(f"{path}: not a samples file ({error}); evaluate that run again") from None
    if len(arrays["labels"]) == 0:
        raise UserError(f"{path}: no samples; give the test split images of other classes")
    return Samples(
        str(run["attack"]), str(run["defense"]), int(run["seed"]),
        classes=classes, target=target, **arrays,
    )  # fmt: skip


def by_attack(samples: Sequence[Samples]) -> tuple[int, dict[str, dict[str, Samples]]]:
    """The lowest seed, and its samples as attack -> defence -> samples, in the usual order."""
    if not samples:
        raise UserError("samples.npz: none given; choose at least one attack")
    seed = min(sample.seed for sample in samples)
    chosen = [sample for sample in samples if sample.seed == seed]
    found: dict[str, dict[str, Samples]] = {}
    for attack in ordered((s.attack for s in chosen), ATTACKS):
        own = {s.defense: s for s in chosen if s.attack == attack}
        found[attack] = {d: own[d] for d in ordered(own, DEFENSES)}
    return seed, found


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


def embeddings(samples: Sequence[Samples]) -> Figure:
    """Clean and triggered image embeddings in 2-D: a row per attack, a column per defence.

    The axes of a row are fitted to all of its points, so its panels can be compared.
    """
    seed, found = by_attack(samples)
    defenses = ordered((d for own in found.values() for d in own), DEFENSES)
    any_one = next(iter(next(iter(found.values())).values()))
    n = counts_text(len(s) for own in found.values() for s in own.values())
    title, subtitle = (
        "Image embeddings with and without the trigger",
        f"first two principal components (share of variance), fitted per row; test split, n = {n} "
        "images of other classes than the target "
        f"'{drawable(any_one.classes[any_one.target])}', {seeds_text([seed])}",
    )
    width = max(5.4, min(7.2, 0.5 + 1.7 * len(defenses)))
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
                    look = {"s": size, "color": colour, "marker": marker, "alpha": 0.7}
                    ax.scatter(x, y, linewidths=0, rasterized=True, **look)
                ax.text(
                    0.03, 0.97, f"{100 * hit.mean():.0f} % to the target", size=7.5,
                    va="top", transform=ax.transAxes,
                )  # fmt: skip
                for side in ax.spines.values():
                    side.set_visible(True)
            if axes[0] is grid[0, 0]:
                ax.set_title(defense_name(defense))
        low, high = axes[0].get_ylim()
        axes[0].set_ylim(low, high + 0.17 * (high - low))  # room for the words
        axes[0].set_ylabel(f"{attack_name(attack)}\nPC 2 ({100 * share[1]:.0f} %)", size=8)
        axes[0].set_xlabel(f"PC 1 ({100 * share[0]:.0f} %)", size=8)
    handles = [
        Line2D([], [], ls="", marker=marker, color=colour, ms=6, mew=0, label=label)
        for label, colour, marker, _ in _KINDS
    ]
    legend_below(figure, handles)
    return finish(figure, title, subtitle)
