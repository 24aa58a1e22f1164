"""Does it hold on other test sets?

Bars as on the main test split, for each other one: pictures of another kind or with other classes,
as the configuration says.

A set whose classes do not include the target has no ASR@1, and CA@1 is that of the set's own
classes. Sets differ in the number and kind of their classes: compare the bars within a panel, not
the panels.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from taclean.report.figures.bars import bars
from taclean.results.labels import Look
from taclean.results.table import ASR, CA, main_split, pick, scored_splits
from taclean.util.errors import UserError


def further_splits(table: pd.DataFrame, look: Look | None = None) -> Figure:
    """Draw ASR@1, where the target is among the classes, and CA@1 of each other split.

    Raises:
        UserError: there is no other split.
    """
    look = look or Look()
    main = main_split(table, look)
    panels = [
        (split, metric)
        for split in scored_splits(table, look)
        for metric in (ASR, CA)
        if split != main and len(pick(table, split=split, metric=metric))
    ]
    if not panels:
        raise UserError("evaluate.splits: one labelled test set only; add another one")
    return bars(table, look, panels, "Attack success and clean accuracy on further test sets")
