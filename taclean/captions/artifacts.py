"""Text artifacts: EDA variants and sub-captions of a split, tokenised once for every epoch.

They depend on the captions and the seed alone, never on an attack, so all attacks share them.
This module imports no PyTorch, so that worker processes start fast.
"""

import pickle
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from taclean.captions.eda import eda
from taclean.captions.parts import KINDS, parse
from taclean.captions.replacements import Tally, Words, add, tally
from taclean.captions.subcaptions import learn, offers, subcaption, text_only_score
from taclean.captions.wordnet import Lexicon
from taclean.config.section import Section, Unique, key
from taclean.data import Table, Tokenize, array_file, load_array
from taclean.util.errors import UserError
from taclean.util.files import write_json
from taclean.util.progress import Progress, say

COLUMNS = ["epoch", "row", "caption", "positive", "negative", "kind", "original", "replacement"]
CHUNK = 1000  # captions that a process takes at a time
DRAW = 0x5AB  # names the random stream of the rows drawn per epoch
SCORED = 10_000  # pairs that the text-only score is of, at most; its error is then 0.5 %


class TextArtifact(Section):
    """A kind of text artifact; its fields are the keys of its section in a defence's entry."""

    def write(
        self, folder: Path, captions: Sequence[str], tokenize: Tokenize,
        *, epochs: int, seed: int, workers: int = 1,
    ) -> None:  # fmt: skip
        """Write the files into a folder; the number of workers (processes) changes nothing."""
        raise NotImplementedError

    @classmethod
    def read(cls, folder: Path) -> Any:
        """Return what `write` made, memory-mapped where it is large."""
        raise NotImplementedError

    @classmethod
    def example(cls, tokens: np.ndarray) -> Any:
        """Return one epoch as `read` gives it, made of the captions' tokens (N, 77), for timing."""
        raise NotImplementedError

    @classmethod
    def check(cls, name: str, made: Any, epochs: int, rows: int) -> None:
        """Raise a UserError if the artifact was made for another split or for fewer epochs."""
        had, of, fits = cls.made_for(made, rows)
        if had < epochs or not fits:
            text = f"made for {had} epochs and {of} rows, but the training has {epochs} epochs"
            raise UserError(f"{name}: {text} and {rows} rows; make them again")

    @classmethod
    def made_for(cls, made: Any, rows: int) -> tuple[int, str, bool]:
        """Return the artifact's epochs, its rows in words, and whether they can be `rows` rows."""
        raise NotImplementedError


class Variants(TextArtifact):
    """An EDA variant of every caption, new in each epoch: (E, N, 77) uint16 tokens."""

    alpha: float = key(0.1, "EDA's share of words that are changed.", ge=0, le=1)
    same_part: bool = key(True, "Synonyms of the word's part of speech; false: any, as EDA takes.")

    def write(
        self, folder: Path, captions: Sequence[str], tokenize: Tokenize,
        *, epochs: int, seed: int, workers: int = 1,
    ) -> None:  # fmt: skip
        """Write variants.npy."""
        folder.mkdir(exist_ok=True)
        shape = epochs, len(captions), 77
        chunks = _chunks([*enumerate(captions)])
        options = {"epochs": epochs, "seed": seed, "lexicon": Lexicon.load(), **self.model_dump()}
        made = _in_parallel(_vary, chunks, "variants", workers, **options)
        with array_file(folder / "variants.npy", np.uint16, shape) as file:
            first = file.tell()
            for rows, texts in zip(chunks, made, strict=True):
                codes = {text: code for code, text in enumerate(dict.fromkeys(texts))}
                tokens = tokenize(list(codes))[[codes[text] for text in texts]]
                tokens = tokens.reshape(len(rows), epochs, 77).swapaxes(0, 1)
                for epoch, of_epoch in enumerate(tokens):
                    file.seek(first + (epoch * len(captions) + rows[0][0]) * of_epoch[0].nbytes)
                    file.write(of_epoch.tobytes())

    @classmethod
    def read(cls, folder: Path) -> np.ndarray:
        """Return the tokens (E, N, 77)."""
        return load_array(folder / "variants.npy", np.uint16, 3)

    @classmethod
    def example(cls, tokens: np.ndarray) -> np.ndarray:
        return tokens[None]

    @classmethod
    def made_for(cls, made: np.ndarray, rows: int) -> tuple[int, str, bool]:
        return len(made), f"{made.shape[1]}", made.shape[1] == rows


