"""Does a defence remove the backdoor, and what does that cost?

A group of bars for each attack, a bar for each defence, on the main test split. A defence is good
where its bar is short above (ASR@1) and still long below (CA@1). The dotted lines are a model of
the same kind that was *never poisoned*: its CA, and how often it calls a picture the target only
because the trigger covers something. ASR cannot be expected to fall below that.
"""

import pandas as pd
from matplotlib.figure import Figure

from taclean.report.figures.bars import bars
from taclean.results.labels import Look
from taclean.results.table import ASR, CA, main_split


def asr_ca(table: pd.DataFrame, look: Look) -> Figure:
    """Draw ASR@1 and CA@1 of each attack and defence on the main split."""
    title = "Attack success and clean accuracy after each defence"
    return bars(table, look, [main_split(table, look)], [ASR, CA], title)
