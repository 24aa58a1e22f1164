"""Text work done once: EDA variants and sub-captions of a split, tokenised, for every epoch.

Both depend on the captions and the seed alone, never on an attack, so all attacks share them.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taclean.data.packed import Tokenize, load_array
from taclean.errors import UserError
from taclean.files import replacing, write_json
from taclean.rng import permutation
from taclean.text.eda import eda
from taclean.text.lexicon import Lexicon
from taclean.text.subcaptions import KINDS, SubCaption, subcaption

DRAW = 0x5AB  # names the random stream of the rows drawn per epoch
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
) -> None:
    """Write (E, N, 77) uint16 tokens: one EDA variant of each caption, fresh in each epoch.

    Raises:
        UserError: the caption list is empty.
    """
    if not captions:
        raise UserError(f"{path}: the caption list is empty; give at least one caption")
    lexicon = Lexicon.load()
    with replacing(path) as temporary:
        out = np.lib.format.open_memmap(temporary, "w+", np.uint16, (epochs, len(captions), 77))
        for epoch in range(epochs):
            out[epoch] = tokenize(
                [eda(c, _rng(seed, epoch, row), lexicon, alpha) for row, c in enumerate(captions)]
            )
        out.flush()


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
) -> dict[str, int]:
    """Draw `samples` rows anew for each epoch and write their sub-captions.

    A row whose caption gives no sub-caption is skipped and the next one of the epoch's order is
    taken, so pairs never shift. Besides the arrays of SubCaptions the folder gets
    `subcaptions.csv`, to be read, and `account.json`.

    Returns:
        The account: how many were drawn and skipped, and how many negatives of each kind.

    Raises:
        UserError: no captions, or more samples than captions.
    """
    if not captions:
        raise UserError(f"{folder}: the caption list is empty; give at least one caption")
    if samples > len(captions):
        raise UserError(
            f"samples: {samples} rows per epoch, but the clean split has {len(captions)}; lower it"
        )
    lexicon = Lexicon.load()
    rows = np.full((epochs, samples), -1, np.int64)
    positives = np.zeros((epochs, samples, 77), np.uint16)
    negative_tokens = np.zeros((epochs, samples, negatives, 77), np.uint16)
    account = {"drawn": 0, "skipped": 0, **dict.fromkeys(kinds, 0)}
    with replacing(folder) as temporary:
        temporary.mkdir()
        with (temporary / "subcaptions.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            for epoch in range(epochs):
                found: list[tuple[int, SubCaption]] = []
                for row in permutation(len(captions), seed, epoch, DRAW):
                    if len(found) == samples:
                        break
                    rng = _rng(seed, epoch, row, DRAW)
                    sub = subcaption(captions[row], rng, lexicon, negatives, kinds)
                    if sub is None:
                        account["skipped"] += 1
                    else:
                        found.append((int(row), sub))
                account["drawn"] += len(found)
                if not found:
                    continue
                rows[epoch, : len(found)] = [row for row, _ in found]
                positives[epoch, : len(found)] = tokenize([sub.positive for _, sub in found])
                texts, places = [], []
                for i, (row, sub) in enumerate(found):
                    for j, negative in enumerate(sub.negatives):
                        texts.append(negative.text)
                        places.append((i, j))
                        account[negative.kind] += 1
                        change = (negative.kind, negative.original, negative.replacement)
                        table.writerow(
                            (epoch, row, captions[row], sub.positive, negative.text, *change)
                        )
                index = np.array(places)
                negative_tokens[epoch, index[:, 0], index[:, 1]] = tokenize(texts)
        np.save(temporary / "rows.npy", rows)
        np.save(temporary / "positives.npy", positives)
        np.save(temporary / "negatives.npy", negative_tokens)
        write_json(temporary / "account.json", account)
    return account
