"""The page of a run's results, in one file: the result first, then how it came about."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from docutils.core import publish_parts
from docutils.writers.html5_polyglot import Writer
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from taclean.results.labels import Look
from taclean.results.main_table import blocks, header, html
from taclean.results.verdict import verdict
from taclean.util.errors import UserError
from taclean.util.files import replacing


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: what links lead to.
        title: plain text.
        text: HTML.
        picture: data URI of a PNG, '' where there is none.
    """

    name: str
    title: str
    text: Markup
    picture: str = ""


def html_of(text: str, **names: Any) -> tuple[str, Markup]:
    """A text in reStructuredText as (title, HTML); if its first words are bold, they are the title.

    Args:
        text: a jinja template, as Snakemake takes it for captions.
        names: what the template may use.

    Raises:
        UserError: it is no reStructuredText.
    """
    source = Environment(undefined=StrictUndefined).from_string(text).render(**names)
    settings = {"report_level": 2, "halt_level": 2, "raw_enabled": False, "traceback": True}
    try:
        body = publish_parts(source, writer=Writer(), settings_overrides=settings)["body"]
    except Exception as error:  # docutils gives its own kinds no common base
        raise UserError(f"{text.splitlines()[0][:40]}...: {error}; correct the caption") from None
    first = re.match(r"<p><strong>(.*?)</strong>\s*", body, re.DOTALL)
    if not first:
        return "", Markup(body)
    title = " ".join(Markup(first[1]).striptags().split()).rstrip(".")
    return title, Markup("<p>" + body[first.end() :])


def picture(path: Path | str) -> str:
    """A PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(Path(path).read_bytes()).decode()


def rendered(template: str, **values: Any) -> str:
    """An HTML template of assets/page, filled."""
    environment = Environment(
        loader=PackageLoader("taclean", "assets/page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def write(text: str, path: Path | str) -> None:
    """Write a page, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8")


def write_page(
    path: Path | str,
    table: pd.DataFrame,
    look: Look,
    tested: str,
    figures: Sequence[tuple[Path | str, Path | str]],
    texts: Mapping[str, Path | str],
    names: Mapping[str, Any],
) -> None:
    """Write the page, atomically.

    Args:
        table: all scores.
        tested: the defence that the verdict is about.
        figures: PNG and caption; the first is the main one.
        texts: captions of `main_table` and `table`, and what the whole is about, `workflow`.
        names: what captions may use.

    Raises:
        UserError: a caption is no reStructuredText, or the disk is full.
    """

    def read(file: Path | str) -> tuple[str, Markup]:
        return html_of(Path(file).read_text("utf-8"), **names)

    sections = [Section(Path(png).stem, *read(caption), picture(png)) for png, caption in figures]
    said = {name: Section(name, *read(file)) for name, file in texts.items()}
    csv = table.to_csv(index=False, float_format="%.4f", lineterminator="\n")
    page = rendered(
        "page.html",
        verdict=verdict(table, look, tested),
        tested=look.defense_label(tested),
        blocks=[
            (title, block["defense"].nunique(), block["metric"].unique(), Markup(html(block)))
            for title, block in blocks(table, look)
        ],
        header=header(table, look),
        figures=sections,
        texts=said,
        csv=csv,
        csv_uri="data:text/csv;base64," + base64.b64encode(csv.encode()).decode(),
    )
    write(page, path)
