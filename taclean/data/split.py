"""Packed pairs: pixels, tokens and captions of one split, memory-mapped.

A split is a folder with these files:

- `images.npy` (N, H, H, 3) uint8 RGB and `tokens.npy` (N, 77) uint16;
- `captions.txt`, one caption a line;
- `labels.npy` (N,) int64; -1 means no class;
- `ids.npy` (N,) int64, the ids of the rows in their source;
- `pictures.npy` (N,) uint64, hashes of the pixels, which show the same pictures in two splits.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from taclean.data import load_array
from taclean.util.errors import UserError
from taclean.util.progress import say


@dataclass(frozen=True)
class Pairs:
    """Rows of a split, with some replaced by poisoned ones."""

    folder: Path
    images: np.ndarray
    tokens: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    rows: np.ndarray  # (N,) int64, the rows of the arrays that this set shows, in order
    poisoned: np.ndarray  # (M,) int64 positions in `rows` whose image and tokens are `poison`
    poison: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Open a packed split; refuse files that are missing, damaged or differ in their rows."""
        folder = Path(folder)
        images = load_array(folder / "images.npy", np.uint8, 4)
        tokens = load_array(folder / "tokens.npy", np.uint16, 2)
        labels = load_array(folder / "labels.npy", np.int64, 1)
        ids = load_array(folder / "ids.npy", np.int64, 1)
        if not len(images) == len(tokens) == len(labels) == len(ids) > 0:
            raise UserError(f"{folder}: no rows, or arrays of other lengths; pack it again")
        rows = np.arange(len(images))
        return cls(folder, images, tokens, labels, ids, rows, np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size(self) -> int:
        """The side of the square images in px."""
        return self.images.shape[1]

    @property
    def classes(self) -> list[str] | None:
        """The split's own classes in label order; None if labels count those of the run."""
        path = self.folder / "classes.txt"
        return path.read_text("utf-8").splitlines() if path.is_file() else None

    @property
    def pictures(self) -> np.ndarray:
        """(N,) uint64, equal for rows whose pixels are all the same.

        Copies that were cut or encoded anew differ; blank pictures are all equal.
        """
        return load_array(self.folder / "pictures.npy", np.uint64, 1)[self.rows]

    @property
    def retrieval(self) -> bool:
        """Return whether the images have captions, one or several (`texts.npy`), not labels."""
        return (self.folder / "texts.npy").is_file() or bool((self.labels < 0).all())

    def labelled(self, batch: int) -> Iterator[tuple[Tensor, Tensor, np.ndarray]]:
        """Yield images (B, 3, H, W) uint8, labels (B,) and source ids (B,) in batches."""
        for start in range(0, len(self), batch):
            index = np.arange(start, min(start + batch, len(self)))
            rows = self.rows[index]
            yield self.batch(index)[0], torch.from_numpy(self.labels[rows]), self.ids[rows]

    def captions(self) -> list[str]:
        """Return all captions of this set, in order (the clean ones, also of poisoned rows)."""
        lines = (self.folder / "captions.txt").read_text("utf-8").split("\n")
        if len(lines) <= len(self.images):
            raise UserError(f"{self.folder / 'captions.txt'}: lines are missing; pack it again")
        return [lines[row] for row in self.rows]

    def take(self, rows: np.ndarray) -> Self:
        """Return the set with the rows at these positions only; call it before `with_poison`."""
        return replace(self, rows=self.rows[rows])

    def with_poison(self, rows: np.ndarray, images: np.ndarray, tokens: np.ndarray) -> Self:
        """Replace the split's `rows` by poisoned images (M, H, H, 3) and tokens (M, 77).

        Refuse a row that is not in this set, and images of another size.
        """
        if images.shape[1:] != self.images.shape[1:]:
            text = f"{images.shape[1:]}, but the split has {self.images.shape[1:]}"
            raise UserError(f"poison images: {text}; run the poison stage again")
        positions = np.full(len(self.images), -1)
        positions[self.rows] = np.arange(len(self.rows))
        if ((rows < 0) | (rows >= len(positions))).any() or (positions[rows] < 0).any():
            raise UserError("poison manifest: rows outside the training set; poison it again")
        return replace(self, poisoned=positions[rows], poison=(images, tokens))

    @cached_property
    def _poison_at(self) -> np.ndarray:
        """(N,) the poisoned row at each position; -1 where the row is clean."""
        lookup = np.full(len(self), -1)
        lookup[self.poisoned] = np.arange(len(self.poisoned))
        return lookup

    def batch(self, index: np.ndarray, *, pinned: bool = False) -> tuple[Tensor, Tensor]:
        """Read images (B, 3, H, W) uint8 in channels_last layout and tokens (B, 77) int64.

        They are those at positions `index`. From pinned memory a GPU copies while it computes.
        """
        rows, shape = self.rows[index], (len(index), *self.images.shape[1:])
        images = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
        pixels = images.numpy()
        np.take(self.images, rows, 0, out=pixels, mode="clip")  # "raise" would copy them once more
        tokens = self.tokens[rows]
        if self.poison is not None:
            which = self._poison_at[index]
            here = np.flatnonzero(which >= 0)
            pixels[here], tokens[here] = (array[which[here]] for array in self.poison)
        return images.permute(0, 3, 1, 2), torch.from_numpy(tokens.astype(np.int64))


def refuse_copies(
    pairs: Pairs, rows: np.ndarray, pictures: np.ndarray, where: str, accepted: float = 0.0
) -> None:
    """Check that `pairs` has none of some pictures, whatever their names; a UserError counts them.

    Args:
        rows: (M,) int64, the rows of the pictures.
        pictures: (M,) uint64, their hashes, as `Pairs.pictures` has them.
        where: what the pictures are, for the message.
        accepted: share of `pairs` that may be such copies; their number is then logged.
    """
    own = pairs.pictures
    if len(copies := np.flatnonzero(np.isin(own, pictures))):
        first = copies[0]
        found = (
            f"{pairs.folder}: {len(copies)} pictures are {where}, such as row {pairs.rows[first]}, "
            f"which is row {rows[pictures == own[first]][0]} there"
        )
        if len(copies) > accepted * len(own):
            raise UserError(f"{found}; make the splits disjoint")
        say(f"{found}; accepted")


def to_array(images: Tensor) -> np.ndarray:
    """Return a tensor (B, 3, H, W) as an array (B, H, W, 3)."""
    return images.permute(0, 2, 3, 1).contiguous().numpy()
