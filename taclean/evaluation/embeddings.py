"""One pass over a split: the embeddings that all scores are functions of."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from taclean.attacks import check_images
from taclean.clip import CLIP
from taclean.clip.encode import autocast, device_of, encode_images, encode_tokens
from taclean.data.split import Pairs
from taclean.util.errors import UserError

KS = (1, 3, 5, 10)
TOGETHER = 500  # rows that go through a tower together, so that no score needs more memory
Counts = dict[str, dict[str, int]]  # metric -> {"hits": h, "n": n}
ByName = dict[str, Counts]  # "clean" or a trigger -> its scores
# Puts a trigger on images (B, 3, H, W) uint8 whose rows have the ids (B,).
Put = Callable[[Tensor, np.ndarray], Tensor]


class Labelled(NamedTuple):
    """Labelled images in memory: (N, 3, H, W) uint8 or float in [0, 1], (N,) class indices."""

    images: Tensor
    labels: Tensor

    def labelled(self, batch: int) -> Iterator[tuple[Tensor, Tensor, np.ndarray]]:
        """Yield (images, labels, ids) in batches; the ids count from 0."""
        count = len(self.labels)
        if self.labels.is_floating_point() or len(self.images) != count:
            text = f"dtype {self.labels.dtype}, {count} for {len(self.images)} images"
            raise UserError(f"labels: {text}; give a whole number for each")
        parts = (part.split(batch) for part in (self.images, self.labels, torch.arange(count)))
        for images, labels, ids in zip(*parts, strict=True):
            yield images, labels, ids.numpy()


class Embeddings(NamedTuple):
    """A split as a model sees it; embeddings are float32 of unit norm on the model's device."""

    clean: Tensor  # (N, d) of the images as they are
    # For each trigger, (M, d) of the images of other classes than the target, with the trigger on.
    triggered: dict[str, Tensor]
    labels: Tensor  # (N,) class indices in host memory
    target: int | None  # the attacker's class; None: every image got the triggers


@torch.no_grad()
def embed(
    model: CLIP,
    pairs: Pairs | Labelled,
    triggers: Mapping[str, Put] | None = None,
    target: int | None = None,
    *,
    batch: int = 250,
    precision: str = "auto",
) -> Embeddings:
    """Embed a split's images, clean and with each trigger on, in one pass over the split.

    Memory for activations is that of 500 images at most, however many triggers there are.

    Args:
        triggers: go on the images whose class is not `target`.
        precision: a key of `taclean.clip.encode.PRECISIONS`, or "auto".
    """
    model.eval()
    device, on = device_of(model), triggers or {}
    found: list[list[Tensor]] = []
    labels = []
    for images, label, ids in pairs.labelled(batch):
        check_images(images)
        images, label = images.to(device, non_blocking=True), label.cpu()
        other = torch.ones_like(label, dtype=torch.bool) if target is None else label != target
        inputs = [images, *(put(images[other], ids[other.numpy()]) for put in on.values())]
        rows = torch.cat(inputs)  # like parts: a tail of a few rows may be summed in another order
        parts = rows.chunk(math.ceil(len(rows) / TOGETHER))
        with autocast(device, precision):
            embedded = torch.cat([encode_images(model, part) for part in parts])
        found.append(list(embedded.split([len(part) for part in inputs])))
        labels.append(label)
    clean, *triggered = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Embeddings(clean, dict(zip(on, triggered, strict=True)), torch.cat(labels), target)


@torch.no_grad()
def embed_texts(model: CLIP, tokens: np.ndarray, precision: str = "auto") -> Tensor:
    """Embed tokens (T, 77): (T, d) float32 of unit norm on the model's device."""
    model.eval()
    with autocast(device_of(model), precision):
        parts = [
            encode_tokens(model, torch.from_numpy(tokens[i : i + TOGETHER].astype(np.int64)))
            for i in range(0, len(tokens), TOGETHER)
        ]
    return torch.cat(parts).float()


def ranks(scores: Tensor, right: Tensor, *, first_wins: bool = False) -> Tensor:
    """Count the wrong columns that score at least as high as the best right one.

    Args:
        scores: (B, C).
        right: (B, C) bool, the columns that are an answer; at least one in each row.
        first_wins: of equal scores the column with the lower index is the higher one, as in
            argmax, so that equal scores hit one class only.

    Returns:
        (B,) int64 ranks; 0 is the top. A score that is not a number ranks last.
    """
    best = scores.masked_fill(~right, -torch.inf).amax(1, keepdim=True)
    # Columns below are counted, not columns above: a NaN is neither.
    below = scores < best
    if first_wins:
        index = torch.arange(scores.shape[1], device=scores.device)
        below |= (scores == best) & (index > right.int().argmax(1, keepdim=True))
    return (~right).sum(1) - (below & ~right).sum(1)


def ranks_among(
    queries: Tensor, keys: Tensor, wanted: Tensor, labels: Tensor, chunk: int, *, first_wins: bool
) -> Tensor:
    """Rank for each query the best key that has the wanted label, `chunk` queries at a time.

    Args:
        queries, keys: (N, d) and (K, d) embeddings of unit length.
        wanted, labels: (N,) what each query looks for, and (K,) what each key is.
        first_wins: see `ranks`.
    """
    parts = zip(queries.split(chunk), wanted.split(chunk), strict=True)
    found = [ranks(q @ keys.T, labels == o[:, None], first_wins=first_wins) for q, o in parts]
    return torch.cat(found)


def at_k(metric: str, found: Tensor, ks: Sequence[int]) -> Counts:
    """Count the ranks below each k: {"METRIC@k": {"hits": h, "n": n}}."""
    return {f"{metric}@{k}": {"hits": int((found < k).sum()), "n": len(found)} for k in ks}
