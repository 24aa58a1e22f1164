"""One picture that tells it all: with a trigger, before and after the defence."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from taclean.report.figures.samples import Samples, by_attack, recovered, split_text, stored
from taclean.report.figures.style import (
    BAD,
    GOOD,
    GREY,
    Piece,
    attack_name,
    defense_name,
    drawable,
    finish,
    head_height,
    picture,
    write,
)
from taclean.report.figures.subcaptions import highlighted
from taclean.results.labels import NONE, Look
from taclean.results.table import seeds_text


def first(
    samples: Sequence[Samples],
    captions: Sequence[str],
    subcaptions: pd.DataFrame,
    look: Look | None,
    cleaned: str,
) -> Figure:
    """A picture without and with its trigger, what two models call it, and its sub-captions.

    It is chosen: without a defence the model calls it the target, after `cleaned` what it is. The
    last attack that has one is shown, and the picture whose caption has most words.

    Args:
        samples: of the undefended models, with pictures, and of those after `cleaned`.
        captions: of the split that the samples' rows are of. A picture of a test set is in no
            training; its sub-captions are those that were drawn for the same words.
        subcaptions: as `read_subcaptions` gives them.
    """
    look = look or Look()
    seed, found = by_attack(samples, look)
    drawn = subcaptions.drop_duplicates("caption").set_index("caption")
    title = f"A triggered picture before and after {defense_name(look, cleaned)}"
    for attack in reversed(list(found)):
        models = found[attack]
        if not {NONE, cleaned} <= set(models):
            continue
        before, after = models[NONE], models[cleaned]
        fooled, back = recovered(before, after)
        told = [captions[row] for row in before.rows]
        hits = [i for i in range(len(before)) if back[i] and told[i] in drawn.index]
        if hits:
            break
    else:
        return _none(title, f"{split_text(look)}, {seeds_text([seed])}")
    shown = max(hits, key=lambda i: len(told[i].split()))
    clean, triggered = (stored(before, x)[shown] for x in (before.images, before.triggered_images))
    sub = drawn.loc[told[shown]]
    right, target = (drawable(before.classes[i]) for i in (before.labels[shown], before.target))
    subtitle = (
        f"{attack_name(look, attack)}, {split_text(look)}, {seeds_text([seed])}; selected: "
        f"of {int(fooled.sum())} triggered pictures called '{target}', {int(back.sum())} are "
        "called what they show again"
    )
    good, bad = ({"color": colour, "weight": "bold"} for colour in (GOOD, BAD))
    grey, size = {"color": GREY}, 9.0
    lines = [
        (defense_name(look, NONE), grey, [Piece("says", {}), Piece(f"{target} ✗", bad)]),
        (defense_name(look, cleaned), grey, [Piece("says", {}), Piece(f"{right} ✓", good)]),
        ("caption", grey, [Piece(drawable(told[shown]), {})]),
        ("positive", good, [Piece(drawable(str(sub["positive"])), {})]),
        (
            "negative",
            bad,
            highlighted(drawable(str(sub["negative"])), drawable(str(sub["replacement"])), BAD),
        ),
    ]
    width, side, label = 7.2, 1.45, 1.0
    top = head_height(title, subtitle, width) + 0.1
    left = 0.1 + 2 * (side + 0.1) + 0.1
    figure = plt.figure(figsize=(width, top + side + 0.35))
    for n, (image, text) in enumerate(((clean, "as it is"), (triggered, "with the trigger"))):
        x = 0.1 + n * (side + 0.1)
        picture(figure, image, x, top, side)
        write(figure, x, top + side + 0.04, [Piece(text, grey)], side, size, 1)
    y = top
    for name, font, pieces in lines:
        below = write(figure, left, y, [Piece(name, font)], label - 0.1, size, 2)
        room = width - left - label - 0.1
        y = max(below, write(figure, left + label, y, pieces, room, size, 2)) + 0.05
    return finish(figure, title, subtitle)


def _none(title: str, subtitle: str) -> Figure:
    width = 7.2
    top = head_height(title, subtitle, width) + 0.1
    text = "There is none: no such picture is called what it shows again."
    figure = plt.figure(figsize=(width, top + 0.4))
    write(figure, 0.1, top, [Piece(text, {"color": BAD})], width - 0.2, 9)
    return finish(figure, title, subtitle)
