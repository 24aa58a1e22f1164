"""The effect of triggers and patterns on one model's predictions, class by class."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from taclean.data.images import png
from taclean.data.split import Pairs, to_array
from taclean.evaluation.embeddings import Put, embed
from taclean.evaluation.zeroshot import CHUNK, Heads
from taclean.util.errors import UserError

# What puts the trigger or pattern on; the words before the prompts; the target's label.
View = tuple[Put, str, int]


def moves(pairs: Pairs, heads: Heads, views: Mapping[str, View], precision: str) -> dict[str, Any]:
    """Count what the clean pictures and each view of them are taken for.

    Returns:
        For JSON: "classes"; for each class, its number of pictures "n" and of right predictions
        "hits"; "views", each with its "target" and the number "n" of pictures of other classes; how
        many of them are taken for the target, "clean" and "triggered"; how many views are taken for
        their "own" class; and the class that "gains" most pictures by the view, with their number.
    """
    classes, count = heads.prompts.classes, len(heads.prompts.classes)
    if not heads.prompts.name_classes_of(pairs):
        raise UserError(f"{pairs.folder}: has other classes than the run; give its test split")
    puts = {name: put for name, (put, _, _) in views.items()}
    # Views go on all pictures, and there may be many: fewer pictures in a pass.
    batch = max(1, 1000 // (1 + len(views)))
    images = embed(heads.model, pairs, puts, batch=batch, precision=precision)

    def top(embedded: Tensor, head: Tensor) -> np.ndarray:
        parts = [(part @ head.T).argmax(1).cpu().numpy() for part in embedded.split(CHUNK)]
        return np.concatenate(parts)

    labels, clean = images.labels.numpy(), top(images.clean, heads[""])
    counts = {}
    for name, (_, prefix, target) in views.items():
        other, seen = labels != target, top(images.triggered[name], heads[prefix])
        if not other.any():
            text = f"each of the {len(labels)} images shows {classes[target]!r}, the target"
            raise UserError(f"{pairs.folder}: {text} of {name}; give a split with other classes")
        gained = np.bincount(seen, minlength=count) - np.bincount(clean, minlength=count)
        counts[name] = {
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
        "views": counts,
    }


def examples(pairs: Pairs, views: Mapping[str, View]) -> dict[str, str]:
    """Return the first picture, clean and in each view, as PNG in a data URI."""
    images, ids = pairs.batch(np.arange(1))[0], pairs.ids[pairs.rows[:1]]
    shown = {"clean": images, **{name: put(images, ids) for name, (put, _, _) in views.items()}}
    return {name: png(to_array(image)[0]) for name, image in shown.items()}
