"""Scores of one model: the JSON that tables and figures are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip import CLIP
from torch import Tensor

from taclean.attacks import Trigger
from taclean.clip.models import encode_images
from taclean.data.split import Pairs, to_array
from taclean.evaluation import retrieval
from taclean.evaluation.zeroshot import head, prompt_tokens, scores
from taclean.util.errors import UserError
from taclean.util.files import replacing

Counts = dict[str, dict[str, int]]  # metric -> hits, n


class Prompts:
    """The prompts of a set of classes, tokenised once for each prefix.

    Attributes:
        classes: in label order.
        target: label of the attacker's target.
    """

    def __init__(
        self, model_name: str, classes: Sequence[str], templates: Sequence[str], target: str
    ) -> None:
        if target not in classes:
            raise UserError(f"target {target!r} is no class; give one of the classes")
        self.classes, self.target = list(classes), list(classes).index(target)
        self._model_name, self._templates = model_name, templates
        self._tokens: dict[str, Tensor] = {}

    @classmethod
    def of(cls, model_name: str, zeroshot: Mapping[str, Any]) -> Prompts:
        """Those of a stage's `zeroshot`."""
        return cls(model_name, zeroshot["classes"], zeroshot["templates"], zeroshot["target"])

    def tokens(self, prefix: str = "") -> Tensor:
        """(C, T, 77) int64 of every class in every template, each after `prefix`."""
        if prefix not in self._tokens:
            self._tokens[prefix] = prompt_tokens(
                self._model_name, self.classes, self._templates, prefix
            )
        return self._tokens[prefix]

    def name_classes_of(self, pairs: Pairs) -> bool:
        """Whether the split is labelled with these classes."""
        return not pairs.retrieval and pairs.classes in (None, self.classes)

    def for_classes(self, classes: Sequence[str]) -> Prompts:
        """The same templates for other classes; without the target, the first one stands for it."""
        name = self.classes[self.target]
        target = name if name in classes else classes[0]
        return Prompts(self._model_name, classes, self._templates, target)

    def heads(self, model: CLIP) -> Heads:
        """The heads of a model, for as long as its weights stay."""
        return Heads(model, self)


class Heads:
    """Zero-shot heads of one model, each made once."""

    def __init__(self, model: CLIP, prompts: Prompts) -> None:
        self.prompts, self._model = prompts, model
        self._made: dict[str, Tensor] = {}

    def __getitem__(self, prefix: str) -> Tensor:
        """The head (C, d) whose prompts all stand after `prefix`."""
        if prefix not in self._made:
            self._made[prefix] = head(self._model, self.prompts.tokens(prefix))
        return self._made[prefix]

    def of_triggers(
        self, triggers: Mapping[str, Trigger | Kept]
    ) -> dict[str, tuple[Trigger | Kept, Tensor]]:
        """Each trigger with the head that its attack's prefix wants."""
        return {name: (trigger, self[trigger.prefix]) for name, trigger in triggers.items()}


class Kept:
    """A trigger that keeps the pictures it made, for one split that is scored again and again."""

    def __init__(self, trigger: Trigger) -> None:
        self._trigger, self.prefix = trigger, trigger.prefix
        self._made: dict[bytes, Tensor] = {}

    def __call__(self, images: Tensor, ids: np.ndarray) -> Tensor:
        """What the trigger makes of the rows `ids`, whose images are the same each time."""
        key = ids.tobytes()
        if key not in self._made:
            self._made[key] = self._trigger(images, ids)
        return self._made[key]


def score(
    model: CLIP,
    pairs: Pairs,
    heads: Heads,
    triggers: Mapping[str, Trigger | Kept],
    precision: str = "auto",
) -> dict[str, Counts]:
    """`zeroshot.scores` of a split, or recall where its images have several captions.

    A split with classes of its own gets heads of those. Where the target is none of them, it has
    clean accuracy only.
    """
    if pairs.retrieval:
        return {"clean": retrieval.scores(model, pairs.folder, precision=precision)}
    prompts = heads.prompts
    if not prompts.name_classes_of(pairs):
        others = prompts.for_classes(pairs.classes or [])
        if others.classes[others.target] != prompts.classes[prompts.target]:
            triggers = {}
        heads = others.heads(model)
    target, bound = heads.prompts.target, heads.of_triggers(triggers)
    return scores(model, pairs, heads[""], target, bound, precision=precision)


def by_split(counts: Mapping[str, Mapping[str, Counts]], attack_name: str) -> dict[str, Counts]:
    """Name the scores by split.

    The attack's own ASR and TA join its split; those of other triggers, put on a model that was
    not poisoned with them, are under "SPLIT+TRIGGER".
    """
    out: dict[str, Counts] = {}
    for split, parts in counts.items():
        out[split] = dict(parts["clean"])
        for name, found in parts.items():
            if name == attack_name:
                out[split] |= found
            elif name != "clean":
                out[f"{split}+{name}"] = dict(found)
    return out


@torch.no_grad()
def write_samples(
    path: Path | str,
    model: CLIP,
    heads: Heads,
    pairs: Pairs,
    triggers: Mapping[str, Trigger],
    count: int,
    images_too: bool,
) -> None:
    """Keep embeddings and predictions of the first `count` images that do not show the target.

    Uses the first trigger; where there is none, the pictures stay as they are. Keys of the .npz:
    rows, labels, clean and triggered (n, d) embeddings, clean_top and triggered_top predictions,
    classes, target; with `images_too` also images and triggered_images (n, H, W, 3) uint8.
    """
    model.eval()
    prompts = heads.prompts
    index = np.flatnonzero(pairs.labels[pairs.rows] != prompts.target)[:count]
    images, _ = pairs.batch(index)
    rows = pairs.rows[index]
    triggered, triggered_head = images, heads[""].cpu()
    for trigger, own_head in list(heads.of_triggers(triggers).values())[:1]:
        triggered, triggered_head = trigger(images, pairs.ids[rows]), own_head.cpu()
    clean_head = heads[""].cpu()
    parts = [
        torch.cat([encode_images(model, part) for part in both.split(250)]).cpu()
        for both in (images, triggered)
    ]
    values: dict[str, Any] = {
        "rows": rows,
        "labels": pairs.labels[rows],
        "clean": parts[0].numpy(),
        "triggered": parts[1].numpy(),
        "clean_top": (parts[0] @ clean_head.T).argmax(1).numpy(),
        "triggered_top": (parts[1] @ triggered_head.T).argmax(1).numpy(),
        "classes": np.array(prompts.classes),
        "target": prompts.target,
    }
    if images_too:
        values |= {"images": to_array(images), "triggered_images": to_array(triggered)}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **values)
