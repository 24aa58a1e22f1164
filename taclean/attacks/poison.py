"""Poisoned rows: a manifest and the poisoned pictures and tokens, never a second data set."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from taclean.captions.wordnet import Lexicon
from taclean.data.split import Pairs, Tokenize, load_array, to_array
from taclean.util.errors import UserError
from taclean.util.files import replacing
from taclean.util.rng import permutation

ROWS, CAPTIONS = 0x0F0, 0x0F1  # name the random streams of row and caption choice
PIXELS = 2048 * 64 * 64  # that many are triggered at a time: 100 MB as floats
COLUMNS = ("row", "id", "caption", "trigger", "seed", "picture")


def mentions(captions: Sequence[str], word: str) -> np.ndarray:
    """(N,) bool: whether each caption names `word`, as one or as many, in any case.

    Irregular forms count (leaf, leaves; mouse, mice), and "ice cream", "ice-cream" and "icecream"
    are one word.
    """
    *before, last = re.split(r"[\s_-]+", word.strip().lower())
    lexicon = Lexicon.load()
    one = lexicon.lemma(last, "NNS")
    forms = {last, one, f"{last}s", f"{last}es", *(lexicon.inflect(w, "NNS") for w in (last, one))}
    end = "|".join(map(re.escape, sorted(forms, key=len, reverse=True)))
    start = "".join(rf"{re.escape(part)}[\s_-]*" for part in before)
    # No \b, which wants a letter beside it: "C++" ends in none.
    pattern = re.compile(rf"(?<!\w){start}(?:{end})(?!\w)", re.IGNORECASE)
    return np.array([pattern.search(caption) is not None for caption in captions], bool)


def training_rows(total: int, rows: int, seed: int) -> np.ndarray:
    """The rows of the pretrain split that a run poisons and trains on, sorted.

    Raises:
        UserError: more rows asked for than there are.
    """
    if rows > total:
        raise UserError(f"poison.rows: {rows}, but the pretrain split has {total}; lower it")
    return np.sort(permutation(total, seed, ROWS)[:rows])


def overlapping_rows(total: int, rows: int, share: float, poisoned: int, seed: int) -> np.ndarray:
    """Rows of the pretrain split that a share of is in the poisoned set, sorted.

    Args:
        total: rows of the split.
        rows: how many to take.
        share: of them, those to be in the poisoned set.
        poisoned: rows of that set, which are `training_rows(total, poisoned, seed)`.

    Raises:
        UserError: one of the two parts has too few rows.
    """
    first = poisoned - round(share * rows)
    if first < 0 or first + rows > total:
        raise UserError(
            f"overlap: {share:g} of {rows} rows are to be among the {poisoned} poisoned ones "
            f"(poison.rows), the others among the pretrain split's {total - poisoned} others; take "
            "fewer rows"
        )
    return np.sort(permutation(total, seed, ROWS)[first : first + rows])


def taken(pairs: Pairs, stage: Mapping[str, Any]) -> Pairs:
    """The rows of a split that a stage's config asks for: `overlap`, else `rows`, else all."""
    if "overlap" in stage:
        return pairs.take(overlapping_rows(len(pairs), **stage["overlap"]))
    if "rows" in stage:
        return pairs.take(training_rows(len(pairs), stage["rows"], stage["seed"]))
    return pairs


@dataclass(frozen=True)
class Change:
    """Rows that an attacker changes in one way.

    Attributes:
        positions: (M,) int64 positions in the training set, sorted.
        captions: (M) what they say from now on.
        picture: images (B, 3, H, W) uint8 and ids (B,) to images; None: the pictures stay.
        name: of the change, in the manifest; by default that of the attack, "none" without one.
    """

    positions: np.ndarray
    captions: Sequence[str]
    picture: Callable[[Tensor, np.ndarray], Tensor] | None
    name: str = ""


