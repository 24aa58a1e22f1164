"""Positive and negative sub-captions (TA-Cleaner / CleanerCLIP, arXiv 2409.17601, method figure).

    caption   On a blue table were green grapes, yellow lemons, oranges and kiwis.
    positive  On a blue table were green grapes.      a true, shorter part
    negative  On a bad table were oranges.            a part with one word replaced: an adjective,
              On a blue table were bananas.           a noun
              On a blue table run kiwis.              or a verb

The paper shows these and names no parser or word list. Ours: the parts of taclean.captions.parts,
and in place of a word one that fits and makes the part false (taclean.captions.replacements).
"""

import math
import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import count
from typing import NamedTuple

import numpy as np

from taclean.captions.parts import KINDS, Parse, Part, Slot, parse
from taclean.captions.replacements import Tally, Vocabulary, Words
from taclean.captions.wordnet import PART, Lexicon

# benchmarks/subcaptions.py shows what each of these numbers buys.
SAMPLE, ROUNDS = 10_000, 60  # captions, and rounds, by which the weights are set
SCARCE = 6  # kinds are drawn by the inverse of the share of captions that offer them, to this power
FLOOR = 0.02  # least weight; greatest 1 / FLOOR
FOLDS, STRENGTH = 5, 0.1  # of the score's cross-validation; of its classifier's fit (C)
FEWEST = 50  # pairs that are scored


class Negative(NamedTuple):
    """A sub-caption that is false because `original` gave way to `replacement`."""

    text: str
    kind: str  # one of KINDS
    original: str
    replacement: str


class SubCaption(NamedTuple):
    """ST_P and the ST_N of one caption; at least one negative, all texts distinct."""

    positive: str
    negatives: tuple[Negative, ...]


