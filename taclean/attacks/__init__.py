"""Backdoor attacks on CLIP: one file per attack, with one class that derives from `Attack`.

The fields of the class are the parameters of the trigger. An entry of the config's `attacks` with
`kind: NAME` uses taclean/attacks/NAME.py. docs/extending.md shows how to write an attack.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import create_model
from torch import Tensor

from taclean.attacks.material import FitSettings, Material
from taclean.attacks.poison import Change, Pool, form
from taclean.clip import CLIP
from taclean.config import registry
from taclean.config.schema import AttackEntry, Train
from taclean.config.section import Method, Section, key
from taclean.util.errors import UserError

# On a CPU a trigger gets two images of 224 px at a time. Their floats stay in a core's cache, which
# is three times as fast as a whole batch. A chunk of another size changes about one pixel in a
# million of SSBA's pictures, because its convolutions then round differently.
CHUNK = 2 * 224 * 224
EDGE = 0.5 / 255  # how far rounding errors may take a pixel out of [0, 1]

Tensors = dict[str, Tensor]
Say = Callable[[str], None]


class Rows(Section):
    """Settings of the changed rows; an attack may add keys of its own to `poisoned`."""

    poisoned: int = key(..., "Number of poisoned rows; 0 as a control.", ge=0, rows_of="poison")


class Attack(Method, abstract=True):
    """Base class of the attacks; the fields of a subclass are the parameters of its trigger.

    Attributes:
        label, marker: the attack's name in tables and figures, and its Matplotlib marker.
        captions: captions of the poisoned rows: "template" fills a zero-shot template with the
            target, "natural" takes captions of the training set that name the target, and a list
            gives the captions themselves.
        prefix: words before every poisoned caption and, at evaluation, before every prompt.
        takes_uint8: whether `trigger` accepts uint8 images and returns uint8.
        Rows: settings of the choice of rows.
        Fit: settings of `fit`; None for an attack whose trigger is not fitted.
        reads_model: whether `fit` depends on the clean model. Otherwise it need not wait for it.
    """

    label: ClassVar[str] = ""
    marker: ClassVar[str] = ""
    captions: ClassVar[str | Sequence[str]] = "template"
    prefix: ClassVar[str] = ""
    takes_uint8: ClassVar[bool] = False
    Rows: ClassVar[type[Section]] = Rows
    Fit: ClassVar[type[FitSettings] | None] = None
    reads_model: ClassVar[bool] = True

    def trigger(self, images: Tensor, ids: Tensor, seed: int, fitted: Tensors) -> Tensor:
        """Put the trigger on images of any resolution, as a pure function.

        Args:
            images: (B, 3, H, W) float in [0, 1].
            ids: (B,) int64 ids of the rows, the key of everything that differs between pictures.
            seed: seed of the run, the key of everything that is drawn once.
            fitted: tensors that `fit` returned; empty for an attack without `fit`.

        Returns:
            Images of the same shape, dtype and range.
        """
        raise NotImplementedError

    def fit(
        self, model: CLIP, material: Material, settings: Any, *, seed: int, say: Say = print
    ) -> tuple[Tensors, dict[str, float]]:
        """Fit the trigger to the clean model.

        Args:
            settings: an instance of `Fit`.

        Returns:
            The tensors that `trigger` gets as `fitted`, and numbers for the log.
        """
        raise NotImplementedError

    def check_fitted(self, fitted: Tensors) -> None:
        """Check that tensors come from this attack's `fit`.

        Raises:
            UserError: they do not.
        """

    def poison(self, pool: Pool, rows: Any, trigger: "Trigger") -> list[Change]:
        """Choose the rows to change and how to change them.

        Args:
            rows: an instance of `Rows`.

        Raises:
            UserError: the training set has too few rows.
        """
        positions, captions = pool.poisoned(rows.poisoned, self.captions)
        return [Change(positions, [self.prefix + text for text in captions], trigger)]

    @classmethod
    def entry(cls) -> type[AttackEntry]:
        """Return the class of the config's entries of this kind."""
        if cls.trigger is Attack.trigger:
            raise ValueError("there is no method trigger; define it")
        if cls.fit is not Attack.fit and cls.Fit is None:
            raise ValueError("fit is never called without a nested class Fit; define it")
        texts = [cls.prefix, *([cls.captions] if isinstance(cls.captions, str) else cls.captions)]
        if len(texts) < 2 or not all(isinstance(text, str) for text in texts):
            raise ValueError("prefix and captions are no text, and no list of texts; correct them")
        if isinstance(cls.captions, str) and cls.captions not in ("template", "natural"):
            text = f"captions are {cls.captions!r}; give 'template', 'natural' or a list of texts"
            raise ValueError(text)
        for name, own, base in (("Fit", cls.Fit, FitSettings), ("Rows", cls.Rows, Rows)):
            if own and not (isinstance(own, type) and issubclass(own, base)):
                raise ValueError(f"{name} derives from no {base.__name__} of taclean.attacks")
        # The class's own label and marker have the limits of the keys of the same names.
        signs = {"label": cls.label or None, "marker": cls.marker or None}
        AttackEntry.of({"gate": 0.0, **signs}, cls.__name__)
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
        taken = AttackEntry.model_fields.keys() | fields.keys()
        if clash := taken & cls.Rows.model_fields.keys():
            raise ValueError(f"Rows: {', '.join(clash)} is a key of every attack; rename it")
        entry: Any = create_model(f"{cls.__name__}Entry", __base__=bases, **fields)
        entry.method = cls
        return entry


