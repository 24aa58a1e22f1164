"""Fine-tuning defences: one file per defence, with one class that derives from `Defense`.

The fields of the class are the keys of `loss` in an entry of the config's `defenses`. An entry with
`kind: NAME` uses taclean/defenses/NAME.py. docs/extending.md shows how to write a defence.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

from pydantic import PrivateAttr, create_model, model_validator
from torch import Tensor, nn

from taclean.captions.artifacts import TextArtifact
from taclean.clip import CLIP
from taclean.clip.encode import encode_images, encode_tokens
from taclean.config import registry
from taclean.config.schema import DefenseEntry, Train
from taclean.config.section import NAME, Method, WrongKeyError, key
from taclean.data.split import Pairs
from taclean.losses import clip_loss
from taclean.training.distributed import gather
from taclean.training.loader import Batch
from taclean.util.errors import UserError


class Defense(Method, abstract=True):
    """Base class of the defences; the fields of a subclass are the parameters of its loss.

    The base class itself has CLIP's loss, which pre-training and poisoning minimise.

    Attributes:
        label, colour: the defence's name and colour (#rrggbb) in tables and figures.
        texts: kinds of the text artifacts that the defence needs, by name.
        scratch: whether it trains a model of its own, from random weights on the poisoned pairs and
            as long as the victim, instead of a victim on clean pairs.
    """

    label: ClassVar[str] = ""
    colour: ClassVar[str] = ""
    texts: ClassVar[Mapping[str, type[TextArtifact]]] = {}
    scratch: ClassVar[bool] = False

    _seed: int = PrivateAttr(0)
    _made: dict[str, Any] = PrivateAttr(default_factory=dict)
    _kept: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self._seed

    @property
    def failed(self) -> str:
        """Why the defence cannot work in this run: then the model stays as it is, else "".

        `prepare` sets it as `kept["failed"]`.
        """
        return self._kept.get("failed", "")

    @property
    def kept(self) -> dict[str, Any]:
        """Tensors, numbers and texts, by name, that `prepare` or `loss` keeps for later steps.

        Checkpoints hold them, also in lists and mappings. A resume replaces all of them after
        `prepare`, so read them from here each time; the tensors are then on the CPU.
        """
        return self._kept

    def text(self, name: str) -> Any:
        """Return the text artifact `name`, as its `read` returned it."""
        return self._made[name]

    def check(self, epochs: int, rows: int) -> None:
        """Check that the text artifacts were made for this run.

        Raises:
            UserError: an artifact belongs to another split or has too few epochs.
        """
        for name, kind in self.texts.items():
            kind.check(name, self._made[name], epochs, rows)

    def prepare(self, model: CLIP, pairs: Pairs, prompts: Tensor | None) -> None:
        """Do what comes before the first step, such as a search for the trigger.

        A run that is resumed calls it again, so the same arguments must give the same result. It
        runs on every process; `distributed.on_first` gives all of them one result.

        Args:
            model: holds the victim's weights on the device of the run, also in a resumed run. It
                must keep them; gradients are for copies of it.
            pairs: the set to learn from, with the poisoned rows for a defence from `scratch`.
            prompts: tokens (C, T, 77) of each class in each template, for
                `taclean.evaluation.zeroshot.head`. Which class is the target is not known.
        """

    def learns(self, model: CLIP) -> Iterable[nn.Parameter]:
        """Return the weights that learn, by default all; the loss must use each of them.

        A part of the model none of whose weights learn stays in evaluation mode.
        """
        return model.parameters()

    def pace(self, epoch: int) -> float:
        """Return the share of the learning rate that an epoch (from 0) has, by default all."""
        return 1.0

    def rests(self, model: CLIP, epoch: int) -> Iterable[nn.Parameter]:
        """Return the weights that stand still in an epoch (from 0), by default none.

        A gradient of 0 is not enough: the optimizers would move them on, by their momentum.
        """
        return ()

    def loss(self, model: CLIP, batch: Batch) -> dict[str, Tensor]:
        """Return the loss of a batch: `total` is minimised, other parts are logged.

        The base class returns L_clip of the pairs (Radford et al. 2021).
        """
        embedded = encode_images(model, batch.images), encode_tokens(model, batch.tokens)
        images, texts = gather(*embedded)
        return {"total": clip_loss(images, texts, model.logit_scale.exp())}

    def finish(self, model: CLIP) -> None:
        """Change the weights in place after the last step, such as interpolate or prune them."""

    @classmethod
    def entry(cls) -> type[DefenseEntry]:
        """Return the class of the config's entries of this kind."""
        if cls.scratch and cls.texts:
            raise ValueError("scratch excludes texts, which are made from clean captions")
        # The class's own label and colour have the limits of the keys of the same names.
        DefenseEntry.of({"label": cls.label or None, "colour": cls.colour or None}, cls.__name__)
        loss = f"Parameters of {cls.name_in_print()}'s loss."
        sections = {"loss": (cls, loss), **{name: (kind, None) for name, kind in cls.texts.items()}}
        taken = {*DefenseEntry.model_fields, "loss", "train"}
        for name, kind in cls.texts.items():
            if not re.fullmatch(NAME, name) or name in taken:
                why = f"{name!r} is no name, or a key of every defence; rename it"
                raise ValueError(f"texts: {why}")
            for method in ("write", "read", "made_for", "example"):
                if getattr(kind, method).__qualname__.startswith("TextArtifact."):
                    raise ValueError(f"{kind.__name__} has no method {method}; define it")
        fields: dict[str, Any] = {}
        for name, (section, text) in sections.items():
            needed = any(field.is_required() for field in section.model_fields.values())
            fields[name] = (section, key(... if needed else section(), text))
        fields["train"] = (Train.some(), key(None, "What differs from `finetune.train`."))
        base = _ScratchEntry if cls.scratch else DefenseEntry
        entry = create_model(f"{cls.__name__}Entry", __base__=base, **fields)
        entry.method = cls
        return entry


class _ScratchEntry(DefenseEntry):
    """An entry of a defence from scratch, whose start and rows are those of the victim."""

    @model_validator(mode="after")
    def _as_the_victim(self) -> Self:
        for name in {"after", "overlap", "rows", "split"} & self.model_fields_set:
            text = "the defence trains from random weights on all poisoned rows; leave it out"
            raise WrongKeyError(name, text)
        return self


def defense(name: str) -> type[Defense]:
    """Return the defence class of the file `name`.

    Raises:
        UserError: no defence has that name.
    """
    return registry.load("defenses", name)


def make_defense(
    name: str | None, seed: int = 0, texts: Mapping[str, Any] | None = None, **parameters: Any
) -> Defense:
    """Create a defence.

    Args:
        name: name of the defence's file, such as "cleanclip"; None for CLIP's loss alone.
        seed: seed of the run.
        texts: text artifacts by name, as their `read` returned them.
        parameters: values of the defence's fields.

    Raises:
        UserError: the defence or a parameter is unknown, or a text artifact is missing.
    """
    kind, texts = defense(name) if name else Defense, texts or {}
    method = kind.of(parameters, f"defenses.{name}.loss")
    for wanted in kind.texts:
        if texts.get(wanted) is None:
            raise UserError(
                f"defence {name!r}: {wanted} are missing; make them with `taclean text`"
            )
    method._seed, method._made = seed, {wanted: texts[wanted] for wanted in kind.texts}
    return method
