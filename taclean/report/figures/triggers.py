"""Gallery of the triggers."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from taclean.report.figures.samples import Samples, by_attack, split_text
from taclean.report.figures.style import (
    GREY,
    Piece,
    attack_name,
    finish,
    flow,
    head_height,
    picture,
    write,
)
from taclean.results.labels import NONE, Look
from taclean.results.table import seeds_text
from taclean.util.errors import UserError

GAIN = 5  # of the difference pictures


def triggers(samples: Sequence[Samples], look: Look | None = None, examples: int = 3) -> Figure:
    """Each attack's trigger on a few images: clean, triggered, amplified difference.

    `samples` are those of the undefended models, with pictures.
    """
    look = look or Look()
    seed, found = by_attack([s for s in samples if s.defense == NONE], look)
    first = next(iter(found.values()))[NONE]
    which = np.unique(np.linspace(0, len(first) - 1, examples).astype(int))
    title, subtitle = (
        "What each attack adds to a picture",
        f"{len(which)} of {len(first):,} images ({split_text(look)}), {seeds_text([seed])}; "
        f"difference = triggered − clean, ×{GAIN} around mid-grey; |Δ| in grey levels of 255, "
        "mean over all",
    )
    left, side, gap, group = 1.05, 0.66, 0.04, 0.14
    wide = max(left + len(which) * (3 * (side + gap) + group), 5.2)
    top = head_height(title, subtitle, wide) + 0.25
    figure = plt.figure(figsize=(wide, top + len(found) * (side + 0.08) + 0.06))
    for column in range(3 * len(which)):
        x = left + column * (side + gap) + column // 3 * group + side / 2
        label = ("clean", "triggered", f"diff. ×{GAIN}")[column % 3]
        _centred(figure, label, x, top - 0.08, 8)
    for row, (attack, own) in enumerate(found.items()):
        sample = own[NONE]
        if sample.images is None or sample.triggered_images is None:
            raise UserError(f"samples.npz of {attack}/{NONE}: holds no pictures; evaluate it again")
        y = top + row * (side + 0.08)
        pair = [array.astype(np.int16) for array in (sample.images, sample.triggered_images)]
        change = float(np.abs(pair[1] - pair[0]).mean())
        name = [Piece(attack_name(look, attack), {"weight": "bold"})]
        lines = len(flow(name, 0.9, 8.5, 3))
        below = write(figure, 0.1, y + max(0.02, 0.24 - 0.083 * lines), name, 0.9, 8.5, 3)
        write(figure, 0.1, below, [Piece(f"mean |Δ| {change:.1f}", {"color": GREY})], 0.95, 7)
        for column, i in enumerate(np.minimum(which, len(sample) - 1)):
            difference = np.clip(128 + GAIN * (pair[1][i] - pair[0][i]), 0, 255).astype(np.uint8)
            shown = (sample.images[i], sample.triggered_images[i], difference)
            for k, image in enumerate(shown):
                x = left + (3 * column + k) * (side + gap) + column * group
                picture(figure, image, x, y, side)
    return finish(figure, title, subtitle)


def _centred(figure: Figure, text: str, x: float, y: float, size: float) -> None:
    wide, high = figure.get_size_inches()
    figure.text(x / wide, 1 - y / high, text, size=size, color=GREY, ha="center", va="baseline")
