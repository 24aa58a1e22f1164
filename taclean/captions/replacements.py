"""What a word may give way to: the words of a split's captions, so exchanged that none stands out.

Within one part of speech, form and context, words exchange by a symmetric matrix: w becomes w' as
often as w' becomes w. So every word is as frequent among the negatives as among the captions, and
who reads the text alone learns nothing. Sets of words (taclean.captions.word_sets) say which pairs
may exchange, the captions which of these stand in the same places.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np

from taclean.captions.parts import KINDS, Slot, parse
from taclean.captions.word_sets import Classes
from taclean.captions.wordnet import PART, Lexicon

LEAST = 5  # captions that a word must be in to replace another
LARGE = 1000  # captions from which words that have no equals among them are left alone
NEAREST = 24  # words that one may become, but for those that it is the nearest of
PLAIN = 0.05  # the rate of a word that has no table of the split
FEATURES = 2000  # neighbours, most common first, by which words are compared
ROUNDS = 60
Key = tuple[str, str]  # tag, context
STRANGE = 3.0  # what it costs a word that it was never seen with what it needs
ODD = 1.5  # the same for a preposition before its phrase
SURE = 0.2  # share of a word's captions that must use it so
COPULA = {"is": "VBZ", "was": "VBD", "are": "VBP", "were": "VBP"}  # were -> run: the figure's
NUMBERS = "two three four five six seven eight nine ten".split()


@dataclass
class Tally:
    """What some captions say of their words."""

    captions: int = 0
    seen: Counter[str] = field(default_factory=Counter)  # word -> captions with it
    slots: dict[Key, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    near: dict[Key, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, other: Tally) -> None:
        self.captions += other.captions
        self.seen.update(other.seen)
        for mine, theirs in ((self.slots, other.slots), (self.near, other.near)):
            for key, counts in theirs.items():
                mine[key].update(counts)


def tally(captions: Iterable[str], lexicon: Lexicon) -> Tally:
    """Count the words, the slots that they fill and the words beside them."""
    out = Tally()
    for caption in captions:
        parsed = parse(caption, lexicon)
        lower = ["<", "<", *(word.lower() for word in parsed.words), ">", ">"]
        out.captions += 1
        out.seen.update(set(lower))
        for slot in parsed.slots:
            out.slots[slot.tag, slot.context][slot.word] += 1
            n = slot.place + 2
            beside = (f"-1 {lower[n - 1]}", f"+1 {lower[n + 1]}", lower[n - 2], lower[n + 2])
            out.near[slot.tag, slot.word].update(beside)
            if slot.after:
                out.near[slot.tag, slot.word][f"< {slot.after}"] += 1
            out.near[slot.tag, slot.word].update(
                other.word for other in parsed.slots if 0 < abs(other.place - slot.place) < 6
            )
    return out


class Choices:
    """The words that one may become, drawn by their weights."""

    def __init__(self, words: Sequence[str], weights: Sequence[float], rate: float = 1.0) -> None:
        self.words = words
        self.weights = weights
        self.sums = list(accumulate(weights))
        self.rate = rate  # how readily the word is replaced: 1, or less for one that has few equals

    def balance(self, ratios: Mapping[str, float]) -> None:
        self.weights = [
            weight * ratios.get(word, 1.0) ** 0.8
            for word, weight in zip(self.words, self.weights, strict=True)
        ]
        self.sums = list(accumulate(self.weights))

    def draw(self, rng: random.Random, tries: int) -> Counter[str]:
        """How often each came in some draws, in their order."""
        return Counter(rng.choices(self.words, cum_weights=self.sums, k=tries))


class Vocabulary:
    """Replacements for the words of captions; without a split, those that captions know best."""

    def __init__(self, lexicon: Lexicon, counts: Tally | None = None) -> None:
        self.lexicon = lexicon
        self.tables: dict[Key, dict[str, Choices]] = {}
        self.acts: dict[str, Choices] = {}  # finite tag -> what is done, in place of `is`
        self.beside: dict[Key, dict[str, float]] = {}  # tag, word -> its neighbours, how surely
        self.scarce = dict.fromkeys(KINDS, 1.0)  # kind -> how rarely captions offer it
        self.large = counts is not None and counts.captions >= LARGE
        self.classes = Classes(lexicon)
        self._any: Choices | None = None
        self._common: dict[str, list[str]] = {}  # tag -> lemmas that many captions have
        self.seen = _by_tag(counts) if counts else lexicon.seen
        self._plain = lru_cache(1 << 14)(self._plain_choices)
        if counts:
            self._build(counts)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_plain"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._plain = lru_cache(1 << 14)(self._plain_choices)

    def balance(self, ratios: Mapping[str, float]) -> None:
        """Let words in, and go, more or less often; `ratios` of how often each goes to comes."""
        for table in self.tables.values():
            for word, choices in table.items():
                choices.balance(ratios)
                choices.rate *= min(1.0, ratios.get(word, 1.0) ** -0.6)

    def choices(self, slot: Slot) -> Choices | None:
        """What the split's words offer for a slot."""
        if slot.tag == "BE":
            return self.acts.get(COPULA[slot.word])
        return self.tables.get((slot.tag, slot.context), {}).get(slot.word)

    def plain(self, slot: Slot) -> Choices | None:
        """What a word's sets offer, for captions in which the split's tables have nothing."""
        return self._plain(slot.word, slot.tag, slot.context)

    def any_word(self, rng: random.Random) -> str:
        """A word of any meaning, as often as captions replace it."""
        if self._any is None:
            seen = Counter[str]()
            for words in self.seen.values():
                seen.update(words)
            known = sorted(word for word, n in seen.items() if n >= LEAST)
            self._any = Choices(known, [float(seen[word]) for word in known])
        return next(iter(self._any.draw(rng, 1)))

    def fit(self, word: str, slot: Slot, before: str, after: str, others: set[str]) -> float:
        """How well a word fits a caption, by the other captions that have it.

        The pointwise mutual information with the two words beside it, and half of that with the two
        that it best goes with of those that are near; 0 for what was never seen together, and less
        for what needs the other: a compound its head, a verb its object or its subject, an
        adjective its noun and a noun its adjective and its preposition.
        """
        beside = self.beside.get((slot.tag, word), {})
        near = sorted((beside[other] for other in others & beside.keys()), reverse=True)[:2]
        led, ends = beside.get(f"-1 {before}", 0.0), beside.get(f"+1 {after}", 0.0)
        bare = slot.context == "bare" and before != "<" and f"-1 {before}" not in beside  # on foot
        cost = 0.0
        if self.beside and slot.needs and slot.needs not in beside:
            cost = self._cost(word, slot)
        elif self.beside and bare:
            cost = STRANGE
        if slot.after:  # on the grass, in the forest
            led += beside.get(f"< {slot.after}", -ODD if self.beside else 0)
        return led + ends + sum(near) / 2 - cost

    def _cost(self, word: str, slot: Slot) -> float:
        """What it costs a word that it was never seen with what it needs."""
        if slot.tag != "JJ":
            return STRANGE * slot.price
        head = slot.needs.removeprefix("+1 ")
        lemmas = (self.lexicon.lemma(slot.word, "JJ"), self.lexicon.lemma(word, "JJ"))
        tag = "NNS" if "NNS" in self.lexicon.readings(head) else "NN"
        choosy = self.classes.choosy(*lemmas, self.lexicon.lemma(head, tag))
        return STRANGE * 2 if choosy else STRANGE * 0.6

    # ---- from the captions ---------------------------------------------------------------------

    def _build(self, counts: Tally) -> None:
        for tag in sorted({tag for tag, _ in counts.slots if tag in PART}):
            keys = [key for key in sorted(counts.slots) if key[0] == tag]
            # a word that is mostly something else (view, for "singing") may be so by mistake
            words = [
                word
                for word, n in sorted(self.seen[tag].items())
                if counts.seen[word] >= LEAST and n >= SURE * counts.seen[word]
                if not self.lexicon.closed(word) or tag == "CD"
                if tag == "CD" or self.classes.sets(self.lexicon.lemma(word, tag), PART[tag])
            ]
            if not words:
                continue
            kernel = self._kernel(words, tag, counts)
            whole = np.array([self.seen[tag][word] for word in words], float)
            for key in keys:
                used = np.array([counts.slots[key][word] for word in words], float)
                used[used < SURE / 2 * whole] = 0  # smiling has no object, nor is there a water
                self.tables[key] = _exchange(words, kernel, used)
                for word, choices in self.tables[key].items():
                    choices.rate *= self._worth(word, tag)
            self._learn_beside(words, tag, counts)
        for tag in ("VBZ", "VBD", "VBP"):
            acts = {self.lexicon.inflect(verb, tag) for verb in self._acts()}
            done = counts.slots.get((tag, "in"), Counter())
            if some := sorted(act for act in acts & done.keys() if counts.seen[act] >= LEAST):
                self.acts[tag] = Choices(some, [float(done[act]) for act in some], 0.1)

    def _kernel(self, words: Sequence[str], tag: str, counts: Tally) -> np.ndarray:
        """(W, W) symmetric: how well two words exchange; 0 where they must not."""
        lemmas = [self.lexicon.lemma(word, tag) for word in words]
        near = 0.1 + _cosines([counts.near[tag, word] for word in words])
        near *= 1 - np.eye(len(words)) if tag == "CD" else self.classes.apart(lemmas, PART[tag])
        if len(words) > NEAREST:
            cut = -np.partition(-near, NEAREST, axis=1)[:, NEAREST]
            near[(near < cut[:, None]) & (near < cut[None, :])] = 0
        return near

    def _learn_beside(self, words: Sequence[str], tag: str, counts: Tally) -> None:
        total: Counter[str] = Counter()
        for word in words:
            total.update(counts.near[tag, word])
        every = sum(total.values())
        for word in words:
            near = counts.near[tag, word]
            share = every / sum(near.values())
            told = {
                name: min(math.log(n * share / total[name]), 3.0) * n / (n + 1)
                for name, n in near.items()
            }  # less for what was seen but once or twice
            self.beside[tag, word] = {name: round(w, 1) for name, w in told.items() if w > 0.1}

    # ---- from WordNet alone --------------------------------------------------------------------

    def _plain_choices(self, word: str, tag: str, context: str) -> Choices | None:
        form, common = COPULA.get(word, tag), tag
        lemma = self.lexicon.lemma(word, tag)
        if tag == "BE":
            found, common = self._acts(), "VBG"  # in which captions say most
        else:
            found = NUMBERS if tag == "CD" else self._peers(lemma, tag)
        if PART.get(tag, "v") == "v":
            frame = "t" if context == "object" else "i"
            found = [o for o in found if frame in self.lexicon.frames(o)]
        seen = self.seen.get(common, {})
        uses = {other: seen.get(self.lexicon.inflect(other, common), 0) for other in found}
        weights = {self.lexicon.inflect(o, form): float(n) for o, n in uses.items() if n >= LEAST}
        rate = PLAIN * (1.0 if tag == "BE" else self._worth(word, tag))
        return Choices([*weights], [*weights.values()], rate) if weights else None

    def _acts(self) -> list[str]:
        """What can be done by moving: were -> run, as in the paper's figure."""
        kinds = self.lexicon.below(self.lexicon.senses("travel", "v")[0][0])
        kinds = [*kinds, *(name for kind in kinds for name in self.lexicon.below(kind))]
        return sorted({verb for verb, _ in self.lexicon.members(kinds, 1)})

    def _worth(self, word: str, tag: str) -> float:
        return 1.0 if tag == "CD" else self.classes.worth(self.lexicon.lemma(word, tag), PART[tag])

    def _peers(self, lemma: str, tag: str) -> list[str]:
        """Common words that the lemma may give way to."""
        part = PART[tag]
        if tag not in self._common:
            found = sorted(word for word, n in self.seen.get(tag, {}).items() if n >= LEAST)
            lemmas = dict.fromkeys(self.lexicon.lemma(word, tag) for word in found)
            self._common[tag] = [one for one in lemmas if self.classes.sets(one, part)]
        return [one for one in self._common[tag] if self.classes.excludes(lemma, one, part)]


