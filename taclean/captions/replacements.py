"""Replacements of a word, by the other captions that have the words around it.

A replacement is of the same form, shares a set of exclusive words with the word
(taclean.captions.word_sets), and fits its place: the words that it goes with there (neighbours,
noun, preposition, subject, object) stand with it in captions, about as often as chance would have
it or more. The better it fits, the likelier it is. The captions are those of the split, added to
counts that the package brings.
"""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import accumulate
from typing import Any, Literal

from taclean.captions.parts import Link, Slot, parse
from taclean.captions.word_sets import WordSets
from taclean.captions.wordnet import ASSETS, NOUNS, PART, Lexicon

COUNTS = ASSETS / "tagger" / "counts.json.gz"
# benchmarks/subcaptions.py shows what each of these numbers buys.
LEAST = 3  # uses that a word must have to replace another
SPARSE = 3000  # captions of a split from which on only its own words come in
SURE = 0.2  # share of a word's uses that must be of the tag, as the tagger may be wrong
PRIOR = 1.0  # pseudo-count of a link, seen and expected
FIT = 0.0  # least fit of a replacement; 0 is chance
KNOWN = 20  # uses that make a link known; then a replacement must have been seen in it, too
NEEDED = frozenset({"modifier", "compound", "head", "frame", "object", "bare after"})
FINITE_BE = {"is": "VBZ", "was": "VBD", "are": "VBP", "were": "VBP"}

Words = Literal["fitting", "same_part", "any"]
Pool = tuple[list[str], list[float]]  # words and their cumulative weights


class Tally(defaultdict[str, Counter[str]]):
    """Counts of the words of some captions.

    Under a tag ("NN"): the slots that a word fills. Under a tag and a link ("NN head dog"): those
    in which it has the link. Under "seen": the captions that have the word, and under "" there all
    captions.
    """

    def __init__(self, counts: Any = Counter, **more: Any) -> None:
        super().__init__(Counter)

    def add(self, other: Mapping[str, Mapping[str, int]]) -> None:
        """Add the counts of other captions."""
        for name, words in other.items():
            self[name].update(words)

    @staticmethod
    @lru_cache(1)
    def packaged() -> Tally:
        """Return the counts that the package brings (tools/train_tagger.py)."""
        made = Tally()
        made.add(json.loads(gzip.decompress(COUNTS.read_bytes())))
        return made


def tally(captions: Iterable[str], lexicon: Lexicon) -> Tally:
    """Count the words of captions, the slots that they fill and the words that go with them."""
    made, sets = Tally(), WordSets.load(lexicon)
    for caption in captions:
        parsed = parse(caption, lexicon)
        made["seen"].update({"", *(word.lower() for word in parsed.words)})
        for slot in parsed.slots:
            made[slot.tag][slot.word] += 1
            if sets.sets(lexicon.lemma(slot.word, slot.tag), PART.get(slot.tag, "v")):
                for link in slot.links:
                    for name in _names(link, sets):
                        made[f"{slot.tag} {name}"][slot.word] += 1
    return made


