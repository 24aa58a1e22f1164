"""Text work done once: EDA variants and sub-captions of a split, tokenised, for every epoch.

Both depend on the captions and the seed alone, never on an attack, so all attacks share them.
"""

from __future__ import annotations

import csv
import io
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from taclean.data.packed import Tokenize, load_array
from taclean.errors import UserError
from taclean.files import replacing, write_json
from taclean.rng import permutation
from taclean.text.eda import eda
from taclean.text.lexicon import Lexicon
from taclean.text.subcaptions import KINDS, offers, subcaption

DRAW = 0x5AB  # names the random stream of the rows drawn per epoch
CHUNK = 500  # captions that a process takes at a time
Say = Callable[[str], None]
COLUMNS = ("epoch", "row", "caption", "positive", "negative", "kind", "original", "replacement")


def _rng(*key: int) -> random.Random:
    return random.Random(":".join(map(str, key)))  # a string seeds by its hash, stable over runs


def write_variants(
    path: Path | str,
    captions: Sequence[str],
    tokenize: Tokenize,
    *,
    epochs: int,
    seed: int,
    alpha: float = 0.1,
    nltk: Path | str | None = None,
    workers: int = 1,
    say: Say = print,
) -> None:
    """Write (E, N, 77) uint16 tokens: one EDA variant of each caption, fresh in each epoch.

    Args:
        nltk: folder of `python -m taclean nltk`, to use its WordNet and tagger; default: the
            package's own lexicon.
        workers: processes; the result does not depend on it.

    Raises:
        UserError: the caption list is empty, or `nltk` is incomplete.
    """
    if not captions:
        raise UserError(f"{path}: the caption list is empty; give at least one caption")
    job = partial(
        _variants,
        lexicon=Lexicon.load(nltk),
        tokenize=tokenize,
        epochs=epochs,
        seed=seed,
        alpha=alpha,
    )
    chunks = _chunks(len(captions))
    with replacing(path) as temporary, _mapped(min(workers, len(chunks))) as run:
        out = np.lib.format.open_memmap(temporary, "w+", np.uint16, (epochs, len(captions), 77))
        found = run(job, chunks, [[captions[row] for row in rows] for rows in chunks])
        for rows, tokens in zip(chunks, _told(found, len(chunks), say, "variants"), strict=True):
            out[:, rows.start : rows.stop] = tokens
        out.flush()


def _variants(
    rows: range,
    captions: Sequence[str],
    lexicon: Lexicon,
    tokenize: Tokenize,
    epochs: int,
    seed: int,
    alpha: float,
) -> np.ndarray:
    """(E, n, 77) variants of some rows; a caption's epochs together, so it is tagged once."""
    texts = [
        eda(caption, _rng(seed, epoch, row), lexicon, alpha)
        for row, caption in zip(rows, captions, strict=True)
        for epoch in range(epochs)
    ]
    return tokenize(texts).reshape(len(rows), epochs, 77).swapaxes(0, 1)


