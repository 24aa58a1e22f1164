"""The page of a run's results, in one file: the result first, then how it came about."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import pandas as pd
from docutils.core import publish_parts
from docutils.writers.html5_polyglot import Writer
from markupsafe import Markup

from taclean.report.templates import rendered
from taclean.results.labels import Look
from taclean.results.main_table import blocks, header, html
from taclean.results.verdict import verdict


class Section(NamedTuple):
    """A figure on the page: its body is the picture, or the gallery."""

    name: str  # what links lead to
    title: str
    caption: Markup
    body: Markup

    @classmethod
    def read(cls, file: Path | str, text: Path | str) -> Self:
        """Read a figure (.png, or .html for a gallery) and its text: a title, then the caption."""
        file = Path(file)
        title, _, caption = Path(text).read_text("utf-8").partition("\n")
        title = title.rstrip(".")
        if file.suffix == ".html":
            body = Markup(file.read_text("utf-8"))
        else:
            data = base64.b64encode(file.read_bytes()).decode()
            picture = '<figure><img src="data:image/png;base64,{}" alt="{}"></figure>'
            body = Markup(picture).format(data, title)
        settings = {"report_level": 2, "halt_level": 2, "raw_enabled": False}
        parts = publish_parts(caption, writer=Writer(), settings_overrides=settings)
        return cls(file.stem, title, Markup(parts["body"]), body)


def page(table: pd.DataFrame, look: Look, tested: str, figures: Sequence[Section]) -> str:
    """Return the page as HTML that needs no other file.

    Args:
        table: all scores.
        tested: the defence that the verdict is about.
        figures: the first one is the main one.
    """
    csv = table.to_csv(index=False, float_format="%.4f", lineterminator="\n")
    return rendered(
        "page.html",
        verdict=verdict(table, look, tested),
        tested=look.defense_label(tested),
        blocks=[
            (title, block["defense"].nunique(), block["metric"].unique(), Markup(html(block)))
            for title, block in blocks(table, look)
        ],
        header=header(table, look),
        figures=figures,
        splits=look.splits,
        csv=csv,
    )
