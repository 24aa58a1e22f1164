"""NLTK's averaged perceptron tagger over a lexicon's table: `text.lexicon: wordnet`.

The tagger (Honnibal 2013, trained on newswire) decides a word's class by its context; the table,
which was made of WordNet in the same folder, gives lemmas, inflections and replacements.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from nltk.tag.perceptron import PerceptronTagger

from taclean.errors import UserError
from taclean.text.lexicon import NOUNS, PART, Lexicon, Vocabulary

TAGGER = "averaged_perceptron_tagger_eng"
FILES = tuple(f"{TAGGER}.{kind}.json" for kind in ("weights", "tagdict", "classes"))

# Penn tags under which the package knows them by another name.
_TAGS = {"JJR": "JJ", "JJS": "JJ", "RBR": "RB", "RBS": "RB", "NNPS": "NNP", "PDT": "DT"}
_TAGS |= {"RP": "IN", "WDT": "WP", "WRB": "WP", "WP$": "WP", "LS": "SYM", "UH": "SYM", "$": "SYM"}
_TAGS |= {"#": "SYM", ",": "COMMA", ":": "COMMA", ".": "STOP", "(": "SYM", ")": "SYM"}
_TAGS |= {"``": "QUOTE", "''": "QUOTE", "FW": "NN"}
_VERBS = {"VB", "VBP", "VBZ", "VBD", "VBG", "VBN"}
# Function words that are a thing or an act as well: a can, to like, to round.
_MAY_BE = {"MD": {"NN", "NNS", "VB"}, "IN": _VERBS}
_LEADS = {"DT", "PRP$", "JJ", "CD", "POS", "IN"}
_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*$")
_PLACEHOLDER = re.compile(r"<([^<>\W]+)>$")


def read_tagger(folder: Path) -> PerceptronTagger:
    """The tagger in a folder, from its three JSON files; NLTK's old pickle is never opened.

    Raises:
        ValueError: a file is missing, no JSON, or holds other than a tagger's weights.
    """
    weights, tagdict, classes = (_json(folder / name) for name in FILES)
    if not isinstance(classes, list) or not all(isinstance(tag, str) for tag in classes):
        raise ValueError(f"{FILES[2]} is no list of tags")
    known = set(classes)
    if not isinstance(tagdict, dict) or not known.issuperset(tagdict.values()):
        raise ValueError(f"{FILES[1]} does not map words to the tags of {FILES[2]}")
    if not isinstance(weights, dict) or not weights or not known:
        raise ValueError(f"{FILES[0]} holds no weights")
    for per_tag in weights.values():
        if not isinstance(per_tag, dict) or not known.issuperset(per_tag):
            raise ValueError(f"{FILES[0]} has weights for tags that {FILES[2]} lacks")
        if not all(isinstance(w, int | float) and math.isfinite(w) for w in per_tag.values()):
            raise ValueError(f"{FILES[0]} has a weight that is no finite number")
    tagger = PerceptronTagger(load=False)
    tagger.model.weights, tagger.tagdict = weights, tagdict
    tagger.classes = tagger.model.classes = known
    return tagger


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path.name} is missing") from None
    except (ValueError, RecursionError):
        raise ValueError(f"{path.name} is truncated or no JSON") from None


class TaggedLexicon(Lexicon):
    """A lexicon whose words are tagged by the perceptron. Use `Lexicon.load(folder)`."""

    def __init__(self, folder: Path) -> None:
        """Reads the folder that `taclean nltk` made.

        Raises:
            UserError: the table or the tagger is missing or damaged.
        """
        make = "make the folder again with `python -m taclean nltk`"
        try:
            super().__init__(folder / "lexicon.tsv.gz")
            self._perceptron = read_tagger(folder / "taggers" / TAGGER)
        except (OSError, EOFError, ValueError) as error:
            raise UserError(f"{folder}: no whole language data ({error}); {make}") from None
        self._path = folder
        self._vocabularies = lru_cache(1 << 12)(self._in_context_of)  # a caption's, over its epochs

    def vocabulary(self, words: tuple[str, ...]) -> Vocabulary:
        """The words of one caption; synonyms are of their part of speech in it."""
        return self._vocabularies(words)

    def tag(self, words: Sequence[str]) -> list[tuple[str, str]]:
        """Tags as `Lexicon.tag` gives them, decided by the perceptron.

        Function words, placeholders such as <person>, numbers and signs keep the table's tags: the
        rules that cut a caption rest on them, and newswire has no such placeholders.
        """
        lower = [word.lower() for word in words]
        letters = [word for word in words if word[:1].isalpha()]
        titled = sum(word[0].isupper() for word in letters) > len(letters) / 2
        plain = [_PLACEHOLDER.sub(r"\1", word) for word in (lower if titled else words)]
        given = [tag for _, tag in self._perceptron.tag(plain)]
        table = [tag for _, tag in self._tagger.tag(lower)]
        tags = [
            self._merged(word, tag, other)
            for word, tag, other in zip(lower, given, table, strict=True)
        ]
        for n, word in enumerate(plain):
            if tags[n] == "NNP" and word.islower() and not _PLACEHOLDER.match(words[n]):
                tags[n] = (
                    "NNS" if "NNS" in self.readings(word) else "NN"
                )  # a place, say, not a name
        for n in range(len(tags) - 1):  # hand drawn flowers, a burning building
            led = n and tags[n - 1] in _LEADS
            if tags[n + 1] in NOUNS and (tags[n] == "VBN" or (tags[n] in ("VBG", "VBD") and led)):
                tags[n] = "JJ"
        return list(zip(words, tags, strict=True))

    def _merged(self, word: str, tag: str, table: str) -> str:
        if _WORD.match(word) is None:
            return table
        if self.closed(word):
            if table == "POS" and tag == "VBZ":
                return "AUX"  # the cat 's sleeping
            free = tag in _MAY_BE.get(table, ()) and PART[tag] in {
                PART[reading] for reading in self.readings(word)
            }
            return tag if free else table
        return _TAGS.get(tag, tag)

    def _in_context_of(self, words: tuple[str, ...]) -> Vocabulary:
        return _InContext(self, dict(self.tag(words)))


class _InContext:
    """The vocabulary of one caption: synonyms of a word as it is used there."""

    def __init__(self, lexicon: Lexicon, tags: dict[str, str]) -> None:
        self._lexicon = lexicon
        self._tags = {word.lower(): tag for word, tag in tags.items()}

    def closed(self, word: str) -> bool:
        return self._lexicon.closed(word)

    def synonyms(self, word: str) -> Sequence[str]:
        tag = self._tags.get(word, "")
        return self._lexicon.synonyms(word, PART[tag]) if tag in PART else ()
