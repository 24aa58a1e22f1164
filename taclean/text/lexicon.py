"""Word classes, inflections and word swaps from one table that was exported from WordNet 3.0.

The table (format: taclean/text/wordnet.py) is all the language data that the package needs: nothing
is downloaded, and NLTK's tagger classes run on it. With `text.lexicon: wordnet` the table is made
of NLTK's corpus and NLTK's perceptron tags the words (taclean.text.perceptron).
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

from nltk.tag import RegexpTagger, SequentialBackoffTagger, UnigramTagger

ASSET = Path(__file__).parents[1] / "assets" / "wordnet" / "lexicon.tsv.gz"

NOUNS = frozenset({"NN", "NNS", "NNP"})
FINITE = frozenset({"VBZ", "VBP", "VBD", "BE", "MD", "AUX"})
PART = {"NN": "n", "NNS": "n", "JJ": "a", "CD": "a", "RB": "r", "BE": "v"} | dict.fromkeys(
    ("VB", "VBP", "VBZ", "VBG", "VBD", "VBN"), "v"
)
BASE_TAG = {"n": "NN", "v": "VB", "a": "JJ", "r": "RB"}
COPULA_TAG = {"is": "VBZ", "was": "VBD", "are": "VB", "were": "VB"}  # were -> run: the figure's

_OPENERS = frozenset({"DT", "PRP$", "JJ", "CD", "POS"})
_AFTER_PAST = frozenset({"DT", "PRP$", "PRP", "VBG", "JJ"})
_BEFORE_VERB = NOUNS | FINITE | {"PRP", "WP"}
_AFTER_VERB = frozenset({"IN", "TO", "DT", "PRP$", "PRP", "RB", "VBG", "CD", "JJ", "END"})
_UNKNOWN = [  # by form, for words that the table lacks; the first match counts
    (r"<[^<>]+>$", "NNP"),
    (r"(https?:|www\.)", "SYM"),
    (r"#?\d[\d.,:/%-]*$", "CD"),
    (r"[,;:–—-]+$", "COMMA"),
    (r"[.!?…]+$", "STOP"),
    (r"[a-z'-]+ly$", "RB"),
    (r"[a-z]+ing$", "VBG"),
    (r"[a-z-]+ed$", "VBN"),
    (r"[a-z-]+(ous|ful|less|able|ible|ive|ish)$", "JJ"),
    (r"[a-z]{3,}[^su\W]s$", "NNS"),
    (r"[a-zß-ÿ][a-zß-ÿ'’-]+$", "NN"),
    (r"[\"“”‘’'`]+$", "QUOTE"),
    (r"", "SYM"),  # punctuation, emoji, other scripts
]
_TAKES_ES = re.compile(
    r"(s|x|z|ch|sh|^(go|do)|(potat|tomat|her|ech|volcan|tornad|mosquit|buffal)o)$"
)
_SILENT_H = re.compile(r"(hour|honest|honou?r|heir)")
_CONSONANT_SOUND = re.compile(r"(uni([^nm]|form|on)|use|usu|usa|ut[ei]|uro|eu|ewe|one|once)")


class Entry(NamedTuple):
    """One lemma in one part of speech; words of a list are most common first."""

    frequency: int
    synonyms: tuple[str, ...] = ()
    antonyms: tuple[str, ...] = ()
    siblings: tuple[str, ...] = ()
    frames: str = ""  # verbs: "t" takes an object, "i" does without, "ti" both


class Vocabulary(Protocol):
    """What EDA asks of the words of a caption."""

    def closed(self, word: str) -> bool: ...

    def synonyms(self, word: str) -> Sequence[str]: ...


class _InflectedTagger(SequentialBackoffTagger):
    """Tags a form by the most frequent lemma that it can come from."""

    def __init__(self, lexicon: Lexicon, backoff: RegexpTagger) -> None:
        super().__init__(backoff)
        self._lexicon = lexicon

    def choose_tag(self, tokens: Sequence[str], index: int, history: Sequence[str]) -> str | None:
        readings = self._lexicon.readings(tokens[index])
        return max(readings, key=readings.__getitem__) if readings else None


class Lexicon:
    """Tags, lemmas, inflections and replacements of English words. Use `Lexicon.load()`."""

    def __init__(self, path: Path) -> None:
        """Reads the table; raises OSError without it, ValueError for a row of another kind."""
        self._path = path
        self._rows: dict[tuple[str, str], str] = {}
        self._closed: dict[str, str] = {}
        self._lemmas: dict[str, list[tuple[str, str]]] = {}  # irregular form -> tag, lemma
        self._forms: dict[tuple[str, str], str] = {}  # lemma, tag -> irregular form
        best: dict[str, tuple[int, str]] = {}
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                kind, word, rest = line.rstrip("\n").split("\t", 2)
                if kind in BASE_TAG:
                    self._rows[word, kind] = rest
                    score = int(rest.split("\t", 1)[0])
                    if score > best.get(word, (-1, ""))[0]:
                        best[word] = (score, BASE_TAG[kind])
                elif kind == "c":
                    self._closed[word] = rest
                elif kind == "i":
                    tag, lemma = rest.split("\t")
                    self._lemmas.setdefault(word, []).append((tag, lemma))
                    self._forms.setdefault((lemma, tag), word)
                else:
                    raise ValueError(f"{path}: row of unknown kind {kind!r}")
        # an irregular form goes to the backoff, which weighs all its readings (saw, left, ground)
        # as does what may be a plural (conditions)
        model = {
            word: tag
            for word, (_, tag) in best.items()
            if word not in self._lemmas and not word.endswith("s")
        }
        unknown = RegexpTagger(_UNKNOWN)
        self._tagger = UnigramTagger(
            model=model | self._closed, backoff=_InflectedTagger(self, unknown)
        )
        self.entry = lru_cache(1 << 15)(self._entry)
        self.readings = lru_cache(1 << 15)(self._readings)
        self.lemma = lru_cache(1 << 15)(self.lemma)  # type: ignore[method-assign]
        self.swaps = lru_cache(1 << 13)(self._swaps)
        self.synonyms = lru_cache(1 << 14)(self._synonyms)

    @staticmethod
    def load(path: Path | str | None = None) -> Lexicon:
        """The lexicon at `path`, read once per process.

        Args:
            path: a table, or a folder that `python -m taclean nltk` made; default: the package's
                own table.

        Raises:
            UserError: the folder is incomplete or damaged.
        """
        return _load(ASSET if path is None else Path(path))

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Lexicon.load, (self._path,)  # a data loader's workers read their own

    # ---- words -----------------------------------------------------------------------------

    def _entry(self, lemma: str, part: str) -> Entry | None:
        row = self._rows.get((lemma, part))
        if row is None:
            return None
        count, *lists = row.split("\t")
        words = [tuple(names.split()) for names in (*lists, "", "", "")][:3]
        return Entry(int(count), words[0], words[1], words[2], lists[3] if len(lists) > 3 else "")

    def closed(self, word: str) -> bool:
        """Whether the word is a function word (article, preposition, pronoun ...)."""
        return self._closed.get(word.lower(), "NN") not in ("NN", "NNS", "JJ", "VBG")

    def _readings(self, word: str) -> dict[str, int]:
        """Every tag that a lower-case form can have, with the frequency of its lemma."""
        found: dict[str, int] = {}
        for part, tag in BASE_TAG.items():
            if (word, part) in self._rows:
                found[tag] = self._count(word, part)
        for tag, lemma in self._lemmas.get(word, ()):
            # a base form is more likely than another verb's irregular past (ground, left, felt)
            share = 1 if tag == "NNS" else 3
            found[tag] = max(found.get(tag, 0), self._count(lemma, PART[tag]) // share)
        for tag in ("NNS", "VBZ", "VBG", "VBN"):
            if base := self._regular_lemma(word, tag):
                found[tag] = max(found.get(tag, 0), self._count(base, PART[tag]))
        if not found and (compared := re.fullmatch(r"(.+)(er|est)", word)):
            stem = compared[1]  # smaller, larger, bigger, happiest
            stems = (stem, stem + "e", stem[:-1], re.sub("i$", "y", stem))
            found |= {"JJ": 0} if any((s, "a") in self._rows for s in stems) else {}
        return found

    def _count(self, lemma: str, part: str) -> int:
        row = self._rows.get((lemma, part))
        return 0 if row is None else int(row.split("\t", 1)[0])

    def _regular_lemma(self, word: str, tag: str) -> str | None:
        ending, part = {"NNS": ("s", "n"), "VBZ": ("s", "v"), "VBG": ("ing", "v")}.get(
            tag, ("ed", "v")
        )
        if not word.endswith(ending) or word.endswith("ss"):
            return None
        stem = word[: -len(ending)]
        tries = [stem, stem + "e"] if ending != "s" else [stem]
        if ending == "s" and stem.endswith("e"):
            tries += [stem[:-1], *([stem[:-2] + "y"] if stem.endswith("ie") else [])]
        elif ending == "ed" and stem.endswith("i"):
            tries.append(stem[:-1] + "y")
        elif stem[-1:] == stem[-2:-1]:
            tries.append(stem[:-1])
        return next((t for t in tries if (t, part) in self._rows), None)

    def lemma(self, word: str, tag: str) -> str:
        """Base form of a word under a tag; the lower-case word itself when it has none."""
        word = word.lower()
        if tag == "BE":
            return "be"
        verbal = {tag, "VBD", "VBN"} if tag in ("VBD", "VBN") else {tag}
        for other, lemma in self._lemmas.get(word, ()):
            if other in verbal:
                return lemma
        if tag in ("NNS", "VBZ", "VBG", "VBN", "VBD"):
            return self._regular_lemma(word, tag) or word
        return word

    def inflect(self, lemma: str, tag: str) -> str:
        """Form of a lemma under a tag: ("leaf", "NNS") -> "leaves", ("run", "VBG") -> "running"."""
        if irregular := self._forms.get((lemma, tag)):
            return irregular
        if tag == "VBN" and (past := self._forms.get((lemma, "VBD"))):
            return lemma if lemma in ("run", "come", "become") else past
        consonant_y = re.search(r"[^aeiou]y$", lemma)
        if tag in ("NNS", "VBZ"):
            if consonant_y:
                return lemma[:-1] + "ies"
            return lemma + ("es" if _TAKES_ES.search(lemma) else "s")
        if tag == "VBG":
            stem = re.sub(r"([^aeoy])e$", r"\1", lemma)
            return re.sub(r"ie$", "y", lemma) + "ing" if lemma.endswith("ie") else stem + "ing"
        if tag in ("VBD", "VBN"):
            return lemma[:-1] + "ied" if consonant_y else re.sub(r"e$", "", lemma) + "ed"
        return lemma

    @staticmethod
    def article(word: str) -> str:
        """The article by the word's first sound: an hour, a unicorn, an umbrella."""
        word = word.lower()
        if _SILENT_H.match(word):
            return "an"
        return "an" if word[:1] in "aeiou" and not _CONSONANT_SOUND.match(word) else "a"

    def _swaps(self, word: str, tag: str) -> tuple[list[str], list[str]]:
        """Antonyms and siblings of a word, in its own inflection; empty lists for other tags."""
        part = PART.get(tag)
        lemma = self.lemma(word, tag)
        entry = self.entry(lemma, part) if part else None
        if entry is None:
            return [], []
        form = COPULA_TAG.get(word.lower(), "VB") if tag == "BE" else tag
        if lemma == word.lower():  # people, scissors: the list holds words of the same number
            form = "NN" if part == "n" else form
        return (
            [self.inflect(other, form) for other in entry.antonyms],
            [self.inflect(other, form) for other in entry.siblings],
        )

    def frames(self, word: str, tag: str) -> str:
        """Whether a verb takes an object ("t"), does without ("i") or both; "" if unknown."""
        entry = self.entry(self.lemma(word, tag), "v")
        return entry.frames if entry else ""

    def vocabulary(self, words: tuple[str, ...]) -> Vocabulary:
        """The words of one caption as EDA sees them; here each stands for itself."""
        return self

    def _synonyms(self, word: str, part: str = "") -> list[str]:
        """Synonyms of a lower-case word, in its inflection; may be empty.

        In all its readings, or with `part` (n, v, a, r) in those of that part of speech.
        """
        found = []
        for tag in self.readings(word):
            if part and PART[tag] != part:
                continue
            entry = self.entry(self.lemma(word, tag), PART[tag])
            found += [self.inflect(other, tag) for other in entry.synonyms] if entry else []
        return [other for other in dict.fromkeys(found) if other != word]

    # ---- tags ------------------------------------------------------------------------------

    def tag(self, words: Sequence[str]) -> list[tuple[str, str]]:
        """Penn tags of a caption's words, plus BE, AUX, COMMA, STOP and SYM.

        First each word's most frequent tag, then context decides between its other readings.
        """
        lower = [word.lower() for word in words]
        tags = [tag for _, tag in self._tagger.tag(lower)]
        letters = [word for word in words if word[:1].isalpha()]
        titled = sum(word[0].isupper() for word in letters) > len(letters) / 2
        for n, word in enumerate(words):
            if n and not titled and word[:1].isupper() and tags[n] in PART:
                tags[n] = "NNP"
        for n in range(1, len(tags)):  # a red bear, a red rose, a baseball bat, a trash can
            named = tags[n - 1] in _OPENERS or (tags[n - 1] == "NN" and tags[n] != "VBD")
            modal = tags[n] == "MD" and not "".join(tags[n + 1 : n + 2]).startswith(("VB", "BE"))
            if named and (modal or tags[n] in ("VB", "VBD")) and "NN" in self.readings(lower[n]):
                tags[n] = "NN"
        padded = [*tags, "END", "END"]
        for n, word in enumerate(lower):
            if tags[n] in PART and tags[n] not in ("BE", "CD"):
                tags[n] = self._in_context(word, padded, n)
                padded[n] = tags[n]
        return list(zip(words, tags, strict=True))

    def _in_context(self, word: str, tags: list[str], n: int) -> str:
        tag, after = tags[n], tags[n + 1]
        before = tags[n - 1] if n else "START"
        can = self.readings(word)
        noun_ahead = after in NOUNS or (after in ("JJ", "VBN", "VBG") and tags[n + 2] in NOUNS)
        if tag in ("NN", "JJ") and word not in self._closed:
            led = before in _BEFORE_VERB or (before in ("CC", "COMMA") and after in ("IN", "TO"))
            if led or (after in ("DT", "PRP$") and before not in _OPENERS):
                tag = next((t for t in ("VBG", "VBN") if t in can), tag)  # woman working
        if tag == "VBN" and after in NOUNS:
            return "JJ"  # hand drawn flowers
        if tag in ("VBG", "VBN", "VBD") and noun_ahead and before in _OPENERS | {"IN", "START"}:
            return "JJ"  # the living room, with painted walls
        if tag == "NN" and noun_ahead and before not in NOUNS:
            return "JJ" if 3 * can.get("JJ", 0) > can.get("NN", 0) else tag  # orange cat
        opened = before in _OPENERS or (tag == "JJ" and before in ("IN", "START", "CC", "COMMA"))
        if tag in ("JJ", "VB", "VBG", "RB") and not noun_ahead and opened:
            stays = tag == "JJ" and after in ("CC", "COMMA", "JJ")
            return "NN" if "NN" in can and not stays else tag  # at the left, a painting of
        if tag == "VB" and noun_ahead and before in _OPENERS:
            return "JJ" if "JJ" in can else "NN"
        verb = tag == "NNS" and word not in self._closed
        if verb and before in ("NN", "NNP") and after in _AFTER_VERB:
            finite = any(t in FINITE for t in tags[:n])
            return "VBZ" if not finite and 2 * can.get("VBZ", -1) >= can.get("NNS", 0) else tag
        if tag == "VBZ" and before in _OPENERS | {"IN", "START"} and "NNS" in can:
            return "NNS"  # soft drinks, with stands
        if tag == "VB" and before not in ("TO", "MD"):
            if before in ("NNS", "PRP", "WP"):
                return "VBP"  # two cats sit
            named = 3 * can.get("NN", -1) >= can.get("VB", 0) or after == "END"
            return "NN" if named and "NN" in can and before != "RB" else tag
        if tag == "VBN" and before in NOUNS and after in _AFTER_PAST:
            return "VBD"  # the dog chased a cat
        return tag


@lru_cache(4)
def _load(path: Path) -> Lexicon:
    if path.suffix == ".gz":
        return Lexicon(path)
    from taclean.text.perceptron import TaggedLexicon  # which is made on this module

    return TaggedLexicon(path)
