"""Figures of single examples: triggers, sub-captions, recovered predictions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from taclean.data.packed import load_array
from taclean.errors import UserError
from taclean.plots.samples import Samples, by_attack
from taclean.plots.style import (
    BAD,
    GOOD,
    GREY,
    Piece,
    attack_name,
    bare,
    defense_colours,
    defense_name,
    drawable,
    finish,
    flow,
    head_height,
    shorten,
    write,
)
from taclean.tables import DEFENSES, ordered, read_csv, seeds_text

GAIN = 5  # of the difference pictures


def _picture(
    figure: Figure, image: np.ndarray, x: float, y: float, side: float, frame: str | None = None
) -> None:
    """Show an image with its upper left corner at (x, y) inches."""
    wide, high = figure.get_size_inches()
    ax = bare(figure.add_axes((x / wide, 1 - (y + side) / high, side / wide, side / high)))
    ax.imshow(image, interpolation="nearest" if image.shape[0] < side * 150 else "antialiased")
    if frame:
        for spine in ax.spines.values():
            spine.set(visible=True, color=frame, linewidth=1.5)


def _canvas(width: float, height: float) -> Figure:
    return plt.figure(figsize=(width, height))


def triggers(samples: Sequence[Samples], examples: int = 3) -> Figure:
    """Each attack's trigger on a few images: clean, triggered, amplified difference.

    `samples` are those of the undefended models, with pictures.
    """
    seed, found = by_attack([s for s in samples if s.defense == "none"])
    first = next(iter(found.values()))["none"]
    which = np.unique(np.linspace(0, len(first) - 1, examples).astype(int))
    title, subtitle = (
        "What each attack adds to a picture",
        f"{len(which)} of {len(first):,} test images, {seeds_text([seed])}; difference = triggered "
        f"− clean, ×{GAIN} around mid-grey; |Δ| in grey levels of 255, mean over all",
    )
    left, side, gap, group = 1.05, 0.66, 0.04, 0.14
    wide = max(left + len(which) * (3 * (side + gap) + group), 5.2)
    top = head_height(title, subtitle, wide) + 0.25
    figure = _canvas(wide, top + len(found) * (side + 0.08) + 0.06)
    for column in range(3 * len(which)):
        x = left + column * (side + gap) + column // 3 * group + side / 2
        label = ("clean", "triggered", f"diff. ×{GAIN}")[column % 3]
        _centred(figure, label, x, top - 0.08, 8)
    for row, (attack, own) in enumerate(found.items()):
        sample = own["none"]
        if sample.images is None or sample.triggered_images is None:
            raise UserError(f"samples.npz of {attack}/none: holds no pictures; evaluate it again")
        y = top + row * (side + 0.08)
        pair = [array.astype(np.int16) for array in (sample.images, sample.triggered_images)]
        change = float(np.abs(pair[1] - pair[0]).mean())
        write(figure, 0.1, y + 0.16, [Piece(attack_name(attack), {"weight": "bold"})], 0.95, 8.5)
        write(figure, 0.1, y + 0.32, [Piece(f"mean |Δ| {change:.1f}", {"color": GREY})], 0.95, 7)
        for column, i in enumerate(np.minimum(which, len(sample) - 1)):
            difference = np.clip(128 + GAIN * (pair[1][i] - pair[0][i]), 0, 255).astype(np.uint8)
            shown = (sample.images[i], sample.triggered_images[i], difference)
            for k, image in enumerate(shown):
                x = left + (3 * column + k) * (side + gap) + column * group
                _picture(figure, image, x, y, side)
    return finish(figure, title, subtitle)


def _centred(figure: Figure, text: str, x: float, y: float, size: float) -> None:
    wide, high = figure.get_size_inches()
    figure.text(x / wide, 1 - y / high, text, size=size, color=GREY, ha="center", va="baseline")


# ---- sub-captions ----------------------------------------------------------------------------


def _chosen(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """Rows of the first epoch, the kinds in turn, no picture twice."""
    table = table[table["epoch"] == table["epoch"].min()]
    kinds = ordered(table["kind"], ("adjective", "noun", "verb"))
    pools = [table[table["kind"] == kind].index.tolist() for kind in kinds]
    rows = {at: int(row) for at, row in table["row"].items()}
    seen: set[int] = set()
    picked: list[int] = []
    while len(picked) < count and any(pools):
        for pool in pools:
            while pool and rows[pool[0]] in seen:
                pool.pop(0)
            if pool and len(picked) < count:
                picked.append(pool.pop(0))
                seen.add(rows[picked[-1]])
    return table.loc[picked]


def read_subcaptions(path: Path | str, images: Path | str) -> tuple[pd.DataFrame, np.ndarray]:
    """Read `subcaptions.csv` and memory-map the pictures that its rows belong to.

    Raises:
        UserError: one is missing or not such a file.
    """
    columns = ["epoch", "row", "caption", "positive", "negative", "kind", "original", "replacement"]
    return read_csv(path, columns), load_array(images, np.uint8, 4)


def _highlighted(text: str, word: str, colour: str) -> list[Piece]:
    """The text with the first whole occurrence of `word` in bold."""
    match = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) if word else None
    if not match:
        return [Piece(text, {})]
    # Punctuation that touches the word belongs to it, or a space would come between.
    start = len(text[: match.start()].rpartition(" ")[0])
    end = match.end() + len(re.match(r"\S*", text[match.end() :])[0])  # type: ignore[index]
    bold = {"weight": "bold", "color": colour}
    return [Piece(text[:start], {}), Piece(text[start:end], bold), Piece(text[end:], {})]


def subcaptions(table: pd.DataFrame, images: np.ndarray, seed: int, examples: int = 6) -> Figure:
    """Pictures with caption, true sub-caption, and false sub-caption with its word marked."""
    chosen = _chosen(table, examples)
    drawn = table[table["epoch"] == table["epoch"].min()]["row"].nunique()
    width, side, left, top = 7.0, 0.92, 1.18, 0.55
    size, labels = 8.5, 0.75
    texts = []
    for _, row in chosen.iterrows():
        words = {
            name: drawable(str(row[name]))
            for name in ("caption", "positive", "negative", "kind", "original", "replacement")
        }
        swap = [
            Piece(words["kind"] + ":", {"color": GREY}),
            Piece(f"{words['original']} → {words['replacement']}", {"color": BAD}),
        ]
        texts.append(
            (
                ("caption", "black", [Piece(words["caption"], {})], 2),
                ("positive", GOOD, [Piece(words["positive"], {})], 2),
                ("negative", BAD, _highlighted(words["negative"], words["replacement"], BAD), 2),
                ("", GREY, swap, 1),
            )
        )
    room = width - left - labels - 0.1
    height = [max(side, _height(lines, room, size)) + 0.16 for lines in texts]
    figure = _canvas(width, top + max(sum(height), 0.6))
    if chosen.empty:
        write(figure, 0.1, top, [Piece("no sub-captions were drawn", {"color": GREY})], 5, 9)
    y = top
    for (_, row), lines, high in zip(chosen.iterrows(), texts, height, strict=True):
        at = int(row["row"])
        if at >= len(images):
            raise UserError(f"subcaptions.csv: row {at}, but the split has {len(images)} pictures")
        _picture(figure, np.asarray(images[at]), 0.1, y, side)
        below = y
        for label, colour, pieces, most in lines:
            look = {"color": colour, "weight": "bold"}
            write(figure, left, below, [Piece(label, look)], labels, size)
            below = write(figure, left + labels, below, pieces, room, size, most) + 0.05
        y += high
    return finish(
        figure,
        "Sub-captions: a true part and a false part of the same caption",
        f"{len(chosen)} of {drawn:,} captions drawn for the first epoch of TA-Cleaner, "
        f"{seeds_text([seed])}; the replaced word is bold",
    )


def _height(lines: Sequence[tuple[str, str, list[Piece], int]], room: float, size: float) -> float:
    return sum(len(flow(p, room, size, most)) * size * 1.4 / 72 + 0.05 for _, _, p, most in lines)


# ---- recovered predictions -------------------------------------------------------------------


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


def recovered(samples: Sequence[Samples], cleaned: str = "taclean", examples: int = 6) -> Figure:
    """Triggered images that were taken for the target, and are their own class after `cleaned`.

    `samples` hold pictures for the undefended models. The attacks take turns.
    """
    seed, found = by_attack(samples)
    usable = {a: own for a, own in found.items() if "none" in own and cleaned in own}
    hits: dict[str, np.ndarray] = {}
    counts = []
    for attack, own in usable.items():
        before, after = own["none"], own[cleaned]
        fooled = before.triggered_top == before.target
        hits[attack] = np.flatnonzero(fooled & (after.triggered_top == after.labels))
        counts.append(f"{attack_name(attack)} {len(hits[attack])} of {int(fooled.sum())}")
    turns = _turns({a: [(int(i), usable[a]["none"].labels[i]) for i in hits[a]] for a in hits})
    turns = sorted(turns[:examples], key=lambda turn: list(hits).index(turn[0]))
    defenses = ordered((d for own in usable.values() for d in own), DEFENSES)
    colours = defense_colours(defenses)
    title = f"Triggered pictures classified correctly again after {defense_name(cleaned)}"
    if not turns:
        figure = _canvas(6.0, 1.5)
        text = (
            f"There is none: no triggered picture taken for the target without a defence is "
            f"classified as its own class after {defense_name(cleaned)}."
            if usable
            else f"Nothing to compare: no attack has runs both without a defence and with "
            f"{defense_name(cleaned)}."
        )
        write(figure, 0.1, 0.75, [Piece(text, {"color": BAD})], 5.8, 9)
        of = f"; recovered: {', '.join(counts)}" if counts else ""
        return finish(figure, title, f"test split, {seeds_text([seed])}{of}")
    side, step, size = 0.7, 0.8, 8.5
    width = 7.2
    left = 0.1 + side + 0.12
    column = (width - left - 0.05) / (len(defenses) + 1)
    first = usable[turns[0][0]]["none"]
    subtitle = (
        f"test split, {seeds_text([seed])}; classified as the target "
        f"'{drawable(first.classes[first.target])}' without a defence, as their own class after "
        f"{defense_name(cleaned)}; the first such of each attack; ✓ own class, ✗ wrong, orange: "
        "the target"
    )
    top = head_height(title, subtitle, width) + 0.33
    total = f"Of those classified as the target, own class again: {', '.join(counts)}"
    bottom = [Piece(total, {"color": GREY})]
    under = 0.08 + len(flow(bottom, width - 0.2, size)) * size * 1.4 / 72
    figure = _canvas(width, top + step * len(turns) + under)
    write(figure, 0.1, top + step * len(turns), bottom, width - 0.2, size)
    heads = [("true class", "black"), *((defense_name(d), colours[d]) for d in defenses)]
    for i, (text, colour) in enumerate(heads):
        look = {"color": colour, "weight": "bold"}
        name = shorten(text, column - 0.08, size, "bold")
        write(figure, left + i * column, top - 0.24, [Piece(name, look)], column, size)
    for number, (attack, i) in enumerate(turns):
        own = usable[attack]
        before = own["none"]
        if before.triggered_images is None:
            raise UserError(f"samples.npz of {attack}/none: holds no pictures; evaluate it again")
        y = top + number * step
        _picture(figure, before.triggered_images[i], 0.1, y, side)
        label = int(before.labels[i])
        own_class = [Piece(drawable(before.classes[label]), {"weight": "bold"})]
        below = write(figure, left, y + 0.05, own_class, column - 0.1, size, 3)
        write(figure, left, below, [Piece(attack_name(attack), {"color": GREY})], column, 7.5)
        for k, defense in enumerate(defenses, 1):
            if defense not in own:
                continue
            said = int(own[defense].triggered_top[i])
            right, fooled = said == label, said == before.target
            look = {"color": GOOD if right else BAD if fooled else "black"}
            mark = "✓" if right else "✗"
            x, word = left + k * column, drawable(before.classes[said])
            write(figure, x, y + 0.05, [Piece(mark, look)], column, size)
            write(figure, x + 0.15, y + 0.05, [Piece(word, look)], column - 0.25, size, 4)
    return finish(figure, title, subtitle)