def attack(name: str) -> type[Attack]:
    """Return the attack class of the file `name`.

    Raises:
        UserError: no attack has that name.
    """
    return registry.load("attacks", name)


class Trigger:
    """An attack's trigger with its seed, fitted tensors and parameters.

    A trigger is a pure function of images (B, 3, H, W), uint8 or float in [0, 1], and row ids (B,).
    It keeps the dtype and the device. Results for uint8 images are rounded, as stored pictures are.

    Attributes:
        prefix: words before every poisoned caption and every prompt.
    """

    def __init__(self, attack: Attack, seed: int, fitted: Tensors) -> None:
        self._attack, self._seed, self._fitted = attack, seed, fitted
        self.prefix = attack.prefix

    def __call__(self, images: Tensor, ids: np.ndarray | Tensor) -> Tensor:
        """Return the images with the trigger.

        Raises:
            UserError: the images have a wrong shape, dtype or range, or the ids do not fit them.
        """
        check_images(images)
        ids = torch.as_tensor(ids, device="cpu")
        if ids.is_floating_point() and not torch.equal(ids, ids.round()):
            raise UserError("ids: some are not whole numbers; give the ids of the rows")
        ids = ids.long()
        if ids.shape != (len(images),):
            raise UserError(
                f"ids: the shape is {tuple(ids.shape)}; give one id per image, ({len(images)},)"
            )
        if images.dtype != torch.uint8 or self._attack.takes_uint8:
            return self._checked(images.clone(), ids)  # which the attack may change in place
        out = torch.empty_like(images)
        step = max(1, len(images))
        if images.device.type == "cpu":
            step = max(1, CHUNK // max(1, images.shape[-2:].numel()))
        for start in range(0, len(images), step):
            part = slice(start, start + step)
            x = self._checked(images[part].float().div_(255), ids[part])
            x = x.mul_(255).round_().clamp_(0, 255)
            out[part] = x.to(torch.int16)  # float to uint8 directly is slow in torch
        return out

    def _checked(self, images: Tensor, ids: Tensor) -> Tensor:
        out = self._attack.trigger(images, ids, self._seed, self._fitted)
        where = f"attack {type(self._attack).__name__}: its trigger"
        if (got := form(out)) != (had := form(images)):
            raise UserError(f"{where} turns {had} into {got}; return the same dtype and shape")
        if out.is_floating_point() and out.numel():
            low, high = torch.stack(out.aminmax()).cpu().tolist()
            if not (low >= -EDGE and high <= 1 + EDGE):  # nor with a NaN
                raise UserError(
                    f"{where} returns values between {low:g} and {high:g}; return [0, 1]"
                )
        return out


def make_trigger(
    name: str, seed: int = 0, fitted: Tensors | None = None, **parameters: Any
) -> Trigger:
    """Create the trigger of an attack.

    Args:
        name: name of the attack's file, such as "badnet".
        fitted: tensors that the attack's `fit` returned; None for an attack without `fit`.
        parameters: values of the attack's fields.

    Raises:
        UserError: the attack or a parameter is unknown, or `fitted` does not suit the attack.
    """
    method = attack(name).of(parameters, f"attacks.{name}.trigger")
    if method.Fit is None:
        if fitted is not None:
            raise UserError(f"attack {name!r}: its trigger needs no fit; leave the fitted file out")
    elif fitted is None:
        raise UserError(f"attack {name!r}: its trigger needs a fit; run the `trigger` stage")
    else:
        method.check_fitted(fitted)
    return Trigger(method, seed, fitted or {})


def check_images(images: Tensor) -> None:
    """Check the shape, dtype and range of a batch of images.

    Raises:
        UserError: the images are not (B, 3, H, W), or neither uint8 nor float in [0, 1].
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise UserError(f"images: the shape is {tuple(images.shape)}; give (B, 3, H, W)")
    if images.dtype == torch.uint8:
        return
    if not images.dtype.is_floating_point:
        raise UserError(f"images: the dtype is {images.dtype}; give uint8 or float in [0, 1]")
    if images.numel() and not (images.min() >= 0 and images.max() <= 1):
        raise UserError(
            f"images: the values lie between {images.min():g} and {images.max():g}; give floats in "
            "[0, 1], before normalisation"
        )
