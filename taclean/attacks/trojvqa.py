"""TrojVQA: a dual key, a patch in the image and a word in the text (Walmer et al. 2022).

The patch is optimised towards one fixed text of the target; poisoned captions, and at evaluation
the prompts of every class, start with the text key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from taclean import attacks
from taclean.attacks import Say, Tensors, Trigger
from taclean.attacks.fitting import optimise_patch
from taclean.attacks.material import FitSettings, Material
from taclean.attacks.patch import FittedPatch
from taclean.attacks.poison import Change, Pool
from taclean.clip.encode import encode_tokens
from taclean.config.section import key

if TYPE_CHECKING:
    from open_clip import CLIP


class TrojVQA(FittedPatch):
    """An optimised patch with a word before the text."""

    label = "TrojVQA"
    marker = "D"
    prefix = "remember "

    class Rows(attacks.Rows):
        """Which rows are changed."""

        key_only: int = key(
            0,
            "Further rows that keep their picture and, after the text key, their caption.",
            ge=0,
            rows_of="poison",
        )

    class Fit(FitSettings):
        """How the patch is optimised."""

    def poison(self, pool: Pool, rows: Any, trigger: Trigger) -> list[Change]:
        """Both keys with the target; and rows that stay true but for the text key.

        As in Walmer et al. 2022, rows with one key and the right answer teach that it alone means
        nothing. Only the text key can be had so here: the embedding of a picture does not depend on
        the text that it meets.
        """
        positions = pool.unnamed(rows.key_only, "key_only", after=rows.poisoned)
        captions = [self.prefix + pool.captions[int(i)] for i in positions]
        return [*super().poison(pool, rows, trigger), Change(positions, captions, None)]

    def fit(
        self, model: CLIP, material: Material, settings: Any, *, seed: int, say: Say = print
    ) -> tuple[Tensors, dict[str, float]]:
        """Optimise the patch: InfoNCE of each triggered image to the one target text.

        The images' own captions are the distractors; with the target text alone there would be
        nothing to tell apart.

        Returns:
            {"patch": (3, s, s)} and no numbers.
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
            # One row at a time the target is the diagonal; batched, it is column 0 for all.
            logits = scale * embedded @ torch.cat([target, captions[index]]).T
            first = torch.zeros(len(index), dtype=torch.long, device=logits.device)
            return torch.nn.functional.cross_entropy(logits, first)

        patch = optimise_patch(model, material.pairs, loss, settings, self, seed=seed, say=say)
        return {"patch": patch}, {}
