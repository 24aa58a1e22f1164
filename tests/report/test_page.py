"""The page of results: the result first, everything in one file, text escaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from taclean.report.page import Section, html_of, page
from taclean.results.labels import Look
from taclean.results.table import COLUMNS

LOOK = Look.of(
    {
        "attacks": {"a": {"label": "Alpha & Co"}, "b": {"label": "Beta"}},
        "defenses": {"old": {"label": "Old"}, "new": {"label": "New <1>"}},
        "splits": ["test"],
    }
)
ASR = {("a", "old"): 40, ("a", "new"): 3, ("b", "old"): 20, ("b", "new"): 60}


def scores() -> pd.DataFrame:
    rows: list[tuple[Any, ...]] = [("clean", "none", 0, 0, "test", "CA@1", 91.0, 100)]
    for attack in "ab":
        rows.append(("clean", "none", 0, 0, f"test+{attack}", "ASR@1", 1.0, 100))
        for defense, ca in (("none", 90.0), ("old", 88.0), ("new", 85.0)):
            rows.append((attack, defense, 0, 0, "test", "CA@1", ca, 100))
            asr = ASR.get((attack, defense), 99.0)
            rows.append((attack, defense, 0, 0, "test", "ASR@1", asr, 100))
    return pd.DataFrame(rows, columns=COLUMNS)


class Page(HTMLParser):
    """What the tests ask of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.order: list[str] = []
        self.names: set[str] = set()
        self.targets: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.order.append(tag)
        self.names.add(given.get("id") or "")
        self.targets += [v for k in ("href", "src") if (v := given.get(k))]


@pytest.fixture
def figures(tmp_path: Path) -> list[Section]:
    plt.figure(figsize=(1, 1)).savefig(tmp_path / "asr_ca.png")
    plt.close()
    (tmp_path / "recovered.html").write_text("<p>a gallery</p>")
    files = [tmp_path / "asr_ca.png", tmp_path / "recovered.html"]
    return [*map(Section.read, files, ["asr_ca", "recovered"])]


def test_a_table_of_many_columns_stands_below_the_figure(figures: list[Section]) -> None:
    assert '<div class="first beside">' in page(scores(), LOOK, "new", figures)
    more = [scores().query("defense == 'old'").assign(defense=name) for name in ("x", "y")]
    text = page(pd.concat([scores(), *more]), LOOK, "new", figures)
    assert '<div class="first">' in text


def test_the_page_opens_on_the_result_and_needs_no_other_file(figures: list[Section]) -> None:
    text = page(scores(), LOOK, "new", figures)
    found = Page(text)
    first = [tag for tag in found.order if tag in ("h1", "li", "img", "table", "nav", "h2")]
    assert list(dict.fromkeys(first))[:4] == ["h1", "li", "img", "table"]
    assert first.index("table") < first.index("h2")
    for target in found.targets:
        if target.startswith("#"):
            assert target[1:] in found.names, target
        else:
            assert target.startswith(("data:", "https://")), target
    assert not re.search(r"<(script|link)\b", text)
    assert "New &lt;1&gt;" in text
    assert "<1>" not in text
    assert "<b>3.0</b>" in text  # the lowest ASR of Alpha
    assert "<p>a gallery</p>" in text
    assert '<h2 id="asr_ca">Does a defence remove the backdoor, and what does that cost?' in text


def test_a_docstring_is_a_title_and_a_caption() -> None:
    title, text = html_of("A figure.\n\nAnd *more*.\n\nLast.")
    assert title == "A figure"
    assert text == "<p>And <em>more</em>.</p>\n<p>Last.</p>\n"
    with pytest.raises(Exception, match="Inline emphasis"):
        html_of("A figure.\n\nAn *open word.")
