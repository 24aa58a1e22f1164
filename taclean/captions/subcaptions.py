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

import numpy as np

from taclean.captions.parts import KINDS, Parse, Part, Slot, parse
from taclean.captions.replacements import FIT, Tally, Vocabulary, Words
from taclean.captions.wordnet import PART, Lexicon

SAMPLE, ROUNDS = 4000, 30  # captions, and rounds, by which the weights are set
TEMPER = 0.5  # of the fit in a replacement's weight: the links of a word overlap
HIS = frozenset("he his him himself".split())
HERS = frozenset("she her hers herself".split())
MALE = frozenset("man gentleman guy boy father dad grandfather son brother groom king prince".split())
FEMALE = frozenset(
    "woman lady girl mother mom grandmother daughter sister bride queen princess".split()
)


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
        replacement = _cased(choice.word(rng), original)
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


@dataclass(frozen=True)
class Choice:
    """A word that can be replaced, the parts that have it, and its replacements."""

    slot: Slot
    parts: tuple[Part, ...]
    fits: dict[str, float]  # replacement -> weight
    go: float = 1.0

    def word(self, rng: random.Random) -> str:
        """Draw a replacement."""
        return rng.choices([*self.fits], [*self.fits.values()])[0]


@dataclass(frozen=True)
class Offer:
    """The words of a caption that can be replaced, by kind."""

    parse: Parse
    kinds: dict[str, list[Choice]]
    weights: dict[str, float]

    def draw(self, kinds: Sequence[str], rng: random.Random) -> tuple[Choice, Part]:
        """Draw a word of one of the kinds, and a part that has it."""
        kind = rng.choices(kinds, [self.weights.get(kind, 1.0) for kind in kinds])[0]
        choices = self.kinds[kind]
        choice = rng.choices(choices, [choice.go for choice in choices])[0]
        return choice, rng.choice(choice.parts)


def _make_offer(caption: str, vocabulary: Vocabulary, words: Words) -> Offer:
    """Find the words of the parts that can be replaced; if there is none, of the caption."""
    parsed = parse(caption, vocabulary.lexicon)
    replacements = _fitting if words == "fitting" else _arbitrary
    found = {
        slot: fits
        for slot in parsed.slots
        if (fits := replacements(slot, parsed, vocabulary, words))
    }
    whole = (tuple(range(len(parsed.words))),) if parsed.parts else ()
    kinds: dict[str, list[Choice]] = {}
    for parts in (parsed.parts, whole):
        for slot, fits in found.items() if not kinds else ():
            having = tuple(part for part in parts if slot.place in part)
            if having:
                go = vocabulary.go.get(slot.word, 1.0)
                kinds.setdefault(slot.kind, []).append(Choice(slot, having, fits, go))
        if kinds:
            break
    return Offer(parsed, kinds, vocabulary.kinds)


_offer = lru_cache(1 << 12)(_make_offer)


def _fitting(slot: Slot, parsed: Parse, vocabulary: Vocabulary, words: Words) -> dict[str, float]:
    """Return the words that fit the slot and make the caption false, with their weights."""
    lexicon, tag, part = vocabulary.lexicon, slot.tag, PART.get(slot.tag, "v")
    peers = vocabulary.peers(slot.word, tag)
    if not peers:
        return {}
    lower = [word.lower() for word in parsed.words]
    lemmas = [lexicon.lemma(*pair) for pair in zip(lower, parsed.tags, strict=True)]
    used = {*lower, *lemmas}
    own_sets = vocabulary.sets.sets(lexicon.lemma(slot.word, tag), part)
    for n in (slot.place - 1, slot.place + 1):  # navy blue
        if 0 <= n < len(lower) and part == "a" and own_sets & vocabulary.sets.sets(lemmas[n], "a"):
            return {}
    before = lower[slot.place - 1] if slot.place else ""
    same = [
        lemma
        for lemma, other in zip(lemmas, parsed.tags, strict=True)
        if part != "a" and PART.get(other) == part
    ]
    gone = (MALE if used & HERS else frozenset()) | (FEMALE if used & HIS else frozenset())

    def false(word: str) -> bool:
        lemma = lexicon.lemma(word, tag)
        return not (
            {word, lemma} & used
            or (before in ("a", "an") and lexicon.article(word) != before)
            or lemma in gone
            or any(lexicon.kin(lemma, other, part) for other in same)
        )

    fits = vocabulary.fits(slot, peers)
    count = vocabulary.words[tag]
    return {
        word: vocabulary.come.get(word, 1.0) * count[word] * math.exp(TEMPER * min(fit, 8.0))
        for word, fit in fits.items()
        if fit >= FIT and false(word)
    }


def _arbitrary(slot: Slot, parsed: Parse, vocabulary: Vocabulary, words: Words) -> dict[str, float]:
    raise NotImplementedError


def _cased(word: str, like: str) -> str:
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word.capitalize() if like[:1].isupper() else word


# ---- weights ---------------------------------------------------------------------------------


def learn(captions: Sequence[str], counts: Tally, lexicon: Lexicon) -> Vocabulary:
    """Return the vocabulary of a split.

    Its weights are set so that each word comes in as often as it goes, and that the kinds are as
    even as the captions allow: the expected numbers over some captions decide, so that a reader of
    the texts alone does not learn which are false.
    """
    vocabulary = Vocabulary(lexicon, counts)
    rows = []  # caption, kind, slot, word, replacement, weight
    index: dict[str, int] = {}
    slots = 0
    for n, caption in enumerate(captions[:: max(1, len(captions) // SAMPLE)]):
        for kind, choices in _make_offer(caption, vocabulary, "fitting").kinds.items():
            for choice in choices:
                word = index.setdefault(choice.slot.word, len(index))
                for other, weight in choice.fits.items():
                    at = index.setdefault(other, len(index))
                    rows.append((n, KINDS.index(kind), slots, word, at, weight))
                slots += 1
    if not rows:
        return vocabulary
    table = np.array(rows)
    caption, kind, slot, word, other = table[:, :5].astype(int).T
    weight = table[:, 5]
    first = np.flatnonzero(np.diff(slot, prepend=-1))  # of each slot
    group = np.unique(caption * len(KINDS) + kind, return_inverse=True)[1]  # caption and kind
    lead = np.unique(group, return_index=True)[1]
    come, go, kinds = np.ones(len(index)), np.ones(len(index)), np.ones(len(KINDS))

    def shares(weights: np.ndarray, of: np.ndarray) -> np.ndarray:
        return weights / np.bincount(of, weights)[of]

    for _ in range(ROUNDS):
        by_kind = shares(kinds[kind[lead]], caption[lead])
        by_slot = by_kind[group[first]] * shares(go[word[first]], group[first])
        chance = by_slot[slot] * shares(weight * come[other], slot)
        gone = np.bincount(word[first], by_slot, len(index)) + 1
        came = np.bincount(other, chance, len(index)) + 1
        come = (come * (gone / came) ** 0.5).clip(0.02, 50)
        go = (go * (came / gone) ** 0.25).clip(0.02, 1)
        share = np.bincount(kind[lead], by_kind, len(KINDS)) + 1
        kinds = (kinds * (share.mean() / share) ** 0.5).clip(0.05, 1)
    vocabulary.come = dict(zip(index, come.round(6).tolist(), strict=True))
    vocabulary.go = dict(zip(index, go.round(6).tolist(), strict=True))
    vocabulary.kinds = dict(zip(KINDS, kinds.round(6).tolist(), strict=True))
    return vocabulary