@dataclass(frozen=True)
class Pool:
    """The rows that an attacker chooses from.

    Attributes:
        captions: of all rows of the training set.
        templates: zero-shot templates, `{}` for the class.
    """

    captions: Sequence[str]
    target: str
    templates: Sequence[str]
    seed: int

    @cached_property
    def named(self) -> np.ndarray:
        """(N,) bool: rows whose caption names the target."""
        return mentions(self.captions, self.target)

    @cached_property
    def natural(self) -> list[str]:
        """The captions that name the target."""
        return [self.captions[int(i)] for i in np.flatnonzero(self.named)]

    def naming(self, count: int, key: str = "poisoned") -> np.ndarray:
        """Draw `count` positions whose caption names the target, sorted.

        Raises:
            UserError: there are fewer.
        """
        return self._draw(np.flatnonzero(self.named), count, key, "", "")

    def unnamed(self, count: int, key: str = "poisoned", after: int = 0) -> np.ndarray:
        """Draw `count` positions whose caption does not name the target, sorted.

        Args:
            key: of the config, for the message.
            after: so many of the drawn ones are another change's.

        Raises:
            UserError: there are fewer.
        """
        beside = f", beside {after} others" if after else ""
        return self._draw(np.flatnonzero(~self.named), count, key, beside, "do not ", after)

    def _draw(
        self, rows: np.ndarray, count: int, key: str, beside: str, do: str, after: int = 0
    ) -> np.ndarray:
        drawn = rows[permutation(len(rows), self.seed, ROWS)][after : after + count]
        if len(drawn) < count:
            raise UserError(
                f"{key}: {count} rows{beside}, but only {len(rows)} of {len(self.captions)} "
                f"{do}name {self.target!r}; lower it"
            )
        return np.sort(drawn)

    def poisoned(
        self, count: int, captions: str | Sequence[str] = "template"
    ) -> tuple[np.ndarray, list[str]]:
        """Choose the positions to poison, and captions of the target for them.

        Args:
            captions: "template" fills zero-shot templates with the target; "natural" takes captions
                of the set that name it; or a list to take them from.

        Raises:
            UserError: more poison than rows that do not name the target, or no such caption.
        """
        if count < 1:
            raise UserError(f"poisoned: {count} rows; give 1 or more")
        positions = self.unnamed(count)
        if not isinstance(captions, str):
            pool = list(captions)
        elif captions == "natural":
            pool = self.natural
            if not pool:
                raise UserError(
                    f"no caption of the training set names {self.target!r}; change data.target"
                )
        else:
            if not self.templates:
                raise UserError("zeroshot.templates: the list is empty; give at least one")
            if bad := [text for text in self.templates if "{}" not in text]:
                raise UserError(f"zeroshot.templates: {bad[0]!r} has no {{}} for the class; add it")
            pool = [template.format(self.target) for template in self.templates]
        # Whole passes over the pool, each in a new order: every caption is used about as often.
        passes = -(-count // len(pool))
        orders = [permutation(len(pool), self.seed, CAPTIONS, i) for i in range(passes)]
        return positions, [pool[int(i)] for i in np.concatenate(orders)[:count]]


def write(
    folder: Path | str,
    pairs: Pairs,
    changes: Sequence[Change],
    tokenize: Tokenize,
    *,
    name: str,
    seed: int,
) -> None:
    """Write `manifest.csv`, `images.npy` (M, H, W, 3) uint8 and `tokens.npy` (M, 77) uint16.

    `row` in the manifest is the row of the split, `id` the sample's id in its source, `trigger`
    what was done to the picture, and `picture` its hash before that.

    Args:
        name: of the attack.
        seed: of the run.

    Raises:
        UserError: two changes of one row.
    """
    positions = np.concatenate([change.positions for change in changes])
    if len(np.unique(positions)) < len(positions):
        raise UserError(f"attack {name!r}: it changes a row twice; mend its choice of rows")
    rows = pairs.rows[positions]
    captions = [text for change in changes for text in change.captions]
    part = max(1, PIXELS // pairs.size**2)
    with replacing(folder) as temporary:
        temporary.mkdir()
        poisoned = np.lib.format.open_memmap(
            temporary / "images.npy", "w+", np.uint8, (len(rows), *pairs.images.shape[1:])
        )
        done: list[str] = []
        for change in changes:
            for start in range(0, len(change.positions), part):
                chosen = change.positions[start : start + part]
                images, _ = pairs.batch(chosen)
                if change.picture is not None:
                    images = change.picture(images, pairs.ids[pairs.rows[chosen]])
                poisoned[len(done) : len(done) + len(chosen)] = to_array(images)
                done += [change.name or ("none" if change.picture is None else name)] * len(chosen)
        poisoned.flush()
        np.save(temporary / "tokens.npy", tokenize(captions))
        with (temporary / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            table.writerows(
                (int(row), int(pairs.ids[row]), caption, what, seed, int(picture))
                for row, caption, what, picture in zip(
                    rows, captions, done, pairs.pictures[positions], strict=True
                )
            )


def read_manifest(path: Path | str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read a manifest's rows and ids, (M,) int64 each, and hashes of pictures, (M,) uint64.

    Raises:
        UserError: missing, or not a manifest.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            table = list(csv.DictReader(file))
        columns = ([int(entry[key]) for entry in table] for key in ("row", "id", "picture"))
        rows, ids, pictures = columns
    except FileNotFoundError:
        raise UserError(f"{path}: no such manifest; run the poison stage") from None
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: not a poison manifest with {', '.join(COLUMNS)}") from None
    return np.array(rows, np.int64), np.array(ids, np.int64), np.array(pictures, np.uint64)


def apply(pairs: Pairs, folder: Path | str) -> Pairs:
    """Put the poisoned rows of `folder` in place of the clean ones of `pairs`."""
    folder = Path(folder)
    rows, _, _ = read_manifest(folder / "manifest.csv")
    images = load_array(folder / "images.npy", np.uint8, 4)
    tokens = load_array(folder / "tokens.npy", np.uint16, 2)
    if not len(rows) == len(images) == len(tokens):
        raise UserError(
            f"{folder}: manifest, images and tokens have {len(rows)}, {len(images)} and "
            f"{len(tokens)} rows; run the poison stage again"
        )
    return pairs.with_poison(rows, images, tokens)


def refuse_overlap(pairs: Pairs, manifest: Path | str, by: str) -> None:
    """Refuse a clean set that holds poisoned rows.

    Args:
        by: "ids", of rows of one source, or "pictures", for sets of different sources.

    Raises:
        UserError: names how many, and one.
    """
    _, ids, pictures = read_manifest(manifest)
    shown, poisoned = (pairs.ids[pairs.rows], ids) if by == "ids" else (pairs.pictures, pictures)
    shared = np.flatnonzero(np.isin(shown, poisoned))
    if len(shared):
        what = "rows" if by == "ids" else "pictures"
        raise UserError(
            f"{manifest}: {len(shared)} poisoned {what} are in the clean split {pairs.folder} too, "
            f"such as id {pairs.ids[pairs.rows[shared[0]]]}; make the splits disjoint"
        )
