"""The text work of many captions, in as many processes as wanted.

This module imports no PyTorch, so the processes start fast.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from taclean.captions.eda import eda
from taclean.captions.replacements import Tally, Vocabulary, tally
from taclean.captions.subcaptions import SubCaption, Words, offers, subcaption
from taclean.captions.wordnet import Lexicon
from taclean.util.workers import worker_pool

CHUNK = 500  # captions that a process takes at a time
DRAW = 0x5AB  # names the random stream of the rows drawn per epoch
_vocabulary: Vocabulary | None = None  # of the split at work, in each process


def text_rng(*key: int) -> random.Random:
    """A generator for one row and epoch; a string seeds by its hash, stable over runs."""
    return random.Random(":".join(map(str, key)))


def chunks(n: int) -> list[range]:
    return [range(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK)]


@contextmanager
def mapped(
    workers: int, vocabulary: Vocabulary | None = None
) -> Iterator[Callable[..., Iterator[Any]]]:
    """`map`, in as many processes; results come in order, so their number changes nothing."""
    if workers <= 1:
        _start(vocabulary)
        yield map
        return
    preload = (__name__, "nltk.tag.perceptron")
    with worker_pool(workers, _start, (vocabulary,), preload) as pool:
        try:
            yield pool.map
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _start(vocabulary: Vocabulary | None) -> None:
    global _vocabulary
    _vocabulary = vocabulary


def variants(
    rows: range, captions: Sequence[str], epochs: int, seed: int, alpha: float, same_part: bool
) -> list[str]:
    """EDA variants of some rows, a caption's epochs together, so that it is tagged once."""
    lexicon = Lexicon.load()
    return [
        eda(caption, text_rng(seed, epoch, row), lexicon, alpha, same_part)
        for row, caption in zip(rows, captions, strict=True)
        for epoch in range(epochs)
    ]


def tallied(captions: Sequence[str]) -> Tally:
    return tally(captions, Lexicon.load())


def offered(captions: Sequence[str]) -> list[tuple[str, ...]]:
    return [offers(caption, Lexicon.load(), _vocabulary) for caption in captions]


def subcaptions(
    rows: Sequence[int],
    captions: Sequence[str],
    epochs: Sequence[Sequence[int]],
    seed: int,
    negatives: int,
    kinds: Sequence[str],
    words: Words,
) -> list[SubCaption]:
    """Sub-captions of rows that offer some, each in its own epochs, one after the other."""
    lexicon, made = Lexicon.load(), []
    for row, caption, wanted in zip(rows, captions, epochs, strict=True):
        for epoch in wanted:
            rng = text_rng(seed, epoch, row, DRAW)
            sub = subcaption(caption, rng, lexicon, negatives, kinds, _vocabulary, words)
            assert sub is not None  # it offers one of the kinds
            made.append(sub)
    return made
