"""Text artifacts: EDA variants and sub-captions of a split, tokenised once for every epoch.

They depend on the captions and the seed alone, never on an attack, so all attacks share them.
This module imports no PyTorch, so that worker processes start fast.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from taclean.captions.audit import text_only_score
from taclean.captions.eda import eda
from taclean.captions.parts import KINDS
from taclean.captions.replacements import LEAST, Tally, Vocabulary, Words, tally
from taclean.captions.subcaptions import learn, offers, subcaption
from taclean.captions.wordnet import Lexicon
from taclean.config.section import Section, key
from taclean.data.layout import Tokenize, load_array
from taclean.util.errors import UserError
from taclean.util.files import replacing, write_json
from taclean.util.progress import Progress, Say
from taclean.util.workers import worker_pool

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("epoch", "row", "caption", "positive", "negative", "kind", "original", "replacement")
CHUNK = 500  # captions that a process takes at a time
DRAW = 0x5AB  # names the random stream of the rows drawn per epoch
FORMS = {"rows": (np.int64, 2), "positives": (np.uint16, 3), "negatives": (np.uint16, 4)}
FORMS["counts"] = (np.int64, 2)


class TextArtifact(Section):
    """A kind of text artifact; its fields are the keys of its section in a defence's entry."""

    def write(self, folder: Path, captions: Sequence[str], tokenize: Tokenize, **run: Any) -> None:
        """Write the artifact; `run` has epochs, seed, say, and workers, which change nothing."""
        raise NotImplementedError

    @classmethod
    def read(cls, folder: Path) -> Any:
        """Return what `write` made, memory-mapped where it is large."""
        raise NotImplementedError

    @classmethod
    def example(cls, tokens: np.ndarray) -> Any:
        """Return one epoch for rows with these tokens (N, 77), as `read` gives it, for timing."""
        raise NotImplementedError

    @classmethod
    def check(cls, made: Any, epochs: int, rows: int) -> None:
        """Raise a UserError if the artifact was made for another split or for fewer epochs."""


class Variants(TextArtifact):
    """An EDA variant of every caption, new in each epoch: (E, N, 77) uint16 tokens."""

    alpha: float = key(0.1, "EDA's share of words that are changed.", ge=0, le=1)
    same_part: bool = key(
        True,
        "Synonyms of a word's part of speech in its caption; false: of any of its readings, as the "
        "published EDA takes them.",
    )

    def write(self, folder: Path, captions: Sequence[str], tokenize: Tokenize, **run: Any) -> None:
        """Write variants.npy."""
        write_variants(folder / "variants.npy", captions, tokenize, **self.model_dump(), **run)

    @classmethod
    def read(cls, folder: Path) -> np.ndarray:
        """Return the tokens (E, N, 77)."""
        return load_array(folder / "variants.npy", np.uint16, 3)

    @classmethod
    def example(cls, tokens: np.ndarray) -> np.ndarray:
        """Return the captions themselves."""
        return tokens[None]

    @classmethod
    def check(cls, made: np.ndarray, epochs: int, rows: int) -> None:
        """Check epochs and rows."""
        if made.shape[1] != rows or len(made) < epochs:
            raise UserError(
                f"variants: made for {made.shape[1]} rows, the split has {rows}, and "
                f"{len(made)} epochs of {epochs}; make them again"
            )


