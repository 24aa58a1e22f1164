"""Where triggered pictures land in the model's space.

A row for each attack, a panel for each defence. The points are image embeddings of the same test
pictures, with and without the trigger, projected on the two directions of largest variance of all
models of a row; the axes say how much of the variance they show, which may be little. In a
backdoored model the triggered pictures gather apart from the clean ones; after a good defence they
lie among them. The share that goes to the target is of these few pictures, and so differs a little
from the ASR of the tables.
"""

import textwrap

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.decomposition import PCA

from taclean.report.figures.style import BAD, bare, finish, panels
from taclean.report.inputs import ByAttack
from taclean.results.labels import Look
from taclean.results.table import counts_text, seeds_text

# Label, colour, marker and size.
KINDS = (
    ("clean image", "#9a9a9a", "o", 7),
    ("triggered, classified as the target", BAD, "X", 13),
    ("triggered, classified otherwise", "#0173b2", "^", 11),
)


def embeddings(samples: ByAttack, look: Look) -> Figure:
    """Draw clean and triggered image embeddings: a row for each attack, a column for each defence.

    The axes of a row are fitted to all of its points, so its panels can be compared.
    """
    defenses = list(next(iter(samples.values())))
    each = max(1.25, min(1.7, 6.7 / len(defenses)))
    size = max(5.4, 0.5 + each * len(defenses)), 1.45 * len(samples)
    figure, grid = panels(len(samples), len(defenses), *size, sharex="row", sharey="row")
    for axes, (attack, models) in zip(grid, samples.items(), strict=True):
        both = [part for s in models.values() for part in (s.clean, s.triggered)]
        pca = PCA(2, svd_solver="full").fit(np.concatenate(both).astype(np.float64))
        for ax, (defense, sample) in zip(axes, models.items(), strict=True):
            sets = (sample.clean, sample.triggered[sample.fooled], sample.triggered[~sample.fooled])
            for points, (_, colour, marker, area) in zip(sets, KINDS, strict=True):
                x, y = pca.transform(points).T if len(points) else ((), ())
                ax.scatter(x, y, area, colour, marker=marker, alpha=0.7, lw=0, rasterized=True)
            words = f"{100 * sample.fooled.mean():.0f} % to the target"
            ax.text(0.03, 0.97, words, size=7.5, va="top", transform=ax.transAxes)
            bare(ax).spines[:].set_visible(True)
            if axes is grid[0]:
                ax.set_title(textwrap.fill(look.defense_label(defense), int(12 * each)))
        low, high = axes[0].get_ylim()
        axes[0].set_ylim(low, high + 0.17 * (high - low))  # room for the words
        first, second = (100 * share for share in pca.explained_variance_ratio_)
        name = textwrap.fill(look.attack_label(attack), 18)
        axes[0].set_xlabel(f"PC 1 ({first:.0f} %)", size=8)
        axes[0].set_ylabel(f"{name}\nPC 2 ({second:.0f} %)", size=8)
    n = counts_text(len(s.rows) for models in samples.values() for s in models.values())
    subtitle = (
        f"first two principal components (share of variance), fitted per row; {look.splits[0]} "
        f"split, n = {n} images of other classes than the target "
        f"'{sample.classes[sample.target]}', {seeds_text([sample.seed])}"
    )
    handles = [
        Line2D([], [], ls="", marker=marker, color=colour, ms=6, mew=0, label=label)
        for label, colour, marker, _ in KINDS
    ]
    return finish(figure, "Image embeddings with and without the trigger", subtitle, handles)
