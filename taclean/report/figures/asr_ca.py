"""Attack success and clean accuracy on the main split."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from taclean.report.figures.bars import bars
from taclean.results.labels import Look
from taclean.results.table import ASR, CA, main_split


def asr_ca(table: pd.DataFrame, look: Look | None = None) -> Figure:
    """Bars of ASR@1 and CA@1 per attack and defence on the main split."""
    look = look or Look()
    split = main_split(table, look)
    title = "Attack success and clean accuracy after each defence"
    return bars(table, look, [(split, ASR), (split, CA)], title)