def _exchange(words: Sequence[str], kernel: np.ndarray, used: np.ndarray) -> dict[str, Choices]:
    """Each word's choices, so that as often as it gives way it comes in: w to w' as w' to w."""
    here = np.flatnonzero(used)
    kernel, used = kernel[np.ix_(here, here)], used[here]
    wanted = used.copy()
    for _ in range(4):  # a word can be replaced no more often than its equals are
        wanted = np.minimum(wanted, 0.7 * ((kernel > 0) @ wanted))
    scale = np.sqrt(wanted)
    for _ in range(ROUNDS):
        sums = kernel @ scale
        scale = np.sqrt(scale * np.divide(wanted, sums, where=sums > 0, out=np.zeros_like(sums)))
    found = {}
    rates = wanted / used
    for n, row in enumerate(here):
        weights = kernel[n] * scale
        picks = np.flatnonzero(weights > 0.01 * weights.max())
        if len(picks):
            names = [words[pick] for pick in here[picks].tolist()]
            found[words[int(row)]] = Choices(names, weights[picks].tolist(), float(rates[n]))
    return found


def _by_tag(counts: Tally) -> dict[str, dict[str, int]]:
    """Tag -> word -> how often it is used so."""
    found: dict[str, dict[str, int]] = defaultdict(Counter)
    for (tag, _), words in counts.slots.items():
        for word, n in words.items():
            found[tag][word] += min(n, counts.seen[word])
    return found


def _cosines(counts: Sequence[Counter[str]]) -> np.ndarray:
    """(W, W): how alike the neighbours of two words are (positive pointwise mutual information)."""
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    common = sorted(total, key=lambda name: (-total[name], name))[:FEATURES]
    column = {name: n for n, name in enumerate(common)}
    table = np.zeros((len(counts), len(column)), np.float32)
    for row, one in enumerate(counts):
        for name, n in one.items():
            if name in column:
                table[row, column[name]] = n
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / max(table.sum(), 1)
    table = np.log(np.maximum(table, 1e-9) / np.maximum(expected, 1e-9)).clip(0)
    table /= np.linalg.norm(table, axis=1, keepdims=True) + 1e-9
    return table @ table.T
