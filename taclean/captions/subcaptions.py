"""Positive and negative sub-captions (TA-Cleaner / CleanerCLIP, arXiv 2409.17601, method figure).

    caption   On a blue table were green grapes, yellow lemons, oranges and kiwis.
    positive  On a blue table were green grapes.      a true, shorter part
    negative  On a bad table were oranges.            a part with one word replaced: an adjective,
              On a blue table were bananas.           a noun
              On a blue table run kiwis.              or a verb

The paper shows these and names no parser or word list. Ours: the parts of taclean.captions.parts,
and in place of a word the words of the split's own captions (taclean.captions.replacements).
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from taclean.captions.parts import COMPOUND, KINDS, Parse, Part, Slot, parse
from taclean.captions.replacements import Choices, Tally, Vocabulary
from taclean.captions.wordnet import PART, Lexicon

SLOTS, TRIES = 6, 16  # words of a caption, and replacements of each, that one is chosen from
LOW = 0.0005  # the rate of a caption's readiest word below which it gives no negative of a kind
POOR = -2.0  # a fit that a kind's words must reach: none is better than one that reads oddly
WELL = -1.0  # the same where the caption offers a kind that fits better
Words = Literal["fitting", "any"]
CHANCE = 0.8  # of a fit that decides; more, and words come in as often as they go
SAMPLE, TURNS = 4000, 2  # captions, and rounds, by which the weights are set


@dataclass(frozen=True)
class Negative:
    """A sub-caption in which `original` gave way to `replacement` and which is false for that."""

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
    """A random true part of the caption and up to `negatives` false ones.

    A negative's kind is drawn from those of `kinds` that the caption offers, the more often the
    fewer captions offer it. The positive's part is drawn as a negative's is, so that neither is
    longer or has more verbs than the other. None when the caption offers nothing: no English words,
    say, or only proper names. The result depends on the arguments and the state of `rng` alone.

    Args:
        vocabulary: of the split that the caption is from; default: common words of captions.
        words: "fitting", or "any" of the vocabulary, a control: false, but seldom sense.

    Raises:
        ValueError: negatives < 1 or an unknown kind.
    """
    if negatives < 1 or not set(kinds) <= set(KINDS):
        raise ValueError(f"negatives={negatives} must be positive and kinds={kinds} from {KINDS}")
    offer = _offer(caption, vocabulary or plain(lexicon))
    offered = [kind for kind in KINDS if kind in kinds and offer.kinds.get(kind)]
    if not offered:
        return None
    found: dict[str, Negative] = {}
    for _ in range(8 * negatives):  # repeats are redrawn: a short caption may have too few
        one, word = offer.pick(offered, rng)
        original = offer.parse.words[one.slot.place]
        if words == "any":
            word = offer.any_word(rng)
        replacement = _cased(word, original)
        text = offer.parse.text(one.part, {one.slot.place: replacement})
        found.setdefault(text, Negative(text, one.slot.kind, original, replacement))
        if len(found) == negatives:
            break
    part = offer.pick(offered, rng)[0].part
    if len(part) == len(offer.parse.words):
        part = max(offer.parse.parts, key=len)
    return SubCaption(offer.parse.text(part), tuple(found.values()))


def learn(captions: Sequence[str], counts: Tally, lexicon: Lexicon) -> Vocabulary:
    """The vocabulary of a split, its weights set so that words come in as often as they go.

    How well a replacement fits decides too, and common words fit more often; so some captions'
    negatives are made, and what came in too often is weighed down.
    """
    vocabulary = Vocabulary(lexicon, counts)
    some = captions[:: max(1, len(captions) // SAMPLE)]
    for turn in range(TURNS if vocabulary.tables else 0):
        gone, came = Counter[str](), Counter[str]()
        for n, caption in enumerate(some):
            sub = subcaption(caption, random.Random(f"{turn}:{n}"), lexicon, vocabulary=vocabulary)
            for negative in sub.negatives if sub else ():
                gone[negative.original.lower()] += 1
                came[negative.replacement.lower()] += 1
        given = Counter(kind for caption in some for kind in offers(caption, lexicon, vocabulary))
        vocabulary.scarce = {kind: len(some) / (given[kind] + 1) for kind in KINDS}
        vocabulary.balance({word: (gone[word] + 3) / (came[word] + 3) for word in gone | came})
        _offer.cache_clear()
    return vocabulary


def offers(caption: str, lexicon: Lexicon, vocabulary: Vocabulary | None = None) -> tuple[str, ...]:
    """Those of KINDS of which the caption gives a negative, in that order; empty if none."""
    return tuple(
        kind for kind in KINDS if _offer(caption, vocabulary or plain(lexicon)).kinds.get(kind)
    )


@lru_cache(1)
def plain(lexicon: Lexicon) -> Vocabulary:
    """Common words alone, for a caption that stands by itself."""
    return Vocabulary(lexicon)


# ---- what a caption offers -------------------------------------------------------------------


@dataclass(frozen=True)
class _Open:
    """A word of a part that can be replaced."""

    part: Part
    slot: Slot
    choices: Choices
    first: str  # one choice that fits
    rate: float  # how readily the word is replaced here, in 0..1
    chance: float  # the same, shared among the words of the part


class _Offer:
    """A caption's open words by kind, and which words fit there."""

    def __init__(self, caption: str, vocabulary: Vocabulary) -> None:
        self.parse: Parse = parse(caption, vocabulary.lexicon)
        self.vocabulary, self.lexicon = vocabulary, vocabulary.lexicon
        self.kinds: dict[str, list[_Open]] = {}
        pairs = list(zip(self.parse.words, self.parse.tags, strict=True))
        self._used = {word.lower() for word in self.parse.words}
        self._used |= {self.lexicon.lemma(word, tag) for word, tag in pairs}
        self._kin: dict[str, tuple[set[str], set[str]]] = {}
        # "an hour on a clock": where no part has an open word, the whole caption
        whole = (tuple(range(len(pairs))),) if self.parse.parts else ()
        known = vocabulary if vocabulary.large else plain(self.lexicon)
        sources = (
            (self.parse.parts, vocabulary.choices),
            (self.parse.parts, vocabulary.plain),
            (self.parse.parts, known.plain),  # of a large split's vocabulary the same again
            (whole, known.plain),
        )
        for parts, source in dict.fromkeys(sources):
            if not self.kinds:
                found = {s: c for s in self.parse.slots if (c := source(s))}
                fitting = {s: w for s, c in found.items() if (w := self._first(s, c))}
                for part in parts:
                    here = [slot for slot in fitting if slot.place in part]
                    for slot in here:
                        rate = found[slot].rate
                        if slot.price == COMPOUND and slot.needs:
                            rate *= 0.05  # a reality star
                        if slot.context == "object":
                            rate *= 0.4  # catches a cold
                        if self.parse.words[slot.place + 1 : slot.place + 2] == ("of",):
                            rate *= 0.2  # a bowl of rice
                        chance = rate / sum(s.kind == slot.kind for s in here)
                        one = _Open(part, slot, found[slot], fitting[slot], rate, chance)
                        self.kinds.setdefault(slot.kind, []).append(one)

        if vocabulary.large:
            self.kinds = {
                kind: [one for one in slots if one.rate >= 0.05 * max(o.rate for o in slots)]
                for kind, slots in self.kinds.items()
                if max(one.rate for one in slots) >= LOW
            }
            rng = random.Random(caption)
            fits = {kind: self.best(kind, rng)[2] for kind in self.kinds}
            least = min(WELL, max(fits.values(), default=POOR))
            self.kinds = {
                kind: slots for kind, slots in self.kinds.items() if fits[kind] >= max(least, POOR)
            }

    def pick(self, kinds: Sequence[str], rng: random.Random) -> tuple[_Open, str]:
        """A word to replace and its replacement."""
        scarce = self.vocabulary.scarce
        chances = [scarce[kind] * max(one.rate for one in self.kinds[kind]) for kind in kinds]
        return self.best(rng.choices(kinds, chances)[0], rng)[:2]

    def any_word(self, rng: random.Random) -> str:
        """A word of the captions that is not in this one."""
        drawn = (self.vocabulary.any_word(rng) for _ in range(100))
        return next(word for word in drawn if word not in self._used)

    def best(self, kind: str, rng: random.Random) -> tuple[_Open, str, float]:
        """Of a few words of a kind and a few choices of each, what fits best, and how well."""
        words = self.parse.words
        some = rng.choices(self.kinds[kind], [one.chance for one in self.kinds[kind]], k=SLOTS)
        best, most = (some[0], some[0].first, -math.inf), -math.inf
        places = {one.slot.place: one for one in reversed(some)}
        others = {slot.word for slot in self.parse.slots}
        for one in places.values():
            place = one.slot.place
            before = words[place - 1].lower() if place else "<"
            after = words[place + 1].lower() if place + 1 < len(words) else ">"
            beside = others - {one.slot.word}
            for word, times in one.choices.draw(rng, TRIES).items():
                fit = self.vocabulary.fit(word, one.slot, before, after, beside)
                chance = CHANCE * math.log(times / -math.log(rng.random() or 0.5))
                worth = fit + chance + 1.5 * math.log(one.rate)
                if worth > most and self._fits(word, one.slot):
                    best, most = (one, word, fit), worth
        return best

    def _first(self, slot: Slot, choices: Choices) -> str | None:
        return next((word for word in choices.words if self._fits(word, slot)), None)

    def _fits(self, word: str, slot: Slot) -> bool:
        """Whether the word is neither in the caption nor kin of one there, and fits its article."""
        part, tag = PART.get(slot.tag, "v"), slot.tag
        lemma = self.lexicon.lemma(word, tag)
        if word in self._used or lemma in self._used:
            return False
        before = self.parse.words[slot.place - 1].lower() if slot.place else ""
        if before in ("a", "an") and self.lexicon.article(word) != before:
            return False
        if part == "a":
            return True
        own, up = self.lexicon.family(lemma, part)
        names, above = self._relatives(part)
        return own.isdisjoint(above) and up.isdisjoint(names)

    def _relatives(self, part: str) -> tuple[set[str], set[str]]:
        """Synsets of the caption's words of a part of speech, and those with all above them."""
        if part not in self._kin:
            own, up = self._kin[part] = set(), set()
            for word, tag in zip(self.parse.words, self.parse.tags, strict=True):
                if PART.get(tag) == part:
                    names, above = self.lexicon.family(self.lexicon.lemma(word, tag), part)
                    own |= names
                    up |= above
        return self._kin[part]


_offer = lru_cache(1 << 12)(_Offer)


def _cased(word: str, like: str) -> str:
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word.capitalize() if like[:1].isupper() else word
