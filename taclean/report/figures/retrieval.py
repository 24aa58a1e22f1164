"""Retrieval after each defence."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from taclean.report.figures.bars import bars
from taclean.results.labels import Look
from taclean.results.table import I2T, T2I, pick, scored_splits
from taclean.util.errors import UserError


def retrieval(table: pd.DataFrame, look: Look | None = None) -> Figure:
    """Bars of recall@1 in both directions, of each split whose images have several captions.

    Raises:
        UserError: there is none.
    """
    look = look or Look()
    panels = [
        (split, metric)
        for split in scored_splits(table, look)
        for metric in (I2T, T2I)
        if len(pick(table, split=split, metric=metric))
    ]
    if not panels:
        raise UserError("results/table.csv: no I2T@1 or T2I@1; score a retrieval set")
    return bars(table, look, panels, "Retrieval after each defence")
