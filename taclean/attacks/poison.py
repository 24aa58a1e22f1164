"""Choose, write and read poisoned rows.

A poisoned set is stored as a manifest with the changed pictures and tokens alone; the clean split
is never copied.
"""

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
from taclean.data import Tokenize, array_file, load_array
from taclean.data.split import Pairs, to_array
from taclean.util.errors import UserError
from taclean.util.files import replacing
from taclean.util.rng import permutation

# Random streams: of the choice of rows, of captions, and of rows that the defender has, too.
ROWS, CAPTIONS, SHARED = 0x0F0, 0x0F1, 0x0F2
PIXELS = 2048 * 64 * 64  # pixels that get the trigger at a time: 100 MB as floats
COLUMNS = ("row", "id", "caption", "trigger", "seed", "picture")


def mentions(captions: Sequence[str], word: str) -> np.ndarray:
    """Return, for each caption, whether it names `word` in the singular or the plural.

    The search ignores case. It knows irregular plurals (leaf, leaves; mouse, mice) and treats
    "ice cream", "ice-cream" and "icecream" as one word.

    Returns:
        (N,) bool.
    """
    *before, last = re.split(r"[\s_-]+", word.strip().lower())
    lexicon = Lexicon.load()
    one = lexicon.lemma(last, "NNS")
    forms = {last, one, f"{last}s", f"{last}es", *(lexicon.inflect(w, "NNS") for w in (last, one))}
    end = "|".join(map(re.escape, sorted(forms, key=len, reverse=True)))
    start = "".join(rf"{re.escape(part)}[\s_-]*" for part in before)
    # \b would not match after "C++", which does not end in a letter.
    pattern = re.compile(rf"(?<!\w){start}(?:{end})(?!\w)", re.IGNORECASE)
    return np.array([pattern.search(caption) is not None for caption in captions], bool)


def training_rows(total: int, rows: int, seed: int) -> np.ndarray:
    """Draw the rows of the pretrain split that a run poisons and trains on, sorted.

    Raises:
        UserError: the split has fewer than `rows` rows.
    """
    if rows > total:
        raise UserError(f"rows: {rows} rows, but the split to draw them from has {total}; lower it")
    return np.sort(permutation(total, seed, ROWS)[:rows])


def overlapping_rows(total: int, rows: int, share: float, trained: int, seed: int) -> np.ndarray:
    """Draw rows of the pretrain split of which `share` are in the poisoned training set, sorted.

    Args:
        total: number of rows of the split.
        rows: number of rows to draw.
        share: share of these rows that are in the poisoned training set.
        trained: size of that set, whose rows are `training_rows(total, trained, seed)`.

    Raises:
        UserError: the poisoned set, or the rest of the split, has too few rows.
    """
    shared = round(share * rows)
    inside, outside = np.split(permutation(total, seed, ROWS), [trained])
    if shared > len(inside) or rows - shared > len(outside):
        raise UserError(
            f"overlap: {share:g} of {rows} rows cannot come from the {trained} rows of the "
            f"poisoned set (poison.rows) and the others from the pretrain split's remaining "
            f"{total - trained}; take fewer rows"
        )
    # The stream ROWS also decides which rows of the set are poisoned.
    chosen = inside[permutation(trained, seed, SHARED)[:shared]]
    return np.sort(np.append(chosen, outside[: rows - shared]))


def taken(pairs: Pairs, stage: Mapping[str, Any]) -> Pairs:
    """Select the rows that a stage's config asks for: by `overlap`, by `rows`, or all rows."""
    if "overlap" in stage:
        return pairs.take(overlapping_rows(len(pairs), **stage["overlap"]))
    if "rows" in stage:
        return pairs.take(training_rows(len(pairs), stage["rows"], stage["seed"]))
    return pairs


@dataclass(frozen=True)
class Change:
    """A change that an attacker makes to some rows.

    Attributes:
        positions: (M,) int64 positions in the training set, sorted.
        captions: the M new captions.
        picture: function from images (B, 3, H, W) uint8 and ids (B,) to the new images; None keeps
            the pictures.
        name: name of the change in the manifest. The default is the attack's name, or "none" where
            the pictures stay.
    """

    positions: np.ndarray
    captions: Sequence[str]
    picture: Callable[[Tensor, np.ndarray], Tensor] | None
    name: str = ""


