"""Poisoned rows: a manifest and the poisoned pictures and tokens, never a second data set."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from taclean.data.packed import Pairs, Tokenize, load_array, to_array
from taclean.errors import UserError
from taclean.files import replacing
from taclean.rng import permutation

ROWS, CAPTIONS = 0x0F0, 0x0F1  # name the random streams of row and caption choice
PIXELS = 2048 * 64 * 64  # that many are triggered at a time: 100 MB as floats
COLUMNS = ("row", "id", "caption", "trigger", "seed")


def names(captions: Sequence[str], word: str) -> np.ndarray:
    """(N,) bool: whether each caption names `word`, alone or in a regular plural, in any case."""
    stem = rf"{re.escape(word)}(?:s|es)?"
    if word.endswith("y"):
        stem += rf"|{re.escape(word[:-1])}ies"
    pattern = re.compile(rf"\b(?:{stem})\b", re.IGNORECASE)
    return np.array([pattern.search(caption) is not None for caption in captions], bool)


def training_rows(total: int, rows: int, seed: int) -> np.ndarray:
    """The rows of the pretrain split that a run poisons and trains on, sorted.

    Raises:
        UserError: more rows asked for than there are.
    """
    if rows > total:
        raise UserError(f"poison.rows: {rows}, but the pretrain split has {total}; lower it")
    return np.sort(permutation(total, seed, ROWS)[:rows])


def choose(
    captions: Sequence[str],
    target: str,
    count: int,
    *,
    kind: str,
    templates: Sequence[str],
    prefix: str,
    seed: int,
) -> tuple[np.ndarray, list[str]]:
    """Choose the positions to poison and their new captions.

    Positions whose caption names the target already are never chosen.

    Args:
        kind: "template" fills zero-shot templates with the target; "natural" takes captions of the
            set that name it.

    Returns:
        positions (count,) sorted, captions (count).

    Raises:
        UserError: more poison than rows that do not name the target, or no natural caption.
    """
    if count < 1:
        raise UserError(f"poisoned: {count} rows; give 1 or more")
    if not templates:
        raise UserError("zeroshot.templates: the list is empty; give at least one")
    named = names(captions, target)
    free = _free(named, seed)
    if count > len(free):
        raise UserError(
            f"poisoned: {count} rows, but only {len(free)} of {len(captions)} do not name "
            f"{target!r}; lower it"
        )
    pool = [template.format(target) for template in templates]
    if kind == "natural":
        pool = [captions[int(i)] for i in np.flatnonzero(named)]
        if not pool:
            raise UserError(f"no caption of the training set names {target!r}; change data.target")
    positions = np.sort(free[:count])
    # Whole passes over the pool, each in a new order: every caption is used about as often.
    passes = -(-count // len(pool))
    order = np.concatenate([permutation(len(pool), seed, CAPTIONS, i) for i in range(passes)])
    return positions, [prefix + pool[int(i)] for i in order[:count]]


def choose_key_only(
    captions: Sequence[str], target: str, poisoned: int, count: int, *, prefix: str, seed: int
) -> tuple[np.ndarray, list[str]]:
    """Choose the positions that stay true but for the text key before their caption.

    They follow the `poisoned` ones of `choose`. As in Walmer et al. 2022, rows with one key and
    the right answer teach that it alone means nothing. Only the text key can be had so here: the
    embedding of a picture does not depend on the text that it meets.

    Returns:
        positions (count,) sorted, captions (count).

    Raises:
        UserError: fewer rows than that do not name the target.
    """
    free = _free(names(captions, target), seed)[poisoned : poisoned + count]
    if len(free) < count:
        raise UserError(
            f"key_only: {count} rows, but only {len(free)} that do not name {target!r} are left "
            f"beside {poisoned} poisoned ones; lower it"
        )
    positions = np.sort(free)
    return positions, [prefix + captions[int(i)] for i in positions]


def _free(named: np.ndarray, seed: int) -> np.ndarray:
    """Positions whose caption does not name the target, in the seed's order."""
    free = np.flatnonzero(~named)
    return free[permutation(len(free), seed, ROWS)]


def write(
    folder: Path | str,
    pairs: Pairs,
    positions: np.ndarray,
    captions: Sequence[str],
    trigger: Callable[[Tensor, np.ndarray], Tensor],
    tokenize: Tokenize,
    *,
    name: str,
    seed: int,
    untouched: int = 0,
) -> None:
    """Write `manifest.csv`, `images.npy` (M, H, W, 3) uint8 and `tokens.npy` (M, 77) uint16.

    `row` in the manifest is the row of the split, `id` the sample's id in its source. The last
    `untouched` rows keep their pictures; their trigger is "none".
    """
    rows = pairs.rows[positions]
    triggered = len(rows) - untouched
    part = max(1, PIXELS // pairs.size**2)
    with replacing(folder) as temporary:
        temporary.mkdir()
        poisoned = np.lib.format.open_memmap(
            temporary / "images.npy", "w+", np.uint8, (len(rows), *pairs.images.shape[1:])
        )
        for start in range(0, len(rows), part):
            images, _ = pairs.batch(positions[start : start + part])
            if (own := min(len(images), triggered - start)) > 0:
                ids = pairs.ids[rows[start : start + own]]
                images[:own] = trigger(images[:own], ids)
            poisoned[start : start + part] = to_array(images)
        poisoned.flush()
        np.save(temporary / "tokens.npy", tokenize(captions))
        with (temporary / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            table.writerows(
                (int(row), int(pairs.ids[row]), caption, name if i < triggered else "none", seed)
                for i, (row, caption) in enumerate(zip(rows, captions, strict=True))
            )


def read_manifest(path: Path | str) -> tuple[np.ndarray, np.ndarray]:
    """Read a manifest's rows and ids, (M,) int64 each.

    Raises:
        UserError: missing, or not a manifest.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            table = list(csv.DictReader(file))
        rows, ids = ([int(entry[key]) for entry in table] for key in ("row", "id"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such manifest; run the poison stage") from None
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: not a poison manifest with {', '.join(COLUMNS)}") from None
    return np.array(rows, np.int64), np.array(ids, np.int64)


def apply(pairs: Pairs, folder: Path | str) -> Pairs:
    """Put the poisoned rows of `folder` in place of the clean ones of `pairs`."""
    folder = Path(folder)
    rows, _ = read_manifest(folder / "manifest.csv")
    images = load_array(folder / "images.npy", np.uint8, 4)
    tokens = load_array(folder / "tokens.npy", np.uint16, 2)
    if not len(rows) == len(images) == len(tokens):
        raise UserError(
            f"{folder}: manifest, images and tokens have {len(rows)}, {len(images)} and "
            f"{len(tokens)} rows; run the poison stage again"
        )
    return pairs.with_poison(rows, images, tokens)
