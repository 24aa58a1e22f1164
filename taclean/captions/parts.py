"""The parts of a caption that can stand alone, and the words in them that can be replaced."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from taclean.captions.wordnet import FINITE, NOUNS, VERBS, Lexicon

KINDS = ("adjective", "noun", "verb")
Chunk = tuple[int, int]  # start and end of a noun phrase
Part = tuple[int, ...]  # the places of the words that a sub-caption keeps, in order

COMPOUND, LED = 2.0, 0.5  # prices of what a noun needs: noun + noun; adjective + noun
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
# Alone these say nothing of the picture: "a picture | of a dog".
_NEEDS_OF = frozenset(
    "lot lots couple pair bunch kind type sort number front part top side sides rest piece pieces "
    "set series group row variety range collection end edge middle back way symbol member members "
    "picture drawing photo photograph photos image images illustration view views icon portrait "
    "close silhouette interior exterior scene sign shot".split()
)


_DENIALS = frozenset("no not without never neither nor n't don't isn't aren't wasn't".split())
_OPENERS = frozenset("that as when while because if which who where what how until since".split())


@dataclass(frozen=True)
class Slot:
    """A word that can be replaced, and what a replacement must be to fit there."""

    place: int
    kind: str  # one of KINDS
    word: str  # lower-case
    tag: str
    context: str  # article, object and the like; words are exchanged within one (tag, context)
    needs: str = ""  # a word that a replacement should be known to go with: a verb's object
    price: float = 1.0  # how much it tells against one that is not
    after: str = ""  # the preposition before a noun's phrase


@dataclass(frozen=True)
class Parse:
    """What a caption offers; parts may be empty, and then so are the slots."""

    words: tuple[str, ...]
    spaces: tuple[str, ...]  # what stands before each word
    tags: tuple[str, ...]
    parts: tuple[Part, ...]
    slots: tuple[Slot, ...]

    def text(self, part: Part, replaced: dict[int, str] | None = None) -> str:
        words = {place: self.words[place] for place in part} | (replaced or {})
        text = "".join(self.spaces[place] + words[place] for place in part).strip()
        return text[:1].upper() + text[1:] if self.words[0][:1].isupper() else text


@lru_cache(1 << 12)
def parse(caption: str, lexicon: Lexicon) -> Parse:
    """Tokens, tags, parts and slots of a caption."""
    found = list(TOKEN.finditer(caption))
    words = tuple(match[0] for match in found)
    ends = [0, *(match.end() for match in found)]
    spaces = tuple(caption[ends[n] : match.start()] for n, match in enumerate(found))
    tags = lexicon.tag(words)
    chunks = _chunks(tags)
    slots = [slot for n in range(len(words)) if (slot := _slot(words, tags, chunks, n, lexicon))]
    return Parse(words, spaces, tags, _parts(words, tags, lexicon), tuple(slots))


def _chunks(tags: Sequence[str]) -> list[Chunk]:
    """The noun phrases."""
    letters = "".join(_LETTER.get(tag, " ") for tag in tags)
    return [match.span() for match in _PHRASE.finditer(letters)]


# ---- words to replace ------------------------------------------------------------------------


def _slot(
    words: Sequence[str], tags: Sequence[str], chunks: list[Chunk], n: int, lexicon: Lexicon
) -> Slot | None:
    tag, word = tags[n], words[n].lower()
    before, after = tags[n - 1] if n else "", tags[n + 1] if n + 1 < len(tags) else ""
    if "HYPH" in (before, after):
        return None  # a part of ice - covered
    if _DENIALS & {word.lower() for word in words[max(0, n - 4) : n]}:
        return None  # no dog: nor is there a cat
    last = words[n - 1].lower() if n else ""
    article = last if last in ("a", "an") else ""
    if tag in ("NN", "NNS"):
        if after in NOUNS or word in _NEEDS_OF:
            return None  # of a compound, the head; a number of lenses
        start = next((start for start, end in chunks if start <= n < end), n)
        lead = words[start].lower()
        context = article or ("count" if lead in ("a", "an") else "bare" if start == n else "")
        led = before in NOUNS or (before == "JJ" and last.endswith(("ing", "al", "ic")))
        needs = f"-1 {last}" if led or before == "JJ" else ""  # a christmas tree, a full moon
        after = words[start - 1].lower() if start and tags[start - 1] == "IN" else ""
        context = context if tag == "NN" else ""
        return Slot(n, "noun", word, tag, context, needs, COMPOUND if led else LED, after)
    if tag == "CD":
        counts = word.isalpha() and after in ("NNS", "JJ")
        return Slot(n, "adjective", word, tag, "") if counts else None
    if tag == "JJ":
        head = next((words[end - 1].lower() for start, end in chunks if start <= n < end - 1), "")
        head = f"+1 {head}" if after in NOUNS and words[n + 1].lower() == head else head
        ahead = "" if after in NOUNS or after in ("JJ", "CC", "COMMA") else "last"
        return Slot(n, "adjective", word, tag, article + ahead, head)
    if tag == "BE":  # on the table were kiwis
        turned = {"DT", "PRP$", "CD", "NNS", "JJ"} & {after} and (n and tags[0] == "IN")
        clause = FINITE & {*tags[:n], *tags[n + 1 :]}
        return Slot(n, "verb", word, tag, "") if turned and not clause else None
    if tag not in VERBS or after in ("RP", "TO", "WP") or before == "TO" or after in VERBS:
        return None
    thing = next((words[end - 1].lower() for start, end in chunks if start == n + 1), "")
    context = "object" if thing or after == "PRP" else "in" if after == "IN" else "alone"
    doer = next((words[end - 1].lower() for _, end in reversed(chunks) if end <= n), "")
    return Slot(n, "verb", word, tag, context, thing or doer, 1.0 if thing else LED)


# ---- parts -----------------------------------------------------------------------------------


def _parts(words: Sequence[str], tags: Sequence[str], lexicon: Lexicon) -> tuple[Part, ...]:
    """The true parts of a caption: conjuncts in their frame, and the caption cut short.

    Without either, its noun phrases; without those, the caption itself. No noun: no parts.
    """
    stop = tuple(range(len(tags) - 1, len(tags))) if tags and tags[-1] == "STOP" else ()
    end = len(tags) - len(stop)
    chunks = _chunks(tags[:end])
    if not chunks:
        return ()
    runs = _runs(tags, chunks)
    found = [*_conjuncts(words, tags, runs), *_cuts(words, tags, runs, end, lexicon)]
    telling = [chunk for chunk in chunks if words[chunk[1] - 1].lower() not in _NEEDS_OF]
    phrases = [tuple(range(*chunk)) for chunk in telling or chunks]
    joined = [n for n, tag in enumerate(tags[:end]) if tag == "HYPH"]

    def whole(part: Part) -> bool:
        """No end of an ice - covered crater, nor the entire caption."""
        kept = set(part)
        return len(part) < end and all(len(kept & {n - 1, n, n + 1}) in (0, 3) for n in joined)

    short, nouns = (list(filter(whole, kind)) for kind in (found, phrases))
    wordy = [[part for part in kind if len(part) > 1] for kind in (short, nouns)]
    best = next((kind for kind in (*wordy, short, nouns) if kind), [tuple(range(end))])
    return tuple(part + stop for part in dict.fromkeys(best))


def _runs(tags: Sequence[str], chunks: list[Chunk]) -> list[list[Chunk]]:
    """Noun phrases grouped: those with but a comma or conjunction between them are one run."""
    runs = [[chunks[0]]]
    for chunk in chunks[1:]:
        between = tuple(tags[runs[-1][-1][1] : chunk[0]])
        if between in (("COMMA",), ("CC",), ("COMMA", "CC")):
            runs[-1].append(chunk)
        else:
            runs.append([chunk])
    return runs


def _conjuncts(
    words: Sequence[str], tags: Sequence[str], runs: list[list[Chunk]]
) -> Iterator[Part]:
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
    words: Sequence[str], tags: Sequence[str], runs: list[list[Chunk]], end: int, lexicon: Lexicon
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
            or lower[place] in (":", "--")  # image may contain : person
            or (
                last in VERBS
                and _unfinished(lower[place - 1], last, tags[place], lower[place], lexicon)
            )
            or (last == "RB" and tags[place] in VERBS)  # rooms were also | housed
            or (lower[place] == "of" and lower[place - 1] in _NEEDS_OF)
            or (tags[place] == "CC" and "between" in lower[:place])
        )
        opened = max((n for n in range(place) if lower[n] in _OPENERS and n), default=0)
        hanging |= (
            bool(opened) and not FINITE & set(before[opened:]) and bool(FINITE & {*tags[place:]})
        )
        if (last in _ENDS or described) and not hanging and not split:
            yield tuple(range(place))


def _unfinished(verb: str, tag: str, after: str, following: str, lexicon: Lexicon) -> bool:
    """Whether a verb says nothing without what follows: wants | to fly, may contain | ..."""
    return after == "TO" or following in _OPENERS or lexicon.frames(lexicon.lemma(verb, tag)) == "t"
