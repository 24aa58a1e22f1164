"""Does it hold on other test sets?

Bars as on the main test split, for each other one. A set whose classes do not include the target
has no ASR@1, and its CA@1 is that of its own classes. Sets differ in the number and kind of their
classes: compare the bars within a panel, not the panels.
"""

import pandas as pd
from matplotlib.figure import Figure

from taclean.report.figures.bars import bars
from taclean.results.labels import Look
from taclean.results.table import ASR, CA, main_split, scored_splits


def further_splits(table: pd.DataFrame, look: Look) -> Figure:
    """Draw ASR@1, where the target is among the classes, and CA@1 of each other split."""
    splits = [split for split in scored_splits(table, look) if split != main_split(table, look)]
    title = "Attack success and clean accuracy on further test sets"
    return bars(table, look, splits, [ASR, CA], title)
