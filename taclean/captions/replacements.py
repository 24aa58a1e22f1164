"""Replacements of a word, by the other captions that have the words around it.

A replacement is of the same form, shares a set of exclusive words with the word
(assets/wordnet/classes.txt), and fits its place: the words that it goes with there (neighbours,
noun, preposition, subject, object) stand with it in captions, about as often as chance would have
it or more. The better it fits, the likelier it is. The captions are those of the split, added to
counts that the package brings.
"""

import gzip
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from typing import Literal

from taclean.captions.parts import Link, Parse, Slot, parse
from taclean.captions.wordnet import ASSETS, NOUNS, PART, Lexicon

COUNTS = ASSETS / "tagger" / "counts.json.gz"
# benchmarks/subcaptions.py shows what each of these numbers buys.
LEAST = 2  # uses that a word must have to replace another
SPARSE = 3000  # captions of a split from which on only its own words come in
PRIOR = 1.0  # pseudo-count of a link, seen and expected
FIT = 0.4  # least fit of a replacement as a share of the best; a fit of 0 is chance
FINITE_BE = {"is": "VBZ", "was": "VBD", "are": "VBP", "were": "VBP"}

Words = Literal["fitting", "same_part", "any"]


# Counts of the words of some captions. Under a tag ("NN"): the slots that a word fills. Under a tag
# and a link ("NN head dog"): those in which it has the link. Under "seen": the captions that have
# the word, and under "" there all captions.
Tally = defaultdict[str, Counter[str]]


def add(tallies: Iterable[Mapping[str, Mapping[str, int]]]) -> Tally:
    """Return the sum of the counts of several lots of captions."""
    made = Tally(Counter)
    for counts in tallies:
        for name, words in counts.items():
            made[name].update(words)
    return made


@lru_cache(1)
def packaged() -> Tally:
    """Return the counts that the package brings (tools/train_tagger.py)."""
    return add([json.loads(gzip.decompress(COUNTS.read_bytes()))])


def tally(captions: Iterable[str | Parse], lexicon: Lexicon) -> Tally:
    """Count the words of captions, the slots that they fill and the words that go with them."""
    made = Tally(Counter)
    for caption in captions:
        parsed = parse(caption, lexicon)
        made["seen"].update({"", *(word.lower() for word in parsed.words)})
        for slot in parsed.slots:
            made[slot.tag][slot.word] += 1
            if lexicon.sets(lexicon.lemma(slot.word, slot.tag), PART.get(slot.tag, "v")):
                for link in slot.links:
                    for name in _names(slot.tag, link, lexicon):
                        made[name][slot.word] += 1
    return made


def _names(of: str, link: Link, lexicon: Lexicon) -> list[str]:
    """Name a link by the lemma of its word, by the lemma's sets, and by its field in WordNet."""
    relation, word, tag = link
    relation = f"{of} {relation}"
    if not tag or link[0] in ("left", "right"):
        return [f"{relation} {word}"]
    lemma, part = lexicon.lemma(word, tag), PART[tag]
    names = [lemma, *(f"@{name}" for name in sorted(lexicon.sets(lemma, part)))]
    if part in ("n", "v"):
        names.append(f"^{lexicon.field(lemma, part)}")
    return [f"{relation} {name}" for name in names]


