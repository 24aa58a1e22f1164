"""Backdoor attacks on CLIP: one file per attack; every file here with a `trigger` is one.

An attack module defines
    `trigger(images, ids, seed, *, fitted=None, **parameters)`: a pure batched function from
        (B, 3, H, W) float in [0, 1] to the same, at any resolution;
    `UINT8`, if true: the trigger also takes uint8 to uint8;
    `CAPTION`: "template" (a zero-shot template filled with the target) or "natural" (a caption of
        the training set that names the target);
    `PREFIX`: words put before poisoned captions and, at evaluation, before every prompt;
    `fit(...)`, where the trigger is optimised or learned, which returns `fitted` tensors, and
        `check_fitted(fitted, **parameters)`, which refuses tensors that are not this attack's.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from taclean.errors import UserError
from taclean.parameters import check

_FILES = [
    importlib.import_module(f"{__name__}.{file.name}") for file in pkgutil.iter_modules(__path__)
]
ATTACKS: dict[str, ModuleType] = {
    file.__name__.rpartition(".")[2]: file for file in _FILES if hasattr(file, "trigger")
}
# Pixels whose floats stay in a core's cache, two images of 224 px: three times as fast as a whole
# batch. SSBA's convolutions round differently, in a pixel of a million, in chunks of other sizes.
CHUNK = 2 * 224 * 224

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
    elif fitted is not None:
        raise UserError(f"attack {name!r}: its trigger is not fitted; give no file for it")

    def trigger(images: Tensor, ids: np.ndarray | Tensor) -> Tensor:
        check_images(images)
        ids = torch.as_tensor(ids, dtype=torch.int64, device="cpu")
        if ids.shape != (len(images),):
            raise UserError(
                f"ids: shape {tuple(ids.shape)}, give one id per image, ({len(images)},)"
            )
        if images.dtype != torch.uint8 or getattr(module, "UINT8", False):
            return module.trigger(images, ids, seed, **parameters)
        out = torch.empty_like(images)
        step = max(1, len(images))
        if images.device.type == "cpu":
            step = max(1, CHUNK // max(1, images.shape[-2:].numel()))
        for start in range(0, len(images), step):
            part = slice(start, start + step)
            x = module.trigger(images[part].float().div_(255), ids[part], seed, **parameters)
            x = x.mul_(255).round_().clamp_(0, 255)
            out[part] = x.to(torch.int16)  # torch casts floats to uint8 one by one
        return out

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
