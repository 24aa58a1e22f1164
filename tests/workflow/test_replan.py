"""An edit of the code that makes a table or a figure plans these, and no others."""

import os
import re
import time
from pathlib import Path

import pytest

from taclean.results.table import COLUMNS
from tests.helpers import ROOT, copy_sources, snakemake

TARGETS = ("all", "results/figures/retrieval.png", "results/figures/versus.png")
BARS = {"asr_ca", "further_splits", "retrieval"}
OF_SAMPLES = {"first", "triggers", "embeddings", "recovered"}
OF_TABLE = {*BARS, "tables", "tradeoff", "versus"}
DRAWN = {*BARS, *OF_SAMPLES, "tradeoff", "versus", "curves"} - {"recovered"}
EVERY = {"table", "page", "curves", "subcaptions", *OF_TABLE, *OF_SAMPLES}
LINE = re.compile(r"`(\"asr_ca\": .*?)`")
EDITED, MADE = time.time() - 9000, time.time() - 5000


def planned(source: Path, folder: Path) -> set[str]:
    """Return the jobs that a dry run plans: a figure's is its name, another's that of its rule."""
    text = snakemake(folder, *TARGETS, "--dry-run", source=source)
    job = r"^(?:local)?rule (\w+):(?:\n    .*)*?\n    output: (\S+?),?(?:\s|$)"
    jobs = re.findall(job, text, re.M)
    figures = {"figure", "gallery"}
    return {Path(output).stem if rule in figures else rule for rule, output in jobs}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources that a test may edit, older than any result."""
    folder = copy_sources(tmp_path_factory.mktemp("source"))
    for path in folder.rglob("*"):
        os.utime(path, (EDITED, EDITED))
    return folder


@pytest.fixture(scope="module")
def done(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every result is there."""
    folder = tmp_path_factory.mktemp("done")
    summary = snakemake(folder, *TARGETS, "--summary", source=source)
    for output in re.findall(r"^((?:results|data)/\S+)\t", summary, re.M):
        (folder / output).parent.mkdir(parents=True, exist_ok=True)
        (folder / output).touch()
        os.utime(folder / output, (MADE, MADE))
    assert planned(source, folder) == set()
    return folder


@pytest.mark.parametrize(
    ("file", "jobs"),
    [
        ("taclean/report/figures/tradeoff.py", {"tradeoff", "page"}),
        ("taclean/report/figures/bars.py", BARS | {"page"}),
        ("taclean/report/figures/style.py", DRAWN | {"page"}),
        ("taclean/report/figures/__init__.py", set()),
        ("taclean/results/main_table.py", {"tables", "page"}),
        ("taclean/results/verdict.py", {"page"}),
        ("taclean/assets/page/page.html", {"page"}),
        ("taclean/assets/figures/asr_ca.rst", {"page"}),
        ("taclean/results/cost.py", {"tables"}),
        ("taclean/results/table.py", EVERY),
        ("taclean/evaluation/evaluate.py", set()),
    ],
)
def test_an_edit_plans_what_it_draws(source: Path, done: Path, file: str, jobs: set[str]) -> None:
    path = source / file
    before = path.read_bytes()
    with path.open("a", encoding="utf-8") as code:
        code.write("\n# Edited.\n")
    try:
        assert planned(source, done) == jobs
    finally:
        path.write_bytes(before)
        os.utime(path, (EDITED, EDITED))


FIGURE = '''"""How many models there are."""

from taclean.report.figures.style import finish, plt


def models(table, look):
    """Draw the number of models."""
    figure, ax = plt.subplots(layout="constrained")
    ax.bar(["models"], [len(table)])
    return finish(figure, "Models", "a throwaway figure")
'''


def test_a_figure_is_a_file_and_a_line(source: Path, done: Path) -> None:
    """As CONTRIBUTING.md says; no other figure is drawn again."""
    folder = source / "taclean/report/figures"
    listing, figure = folder / "__init__.py", folder / "models.py"
    table = done / "results/table.csv"
    before = listing.read_text("utf-8")
    (line,) = LINE.findall((ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    assert line in before
    mine = f"{line}\n        {line.replace('asr_ca', 'models').replace('bars', 'models')}"
    listing.write_text(before.replace(line, mine), "utf-8")
    figure.write_text(FIGURE, "utf-8")
    text = source / "taclean/assets/figures/models.rst"
    text.write_text("How many models there are.\n\nOne bar.\n", "utf-8")
    try:
        assert planned(source, done) == {"models", "page"}
        table.write_text(f"{','.join(COLUMNS)}\nsig,none,0,0,test,CA@1,80,100\n")
        os.utime(table, (MADE, MADE))
        snakemake(done, "results/figures/models.png", source=source)
        assert (done / "results/figures/models.png").stat().st_size > 1000
    finally:
        listing.write_text(before, "utf-8")
        os.utime(listing, (EDITED, EDITED))
        figure.unlink()
        text.unlink()
