"""Positive and negative sub-captions (TA-Cleaner / CleanerCLIP, arXiv 2409.17601, method figure).

    caption   On a blue table were green grapes, yellow lemons, oranges and kiwis.
    positive  On a blue table were green grapes.      a true, shorter part
    negative  On a bad table were oranges.            a part with one word replaced: an adjective,
              On a blue table were bananas.           a noun
              On a blue table run kiwis.              or a verb

The paper shows these and names no parser or word list. Ours: the parts of taclean.captions.parts,
and in place of a word one that fits and makes the part false (taclean.captions.replacements).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from taclean.captions.parts import KINDS, Parse, Part, Slot, parse
from taclean.captions.replacements import Tally, Vocabulary, Words
from taclean.captions.wordnet import PART, Lexicon

# benchmarks/subcaptions.py shows what each of these numbers buys.
SAMPLE, ROUNDS = 30_000, 60  # captions, and rounds, by which the weights are set
SCARCE = 6  # kinds are drawn by the inverse of the share of captions that offer them, to this power
FLOOR = 0.02  # least weight; greatest 1 / FLOOR
HIS = frozenset("he his him himself".split())
HERS = frozenset("she her hers herself".split())


@dataclass(frozen=True)
class Negative:
    """A sub-caption that is false because `original` gave way to `replacement`."""

    text: str
    kind: str  # one of KINDS
    original: str
    replacement: str


@dataclass(frozen=True)
class SubCaption:
    """ST_P and the ST_N of one caption; at least one negative, all texts distinct."""

    positive: str
    negatives: tuple[Negative, ...]


def subcaption(
    caption: str,
    rng: random.Random,
    lexicon: Lexicon,
    negatives: int = 1,
    kinds: Sequence[str] = KINDS,
    vocabulary: Vocabulary | None = None,
    words: Words = "fitting",
) -> SubCaption | None:
    """Return a random true part of the caption and up to `negatives` false ones.

    The kind of a negative is drawn from those of `kinds` that the caption offers; then a word of
    the kind, a part with the word, and a replacement. The part of the positive is drawn as that of
    a negative is, so neither is longer than the other. The result depends on the arguments and the
    state of `rng` only. None if the caption offers no negative.

    Args:
        vocabulary: from `learn`, of the split that the caption is from. Default: the words that are
            common in captions.
        words: "fitting" words that make the part false; as controls "same_part", any word of the
            same part of speech and form, or "any" word of the captions.

    Raises:
        ValueError: negatives < 1 or an unknown kind.
    """
    if negatives < 1 or not set(kinds) <= set(KINDS):
        raise ValueError(f"negatives={negatives} must be positive and kinds={kinds} from {KINDS}")
    offer = _offer(caption, vocabulary or common(lexicon), words)
    offered = [kind for kind in KINDS if kind in kinds and kind in offer.kinds]
    if not offered:
        return None
    found: dict[str, Negative] = {}
    for _ in range(8 * negatives):  # repeats are redrawn; a short caption may have too few
        choice, part = offer.draw(offered, rng)
        original = offer.parse.words[choice.slot.place]
        replacement = _cased(offer.word(choice, rng), original)
        text = offer.parse.text(part, {choice.slot.place: replacement})
        found.setdefault(text, Negative(text, choice.slot.kind, original, replacement))
        if len(found) == negatives:
            break
    return SubCaption(offer.parse.text(offer.draw(offered, rng)[1]), tuple(found.values()))


def offers(
    caption: str,
    lexicon: Lexicon,
    vocabulary: Vocabulary | None = None,
    words: Words = "fitting",
) -> tuple[str, ...]:
    """Return those of KINDS of which the caption gives a negative; empty if it gives none."""
    offer = _offer(caption, vocabulary or common(lexicon), words)
    return tuple(kind for kind in KINDS if kind in offer.kinds)


@lru_cache(1)
def common(lexicon: Lexicon) -> Vocabulary:
    """Return the vocabulary of the packaged counts, for a caption without a split."""
    return Vocabulary(lexicon)


# ---- what a caption offers -------------------------------------------------------------------


class Choice(NamedTuple):
    """A word that can be replaced, the parts that have it, and its replacements."""

    slot: Slot
    parts: list[Part]
    words: Sequence[str]
    sums: Sequence[float]  # of the words' weights
    go: float  # weight of replacing the word


@dataclass(frozen=True)
class Offer:
    """The words of a caption that can be replaced, by kind."""

    parse: Parse
    used: frozenset[str]  # the caption's words and their lemmas
    kinds: dict[str, list[Choice]]
    weights: dict[str, float]

    def draw(self, kinds: Sequence[str], rng: random.Random) -> tuple[Choice, Part]:
        """Draw a word of one of the kinds, and a part that has it."""
        kind = rng.choices(kinds, [self.weights.get(kind, 1.0) for kind in kinds])[0]
        choices = self.kinds[kind]
        choice = rng.choices(choices, [choice.go for choice in choices])[0]
        return choice, rng.choice(choice.parts)

    def word(self, choice: Choice, rng: random.Random) -> str:
        """Draw a replacement that is not in the caption."""
        while True:  # a choice has one
            word = rng.choices(choice.words, cum_weights=choice.sums)[0]
            if word not in self.used:
                return word


@lru_cache(1 << 12)
def _offer(caption: str, vocabulary: Vocabulary, words: Words) -> Offer:
    return make_offer(parse(caption, vocabulary.lexicon), vocabulary, words)


def make_offer(parsed: Parse, vocabulary: Vocabulary, words: Words = "fitting") -> Offer:
    """Find the words that can be replaced in the parts; without one, in the whole caption."""
    lower = [word.lower() for word in parsed.words]
    lemmas = [vocabulary.lexicon.lemma(*pair) for pair in zip(lower, parsed.tags, strict=True)]
    used = frozenset([*lower, *lemmas])
    found = {}
    for slot in parsed.slots:
        if words == "fitting":
            weights = _fitting(slot, parsed, lemmas, used, vocabulary)
            pool = [*weights], [*accumulate(weights.values())]
        else:
            pool = vocabulary.pool(slot, words)
        if not used.issuperset(pool[0]):
            found[slot] = pool
    reached = {place for part in parsed.parts for place in part}
    parts = parsed.parts
    if parts and reached.isdisjoint(slot.place for slot in found):
        parts = (tuple(range(len(parsed.words))),)  # the whole caption
    kinds: dict[str, list[Choice]] = {}
    for slot, pool in found.items():
        if having := [part for part in parts if slot.place in part]:
            go = vocabulary.go.get(slot.word, 1.0)
            kinds.setdefault(slot.kind, []).append(Choice(slot, having, *pool, go))
    return Offer(parsed, used, kinds, vocabulary.kinds)


def _fitting(
    slot: Slot, parsed: Parse, lemmas: list[str], used: frozenset[str], vocabulary: Vocabulary
) -> dict[str, float]:
    """Return the words that fit the slot and make the caption false, with their weights."""
    lexicon, sets = vocabulary.lexicon, vocabulary.sets
    n, tag, part = slot.place, slot.tag, PART.get(slot.tag, "v")
    beside = {lemmas[m] for m in (n - 1, n + 1) if 0 <= m < len(lemmas)}
    if part == "a" and any(sets.sets(lemmas[n], part) & sets.sets(word, part) for word in beside):
        return {}  # navy blue
    article = parsed.words[n - 1].lower() if n else ""
    alike = [
        lemma
        for lemma, other in zip(lemmas, parsed.tags, strict=True)
        if part != "a" and PART.get(other) == part
    ]
    betrayed = (sets.his if used & HERS else set()) | (sets.her if used & HIS else set())
    weights = {}
    for word, fit in vocabulary.fits(slot).items():
        lemma = lexicon.lemma(word, tag)
        if (
            used.isdisjoint((word, lemma))
            and lemma not in betrayed
            and (article not in ("a", "an") or lexicon.article(word) == article)
            and not any(lexicon.kin(lemma, other, part) for other in alike)
        ):
            uses = vocabulary.words[tag][word] * math.exp(fit)
            weights[word] = vocabulary.come.get(word, 1.0) * uses
    return weights


def _cased(word: str, like: str) -> str:
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word.capitalize() if like[:1].isupper() else word


# ---- weights ---------------------------------------------------------------------------------


def learn(captions: Sequence[str], counts: Tally, lexicon: Lexicon) -> Vocabulary:
    """Return the vocabulary of a split, with weights by which no word tells a negative.

    Each word is to come in as often as it goes, and the kinds are to be as even as the captions
    allow. Both are expected numbers over some of the captions.

    Args:
        counts: `taclean.captions.replacements.tally` of the captions.
    """
    vocabulary = Vocabulary(lexicon, counts)
    index: dict[str, int] = {}
    rows: list[tuple[int, ...]] = []  # caption, kind, slot, word, replacement
    starts: list[int] = []  # of each slot's rows
    weights: list[float] = []
    for n, caption in enumerate(captions[:: max(1, len(captions) // SAMPLE)]):
        offer = make_offer(parse(caption, lexicon), vocabulary)
        for kind, choices in offer.kinds.items():
            for choice in choices:
                starts.append(len(rows))
                word = index.setdefault(choice.slot.word, len(index))
                weights += np.diff(choice.sums, prepend=0).tolist()
                rows += [
                    (n, KINDS.index(kind), len(starts) - 1, word, index.setdefault(o, len(index)))
                    for o in choice.words
                ]
    if not rows:
        return vocabulary
    caption, kind, slot, word, other = np.array(rows).T
    group = caption * len(KINDS) + kind  # the words of a kind in a caption
    leads = np.unique(group, return_index=True)[1]  # a row of each group
    group = np.unique(group, return_inverse=True)[1]
    come, go = np.ones(len(index)), np.ones(len(index))
    kinds = (np.bincount(kind[leads], minlength=len(KINDS)) + 1.0) ** -SCARCE
    kinds /= kinds.max()

    def shares(weights: np.ndarray, of: np.ndarray) -> np.ndarray:
        return weights / np.bincount(of, weights)[of]

    by_kind = shares(kinds[kind[leads]], caption[leads])
    for _ in range(ROUNDS):
        by_slot = by_kind[group[starts]] * shares(go[word[starts]], group[starts])
        by_word = by_slot[slot] * shares(np.array(weights) * come[other], slot)
        gone = np.bincount(word[starts], by_slot, len(index)) + 1
        came = np.bincount(other, by_word, len(index)) + 1
        come = (come * np.sqrt(gone / came)).clip(FLOOR, 1 / FLOOR)
        go = (go * np.sqrt(came / gone)).clip(FLOOR, 1)
    vocabulary.come = dict(zip(index, come.tolist(), strict=True))
    vocabulary.go = dict(zip(index, go.tolist(), strict=True))
    vocabulary.kinds = dict(zip(KINDS, kinds.tolist(), strict=True))
    return vocabulary
