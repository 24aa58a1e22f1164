"""Measure how far the text alone gives negatives away."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

FOLDS, STRENGTH = 5, 0.1  # of the cross-validation; of the classifier's fit (C)
FEWEST = 50  # pairs


class Score(NamedTuple):
    """A text-only score: the accuracy in 0..1, its standard error, and the number of pairs."""

    accuracy: float
    error: float
    pairs: int


def text_only_score(
    positives: Sequence[str], negatives: Sequence[str], captions: Sequence[str]
) -> Score | None:
    """Score a classifier that has only the words of two texts and picks the negative.

    Chance, 0.5, is ideal. The classifier is a logistic regression on the words of a text, trained
    and scored on different captions (cross-validation). A pair that it cannot tell apart counts as
    half. None for fewer than 50 pairs or 5 different captions.

    Args:
        captions: of each pair; pairs of one caption stay in one fold, and count as one for the
            standard error.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    groups = np.unique(captions, return_inverse=True)[1]
    if len(positives) < FEWEST or groups.max() + 1 < FOLDS:
        return None
    words = CountVectorizer(binary=True, token_pattern=r"\S+")
    classifier = make_pipeline(words, LogisticRegression(C=STRENGTH))
    texts, labels = [*positives, *negatives], np.repeat([0, 1], len(positives))
    folds = {"groups": np.tile(groups, 2), "cv": GroupKFold(FOLDS)}
    margins = cross_val_predict(classifier, texts, labels, **folds, method="decision_function")
    gap = np.subtract(*margins.reshape(2, -1)[::-1]).round(9)
    hits = (gap > 0) + (gap == 0) / 2
    mean = np.bincount(groups, hits) / np.bincount(groups)
    return Score(float(hits.mean()), float(mean.std() / np.sqrt(len(mean))), len(hits))
