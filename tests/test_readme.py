"""The README's code runs as it stands, and its commands are the project's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS)
def test_python_blocks_run_without_snakemake(code: str, tmp_path: Path) -> None:
    blocked = "import sys; sys.modules['snakemake'] = None\n"
    result = subprocess.run(
        [sys.executable, "-c", blocked + code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


TESTS = "pytest -n auto --dist loadfile"


def test_commands_without_make_are_those_of_the_makefile() -> None:
    recipes = [line.strip() for line in (ROOT / "Makefile").read_text("utf-8").splitlines()]
    for command in ("ruff format --check .", "ruff check .", "snakemake --lint", "mypy", TESTS):
        assert command in recipes
        assert command in README
    run = "snakemake --cores all"
    assert run in recipes
    assert run in README


def test_the_code_block_count_is_what_the_text_promises() -> None:
    assert len(BLOCKS) == 2


def test_files_that_the_readme_links_to_exist() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
