"""Attack success and clean accuracy on the test sets beside the main one."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from taclean.report.figures.bars import bars
from taclean.results.labels import Look
from taclean.results.table import ASR, CA, main_split, pick, scored_splits
from taclean.util.errors import UserError


def further_splits(table: pd.DataFrame, look: Look | None = None) -> Figure:
    """Bars of ASR@1 (where the target is among the classes) and CA@1 of each further split.

    Raises:
        UserError: there is none.
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
        raise UserError("results/table.csv: one labelled test set only; score another one too")
    return bars(table, look, panels, "Attack success and clean accuracy on further test sets")
