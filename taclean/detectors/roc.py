"""Measures of how well scores tell what is to be found from the rest."""

import math
from collections.abc import Sequence

import numpy as np

Scores = Sequence[float] | np.ndarray


def auc(positive: Scores, negative: Scores) -> float:
    """Return the chance that a positive scores above a negative; ties count half."""
    ordered = np.sort(negative)
    below = sum(np.searchsorted(ordered, positive, side) for side in ("left", "right"))
    return float(np.mean(below) / 2 / len(ordered))


def false_positives(positive: Scores, negative: Scores, detected: float = 0.95) -> float:
    """Return the share of negatives at or above the score that a share of the positives reach."""
    least = np.sort(positive)[::-1][math.ceil(detected * len(positive)) - 1]
    return float(np.mean(np.asarray(negative) >= least))
