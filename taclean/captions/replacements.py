"""What a word may give way to, by the other captions that have the words around it.

A replacement is of the same form, shares a set of exclusive words with the word
(taclean.captions.word_sets), and fits its place: the words that it has to go with (its neighbours,
its noun, preposition, subject or object) stand with it in captions at least as often as chance
would have it. The captions are those of the split, added to counts that the package brings.
"""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

from taclean.captions.parts import Link, Slot, parse
from taclean.captions.word_sets import WordSets
from taclean.captions.wordnet import ASSETS, PART, Lexicon

COUNTS = ASSETS / "tagger" / "counts.json.gz"
import os
LEAST = int(os.environ.get("LEAST","5"))  # captions that a word must be in to replace another
SPARSE = 5000  # captions from which on only words of the split itself come in
SURE = 0.2  # share of a word's uses that must be of the tag, or the tagger may be wrong
PRIOR = 0.5  # pseudo-count of a link, seen and expected
import os
FIT = float(os.environ.get("FIT",0))  # least fit of a replacement; 0 is chance

Words = Literal["fitting", "same_part", "any"]


@dataclass
class Tally:
    """Counts of some captions' words."""

    captions: int = 0
    seen: Counter[str] = field(default_factory=Counter)  # word -> captions that have it
    used: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Tag -> word -> slots."""
    links: dict[str, dict[str, Counter[str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(Counter))
    )
    """Tag -> link -> word -> slots."""

    def add(self, other: Tally) -> None:
        """Add the counts of other captions."""
        self.captions += other.captions
        self.seen.update(other.seen)
        for tag, words in other.used.items():
            self.used[tag].update(words)
        for tag, links in other.links.items():
            for link, words in links.items():
                self.links[tag][link].update(words)

    def __reduce__(self) -> tuple:
        plain = {tag: {k: dict(v) for k, v in links.items()} for tag, links in self.links.items()}
        return _tally, (self.captions, dict(self.seen), dict(self.used), plain)

    @staticmethod
    @lru_cache(1)
    def packaged() -> Tally:
        """Return the counts that the package brings (tools/train_tagger.py)."""
        return _tally(**json.loads(gzip.decompress(COUNTS.read_bytes())))

    def save(self, path: Path, least: int) -> None:
        """Write the counts of at least `least` as JSON."""

        def kept(counts: Counter[str]) -> dict[str, int]:
            return {word: n for word, n in sorted(counts.items()) if n >= least}

        links = {
            tag: {link: some for link, words in sorted(links.items()) if (some := kept(words))}
            for tag, links in sorted(self.links.items())
        }
        used = {tag: kept(words) for tag, words in sorted(self.used.items())}
        table = {"captions": self.captions, "seen": {}, "used": used, "links": links}
        text = json.dumps(table, separators=(",", ":"))
        path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def _tally(captions: int, seen: dict, used: dict, links: dict) -> Tally:
    made = Tally(captions, Counter(seen))
    for tag, words in used.items():
        made.used[tag] = Counter(words)
    for tag, found in links.items():
        for link, words in found.items():
            made.links[tag][link] = Counter(words)
    return made


def tally(captions: Iterable[str], lexicon: Lexicon) -> Tally:
    """Count the words of captions, the slots that they fill and the words that go with them."""
    made, sets = Tally(), _word_sets(lexicon)
    for caption in captions:
        parsed = parse(caption, lexicon)
        made.captions += 1
        made.seen.update({word.lower() for word in parsed.words})
        for slot in parsed.slots:
            made.used[slot.tag][slot.word] += 1
            if sets.sets(lexicon.lemma(slot.word, slot.tag), PART.get(slot.tag, "v")):
                for link in names(slot.links, sets):
                    made.links[slot.tag][link][slot.word] += 1
    return made


@lru_cache(1)
def _word_sets(lexicon: Lexicon) -> WordSets:
    return WordSets(lexicon)


def names(links: Iterable[Link], sets: WordSets) -> list[str]:
    """Return the names under which links are counted: by lemma, and by the lemma's sets."""
    found = []
    for relation, word, tag in links:
        if not tag or relation in ("left", "right"):
            found.append(f"{relation} {word}")
            continue
        lemma, part = sets.lexicon.lemma(word, tag), PART[tag]
        found.append(f"{relation} {lemma}")
        found += [f"{relation} @{name}" for name in sorted(sets.sets(lemma, part))]
        if part in ("n", "v"): found.append(f"{relation} ^{sets.lexicon.field(lemma, part)}")
    return found


GLOSS = _tally(**json.loads(gzip.decompress(open(os.environ["GLOSS"],"rb").read()))) if os.environ.get("GLOSS") else Tally()
class Vocabulary:
    """Replacements for the words of captions.

    Args:
        counts: of the split's captions. With few, or without, words of the packaged counts come in
            as well, the fewer the larger the split is.
    """

    def __init__(self, lexicon: Lexicon, counts: Tally | None = None) -> None:
        self.lexicon, self.sets = lexicon, _word_sets(lexicon)
        own, base = counts or Tally(), Tally.packaged()
        self.all = Tally()
        self.all.add(base)
        self.all.add(own)
        share = max(0.0, 1 - own.captions / SPARSE)
        total = Counter[str]()
        for words in self.all.used.values():
            total.update(words)
        self.words: dict[str, dict[str, float]] = {}  # tag -> word -> how often it is used
        for tag in sorted(self.all.used):
            weights = {
                word: own.used[tag][word] + share * base.used[tag][word]
                for word in sorted(self.all.used[tag])
            }
            self.words[tag] = {
                word: n
                for word, n in weights.items()
                if n >= LEAST and self.all.used[tag][word] >= SURE * total[word]
            }
        self.come: dict[str, float] = {}  # word -> weight among replacements, 1 by default
        self.go: dict[str, float] = {}  # word -> weight among the words of a caption
        self.kinds: dict[str, float] = {}  # kind -> weight
        self._peers: dict[tuple[str, str], list[str]] = {}

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

    def _known(self, links, slot, link):
        if os.environ.get("KNOWN") and link[0]=="modifier" and link[2] in ("JJ","CD") and self.lexicon.readings(link[1]) & {"JJ","CD"}:
            return links.get(names([link],self.sets)[0], {}).get(slot.word,0) >= int(os.environ.get("KNOWN"))
        return True
    def names(self,link): return names([link],self.sets)
    def fits(self, slot: Slot, words: Iterable[str]) -> dict[str, float]:
        """Return how well words fit a slot: log of seen over expected links, summed.

        Both counts get the same pseudo-count, so what was rarely expected tells little (the
        gamma-Poisson shrinkage of DuMouchel, 1999). Words that a need rules out are left out.
        """
        used, links = self.all.used[slot.tag], self.all.links[slot.tag]
        total = sum(used.values())
        needed = [
            [table.get(name, {}) for table in (links, GLOSS.links[slot.tag]) for name in self.names(link)[: 1 if link[0] in ("modifier","compound") else None] if link[0] != "object" or "^" not in name] for link in slot.needs if self._known(links, slot, link)
        ]
        fits = {
            word: 0.0
            for word in words
            if all(any(word in seen for seen in need) for need in needed)
        }
        for name in names(slot.links, self.sets):
            seen = links.get(name)
            if seen:
                rate = sum(seen.values()) / total
                for word in fits:
                    expected = used[word] * rate
                    fits[word] += math.log((seen.get(word, 0) + PRIOR) / (expected + PRIOR))
        return fits
