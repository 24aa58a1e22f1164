"""What each attack adds to a picture.

The picture as it is, with the attack's *trigger*, and their difference, five times amplified around
mid-grey. The number under an attack's name is the mean absolute change in grey levels (of 255) over
all sample pictures and pixels. The scores are computed on exactly these pictures, at the model's
resolution and rounded to 8 bit. A trigger that is optimised for a model was fitted in this run.
"""

import textwrap

import numpy as np
from matplotlib.figure import Figure

from taclean.report.figures.style import GREY, bare, finish, panels
from taclean.report.inputs import ByAttack
from taclean.results.labels import NONE, Look
from taclean.results.table import seeds_text

GAIN, EXAMPLES = 5, 3  # of the difference pictures; pictures of each attack


def triggers(samples: ByAttack, look: Look) -> Figure:
    """Draw each attack's trigger on a few pictures: clean, triggered, amplified difference."""
    figure, grid = panels(len(samples), 3 * EXAMPLES, 7.2, 0.1 + 0.7 * len(samples))
    for row, (attack, models) in zip(grid, samples.items(), strict=True):
        sample = models[NONE]
        pairs = np.stack([sample.images, sample.triggered_images], 1).astype(np.int16)
        which = np.linspace(0, len(pairs) - 1, EXAMPLES).astype(int)
        change = pairs[:, 1] - pairs[:, 0]
        for column, i in enumerate(which):
            difference = 128 + GAIN * change[i]
            for ax, pixels in zip(row[3 * column :], (*pairs[i], difference), strict=False):
                bare(ax).imshow(np.clip(pixels, 0, 255))
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
