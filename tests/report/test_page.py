"""The page of results, and the words of its verdict."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from taclean.report.page import html_of, write_page
from taclean.results.labels import Look
from taclean.results.main_table import plain
from taclean.results.table import COLUMNS
from taclean.util.errors import UserError

ROOT = Path(__file__).parents[2]
LOOK = {
    "attacks": {"a": {"label": "Alpha & Co"}, "b": {"label": "Beta"}},
    "defenses": {"old": {"label": "Old"}, "new": {"label": "New <1>"}},
    "splits": ["test"],
}
ASR = {("a", "old"): 40, ("a", "new"): 3, ("b", "old"): 20, ("b", "new"): 60}


def scores(seeds: int = 1, spread: float = 0) -> pd.DataFrame:
    """ASR@1 as above, `spread` points higher with every seed under the new defence."""
    rows: list[dict[str, Any]] = []

    def add(attack: str, defense: str, seed: int, split: str, metric: str, percent: float) -> None:
        rows.append(
            {"attack": attack, "defense": defense, "seed": seed, "repeat": 0, "split": split,
             "metric": metric, "percent": float(percent), "n": 100}
        )  # fmt: skip

    for seed in range(seeds):
        for attack in "ab":
            add("clean", "none", seed, f"test+{attack}", "ASR@1", 1)
            add(attack, "none", seed, "test", "CA@1", 90)
            add(attack, "none", seed, "test", "ASR@1", 99)
            for defense, cost in (("old", 2), ("new", 5)):
                percent = ASR[attack, defense] + spread * seed * (defense == "new")
                add(attack, defense, seed, "test", "CA@1", 90 - cost)
                add(attack, defense, seed, "test", "ASR@1", percent)
        add("clean", "none", seed, "test", "CA@1", 91)
    return pd.DataFrame(rows)[COLUMNS]


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


def written(tmp_path: Path, table: pd.DataFrame) -> Path:
    figures = []
    for name in ("asr_ca", "recovered"):
        plt.figure(figsize=(1, 1)).savefig(tmp_path / f"{name}.png")
        plt.close()
        figures.append((tmp_path / f"{name}.png", ROOT / f"rules/report/{name}.rst"))
    params = SimpleNamespace(look=LOOK, cleaned="new", defense="New")
    texts = {
        name: ROOT / f"rules/report/{name}.rst" for name in ("workflow", "main_table", "table")
    }
    write_page(
        tmp_path / "report.html", table, Look.of(LOOK), "new", figures, texts,
        {"snakemake": SimpleNamespace(params=params)},
    )  # fmt: skip
    return tmp_path / "report.html"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return written(tmp_path, scores())


def test_a_table_of_many_columns_stands_below_the_figure(page: Path, tmp_path: Path) -> None:
    assert '<div class="first beside">' in page.read_text("utf-8")
    more = [scores().query("defense == 'old'").assign(defense=name) for name in ("x", "y")]
    text = written(tmp_path, pd.concat([scores(), *more])).read_text("utf-8")
    assert '<div class="first">' in text


def test_the_page_opens_on_the_result_and_needs_no_other_file(page: Path) -> None:
    text = page.read_text("utf-8")
    found = Page(text)
    first = [tag for tag in found.order if tag in ("h1", "li", "img", "table", "nav", "h2")]
    result = list(dict.fromkeys(first))[:4]
    assert result == ["h1", "li", "img", "table"]
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
    assert "after New &lt;1&gt;, the last of the" in text  # a caption with a label in it


def test_titles_come_from_captions() -> None:
    title, text = html_of("**A {{ thing }}.** And *more*.\n\nLast.", thing="figure")
    assert title == "A figure"
    assert text == "<p>And <em>more</em>.</p>\n<p>Last.</p>\n"
    with pytest.raises(UserError, match="correct the caption"):
        html_of("An *open word.")


def test_a_table_for_the_terminal() -> None:
    lines = plain(scores(), Look.of(LOOK)).splitlines()
    assert lines[0].startswith("Test split: CA@1 and ASR@1 in %")
    assert lines[-2].split() == "Alpha & Co 90.0 / 99.0 88.0 / 40.0 85.0 / *3.0 91.0 / 1.0".split()
