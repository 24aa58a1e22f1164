"""Easy data augmentation of captions (Wei & Zou, EMNLP 2019; arXiv 1901.11196).

CleanCLIP's text view: each time a caption is drawn, one of EDA's four operations changes it.
"""

import random
import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from taclean.captions.wordnet import PART, Lexicon

_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
Synonyms = Callable[[str], Sequence[str]]  # of a lower-case word; none for function words


def eda(
    caption: str, rng: random.Random, lexicon: Lexicon, alpha: float = 0.1, same_part: bool = True
) -> str:
    """The caption after one operation, drawn evenly from the four, on max(1, int(alpha w)) words.

    Words are what white space separates (w of them); a synonym keeps its word's punctuation.
    Deletion drops each word with probability alpha and keeps at least one. A caption that the
    operation cannot change comes back as it is, so the result is empty only if the caption is. With
    `same_part`, synonyms are those of a word as it is used in the caption (its part of speech); the
    published code takes those of any of its readings: "stands in the hoodwink".
    """
    words = caption.split()
    if not words:
        return caption
    n, synonyms = max(1, int(alpha * len(words))), synonyms_in(words, lexicon, same_part)
    operations = (
        lambda: replace_synonyms(words, n, rng, synonyms),
        lambda: insert_synonyms(words, n, rng, synonyms),
        lambda: swap_words(words, n, rng),
        lambda: delete_words(words, alpha, rng),
    )
    changed = rng.choice(operations)()
    return caption if changed == words else " ".join(changed)


def synonyms_in(words: Sequence[str], lexicon: Lexicon, same_part: bool = True) -> Synonyms:
    """Return what gives synonyms of a caption's words, of their part of speech or any."""
    return _synonyms_in(tuple(words), lexicon, same_part)


@lru_cache(1 << 10)  # for the epochs of a caption
def _synonyms_in(words: tuple[str, ...], lexicon: Lexicon, same_part: bool) -> Synonyms:
    if not same_part:
        return lambda word: () if word in lexicon.closed else lexicon.synonyms(word)
    cores = tuple(_core(word) or word for word in words)
    tags = dict(zip((core.lower() for core in cores), lexicon.tag(cores), strict=True))
    known = {word: tag for word, tag in tags.items() if tag in PART and word not in lexicon.closed}
    return lambda word: lexicon.synonyms(word, known[word]) if word in known else ()


def replace_synonyms(words: list[str], n: int, rng: random.Random, synonyms: Synonyms) -> list[str]:
    """Up to n different content words give way to a synonym, wherever they stand."""
    swapped: dict[str, str] = {}
    for word in rng.sample(words, len(words)):
        if len(swapped) == n:
            break
        core = _core(word).lower()
        if core not in swapped and (found := synonyms(core)):
            swapped[core] = rng.choice(found)
    return [_put(word, swapped.get(_core(word).lower(), "")) for word in words]


def insert_synonyms(words: list[str], n: int, rng: random.Random, synonyms: Synonyms) -> list[str]:
    """n times, a synonym of a random content word goes to a random place."""
    out = list(words)
    for _ in range(n):
        for word in rng.sample(out, min(len(out), 10)):  # as the published code: ten tries
            if found := synonyms(_core(word).lower()):
                out.insert(rng.randint(0, len(out)), rng.choice(found))
                break
    return out


def swap_words(words: list[str], n: int, rng: random.Random) -> list[str]:
    """n times, two different places exchange their words."""
    out = list(words)
    for _ in range(n if len(words) > 1 else 0):
        i, j = rng.sample(range(len(out)), 2)
        out[i], out[j] = out[j], out[i]
    return out


def delete_words(words: list[str], alpha: float, rng: random.Random) -> list[str]:
    """Each word is dropped with probability alpha; one random word stays if all were."""
    return [word for word in words if rng.random() > alpha] or [rng.choice(words)]


def _core(word: str) -> str:
    """The word without its punctuation; empty for digits and signs."""
    match = _WORD.search(word)
    return match[0] if match else ""


def _put(word: str, synonym: str) -> str:
    """The synonym in the word's place, with its punctuation and first capital."""
    match = _WORD.search(word)
    if not synonym or match is None:
        return word
    if match[0][0].isupper():
        synonym = synonym.capitalize()
    return word[: match.start()] + synonym + word[match.end() :]
