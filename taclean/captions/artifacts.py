"""Text work done once: EDA variants and sub-captions of a split, tokenised, for every epoch.

Both depend on the captions and the seed alone, never on an attack, so all attacks share them.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from taclean.captions import parallel
from taclean.captions.audit import text_only_score
from taclean.captions.parts import KINDS
from taclean.captions.replacements import LEAST, Tally
from taclean.captions.subcaptions import SubCaption, Words, learn
from taclean.captions.wordnet import Lexicon
from taclean.data.layout import Tokenize, load_array
from taclean.util.errors import UserError
from taclean.util.files import replacing, write_json
from taclean.util.progress import Progress, Say
from taclean.util.rng import permutation

COLUMNS = ("epoch", "row", "caption", "positive", "negative", "kind", "original", "replacement")


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
    """Write (E, N, 77) uint16 tokens: one EDA variant of each caption, fresh in each epoch.

    Args:
        alpha, same_part: of `taclean.captions.eda`.
        workers: processes; the result does not depend on it.

    Raises:
        UserError: the caption list is empty.
    """
    if not captions:
        raise UserError(f"{path}: the caption list is empty; give at least one caption")
    job = partial(parallel.variants, epochs=epochs, seed=seed, alpha=alpha, same_part=same_part)
    parts = parallel.chunks(len(captions))
    with replacing(path) as temporary, parallel.mapped(min(workers, len(parts))) as run:
        out = np.lib.format.open_memmap(temporary, "w+", np.uint16, (epochs, len(captions), 77))
        found = run(job, parts, [[captions[row] for row in rows] for rows in parts])
        for rows, texts in zip(
            parts, Progress("variants", len(parts), "parts", say).follow(found), strict=True
        ):
            tokens = tokenize(texts).reshape(len(rows), epochs, 77)
            out[:, rows.start : rows.stop] = tokens.swapaxes(0, 1)
        out.flush()


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
        """Open the folder that `write_subcaptions` made.

        Raises:
            UserError: a file is missing, truncated or does not fit the others.
        """
        folder = Path(folder)
        rows = load_array(folder / "rows.npy", np.int64, 2)
        positives = load_array(folder / "positives.npy", np.uint16, 3)
        negatives = load_array(folder / "negatives.npy", np.uint16, 4)
        counts = load_array(folder / "counts.npy", np.int64, 2)
        if not rows.shape == positives.shape[:2] == negatives.shape[:2] == counts.shape:
            raise UserError(f"{folder}: the files do not fit each other; make them again")
        return cls(rows, positives, negatives, counts)


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
    """Draw `samples` rows anew for each epoch and write their sub-captions.

    A row whose caption gives no sub-caption is skipped and the next one of the epoch's order is
    taken, so pairs never shift. Besides the arrays of SubCaptions the folder gets
    `subcaptions.csv`, to be read, and `account.json`.

    Args:
        workers: processes; the result does not depend on it.

    Returns:
        The account: how many were drawn and skipped, how many negatives of each kind; under
        "offers" how many of the split's captions could give each kind, and none; under "shares",
        in 0..1, how many positives are one word or the whole caption, how many negatives gain a
        word that fewer than 5 captions have; and "text_only", the score of
        `taclean.captions.audit.text_only_score` on one pair of each caption (null for a few).

    Raises:
        UserError: no captions, or more samples than captions.
    """
    if not captions:
        raise UserError(f"{folder}: the caption list is empty; give at least one caption")
    if samples > len(captions):
        raise UserError(
            f"samples: {samples} rows per epoch, but the clean split has {len(captions)}; lower it"
        )
    texts = [[captions[row] for row in part] for part in parallel.chunks(len(captions))]
    counts = Tally()
    with parallel.mapped(min(workers, len(texts))) as run:
        for part in Progress("words", len(texts), "parts", say).follow(
            run(parallel.tallied, texts)
        ):
            counts.add(part)
    vocabulary = learn(captions, counts, Lexicon.load())
    with (
        replacing(folder) as temporary,
        parallel.mapped(min(workers, len(texts)), vocabulary) as run,
    ):
        temporary.mkdir()
        told = Progress("captions", len(texts), "parts", say).follow(run(parallel.offered, texts))
        offered = [one for part in told for one in part]
        share = Counter(kind for one in offered for kind in one or ("none",))
        gives = np.array([bool(set(kinds) & set(one)) for one in offered])
        rows = np.full((epochs, samples), -1, np.int64)
        skipped = 0
        for epoch in range(epochs):
            order = permutation(len(captions), seed, epoch, parallel.DRAW)
            places = np.flatnonzero(gives[order])[:samples]
            rows[epoch, : len(places)] = order[places]
            tried = places[-1] + 1 if len(places) == samples else len(order)
            skipped += int(tried) - len(places)

        places_of: dict[int, list[tuple[int, int]]] = defaultdict(list)  # row -> epoch, place
        for epoch, place in np.argwhere(rows >= 0).tolist():
            places_of[int(rows[epoch, place])].append((epoch, place))
        drawn = sorted(places_of)
        parts = [[drawn[i] for i in chunk] for chunk in parallel.chunks(len(drawn))]
        job = partial(
            parallel.subcaptions, seed=seed, negatives=negatives, kinds=tuple(kinds), words=words
        )

        def array(name: str, *shape: int) -> np.memmap:
            return np.lib.format.open_memmap(temporary / name, "w+", np.uint16, shape)

        positives = array("positives.npy", epochs, samples, 77)
        false = array("negatives.npy", epochs, samples, negatives, 77)
        made_of = np.zeros((epochs, samples), np.int64)
        table: dict[tuple[int, int], SubCaption] = {}
        found = run(
            job,
            parts,
            [[captions[row] for row in part] for part in parts],
            [[[epoch for epoch, _ in places_of[row]] for row in part] for part in parts],
        )
        told = Progress("subcaptions", len(parts), "parts", say).follow(found)
        for part, made in zip(parts, told, strict=True):
            at = np.array([place for row in part for place in places_of[row]])
            table.update(zip(map(tuple, at.tolist()), made, strict=True))
            positives[at[:, 0], at[:, 1]] = tokenize([sub.positive for sub in made])
            made_of[at[:, 0], at[:, 1]] = [len(sub.negatives) for sub in made]
            which = [(n, j) for n, sub in enumerate(made) for j in range(len(sub.negatives))]
            n, j = np.array(which).T
            wrong = [negative.text for sub in made for negative in sub.negatives]
            false[at[n, 0], at[n, 1], j] = tokenize(wrong)
        with (temporary / "subcaptions.csv").open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            lines.writerow(COLUMNS)
            for (epoch, place), sub in sorted(table.items()):
                row = int(rows[epoch, place])
                for negative in sub.negatives:
                    change = (negative.kind, negative.original, negative.replacement)
                    told_row = (epoch, row, captions[row], sub.positive, negative.text, *change)
                    lines.writerow(told_row)
        positives.flush()
        false.flush()
        np.save(temporary / "rows.npy", rows)
        np.save(temporary / "counts.npy", made_of)
        by_row = {int(rows[at]): sub for at, sub in sorted(table.items(), reverse=True)}
        account = {
            "drawn": len(table),
            "skipped": skipped,
            **_kinds(table.values(), kinds),
            "captions": len(captions),
            "offers": {kind: share[kind] for kind in (*KINDS, "none")},
            "shares": _shares([(captions[rows[at]], sub) for at, sub in table.items()], counts),
            "text_only": text_only_score(
                [sub.positive for sub in by_row.values()],
                [sub.negatives[0].text for sub in by_row.values()],
            ),
        }
        write_json(temporary / "account.json", account)
    return account


def _kinds(made: Iterable[SubCaption], kinds: Sequence[str]) -> dict[str, int]:
    found = Counter(negative.kind for sub in made for negative in sub.negatives)
    return {kind: found[kind] for kind in kinds}


def _shares(made: Sequence[tuple[str, SubCaption]], counts: Tally) -> dict[str, float]:
    """Shares, in 0..1, that tell of weak sub-captions."""
    words = [len(re.findall(r"\w+", sub.positive)) for _, sub in made]
    gained = [negative.replacement.lower() for _, sub in made for negative in sub.negatives]
    found = {
        "one_word_positives": [n == 1 for n in words],
        "whole_positives": [sub.positive == caption for caption, sub in made],
        "rare_words": [counts.seen[word] < LEAST for word in gained],
    }
    return {name: round(sum(some) / max(len(some), 1), 4) for name, some in found.items()}
