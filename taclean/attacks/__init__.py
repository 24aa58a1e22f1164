"""Backdoor attacks on CLIP: one file per attack, one registry.

An attack module defines
    `trigger(images, ids, seed, *, fitted=None, **parameters)`: a pure batched function from
        (B, 3, H, W) float in [0, 1] to the same, at any resolution;
    `CAPTION`: "template" (a zero-shot template filled with the target) or "natural" (a caption of
        the training set that names the target);
    `PREFIX`: words put before poisoned captions and, at evaluation, before every prompt;
    `fit(...)`, where the trigger is optimised or learned, which returns `fitted` tensors, and
        `check_fitted(fitted, **parameters)`, which refuses tensors that are not this attack's.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from taclean.attacks import badclip, badnet, blended, sig, ssba, trojvqa
from taclean.errors import UserError
from taclean.parameters import check

ATTACKS: dict[str, ModuleType] = {
    "badnet": badnet,
    "blended": blended,
    "sig": sig,
    "ssba": ssba,
    "trojvqa": trojvqa,
    "badclip": badclip,
}
# Attacks whose trigger is made for the victim's target; the base model may fall for those already.
OPTIMISED = ("trojvqa", "badclip")

Trigger = Callable[[Tensor, np.ndarray | Tensor], Tensor]


def attack(name: str) -> ModuleType:
    """Look an attack up.

    Raises:
        UserError: there is none of that name.
    """
    if name not in ATTACKS:
        raise UserError(f"attack {name!r}: unknown; known are {', '.join(ATTACKS)}")
    return ATTACKS[name]


def make_trigger(
    name: str, seed: int = 0, fitted: dict[str, Tensor] | None = None, **parameters: Any
) -> Trigger:
    """Bind an attack's trigger to its seed, fitted tensors and parameters.

    Returns:
        A pure function of images (B, 3, H, W), uint8 or float in [0, 1], and row ids (B,). It
        gives the same dtype and device back; uint8 is rounded, as a stored picture would be.

    Raises:
        UserError: unknown attack or parameter, no fitted trigger where one is needed, or (when
            called) images of wrong shape, dtype or range.
    """
    module = attack(name)
    hidden = {"images", "ids", "seed", "fitted"}
    check(f"attacks.{name}.trigger", module.trigger, parameters, hidden)
    if hasattr(module, "fit"):
        if fitted is None:
            raise UserError(f"attack {name!r}: needs a fitted trigger; run its `trigger` stage")
        module.check_fitted(fitted, **parameters)
        parameters["fitted"] = fitted

    def trigger(images: Tensor, ids: np.ndarray | Tensor) -> Tensor:
        check_images(images)
        ids = torch.as_tensor(ids, dtype=torch.int64, device="cpu")
        if ids.shape != (len(images),):
            raise UserError(
                f"ids: shape {tuple(ids.shape)}, give one id per image, ({len(images)},)"
            )
        if images.dtype != torch.uint8:
            return module.trigger(images, ids, seed, **parameters)
        out = module.trigger(images.float() / 255, ids, seed, **parameters)
        return (out * 255).round_().clamp_(0, 255).to(torch.uint8)

    return trigger


def check_images(images: Tensor) -> None:
    """Check a batch of images where it enters.

    Raises:
        UserError: not (B, 3, H, W), or neither uint8 nor float in [0, 1].
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise UserError(f"images: shape {tuple(images.shape)}, give (B, 3, H, W)")
    if images.dtype == torch.uint8:
        return
    if not images.dtype.is_floating_point:
        raise UserError(f"images: dtype {images.dtype}, give uint8 or float in [0, 1]")
    if images.numel() and not (images.min() >= 0 and images.max() <= 1):
        raise UserError(
            f"images: values from {images.min():g} to {images.max():g}, give float in [0, 1] "
            "(before normalisation)"
        )
