"""What comes back.

Cleaned models are trained further on clean pairs, and scored on the val split after a few steps.
Step 0 is the cleaned model. A line that rises shows a backdoor that was hidden and not removed.
With several victims, a band reaches from the lowest to the highest.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from taclean.report.figures.curves import curves
from taclean.results.labels import Look


def trajectory(histories: pd.DataFrame, look: Look, n: int | None = None) -> Figure:
    """Draw ASR@1 and CA@1 over the steps of further training; the arguments are those of curves."""
    title = "What comes back when cleaned models are trained further"
    figure = curves(histories, look, n, x="step", title=title, zero="the cleaned model")
    root = (lambda x: np.sign(x) * np.abs(x) ** 0.5, lambda x: np.sign(x) * x**2)
    last = int(histories["step"].max())
    ticks = sorted({0, 10 ** (len(str(last)) - 1), last})
    for ax in figure.axes:  # the first steps matter most
        ax.set_xscale("function", functions=root)
        ax.set_xticks(ticks)
    return figure