class SubCaptionTexts(TextArtifact):
    """Sub-captions of the rows drawn for each epoch (TA-Cleaner, arXiv 2409.17601)."""

    samples: int = key(..., "K, rows drawn anew in each epoch.", ge=1, rows_of="clean")
    negatives: int = key(1, "Negative sub-captions per row.", ge=1)
    kinds: list[Literal["adjective", "noun", "verb"]] = key(
        ["adjective", "noun", "verb"],
        "Kinds of word that a negative replaces.",
        min_length=1,
        unique=True,
    )
    words: Words = key(
        "fitting",
        "What a word gives way to: a word that fits its place and makes it false, or, as controls, "
        "any word of the same part of speech and form, or any word of the captions.",
    )

    def write(self, folder: Path, captions: Sequence[str], tokenize: Tokenize, **run: Any) -> None:
        """Write the arrays of SubCaptions, subcaptions.csv and account.json."""
        account = write_subcaptions(folder, captions, tokenize, **(self.model_dump() | run))
        if account["offers"]["none"] == len(captions):
            raise UserError(
                f"subcaptions: in none of the {len(captions)} captions ({len(set(captions))} "
                "different ones) can a word be replaced by a word of another; give more varied "
                "captions"
            )
        if not account["drawn"]:
            raise UserError(
                f"subcaptions.kinds: no caption of the split offers a negative of the kind "
                f"{' or '.join(self.kinds)}; add another kind"
            )
        for line in account_lines(account):
            run["say"](line)

    @classmethod
    def read(cls, folder: Path) -> SubCaptions:
        """Return the arrays."""
        return SubCaptions.open(folder)

    @classmethod
    def example(cls, tokens: np.ndarray) -> SubCaptions:
        """Return the captions themselves, for a fifth of the rows."""
        drawn = np.arange(max(1, len(tokens) // 5))
        own = tokens[None, drawn]
        return SubCaptions(drawn[None], own, own[:, :, None])

    @classmethod
    def check(cls, made: SubCaptions, epochs: int, rows: int) -> None:
        """Check epochs and rows."""
        if len(made.rows) < epochs or made.rows.max() >= rows:
            raise UserError(
                f"sub-captions: made for {len(made.rows)} epochs of {epochs}, or for more rows "
                f"than the split's {rows}; make them again"
            )


@dataclass(frozen=True)
class SubCaptions:
    """Sub-captions of the rows drawn for each epoch.

    Attributes:
        rows: (E, K) int64 rows of the split; -1 where an epoch found fewer than K.
        positives: (E, K, 77) uint16 tokens.
        negatives: (E, K, M, 77) uint16 tokens; all 0 where a caption gave fewer than M.
        counts: (E, K) int64, how many of the M a caption gave: the first ones. Default: those that
            are not all 0.
    """

    rows: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray
    counts: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.counts is None:
            object.__setattr__(self, "counts", self.negatives.any(-1).sum(-1))

    @classmethod
    def open(cls, folder: Path | str) -> SubCaptions:
        """Open the folder that `write_subcaptions` made; a UserError names a damaged file."""
        files = ((Path(folder, f"{name}.npy"), *form) for name, form in FORMS.items())
        return cls(*(load_array(*file) for file in files))


# ---- many captions ---------------------------------------------------------------------------

_vocabulary: Vocabulary | None = None  # of the split, in each process


@contextmanager
def _mapped(
    workers: int, vocabulary: Vocabulary | None = None
) -> Iterator[Callable[..., Iterator[Any]]]:
    """Give a `map` that works in some processes; results come in order."""
    if workers <= 1:
        _start(vocabulary)
        yield map
        return
    preload = (__name__, "nltk.tag.perceptron")
    with worker_pool(workers, _start, (vocabulary,), preload) as pool:
        try:
            yield pool.map
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _start(vocabulary: Vocabulary | None) -> None:
    global _vocabulary
    _vocabulary = vocabulary


def _chunks(items: Any) -> list[Any]:
    return [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]


def _rng(*key: int) -> random.Random:
    """Return a generator for one row and epoch; a string's seed is stable over runs."""
    return random.Random(":".join(map(str, key)))


def _variants(rows: Sequence[tuple[int, str]], epochs: int, seed: int, **options: Any) -> list[str]:
    lexicon = Lexicon.load()
    return [
        eda(caption, _rng(seed, epoch, row), lexicon, **options)
        for row, caption in rows
        for epoch in range(epochs)
    ]


def _tallied(captions: Sequence[str]) -> Tally:
    return tally(captions, Lexicon.load())


def _offered(captions: Sequence[str], words: Words) -> list[tuple[str, ...]]:
    return [offers(caption, Lexicon.load(), _vocabulary, words) for caption in captions]


def _made(
    drawn: Sequence[tuple[int, int, int, str]], seed: int, **options: Any
) -> list[tuple[Any, ...]]:
    """Make sub-captions of (row, epoch, place, caption); return a record for each negative."""
    records = []
    for row, epoch, place, caption in drawn:
        rng = _rng(seed, epoch, row, DRAW)
        sub = subcaption(caption, rng, Lexicon.load(), vocabulary=_vocabulary, **options)
        for which, negative in enumerate(sub.negatives if sub else ()):
            at = (epoch, place, which, row, caption)
            records.append((*at, sub.positive, *astuple(negative)))  # type: ignore[union-attr]
    return records


# ---- files -----------------------------------------------------------------------------------


def write_variants(
    path: Path | str,
    captions: Sequence[str],
    tokenize: Tokenize,
    *,
    epochs: int,
    seed: int,
    alpha: float = 0.1,
    same_part: bool = True,
    workers: int = 1,
    say: Say = print,
) -> None:
    """Write (E, N, 77) uint16 tokens: an EDA variant of each caption, new in each epoch.

    Args:
        alpha, same_part: of `taclean.captions.eda`.
        workers: processes; the result does not depend on it.

    Raises:
        UserError: the caption list is empty.
    """
    if not captions:
        raise UserError(f"{path}: the caption list is empty; give at least one caption")
    job = partial(_variants, epochs=epochs, seed=seed, alpha=alpha, same_part=same_part)
    parts = _chunks([*enumerate(captions)])
    with replacing(path) as temporary, _mapped(min(workers, len(parts))) as run:
        out = np.lib.format.open_memmap(temporary, "w+", np.uint16, (epochs, len(captions), 77))
        told = Progress("variants", len(parts), "parts", say).follow(run(job, parts))
        for rows, texts in zip(parts, told, strict=True):
            tokens = tokenize(texts).reshape(len(rows), epochs, 77)
            out[:, rows[0][0] : rows[-1][0] + 1] = tokens.swapaxes(0, 1)
        out.flush()


def write_subcaptions(
    folder: Path | str,
    captions: Sequence[str],
    tokenize: Tokenize,
    *,
    epochs: int,
    samples: int,
    seed: int,
    negatives: int = 1,
    kinds: Sequence[str] = KINDS,
    words: Words = "fitting",
    workers: int = 1,
    say: Say = print,
) -> dict[str, Any]:
    """Write sub-captions of `samples` rows that are drawn anew in each epoch.

    A row whose caption offers no negative gives its place to the next of the epoch's order.
    Besides the arrays of SubCaptions the folder gets `subcaptions.csv`, a line for each negative,
    and `account.json`.

    Args:
        workers: processes; the result does not depend on it.

    Returns:
        The account; see `_account`.

    Raises:
        UserError: no captions, or more samples than captions.
    """
    if not captions:
        raise UserError(f"{folder}: the caption list is empty; give at least one caption")
    if samples > len(captions):
        raise UserError(
            f"samples: {samples} rows per epoch, but the clean split has {len(captions)}; lower it"
        )
    texts, counts = _chunks(captions), Tally()
    with _mapped(min(workers, len(texts))) as run:
        for part in Progress("words", len(texts), "parts", say).follow(run(_tallied, texts)):
            counts.add(part)
    vocabulary = learn(captions, counts, Lexicon.load())
    with _mapped(min(workers, len(texts)), vocabulary) as run:
        parts = run(partial(_offered, words=words), texts)
        follow = Progress("captions", len(texts), "parts", say).follow
        offered = [one for part in follow(parts) for one in part]
        gives = np.array([not set(kinds).isdisjoint(one) for one in offered])
        rows, skipped = _draw_rows(gives, epochs, samples, seed)
        job = partial(_made, seed=seed, negatives=negatives, kinds=tuple(kinds), words=words)
        table = _make_table(rows, captions, job, run, say)
    account = _account(table, captions, offered, counts) | {"skipped": skipped}
    with replacing(folder) as temporary:
        temporary.mkdir()
        np.save(temporary / "rows.npy", rows)
        _save_tokens(temporary, table, (*rows.shape, negatives), tokenize)
        table.to_csv(temporary / "subcaptions.csv", columns=list(COLUMNS), index=False)
        write_json(temporary / "account.json", account)
    return account


def _draw_rows(gives: np.ndarray, epochs: int, samples: int, seed: int) -> tuple[np.ndarray, int]:
    """Return (E, K) rows that give a negative, -1 where there are too few, and the rows skipped."""
    from taclean.util.rng import permutation  # imports PyTorch

    rows, skipped = np.full((epochs, samples), -1, np.int64), 0
    for epoch in range(epochs):
        order = permutation(len(gives), seed, epoch, DRAW)
        places = np.flatnonzero(gives[order])[:samples]
        rows[epoch, : len(places)] = order[places]
        tried = places[-1] + 1 if len(places) == samples else len(order)
        skipped += int(tried) - len(places)
    return rows, skipped


def _make_table(
    rows: np.ndarray,
    captions: Sequence[str],
    job: Callable[..., list[tuple[Any, ...]]],
    run: Callable[..., Iterator[Any]],
    say: Say,
) -> pd.DataFrame:
    """Return a line for each negative: epoch, place, which, and COLUMNS."""
    import pandas as pd

    epochs, places = np.nonzero(rows >= 0)
    drawn = zip(rows[epochs, places].tolist(), epochs.tolist(), places.tolist(), strict=True)
    # sorted by row, so that a caption is parsed once for all its epochs
    parts = _chunks([(*at, captions[at[0]]) for at in sorted(drawn)])
    told = Progress("subcaptions", len(parts), "parts", say).follow(run(job, parts))
    columns = ["epoch", "place", "which", *COLUMNS[1:]]
    table = pd.DataFrame([record for part in told for record in part], columns=columns)
    return table.sort_values(["epoch", "place", "which"], ignore_index=True)


def _save_tokens(
    folder: Path, table: pd.DataFrame, shape: tuple[int, int, int], tokenize: Tokenize
) -> None:
    """Write the arrays `positives.npy`, `negatives.npy` and `counts.npy` of SubCaptions."""
    at = tuple(table[name].to_numpy(int) for name in ("epoch", "place", "which"))
    for name, index in (("positive", at[:2]), ("negative", at)):
        tokens = np.zeros((*shape[: len(index)], 77), np.uint16)
        for part in _chunks(np.arange(len(table))):
            tokens[tuple(axis[part] for axis in index)] = tokenize(table[name][part].tolist())
        np.save(folder / f"{name}s.npy", tokens)
    counts = np.zeros(shape[:2], np.int64)
    np.add.at(counts, at[:2], 1)
    np.save(folder / "counts.npy", counts)


def _account(
    table: pd.DataFrame,
    captions: Sequence[str],
    offered: Sequence[tuple[str, ...]],
    counts: Tally,
) -> dict[str, Any]:
    """Count what was made.

    Returns:
        "drawn", the rows over all epochs; the negatives of each kind; "captions" of the split;
        "offers", how many of these offer each kind, and none; "shares", in 0..1, of weak positives
        and negatives; and "text_only" with its error and pairs, the score of
        `taclean.captions.audit` on one pair of each caption (null for a few).
    """
    offer = Counter(kind for one in offered for kind in one or ("none",))
    each = table[table["which"] == 0]
    shares = {
        "one_word_positives": each["positive"].str.count(r"\w+") == 1,
        "whole_positives": each["positive"] == each["caption"],
        "rare_words": table["replacement"].map(lambda word: counts["seen"][word.lower()] < LEAST),
    }
    once = each.drop_duplicates("row")
    score = text_only_score(*(once[name].tolist() for name in ("positive", "negative", "caption")))
    told = score._asdict() if score else dict.fromkeys(("accuracy", "error", "pairs"))
    return {
        "drawn": len(each),
        **{kind: int((table["kind"] == kind).sum()) for kind in KINDS},
        "captions": len(captions),
        "offers": {kind: offer[kind] for kind in (*KINDS, "none")},
        "shares": {
            k: round(float(some.mean()), 4) if len(some) else 0 for k, some in shares.items()
        },
        "text_only": told["accuracy"],
        "text_only_error": told["error"],
        "text_only_pairs": told["pairs"],
    }


def account_lines(account: dict[str, Any]) -> list[str]:
    """Return lines of a log that say what an account holds."""
    total = account["captions"]
    offers = (f"{kind} {100 * n / total:.1f} %" for kind, n in account["offers"].items())
    shares = (f"{name} {100 * n:.1f} %" for name, n in account["shares"].items())
    lines = [
        f"captions that offer {', '.join(offers)} (of {total})",
        f"sub-captions: {account['drawn']} drawn; {', '.join(shares)}",
    ]
    if account["text_only"] is not None:
        score, error = 100 * account["text_only"], 100 * account["text_only_error"]
        lines.append(
            f"a text-only classifier finds the negative in {score:.1f} +- {error:.1f} % of "
            f"{account['text_only_pairs']} pairs (chance: 50 %)"
        )
    return lines
