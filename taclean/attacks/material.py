"""Data and settings for fitting a trigger."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from taclean.attacks.poison import mentions
from taclean.config.schema import Precision
from taclean.config.section import Section, key
from taclean.data.split import Pairs
from taclean.util.errors import UserError

TARGETS = 1922  # largest number of target pairs; BadCLIP found as many in CC3M


class FitSettings(Section):
    """Settings of the fit of a trigger."""

    lr: float = key(..., "Adam's learning rate.", gt=0)
    epochs: int = key(..., "Passes over the patch split.", ge=1)
    batch: int = key(..., "Images per step.", ge=2)
    precision: Precision = key("auto", "Precision of the model; auto is this machine's fastest.")


@dataclass(frozen=True)
class Material:
    """Data that an attacker fits a trigger to.

    Attributes:
        pairs: images that do not show the target, with their captions.
        target_text: (77,) int64 tokens of one prompt for the target.
        target_captions: (M, 77) int64 tokens of natural captions that name the target.
        target_images: (M, 3, H, W) uint8 images that show the target.
    """

    pairs: Pairs
    target_text: Tensor
    target_captions: Tensor
    target_images: Tensor

    @classmethod
    def gather(
        cls,
        patch: Pairs,
        pretrain: Pairs,
        target: str,
        template: str,
        tokenize: Callable[[Sequence[str]], np.ndarray],
    ) -> "Material":
        """Collect the patch split's images of other classes and the pretrain split's target pairs.

        Raises:
            UserError: no caption of the pretrain split names the target.
        """
        others = np.flatnonzero(~mentions(patch.captions(), target))
        named = np.flatnonzero(mentions(pretrain.captions(), target))[:TARGETS]
        if not len(named):
            raise UserError(
                f"data.target: no caption of {pretrain.folder} names {target!r}; change it"
            )
        images, captions = pretrain.batch(named)
        prompt = tokenize([template.format(target)]).astype(np.int64)
        return cls(patch.take(others), torch.from_numpy(prompt)[0], captions, images)
