"""Runs as docs/data keeps them, from which `docs.build` prints the pages."""

import datetime
from pathlib import Path

import pandas as pd

from taclean.results.labels import CLEAN, NONE, Look
from taclean.results.statistics import differences
from taclean.results.table import main_split, pick, read_table
from taclean.util.files import read_json

ROOT = Path(__file__).parents[1]
DEFAULT = "default"


class Run:
    """A run as docs/data keeps it."""

    def __init__(self, root: Path, name: str = DEFAULT) -> None:
        self.root, self.name = root, name
        self.folder = root / "docs" / "data" / name
        self.there = (self.folder / "run.json").is_file()
        if not self.there:  # the run was not taken: it has no more attributes
            return
        self.record = read_json(self.folder / "run.json")  # see `docs.build.take`
        (part,) = self.record["parts"]
        day = datetime.date.fromisoformat(part["date"])
        self.machine = part["machine"]  # the processor that it ran on
        self.where = f"{day.day} {day:%B %Y}, commit {part['commit']}, {self.machine}"
        self.look = Look.of(self.record["look"])
        self.table = read_table(self.folder / "table.csv")  # all scores
        self.split = main_split(self.table, self.look)
        poisoned = self.table[self.table["attack"] != CLEAN]
        self.scores = pick(poisoned, split=self.split)  # on the main split
        self.tested = list(self.record["look"]["defenses"])[-1]  # against the others
        self.others = self.look.methods(
            name for name in poisoned["defense"] if name not in (NONE, self.tested)
        )

    def minus(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the differences of the defence under test from each other one."""
        return differences(table, [(self.tested, other) for other in self.others])
