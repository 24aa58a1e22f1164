"""RoCLIP: pre-training with captions from a pool (Yang et al. NeurIPS 2023, arXiv 2303.06854)."""

import random
from typing import Any

import numpy as np
import torch
from pydantic import PrivateAttr
from torch import Tensor, nn

from taclean.captions.eda import eda
from taclean.captions.wordnet import Lexicon
from taclean.clip import CLIP
from taclean.clip.encode import CONTEXT, encode_images, encode_tokens
from taclean.clip.models import library
from taclean.config.section import key
from taclean.data.augment import AUGMENTATIONS, Augmentation
from taclean.data.split import Pairs
from taclean.defenses import Defense
from taclean.losses import clip_loss
from taclean.training.distributed import gather
from taclean.training.loader import Batch
from taclean.util.errors import UserError


class RoCLIP(Defense):
    """L_clip of augmented pairs; in every `every`-th epoch with captions from a pool.

    There each picture's caption gives way to the caption of the pool whose embedding is most like
    the picture's: L_clip(I, P), P without a gradient, so that a poisoned picture meets its caption
    only by chance. The pool then takes in the captions of the batch for its oldest ones.

    The paper has the idea; the loss, the order of lookup and update, the epochs (2nd, 4th, ...), a
    text tower that stands still in them and the augmentation of both sides in all epochs are those
    of the authors' code, BigML-CS-UCLA/RoCLIP (commit 1c76534). docs/fidelity.md has the
    differences.
    """

    label = "RoCLIP (from scratch)"
    colour = "#fbafe4"
    scratch = True

    every: int = key(2, "Epochs from one with the pool to the next.", ge=1)
    pool: float = key(0.02, "Captions in the pool, as a share of the set.", gt=0, le=1)
    augment: Augmentation = key("mild", "Image augmentation: see `cleanclip`.")

    _captions: Any = PrivateAttr(None)
    _size: int = PrivateAttr(0)

    def prepare(self, model: CLIP, pairs: Pairs, prompts: Tensor | None) -> None:
        """Change the captions, once for all epochs as the authors' code does."""
        self._captions = changed_captions(model, pairs, f"{self.seed}")
        self._size = max(1, round(self.pool * len(pairs)))

    def rests(self, model: CLIP, epoch: int) -> list[nn.Parameter]:
        """Return the text tower's weights in an epoch with the pool."""
        learn = {*model.visual.parameters(), model.logit_scale}
        pool = (epoch + 1) % self.every == 0
        return [weight for weight in model.parameters() if pool and weight not in learn]

    def loss(self, model: CLIP, batch: Batch) -> dict[str, Tensor]:
        """Return the loss as `total`, and L_clip with the pairs' own captions."""
        view = AUGMENTATIONS[self.augment](batch.images, batch.index, self.seed, batch.epoch)
        tokens = torch.from_numpy(self._captions[batch.index])
        images, texts = gather(encode_images(model, view), encode_tokens(model, tokens))
        scale = model.logit_scale.exp()
        own = clip_loss(images, texts, scale)
        if (batch.epoch + 1) % self.every:
            return {"total": own, "clip": own}
        matched = nearest(self.kept, "captions", images, texts, self._size)
        # Several processes need a gradient of each weight: that of the text tower is 0.
        return {"total": clip_loss(images, matched, scale) + 0 * own, "clip": own}


@torch.no_grad()
def nearest(kept: dict[str, Any], name: str, queries: Tensor, new: Tensor, size: int) -> Tensor:
    """Return what is most like each query (B, d) in a pool, and put `new` (B, d) into the pool.

    The pool is `kept[name]`: the `size` newest embeddings, the newest batch first. One that is
    still empty is the batch itself.
    """
    pool = kept.get(name, new[:0]).to(new)
    kept[name] = torch.cat([new, pool])[:size]
    pool = pool if len(pool) else new
    with torch.autocast(new.device.type, enabled=False):
        return pool[(queries @ pool.T).argmax(1)]


def changed_captions(model: CLIP, pairs: Pairs, stream: str) -> np.ndarray:
    """Change each caption of a set by EDA, poisoned ones as well: int64 tokens (N, context).

    The captions are read from their tokens, since the text artifacts know none of a poisoned row.

    Args:
        stream: names the random numbers.

    Raises:
        UserError: the tokens are not those of CLIP's own tokenizer.
    """
    open_clip, lexicon = library(), Lexicon.load()
    tokens, length = pairs.tokens[pairs.rows], getattr(model, "context_length", CONTEXT)
    if pairs.poison is not None:
        tokens[pairs.poisoned] = pairs.poison[1]
    rows = torch.from_numpy(tokens.astype(np.int64))
    texts = [open_clip.decode(row[1 : row.argmax()]) for row in rows]
    same = open_clip.tokenize(texts[:100], length) == rows[:100, :length]
    if same.all(1).float().mean() < 0.5:  # rare signs are read as others
        raise UserError("model.name: RoCLIP and SafeCLIP need a model with CLIP's own tokenizer")
    made = [
        eda(text, random.Random(f"{stream}:{row}"), lexicon, same_part=False)
        for row, text in enumerate(texts)
    ]
    return open_clip.tokenize(made, length).numpy()
