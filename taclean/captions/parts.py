"""The parts of a caption that can stand alone, and the words in them that can be replaced."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from taclean.captions.wordnet import FINITE, NOUNS, PART, VERBS, Lexicon

import os
NEED_MOD,NEED_ROLE,NEED_HEAD,NEED_VERB=eval(os.environ.get("NEEDS","(0,0,1,('object',))"))
KINDS = ("adjective", "noun", "verb")
Chunk = tuple[int, int]  # start and end of a noun phrase
Part = tuple[int, ...]  # the places of the words that a sub-caption keeps, in order
Link = tuple[str, str, str]  # relation, word, tag of the word ("" for a function word)

TOKEN = re.compile(
    r"<[^<>\s]+>|https?://\S+|www\.\S+|&#?\w+;"  # <PERSON>, addresses, entities
    r"|\d+(?:[.,:/]\d+)*%?|['’]s\b|[^\W\d_]+(?:-[^\W_]+)*(?:['’](?!s\b)[^\W_]+)*"
    r"|\.\.\.|[^\w\s]|\w+"
)
_LETTER = dict.fromkeys(NOUNS, "n") | {"DT": "d", "PRP$": "d", "CD": "c", "JJ": "j", "RB": "r"}
_LETTER |= {"CC": "&", "POS": "s", "HYPH": "-"}
_PHRASE = re.compile(r"[dc]*r?(?:j+&)?(?:[jcn]-[jcn]|[jc])*(?:nj)?n+(?:-[jn]+n|s[jc]*n+)*")
_BOUNDARIES = FINITE | {"IN", "TO", "COMMA", "CC", "WP", "VBG", "VBN", "SYM"}
_ENDS = NOUNS | {"VB", "VBP", "VBZ", "VBD", "VBG", "RB", "RP"}
# Alone, these nouns say nothing of the picture: "a picture | of a dog".
_NEEDS_OF = frozenset(
    "lot lots couple pair bunch kind type sort number front part top side sides rest piece pieces "
    "set series group row variety range collection end edge middle back way symbol member members "
    "picture drawing photo photograph photos image images illustration view views icon portrait "
    "close silhouette interior exterior scene sign shot".split()
)
_NEVER_OPEN = _NEEDS_OF - frozenset("photo photos photograph illustration drawing sign".split())
_DENIALS = frozenset("no not without never neither nor n't don't isn't aren't wasn't".split())
_OPENERS = frozenset("that as when while because if which who where what how until since".split())
_STAYS_TRUE = frozenset("near close from like for about".split())  # "close to the park"
_LOOKS = frozenset("look looks looking looked seem seems appear appears become becomes next close all".split())


@dataclass(frozen=True)
class Slot:
    """A word that can be replaced, and the words that a replacement has to go with."""

    place: int
    kind: str  # one of KINDS
    word: str  # lower-case
    tag: str
    links: tuple[Link, ...]
    needs: tuple[Link, ...] = ()  # links in which a replacement must have been seen


@dataclass(frozen=True)
class Parse:
    """The analysis of a caption. `parts` and `slots` may be empty."""

    words: tuple[str, ...]
    spaces: tuple[str, ...]  # the text before each word
    tags: tuple[str, ...]
    parts: tuple[Part, ...]
    slots: tuple[Slot, ...]

    def text(self, part: Part, replaced: dict[int, str] | None = None) -> str:
        """Return the words of a part as text, some of them replaced by place."""
        words = {place: self.words[place] for place in part} | (replaced or {})
        text = "".join(self.spaces[place] + words[place] for place in part).strip()
        return text[:1].upper() + text[1:] if self.words[0][:1].isupper() else text


@lru_cache(1 << 12)
def parse(caption: str, lexicon: Lexicon) -> Parse:
    """Return the tokens, tags, parts and slots of a caption."""
    found = list(TOKEN.finditer(caption))
    words = tuple(match[0] for match in found)
    ends = [0, *(match.end() for match in found)]
    spaces = tuple(caption[ends[n] : match.start()] for n, match in enumerate(found))
    return analyse(words, spaces, lexicon.tag(words), lexicon)


def analyse(
    words: tuple[str, ...], spaces: tuple[str, ...], tags: tuple[str, ...], lexicon: Lexicon
) -> Parse:
    """Return the parts and slots of tagged words."""
    phrases = _chunks(tags)
    slots = [
        slot for n in range(len(words)) if (slot := _Place(words, tags, phrases, n).slot())
    ]
    return Parse(words, spaces, tags, _parts(words, tags, lexicon), tuple(slots))


def _chunks(tags: Sequence[str]) -> list[Chunk]:
    """Return the noun phrases."""
    letters = "".join(_LETTER.get(tag, " ") for tag in tags)
    return [match.span() for match in _PHRASE.finditer(letters)]


# ---- words to replace ------------------------------------------------------------------------


class _Place:
    """A word in its caption."""

    def __init__(
        self, words: Sequence[str], tags: Sequence[str], phrases: list[Chunk], n: int
    ) -> None:
        self.lower = [word.lower() for word in words]
        self.tags, self.phrases, self.n = tags, phrases, n
        self.word, self.tag = self.lower[n], tags[n]
        self.before = tags[n - 1] if n else ""
        self.after = tags[n + 1] if n + 1 < len(tags) else ""

    def slot(self) -> Slot | None:
        """Return the slot of the word, or None if it must stay."""
        if "HYPH" in (self.before, self.after):
            return None  # a part of "ice - covered"
        if _DENIALS & set(self.lower[max(0, self.n - 4) : self.n]):
            return None  # "no dog" is as true as "no cat"
        find = {"NN": self._noun, "NNS": self._noun, "JJ": self._adjective, "CD": self._number}
        find |= dict.fromkeys((*VERBS, "BE"), self._verb)
        return find[self.tag]() if self.tag in find else None

    def _link(self, relation: str, n: int) -> Link:
        """Return a link to the word at place n; "<" and ">" stand for the caption's ends."""
        if n < 0 or n >= len(self.tags):
            return relation, "<" if n < 0 else ">", ""
        return relation, self.lower[n], self.tags[n] if self.tags[n] in PART else ""

    def _beside(self) -> list[Link]:
        return [self._link("left", self.n - 1), self._link("right", self.n + 1)]

    def _noun(self) -> Slot | None:
        start, end = next(
            ((start, end) for start, end in self.phrases if start <= self.n < end),
            (self.n, self.n + 1),
        )
        if self.word in _NEVER_OPEN or self.after == "JJ":
            return None
        if self.after == "POS" and self.tag == "NNS":
            return None  # "children 's" is right, "dogs 's" is not
        lead = self.lower[start - 1] if start else ""
        to = lead == "to" and start > 1 and self.lower[start - 2]
        if lead in _STAYS_TRUE or to in _STAYS_TRUE:
            return None
        links = self._beside()
        if self.after in NOUNS:
            if self.tag != "NN" or self.before in NOUNS:
                return None
            head = self._link("compound", self.n + 1)
            return Slot(self.n, "noun", self.word, self.tag, (*links, head), (head,))
        determiner = self.lower[start] if self.tags[start] in ("DT", "PRP$", "CD") else "bare"
        determiner = {"an": "a"}.get(determiner, determiner)
        links.append(("determiner", determiner, ""))
        if start and self.tags[start - 1] in ("IN", "TO"):
            links.append(("preposition", lead, ""))
            if determiner == "bare" and self.n == start:
                links.append(("bare after", lead, ""))
            if start > 1 and self.tags[start - 2] in PART:
                links.append(self._link(f"{lead} of", start - 2))
        elif start and self.tags[start - 1] in VERBS:
            links.append(self._link("object of", start - 1))
        if end < len(self.tags) and self.tags[end] in VERBS:
            links.append(self._link("subject of", end))
        modifiers = [
            self._link("modifier", n) for n in range(start, self.n) if self.tags[n] in PART
        ]
        needs = [link for link in links if link[0] == "bare after"]
        needs += [link for link in modifiers if NEED_MOD or link[2] in NOUNS]
        needs += [link for link in links if NEED_ROLE and link[0] in ("object of", "subject of")]
        return Slot(self.n, "noun", self.word, self.tag, (*links, *modifiers), tuple(needs))

    def _number(self) -> Slot | None:
        counts = self.word.isalpha() and self.after in ("NNS", "JJ")
        return Slot(self.n, "adjective", self.word, self.tag, ()) if counts else None

    def _adjective(self) -> Slot | None:
        if "CC" in (self.before, self.after):
            return None  # "black and white"
        head = next((end - 1 for start, end in self.phrases if start <= self.n < end - 1), None)
        place = "attribute" if head is not None else "predicate"
        links = [*self._beside(), (place, "", "")]
        needs = ()
        if head is not None:
            links.append(self._link("head", head))
            if head != self.n + 1 and self.after in NOUNS:
                links.append(self._link("head", self.n + 1))
            if NEED_HEAD: needs = tuple(links[-1:])
        else:
            doer = next((end for _, end in reversed(self.phrases) if end <= self.n), 0)
            links.append(self._link("head", doer - 1))
        return Slot(self.n, "adjective", self.word, self.tag, tuple(links), needs)

    def _verb(self) -> Slot | None:
        if self.after in ("RP", "TO", "WP") or self.before == "TO" or self.after in VERBS:
            return None
        ahead = next(((start, end) for start, end in self.phrases if start == self.n + 1), None)
        behind = next((end for _, end in reversed(self.phrases) if end <= self.n), 0)
        links = self._beside()
        if behind:
            links.append(self._link("subject", behind - 1))
        if ahead or self.after == "PRP":
            links.append(("frame", "object", ""))
            links += [self._link("object", ahead[1] - 1)] if ahead else []
        else:
            links.append(("frame", "in" if self.after == "IN" else "alone", ""))
        if self.after == "IN":
            place = next(((s, e) for s, e in self.phrases if s == self.n + 2), None)
            links += [self._link(self.lower[self.n + 1], place[1] - 1)] if place else []
        needs = tuple(l for l in links if NEED_VERB and (l[0] in NEED_VERB or l[:2]==("frame","object")))
        return Slot(self.n, "verb", self.word, self.tag, tuple(links), needs)


