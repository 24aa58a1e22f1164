"""Scores of one model: the JSON that tables and figures are made from."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip import CLIP
from torch import Tensor

from taclean import retrieval
from taclean.attacks import Trigger, attack
from taclean.data.packed import Pairs, to_array
from taclean.errors import UserError
from taclean.files import replacing
from taclean.models import encode_images
from taclean.zeroshot import head, prompt_tokens, scores


class Heads:
    """Zero-shot heads of one model's prompts: tokens once, one head per prompt prefix."""

    def __init__(self, name: str, zeroshot: Mapping[str, Any]) -> None:
        if zeroshot["target"] not in zeroshot["classes"]:
            raise UserError(f"target {zeroshot['target']!r} is no class; give one of the classes")
        self.target = zeroshot["classes"].index(zeroshot["target"])
        self._name, self._zeroshot = name, zeroshot
        self._tokens: dict[str, Tensor] = {}
        self._model: CLIP | None = None
        self._made: dict[str, Tensor] = {}

    def kept(self, model: CLIP) -> Heads:
        """These heads, each of `model` made only once: for as long as its weights stay."""
        if self._model is model:
            return self
        heads = copy.copy(self)
        heads._model, heads._made = model, {}
        return heads

    def of(self, model: CLIP, prefix: str = "") -> Tensor:
        """The head (C, d) of `model` as it is now, every prompt after `prefix`."""
        if self._model is model:
            if prefix not in self._made:
                self._made[prefix] = self._make(model, prefix)
            return self._made[prefix]
        return self._make(model, prefix)

    def _make(self, model: CLIP, prefix: str) -> Tensor:
        if prefix not in self._tokens:
            self._tokens[prefix] = prompt_tokens(
                self._name, self._zeroshot["classes"], self._zeroshot["templates"], prefix
            )
        return head(model, self._tokens[prefix])

    def for_triggers(
        self, model: CLIP, triggers: Mapping[str, Trigger]
    ) -> dict[str, tuple[Trigger, Tensor]]:
        """Each trigger with the head of the prompts that its attack wants."""
        heads = {prefix: self.of(model, prefix) for prefix in {attack(t).PREFIX for t in triggers}}
        return {name: (trigger, heads[attack(name).PREFIX]) for name, trigger in triggers.items()}

    def fit(self, pairs: Pairs) -> bool:
        """Whether the split is labelled with the classes of these heads."""
        return not pairs.retrieval and pairs.classes in (None, self._zeroshot["classes"])

    def scores(
        self, model: CLIP, pairs: Pairs, triggers: Mapping[str, Trigger]
    ) -> dict[str, dict[str, dict[str, int]]]:
        """`zeroshot.scores` with this model's heads, or recall where images have several captions.

        A split with classes of its own gets a head of those. Where the target is none of them, it
        has clean accuracy only.
        """
        if pairs.retrieval:
            return {"clean": retrieval.scores(model, pairs.folder)}
        classes, target = pairs.classes, self._zeroshot["target"]
        if classes is not None and not self.fit(pairs):
            if target not in classes:
                target, triggers = classes[0], {}
            own = Heads(self._name, {**self._zeroshot, "classes": classes, "target": target})
        else:
            own = self
        own = own.kept(model)
        return scores(model, pairs, own.of(model), own.target, own.for_triggers(model, triggers))


def by_split(
    counts: dict[str, dict[str, dict[str, dict[str, int]]]], attack_name: str
) -> dict[str, dict[str, dict[str, int]]]:
    """Name the scores by split.

    The attack's own ASR and TA join its split; those of other triggers, put on a model that was
    not poisoned with them, are under "SPLIT+TRIGGER".
    """
    out: dict[str, dict[str, dict[str, int]]] = {}
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
    classes: list[str],
    count: int,
    images_too: bool,
) -> None:
    """Keep embeddings and predictions of the first `count` images that do not show the target.

    Uses the first trigger. Keys of the .npz: rows, labels, clean and triggered (n, d) embeddings,
    clean_top and triggered_top predictions, classes, target; with `images_too` also images and
    triggered_images (n, H, W, 3) uint8.
    """
    if not triggers:
        raise UserError("samples: no trigger to put on the images; name at least one attack")
    model.eval()
    heads = heads.kept(model)
    index = np.flatnonzero(pairs.labels[pairs.rows] != heads.target)[:count]
    images, _ = pairs.batch(index)
    rows = pairs.rows[index]
    (trigger, triggered_head), *_ = heads.for_triggers(model, triggers).values()
    triggered_head = triggered_head.cpu()
    triggered = trigger(images, pairs.ids[rows])
    clean_head = heads.of(model).cpu()
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
        "classes": np.array(classes),
        "target": heads.target,
    }
    if images_too:
        values |= {"images": to_array(images), "triggered_images": to_array(triggered)}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **values)
