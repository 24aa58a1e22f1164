"""Pictures and words in HTML tables."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from taclean.data.images import png


def image(pixels: np.ndarray, alt: str) -> Markup:
    """Return a picture (H, W, 3) uint8 as HTML that needs no other file."""
    return Markup('<img alt="{}" src="{}">').format(alt, png(np.asarray(pixels)))


def coloured(text: str, kind: str) -> Markup:
    """Return a text in the colour of "good" or "bad", or in that of the page for ""."""
    return Markup('<span class="{}">{}</span>').format(kind, text)


def html_table(head: Sequence[str], rows: Sequence[Sequence[Any]], kind: str = "") -> Markup:
    """Return an HTML table of class `kind`; text is escaped, and floats have one decimal."""
    cells = [[f"{x:.1f}" if isinstance(x, float) else str(escape(x)) for x in row] for row in rows]
    with pd.option_context("display.max_colwidth", None):
        table = pd.DataFrame(cells, columns=[str(escape(name)) for name in head]).to_html(
            index=False, escape=False, border=0, classes=kind, justify="unset"
        )
    return Markup('<div class="wide">{}</div>\n').format(Markup(table))


def gallery(text: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """Return a text, and below it a table with a row for each picture."""
    table = html_table(head, rows, "gallery") if rows else Markup("<p>There is no picture.</p>\n")
    return Markup('<p class="note">{}</p>\n{}').format(text, table)