# ---- parts -----------------------------------------------------------------------------------


def _parts(words: Sequence[str], tags: Sequence[str], lexicon: Lexicon) -> tuple[Part, ...]:
    """Return the true parts of a caption: conjuncts in their frame, the caption cut short, and
    the noun phrases that neither reaches. Without a noun there are no parts.

    A caption that cannot be shortened is its own part.
    """
    stop = tuple(range(len(tags) - 1, len(tags))) if tags and tags[-1] == "STOP" else ()
    end = len(tags) - len(stop)
    chunks = _chunks(tags[:end])
    if not chunks:
        return ()
    lower = [word.lower() for word in words]
    runs = _runs(tags, chunks)
    found = [*_conjuncts(lower, tags, runs), *_cuts(lower, tags, runs, end, lexicon)]
    reached = {n for part in found for n in part}
    telling = [chunk for chunk in chunks if lower[chunk[1] - 1] not in _NEEDS_OF]
    found += [
        tuple(range(*chunk)) for chunk in telling or chunks if not reached.issuperset(range(*chunk))
    ]
    joined = [n for n, tag in enumerate(tags[:end]) if tag == "HYPH"]

    def whole(part: Part) -> bool:
        """Return whether the part is not the caption and keeps each "ice - covered" together."""
        kept = set(part)
        return len(part) < end and all(len(kept & {n - 1, n, n + 1}) in (0, 3) for n in joined)

    short = list(filter(whole, found))
    best = [part for part in short if len(part) > 1] or short or [tuple(range(end))]
    return tuple(part + stop for part in dict.fromkeys(best))


