"""The parts of a caption that can stand alone, and the words in them that can be replaced."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

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
_KINDS |= dict.fromkeys([*VERBS, "BE"], "verb")
_LETTER = dict.fromkeys(NOUNS, "n") | {"DT": "d", "PRP$": "d", "CD": "c", "JJ": "j", "RB": "r"}
_LETTER |= {"CC": "&", "POS": "s", "HYPH": "-"}
_PHRASE = re.compile(r"[dc]*r?(?:j+&)?(?:[jcn]-[jcn]|[jc])*(?:nj)?n+(?:-[jn]+n|s[jc]*n+)*")
_BOUNDARIES = FINITE | {"IN", "TO", "COMMA", "CC", "WP", "VBG", "VBN", "SYM"}
_ENDS = NOUNS | {"VB", "VBP", "VBZ", "VBD", "VBG", "RB", "RP"}


class Slot(NamedTuple):
    """A word that can be replaced, and the words that a replacement has to go with."""

    place: int
    kind: str  # one of KINDS
    word: str  # lower-case
    tag: str
    links: tuple[Link, ...]


class Parse(NamedTuple):
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


def parse(caption: str | Parse, lexicon: Lexicon) -> Parse:
    """Return the tokens, tags, parts and slots of a caption; a parse is returned as it is."""
    return _parse(caption, lexicon) if isinstance(caption, str) else caption


@lru_cache(1 << 13)
def _parse(caption: str, lexicon: Lexicon) -> Parse:
    found = list(TOKEN.finditer(caption))
    words = tuple(match[0] for match in found)
    ends = [0, *(match.end() for match in found)]
    spaces = tuple(caption[ends[n] : match.start()] for n, match in enumerate(found))
    tags = lexicon.tag(words)
    tagged = _Tagged([word.lower() for word in words], tags, lexicon)
    slots = filter(None, map(tagged.slot, range(len(words))))
    return Parse(words, spaces, tags, tagged.parts(), tuple(slots))


class _Tagged:
    """The lower-case words of a caption with their tags and noun phrases."""

    def __init__(self, words: Sequence[str], tags: Sequence[str], lexicon: Lexicon) -> None:
        # With what stands after the last word, and (at index -1) before the first.
        self.words, self.tags = [*words, ">", "<"], (*tags, "", "")
        self.lexicon, self.lists, self.length = lexicon, lexicon.lists, len(words)
        letters = "".join(_LETTER.get(tag, " ") for tag in tags)
        self.phrases: list[Phrase] = [match.span() for match in _PHRASE.finditer(letters)]

    def slot(self, n: int) -> Slot | None:
        """Return the slot of the word at place n, or None if the word must stay."""
        kind = _KINDS.get(self.tags[n])
        denied = self.lists["denials"].intersection(self.words[max(0, n - 4) : n])
        if kind is None or denied or "HYPH" in (self.tags[n - 1], self.tags[n + 1]):
            return None  # "ice - covered" stays together, and "no dog" is as true as "no cat"
        links: list[Link] | None = getattr(self, f"_{kind}")(n)
        if links is None:
            return None
        beside = self.link("left", n - 1), self.link("right", n + 1)
        return Slot(n, kind, self.words[n], self.tags[n], (*beside, *links))

    def link(self, relation: str, place: int) -> Link:
        """Return the link to the word of a place."""
        tag = self.tags[place]
        return relation, self.words[place], tag if tag in PART else ""

    def _noun(self, n: int) -> list[Link] | None:
        words, tags, after = self.words, self.tags, self.tags[n + 1]
        start, end = next((p for p in self.phrases if p[0] <= n < p[1]), (n, n + 1))
        lead = words[start - 1]
        open_end = self.lists["stays_true"].intersection(words[max(0, start - 2) : start])
        if words[n] in self.lists["never_open"] or after == "JJ" or open_end:
            return None  # close to the park
        if after in NOUNS:  # the first noun of two
            first = tags[n] == "NN" and self.tags[n - 1] not in NOUNS
            return [self.link("compound", n + 1)] if first else None
        determined = tags[start] in ("DT", "PRP$", "CD")
        determiner = {"an": "a"}.get(words[start], words[start]) if determined else "bare"
        links: list[Link] = [("determiner", determiner, "")]
        if self.tags[start - 1] in ("IN", "TO"):
            links.append(("preposition", lead, ""))
            if start == n and tags[n] == "NN":
                links.append(("bare after", lead, ""))  # on foot
            if self.tags[start - 2] in PART:
                links.append(self.link(f"{lead} of", start - 2))
        elif self.tags[start - 1] in VERBS:
            links.append(self.link("object of", start - 1))
        if self.tags[end] in VERBS:
            links.append(self.link("subject of", end))
        return links + [self.link("modifier", m) for m in range(start, n) if tags[m] in PART]

    def _adjective(self, n: int) -> list[Link] | None:
        after = self.tags[n + 1]
        if self.tags[n] == "CD":
            return [] if self.words[n].isalpha() and after in ("NNS", "JJ") else None
        if "CC" in (self.tags[n - 1], after):
            return None  # black and white
        heads = [end - 1 for start, end in self.phrases if start <= n < end - 1]
        if not heads:
            return [("predicate", "", ""), self.link("head", self._before(n))]
        heads += [n + 1] if after in NOUNS and heads != [n + 1] else []
        return [("attribute", "", ""), *(self.link("head", head) for head in heads)]

    def _verb(self, n: int) -> list[Link] | None:
        after, heads = self.tags[n + 1], {start: end - 1 for start, end in self.phrases}
        thing, place = heads.get(n + 1), heads.get(n + 2)
        if after in {"RP", "TO", "WP"} | VERBS or self.tags[n - 1] == "TO":
            return None
        if (after == "JJ" and thing is None) or self.words[n + 1] in self.lists["stays_true"]:
            return None  # make sure, look for
        doer = self._before(n)
        links = [self.link("subject", doer)] if doer >= 0 else []
        if thing is not None or after == "PRP":
            links.append(("frame", "object", ""))
            return links if thing is None else [*links, self.link("object", thing)]
        links.append(("frame", "in" if after == "IN" else "alone", ""))
        if after == "IN" and place is not None:
            links.append(self.link(self.words[n + 1], place))
        return links

    def _before(self, n: int) -> int:
        """Return the place of the last noun before place n, or -1."""
        return next((end - 1 for _, end in reversed(self.phrases) if end <= n), -1)

    def parts(self) -> tuple[Part, ...]:
        """Return the true parts of the caption.

        They are conjuncts in their frame, the caption cut short, and the noun phrases that neither
        reaches. A caption that cannot be shortened is its own part; one without a noun has none.
        """
        if not self.phrases:
            return ()
        end = self.length - (self.tags[self.length - 1] == "STOP")
        stop = tuple(range(end, self.length))
        runs = self._runs()
        found = [*self._conjuncts(runs), *self._cuts(runs, end)]
        reached = {n for part in found for n in part}
        phrases = [tuple(range(*phrase)) for phrase in self.phrases]
        telling = [part for part in phrases if self.words[part[-1]] not in self.lists["needs_of"]]
        found += [part for part in telling or phrases if not reached.issuperset(part)]
        for n in range(end):
            if self.tags[n] == "HYPH":  # "ice - covered" stays together
                three = {n - 1, n, n + 1}
                found = [part for part in found if len(three.intersection(part)) in (0, 3)]
        short = [part for part in found if len(part) < end]
        best = [part for part in short if len(part) > 1] or short or [tuple(range(end))]
        return tuple(part + stop for part in dict.fromkeys(best))

    def _runs(self) -> list[list[Phrase]]:
        """Group noun phrases that only a comma or a conjunction separates."""
        runs = [[self.phrases[0]]]
        for phrase in self.phrases[1:]:
            between = tuple(self.tags[runs[-1][-1][1] : phrase[0]])
            if between in (("COMMA",), ("CC",), ("COMMA", "CC")):
                runs[-1].append(phrase)
            else:
                runs.append([phrase])
        return runs

    def _conjuncts(self, runs: list[list[Phrase]]) -> Iterator[Part]:
        """Split "[frame] A, B and C [rest]" into "frame A", "frame B" and "frame C"."""
        for run in runs:
            start, stop = run[0][0], run[-1][1]
            if self.tags[stop] in FINITE and FINITE & set(self.tags[:start]):
                run = run[:-1]  # "... on a chair and a dog sleeps": a new clause
            lead = self.words[start - 1]
            if len(run) < 2 or lead == "between":
                continue
            for phrase in run:
                # "a cat on a chair, a dog and a bird": the preposition surely leads only the first
                loose = lead in ("with", "of") or self.tags[phrase[0]] != "DT"
                after_verb = self.tags[start - 1] in FINITE
                shared = phrase == run[0] or after_verb or (loose and len(run) > 2)
                yield tuple(range(start if shared else 0)) + tuple(range(*phrase))

    def _cuts(self, runs: list[list[Phrase]], end: int) -> Iterator[Part]:
        """Cut the caption before a verb, preposition, comma or conjunction, but not in a list."""
        inside = {n for phrase in self.phrases for n in range(phrase[0] + 1, phrase[1])}
        inside |= {n for run in runs if len(run) > 2 for n in range(run[0][0] + 1, run[-1][1])}
        for place in range(self.phrases[0][1], end):
            if self.tags[place] not in _BOUNDARIES or place in inside:
                continue
            before, tag = self.tags[:place], self.tags[place - 1]
            ended = tag in _ENDS or (tag == "JJ" and "BE" in before)  # the sky is blue | over it
            if ended and not self._hangs(place) and not self._splits(place):
                yield tuple(range(place))

    def _hangs(self, place: int) -> bool:
        """Return whether the words before the place wait for a clause: "when the animal | got"."""
        tags = self.tags
        if tags[0] in ("IN", "RB") and "IN" in tags[:2] and not FINITE & set(tags[:place]):
            return True
        opened = [n for n in range(1, place) if self.words[n] in self.lists["openers"]]
        clause = opened and FINITE & set(tags[opened[-1] : place])
        return bool(opened and not clause and FINITE & set(tags[place:]))

    def _splits(self, place: int) -> bool:
        """Return whether a cut before the place parts words that belong together."""
        last, tag = self.words[place - 1], self.tags[place - 1]
        word, after = self.words[place], self.tags[place]
        return (
            (after in FINITE and bool(FINITE & set(self.tags[:place])))  # the animal | got free
            or word in (":", "--")  # image may contain : person
            or last in self.lists["looks"]  # looks | happy, stands next | to
            or (tag in VERBS and (after == "TO" or word in self.lists["openers"]))  # wants | to fly
            or (tag in VERBS and self.lexicon.frames(self.lexicon.lemma(last, tag)) == "t")
            or (tag == "RB" and after in VERBS)  # rooms were also | housed
            or (word == "of" and last in self.lists["needs_of"] - {"left", "right"})
            or (after == "CC" and "between" in self.words[:place])
        )
