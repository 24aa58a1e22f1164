"""Detectors of backdoors: one file per method. They read a model and change nothing.

A detector of poisoned rows or of triggered pictures is a file with one class that derives from
`Detector`; its fields are the keys of `score` in an entry of the config's `detectors`. The scan
(scan.py) looks for the target of a model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import create_model
from torch import Tensor

from taclean.config import registry
from taclean.config.schema import DetectorEntry
from taclean.config.section import Method, key
from taclean.evaluation.zeroshot import Heads


@dataclass(frozen=True)
class Seen:
    """Pictures as a model sees them; embeddings are float32 of unit norm on the model's device.

    Attributes:
        pictures: (N, 3, H, W) uint8.
        images: (N, d) embeddings of the pictures.
        texts: (N, d) embeddings of their captions; None for pictures that a user gives.
        trusted: (M, 3, H, W) uint8 pictures that are known to be clean: those of the val split.
        heads: the model with its zero-shot heads.
        embed: the function that embeds further pictures (B, 3, H, W) uint8: (B, d).
        seed: seed of the run.
    """

    pictures: Tensor
    images: Tensor
    texts: Tensor | None
    trusted: Tensor
    heads: Heads
    embed: Callable[[Tensor], Tensor]
    seed: int = 0


class Detector(Method, abstract=True):
    """Base class of the detectors; the fields of a subclass are the parameters of its score.

    Attributes:
        label: the detector's name in tables.
        looks_at: "rows" of a training set, of which some are poisoned, or "images" at test time, of
            which some have the trigger.
    """

    label: ClassVar[str] = ""
    looks_at: ClassVar[Literal["rows", "images"]] = "rows"

    def score(self, seen: Seen) -> Tensor:
        """Return (N,) scores of the pictures; a higher one is more suspicious."""
        raise NotImplementedError

    @classmethod
    def entry(cls) -> type[DetectorEntry]:
        """Return the class of the config's entries of this kind."""
        if cls.score is Detector.score or cls.looks_at not in ("rows", "images"):
            raise ValueError("define score, and looks_at as 'rows' or 'images'")
        needed = any(field.is_required() for field in cls.model_fields.values())
        score = key(... if needed else cls(), f"Parameters of {cls.name_in_print()}'s score.")
        fields: dict[str, Any] = {"score": (cls, score)}
        entry = create_model(f"{cls.__name__}Entry", __base__=DetectorEntry, **fields)
        entry.method = cls
        return entry


def make_detector(kind: str, parameters: Mapping[str, Any]) -> Detector:
    """Create the detector of the file `kind` with values of its fields.

    Raises:
        UserError: the detector or a parameter is unknown.
    """
    method: type[Detector] = registry.load("detectors", kind)
    return method.of(parameters, f"detectors.{kind}.score")
