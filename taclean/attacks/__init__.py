"""Backdoor attacks on CLIP: one file per attack, with one class that owns all of it.

A class that derives from `Attack` is an attack: its fields are the parameters of its trigger, and
`kind: NAME` in an entry of the config's `attacks` means taclean/attacks/NAME.py. How to write one:
docs/extending.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from pydantic import create_model
from torch import Tensor

from taclean.attacks.material import FitSettings, Material
from taclean.attacks.poison import Change, Pool
from taclean.config import registry
from taclean.config.schema import AttackEntry, Train
from taclean.config.section import Method, Section, key
from taclean.util.errors import UserError

if TYPE_CHECKING:
    from open_clip import CLIP

# Pixels whose floats stay in a core's cache, two images of 224 px: three times as fast as a whole
# batch. SSBA's convolutions round differently, in a pixel of a million, in chunks of other sizes.
CHUNK = 2 * 224 * 224

Tensors = dict[str, Tensor]
Say = Callable[[str], None]


class Rows(Section):
    """Which rows an attack changes; an attack's own keys stand beside `poisoned`."""

    poisoned: int = key(..., "Number of poisoned rows.", ge=1, rows_of="poison")


class Attack(Method, abstract=True):
    """A backdoor attack; the fields of a subclass are the parameters of its trigger.

    Attributes:
        label, marker: its name in tables and figures, and Matplotlib's marker.
        captions: what poisoned rows say: "template", a zero-shot template filled with the target,
            or "natural", captions of the training set that name it.
        prefix: words put before poisoned captions and, at evaluation, before every prompt.
        takes_uint8: whether `trigger` also takes uint8 to uint8.
        Rows: keys of the attack's choice of rows.
        Fit: how the trigger is optimised or learned; None where it needs no model.
    """

    label: ClassVar[str] = ""
    marker: ClassVar[str] = ""
    captions: ClassVar[str] = "template"
    prefix: ClassVar[str] = ""
    takes_uint8: ClassVar[bool] = False
    Rows: ClassVar[type[Section]] = Rows
    Fit: ClassVar[type[FitSettings] | None] = None

    def trigger(self, images: Tensor, ids: Tensor, seed: int, fitted: Tensors) -> Tensor:
        """Put the trigger on images: a pure function, at any resolution.

        Args:
            images: (B, 3, H, W) float in [0, 1].
            ids: (B,) int64 ids of the rows, for what differs from picture to picture.
            seed: the run's; it fixes what is drawn once.
            fitted: what `fit` gave; empty for attacks without it.

        Returns:
            The same shape, dtype and range.
        """
        raise NotImplementedError

    def fit(
        self, model: CLIP, material: Material, settings: Any, *, seed: int, say: Say = print
    ) -> tuple[Tensors, dict[str, float]]:
        """Optimise or learn the trigger against the clean model; `settings` are of `Fit`.

        Returns:
            What `trigger` gets as `fitted`, and numbers for the log.
        """
        raise NotImplementedError

    def check_fitted(self, fitted: Tensors) -> None:
        """Refuse, with a UserError, tensors that are not this attack's."""

    def untrained(self, seed: int) -> Tensors:
        """Tensors of the form of `fitted`, however bad: what a trigger costs does not depend."""
        return {}

    def poison(self, pool: Pool, rows: Any, trigger: Trigger) -> list[Change]:
        """Choose the rows to change, and how; `rows` are of `Rows`.

        Raises:
            UserError: more rows than there are.
        """
        positions, captions = pool.poisoned(rows.poisoned, self.captions)
        return [Change(positions, [self.prefix + text for text in captions], trigger)]

    @classmethod
    def entry(cls) -> type[AttackEntry]:
        """Return the class of the config's entries of this kind."""
        needed = any(field.is_required() for field in cls.model_fields.values())
        trigger = f"Parameters of {cls.name_in_print()}'s trigger."
        at_test = (
            "Parameters that the trigger has in the scores, where they differ from training. An "
            "entry that differs from the one of its kind in nothing else uses that one's models."
        )
        fields: dict[str, Any] = {
            "trigger": (cls, key(... if needed else cls(), trigger)),
            "at_test": (cls.some(), key(None, at_test)),
            "train": (Train.some(), key(None, "What differs from `poison.train`.")),
        }
        if cls.Fit is not None:
            fields["fit"] = (cls.Fit, key())
        bases: Any = (cls.Rows, AttackEntry)
        entry: Any = create_model(f"{cls.__name__}Entry", __base__=bases, **fields)
        entry.method = cls
        return entry


def attack(name: str) -> type[Attack]:
    """Look an attack up by its file.

    Raises:
        UserError: there is none of that name.
    """
    return registry.load("attacks", name)


class Trigger:
    """An attack's trigger, bound to its seed, fitted tensors and parameters.

    A pure function of images (B, 3, H, W), uint8 or float in [0, 1], and row ids (B,). It gives the
    same dtype and device back; uint8 is rounded, as a stored picture would be.

    Attributes:
        prefix: words before every prompt, and before poisoned captions.
    """

    def __init__(self, attack: Attack, seed: int, fitted: Tensors) -> None:
        self._attack, self._seed, self._fitted = attack, seed, fitted
        self.prefix = attack.prefix

    def __call__(self, images: Tensor, ids: np.ndarray | Tensor) -> Tensor:
        """Put the trigger on.

        Raises:
            UserError: images of wrong shape, dtype or range, or not as many ids.
        """
        check_images(images)
        ids = torch.as_tensor(ids, device="cpu")
        if ids.is_floating_point() and not torch.equal(ids, ids.round()):
            raise UserError("ids: not whole numbers; give the ids of the rows")
        ids = ids.long()
        if ids.shape != (len(images),):
            raise UserError(
                f"ids: shape {tuple(ids.shape)}, give one id per image, ({len(images)},)"
            )
        if images.dtype != torch.uint8 or self._attack.takes_uint8:
            return self._checked(images, ids)
        out = torch.empty_like(images)
        step = max(1, len(images))
        if images.device.type == "cpu":
            step = max(1, CHUNK // max(1, images.shape[-2:].numel()))
        for start in range(0, len(images), step):
            part = slice(start, start + step)
            x = self._checked(images[part].float().div_(255), ids[part])
            x = x.mul_(255).round_().clamp_(0, 255)
            out[part] = x.to(torch.int16)  # torch casts floats to uint8 one by one
        return out

    def _checked(self, images: Tensor, ids: Tensor) -> Tensor:
        out = self._attack.trigger(images, ids, self._seed, self._fitted)
        if out.shape != images.shape or out.dtype != images.dtype:
            name = type(self._attack).__name__
            raise UserError(
                f"attack {name}: its trigger makes {out.dtype} {tuple(out.shape)} of "
                f"{images.dtype} {tuple(images.shape)}; give back what came"
            )
        return out


def make_trigger(
    name: str, seed: int = 0, fitted: Tensors | None = None, **parameters: Any
) -> Trigger:
    """Bind an attack's trigger to its seed, fitted tensors and parameters.

    Args:
        name: the attack's file, such as "badnet".

    Raises:
        UserError: unknown attack or parameter, or no fitted trigger where one is needed.
    """
    method = attack(name).of(parameters, f"attacks.{name}.trigger")
    if method.Fit is None:
        if fitted is not None:
            raise UserError(f"attack {name!r}: its trigger is not fitted; give no file for it")
    elif fitted is None:
        raise UserError(f"attack {name!r}: needs a fitted trigger; run its `trigger` stage")
    else:
        method.check_fitted(fitted)
    return Trigger(method, seed, fitted or {})


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
