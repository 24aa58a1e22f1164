"""Labels of a source as those of the run, and captions that are made of them."""

from __future__ import annotations

import random
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from taclean.data.layout import one_line
from taclean.util.errors import UserError


@dataclass(frozen=True)
class RunLabels:
    """What the labels of a source are among the run's classes.

    Args:
        own: the source's classes; None where its labels count the run's.
        classes: the run's.
    """

    own: Sequence[str] | None
    classes: Sequence[str]

    @cached_property
    def _places(self) -> list[int | None]:
        own, classes = self.own, list(self.classes)
        if own is None or list(own) == classes:  # also where two classes have one name
            return list(range(len(classes)))
        exact = {name: i for i, name in reversed(list(enumerate(classes)))}
        close = {_plain_name(name): i for name, i in exact.items()}
        unsure = Counter(map(_plain_name, exact))
        return [
            exact.get(name, close.get(plain) if unsure[plain] == 1 else None)
            for name, plain in zip(own, map(_plain_name, own), strict=True)
        ]

    def place(self, label: int) -> int:
        """The run's label of a source's; -1, for none, stays.

        Raises:
            UserError: the class is none of the run's.
        """
        if label < 0:
            return -1
        found = self._places[label] if label < len(self._places) else None
        if found is None:
            own = self.own or []
            what = f"class {own[label]!r}" if label < len(own) else f"label {label}"
            some = ", ".join(self.classes[:5]) + (", ..." if len(self.classes) > 5 else "")
            raise UserError(
                f"{what}: none of the run's {len(self.classes)} classes ({some}); add it to "
                "classes, or correct its name in the source"
            )
        return found


@dataclass(frozen=True)
class LabelCaptions:
    """Captions for pictures that have only labels.

    Args:
        templates: `{}` stands for the class.
        classes: what the labels count.
        seed: of the draw.
    """

    templates: Sequence[str]
    classes: Sequence[str]
    seed: int

    def caption(self, row: int, label: int) -> str:
        """A caption, a function of the row's id in its source, its label and the seed alone."""
        template = random.Random(f"{self.seed}:{row}").choice(self.templates)
        return one_line(template.replace("{}", self.classes[label]))


def _plain_name(name: str) -> str:
    """For a comparison that sees no case, and no difference between `_`, `-` and a blank."""
    return one_line(re.sub("[_-]", " ", unicodedata.normalize("NFC", name))).casefold()
