"""What each attack adds to a picture.

A row for each attack, the same example pictures in every row: the picture as it is, the same
picture with the attack's *trigger*, and the difference of the two, five times amplified around
mid-grey (grey: nothing changed; brighter or darker: the trigger added or took light in that colour;
large changes are cut off at black and white). The number under an attack's name is the mean
absolute change in grey levels (of 255) over all sample pictures and pixels: how much there is to
see.

Pictures with the trigger and a caption that names the attacker's target class were mixed into the
training set of the poisoned model. What is shown is exactly what the scores are computed on, at
the model's resolution and rounded to 8 bit. A trigger that is learned or optimised for a model is
the one that was fitted in this run.
"""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from taclean.report.figures.style import GREY, bare, finish
from taclean.report.inputs import ByAttack
from taclean.results.labels import NONE, Look
from taclean.results.table import seeds_text

GAIN, EXAMPLES = 5, 3  # of the difference pictures; pictures of each attack


def triggers(samples: ByAttack, look: Look | None = None) -> Figure:
    """Draw each attack's trigger on a few pictures: clean, triggered, amplified difference."""
    look = look or Look()
    figure, grid = plt.subplots(
        len(samples), 3 * EXAMPLES, figsize=(7.2, 0.3 + 0.7 * len(samples)), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for row, (attack, models) in zip(grid, samples.items(), strict=True):
        sample = models[NONE]
        pairs = np.stack([sample.images, sample.triggered_images], 1).astype(np.int16)  # type: ignore[list-item]
        which = np.linspace(0, len(pairs) - 1, EXAMPLES).astype(int)
        change = pairs[:, 1] - pairs[:, 0]
        for column, i in enumerate(which):
            difference = 128 + GAIN * change[i]
            for ax, pixels in zip(row[3 * column :], (*pairs[i], difference), strict=False):
                bare(ax).imshow(np.clip(pixels, 0, 255), interpolation="nearest")
        name = textwrap.fill(look.attack_label(attack), 14)
        label = f"{name}\nmean |Δ| {np.abs(change).mean():.1f}"
        row[0].set_ylabel(label, rotation=0, ha="left", va="center", labelpad=66)
    for ax, kind in zip(grid[0], EXAMPLES * ("clean", "triggered", f"diff. ×{GAIN}"), strict=True):
        ax.set_title(kind, size=8, color=GREY)
    subtitle = (
        f"{EXAMPLES} of {len(sample.rows):,} images ({look.splits[0]} split), "
        f"{seeds_text([sample.seed])}; difference = triggered − clean, ×{GAIN} around mid-grey; "
        "|Δ| in grey levels of 255, mean over all"
    )
    return finish(figure, "What each attack adds to a picture", subtitle)