@dataclass(frozen=True)
class Pool:
    """The training set that an attacker chooses rows from.

    Attributes:
        captions: captions of all rows.
        target: name of the target class.
        templates: zero-shot templates with `{}` for the class.
        seed: seed of the run.
    """

    captions: Sequence[str]
    target: str
    templates: Sequence[str]
    seed: int

    @cached_property
    def named(self) -> np.ndarray:
        """Mask (N,) of the rows whose caption names the target."""
        return mentions(self.captions, self.target)

    @cached_property
    def natural(self) -> list[str]:
        """Captions that name the target."""
        return [self.captions[int(i)] for i in np.flatnonzero(self.named)]

    def unnamed(self, count: int, key: str = "poisoned", after: int = 0) -> np.ndarray:
        """Draw `count` positions whose caption does not name the target, sorted.

        Args:
            key: config key to name in the error message.
            after: number of drawn rows to skip because another change takes them.

        Raises:
            UserError: too few rows are left.
        """
        rows = np.flatnonzero(~self.named)
        drawn = rows[permutation(len(rows), self.seed, ROWS)][after : after + count]
        if len(drawn) < count:
            beside = f" after {after} others" if after else ""
            raise UserError(
                f"{key}: {count} rows{beside}, but only {len(rows)} of {len(self.captions)} "
                f"captions do not name {self.target!r}; lower it"
            )
        return np.sort(drawn)

    def poisoned(
        self, count: int, captions: str | Sequence[str] = "template"
    ) -> tuple[np.ndarray, list[str]]:
        """Choose positions to poison, and a caption of the target for each.

        Args:
            captions: "template" fills zero-shot templates with the target, "natural" takes captions
                of the training set that name the target, and a list gives the captions itself.

        Raises:
            UserError: too few captions do not name the target, or no caption can be made.
        """
        if count < 0:
            raise UserError(f"poisoned: the number of rows is {count}; give 0 or more")
        positions = self.unnamed(count)
        if not isinstance(captions, str):
            pool = list(captions)
        elif captions == "natural":
            pool = self.natural
            if not pool:
                raise UserError(
                    f"data.target: no caption of the training set names {self.target!r}; change it"
                )
        elif captions != "template":
            raise UserError(f"captions: {captions!r}; give 'template', 'natural' or a list")
        else:
            if not self.templates:
                raise UserError("zeroshot.templates: the list is empty; give at least one")
            if bad := [text for text in self.templates if "{}" not in text]:
                raise UserError(f"zeroshot.templates: {bad[0]!r} has no {{}} for the class; add it")
            pool = [template.format(self.target) for template in self.templates]
        # Whole passes over the pool, each in a new order, use every caption about equally often.
        passes = max(1, -(-count // len(pool)))
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

    In the manifest `row` is the row of the split, `id` the sample's id in its source, `trigger` the
    name of the change, and `picture` the hash of the picture before the change.

    Args:
        name: name of the attack.
        seed: seed of the run.

    Raises:
        UserError: the changes are not such as `Attack.poison` returns, two have a row in common,
            or a picture depends on more than its own row.
    """
    where = f"attack {name!r}"
    if not isinstance(changes, Sequence) or not changes:
        raise UserError(f"{where}: poison returns no list; return [Change(...)]")
    for change in changes:
        if not isinstance(change, Change):
            raise UserError(f"{where}: poison returns {change!r:.60}; return [Change(...)]")
        if np.asarray(change.positions).dtype == bool:
            raise UserError(f"{where}: positions are a mask; give np.flatnonzero(mask)")
        had, wanted = len(change.captions), len(change.positions)
        if had != wanted:
            raise UserError(f"{where}: a change of {wanted} rows has {had} captions; give each one")
        if wrong := [text for text in change.captions if not isinstance(text, str)]:
            raise UserError(f"{where}: {wrong[0]!r} is no caption; give a text")
    positions = np.concatenate([np.asarray(c.positions, np.int64) for c in changes])
    if not np.isin(positions, np.arange(len(pairs))).all():
        raise UserError(f"{where}: it changes a row that is not there; give 0 to {len(pairs) - 1}")
    if len(np.unique(positions)) < len(positions):
        raise UserError(f"{where}: it changes a row twice; change each row once")
    rows = pairs.rows[positions]
    captions = [text for change in changes for text in change.captions]
    part = max(1, PIXELS // pairs.size**2)
    with replacing(folder) as temporary:
        temporary.mkdir()
        done: list[str] = []
        shape = len(rows), *pairs.images.shape[1:]
        with array_file(temporary / "images.npy", np.uint8, shape) as file:
            for change in changes:
                kind = change.name or ("none" if change.picture is None else name)
                for start in range(0, len(change.positions), part):
                    chosen = change.positions[start : start + part]
                    images, _ = pairs.batch(chosen)
                    if change.picture is not None:
                        given, ids = images, pairs.ids[pairs.rows[chosen]]
                        images = change.picture(given, ids)
                        if (got := form(images)) != form(given):
                            text = f"return uint8 images of the shape {tuple(given.shape)}"
                            raise UserError(f"{where}: the pictures of a change are {got}; {text}")
                        alone = change.picture(given[-1:], ids[-1:])
                        if (alone.int() - images[-1:].int()).abs().max() > 1:  # more than rounding
                            text = "a second call gives another picture; draw from ids and seed"
                            raise UserError(f"{where}: {text} alone, and look at no other picture")
                    file.write(to_array(images).data)
                    done += [kind] * len(chosen)
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


def form(images: object) -> str:
    """Return the dtype and shape of images in words; the type of what is no tensor."""
    if not isinstance(images, Tensor):
        return type(images).__name__
    return f"{images.dtype} {tuple(images.shape)}"


def read_manifest(path: Path | str) -> tuple[np.ndarray, np.ndarray]:
    """Read the rows, (M,) int64, and the picture hashes, (M,) uint64, of a manifest.

    Raises:
        UserError: the file is missing or is no manifest.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            table = list(csv.DictReader(file))
        rows, pictures = ([int(entry[key]) for entry in table] for key in ("row", "picture"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the poison stage") from None
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{path}: not a manifest with {', '.join(COLUMNS)}; run the poison stage"
        ) from None
    return np.array(rows, np.int64), np.array(pictures, np.uint64)


def apply(pairs: Pairs, folder: Path | str) -> Pairs:
    """Replace rows of `pairs` by the poisoned rows in `folder`.

    Raises:
        UserError: files in `folder` are missing or do not fit together or to `pairs`.
    """
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
