"""What all figures share: fonts, titles, text that fits, pictures, deterministic files."""

from __future__ import annotations

import functools
import itertools
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath
from matplotlib.ticker import AutoLocator, FixedLocator

from taclean.results.labels import Look
from taclean.util.errors import UserError
from taclean.util.files import replacing

DPI = 200
FONT = "DejaVu Sans"  # ships with matplotlib, so figures are the same on every machine
GREY = "#5f5f5f"
GOOD, BAD = "#029e73", "#c44601"

sns.set_theme(
    context="paper",
    style="whitegrid",
    font=FONT,
    rc={
        "pdf.fonttype": 42,
        "axes.labelsize": 9,
        "axes.titlesize": 9,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "legend.fontsize": 8.5,
        "axes.edgecolor": "#888888",
        "grid.color": "#e2e2e2",
        "text.hinting": "none",  # the same widths in PDF, PNG and `text_width`
        "text.parse_math": False,  # captions and class names may hold dollar signs
    },
)


def attack_name(look: Look, attack: str) -> str:
    """An attack as drawn."""
    return drawable(look.attack_label(attack))


def defense_name(look: Look, defense: str) -> str:
    """A defence as drawn."""
    return drawable(look.defense_label(defense))


def save(figure: Figure, paths: Iterable[Path | str]) -> None:
    """Write a figure to each path, as its suffix says (.pdf, .png), the same bytes every time."""
    # The layout is solved before: solved anew for each file, it would depend on their order.
    figure.set_dpi(DPI)
    figure.draw_without_rendering()
    # Other ticks, other margins, other panels, other ticks: it would go round in circles.
    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        if isinstance(axis.get_major_locator(), AutoLocator):
            axis.set_major_locator(FixedLocator(axis.get_majorticklocs().tolist()))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for path in map(Path, paths):
        if path.suffix not in (".pdf", ".png"):
            raise UserError(f"{path}: figures are written as .pdf or .png")
        nothing = {"Software": None} if path.suffix == ".png" else {"CreationDate": None}
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=DPI, metadata=nothing)
    plt.close(figure)


def _head(title: str, subtitle: str, width: float) -> list[tuple[str, float, str, str]]:
    """The lines of title and subtitle: text, size, weight, colour."""
    return [
        (line, size, weight, colour)
        for text, size, weight, colour in (
            (title, 10.5, "bold", "black"),
            (subtitle, 8.5, "normal", GREY),
        )
        for line in wrap(text, width - 0.2, size, weight)
    ]


def head_height(title: str, subtitle: str, width: float) -> float:
    """Inches that title and subtitle take at the top of a figure."""
    return 0.11 + sum(size * 1.3 / 72 for _, size, _, _ in _head(title, subtitle, width))


def finish(figure: Figure, title: str, subtitle: str) -> Figure:
    """Put title and subtitle above everything else, wrapped to the figure's width."""
    width, height = figure.get_size_inches()
    y = 0.07
    for line, size, weight, colour in _head(title, subtitle, width):
        figure.text(
            0.1 / width, 1 - y / height, line,
            size=size, weight=weight, color=colour, va="top", in_layout=False,
        )  # fmt: skip
        y += size * 1.3 / 72
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, 0, 1, 1 - head_height(title, subtitle, width) / height))  # type: ignore[call-arg]
    return figure


def _legend_names(names: Iterable[str], width: float) -> tuple[list[str], int]:
    """The names, cut to half the width, and the number of columns that they fit."""
    room = width - 0.2
    names = [shorten(name, room / 2 - 0.45, 8.5) for name in names]
    wide = [text_width(name, 8.5) + 0.45 for name in names]
    return names, len(names) if sum(wide) <= room else max(1, int(room / max(wide)))


def legend_height(names: Iterable[str], width: float) -> float:
    """Inches that `legend_below` takes in a figure of this width."""
    names, columns = _legend_names(names, width)
    return 0.1 + 0.18 * -(-len(names) // columns)


def legend_below(figure: Figure, handles: Sequence[Artist]) -> None:
    """A legend under the panels, in as many columns as fit."""
    names, columns = _legend_names((str(h.get_label()) for h in handles), figure.get_figwidth())
    for handle, name in zip(handles, names, strict=True):
        handle.set_label(name)
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, frameon=False,
        columnspacing=1.2, handlelength=1.4,
    )  # fmt: skip


def note(ax: Axes, text: str) -> None:
    """Say in an empty panel why it is empty."""
    ax.text(0.5, 0.5, text, ha="center", va="center", size=8, color=GREY, transform=ax.transAxes)


