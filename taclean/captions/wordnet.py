"""Word classes, inflections and relations of English words, from three files of the package.

The table is WordNet 3.0's synsets and the forms of its words (its build script says how it is laid
out); the weights are those of an averaged perceptron (Honnibal 2013) that was trained on
captions; classes.txt has sets of words that exclude one another in a picture. Nothing is
downloaded.
"""

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).parents[1] / "assets"
TABLE = ASSETS / "wordnet" / "lexicon.tsv.gz"
WEIGHTS = ASSETS / "tagger" / "weights.json.gz"
CLASSES = ASSETS / "wordnet" / "classes.txt"

NOUNS = frozenset({"NN", "NNS", "NNP"})
VERBS = frozenset({"VB", "VBP", "VBZ", "VBG", "VBD", "VBN"})
FINITE = frozenset({"VBZ", "VBP", "VBD", "BE", "MD", "AUX"})
PART = {"NN": "n", "NNS": "n", "JJ": "a", "CD": "a", "RB": "r"} | dict.fromkeys(VERBS, "v")
SEEN = 1 << 17  # contexts whose tags are kept
BASE_TAG = {"n": "NN", "v": "VB", "a": "JJ", "r": "RB"}

_CONSONANT = r"uni([^nm]|form|on)|use|usu|usa|ut[ei]|uro|eu|ewe|one|once"  # by its sound
_VOWEL = re.compile(rf"hour|honest|honou?r|heir|(?!{_CONSONANT})[aeiou]")


