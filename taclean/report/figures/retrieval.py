"""What is left of the model's use for search?

Bars of sets of untouched pictures with captions. *I2T@1* is the share of pictures whose nearest
caption, of all captions of the set, is one of their own. *T2I@1* is the share of captions whose
nearest picture is their own. Higher is better in both. No trigger is shown: the figure says what a
defence costs, not whether it works. The dotted lines are a model that was *never poisoned*.
"""

import pandas as pd
from matplotlib.figure import Figure

from taclean.report.figures.bars import bars
from taclean.results.labels import Look
from taclean.results.table import I2T, T2I, scored_splits


def retrieval(table: pd.DataFrame, look: Look) -> Figure:
    """Draw recall@1 in both directions on each split whose pictures have captions."""
    title = "Retrieval after each defence"
    return bars(table, look, scored_splits(table, look), [I2T, T2I], title)
