"""Positive and negative sub-captions (TA-Cleaner / CleanerCLIP, arXiv 2409.17601, method figure).

    caption   On a blue table were green grapes, yellow lemons, oranges and kiwis.
    positive  On a blue table were green grapes.      a true, shorter part
    negative  On a bad table were oranges.            a part with one word replaced: an adjective,
              On a blue table were bananas.           a noun
              On a blue table run kiwis.              or a verb

The paper shows these and names no parser or word list; ours are NLTK's tagger and chunker over the
exported WordNet (taclean.text.lexicon). A caption is parsed once into its candidate parts and the
words that can be replaced in them (`_parse`, cached); drawing from those is all that is random.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from nltk.chunk import RegexpParser
from nltk.tokenize import RegexpTokenizer

from taclean.text.lexicon import FINITE, NOUNS, Lexicon

KINDS = ("adjective", "noun", "verb")


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
) -> SubCaption | None:
    """A random true part of the caption and up to `negatives` false ones.

    Each negative's kind is drawn evenly among those of `kinds` that the caption offers. None when
    it offers none: no English words, say, or only proper names. The result depends on the
    arguments and the state of `rng` alone. Raises ValueError for negatives < 1 or an unknown kind.
    """
    if negatives < 1 or not set(kinds) <= set(KINDS):
        raise ValueError(f"negatives={negatives} must be positive and kinds={kinds} from {KINDS}")
    parse = _parse(caption, lexicon)
    offered = [kind for kind in offers(caption, lexicon) if kind in kinds]
    if not offered:
        return None
    drawn: dict[str, Negative] = {}
    for _ in range(8 * negatives):  # repeats are redrawn: a short caption may have too few
        kind = rng.choice(offered)
        part, place = rng.choice(parse.slots[kind])
        # an antonym or a sibling, evenly where there are both
        replacement = rng.choice(rng.choice([words for words in parse.swaps[place] if words]))
        text = parse.text(part, {place: replacement})
        drawn.setdefault(text, Negative(text, kind, parse.words[place], replacement))
        if len(drawn) == negatives:
            break
    return SubCaption(parse.text(rng.choice(parse.parts)), tuple(drawn.values()))


def offers(caption: str, lexicon: Lexicon) -> tuple[str, ...]:
    """Those of KINDS of which the caption gives a negative, in that order; empty if none."""
    slots = _parse(caption, lexicon).slots
    return tuple(kind for kind in KINDS if slots.get(kind))


def subcaptions(
    captions: Sequence[str],
    rng: random.Random,
    lexicon: Lexicon,
    negatives: int = 1,
    kinds: Sequence[str] = KINDS,
) -> list[SubCaption | None]:
    """`subcaption` of each caption; entry i belongs to caption i, None where it has none."""
    return [subcaption(caption, rng, lexicon, negatives, kinds) for caption in captions]


# ---- parsing ---------------------------------------------------------------------------------

Chunk = tuple[int, int]  # start and end of a noun phrase
Part = tuple[int, ...]  # the places of the words that a sub-caption keeps, in order

_TOKENS = RegexpTokenizer(
    r"<[^<>\s]+>|https?://\S+|www\.\S+|&#?\w+;"  # <PERSON>, addresses, entities
    r"|\d+(?:[.,:/]\d+)*%?|['’]s\b|[^\W\d_]+(?:-[^\W_]+)*(?:['’](?!s\b)[^\W_]+)*"
    r"|\.\.\.|[^\w\s]|\w+"
)
_CHUNKER = RegexpParser(
    r"NP: {<DT|PRP\$|CD>*<RB>?(<JJ>+<CC>)?<JJ|CD>*(<NN><JJ>)?<NN|NNS|NNP>+"
    r"(<POS><JJ>*<NN|NNS|NNP>+)*}"
)
_BOUNDARIES = FINITE | {"IN", "TO", "COMMA", "CC", "WP", "VBG", "VBN", "SYM"}
_ENDS = NOUNS | {"VB", "VBP", "VBZ", "VBD", "VBG", "RB"}
_OBJECT_STARTS = NOUNS | {"DT", "PRP$", "JJ", "CD"}
# Alone these say nothing of the picture: "a picture | of a dog".
_NEEDS_OF = {"lot", "lots", "couple", "pair", "bunch", "kind", "type", "sort", "number", "front"}
_NEEDS_OF |= {"picture", "drawing", "photo", "photograph", "image", "illustration", "view", "icon"}


@dataclass(frozen=True)
class _Parse:
    """What a caption offers; parts may be empty, and then so are the slots."""

    words: tuple[str, ...]
    spaces: tuple[str, ...]  # what stands before each word
    parts: tuple[Part, ...]
    slots: dict[str, list[tuple[Part, int]]]  # kind -> a part and a place in it to replace
    swaps: dict[int, tuple[list[str], list[str]]]  # place -> its antonyms, its siblings

    def text(self, part: Part, replaced: dict[int, str] | None = None) -> str:
        words = {place: self.words[place] for place in part} | (replaced or {})
        text = "".join(self.spaces[place] + words[place] for place in part).strip()
        return text[:1].upper() + text[1:] if self.words[0][:1].isupper() else text


@lru_cache(1 << 12)
def _parse(caption: str, lexicon: Lexicon) -> _Parse:
    spans = list(_TOKENS.span_tokenize(caption))
    words = tuple(caption[start:end] for start, end in spans)
    ends = [0, *(end for _, end in spans)]
    spaces = tuple(caption[ends[n] : start] for n, (start, _) in enumerate(spans))
    tags = [tag for _, tag in lexicon.tag(words)]
    parts = _parts(words, tags)
    swaps = {n: _swaps(words, tags, n, lexicon) for n in range(len(words)) if _kind(tags, n)}
    slots: dict[str, list[tuple[Part, int]]] = {}
    # "an hour on a clock": no other word fits `an`, so the negatives are of the whole caption
    whole = (tuple(range(len(words))),) if parts else ()
    for part in parts if any(any(swaps.get(n, ())) for p in parts for n in p) else whole:
        for place in part:
            kind = _kind(tags, place)
            if kind and any(swaps[place]):
                slots.setdefault(kind, []).append((part, place))
    return _Parse(words, spaces, parts, slots, swaps)


def _kind(tags: list[str], place: int) -> str | None:
    """The kind of negative that replacing this word makes, None if it stays."""
    tag = tags[place]
    after = tags[place + 1] if place + 1 < len(tags) else "END"
    if tag in ("JJ", "CD"):
        return "adjective"
    if tag in ("NN", "NNS"):
        return None if after in NOUNS else "noun"  # of a compound, the head
    if tag == "BE":
        return None if after.startswith("VB") else "verb"
    return "verb" if tag.startswith("VB") else None


def _swaps(
    words: Sequence[str], tags: list[str], place: int, lexicon: Lexicon
) -> tuple[list[str], list[str]]:
    """Antonyms and siblings that fit the place: case, article, and no word of the caption."""
    word, tag = words[place], tags[place]
    used = {w.lower() for w in words} | {
        lexicon.lemma(w, t) for w, t in zip(words, tags, strict=True)
    }
    form = "VBZ" if tag == "BE" else tag
    needs = words[place - 1].lower() if place else ""
    has_object = tag == "VBN" or bool(_OBJECT_STARTS & set(tags[place + 1 : place + 2]))

    def fits(other: str) -> bool:
        if other in used or lexicon.lemma(other, form) in used:
            return False
        return needs not in ("a", "an") or lexicon.article(other) == needs

    def cased(other: str) -> str:
        if word.isupper() and len(word) > 1:
            return other.upper()
        return other.capitalize() if word[:1].isupper() else other

    antonyms, siblings = (
        [cased(other) for other in others if fits(other)] for others in lexicon.swaps(word, tag)
    )
    if tag.startswith("VB"):
        frame = "t" if has_object else "i"
        framed = [o for o in siblings if frame in lexicon.frames(o.lower(), tag)]
        siblings = framed or siblings
    return antonyms, siblings


def _parts(words: Sequence[str], tags: list[str]) -> tuple[Part, ...]:
    """The true parts of a caption: conjuncts in their frame, and the caption cut short.

    Without either, its noun phrases; without those, the caption itself. No noun: no parts.
    """
    stop = tuple(range(len(tags) - 1, len(tags))) if tags and tags[-1] == "STOP" else ()
    end = len(tags) - len(stop)
    chunks = _chunks(tags[:end])
    if not chunks:
        return ()
    runs = _runs(tags, chunks)
    found = [*_conjuncts(words, tags, runs), *_cuts(words, tags, runs, end)]
    telling = [chunk for chunk in chunks if words[chunk[1] - 1].lower() not in _NEEDS_OF]
    phrases = [tuple(range(*chunk)) for chunk in telling or chunks]
    short, nouns = ([p for p in kind if len(p) < end] for kind in (found, phrases))
    wordy = [[part for part in kind if len(part) > 1] for kind in (short, nouns)]
    best = next((kind for kind in (*wordy, short, nouns) if kind), [tuple(range(end))])
    return tuple(part + stop for part in dict.fromkeys(best))


def _chunks(tags: Sequence[str]) -> list[Chunk]:
    """The noun phrases."""
    if not NOUNS & set(tags):
        return []
    tree = _CHUNKER.parse([(str(n), tag) for n, tag in enumerate(tags)])
    leaves = [chunk.leaves() for chunk in tree.subtrees(lambda node: node.label() == "NP")]
    return [(int(chunk[0][0]), int(chunk[-1][0]) + 1) for chunk in leaves]


def _runs(tags: list[str], chunks: list[Chunk]) -> list[list[Chunk]]:
    """Noun phrases grouped: those with but a comma or conjunction between them are one run."""
    runs = [[chunks[0]]]
    for chunk in chunks[1:]:
        between = tags[runs[-1][-1][1] : chunk[0]]
        if between in (["COMMA"], ["CC"], ["COMMA", "CC"]):
            runs[-1].append(chunk)
        else:
            runs.append([chunk])
    return runs


def _conjuncts(words: Sequence[str], tags: list[str], runs: list[list[Chunk]]) -> Iterator[Part]:
    """[frame] A, B and C [rest] -> frame A, frame B, frame C."""
    for run in runs:
        start, stop = run[0][0], run[-1][1]
        if tags[stop : stop + 1] and tags[stop] in FINITE and FINITE & set(tags[:start]):
            run = run[:-1]  # "... on a chair and a dog sleeps": a new clause
        lead = words[start - 1].lower() if start else ""
        if len(run) < 2 or lead == "between":
            continue
        for chunk in run:
            # "a cat on a chair, a dog and a bird": the preposition surely leads the first alone
            loose = lead in ("with", "of") or tags[chunk[0]] != "DT"
            shared = chunk == run[0] or tags[start - 1] in FINITE or (loose and len(run) > 2)
            yield tuple(range(start if shared else 0)) + tuple(range(*chunk))


def _cuts(
    words: Sequence[str], tags: list[str], runs: list[list[Chunk]], end: int
) -> Iterator[Part]:
    """The caption up to a verb, preposition, comma or conjunction, not inside a list."""
    inside = {n for run in runs for start, stop in run for n in range(start + 1, stop)}
    inside |= {n for run in runs if len(run) > 2 for n in range(run[0][0] + 1, run[-1][1])}
    lower = [word.lower() for word in words]
    for place in range(runs[0][0][1], end):
        before, last = tags[:place], tags[place - 1]
        if tags[place] not in _BOUNDARIES or place in inside:
            continue
        clause = FINITE & set(before)
        described = last == "JJ" and "BE" in before  # the sky is blue | over the sea
        hanging = before[0] in ("IN", "RB") and "IN" in before[:2] and not clause
        split = (
            (tags[place] in FINITE and clause)  # ... when the animal | got free
            or (lower[place] == "of" and lower[place - 1] in _NEEDS_OF)
            or (tags[place] == "CC" and "between" in lower[:place])
        )
        if (last in _ENDS or described) and not hanging and not split:
            yield tuple(range(place))
