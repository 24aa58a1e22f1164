"""Runs as docs/data keeps them, from which `docs.build` prints the pages."""

from __future__ import annotations

import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from taclean.results.labels import Look
from taclean.results.table import read_table, seeds_text
from taclean.util.files import read_json

ROOT = Path(__file__).parents[1]
DEFAULT = "default"


class Run:
    """A run as docs/data keeps it."""

    def __init__(self, root: Path, name: str = DEFAULT) -> None:
        self.name = name
        self.folder = root / "docs" / "data" / name

    @property
    def there(self) -> bool:
        """Whether a run has been taken."""
        return (self.folder / "run.json").is_file()

    @cached_property
    def record(self) -> dict[str, Any]:
        """Machine, commit, date, minutes, model, data, how methods are printed, and pictures."""
        return read_json(self.folder / "run.json")

    @cached_property
    def table(self) -> pd.DataFrame:
        """All scores."""
        return read_table(self.folder / "table.csv")

    @cached_property
    def look(self) -> Look:
        """How methods are printed."""
        return Look.of(self.record["look"])

    @property
    def tested(self) -> str:
        """The defence under test: the last of the run."""
        return list(self.record["look"]["defenses"])[-1]

    @property
    def where(self) -> str:
        """'26 November 2026, commit abc, AMD EPYC, 2 cores'; with several parts, each's."""
        parts = self.record["parts"]
        return "; ".join(
            f"{seeds_text(part['seeds'])}: " * (len(parts) > 1) + _where(part) for part in parts
        )


def _where(part: dict[str, Any]) -> str:
    day = datetime.date.fromisoformat(part["date"])
    return f"{day.day} {day:%B %Y}, commit {part['commit']}, {part['machine']}"
