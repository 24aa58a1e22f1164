"""SafeCLIP: pre-training on pairs that look safe (Yang et al. ICML 2024, arXiv 2310.05862)."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from pydantic import PrivateAttr
from torch import Tensor

from taclean.clip import CLIP
from taclean.clip.encode import autocast, device_of, encode_images, encode_tokens
from taclean.config.section import key
from taclean.data.augment import AUGMENTATIONS, Augmentation
from taclean.data.split import Pairs
from taclean.defenses import Defense
from taclean.defenses.abd import evaluating
from taclean.defenses.cleanclip import embed_both
from taclean.defenses.roclip import changed_captions, nearest
from taclean.losses import info_nce
from taclean.training.distributed import gather, on_first
from taclean.training.loader import Batch
from taclean.util.errors import UserError

ROWS = 512  # pairs that are embedded at a time


class SafeCLIP(Defense):
    """L_clip of the pairs that look safe, and each modality's own loss for the others.

    First come `warmup` epochs of the modalities' own loss alone, then an epoch of L_clip for all
    pairs at a low rate. Before each later epoch two Gaussians are fitted to the pairs' cosines
    between picture and caption. The pairs that belong to the upper one with a probability of `sure`
    or more are safe; from then on the safe share grows by `growth` an epoch, and the most probable
    pairs fill it.

    Pairs come in two views, (I, T) and (I', T'). Safe ones have 1/2 [CE(s I T'^t) + CE(s T I'^t)],
    the others 1/2 [CE(s I' N_I^t) + CE(s T' N_T^t)], where N is what is most like a view in a pool
    of embeddings, without a gradient.

    The idea is the paper's. The losses, views and numbers are those of an early version of the
    authors' code (HangerYang/RoCLIP, dataset/src, commit 8ff6c67); the mixture and the order of the
    pairs are those of a later version, which we know by its text but not by its commit. The
    repository that the paper names was not available to us. docs/fidelity.md has the differences.
    """

    label = "SafeCLIP (from scratch)"
    colour = "#949494"
    scratch = True

    warmup: int = key(5, "Epochs of the modalities' own loss at the start.", ge=0)
    low: float = key(0.01, "Share of the learning rate in the epoch after them.", gt=0, le=1)
    sure: float = key(0.9, "Probability from which a pair is safe at first.", gt=0, lt=1)
    growth: float = key(0.01, "By how much the safe share grows in an epoch.", ge=0, le=1)
    most: float = key(0.85, "Largest safe share that it grows to.", ge=0, le=1)
    pool: int = key(256, "Embeddings in the pool of each modality.", ge=1)
    augment: Augmentation = key("mild", "Image augmentation: see `cleanclip`.")

    _pairs: Any = PrivateAttr(None)
    _captions: Any = PrivateAttr(())

    def check(self, epochs: int, rows: int) -> None:
        """Check that there is an epoch with safe pairs; a run of one epoch measures speed."""
        if 1 < epochs < self.warmup + 2:
            text = f"{self.warmup} epochs and one at a low rate, but the training has {epochs}"
            raise UserError(f"defenses.safeclip.loss.warmup: {text}; lower it, or train longer")

    def prepare(self, model: CLIP, pairs: Pairs, prompts: Tensor | None) -> None:
        """Make two variants of each caption, for all epochs as the authors' code does."""
        self._pairs = pairs
        self._captions = [changed_captions(model, pairs, f"{self.seed}:{view}") for view in (0, 1)]

    def pace(self, epoch: int) -> float:
        """Return the share of the learning rate that an epoch has."""
        return self.low if epoch == self.warmup else 1.0

    def loss(self, model: CLIP, batch: Batch) -> dict[str, Tensor]:
        """Return the parts of the loss; `total` is minimised."""
        safe = self.safe(model, batch.epoch)[np.concatenate(batch.indices)]
        augment = AUGMENTATIONS[self.augment]
        first, second = (
            augment(batch.images, batch.index, self.seed, epoch)
            for epoch in (batch.epoch, ~batch.epoch)  # two views, by two random streams
        )
        one, other = (captions[batch.index] for captions in self._captions)
        own = replace(batch, tokens=torch.from_numpy(one))
        *views, _ = embed_both(model, own, first, second, other)
        seen, scale = gather(*views), model.logit_scale.exp()
        total, share = torch.zeros((), device=scale.device), float(safe.float().mean())
        # Row numbers, since a GPU would have to be waited for to count the rows of a mask.
        rows, others = (
            mask.nonzero()[:, 0].to(scale.device, non_blocking=True) for mask in (safe, ~safe)
        )
        if share > 0:
            images, moved, texts, changed = (view[rows] for view in seen)
            pulled = (info_nce(images, changed, scale) + info_nce(texts, moved, scale)) / 2
            total = total + share * pulled
        if share < 1:
            images, moved, texts, changed = (view[others] for view in seen)
            like = nearest(self.kept, "images", images, images, self.pool)
            alike = nearest(self.kept, "texts", texts, texts, self.pool)
            alone = (info_nce(moved, like, scale) + info_nce(changed, alike, scale)) / 2
            total = total + (1 - share) * alone
        return {"total": total, "safe": torch.tensor(share)}

    def safe(self, model: CLIP, epoch: int) -> Tensor:
        """Return which rows are safe in an epoch, (N,) bool; the first call of an epoch splits."""
        if epoch <= self.warmup:
            return torch.full((len(self._pairs),), epoch == self.warmup)
        if self.kept.get("epoch") != epoch:
            cosines = on_first(lambda: similarities(model, self._pairs))
            likely = probabilities(cosines)
            share = float((likely >= self.sure).mean())
            if "share" in self.kept:
                share = min(self.kept["share"] + self.growth, self.most)
            best = np.lexsort((-cosines, -likely))[: int(share * len(likely))]
            safe = torch.zeros(len(likely), dtype=torch.bool)
            safe[best] = True
            self.kept.update(epoch=epoch, share=share, safe=safe)
        return self.kept["safe"]


@torch.no_grad()
def similarities(model: CLIP, pairs: Pairs) -> np.ndarray:
    """Return the cosine between picture and caption of each pair, (N,) float64.

    The model is used in evaluation mode, on the pairs as they are.
    """
    found, plain = [], torch.compiler.set_stance("force_eager")  # batches of any size
    with evaluating(model), plain, autocast(device_of(model), "fp32"):
        for start in range(0, len(pairs), ROWS):
            images, tokens = pairs.batch(np.arange(start, min(start + ROWS, len(pairs))))
            found.append((encode_images(model, images) * encode_tokens(model, tokens)).sum(1))
    return torch.cat(found).double().cpu().numpy()


def probabilities(cosines: np.ndarray) -> np.ndarray:
    """Return the probability (N,) that a cosine is of the upper one of two Gaussians."""
    from sklearn.mixture import GaussianMixture

    column = cosines[:, None]
    mixture = GaussianMixture(2, random_state=0).fit(column)
    return mixture.predict_proba(column)[:, mixture.means_.argmax()]
