"""Attack success and clean accuracy on the test sets beside the main one."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from taclean.errors import UserError
from taclean.look import Look
from taclean.plots.bars import bars
from taclean.tables import ASR, CA, main_split, pick, scored_splits


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
