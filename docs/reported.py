"""Numbers that other publications report, with their sources."""

from __future__ import annotations

from importlib import resources

import pandas as pd

from taclean.results.table import read_csv

COLUMNS = (
    "source", "where", "backbone", "attack", "defense", "metric", "percent", "seen", "note",
)  # fmt: skip


def reported() -> pd.DataFrame:
    """A row for each number: `percent` is one, `seen` is `quoted` (read at the source) or
    `second-hand`, and `backbone` says "presumed" where the source does not.

    None of them is of this repository's default data or model.
    """
    with resources.as_file(resources.files("taclean") / "assets/reported_numbers.csv") as path:
        return read_csv(path, COLUMNS)
