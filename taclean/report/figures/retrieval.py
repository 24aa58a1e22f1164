"""What is left of the model's use for search?

A group of bars for each attack, a bar for each defence, on sets of untouched pictures with several
captions each.

*Upper panel (I2T@1):* the share of pictures whose nearest caption, of all captions of the set, is
one of their own. *Lower panel (T2I@1):* the share of captions whose nearest picture, of all
pictures of the set, is their own. Higher is better in both. No trigger is shown: the figure says
what a defence costs, not whether it works.

The dotted lines are a model of the same kind that was *never poisoned*.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from taclean.report.figures.bars import bars
from taclean.results.labels import Look
from taclean.results.table import I2T, T2I, pick, scored_splits
from taclean.util.errors import UserError


def retrieval(table: pd.DataFrame, look: Look | None = None) -> Figure:
    """Draw recall@1 in both directions on each split whose pictures have several captions.

    Raises:
        UserError: there is no such split.
    """
    look = look or Look()
    panels = [
        (split, metric)
        for split in scored_splits(table, look)
        for metric in (I2T, T2I)
        if len(pick(table, split=split, metric=metric))
    ]
    if not panels:
        raise UserError("evaluate.splits: no set of pictures with captions; add one")
    return bars(table, look, panels, "Retrieval after each defence")
