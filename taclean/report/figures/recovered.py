"""Triggered images that a defence gives their own class back."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from taclean.report.figures.samples import Samples, by_attack, split_text, stored
from taclean.report.figures.samples import recovered as of_samples
from taclean.report.figures.style import (
    BAD,
    GOOD,
    GREY,
    Piece,
    attack_name,
    defense_name,
    drawable,
    finish,
    flow,
    head_height,
    picture,
    wrap,
    write,
)
from taclean.results.labels import NONE, Look
from taclean.results.table import seeds_text


def _turns(hits: dict[str, list[tuple[int, int]]]) -> list[tuple[str, int]]:
    """(attack, index) in turn over the attacks; classes that were not yet shown come first."""
    hits, shown, turns = {a: list(pairs) for a, pairs in hits.items()}, set(), []
    while any(hits.values()):
        for attack, pairs in hits.items():
            if pairs:
                new = next((pair for pair in pairs if pair[1] not in shown), pairs[0])
                pairs.remove(new)
                shown.add(new[1])
                turns.append((attack, new[0]))
    return turns


def recovered(
    samples: Sequence[Samples], look: Look | None, cleaned: str, examples: int = 6
) -> Figure:
    """Triggered images that were taken for the target, and are their own class after `cleaned`.

    `samples` hold pictures for the undefended models. The attacks take turns.
    """
    look = look or Look()
    seed, found = by_attack(samples, look)
    shown = defense_name(look, cleaned)
    usable = {a: models for a, models in found.items() if NONE in models and cleaned in models}
    hits: dict[str, np.ndarray] = {}
    counts = []
    for attack, models in usable.items():
        taken, back = of_samples(models[NONE], models[cleaned])
        hits[attack] = np.flatnonzero(back)
        counts.append(f"{attack_name(look, attack)} {len(hits[attack])} of {int(taken.sum())}")
    turns = _turns({a: [(int(i), usable[a][NONE].labels[i]) for i in hits[a]] for a in hits})
    turns = sorted(turns[:examples], key=lambda turn: list(hits).index(turn[0]))
    colours = look.colours(d for models in usable.values() for d in models)
    title = f"Triggered pictures classified correctly again after {shown}"
    if not turns:
        text = (
            f"There is none: no triggered picture taken for the target without a defence is "
            f"classified as its own class after {shown}."
            if usable
            else f"Nothing to compare: no attack has runs both without a defence and with {shown}."
        )
        of = f"; recovered: {', '.join(counts)}" if counts else ""
        subtitle = f"{split_text(look)}, {seeds_text([seed])}{of}"
        top = head_height(title, subtitle, 6.0) + 0.2
        figure = plt.figure(figsize=(6.0, top + 0.7))
        write(figure, 0.1, top, [Piece(text, {"color": BAD})], 5.8, 9)
        return finish(figure, title, subtitle)
    side, step, size = 0.7, 0.8, 8.5
    left = 0.1 + side + 0.12
    width = max(7.2, left + 0.05 + 1.0 * (len(colours) + 1))
    column = (width - left - 0.05) / (len(colours) + 1)
    first = usable[turns[0][0]][NONE]
    subtitle = (
        f"{split_text(look)}, {seeds_text([seed])}; classified as the target "
        f"'{drawable(first.classes[first.target])}' without a defence, as their own class after "
        f"{shown}; the first such of each attack; ✓ own class, ✗ wrong, orange: "
        "the target"
    )
    heads = [
        ("true class", "black"),
        *((defense_name(look, d), colour) for d, colour in colours.items()),
    ]
    names = [wrap(text, column - 0.08, size, "bold", lines=3) for text, _ in heads]
    line = size * 1.4 / 72
    top = head_height(title, subtitle, width) + 0.15 + line * max(map(len, names))
    total = f"Of those classified as the target, own class again: {', '.join(counts)}"
    bottom = [Piece(total, {"color": GREY})]
    under = 0.08 + len(flow(bottom, width - 0.2, size)) * line
    figure = plt.figure(figsize=(width, top + step * len(turns) + under))
    write(figure, 0.1, top + step * len(turns), bottom, width - 0.2, size)
    for i, (name, (_, colour)) in enumerate(zip(names, heads, strict=True)):
        piece = Piece(" ".join(name), {"color": colour, "weight": "bold"})
        y = top - 0.08 - line * len(name)
        write(figure, left + i * column, y, [piece], column - 0.08, size, 3)
    for number, (attack, i) in enumerate(turns):
        models = usable[attack]
        before = models[NONE]
        y = top + number * step
        picture(figure, stored(before, before.triggered_images)[i], 0.1, y, side)
        label = int(before.labels[i])
        own_class = [Piece(drawable(before.classes[label]), {"weight": "bold"})]
        by = [Piece(attack_name(look, attack), {"color": GREY})]
        lines = 4 - len(flow(by, column - 0.1, 7.5, 2))
        below = write(figure, left, y + 0.05, own_class, column - 0.1, size, lines)
        write(figure, left, below, by, column - 0.1, 7.5, 2)
        for k, defense in enumerate(colours, 1):
            if defense not in models:
                continue
            said = int(models[defense].triggered_top[i])
            right, fooled = said == label, said == before.target
            font = {"color": GOOD if right else BAD if fooled else "black"}
            mark = "✓" if right else "✗"
            x, word = left + k * column, drawable(before.classes[said])
            write(figure, x, y + 0.05, [Piece(mark, font)], column, size)
            write(figure, x + 0.15, y + 0.05, [Piece(word, font)], column - 0.25, size, 4)
    return finish(figure, title, subtitle)
