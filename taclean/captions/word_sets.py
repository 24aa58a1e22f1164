"""Sets of words that exclude one another in a picture (assets/wordnet/classes.txt)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from taclean.captions.wordnet import ASSETS, Lexicon

FILE = ASSETS / "wordnet" / "classes.txt"
NONE: frozenset[str] = frozenset()
PERSONS = frozenset({"sex", "infant?", "relative", "role", "couple"})
RELUCTANT = 0.1  # the rate of a word whose sets are all marked


class Classes:
    """The sets of a lemma, and which of their words may replace one another."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self.words: dict[tuple[str, str], set[str]] = defaultdict(set)  # lemma, part -> sets
        self.heads: dict[str, str] = {}  # noun synset -> the set of all that is below
        self.same: dict[str, set[str]] = defaultdict(set)  # lemma -> lines of `same`
        self.never: set[str] = set()
        for line in FILE.read_text("utf-8").splitlines():
            head, _, items = line.partition("#")[0].partition(":")
            part, *name = head.split() or [""]
            for item in items.split():
                if item[0] == "@":
                    lemma, _, n = item[1:].partition(".")
                    self.heads[lexicon.senses(lemma, part)[int(n) - 1][0]] = name[0]
                elif part == "same":
                    self.same[item].add(items)
                elif part == "never":
                    self.never.add(item)
                else:
                    self.words[item, part].add(name[0])
        self.sets = lru_cache(1 << 14)(self._sets)

    def __reduce__(self) -> tuple[type[Classes], tuple[Lexicon]]:
        return Classes, (self.lexicon,)

    def _sets(self, lemma: str, part: str) -> frozenset[str]:
        """The sets that name the lemma, or else that of the nearest head above its sense."""
        if lemma in self.never:
            return NONE
        if (lemma, part) in self.words or part != "n":
            return frozenset(self.words.get((lemma, part), ()))
        senses = self.lexicon.senses(lemma, part)
        above = self.lexicon.above(senses[0][0], 20) if senses else ()
        named = [self.heads[name] for name in above if name in self.heads][:1]
        # trailer, bunny: persons first, but WordNet has not met them in a text
        unsure = named == ["role"] and len(senses) > 1 and not senses[0][1]
        return NONE if unsure else frozenset(named)

    def choosy(self, lemma: str, other: str, head: str) -> bool:
        """Whether an adjective in place of another goes with some nouns alone, not with any."""
        shared = self.sets(lemma, "a") & self.sets(other, "a")
        person = not PERSONS.isdisjoint(self.sets(head, "n"))
        return person or not any(name.endswith("*") for name in shared)

    def worth(self, lemma: str, part: str) -> float:
        """How readily the lemma gives way, in 0..1: less where all its sets are marked."""
        return RELUCTANT if all(name.endswith("?") for name in self.sets(lemma, part)) else 1.0

    def excludes(self, lemma: str, other: str, part: str) -> bool:
        """Whether but one of the two can be true, though either fits the other's place."""
        if self.sets(lemma, part).isdisjoint(self.sets(other, part)) or lemma == other:
            return False
        if not self.same.get(lemma, NONE).isdisjoint(self.same.get(other, NONE)):
            return False
        return part == "a" or not self.lexicon.kin(lemma, other, part)

    def apart(self, lemmas: Sequence[str], part: str) -> np.ndarray:
        """(W, W) bool: which of the lemmas exclude one another."""
        at: dict[str, list[int]] = defaultdict(list)
        for n, lemma in enumerate(lemmas):
            for name in self.sets(lemma, part):
                at[name].append(n)
        found = np.zeros((len(lemmas), len(lemmas)), bool)
        for rows in at.values():
            for place, n in enumerate(rows):
                for m in rows[:place]:
                    found[n, m] = found[m, n] = self.excludes(lemmas[n], lemmas[m], part)
        return found
