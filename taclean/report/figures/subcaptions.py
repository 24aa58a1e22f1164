"""Examples of sub-captions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from taclean.data.layout import load_array
from taclean.report.figures.style import (
    BAD,
    GOOD,
    GREY,
    Piece,
    drawable,
    finish,
    flow,
    head_height,
    picture,
    write,
)
from taclean.results.labels import ordered
from taclean.results.table import read_csv, seeds_text
from taclean.util.errors import UserError

COLUMNS = ("epoch", "row", "caption", "positive", "negative", "kind", "original", "replacement")


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
    return read_csv(path, COLUMNS), load_array(images, np.uint8, 4)


def highlighted(text: str, word: str, colour: str) -> list[Piece]:
    """The text with the first whole occurrence of `word` in bold."""
    match = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) if word else None
    if not match:
        return [Piece(text, {})]
    # Punctuation that touches the word belongs to it, or a space would come between.
    start = len(text[: match.start()].rpartition(" ")[0])
    end = match.end() + len(re.match(r"\S*", text[match.end() :])[0])  # type: ignore[index]
    bold = {"weight": "bold", "color": colour}
    return [Piece(text[:start], {}), Piece(text[start:end], bold), Piece(text[end:], {})]


def account_text(account: Mapping[str, Any]) -> str:
    """What a set of sub-captions is worth, in a sentence or two, from its `account.json`.

    Raises:
        UserError: it is none.
    """
    try:
        total, shares, score = (account[key] for key in ("captions", "shares", "text_only"))
        offers = (f"{k} {100 * n / total:.0f} %" for k, n in account["offers"].items())
        told = (f"{k.replace('_', ' ')} {100 * n:.1f} %" for k, n in shares.items())
        text = f"of {total:,} captions offer {', '.join(offers)}; {', '.join(told)}"
    except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise UserError(f"account.json: no account of sub-captions ({error!r})") from None
    return (
        text if score is None else f"{text}; text alone picks the negative in {100 * score:.0f} %"
    )


def subcaptions(
    table: pd.DataFrame,
    images: np.ndarray,
    seed: int,
    defense: str,
    account: Mapping[str, Any] | None = None,
    examples: int = 6,
) -> Figure:
    """Pictures with caption, true sub-caption, and false sub-caption with its word marked.

    `defense` is the one that they were drawn for, as printed; `account` says what they are worth.
    """
    chosen = _chosen(table, examples)
    drawn = table[table["epoch"] == table["epoch"].min()]["row"].nunique()
    title, subtitle = (
        "Sub-captions: a true part and a false part of the same caption",
        f"{len(chosen)} of {drawn:,} captions drawn for the first epoch of {drawable(defense)}, "
        f"{seeds_text([seed])}; the replaced word is bold"
        + (f"; {account_text(account)}" if account else ""),
    )
    width, side, left = 7.0, 0.92, 1.18
    top = head_height(title, subtitle, width) + 0.14
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
                ("negative", BAD, highlighted(words["negative"], words["replacement"], BAD), 2),
                ("", GREY, swap, 1),
            )
        )
    room = width - left - labels - 0.1
    height = [max(side, _height(lines, room, size)) + 0.16 for lines in texts]
    figure = plt.figure(figsize=(width, top + max(sum(height), 0.6)))
    if chosen.empty:
        write(figure, 0.1, top, [Piece("no sub-captions were drawn", {"color": GREY})], 5, 9)
    y = top
    for (_, row), lines, high in zip(chosen.iterrows(), texts, height, strict=True):
        at = int(row["row"])
        if at >= len(images):
            raise UserError(f"subcaptions.csv: row {at}, but the split has {len(images)} pictures")
        picture(figure, np.asarray(images[at]), 0.1, y, side)
        below = y
        for label, colour, pieces, most in lines:
            font = {"color": colour, "weight": "bold"}
            write(figure, left, below, [Piece(label, font)], labels, size)
            below = write(figure, left + labels, below, pieces, room, size, most) + 0.05
        y += high
    return finish(figure, title, subtitle)


def _height(lines: Sequence[tuple[str, str, list[Piece], int]], room: float, size: float) -> float:
    return sum(len(flow(p, room, size, most)) * size * 1.4 / 72 + 0.05 for _, _, p, most in lines)