@dataclass(frozen=True)
class SubCaptions:
    """Sub-captions of the rows drawn for each epoch."""

    rows: np.ndarray  # (E, K) int64 rows of the split; -1 where an epoch found fewer than K
    positives: np.ndarray  # (E, K, 77) uint16 tokens
    negatives: np.ndarray  # (E, K, M, 77) uint16 tokens; all 0 where a caption gave fewer than M


class SubCaptionTexts(TextArtifact):
    """Sub-captions of the rows drawn for each epoch (TA-Cleaner, arXiv 2409.17601)."""

    samples: int = key(..., "K, rows drawn anew in each epoch.", ge=1, rows_of="clean")
    negatives: int = key(1, "Negative sub-captions per row.", ge=1, le=100)
    kinds: Unique[Literal["adjective", "noun", "verb"]] = key(
        [*KINDS], "Kinds of word that a negative replaces.", min_length=1
    )
    words: Words = key(
        "fitting", "What replaces a word: one that fits; as controls, any of its form, or any."
    )

    def write(
        self, folder: Path, captions: Sequence[str], tokenize: Tokenize,
        *, epochs: int, seed: int, workers: int = 1,
    ) -> None:  # fmt: skip
        """Write the arrays of SubCaptions, subcaptions.csv and account.json.

        A row whose caption offers no negative gives its place to the next of the epoch's order.
        subcaptions.csv has a line for each negative; see `_account` for account.json. A UserError
        says that there are more samples than captions, or that no caption offers a negative.
        """
        import pandas as pd

        if self.samples > len(captions):
            text = f"{self.samples} rows per epoch, but the clean split has {len(captions)}"
            raise UserError(f"samples: {text}; lower it")
        lexicon = Lexicon.load()
        parallel = partial(_in_parallel, workers=workers, lexicon=lexicon)
        parsed, counts = zip(*parallel(_parse, _chunks(captions), "words"), strict=True)
        vocabulary = learn(captions, add(counts), lexicon)
        given: dict[str, Any] = {"vocabulary": _pickled(vocabulary), "words": self.words}
        offered = [one for some in parallel(_offers, parsed, "captions", **given) for one in some]
        gives = np.array([not set(self.kinds).isdisjoint(one) for one in offered])
        if not gives.any():
            text = f"in none of the {len(captions)} captions ({len(set(captions))} different ones)"
            text += f" can a word of the kinds {', '.join(self.kinds)} be replaced by a word of"
            raise UserError(f"subcaptions: {text} another; give more varied ones, or more kinds")
        rows = _draw_rows(gives, epochs, self.samples, seed)
        at: list[list[tuple[int, ...]]] = [[] for _ in parsed]
        for row, *where in sorted((int(row), *place) for place, row in np.ndenumerate(rows)):
            if row >= 0:
                at[row // CHUNK].append((row, *where))  # by row: a caption's choices are made once
        drawn = [*zip(parsed, at, strict=True)]
        given |= {"seed": seed, "negatives": self.negatives, "kinds": self.kinds}
        made = parallel(_make, drawn, "sub-captions", **given)
        records = [record for some in made for record in some]
        told = [column for column in COLUMNS if column != "caption"]
        table = pd.DataFrame(records, columns=["place", "which", *told])
        table = table.sort_values(["epoch", "place", "which"])
        table["caption"] = [captions[n] for n in table["row"]]
        account = _account(table, captions, offered)
        say(f"sub-captions: {account['drawn']:,} in all epochs, counted in account.json")
        folder.mkdir(exist_ok=True)
        epoch, place, which = table[["epoch", "place", "which"]].to_numpy().T
        codes, texts = pd.factorize(table[["positive", "negative"]].to_numpy().T.ravel())
        positive, negative = tokenize(list(texts))[codes].reshape(2, len(table), 77)
        positives = np.zeros((*rows.shape, 77), np.uint16)
        positives[epoch, place] = positive
        negatives = np.zeros((*rows.shape, self.negatives, 77), np.uint16)
        negatives[epoch, place, which] = negative
        np.save(folder / "rows.npy", rows)
        np.save(folder / "positives.npy", positives)
        np.save(folder / "negatives.npy", negatives)
        table.to_csv(folder / "subcaptions.csv", columns=COLUMNS, index=False)
        write_json(folder / "account.json", account)

    @classmethod
    def read(cls, folder: Path) -> SubCaptions:
        """Return the arrays; a UserError names a damaged file."""
        forms = {"rows": (np.int64, 2), "positives": (np.uint16, 3), "negatives": (np.uint16, 4)}
        arrays = (load_array(folder / f"{name}.npy", *form) for name, form in forms.items())
        return SubCaptions(*arrays)

    @classmethod
    def example(cls, tokens: np.ndarray) -> SubCaptions:
        drawn = np.arange(max(1, len(tokens) // 5))  # a fifth of the rows
        return SubCaptions(drawn[None], tokens[None, drawn], tokens[None, drawn, None])

    @classmethod
    def made_for(cls, made: SubCaptions, rows: int) -> tuple[int, str, bool]:
        least = made.rows.max() + 1
        return len(made.rows), f"at least {least}", least <= rows


def _in_parallel(
    job: Callable[..., Any], items: Sequence[Any], label: str, workers: int, **options: Any
) -> Iterator[Any]:
    """Yield what the job makes of each item, in order, and say how far it is.

    A worker process ends when it is idle for a minute.
    """
    from joblib import Parallel, delayed  # here, as reading a config need not wait for it

    parallel = Parallel(workers, batch_size=1, return_as="generator", idle_worker_timeout=60)
    made = parallel(delayed(job)(item, **options) for item in items)
    progress = Progress(label, len(items), "done")
    for done, part in enumerate(made, 1):
        yield part
        progress.update(done)


def _chunks(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]


def _rng(*key: int) -> random.Random:
    """Return a generator for one row and epoch; a string's seed is stable over runs."""
    return random.Random(":".join(map(str, key)))


def _vary(rows: Sequence[tuple[int, str]], epochs: int, seed: int, **options: Any) -> list[str]:
    """Make a variant of each (row, caption) for each epoch."""
    return [
        eda(caption, _rng(seed, epoch, row), **options)
        for row, caption in rows
        for epoch in range(epochs)
    ]


# Between the passes, parses and the vocabulary stay pickled: the main process hands them on as they
# are, and a worker process reads the vocabulary once.
_pickled = partial(pickle.dumps, protocol=pickle.HIGHEST_PROTOCOL)
_read_once = lru_cache(1)(pickle.loads)


def _parse(captions: Sequence[str], lexicon: Lexicon) -> tuple[bytes, Tally]:
    """Return the parses of captions, pickled, and the captions' counts."""
    parses = [parse(caption, lexicon) for caption in captions]
    return _pickled(parses), tally(parses, lexicon)


def _offers(parsed: bytes, vocabulary: bytes, **options: Any) -> list[tuple[str, ...]]:
    known = _read_once(vocabulary)
    return [offers(one, vocabulary=known, **options) for one in pickle.loads(parsed)]


def _make(
    drawn: tuple[bytes, list[tuple[int, ...]]], vocabulary: bytes, seed: int, **options: Any
) -> list[tuple[Any, ...]]:
    """Make the sub-captions of a chunk's (row, epoch, place); return a record of each negative."""
    parses, known, records = pickle.loads(drawn[0]), _read_once(vocabulary), []
    for row, epoch, place in drawn[1]:
        rng = _rng(seed, epoch, row, DRAW)
        sub = subcaption(parses[row % CHUNK], rng, vocabulary=known, **options)
        for which, negative in enumerate(sub.negatives if sub else ()):
            records.append((place, which, epoch, row, sub and sub.positive, *negative))
    return records


def _draw_rows(gives: np.ndarray, epochs: int, samples: int, seed: int) -> np.ndarray:
    """Return (E, K) rows that give a negative, -1 where there are too few."""
    from taclean.util.rng import permutation  # imports PyTorch

    rows = np.full((epochs, samples), -1, np.int64)
    for epoch in range(epochs):
        order = permutation(len(gives), seed, epoch, DRAW)
        chosen = order[gives[order]][:samples]
        rows[epoch, : len(chosen)] = chosen
    return rows


def _account(table: Table, captions: Sequence[str], offered: list[Any]) -> dict[str, Any]:
    """Count what was made: rows over all epochs ("drawn"), negatives of each kind, captions of the
    split that offer each kind, weak positives (in 0..1), and the `text_only_score`.
    """
    offer = Counter(kind for one in offered for kind in one or ("none",))
    each = table[table["which"] == 0]
    once = each.drop_duplicates("row")[["positive", "negative", "caption"]][:SCORED]
    score = text_only_score(*once.T.to_numpy().tolist())
    shares = {
        "one_word_positives": each["positive"].str.count(r"\w+") == 1,
        "whole_positives": each["positive"] == each["caption"],
    }
    return {
        "drawn": len(each),
        **{kind: int((table["kind"] == kind).sum()) for kind in KINDS},
        "captions": len(captions),
        "offers": {kind: offer[kind] for kind in (*KINDS, "none")},
        "shares": {name: round(float(some.mean()), 4) for name, some in shares.items()},
        "text_only": score and score.accuracy,
        "text_only_error": score and score.error,
        "text_only_pairs": score and score.pairs,
    }