def subcaption(
    caption: str | Parse,
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
    a negative is, so on average both are equally long. The result depends on the arguments and the
    state of `rng` only. Return None if the caption offers no negative.

    Args:
        caption: its text, or what `parse` made of it.
        vocabulary: from `learn`, of the split that the caption is from. Default: the words that are
            common in captions.
        words: "fitting" words that make the part false; as controls "same_part", any word of the
            same part of speech and form, or "any" word of the captions.

    A ValueError says that negatives < 1 or a kind is unknown.
    """
    if negatives < 1 or not set(kinds) <= set(KINDS):
        raise ValueError(f"negatives={negatives} must be positive and kinds={kinds} from {KINDS}")
    vocabulary, parsed = vocabulary or _common(lexicon), parse(caption, lexicon)
    offered = _cached(parsed, vocabulary, words)
    given = [kind for kind in KINDS if kind in kinds and kind in offered]
    if not given:
        return None

    def draw() -> tuple[Slot, Part, str]:
        kind = rng.choices(given, [vocabulary.kinds.get(kind, 1.0) for kind in given])[0]
        go = [vocabulary.go.get(choice.slot.word, 1.0) for choice in offered[kind]]
        choice = rng.choices(offered[kind], go)[0]
        word = rng.choices([*choice.words], [*choice.words.values()])[0]
        return choice.slot, rng.choice(choice.parts), word

    found: dict[str, Negative] = {}
    for _ in range(8 * negatives):  # repeats are redrawn; a short caption may have too few
        slot, part, word = draw()
        original = parsed.words[slot.place]
        if original[:1].isupper():
            word = word.upper() if original.isupper() and len(original) > 1 else word.capitalize()
        text = parsed.text(part, {slot.place: word})
        found.setdefault(text, Negative(text, slot.kind, original, word))
        if len(found) == negatives:
            break
    return SubCaption(parsed.text(draw()[1]), tuple(found.values()))


def offers(
    caption: str | Parse, lexicon: Lexicon, vocabulary: Vocabulary | None = None,
    words: Words = "fitting",
) -> tuple[str, ...]:  # fmt: skip
    """Return those of KINDS of which the caption gives a negative; empty if it gives none."""
    offered = _cached(parse(caption, lexicon), vocabulary or _common(lexicon), words)
    return tuple(kind for kind in KINDS if kind in offered)


_common = lru_cache(1)(Vocabulary)  # of the packaged counts, for a caption without a split


class Choice(NamedTuple):
    """A word that can be replaced, the parts that have it, and its replacements."""

    slot: Slot
    parts: list[Part]
    words: Mapping[str, float]  # with their weights


def choices(parsed: Parse, vocabulary: Vocabulary, words: Words) -> dict[str, list[Choice]]:
    """Return, by kind, the words to replace in the parts; if no part has one, in the caption."""
    lower = [word.lower() for word in parsed.words]
    lemmas = [vocabulary.lexicon.lemma(*pair) for pair in zip(lower, parsed.tags, strict=True)]
    used = frozenset([*lower, *lemmas])
    found = {}
    for slot in parsed.slots:
        if words == "fitting":
            pool = _fitting(slot, parsed, lemmas, used, vocabulary)
        else:
            pool = vocabulary.pool(slot, words)
        if given := {word: weight for word, weight in pool.items() if word not in used}:
            found[slot] = given
    parts = parsed.parts
    if parts and not any(slot.place in part for slot in found for part in parts):
        parts = (tuple(range(len(parsed.words))),)  # the whole caption
    kinds: dict[str, list[Choice]] = {}
    for slot, given in found.items():
        if having := [part for part in parts if slot.place in part]:
            kinds.setdefault(slot.kind, []).append(Choice(slot, having, given))
    return kinds


_cached = lru_cache(1 << 11)(choices)  # not for `learn`, which changes the weights


def _fitting(
    slot: Slot, parsed: Parse, lemmas: list[str], used: frozenset[str], vocabulary: Vocabulary
) -> Mapping[str, float]:
    """Return the words that fit the slot and make the caption false, with their weights."""
    lexicon, lists = vocabulary.lexicon, vocabulary.lexicon.lists
    n, tag, part = slot.place, slot.tag, PART.get(slot.tag, "v")
    beside = lemmas[max(0, n - 1) : n] + lemmas[n + 1 : n + 2]
    near = frozenset[str]().union(*(lexicon.sets(word, part) for word in beside))
    if part == "a" and near & lexicon.sets(lemmas[n], part):
        return {}  # navy blue
    article = parsed.words[n - 1].lower() if n else ""
    pairs = zip(lemmas, parsed.tags, strict=True)
    alike = {lemma for lemma, other in pairs if part != "a" and PART.get(other) == part}
    barred = used | (lists["his"] if used & lists["her_own"] else set())
    barred |= lists["her"] if used & lists["his_own"] else set()
    weights = {}
    for word, fit in vocabulary.fits(slot).items():
        lemma = lexicon.lemma(word, tag)
        if (
            lemma not in barred
            and (article not in ("a", "an") or lexicon.article(word) == article)
            and not any(lexicon.kin(lemma, other, part) for other in alike)
        ):
            uses = vocabulary.words[tag][word] * math.exp(fit)
            weights[word] = vocabulary.come.get(word, 1.0) * uses
    return weights


def learn(captions: Sequence[str], counts: Tally, lexicon: Lexicon) -> Vocabulary:
    """Return the vocabulary of a split, with weights by which no word tells a negative.

    Each word is to come in as often as it goes, and the kinds are to be as even as the captions
    allow. Both are expected numbers over some of the captions; `counts` is the captions' `tally`.
    """
    vocabulary = Vocabulary(lexicon, counts)
    index: dict[str, int] = {}
    rows: list[tuple[int, ...]] = []  # caption, kind, slot, word, replacement
    weights: list[float] = []
    slots = count()
    for n, caption in enumerate(captions[:: max(1, len(captions) // SAMPLE)]):
        for kind, some in choices(parse(caption, lexicon), vocabulary, "fitting").items():
            for choice in some:
                word = index.setdefault(choice.slot.word, len(index))
                at = n, KINDS.index(kind), next(slots), word
                rows += [(*at, index.setdefault(other, len(index))) for other in choice.words]
                weights += choice.words.values()
    if not rows:
        return vocabulary
    caption, kind, slot, word, other = np.array(rows).T
    starts = np.unique(slot, return_index=True)[1]  # a row of each slot
    # the words of a kind in a caption, and a row of each of these groups
    _, leads, group = np.unique(caption * len(KINDS) + kind, return_index=True, return_inverse=True)
    come, go = np.ones(len(index)), np.ones(len(index))
    kinds = (np.bincount(kind[leads], minlength=len(KINDS)) + 1.0) ** -SCARCE

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
    half. `captions` has that of each pair; pairs of one caption stay in one fold, and count as one
    for the standard error. None for fewer than 50 pairs or 5 different captions.
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