@dataclass(frozen=True)
class SubCaptions:
    """Sub-captions of the rows drawn for each epoch.

    Attributes:
        rows: (E, K) int64 rows of the split; -1 where an epoch found fewer than K.
        positives: (E, K, 77) uint16 tokens.
        negatives: (E, K, M, 77) uint16 tokens; all 0 where a caption gave fewer than M.
    """

    rows: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray

    @classmethod
    def open(cls, folder: Path | str) -> SubCaptions:
        """Open the folder that `write_subcaptions` made.

        Raises:
            UserError: a file is missing, truncated or does not fit the others.
        """
        folder = Path(folder)
        rows = load_array(folder / "rows.npy", np.int64, 2)
        positives = load_array(folder / "positives.npy", np.uint16, 3)
        negatives = load_array(folder / "negatives.npy", np.uint16, 4)
        if not rows.shape == positives.shape[:2] == negatives.shape[:2]:
            raise UserError(f"{folder}: the files do not fit each other; make them again")
        return cls(rows, positives, negatives)


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
    nltk: Path | str | None = None,
    workers: int = 1,
    say: Say = print,
) -> dict[str, Any]:
    """Draw `samples` rows anew for each epoch and write their sub-captions.

    A row whose caption gives no sub-caption is skipped and the next one of the epoch's order is
    taken, so pairs never shift. Besides the arrays of SubCaptions the folder gets
    `subcaptions.csv`, to be read, and `account.json`.

    Args:
        nltk: folder of `python -m taclean nltk`, to use its WordNet and tagger; default: the
            package's own lexicon.
        workers: processes; the result does not depend on it.

    Returns:
        The account: how many were drawn and skipped, how many negatives of each kind, and under
        "offers" how many of the split's captions could give each kind, and none.

    Raises:
        UserError: no captions, more samples than captions, or `nltk` is incomplete.
    """
    if not captions:
        raise UserError(f"{folder}: the caption list is empty; give at least one caption")
    if samples > len(captions):
        raise UserError(
            f"samples: {samples} rows per epoch, but the clean split has {len(captions)}; lower it"
        )
    lexicon = Lexicon.load(nltk)
    chunks = _chunks(len(captions))
    texts = [[captions[row] for row in chunk] for chunk in chunks]
    with replacing(folder) as temporary, _mapped(min(workers, len(chunks))) as run:
        temporary.mkdir()
        found = run(partial(_offers, lexicon=lexicon), texts)
        told = _told(found, len(chunks), say, "captions")
        offered = [one for part in told for one in part]
        share = Counter(kind for one in offered for kind in one or ("none",))
        gives = np.array([bool(set(kinds) & set(one)) for one in offered])
        rows = np.full((epochs, samples), -1, np.int64)
        skipped = 0
        for epoch in range(epochs):
            order = permutation(len(captions), seed, epoch, DRAW)
            places = np.flatnonzero(gives[order])[:samples]
            rows[epoch, : len(places)] = order[places]
            tried = places[-1] + 1 if len(places) == samples else len(order)
            skipped += int(tried) - len(places)

        places_of: dict[int, list[tuple[int, int]]] = defaultdict(list)  # row -> epoch, place
        for epoch, place in np.argwhere(rows >= 0).tolist():
            places_of[int(rows[epoch, place])].append((epoch, place))
        drawn = sorted(places_of)
        parts = [[drawn[i] for i in chunk] for chunk in _chunks(len(drawn))]
        job = partial(
            _subcaptions,
            lexicon=lexicon,
            tokenize=tokenize,
            seed=seed,
            negatives=negatives,
            kinds=tuple(kinds),
        )

        def array(name: str, *shape: int) -> np.memmap:
            return np.lib.format.open_memmap(temporary / name, "w+", np.uint16, shape)

        positives = array("positives.npy", epochs, samples, 77)
        false = array("negatives.npy", epochs, samples, negatives, 77)
        lines: dict[tuple[int, int], str] = {}
        made_of: Counter[str] = Counter()
        found = run(
            job,
            parts,
            [[captions[row] for row in part] for part in parts],
            [[[epoch for epoch, _ in places_of[row]] for row in part] for part in parts],
        )
        told = _told(found, len(parts), say, "subcaptions")
        for part, made in zip(parts, told, strict=True):
            at = [place for row in part for place in places_of[row]]
            index = np.array(at)
            positives[index[:, 0], index[:, 1]] = made.positives
            false[index[:, 0], index[:, 1]] = made.negatives
            lines.update(zip(at, made.lines, strict=True))
            made_of.update(made.kinds)
        with (temporary / "subcaptions.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(COLUMNS)
            file.writelines(lines[place] for place in sorted(lines))
        positives.flush()
        false.flush()
        np.save(temporary / "rows.npy", rows)
        account = {
            "drawn": int((rows >= 0).sum()),
            "skipped": skipped,
            **{kind: made_of[kind] for kind in kinds},
            "captions": len(captions),
            "offers": {kind: share[kind] for kind in (*KINDS, "none")},
        }
        write_json(temporary / "account.json", account)
    return account


def _offers(captions: Sequence[str], lexicon: Lexicon) -> list[tuple[str, ...]]:
    return [offers(caption, lexicon) for caption in captions]


class _Made(NamedTuple):
    """The sub-captions of some rows, a row's epochs one after the other."""

    positives: np.ndarray  # (n, 77) uint16
    negatives: np.ndarray  # (n, M, 77) uint16
    lines: list[str]  # of the table to read
    kinds: list[str]


def _subcaptions(
    rows: Sequence[int],
    captions: Sequence[str],
    epochs: Sequence[Sequence[int]],
    lexicon: Lexicon,
    tokenize: Tokenize,
    seed: int,
    negatives: int,
    kinds: Sequence[str],
) -> _Made:
    """Sub-captions of rows that give some, each in its own epochs."""
    positives: list[str] = []
    texts, places, lines, kinds_made = [], [], [], []
    for row, caption, wanted in zip(rows, captions, epochs, strict=True):
        for epoch in wanted:
            sub = subcaption(caption, _rng(seed, epoch, row, DRAW), lexicon, negatives, kinds)
            assert sub is not None  # it offers one of the kinds
            buffer = io.StringIO(newline="")
            table = csv.writer(buffer)
            for j, negative in enumerate(sub.negatives):
                texts.append(negative.text)
                places.append((len(positives), j))
                kinds_made.append(negative.kind)
                change = (negative.kind, negative.original, negative.replacement)
                table.writerow((epoch, row, caption, sub.positive, negative.text, *change))
            positives.append(sub.positive)
            lines.append(buffer.getvalue())
    tokens = np.zeros((len(positives), negatives, 77), np.uint16)
    index = np.array(places)
    tokens[index[:, 0], index[:, 1]] = tokenize(texts)
    return _Made(tokenize(positives), tokens, lines, kinds_made)


# ---- processes ---------------------------------------------------------------------------------


def _chunks(n: int) -> list[range]:
    return [range(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK)]


@contextmanager
def _mapped(workers: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """`map`, in as many processes; results come in order, so their number changes nothing."""
    if workers <= 1:
        yield map
        return
    with ProcessPoolExecutor(workers) as pool:
        yield pool.map


def _told(parts: Iterator[Any], n: int, say: Say, label: str) -> Iterator[Any]:
    """Pass parts on and say every ten seconds how far they are."""
    started = told = time.monotonic()
    for done, part in enumerate(parts, 1):
        yield part
        if (now := time.monotonic()) - told > 10:
            told = now
            left = (now - started) / done * (n - done)
            say(f"{label}: {100 * done // n} %, about {left:.0f} s left")
