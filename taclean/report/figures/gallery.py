"""Galleries: pictures with words beside them, as an HTML table."""

from __future__ import annotations

from collections.abc import Sequence

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


def gallery(text: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """Return a text, and below it a table with a row for each picture; plain strings are escaped."""
    cells = [[str(escape(cell)) for cell in row] for row in rows]
    table = pd.DataFrame(cells, columns=range(len(head)))
    with pd.option_context("display.max_colwidth", None):
        body = table.to_html(
            index=False, escape=False, border=0, classes="gallery", justify="unset",
            header=[str(escape(name)) for name in head],
        )  # fmt: skip
    body = body if cells else "<p>There is no such picture.</p>"
    return Markup('<p class="note">{}</p>\n<div class="wide">{}</div>\n').format(text, Markup(body))
