"""What comes back: the course of the scores when cleaned models are trained further."""

import numpy as np
import pandas as pd

from taclean.results.table import ASR, CA, RUN

COLUMNS = [*RUN, "asr_start", "asr_peak", "rise", "step", "asr_end", "ca_start", "ca_end"]


def rebound(histories: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each model that was trained further: columns COLUMNS, scores in percent.

    `step` is the first one with the highest ASR@1, and `rise` is that score minus the one at the
    start. A model without a trigger has no ASR@1.

    Args:
        histories: RUN, step, CA@1 and ASR@1 on the val split.
    """
    rows = []
    for model, course in histories.groupby(RUN, sort=False):
        course = course.sort_values("step").reset_index(drop=True)
        asr, ca = course.reindex(columns=[ASR, CA]).to_numpy(float).T
        peak = int(np.nan_to_num(asr, nan=-1).argmax())
        scores = (asr[0], asr[peak], asr[peak] - asr[0], course["step"][peak], asr[-1])
        rows.append((*model, *scores, ca[0], ca[-1]))
    return pd.DataFrame(rows, columns=COLUMNS).round(4)
