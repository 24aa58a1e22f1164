"""The pages' code runs as it stands, their commands are the project's, and their links lead on."""

import re
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT, run

README = (ROOT / "README.md").read_text("utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
PYTHON = (ROOT / "docs/python.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PYTHON, re.DOTALL)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("code", BLOCKS)
def test_python_blocks_run_without_snakemake(code: str, tmp_path: Path) -> None:
    blocked = "import sys; sys.modules['snakemake'] = None\n"
    assert run(sys.executable, "-c", blocked + code, cwd=tmp_path).stdout.strip()


TESTS = "pytest -n auto --dist loadfile"


def test_commands_without_make_are_those_of_the_makefile() -> None:
    recipes = [line.strip() for line in (ROOT / "Makefile").read_text("utf-8").splitlines()]
    for command in ("ruff format --check .", "ruff check .", "snakemake --lint", "mypy", TESTS):
        assert command in recipes
        assert command in CONTRIBUTING
    run = "snakemake --cores all"
    assert run in recipes
    assert run in README


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_links_to_exist(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
