"""What a word may give way to: the words of a split's captions, so exchanged that none stands out.

Within one part of speech, form and context, words exchange by a symmetric matrix: w becomes w' as
often as w' becomes w. So every word is as frequent among the negatives as among the captions, and
who reads the text alone learns nothing. WordNet says which pairs may exchange (neither is kin of
the other) and how near they are, the captions say which stand in the same places.
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

from taclean.text.lexicon import ASSETS, PART, Lexicon
from taclean.text.parse import Slot, parse

LEAST = 5  # captions that a word must be in to replace another
LARGE = 1000  # captions from which words that have no equals among them are left alone
NEAREST = 24  # words that one may become, but for those that it is the nearest of
PLACED = 0.2  # of the neighbours' likeness, from which that alone counts
NEAR = 0.81  # of Lin's measure, from which words often mean the same
PLAIN = 0.05  # the rate of words that WordNet alone offers
FAR = 0.28  # below which nouns have little in common but that both are things
FEATURES = 2000  # neighbours, most common first, by which words are compared
ROUNDS = 60
Key = tuple[str, str]  # tag, context
# Supersenses of what is always a thing, and of all that can be seen.
_SOLID = {f"noun.{kind}" for kind in "animal body food person plant".split()}
_SEEN = {f"noun.{kind}" for kind in "animal artifact body food object person plant".split()}
_SEEN |= {
    f"verb.{kind}" for kind in "body competition consumption contact creation motion social".split()
}
_SEEN |= {"noun.location", "noun.phenomenon", "verb.weather", "verb.perception"}
STRANGE = 3.0  # what it costs a word that it was never seen with what it needs
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
            weight * ratios.get(word, 1.0) ** 0.6
            for word, weight in zip(self.words, self.weights, strict=True)
        ]
        self.sums = list(accumulate(self.weights))

    def draw(self, rng: random.Random) -> str:
        return rng.choices(self.words, cum_weights=self.sums)[0]


class Vocabulary:
    """Replacements for the words of captions; without a split's captions, WordNet's own."""

    def __init__(self, lexicon: Lexicon, counts: Tally | None = None) -> None:
        self.lexicon = lexicon
        self.tables: dict[Key, dict[str, Choices]] = {}
        self.acts: dict[str, Choices] = {}  # finite tag -> what is done, in place of `is`
        self.beside: dict[Key, dict[str, float]] = {}  # tag, word -> its neighbours, how surely
        self.large = counts is not None and counts.captions >= LARGE
        self._trees: dict[str, dict[str, list[str]]] = {}
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
                choices.rate *= min(1.0, ratios.get(word, 1.0) ** -0.3)

    def choices(self, slot: Slot) -> Choices | None:
        """What the split's words offer for a slot."""
        if slot.tag == "BE":
            return self.acts.get(COPULA[slot.word])
        return self.tables.get((slot.tag, slot.context), {}).get(slot.word)

    def plain(self, slot: Slot) -> Choices | None:
        """What WordNet's nearest words offer, for captions in which the split's offer nothing."""
        return self._plain(slot.word, slot.tag, slot.context)

    def fit(self, word: str, slot: Slot, before: str, after: str, others: set[str]) -> float:
        """How well a word fits a caption, by the other captions that have it.

        The pointwise mutual information with the two words beside it, and half of that with the two
        that it best goes with of those that are near; 0 for what was never seen together, and less
        for what needs the other: a compound its head, a verb its object, an adjective its noun.
        """
        beside = self.beside.get((slot.tag, word), {})
        near = sorted((beside[other] for other in others & beside.keys()), reverse=True)[:2]
        led, ends = beside.get(f"-1 {before}", 0.0), beside.get(f"+1 {after}", 0.0)
        strange = self.beside and slot.needs and slot.needs not in beside
        return led + ends + sum(near) / 2 - (STRANGE if strange else 0.0)

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
                if PART[tag] != "n" or self._is_thing(word, tag)
            ]
            if not words:
                continue
            kernel = self._kernel(words, tag, counts)
            worth = self._worth(words, tag, kernel)
            whole = np.array([self.seen[tag][word] for word in words], float)
            for key in keys:
                used = np.array([counts.slots[key][word] for word in words], float)
                used[used < SURE / 2 * whole] = 0  # smiling has no object, nor is there a water
                self.tables[key] = _exchange(words, kernel, used, worth)
            self._learn_beside(words, tag, counts)
        for tag in ("VBZ", "VBD", "VBP"):
            acts = {self.lexicon.inflect(verb, tag) for verb in self._acts()}
            done = counts.slots.get((tag, "in"), Counter())
            if some := sorted(act for act in acts & done.keys() if counts.seen[act] >= LEAST):
                self.acts[tag] = Choices(some, [float(done[act]) for act in some], 0.1)

    def _is_thing(self, word: str, tag: str) -> bool:
        """Not the best or a yellow, more often adjectives, nor what all things are: a person."""
        lemma = self.lexicon.lemma(word, tag)
        top = self._kind(lemma) == "noun.Tops"
        return not top and 2 * self.lexicon.uses(lemma, "n") >= self.lexicon.uses(lemma, "a")

    def meant(self, lemma: str, part: str) -> list[str]:
        """Those of the first senses that a caption may well mean; what can be seen first."""
        senses = self.lexicon.senses(lemma, part)[:3]
        most = max((uses for _, uses in senses), default=0)
        names = [name for n, (name, uses) in enumerate(senses) if not n or 3 * uses >= most]
        return sorted(names, key=lambda name: self.lexicon.synset(name).supersense not in _SEEN)

    def _kernel(self, words: Sequence[str], tag: str, counts: Tally) -> np.ndarray:
        """(W, W) symmetric: how well two words exchange; 0 where they must not."""
        part = PART[tag]
        lemmas = [self.lexicon.lemma(word, tag) for word in words]
        near = _cosines([counts.near[tag, word] for word in words])
        if part == "a":
            near = (0.1 + near) * (1.0 if tag == "CD" else self._opposed(lemmas))
        else:
            weights = np.array([sum(counts.near[tag, w].values()) for w in words], float)
            near = (0.03 + near) ** 2 * self._likeness(lemmas, part, weights, near > PLACED)
            self._drop_kin(near, lemmas, part)
            shares = np.array([0.1 + self.seen_share(lemma, part) for lemma in lemmas])
            near *= (shares[:, None] * shares[None, :]) ** (3.0 if part == "v" else 0.5)
        np.fill_diagonal(near, 0)
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

    def _worth(self, words: Sequence[str], tag: str, kernel: np.ndarray) -> np.ndarray:
        """(W,) in 0..1: how readily each word gives way: if it can be seen, and has near equals."""
        best = np.sort(kernel, axis=1)[:, -1 if PART[tag] == "a" else -5 :].mean(1)
        worth = np.minimum(1, best / max(np.median(best), 1e-9))
        if PART[tag] != "a":
            lemmas = [self.lexicon.lemma(word, tag) for word in words]
            worth *= [0.1 + 0.9 * self.seen_share(lemma, PART[tag]) for lemma in lemmas]
            worth *= tag not in ("VBN", "VBD")  # what was done is not seen
        return np.maximum(worth**2, 1e-4)

    def seen_share(self, lemma: str, part: str) -> float:
        """Share in 0..1 of a word's uses whose sense can be seen: less for world than for cat."""
        senses = self.lexicon.senses(lemma, part)
        seen = [self.lexicon.synset(name).supersense in _SEEN for name, _ in senses]
        uses = [n + 1 for _, n in senses]
        return sum(n for n, one in zip(uses, seen, strict=True) if one) / max(sum(uses), 1)

    def _likeness(
        self, lemmas: Sequence[str], part: str, weights: np.ndarray, placed: np.ndarray
    ) -> np.ndarray:
        """(W, W): Lin's (1998) measure over WordNet's tree, with the captions' own frequencies.

        Little for words that share no supersense but stand in the same places (`placed`), and
        for the nearest: a shore is a coast, a mountain a hill.
        """
        below: dict[str, list[int]] = defaultdict(list)
        kinds: dict[str, list[int]] = defaultdict(list)
        for n, lemma in enumerate(lemmas):
            senses = self.meant(lemma, part)
            for name in {up for sense in senses for up in self.lexicon.above(sense, 20)}:
                below[name].append(n)
            for kind in {self.lexicon.synset(sense).supersense for sense in senses}:
                kinds[kind].append(n)
        told = {name: -np.log(weights[rows].sum() / weights.sum()) for name, rows in below.items()}
        shared = np.zeros((len(lemmas), len(lemmas)), np.float32)
        for name in sorted(told, key=lambda name: (told[name], name)):
            if told[name] > 0.5:
                shared[np.ix_(below[name], below[name])] = told[name]
        alike = np.zeros(shared.shape, bool)
        for rows in kinds.values():
            alike[np.ix_(rows, rows)] = True
        groups = np.array([self._group(lemma) if part == "n" else 0 for lemma in lemmas])
        apart = groups[:, None] != groups[None, :]
        own = np.diag(shared)
        lin = 2 * shared / (own[:, None] + own[None, :] + 1e-6)
        same = np.where(lin > NEAR, 0.1, 1.0)
        if part == "v":
            return same * (0.05 + lin.clip(0, 0.6)) * np.where(alike, 1.0, 0.1)
        solid = np.array([bool(_SOLID & {self._kind(lemma)}) for lemma in lemmas])
        placed = placed & ~(solid[:, None] | solid[None, :])
        lin = np.where(alike & (lin > FAR), lin.clip(0, 0.75), 0) ** 3
        return np.where(apart, 0, same * np.maximum(lin, 0.02 * placed))

    def _kind(self, lemma: str) -> str:
        """The supersense of a noun's first sense."""
        senses = self.lexicon.senses(lemma, "n")
        return self.lexicon.synset(senses[0][0]).supersense if senses else ""

    def _group(self, lemma: str) -> int:
        """1 for a man or a girl, 2 for a mother, 0 else: an actor may be a man, and a mother."""
        first = [name for name, _ in self.lexicon.senses(lemma, "n")[:1]]
        above = {up for name in first for up in self.lexicon.above(name, 20)}
        for group, heads in ((2, ("relative", "parent")), (1, ("male", "female", "juvenile"))):
            if any(name in above for head in heads for name, _ in self.lexicon.senses(head, "n")):
                return group
        return 0

    def _drop_kin(self, near: np.ndarray, lemmas: Sequence[str], part: str) -> None:
        """Zero for pairs of which one is the other, or more general, in any sense."""
        at: dict[str, list[int]] = defaultdict(list)
        for n, lemma in enumerate(lemmas):
            for name in self.lexicon.family(lemma, part)[0]:
                at[name].append(n)
        for n, lemma in enumerate(lemmas):
            rows = [row for name in self.lexicon.family(lemma, part)[1] for row in at.get(name, ())]
            near[n, rows] = near[rows, n] = 0
        shared: dict[str, list[int]] = defaultdict(list)
        for n, lemma in enumerate(lemmas):  # image and photo: both are also called picture
            names = [name for name, _ in self.lexicon.senses(lemma, part)[:3]]
            for other in {other for other, _ in self.lexicon.members(names)} - {lemma}:
                shared[other].append(n)
        for rows in shared.values():
            near[np.ix_(rows, rows)] = 0

    def _opposed(self, lemmas: Sequence[str]) -> np.ndarray:
        """(W, W) of adjectives: 1 for opposites and words of a set, less for indirect ones."""
        rows: dict[str, list[int]] = defaultdict(list)
        for n, lemma in enumerate(lemmas):
            rows[lemma].append(n)
        out = np.zeros((len(lemmas), len(lemmas)), np.float32)
        for n, lemma in enumerate(lemmas):
            for other, sure in self.opposites(lemma).items():
                out[n, rows.get(other, [])] = out[rows.get(other, []), n] = sure
        return out

    def opposites(self, lemma: str) -> dict[str, float]:
        """Adjectives that exclude this one, with how surely: those of its set, or its antonyms.

        Without either, the antonyms of the head that it is similar to (damp ~ wet -> dry).
        """
        sets = exclusive()
        if lemma in sets:
            return {
                word: 1.0 for word, name in sets.items() if name == sets[lemma] and word != lemma
            }
        found: dict[str, float] = {}
        for name, _ in self.lexicon.senses(lemma, "a")[:2]:
            heads = (name, *self.lexicon.synset(name).parents)
            for sure, some in ((1.0, heads[:1]), (0.1, heads[1:])):
                opposite = [o for head in some for o in self.lexicon.synset(head).opposites]
                if sure == 1.0 or not found:
                    found |= {other: sure for other, _ in self.lexicon.members(opposite, 2)}
        return {word: sure for word, sure in found.items() if word not in sets}

    # ---- from WordNet alone --------------------------------------------------------------------

    def _plain_choices(self, word: str, tag: str, context: str) -> Choices | None:
        form, common = COPULA.get(word, tag), tag
        if tag == "CD":
            found = dict.fromkeys(NUMBERS, 1.0)
        elif tag == "BE":
            found, common = dict.fromkeys(self._acts(), 1.0), "VBG"  # in which captions say most
        elif tag == "JJ":
            found = self.opposites(self.lexicon.lemma(word, tag))
        elif PART[tag] == "v" or self._is_thing(word, tag):
            found = self._siblings(self.lexicon.lemma(word, tag), PART[tag], form)
        else:
            return None
        if PART.get(tag, "v") == "v":
            frame = "t" if context == "object" else "i"
            found = {o: w for o, w in found.items() if frame in self.lexicon.frames(o)}
        seen = self.seen.get(common, {})
        uses = {other: seen.get(self.lexicon.inflect(other, common), 0) for other in found}
        weights = {
            self.lexicon.inflect(other, form): weight * uses[other]
            for other, weight in found.items()
            if uses[other] >= LEAST
        }
        rate = PLAIN
        if self.tables and PART.get(tag) in ("n", "v"):
            rate *= (0.1 + 0.9 * self.seen_share(self.lexicon.lemma(word, tag), PART[tag])) ** 2
        return Choices([*weights], [*weights.values()], rate) if weights else None

    def _acts(self) -> list[str]:
        """What can be done by moving: were -> run, as in the paper's figure."""
        kinds = self.lexicon.below(self.lexicon.senses("travel", "v")[0][0])
        kinds = [*kinds, *(name for kind in kinds for name in self.lexicon.below(kind))]
        return sorted({verb for verb, _ in self.lexicon.members(kinds, 1)})

    def _siblings(self, lemma: str, part: str, form: str) -> dict[str, float]:
        """Common words of the same hypernym, or where they are few of those above; never kin."""
        found: dict[str, float] = {}
        for sense in self.meant(lemma, part):
            for name, far in self.lexicon.above(sense, 4).items():
                if far and len(found) < 8:
                    for other in self._below(form).get(name, ()):
                        if not self.lexicon.kin(lemma, other, part):
                            found.setdefault(other, 0.25**far)
        return found

    def _below(self, form: str) -> dict[str, list[str]]:
        """Synset -> lemmas below it that are common in a form."""
        if form not in self._trees:
            tree = self._trees[form] = defaultdict(list)
            for word, n in sorted(self.seen.get(form, {}).items()):
                lemma = self.lexicon.lemma(word, form)
                senses = self.meant(lemma, PART[form])[:1] if n >= LEAST else []
                for name in (up for sense in senses for up in self.lexicon.above(sense)):
                    tree[name].append(lemma)
        return self._trees[form]


def _exchange(
    words: Sequence[str], kernel: np.ndarray, used: np.ndarray, worth: np.ndarray
) -> dict[str, Choices]:
    """Each word's choices, so that as often as it gives way it comes in: w to w' as w' to w."""
    here = np.flatnonzero(used)
    kernel, used, worth = kernel[np.ix_(here, here)], used[here], worth[here]
    wanted = used.copy()
    for _ in range(4):  # a word can be replaced no more often than its equals are
        wanted = np.minimum(wanted, 0.7 * ((kernel > 0) @ wanted))
    scale = np.sqrt(wanted)
    for _ in range(ROUNDS):
        sums = kernel @ scale
        scale = np.sqrt(scale * np.divide(wanted, sums, where=sums > 0, out=np.zeros_like(sums)))
    found = {}
    rates = worth * wanted / used
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


@lru_cache(1)
def exclusive() -> dict[str, str]:
    """Word -> the set of words of which but one can be true (see the file)."""
    lines = (ASSETS / "wordnet" / "exclusive.txt").read_text("utf-8").splitlines()
    pairs = (line.partition(":") for line in lines if not line.startswith("#"))
    return {word: name for name, _, words in pairs for word in words.split()}
