"""Runs as docs/data keeps them, from which `docs.build` prints the pages."""

from __future__ import annotations

import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from taclean.results.labels import CLEAN, NONE, Look
from taclean.results.statistics import differences
from taclean.results.table import main_split, pick, read_table, seeds_text
from taclean.util.files import read_json

ROOT = Path(__file__).parents[1]
DEFAULT = "default"


class Run:
    """A run as docs/data keeps it."""

    def __init__(self, root: Path, name: str = DEFAULT) -> None:
        self.root, self.name = root, name
        self.folder = root / "docs" / "data" / name

    @property
    def there(self) -> bool:
        """Whether a run has been taken."""
        return (self.folder / "run.json").is_file()

    @cached_property
    def record(self) -> dict[str, Any]:
        """The machine, commit, date, minutes, model, data, labels and pictures of the run."""
        return read_json(self.folder / "run.json")

    @cached_property
    def table(self) -> pd.DataFrame:
        """All scores."""
        return read_table(self.folder / "table.csv")

    @cached_property
    def look(self) -> Look:
        """The labels of the methods."""
        return Look.of(self.record["look"])

    @cached_property
    def split(self) -> str:
        """The main test split."""
        return main_split(self.table, self.look)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """The scores of the poisoned models on the main test split."""
        return pick(self.table[self.table["attack"] != CLEAN], split=self.split)

    @property
    def tested(self) -> str:
        """The defence under test: the last of the run."""
        return list(self.record["look"]["defenses"])[-1]

    @property
    def others(self) -> list[str]:
        """The defences that the one under test is compared with."""
        names = self.table.loc[self.table["attack"] != CLEAN, "defense"]
        return self.look.methods(d for d in names if d not in (NONE, self.tested))

    @property
    def where(self) -> str:
        """When, from which commit and on which machine, for each part of the run."""
        parts = self.record["parts"]
        return "; ".join(
            f"{seeds_text(part['seeds'])}: " * (len(parts) > 1) + _where(part) for part in parts
        )

    def minus(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the differences of the defence under test from each other one."""
        return differences(table, [(self.tested, other) for other in self.others])


def _where(part: dict[str, Any]) -> str:
    day = datetime.date.fromisoformat(part["date"])
    return f"{day.day} {day:%B %Y}, commit {part['commit']}, {part['machine']}"
