"""Fine-tuning defences: one file per defence, with one class that owns all of it.

A class that derives from `Defense` is a defence: its fields are the keys of `loss` in an entry of
the config's `defenses`, and `kind: NAME` there means taclean/defenses/NAME.py. How to write one:
docs/extending.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from open_clip import CLIP
from pydantic import PrivateAttr
from torch import Tensor

from taclean.captions.artifacts import TextArtifact
from taclean.clip.models import encode_images, encode_tokens
from taclean.config import registry
from taclean.config.schema import DefenseEntry, Train
from taclean.config.section import Method, Schema, optional
from taclean.losses import clip_loss
from taclean.training.distributed import gather
from taclean.training.loader import Batch
from taclean.util.errors import UserError


class Defense(Method, abstract=True):
    """What a training minimises; the fields of a subclass are its parameters.

    By itself it is CLIP's own loss, that of pre-training and poisoning.

    Attributes:
        label, colour: its name and colour (#rrggbb) in tables and figures.
        texts: the text artifacts that it wants, by name.
    """

    label: ClassVar[str] = ""
    colour: ClassVar[str] = ""
    texts: ClassVar[Mapping[str, type[TextArtifact]]] = {}

    _seed: int = PrivateAttr(0)
    _made: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self._seed

    def text(self, name: str) -> Any:
        """The artifact of `texts`, as its `read` gives it."""
        return self._made[name]

    def check(self, epochs: int, rows: int) -> None:
        """Check that the text artifacts were made for this run.

        Raises:
            UserError: they are of another split, or of fewer epochs.
        """
        for name, kind in self.texts.items():
            kind.check(self._made[name], epochs, rows)

    def start(self, model: CLIP) -> None:
        """Get the victim's weights, on the device of the run and before any step or resume."""

    def loss(self, model: CLIP, batch: Batch) -> dict[str, Tensor]:
        """The parts of a batch's loss; `total` is what is minimised, others are logged.

        Here: L_clip of the pairs (Radford et al. 2021).
        """
        embedded = encode_images(model, batch.images), encode_tokens(model, batch.tokens)
        images, texts = gather(*embedded)
        return {"total": clip_loss(images, texts, model.logit_scale.exp())}

    @classmethod
    def described(cls) -> Schema:
        """What the config has to know: label, texts, and the schema of an entry of this kind."""
        entry, loss = DefenseEntry.schema_of(), cls.schema_of()
        loss = loss | {"description": f"Parameters of {cls.name_in_print()}'s loss."}
        texts = {name: kind.schema_of() for name, kind in cls.texts.items()}
        properties = {**entry["properties"], "loss": loss, **texts}
        properties["train"] = optional(Train.schema_of())
        required = [name for name, part in {"loss": loss, **texts}.items() if part.get("required")]
        return {
            "label": cls.name_in_print(),
            "colour": cls.colour,
            "texts": {
                name: f"{kind.__module__}:{kind.__qualname__}" for name, kind in cls.texts.items()
            },
            "entry": entry | {"properties": properties, "required": required},
        }


def defense(name: str) -> type[Defense]:
    """Look a defence up by its file.

    Raises:
        UserError: there is none of that name.
    """
    return registry.load("defenses", name)


def make_defense(
    name: str | None, seed: int = 0, texts: Mapping[str, Any] | None = None, **parameters: Any
) -> Defense:
    """Build a defence with the text artifacts that it wants.

    Args:
        name: the defence's file, such as "cleanclip"; None for CLIP's own loss.

    Raises:
        UserError: unknown defence or parameter, or an artifact is missing.
    """
    kind, texts = defense(name) if name else Defense, texts or {}
    method = kind.of(parameters, f"defenses.{name}.loss")
    for wanted in kind.texts:
        if texts.get(wanted) is None:
            raise UserError(
                f"defense {name!r}: needs {wanted}; make them with `taclean text` and give them"
            )
    method._seed, method._made = seed, {wanted: texts[wanted] for wanted in kind.texts}
    return method
