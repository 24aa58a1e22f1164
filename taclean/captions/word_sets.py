"""Sets of words that exclude one another in a picture (assets/wordnet/classes.txt)."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from typing import Any

from taclean.captions.wordnet import ASSETS, Lexicon

FILE = ASSETS / "wordnet" / "classes.txt"


class WordSets:
    """The sets of each lemma, and which lemmas may replace one another."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self._sets: dict[tuple[str, str], set[str]] = defaultdict(set)  # (lemma, part) -> sets
        self._heads: dict[str, str] = {}  # noun synset -> the set of all words below it
        self._same: dict[str, set[str]] = defaultdict(set)  # lemma -> lines of `same`
        self.lists: dict[str, set[str]] = defaultdict(set)
        for line in FILE.read_text("utf-8").splitlines():
            head, _, items = line.partition("#")[0].partition(":")
            part, *name = head.split() or [""]
            for item in items.split():
                if item[0] == "@":
                    lemma, _, n = item[1:].partition(".")
                    self._heads[lexicon.senses(lemma, part)[int(n) - 1][0]] = name[0]
                elif part == "same":
                    self._same[item].add(items)
                elif name:
                    self._sets[item, part].add(name[0])
                else:
                    self.lists[part].add(item)
        self.sets = lru_cache(1 << 14)(self._sets_of)

    @staticmethod
    @lru_cache(1)
    def load(lexicon: Lexicon) -> WordSets:
        """Return the sets, read once per process."""
        return WordSets(lexicon)

    def __reduce__(self) -> tuple[Any, tuple[Lexicon]]:
        return WordSets.load, (self.lexicon,)  # another process reads its own

    def _sets_of(self, lemma: str, part: str) -> frozenset[str]:
        """Return the sets that name the lemma, or the set of the nearest head above its sense."""
        if lemma in self.lists["never"]:
            return frozenset()
        if (lemma, part) in self._sets or part != "n":
            return frozenset(self._sets.get((lemma, part), ()))
        senses = self.lexicon.senses(lemma, part)
        above = self.lexicon.above(senses[0][0]) if senses else ()
        return frozenset([self._heads[name] for name in above if name in self._heads][:1])

    def excludes(self, lemma: str, other: str, part: str) -> bool:
        """Return whether only one of two lemmas can be true of a place that both fit."""
        if lemma == other or self.sets(lemma, part).isdisjoint(self.sets(other, part)):
            return False
        if not self._same[lemma].isdisjoint(self._same[other]):
            return False
        return part == "a" or not self.lexicon.kin(lemma, other, part)
