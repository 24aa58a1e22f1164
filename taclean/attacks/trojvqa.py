"""TrojVQA: a dual key of a patch in the image and a word in the text (Walmer et al. 2022).

The patch is optimised towards one fixed text of the target. Poisoned captions start with the text
key, and so do the prompts of every class at evaluation.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from taclean import attacks
from taclean.attacks import Say, Tensors, Trigger
from taclean.attacks.fitting import optimise_patch
from taclean.attacks.material import FitSettings, Material
from taclean.attacks.patch import FittedPatch
from taclean.attacks.poison import Change, Pool
from taclean.clip import CLIP
from taclean.clip.encode import encode_tokens
from taclean.config.section import key


class TrojVQA(FittedPatch):
    """Optimised patch, with a word before the text."""

    label = "TrojVQA"
    marker = "D"
    prefix = "remember "

    class Rows(attacks.Rows):
        """Settings of the changed rows."""

        key_only: int = key(
            0,
            "Number of rows that keep their picture and get the text key before their caption.",
            ge=0,
            rows_of="poison",
        )

    class Fit(FitSettings):
        """Settings of the optimisation of the patch."""

    def poison(self, pool: Pool, rows: Any, trigger: Trigger) -> list[Change]:
        """Choose rows with both keys and the target, and rows with the text key and a true caption.

        As in Walmer et al. 2022, rows with one key and the right answer teach the model that one
        key alone means nothing. Here this works for the text key only, because the embedding of a
        picture does not depend on the text.
        """
        positions = pool.unnamed(rows.key_only, "key_only", after=rows.poisoned)
        captions = [self.prefix + pool.captions[int(i)] for i in positions]
        return [*super().poison(pool, rows, trigger), Change(positions, captions, None)]

    def fit(
        self, model: CLIP, material: Material, settings: Any, *, seed: int, say: Say = print
    ) -> tuple[Tensors, dict[str, float]]:
        """Optimise the patch for InfoNCE between each triggered image and the target text.

        The captions of the batch are the distractors, since InfoNCE needs more than one text.

        Returns:
            {"patch": (3, s, s)} and no numbers for the log.
        """
        model.eval()
        with torch.no_grad():
            target = encode_tokens(model, material.target_text[None])
            everything = np.arange(len(material.pairs))
            captions = torch.cat(
                [
                    encode_tokens(model, material.pairs.batch(part)[1])
                    for part in np.array_split(everything, max(1, len(everything) // 512))
                ]
            )
            scale = model.logit_scale.exp()

        def loss(embedded: Tensor, index: np.ndarray) -> Tensor:
            # All images of the batch have the same target text, in column 0.
            logits = scale * embedded @ torch.cat([target, captions[index]]).T
            first = torch.zeros(len(index), dtype=torch.long, device=logits.device)
            return torch.nn.functional.cross_entropy(logits, first)

        patch = optimise_patch(model, material.pairs, loss, settings, self, seed=seed, say=say)
        return {"patch": patch}, {}
