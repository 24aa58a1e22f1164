"""Zero-shot classification: prompts, heads and scores, in the one definition used everywhere."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from taclean.clip import CLIP
from taclean.clip.encode import encode_tokens
from taclean.clip.models import tokenize
from taclean.data.split import Pairs
from taclean.evaluation.embeddings import KS, ByName, Embeddings, at_k, ranks_among
from taclean.util.errors import UserError

CHUNK = 250  # images whose scores are ranked together


def prompt_tokens(
    name: str, classes: Sequence[str], templates: Sequence[str], prefix: str = ""
) -> Tensor:
    """Tokenise every class in every template, each after `prefix`: (C, T, 77) int64."""
    texts = [prefix + template.format(c) for c in classes for template in templates]
    tokens = torch.from_numpy(tokenize(name, texts).astype(np.int64))
    return tokens.view(len(classes), len(templates), -1)


@torch.no_grad()
def head(model: CLIP, tokens: Tensor, batch: int = 512) -> Tensor:
    """Make a zero-shot head (C, d): normalised prompts, their mean, normalised again."""
    classes, templates, length = tokens.shape
    flat = tokens.view(-1, length)
    # Prompts of similar length go together, because rows are cut to the longest of their batch:
    # ImageNet's fall from 15 tokens to 10. A single batch gains nothing.
    order = torch.arange(len(flat), device=flat.device)
    if len(flat) > batch:
        order = flat.argmax(-1).argsort(stable=True)
    embedded = torch.cat([encode_tokens(model, flat[part]) for part in order.split(batch)])
    mean = embedded[order.argsort()].view(classes, templates, -1).mean(1)
    return torch.nn.functional.normalize(mean, dim=-1)


class Prompts:
    """The prompts of `classes`, in label order; `target` is the label of the attacker's target."""

    def __init__(
        self, model_name: str, classes: Sequence[str], templates: Sequence[str], target: str
    ) -> None:
        if target not in classes:
            raise UserError(f"target {target!r} is no class; give one of the classes")
        self.classes, self.target = list(classes), list(classes).index(target)
        self._model_name, self._templates = model_name, templates
        self._tokens: dict[str, Tensor] = {}

    def tokens(self, prefix: str = "") -> Tensor:
        """Tokenise, once for each prefix: (C, T, 77) int64; a UserError says if names are cut."""
        if prefix not in self._tokens:
            name, classes = self._model_name, self.classes
            found = prompt_tokens(name, classes, self._templates, prefix)
            if len(found.unique(dim=0)) < len(prompt_tokens(name, classes, ["{}"]).unique(dim=0)):
                text = "they are too long and leave no room for the name of a class; shorten them"
                raise UserError(f"prompts, such as {prefix + self._templates[0]!r:.60}: {text}")
            self._tokens[prefix] = found
        return self._tokens[prefix]

    def name_classes_of(self, pairs: Pairs) -> bool:
        """Return whether the split is labelled with these classes."""
        return not pairs.retrieval and pairs.classes in (None, self.classes)

    def for_classes(self, classes: Sequence[str]) -> "Prompts":
        """Make prompts for other classes; a target that is not among them becomes the first one."""
        name = self.classes[self.target]
        target = name if name in classes else classes[0]
        return Prompts(self._model_name, classes, self._templates, target)

    def heads(self, model: CLIP) -> "Heads":
        """Return the heads of a model; they are valid as long as its weights stay."""
        return Heads(model, self)


class Heads(dict[str, Tensor]):
    """Zero-shot heads (C, d) of one model by the prefix of their prompts, each made once."""

    def __init__(self, model: CLIP, prompts: Prompts) -> None:
        self.prompts, self.model = prompts, model

    def __missing__(self, prefix: str) -> Tensor:
        self[prefix] = head(self.model, self.prompts.tokens(prefix))
        return self[prefix]


def class_ranks(embedded: Tensor, head: Tensor, labels: Tensor) -> Tensor:
    """Rank the class `labels` (N,) of each embedding (N, d) among the classes of a head (C, d).

    Return (N,) the number of classes with a higher score. Of equal scores the lower index wins.
    """
    count = len(head)
    if len(labels) and not (labels.min() >= 0 and labels.max() < count):
        raise UserError(f"labels: not all within 0 and {count - 1}; use a split with these classes")
    index, labels = torch.arange(count, device=head.device), labels.to(head.device)
    return ranks_among(embedded, head, labels, index, CHUNK, first_wins=True)


def scores(images: Embeddings, clean_head: Tensor, heads: Mapping[str, Tensor] = {}) -> ByName:
    """Count CA, ASR and TA.

    Args:
        clean_head: (C, d) head of the clean images.
        heads: for each trigger, the head of its prompts; by default `clean_head`.

    Returns:
        {"clean": {"CA@k": {"hits": h, "n": N}}, TRIGGER: {"ASR@k": ..., "TA@k": ...}}. ASR and TA
        are over the M images whose class is not the target. Each k is below C: among C classes
        every class is in the top C.
    """
    ks = [k for k in KS if k < len(clean_head)]
    found = {"clean": at_k("CA", class_ranks(images.clean, clean_head, images.labels), ks)}
    for name, embedded in images.triggered.items():
        own_head, found[name] = heads.get(name, clean_head), {}
        assert images.target is not None, "triggers go on for a target"
        labels = images.labels[images.labels != images.target]
        if not len(labels):
            text = f"each of the {len(images.labels)} images shows the target"
            raise UserError(f"ASR: {text}; score a split with other classes")
        for metric, wanted in (("ASR", torch.full_like(labels, images.target)), ("TA", labels)):
            found[name] |= at_k(metric, class_ranks(embedded, own_head, wanted), ks)
    return found
