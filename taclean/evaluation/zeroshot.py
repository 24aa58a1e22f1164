"""Zero-shot classification: the head and the scores, in the one definition used everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from open_clip import CLIP
from torch import Tensor

from taclean.attacks import check_images
from taclean.clip.models import autocast, device_of, encode_images, encode_tokens, tokenize
from taclean.data.split import Pairs
from taclean.util.errors import UserError

KS = (1, 3, 5, 10)


def prompt_tokens(
    name: str, classes: Sequence[str], templates: Sequence[str], prefix: str = ""
) -> Tensor:
    """Tokens (C, T, 77) int64 of every class in every template, each after `prefix`."""
    texts = [prefix + template.format(c) for c in classes for template in templates]
    tokens = torch.from_numpy(tokenize(name, texts).astype(np.int64))
    return tokens.view(len(classes), len(templates), -1)


@torch.no_grad()
def head(model: CLIP, tokens: Tensor, batch: int = 512) -> Tensor:
    """Zero-shot head (C, d): each prompt normalised, mean over the templates, normalised again."""
    classes, templates, length = tokens.shape
    flat = tokens.view(-1, length)
    # Prompts of like length together: rows are cut to the longest of their batch (ImageNet: from 15
    # tokens to 10). A single batch gains nothing.
    order = torch.arange(len(flat), device=flat.device)
    if len(flat) > batch:
        order = flat.argmax(-1).argsort(stable=True)
    parts = [encode_tokens(model, flat[part]) for part in order.split(batch)]
    embedded = torch.cat(parts)[order.argsort()]
    mean = embedded.view(classes, templates, -1).mean(1)
    return torch.nn.functional.normalize(mean, dim=-1)


def rank_of(logits: Tensor, classes: Tensor) -> Tensor:
    """(B,) the number of classes with a higher score than `classes` (0: it is the top one).

    Of equal scores that of the lower class index counts as the higher one, so that a model which
    gives all classes the same score hits one class only, as argmax does.

    Raises:
        UserError: a class index outside the columns of `logits`.
    """
    count = logits.shape[1]
    if len(classes) and not (classes.min() >= 0 and classes.max() < count):
        raise UserError(f"labels: not all within 0 and {count - 1}; use a split with these classes")
    own = logits.gather(1, classes[:, None])
    index = torch.arange(count, device=logits.device)
    # Counted from below: a score that is no number is below nothing and above nothing.
    below = (logits < own) | ((logits == own) & (index > classes[:, None]))
    return count - 1 - below.sum(1)


@dataclass(frozen=True)
class Labelled:
    """Labelled images in memory: (N, 3, H, W) uint8 or float in [0, 1], (N,) class indices."""

    images: Tensor
    labels: Tensor

    def labelled(self, batch: int) -> Iterator[tuple[Tensor, Tensor, np.ndarray]]:
        """Yield (images, labels, ids) in batches; the ids count from 0."""
        if len(self.images) != len(self.labels):
            raise UserError(f"{len(self.images)} images but {len(self.labels)} labels")
        if self.labels.is_floating_point():
            raise UserError(f"labels: dtype {self.labels.dtype}, give whole numbers")
        for start in range(0, len(self.labels), batch):
            part = slice(start, start + batch)
            ids = np.arange(len(self.labels))[part]
            yield self.images[part], self.labels[part], ids


@torch.no_grad()
def embedded(
    model: CLIP,
    pairs: Pairs | Labelled,
    target: int,
    triggers: Mapping[str, Callable[[Tensor, np.ndarray], Tensor]],
    batch: int = 250,
    precision: str = "auto",
) -> Iterator[tuple[list[Tensor], Tensor, Tensor]]:
    """Embed a split's images, and those that do not show the target with each trigger on.

    Clean and triggered images go through the model in one pass.

    Yields:
        For a batch of B images, M of which do not show the target: unit-norm embeddings on the
        model's device, (B, d) and, of each trigger, (M, d); labels (B,) and the mask (B,) of the M.

    Raises:
        UserError: images that are neither uint8 nor floats in [0, 1].
    """
    model.eval()
    device = device_of(model)
    for images, labels, ids in pairs.labelled(batch):
        check_images(images)
        images, other = images.to(device, non_blocking=True), labels.cpu() != target
        keep = other.numpy()
        inputs = [images, *(trigger(images[other], ids[keep]) for trigger in triggers.values())]
        with autocast(device, precision):
            found = encode_images(model, torch.cat(inputs))
        yield list(found.split([len(part) for part in inputs])), labels, other


@torch.no_grad()
def scores(
    model: CLIP,
    pairs: Pairs | Labelled,
    clean_head: Tensor,
    target: int,
    triggers: Mapping[str, tuple[Callable[[Tensor, np.ndarray], Tensor], Tensor]],
    ks: Sequence[int] = KS,
    batch: int = 250,
    precision: str = "auto",
) -> dict[str, dict[str, dict[str, int]]]:
    """Count CA, ASR and TA, in one pass over the images.

    Args:
        pairs: a packed split with labels, or labelled images in memory.
        triggers: name -> (trigger on (B, 3, H, W) uint8 and scene ids, head of its prompts).

    Returns:
        {"clean": {"CA@k": {hits, n}}, name: {"ASR@k": ..., "TA@k": ...}}. ASR and TA are over the
        images whose class is not the target. Of `ks`, those below the number of classes: among as
        many, every class is in the top k.

    Raises:
        UserError: there are triggers, and every image shows the target; images that are neither
            uint8 nor floats in [0, 1].
    """
    ks = [k for k in ks if k < len(clean_head)]
    hits: dict[str, dict[str, int]] = {}
    total = others = 0
    on = {name: trigger for name, (trigger, _) in triggers.items()}
    for (clean, *triggered), labels, other in embedded(model, pairs, target, on, batch, precision):
        total, others = total + len(labels), others + int(other.sum())
        others_labels = labels[other].to(clean.device)
        ranks = {("clean", "CA"): rank_of(clean @ clean_head.T, labels.to(clean.device))}
        for (name, (_, own_head)), part in zip(triggers.items(), triggered, strict=True):
            logits = part @ own_head.T
            ranks[name, "ASR"] = rank_of(logits, torch.full_like(others_labels, target))
            ranks[name, "TA"] = rank_of(logits, others_labels)
        for (name, metric), rank in ranks.items():
            for k in ks:
                found = hits.setdefault(name, {})
                found[f"{metric}@{k}"] = found.get(f"{metric}@{k}", 0) + int((rank < k).sum())
    if triggers and not others:
        raise UserError(
            f"ASR: each of the {total} images shows the target; score a split with other classes"
        )
    return {
        name: {m: {"hits": h, "n": total if name == "clean" else others} for m, h in found.items()}
        for name, found in hits.items()
    }
