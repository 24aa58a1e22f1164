"""What triggers and patterns do to the predictions of one model, class by class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from open_clip import CLIP
from torch import Tensor

from taclean.clip.models import autocast, device_of, encode_images
from taclean.data.images import png
from taclean.data.split import Pairs, to_array
from taclean.evaluation.evaluate import Heads
from taclean.util.errors import UserError

# Images (B, 3, H, W) uint8 and ids to images; the words before the prompts; the target.
View = tuple[Callable[[Tensor, np.ndarray], Tensor], str, int]


@torch.no_grad()
def predictions(
    model: CLIP,
    pairs: Pairs,
    heads: Heads,
    views: Mapping[str, View],
    precision: str = "auto",
    batch: int = 250,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(N,) labels and, for "clean" and each view, (N,) predicted classes."""
    model.eval()
    device = device_of(model)
    labels: list[Tensor] = []
    found: dict[str, list[Tensor]] = {name: [] for name in ("clean", *views)}
    for images, own, ids in pairs.labelled(batch):
        labels.append(own)
        shown = {
            "clean": (images, ""),
            **{n: (put(images, ids), p) for n, (put, p, _) in views.items()},
        }
        for name, (pixels, prefix) in shown.items():
            with autocast(device, precision):
                embedded = encode_images(model, pixels)
            found[name].append((embedded @ heads[prefix].T).argmax(1).cpu())
    return torch.cat(labels).numpy(), {name: torch.cat(x).numpy() for name, x in found.items()}


def moves(
    model: CLIP,
    pairs: Pairs,
    heads: Heads,
    views: Mapping[str, View],
    precision: str = "auto",
) -> dict[str, Any]:
    """Count what the clean pictures and each view of them are taken for.

    Returns:
        For JSON: "classes", and of each its pictures "n" and those told right "hits"; "views", each
        with its "target" and, of the `n` pictures of other classes, how many go to it "clean" and
        "triggered", how many "own" stay with their class, and the class that "gains" most pictures
        by it, with their number.

    Raises:
        UserError: the split has other classes than the heads.
    """
    classes = heads.prompts.classes
    if not heads.prompts.name_classes_of(pairs):
        raise UserError(f"{pairs.folder}: has other classes than the run; give its test split")
    labels, found = predictions(model, pairs, heads, views, precision)
    count, clean = len(classes), found["clean"]
    told = {}
    for name, (_, _, target) in views.items():
        other, seen = labels != target, found[name]
        gained = np.bincount(seen, minlength=count) - np.bincount(clean, minlength=count)
        told[name] = {
            "target": classes[target],
            "n": int(other.sum()),
            "clean": int((clean[other] == target).sum()),
            "triggered": int((seen[other] == target).sum()),
            "own": int((seen[other] == labels[other]).sum()),
            "gains": [classes[int(gained.argmax())], int(gained.max())],
        }
    return {
        "classes": classes,
        "n": np.bincount(labels, minlength=count).tolist(),
        "hits": np.bincount(labels[clean == labels], minlength=count).tolist(),
        "views": told,
    }


def examples(pairs: Pairs, views: Mapping[str, View]) -> dict[str, str]:
    """The first picture, clean and in each view, as PNG in a data URI."""
    images, ids = pairs.batch(np.arange(1))[0], pairs.ids[pairs.rows[:1]]
    shown = {"clean": images, **{name: put(images, ids) for name, (put, _, _) in views.items()}}
    return {name: png(to_array(image)[0]) for name, image in shown.items()}