def _names(link: Link, sets: WordSets) -> Iterator[str]:
    """Name a link by the lemma of its word, by the lemma's sets, and by its field in WordNet."""
    relation, word, tag = link
    if not tag or relation in ("left", "right"):
        yield f"{relation} {word}"
        return
    lemma, part = sets.lexicon.lemma(word, tag), PART[tag]
    yield f"{relation} {lemma}"
    yield from (f"{relation} @{name}" for name in sorted(sets.sets(lemma, part)))
    if part in ("n", "v"):
        yield f"{relation} ^{sets.lexicon.field(lemma, part)}"


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
        self.lexicon, self.sets = lexicon, WordSets.load(lexicon)
        self.come: dict[str, float] = {}
        self.go: dict[str, float] = {}
        self.kinds: dict[str, float] = {}
        base, own = Tally.packaged(), Tally() if counts is None else counts
        split, known = own["seen"][""], base["seen"][""]
        share = 1.0 if counts is None else max(0.0, SPARSE - split) / max(1, known)
        self._all = Tally()
        self._all.add(base)
        self._all.add(own)
        tags = sorted(tag for tag in self._all if tag.isupper())
        uses = sum((self._all[tag] for tag in tags), Counter[str]())
        self._totals = {tag: self._all[tag].total() for tag in tags}
        self.words: dict[str, dict[str, float]] = {}
        for tag in tags:
            here = ((w, own[tag][w] + share * base[tag][w]) for w in sorted(self._all[tag]))
            self.words[tag] = {
                w: n for w, n in here if n >= LEAST and self._all[tag][w] >= SURE * uses[w]
            }
        self._peers: dict[tuple[str, str], list[str]] = {}
        self._pools: dict[str, Pool] = {}

    def peers(self, word: str, tag: str) -> list[str]:
        """Return the words that exclude the word, in its form."""
        if (word, tag) not in self._peers:
            lemma, part = self.lexicon.lemma(word, tag), PART.get(tag, "v")
            self._peers[word, tag] = [
                other
                for other in self.words.get(tag, ())
                if self.sets.excludes(lemma, self.lexicon.lemma(other, tag), part)
            ]
        return self._peers[word, tag]

    def pool(self, slot: Slot, words: Words) -> Pool:
        """Return all words of the slot's form ("same_part"), or all ("any"), by their use."""
        tag = FINITE_BE.get(slot.word, slot.tag) if words == "same_part" else "any"
        if tag not in self._pools:
            tags = self.words if tag == "any" else [tag]
            uses = sum((Counter(self.words.get(name, {})) for name in tags), Counter[str]())
            self._pools[tag] = [*uses], [*accumulate(uses.values())]
        return self._pools[tag]

    def fits(self, slot: Slot) -> dict[str, float]:
        """Return the words that exclude the slot's word and fit its place, with their fit.

        The fit is the log of the seen over the expected number of each link, summed. Both numbers
        get the same pseudo-count, so a link that is seldom expected tells little (the gamma-Poisson
        shrinkage of DuMouchel 1999).
        """
        tag, used = slot.tag, self._all[slot.tag]
        fits = dict.fromkeys(self.peers(slot.word, tag), 0.0)
        for link in slot.links if fits else ():
            seen: dict[str, Mapping[str, int]] = {
                name: self._all.get(f"{tag} {name}", {}) for name in _names(link, self.sets)
            }
            if link[0] in NEEDED:
                fits = {word: fits[word] for word in self._known(link, slot, seen, fits)}
            for counts in filter(None, seen.values()):
                rate = sum(counts.values()) / self._totals[tag]
                for word in fits:
                    ratio = (counts.get(word, 0) + PRIOR) / (used[word] * rate + PRIOR)
                    fits[word] += math.log(ratio)
        return {word: fit for word, fit in fits.items() if fit >= FIT}

    def _known(
        self, link: Link, slot: Slot, seen: Mapping[str, Mapping[str, int]], words: Iterable[str]
    ) -> list[str]:
        """Return the words that were seen in a link that the slot needs.

        The link counts by its own word if it is known, or if the word is a noun beside the slot
        ("christmas tree"). Else it counts by the word's sets and field as well (an object not by
        its field), and an adjective beside a noun needs nothing.
        """
        relation, word, tag = link
        by_word, *others = seen
        beside = relation in ("modifier", "compound")
        known = seen[by_word].get(slot.word, 0) >= KNOWN
        noun = tag in NOUNS or not self.lexicon.readings(word) & {"JJ", "CD", "RB"}
        if beside and not noun and not known:
            return list(words)
        if beside or known:
            others = []
        elif relation == "object":
            others = [name for name in others if "^" not in name]
        needed = [seen[name] for name in (by_word, *others)]
        return [word for word in words if any(word in counts for counts in needed)]
