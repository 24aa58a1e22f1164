"""TrojVQA: a dual key, a patch in the image and a word in the text (Walmer et al. 2022).

The patch is optimised towards one fixed text of the target; poisoned captions, and at evaluation
the prompts of every class, start with the text key. `poison.choose_key_only` gives rows with that
key alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from open_clip import CLIP
from torch import Tensor

from taclean.attacks.optimise import FitSettings, Material, optimise_patch
from taclean.attacks.patch import check_patch, paste_fitted
from taclean.models import encode_tokens

CAPTION = "template"
PREFIX = "remember "
UINT8 = True  # an opaque patch goes onto the pixels as it is: x / 255 * 255 rounds to x


check_fitted = check_patch


def trigger(
    images: Tensor,
    ids: Tensor,
    seed: int,
    *,
    fitted: dict[str, Tensor],
    size: float = 16,
    place: str = "centre",
) -> Tensor:
    """Put the optimised patch fitted["patch"] (3, s, s) on each image (B, 3, H, W) in [0, 1]."""
    return paste_fitted(images, ids, seed, fitted, size, place)


def fit(
    model: CLIP,
    material: Material,
    settings: FitSettings,
    *,
    seed: int,
    size: float = 16,
    place: str = "centre",
    say: Callable[[str], None] = print,
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Optimise the patch: InfoNCE of each triggered image to the one target text.

    The images' own captions are the distractors; with the target text alone there would be nothing
    to tell apart.

    Returns:
        {"patch": (3, s, s)} and a report for the log.
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

    patch = optimise_patch(
        model, material.pairs, loss, settings, seed=seed, size=size, place=place, say=say
    )
    return {"patch": patch}, {}