class Vocabulary:
    """Replacements for the words of captions. `learn` also sets its weights.

    Args:
        counts: of the split's captions. Words of the packaged counts come in as well, the fewer the
            larger the split is; without counts, only these.

    Attributes:
        words: tag -> word -> how often it is used so.
        come, go: word -> weight as a replacement, and of being replaced; 1 by default.
        kinds: kind -> weight; 1 by default.
    """

    def __init__(self, lexicon: Lexicon, counts: Tally | None = None) -> None:
        self.lexicon = lexicon
        self.come: dict[str, float] = {}
        self.go: dict[str, float] = {}
        self.kinds: dict[str, float] = {}
        base, own = packaged(), add([] if counts is None else [counts])
        lacking, known = max(0, SPARSE - own["seen"][""]), max(1, base["seen"][""])
        share = 1.0 if counts is None else lacking / known
        self._all = add([base, own])
        self._totals = {name: uses.total() for name, uses in self._all.items()}
        self.words: dict[str, dict[str, float]] = {}
        self._members: dict[tuple[str, str], list[str]] = {}  # tag, set -> words
        for tag in sorted(name for name in self._all if name.isupper()):
            here = ((w, own[tag][w] + share * base[tag][w]) for w in sorted(self._all[tag]))
            self.words[tag] = {word: uses for word, uses in here if uses >= LEAST}
            for word in self.words[tag]:
                for name in lexicon.sets(lexicon.lemma(word, tag), PART.get(tag, "v")):
                    self._members.setdefault((tag, name), []).append(word)
        self._peers: dict[tuple[str, str], list[str]] = {}

    def peers(self, word: str, tag: str) -> list[str]:
        """Return the words that exclude the word, in its form."""
        if (word, tag) not in self._peers:
            lemma, part = self.lexicon.lemma(word, tag), PART.get(tag, "v")
            sets = (self._members.get((tag, name), ()) for name in self.lexicon.sets(lemma, part))
            self._peers[word, tag] = [
                other
                for other in sorted(set[str]().union(*sets))
                if self.lexicon.excludes(lemma, self.lexicon.lemma(other, tag), part)
            ]
        return self._peers[word, tag]

    def pool(self, slot: Slot, words: Words) -> Mapping[str, float]:
        """Return all words of the slot's form ("same_part"), or all ("any"), with their uses."""
        if words == "same_part":
            return self.words.get(FINITE_BE.get(slot.word, slot.tag), {})
        return self._every

    @cached_property
    def _every(self) -> Counter[str]:
        return sum(map(Counter, self.words.values()), Counter())

    def fits(self, slot: Slot) -> dict[str, float]:
        """Return the words that exclude the slot's word and fit its place, with their fit.

        The fit is the log of the seen over the expected number of each link, summed. Both numbers
        get the same pseudo-count, so a link that is seldom expected tells little (the gamma-Poisson
        shrinkage of DuMouchel 1999).
        """
        return _fits(self, slot.tag, slot.word, slot.links)

    def _fits(self, tag: str, word: str, links: tuple[Link, ...]) -> dict[str, float]:
        used, all_uses = self._all[tag], self._totals.get(tag, 0)
        fits = dict.fromkeys(self.peers(word, tag), 0.0)
        for link in links:
            names = _names(tag, link, self.lexicon)
            if needed := self._needed(link, names):
                seen = set[str]().union(*(self._all.get(name, ()) for name in needed))
                fits = {word: fit for word, fit in fits.items() if word in seen}
            for name in names if fits else ():
                if counts := self._all.get(name):
                    rate = self._totals[name] / all_uses
                    for word in fits:
                        ratio = (counts[word] + PRIOR) / (used[word] * rate + PRIOR)
                        fits[word] += math.log(ratio)
        least = FIT * max(fits.values(), default=0.0)
        return {word: fit for word, fit in fits.items() if fit >= least}

    def _needed(self, link: Link, names: list[str]) -> list[str]:
        """Return the names of a link, with one of which a replacement must have been seen.

        A noun beside the slot counts by its own word ("christmas tree"), other words also by their
        sets. No adjective beside a noun is needed.
        """
        relation, word, tag = link
        if relation in ("modifier", "compound"):
            noun = tag in NOUNS or not self.lexicon.readings(word) & {"JJ", "CD", "RB"}
            return names[:1] if noun else []
        if relation == "object":
            return [name for name in names if "^" not in name]
        return names if relation in ("head", "frame", "bare after") else []


_fits = lru_cache(1 << 13)(Vocabulary._fits)  # by the place's words: many captions share them