def asr_axis(ax: Axes) -> None:
    """ASR@1 along x: what tells defences apart lies within a few points of 0, victims at 90."""
    ax.set_xscale("symlog", linthresh=1, linscale=0.5)
    ticks = (0, 1, 2, 5, 10, 20, 50, 100)
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.set(xlim=(-0.15, 140), xlabel="attack success rate ASR@1 (%), logarithmic above 1")


def picture(figure: Figure, image: np.ndarray, x: float, y: float, side: float) -> None:
    """Show an image with its upper left corner at (x, y) inches."""
    wide, high = figure.get_size_inches()
    ax = bare(figure.add_axes((x / wide, 1 - (y + side) / high, side / wide, side / high)))
    ax.imshow(image, interpolation="nearest" if image.shape[0] < side * 150 else "antialiased")


def bare(ax: Axes) -> Axes:
    """Take ticks, grid and frame away, for pictures."""
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    sns.despine(ax=ax, left=True, bottom=True)
    return ax


# ---- text that fits --------------------------------------------------------------------------


@functools.cache
def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Width of a text in inches, the same for every backend."""
    font = FontProperties(family=FONT, size=size, weight=weight)
    return TextToPath().get_text_width_height_descent(text, font, ismath=False)[0] / 72


def drawable(text: str) -> str:
    """Replace what the font has no glyph for by a box, without a warning for each."""
    kept = unicodedata.normalize("NFC", " ".join(text.split()))
    return "".join(char if ord(char) in _glyphs() else "□" for char in kept)


@functools.cache
def _glyphs() -> frozenset[int]:
    from matplotlib import font_manager, ft2font

    path = font_manager.findfont(FontProperties(family=FONT))
    return frozenset(ft2font.FT2Font(path).get_charmap())


def shorten(text: str, width: float, size: float, weight: str = "normal") -> str:
    """Cut a text to `width` inches, with an ellipsis where something is missing."""
    if text_width(text, size, weight) <= width:
        return text
    while text and text_width(text + "…", size, weight) > width:
        text = text[:-1].rstrip()
    return text + "…"


@dataclass(frozen=True)
class Piece:
    """Some words of a text with their own weight and colour."""

    text: str
    font: dict[str, Any]


def _broken(words: Iterable[str], width: float, size: float, weight: str) -> Iterator[str]:
    """The words, those wider than a line in parts."""
    for word in words:
        while text_width(word, size, weight) > width:
            fits = (
                n
                for n in range(len(word) - 1, 1, -1)
                if text_width(word[:n], size, weight) <= width
            )
            n = next(fits, 1)
            yield word[:n]
            word = word[n:]
        yield word


Word = tuple[str, dict[str, Any], float]  # text, font, place on its line in inches


def flow(pieces: Sequence[Piece], width: float, size: float, lines: int = 99) -> list[list[Word]]:
    """Break pieces into lines of at most `width` inches; what does not fit `lines` ends in '…'."""
    space = text_width("a a", size) - 2 * text_width("a", size)
    out: list[list[Word]] = [[]]
    x = 0.0
    for piece in pieces:
        weight = piece.font.get("weight", "normal")
        for word in _broken(piece.text.split(), width, size, weight):
            wide = text_width(word, size, weight)
            if x and x + wide > width:
                if len(out) == lines:
                    while out[-1] and x + text_width("…", size) > width:
                        x = out[-1].pop()[2]
                    out[-1].append(("…", {}, x))
                    return out
                out.append([])
                x = 0.0
            out[-1].append((word, piece.font, x))
            x += wide + space
    return out


def wrap(
    text: str, width: float, size: float, weight: str = "normal", lines: int = 99
) -> list[str]:
    """Break a text into lines of at most `width` inches."""
    found = flow([Piece(text, {"weight": weight})], width, size, lines)
    return [" ".join(word for word, _, _ in line) for line in found]


def write(
    figure: Figure, x: float, y: float, pieces: Sequence[Piece], width: float, size: float,
    lines: int = 99,
) -> float:  # fmt: skip
    """Write pieces of text, the first line's top at (x, y) inches from the upper left corner.

    Returns:
        The y below the last line.
    """
    wide, high = figure.get_size_inches()
    for line in flow(pieces, width, size, lines):
        # One text per font: letters and spaces are then set by one and the same shaping.
        runs = [list(run) for _, run in itertools.groupby(line, key=lambda word: word[1])]
        for run in runs:
            word, (_, font, offset) = " ".join(text for text, _, _ in run), run[0]
            figure.text(
                (x + offset) / wide, 1 - (y + size / 72) / high, word, size=size, va="baseline",
                in_layout=False, **font,
            )  # fmt: skip
        y += size * 1.4 / 72
    return y
