"""The page of results: the result first, everything in one file, text escaped."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from taclean.report import text_of
from taclean.report.page import Section, page
from taclean.results.labels import Look
from tests.results.test_verdict import LOOK as SHOWN
from tests.results.test_verdict import scores

LOOK = Look.of(SHOWN)


@pytest.fixture
def figures(tmp_path: Path) -> list[Section]:
    plt.figure(figsize=(1, 1)).savefig(tmp_path / "asr_ca.png")
    plt.close()
    (tmp_path / "recovered.html").write_text("<p>a gallery</p>")
    files = [tmp_path / "asr_ca.png", tmp_path / "recovered.html"]
    return [*map(Section.read, files, map(text_of, ["asr_ca", "recovered"]))]


def test_a_table_of_many_columns_stands_below_the_figure(figures: list[Section]) -> None:
    assert '<div class="first beside">' in page(scores(), LOOK, figures, {})
    more = [scores().query("defense == 'old'").assign(defense=name) for name in ("x", "y")]
    assert '<div class="first">' in page(pd.concat([scores(), *more]), LOOK, figures, {})


def test_the_page_opens_on_the_result_and_needs_no_other_file(figures: list[Section]) -> None:
    machines = {"trained_on": ["cuda:0 <A100>"], "scored_on": []}
    text = page(scores(), LOOK, figures, machines)
    assert "Trained on: cuda:0 &lt;A100&gt;. The files" in text
    first = re.findall(r"<(h1|li|img|table|nav|h2)\b", text)
    assert list(dict.fromkeys(first))[:4] == ["h1", "li", "img", "table"]
    assert first.index("table") < first.index("h2")
    names, targets = (re.findall(rf' (?:{key})="([^"]*)"', text) for key in ("id", "href|src"))
    assert targets
    for target in targets:
        assert target.startswith(("data:", "https://")) or target.removeprefix("#") in names, target
    assert not re.search(r"<(script|link)\b", text)
    assert "New &lt;1&gt;" in text
    assert "<1>" not in text
    assert "<b>3.0</b>" in text  # the lowest ASR of Alpha
    assert "<p>a gallery</p>" in text
    assert '<h2 id="asr_ca">Does a defence remove the backdoor, and what does that cost?' in text
    for rule, module in (("figure", "bars"), ("gallery", "gallery")):
        drawn = f"drawn by <code>taclean/report/figures/{module}.py</code>"
        assert f"Rule <code>{rule}</code> in <code>rules/report.smk</code>, {drawn}" in text
