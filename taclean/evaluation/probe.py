"""Further scores of a model: what a linear probe sees in its features, and what its captions say.

A backdoor need not end where the zero-shot head does: features of triggered pictures may still lie
with the target's, and a triggered query may still bring up the target's captions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from open_clip import CLIP
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from taclean.attacks import Trigger
from taclean.attacks.poison import mentions
from taclean.data.split import Pairs
from taclean.evaluation.evaluate import Counts, Prompts
from taclean.evaluation.retrieval import KS, embed_texts, recall
from taclean.evaluation.zeroshot import embedded
from taclean.util.errors import UserError

ByName = dict[str, Counts]  # "clean" or a trigger -> its scores
# CLIP's example of a linear probe has C = 0.316 on features of a length of about 10.
C = 30.0


@dataclass(frozen=True)
class Features:
    """A split's unit-norm image embeddings, float32 in host memory.

    Attributes:
        images: (N, d) as they are; labels: (N,).
        triggered: of each trigger (M, d), of the images that do not show the target; `others` is
            the mask (N,) of these.
    """

    images: Tensor
    labels: Tensor
    others: Tensor
    triggered: dict[str, Tensor]


@torch.no_grad()
def features(
    model: CLIP,
    pairs: Pairs,
    target: int,
    triggers: Mapping[str, Trigger],
    batch: int = 250,
    precision: str = "auto",
) -> Features:
    """Embed a split's images, and those that do not show the target with each trigger on."""
    parts: dict[str, list[Tensor]] = {"": [], **{name: [] for name in triggers}}
    labels = []
    for batches, label, _ in embedded(model, pairs, target, triggers, batch, precision):
        for found, part in zip(parts.values(), batches, strict=True):
            found.append(part.float().cpu())
        labels.append(label)
    images, *triggered = (torch.cat(part) for part in parts.values())
    every = torch.cat(labels)
    return Features(images, every, every != target, dict(zip(triggers, triggered, strict=True)))


def probe(learned: Features, scored: Features, target: int) -> ByName:
    """Fit a linear classifier to clean features and score it: LCA@1, and LASR@1 of each trigger.

    Args:
        learned: of a split that is not scored; every class should be in it.
        target: the attacker's class.

    Raises:
        UserError: fewer than two classes to learn, or the target is none of them.
    """
    known = learned.labels.unique()
    if len(known) < 2 or target not in known:
        raise UserError(
            f"evaluate.probe: its pictures show {len(known)} classes; give a split with several, "
            "the target among them"
        )
    classifier = LogisticRegression(C=C, max_iter=1000)
    classifier.fit(learned.images.numpy(), learned.labels.numpy())

    def hits(images: Tensor, wanted: Tensor | int) -> dict[str, int]:
        found = classifier.predict(images.numpy()) if len(images) else np.empty(0, np.int64)
        return {"hits": int((torch.from_numpy(found) == wanted).sum()), "n": len(images)}

    clean = {"LCA@1": hits(scored.images, scored.labels)}
    return {"clean": clean} | {
        name: {"LASR@1": hits(images, target)} for name, images in scored.triggered.items()
    }


@torch.no_grad()
def captions(
    model: CLIP,
    pairs: Pairs,
    scored: Features,
    target: str,
    ks: Sequence[int] = KS,
    batch: int = 500,
    precision: str = "auto",
) -> ByName:
    """Recall among the split's own captions, and TCR@k of each trigger.

    TCR@k is the share of the triggered images with a caption that names the target among their k
    best. As in `retrieval.recall`, what scores the same counts as better.

    Raises:
        UserError: no caption names the target.
    """
    named = torch.from_numpy(mentions(pairs.captions(), target))
    if not named.any():
        raise UserError(f"evaluate.captions: no caption of {pairs.folder} names {target!r}")
    texts = embed_texts(model, pairs.tokens[pairs.rows], batch, precision).cpu()
    out: ByName = {"clean": recall(scored.images, texts, torch.arange(len(pairs)), ks)}
    for name, images in scored.triggered.items():
        found = dict.fromkeys(ks, 0)
        for part in images.split(batch):
            similar = part @ texts.T
            best = similar[:, named].amax(1, keepdim=True)
            others = similar[:, ~named]
            better = others.shape[1] - (others < best).sum(1)
            for k in ks:
                found[k] += int((better < k).sum())
        out[name] = {f"TCR@{k}": {"hits": found[k], "n": len(images)} for k in ks}
    return out


def score(
    model: CLIP,
    pairs: Pairs,
    prompts: Prompts,
    triggers: Mapping[str, Trigger],
    learned: Pairs | None,
    told: bool,
    precision: str = "auto",
) -> ByName:
    """Score a split by a linear probe on `learned`, if there is one, and by captions if `told`.

    Of a trigger with a key for the prompts, too, only what it does to the picture counts.
    """
    scored = features(model, pairs, prompts.target, triggers, precision=precision)
    found: ByName = {}
    if learned:
        known = features(model, learned, prompts.target, {}, precision=precision)
        found = merged(found, probe(known, scored, prompts.target))
    if told:
        name = prompts.classes[prompts.target]
        found = merged(found, captions(model, pairs, scored, name, precision=precision))
    return found


def merged(counts: ByName, more: ByName) -> ByName:
    """The scores of both, by name."""
    return {name: {**counts.get(name, {}), **more.get(name, {})} for name in {**counts, **more}}
