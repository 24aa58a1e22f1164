"""What a set of sub-captions is worth: shares, and how far the text alone gives negatives away."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

_WORD = re.compile(r"\S+")
STEPS, RATE, DECAY = 300, 0.5, 1.0


def text_only_score(positives: Sequence[str], negatives: Sequence[str]) -> float | None:
    """Held-out accuracy of a unigram logistic regression that picks a pair's negative.

    It is trained on four fifths of the pairs and scored on the rest; 0.5 is ideal, and a pair whose
    texts it cannot tell apart counts as half. None for fewer than 50 pairs.
    """
    if len(positives) < 50:
        return None
    index: dict[str, int] = {}
    pairs, words, signs = [], [], []
    for n, texts in enumerate(zip(positives, negatives, strict=True)):
        for side, text in zip((-1.0, 1.0), texts, strict=True):
            for word in _WORD.findall(text.lower()):
                pairs.append(n)
                words.append(index.setdefault(word, len(index)))
                signs.append(side)
    row, column, sign = np.array(pairs), np.array(words), np.array(signs)
    order = np.random.default_rng(0).permutation(len(positives))
    trains = np.zeros(len(positives), bool)
    trains[order[: len(order) * 4 // 5]] = True
    used = trains[row]
    weights = np.zeros(len(index))
    spread = np.full(len(index), 1e-8)
    for _ in range(STEPS):  # full-batch Adagrad on the log loss, with weight decay
        margins = np.bincount(row, sign * weights[column], len(positives))
        push = 1 / (1 + np.exp(np.clip(margins, -30, 30)))
        slope = DECAY * weights - np.bincount(column[used], (sign * push[row])[used], len(index))
        spread = spread + slope**2
        weights = weights - RATE * slope / np.sqrt(spread)
    margins = np.bincount(row, sign * weights[column], len(positives))[~trains].round(9)
    return float(((margins > 0) + (margins == 0) / 2).mean())
