"""Fine-tuning defences: one file per defence, with one class that owns all of it.

A class that derives from `Defense` is a defence: its fields are the keys of `loss` in an entry of
the config's `defenses`, and `kind: NAME` there means taclean/defenses/NAME.py. How to write one:
docs/extending.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import PrivateAttr, create_model
from torch import Tensor

from taclean.captions.kinds import TextArtifact
from taclean.clip.encode import encode_images, encode_tokens
from taclean.config import registry
from taclean.config.schema import DefenseEntry, Train
from taclean.config.section import Method, key
from taclean.losses import clip_loss
from taclean.training.distributed import gather
from taclean.training.loader import Batch
from taclean.util.errors import UserError

if TYPE_CHECKING:
    from open_clip import CLIP


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
    def entry(cls) -> type[DefenseEntry]:
        """Return the class of the config's entries of this kind."""
        loss = f"Parameters of {cls.name_in_print()}'s loss."
        sections = {"loss": (cls, loss), **{name: (kind, None) for name, kind in cls.texts.items()}}
        fields: dict[str, Any] = {}
        for name, (section, text) in sections.items():
            needed = any(field.is_required() for field in section.model_fields.values())
            fields[name] = (section, key(... if needed else section(), text))
        fields["train"] = (Train.some(), key(None, "What differs from `finetune.train`."))
        entry = create_model(f"{cls.__name__}Entry", __base__=DefenseEntry, **fields)
        entry.method = cls
        return entry


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
