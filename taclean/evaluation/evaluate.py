"""Scores of one model: the JSON that tables and figures are made from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from taclean.attacks import Trigger
from taclean.data.split import Pairs, to_array
from taclean.evaluation import zeroshot
from taclean.evaluation.embeddings import ByName, Counts, Embeddings, Labelled, embed, embed_texts
from taclean.evaluation.retrieval import recall, target_recall, texts_of
from taclean.evaluation.zeroshot import Heads
from taclean.util.errors import UserError
from taclean.util.files import replacing

# CLIP's example of a linear probe has C = 0.316 on features of a length of about 10.
C = 30.0


def probe(learned: Embeddings, scored: Embeddings) -> ByName:
    """Fit a linear classifier to clean features and score it: LCA@1, and LASR@1 of each trigger.

    It says what the features tell, whatever the zero-shot head says: those of triggered pictures
    may still lie with the target's after a defence. `learned` is a split that is not scored; every
    class should be in it.
    """
    from sklearn.linear_model import LogisticRegression

    known = learned.labels.unique()
    if len(known) < 2 or scored.target not in known:
        text = f"its pictures show {len(known)} classes"
        raise UserError(f"evaluate.probe: {text}; give a split with several, the target among them")
    classifier = LogisticRegression(C=C, max_iter=1000)
    classifier.fit(learned.clean.cpu().numpy(), learned.labels.numpy())

    def hits(images: Tensor, wanted: np.ndarray | int | None) -> dict[str, int]:
        found = classifier.predict(images.cpu().numpy()) if len(images) else np.empty(0)
        return {"hits": int((found == wanted).sum()), "n": len(images)}

    clean = {"LCA@1": hits(scored.clean, scored.labels.numpy())}
    triggered = {name: {"LASR@1": hits(x, scored.target)} for name, x in scored.triggered.items()}
    return {"clean": clean, **triggered}


def score(
    pairs: Pairs,
    heads: Heads,
    triggers: Mapping[str, Trigger],
    precision: str = "auto",
    *,
    learned: Pairs | None = None,
    captions: bool = False,
) -> ByName:
    """Score a split in one pass: CA, ASR and TA, or recall where its images have captions only.

    A split with classes of its own gets heads of those; without the target among them, it has
    clean accuracy only.

    Args:
        heads: of the model, for the run's classes.
        learned: a split that a linear probe learns from, for LCA and LASR.
        captions: also count recall among the split's captions, and TCR. TCR takes the triggered
            pictures alone: a trigger's prefix for the prompts plays no part in it.
    """
    model, prompts = heads.model, heads.prompts
    if pairs.retrieval:
        images, (tokens, owners) = embed(model, pairs, precision=precision), texts_of(pairs)
        texts = embed_texts(model, tokens, precision=precision)
        return {"clean": recall(images.clean, texts, owners)}
    if not prompts.name_classes_of(pairs):
        own = prompts.for_classes(pairs.classes or [])
        if own.classes[own.target] != prompts.classes[prompts.target]:
            triggers = {}
        heads, prompts = own.heads(model), own
    images = embed(model, pairs, triggers, prompts.target, precision=precision)
    if not images.clean.isfinite().all():
        raise UserError(f"{pairs.folder}: an embedding is not finite; the weights are damaged")
    own_heads = {name: heads[trigger.prefix] for name, trigger in triggers.items()}
    parts = [zeroshot.scores(images, heads[""], own_heads)]
    if learned:
        if not prompts.name_classes_of(learned):
            text = f"{learned.folder} has other classes than {pairs.folder}"
            raise UserError(f"evaluate.probe: {text}; give a split with the same")
        parts.append(probe(embed(model, learned, precision=precision), images))
    if captions:
        texts = embed_texts(model, pairs.tokens[pairs.rows], precision=precision)
        target = prompts.classes[prompts.target]
        parts.append({"clean": recall(images.clean, texts, torch.arange(len(pairs)))})
        parts.append(target_recall(images, texts, pairs.captions(), target))
    found: ByName = {}
    for part in parts:
        for name, counts in part.items():
            found.setdefault(name, {}).update(counts)
    return found


def by_split(counts: Mapping[str, ByName], attack_name: str) -> dict[str, Counts]:
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


def write_samples(
    path: Path | str,
    pairs: Pairs,
    heads: Heads,
    triggers: Mapping[str, Trigger],
    count: int,
    images_too: bool,
) -> None:
    """Write embeddings and predictions of the first `count` images that do not show the target.

    They are computed in fp32, on these few images, whatever the precision of the scores. Uses the
    first trigger; where there is no trigger, the pictures stay as they are. Keys of the .npz: rows,
    labels, clean and triggered (n, d) embeddings, clean_top and triggered_top predictions, classes,
    target; with `images_too` also images and triggered_images (n, H, W, 3) uint8.
    """
    prompts = heads.prompts
    index = np.flatnonzero(pairs.labels[pairs.rows] != prompts.target)[:count]
    rows, (images, _) = pairs.rows[index], pairs.batch(index)
    labels = torch.from_numpy(pairs.labels[rows])
    triggered, prefix = images, ""
    for trigger in list(triggers.values())[:1]:
        triggered, prefix = trigger(images, pairs.ids[rows]), trigger.prefix
    values: dict[str, Any] = {"rows": rows, "labels": labels}
    for name, shown in (("clean", images), ("triggered", triggered)):
        values[name] = embed(heads.model, Labelled(shown, labels), precision="fp32").clean.cpu()
    for name, before in (("clean", ""), ("triggered", prefix)):
        values[f"{name}_top"] = (values[name] @ heads[before].cpu().T).argmax(1)
    values |= {"classes": np.array(prompts.classes), "target": prompts.target}
    if images_too:
        values |= {"images": to_array(images), "triggered_images": to_array(triggered)}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **values)