def _runs(tags: Sequence[str], chunks: list[Chunk]) -> list[list[Chunk]]:
    """Group noun phrases that only a comma or a conjunction separates."""
    runs = [[chunks[0]]]
    for chunk in chunks[1:]:
        between = tuple(tags[runs[-1][-1][1] : chunk[0]])
        if between in (("COMMA",), ("CC",), ("COMMA", "CC")):
            runs[-1].append(chunk)
        else:
            runs.append([chunk])
    return runs


def _conjuncts(
    lower: Sequence[str], tags: Sequence[str], runs: list[list[Chunk]]
) -> Iterator[Part]:
    """Split "[frame] A, B and C [rest]" into "frame A", "frame B" and "frame C"."""
    for run in runs:
        start, stop = run[0][0], run[-1][1]
        if tags[stop : stop + 1] and tags[stop] in FINITE and FINITE & set(tags[:start]):
            run = run[:-1]  # "... on a chair and a dog sleeps": a new clause
        lead = lower[start - 1] if start else ""
        if len(run) < 2 or lead == "between":
            continue
        for chunk in run:
            # "a cat on a chair, a dog and a bird": the preposition surely leads only the first
            loose = lead in ("with", "of") or tags[chunk[0]] != "DT"
            shared = chunk == run[0] or tags[start - 1] in FINITE or (loose and len(run) > 2)
            yield tuple(range(start if shared else 0)) + tuple(range(*chunk))


