"""The parts of a caption that can stand alone, and the words in them that can be replaced."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from taclean.captions.wordnet import FINITE, NOUNS, PART, VERBS, Lexicon

KINDS = ("adjective", "noun", "verb")
Phrase = tuple[int, int]  # start and end of a noun phrase
Part = tuple[int, ...]  # the places of the words that a sub-caption keeps, in order
Link = tuple[str, str, str]  # relation, word, tag of the word ("" for a function word)

TOKEN = re.compile(
    r"<[^<>\s]+>|https?://\S+|www\.\S+|&#?\w+;"  # <PERSON>, addresses, entities
    r"|\d+(?:[.,:/]\d+)*%?|['’]s\b|[^\W\d_]+(?:-[^\W_]+)*(?:['’](?!s\b)[^\W_]+)*"
    r"|\.\.\.|[^\w\s]|\w+"
)
_KINDS = {"NN": "noun", "NNS": "noun", "JJ": "adjective", "CD": "adjective"}
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
_NEVER_OPEN = _NEEDS_OF - frozenset(
    "photo photos photograph photographs illustration drawing sign portrait interior "
    "exterior".split()
)
_SIDES = frozenset({"left", "right"})
_DENIALS = frozenset("no not without never neither nor n't don't isn't aren't wasn't".split())
_OPENERS = frozenset("that as when while because if which who where what how until since".split())
# What follows may be true of other words as well: "close to the park", "looks for a dog".
_STAYS_TRUE = frozenset("near close from like for about".split())
_LOOKS = frozenset(
    "look looks looking looked seem seems appear appears become becomes get gets got next close "
    "all right just".split()
)


@dataclass(frozen=True)
class Slot:
    """A word that can be replaced, and the words that a replacement has to go with."""

    place: int
    kind: str  # one of KINDS
    word: str  # lower-case
    tag: str
    links: tuple[Link, ...]


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
    lower, phrases = [word.lower() for word in words], _phrases(tags)
    slots = (_slot(n, lower, tags, phrases) for n in range(len(words)))
    return Parse(words, spaces, tags, _parts(lower, tags, lexicon), tuple(filter(None, slots)))


def _phrases(tags: Sequence[str]) -> list[Phrase]:
    """Return the noun phrases."""
    letters = "".join(_LETTER.get(tag, " ") for tag in tags)
    return [match.span() for match in _PHRASE.finditer(letters)]


# ---- words to replace ------------------------------------------------------------------------


def _at(tags: Sequence[str], n: int) -> str:
    return tags[n] if 0 <= n < len(tags) else ""


def _slot(
    n: int, lower: Sequence[str], tags: Sequence[str], phrases: Sequence[Phrase]
) -> Slot | None:
    """Return the slot of the word at place n, or None if the word must stay."""
    tag, before, after = tags[n], _at(tags, n - 1), _at(tags, n + 1)
    kind = "verb" if tag in VERBS or tag == "BE" else _KINDS.get(tag)
    if kind is None or "HYPH" in (before, after) or _DENIALS & set(lower[max(0, n - 4) : n]):
        return None  # "ice - covered" stays together, and "no dog" is as true as "no cat"

    def link(relation: str, place: int) -> Link:
        if not 0 <= place < len(tags):
            return relation, "<" if place < 0 else ">", ""
        return relation, lower[place], tags[place] if tags[place] in PART else ""

    find = {"noun": _noun_links, "adjective": _adjective_links, "verb": _verb_links}[kind]
    links = find(n, lower, tags, phrases, link)
    if links is None:
        return None
    beside = (link("left", n - 1), link("right", n + 1))
    return Slot(n, kind, lower[n], tag, (*beside, *links))


Linker = Callable[[str, int], Link]


def _noun_links(
    n: int, lower: Sequence[str], tags: Sequence[str], phrases: Sequence[Phrase], link: Linker
) -> list[Link] | None:
    start, end = next((phrase for phrase in phrases if phrase[0] <= n < phrase[1]), (n, n + 1))
    lead, after = lower[start - 1] if start else "", _at(tags, n + 1)
    if lower[n] in _NEVER_OPEN or after == "JJ" or (after == "POS" and tags[n] == "NNS"):
        return None
    if lead in _STAYS_TRUE or (lead == "to" and lower[start - 2] in _STAYS_TRUE):
        return None
    if after in NOUNS:  # the first noun of two
        return (
            [link("compound", n + 1)] if tags[n] == "NN" and _at(tags, n - 1) not in NOUNS else None
        )
    determined = tags[start] in ("DT", "PRP$", "CD")
    determiner = {"an": "a"}.get(lower[start], lower[start]) if determined else "bare"
    links: list[Link] = [("determiner", determiner, "")]
    if start and tags[start - 1] in ("IN", "TO"):
        links.append(("preposition", lead, ""))
        if start == n and tags[n] == "NN":
            links.append(("bare after", lead, ""))  # on foot
        if start > 1 and tags[start - 2] in PART:
            links.append(link(f"{lead} of", start - 2))
    elif start and tags[start - 1] in VERBS:
        links.append(link("object of", start - 1))
    if end < len(tags) and tags[end] in VERBS:
        links.append(link("subject of", end))
    return links + [link("modifier", place) for place in range(start, n) if tags[place] in PART]


def _adjective_links(
    n: int, lower: Sequence[str], tags: Sequence[str], phrases: Sequence[Phrase], link: Linker
) -> list[Link] | None:
    after = _at(tags, n + 1)
    if tags[n] == "CD":
        return [] if lower[n].isalpha() and after in ("NNS", "JJ") else None
    if "CC" in (_at(tags, n - 1), after):
        return None  # black and white
    heads = [end - 1 for start, end in phrases if start <= n < end - 1]
    if not heads:
        doer = next((end - 1 for _, end in reversed(phrases) if end <= n), -1)
        return [("predicate", "", ""), link("head", doer)]
    heads += [n + 1] if after in NOUNS and heads != [n + 1] else []
    return [("attribute", "", ""), *(link("head", head) for head in heads)]


def _verb_links(
    n: int, lower: Sequence[str], tags: Sequence[str], phrases: Sequence[Phrase], link: Linker
) -> list[Link] | None:
    after = _at(tags, n + 1)
    thing = next((end - 1 for start, end in phrases if start == n + 1), None)
    if after in {"RP", "TO", "WP"} | VERBS or _at(tags, n - 1) == "TO":
        return None
    if (after == "JJ" and thing is None) or "".join(lower[n + 1 : n + 2]) in _STAYS_TRUE:
        return None  # make sure, look for
    doer = next((end - 1 for _, end in reversed(phrases) if end <= n), None)
    links = [] if doer is None else [link("subject", doer)]
    if thing is not None or after == "PRP":
        links.append(("frame", "object", ""))
        return links if thing is None else [*links, link("object", thing)]
    links.append(("frame", "in" if after == "IN" else "alone", ""))
    place = next((end - 1 for start, end in phrases if start == n + 2), None)
    return links if after != "IN" or place is None else [*links, link(lower[n + 1], place)]


# ---- parts -----------------------------------------------------------------------------------


def _parts(lower: Sequence[str], tags: Sequence[str], lexicon: Lexicon) -> tuple[Part, ...]:
    """Return the true parts of a caption.

    They are conjuncts in their frame, the caption cut short, and the noun phrases that neither
    reaches. A caption that cannot be shortened is its own part; one without a noun has none.
    """
    stop = tuple(range(len(tags) - 1, len(tags))) if tags and tags[-1] == "STOP" else ()
    end = len(tags) - len(stop)
    chunks = _phrases(tags[:end])
    if not chunks:
        return ()
    runs = _runs(tags, chunks)
    found = [*_conjuncts(lower, tags, runs), *_cuts(lower, tags, runs, end, lexicon)]
    reached = {n for part in found for n in part}
    telling = [chunk for chunk in chunks if lower[chunk[1] - 1] not in _NEEDS_OF | _SIDES]
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


def _runs(tags: Sequence[str], chunks: list[Phrase]) -> list[list[Phrase]]:
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
    lower: Sequence[str], tags: Sequence[str], runs: list[list[Phrase]]
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
    lower: Sequence[str], tags: Sequence[str], runs: list[list[Phrase]], end: int, lexicon: Lexicon
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
    return bool(opened and not FINITE & set(tags[opened:place]) and FINITE & set(tags[place:]))


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
