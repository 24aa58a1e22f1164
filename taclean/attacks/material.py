"""What an attacker fits a trigger with: pictures, target texts, and the settings of the fit."""

from __future__ import annotations

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

TARGETS = 1922  # target pairs at most: as many as BadCLIP found in CC3M


class FitSettings(Section):
    """How a trigger is optimised or learned."""

    lr: float = key(..., "Adam's learning rate.", gt=0)
    epochs: int = key(..., "Passes over the patch split.", ge=1)
    batch: int = key(..., "Images per step.", ge=2)
    precision: Precision = key("auto", "Of the model's forward pass; auto is the fastest here.")


@dataclass(frozen=True)
class Material:
    """What an attacker has to make a trigger from.

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
    ) -> Material:
        """Take the patch split's images of other classes, and target pairs of the pretrain split.

        Raises:
            UserError: no caption of the pretrain split names the target.
        """
        others = np.flatnonzero(~mentions(patch.captions(), target))
        named = np.flatnonzero(mentions(pretrain.captions(), target))[:TARGETS]
        if not len(named):
            raise UserError(f"{pretrain.folder}: no caption names {target!r}; change data.target")
        images, captions = pretrain.batch(named)
        prompt = tokenize([template.format(target)]).astype(np.int64)
        return cls(patch.take(others), torch.from_numpy(prompt)[0], captions, images)