def _cuts(
    lower: Sequence[str], tags: Sequence[str], runs: list[list[Chunk]], end: int, lexicon: Lexicon
) -> Iterator[Part]:
    """Cut the caption before a verb, preposition, comma or conjunction, but not inside a list."""
    inside = {n for run in runs for start, stop in run for n in range(start + 1, stop)}
    inside |= {n for run in runs if len(run) > 2 for n in range(run[0][0] + 1, run[-1][1])}
    for place in range(runs[0][0][1], end):
        if tags[place] not in _BOUNDARIES or place in inside:
            continue
        described = tags[place - 1] == "JJ" and "BE" in tags[:place]  # the sky is blue | over it
        if (
            (tags[place - 1] in _ENDS or described)
            and not _hanging(lower, tags, place)
            and not _splits(lower, tags, place, lexicon)
        ):
            yield tuple(range(place))


def _hanging(lower: Sequence[str], tags: Sequence[str], place: int) -> bool:
    """Return whether the words before the place wait for a clause: "when the animal | got"."""
    clause = FINITE & set(tags[:place])
    if tags[0] in ("IN", "RB") and "IN" in tags[:2] and not clause:
        return True
    opened = max((n for n in range(1, place) if lower[n] in _OPENERS), default=0)
    return bool(
        opened and not FINITE & set(tags[opened:place]) and FINITE & set(tags[place:])
    )


def _splits(lower: Sequence[str], tags: Sequence[str], place: int, lexicon: Lexicon) -> bool:
    """Return whether a cut before the place parts words that belong together."""
    last, tag = lower[place - 1], tags[place - 1]
    transitive = tag in VERBS and lexicon.frames(lexicon.lemma(last, tag)) == "t"
    return (
        (tags[place] in FINITE and bool(FINITE & set(tags[:place])))  # the animal | got free
        or lower[place] in (":", "--")  # image may contain : person
        or last in _LOOKS  # looks | happy, stands next | to
        or (tag in VERBS and (tags[place] == "TO" or lower[place] in _OPENERS))  # wants | to fly
        or transitive  # may contain | ...
        or (tag == "RB" and tags[place] in VERBS)  # rooms were also | housed
        or (lower[place] == "of" and last in _NEEDS_OF)
        or (tags[place] == "CC" and "between" in lower[:place])
    )