class Lexicon:
    """Tags, lemmas, inflections and relations. Use `Lexicon.load()`."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}  # synset -> ids, most telling first
        self._fields: dict[str, str] = {}  # synset -> WordNet's lexicographer file
        self._rows: dict[tuple[str, str], str] = {}
        self.closed: dict[str, str] = {}  # function words (article, preposition ...) -> tag
        self._lemmas: dict[str, list[tuple[str, str]]] = {}  # form -> tag, lemma
        self._forms: dict[tuple[str, str], str] = {}  # lemma, tag -> form
        with gzip.open(TABLE, "rt", encoding="utf-8") as file:
            for line in file:
                kind, word, rest = line.rstrip("\n").split("\t", 2)
                if kind == "s":
                    self._fields[word], self._parents[word], *_ = (rest + "\t").split("\t")
                elif kind in BASE_TAG:
                    self._rows[word, kind] = rest
                elif kind == "c":
                    self.closed[word] = rest
                else:
                    tag, lemma = rest.split("\t")
                    self._lemmas.setdefault(word, []).append((tag, lemma))
                    self._forms.setdefault((lemma, tag), word)
        for name in ("senses", "readings", "lemma", "family", "synonyms", "tag", "sets", "kin"):
            setattr(self, name, lru_cache(1 << 16)(getattr(self, name)))
        self.lists: dict[str, set[str]] = defaultdict(set)  # words that rules use
        self._sets: dict[tuple[str, str], set[str]] = defaultdict(set)  # (lemma, part) -> sets
        self._heads: dict[str, str] = {}  # noun synset -> the set of all words below it
        self._same: dict[str, set[str]] = defaultdict(set)  # lemma -> lines of `same`
        self._read_classes()

    def _read_classes(self) -> None:
        for line in CLASSES.read_text("utf-8").splitlines():
            head, _, items = line.partition("#")[0].partition(":")
            part, *name = head.split() or [""]
            for item in items.split():
                if item[0] == "@":
                    lemma, _, n = item[1:].partition(".")
                    self._heads[self.senses(lemma, part)[int(n) - 1][0]] = name[0]
                elif part == "same":
                    self._same[item].add(items)
                elif name:
                    self._sets[item, part].add(name[0])
                else:
                    self.lists[part].add(item)

    @staticmethod
    @lru_cache(1)
    def load() -> "Lexicon":
        """The package's lexicon, read once per process (half a second)."""
        return Lexicon()

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return Lexicon.load, ()  # another process reads its own

    def readings(self, word: str) -> frozenset[str]:
        """Every Penn tag that a lower-case form can have; empty for an unknown word."""
        found = {BASE_TAG[part] for part in BASE_TAG if (word, part) in self._rows}
        found |= {tag for tag, _ in self._lemmas.get(word, ())}
        if not found and (compared := re.fullmatch(r"(.+?)(er|est)", word)):
            stem = compared[1]  # smaller, larger, bigger, happiest
            stems = (stem, stem + "e", stem[:-1], re.sub("i$", "y", stem))
            found |= {"JJ"} if any((s, "a") in self._rows for s in stems) else set()
        return frozenset(found)

    def lemma(self, word: str, tag: str) -> str:
        """Base form of a word under a tag; the lower-case word itself when it has none."""
        word = word.lower()
        if tag in ("NN", "JJ", "VB", "VBP") and (word, PART[tag]) in self._rows:
            return word
        lemmas = dict(reversed(self._lemmas.get(word, [])))  # tag -> the likeliest
        other = {"VBD": "VBN", "VBN": "VBD"}.get(tag, "")
        return lemmas.get(tag) or lemmas.get(other) or word

    def inflect(self, lemma: str, tag: str) -> str:
        """Form of a lemma under a tag: ("leaf", "NNS") -> "leaves", ("run", "VBG") -> "running"."""
        return self._forms.get((lemma, tag), lemma)

    @staticmethod
    def article(word: str) -> str:
        """The article by the word's first sound: an hour, a unicorn, an umbrella."""
        return "an" if _VOWEL.match(word.lower()) else "a"

    def senses(self, lemma: str, part: str) -> tuple[tuple[str, int], ...]:
        """Synsets of a lemma with its uses in WordNet's concordances, most common first."""
        given = self._rows.get((lemma, part), "").split("\t")[0]
        pairs = (sense.split(":") for sense in given.split())
        return tuple((name, int(uses)) for name, uses in pairs)

    def field(self, lemma: str, part: str) -> str:
        """Return the lexicographer file of the lemma's first sense: noun.animal, verb.motion."""
        senses = self.senses(lemma, part)
        return self._fields[senses[0][0]] if senses else ""

    def frames(self, lemma: str) -> str:
        """Return "t" for a verb with an object, "i" for one without, "ti" for both, or ""."""
        return self._rows.get((lemma, "v"), "").partition("\t")[2]

    def above(self, name: str) -> list[str]:
        """Return the synset and its hypernyms (of an adjective, those similar), nearest first."""
        found, ring = {name: None}, [name]
        for _ in range(2 if name[0] == "a" else 20):
            ring = [p for one in ring for p in self._parents[one].split() if p not in found]
            found |= dict.fromkeys(ring)
        return [*found]

    def family(self, lemma: str, part: str) -> tuple[frozenset[str], frozenset[str]]:
        """The lemma's synsets, and those with all that are above them."""
        own = frozenset(name for name, _ in self.senses(lemma, part))
        return own, own.union(*map(self.above, own))

    def kin(self, lemma: str, other: str, part: str) -> bool:
        """Return whether one, in any sense, is the same as, or more general than, the other."""
        own, up = self.family(lemma, part)
        theirs, above = self.family(other, part)
        return lemma == other or not own.isdisjoint(above) or not theirs.isdisjoint(up)

    def sets(self, lemma: str, part: str) -> frozenset[str]:
        """Return the sets that name the lemma, or the set of the nearest head above its sense."""
        if lemma in self.lists["never"]:
            return frozenset()
        if (lemma, part) in self._sets or part != "n":
            return frozenset(self._sets.get((lemma, part), ()))
        senses = self.senses(lemma, part)
        above = self.above(senses[0][0]) if senses else ()
        return frozenset([self._heads[name] for name in above if name in self._heads][:1])

    def excludes(self, lemma: str, other: str, part: str) -> bool:
        """Return whether only one of two lemmas can be true of a place that both fit."""
        together = self.sets(lemma, part) & self.sets(other, part)
        alike = lemma == other or self._same[lemma] & self._same[other]
        return bool(together and not alike and (part == "a" or not self.kin(lemma, other, part)))

    @cached_property
    def _members(self) -> dict[str, list[str]]:
        """Synset -> its lemmas."""
        found: dict[str, list[str]] = {}
        for lemma, part in self._rows:
            for name, _ in self.senses(lemma, part):
                found.setdefault(name, []).append(lemma)
        return found

    def synonyms(self, word: str, tag: str = "") -> list[str]:
        """Return synonyms of a lower-case word, in its inflection; may be empty.

        Without a tag they are those of all its readings, else of that part of speech only.
        """
        found = []
        for reading in sorted(self.readings(word)):
            if not tag or PART[reading] == PART.get(tag):
                part, lemma = PART[reading], self.lemma(word, reading)
                ranked = sorted(
                    (-uses, other)
                    for name, _ in self.senses(lemma, part)
                    for other in self._members.get(name, ())
                    for sense, uses in self.senses(other, part)[:3]
                    if sense == name
                )
                others = dict.fromkeys(o for _, o in ranked if o not in (word, lemma))
                found += [self.inflect(other, reading) for other in [*others][:8]]
        return [other for other in dict.fromkeys(found) if other != word]

    @cached_property
    def tagger(self) -> "Tagger":
        """Read when the first caption is tagged."""
        return Tagger(self, json.loads(gzip.decompress(WEIGHTS.read_bytes())))

    def tag(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """Penn tags of a caption's words, and BE, AUX, NNP, COMMA, HYPH, STOP and SYM."""
        lower = tuple(word.lower() for word in words)
        tags = self.tagger.tag(lower)
        letters = [word for word in words if word[:1].isalpha()]
        titled = sum(word[0].isupper() for word in letters) > len(letters) / 2
        for n, word in enumerate(words):
            fixed = self.closed.get(lower[n], "")
            named = n and not titled and word[:1].isupper() and tags[n] in PART
            if fixed == "BE" or (fixed == "AUX" and tags[n] in VERBS):
                tags[n] = fixed
            elif named or word[:1] + word[1:][-1:] == "<>":
                tags[n] = "NNP"
            elif word[0].isdigit():
                tags[n] = "CD"
            elif re.match(r"https?:|www\.|\W+$", word) and tags[n] in PART:
                tags[n] = "SYM"
            elif tags[n] == "JJ" and self._is_noun(lower[n], tags[n - 1 : n], tags[n + 1 : n + 2]):
                tags[n] = "NN"
        return tuple(tags)

    def _is_noun(self, word: str, before: list[str], after: list[str]) -> bool:
        """Return whether what looks like an adjective ends a noun phrase: a steam locomotive."""
        ends = not after or after[0] in ("STOP", "IN", "BE", *FINITE)
        led = before in (["DT"], ["JJ"], ["PRP$"]) or (before == ["NN"] and after != ["IN"])
        return ends and led and "NN" in self.readings(word)


class Tagger:
    """NLTK's averaged perceptron, greedy, over words, their neighbours and their possible tags."""

    def __init__(self, lexicon: Lexicon, model: dict[str, Any]) -> None:
        # NLTK imports SciPy and scikit-learn: a second that only tagging pays for.
        from nltk.tag.perceptron import AveragedPerceptron

        self.lexicon = lexicon
        self.model = AveragedPerceptron(model["weights"])
        self.model.classes = set(model["classes"])
        self._seen: dict[tuple[str, ...], str] = {}  # all that a tag depends on -> the tag

    def features(self, words: Sequence[str]) -> list[list[str]]:
        """Per word, the features that do not depend on the tags before it."""
        can = ["".join(sorted(self.lexicon.readings(word))) for word in words] + ["", ""]
        padded = ["<", *words, ">", ">>"]
        return [
            [
                "bias", "w " + word, "s " + word[-3:], "r " + can[n], "b " + padded[n],
                "n " + padded[n + 2], "N " + padded[n + 3], "e " + padded[n + 2][-3:],
                "R " + can[n + 1], "f " + can[n] + " " + padded[n + 2],
                "g " + can[n + 1] + " " + can[n + 2],
            ]
            for n, word in enumerate(words)
        ]  # fmt: skip

    def with_tags(self, given: list[str], last: str, before: str) -> list[str]:
        """A word's features once the two tags before it are known."""
        word, can, ahead = given[1], given[3], given[8]
        pair, sees = f"q {before} {last}", f"k {last} {can}"
        return [*given, "p " + last, pair, f"v {last} {word}", sees, f"z {last} {can} {ahead}"]

    def tag(self, words: Sequence[str]) -> list[str]:
        before = last = "<"
        tags: list[str] = []
        features, seen = None, self._seen
        around = ("<", *words, ">", ">>")
        if len(seen) > SEEN:
            seen.clear()
        for n in range(len(words)):
            context = (before, last, *around[n : n + 4])
            if (tag := seen.get(context)) is None:
                features = features or self.features(words)
                known = dict.fromkeys(self.with_tags(features[n], last, before), 1)
                tag = seen[context] = self.model.predict(known)[0]
            before, last = last, tag
            tags.append(tag)
        return tags
