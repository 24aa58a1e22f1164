"""Labels of a source as those of the run, and captions that are made of them."""

from __future__ import annotations

import random
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from taclean.data.layout import one_line
from taclean.util.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def class_name(text: str) -> str:
    """Return a class's name as prompts have it: `_` is a blank, and letters are composed (NFC)."""
    return one_line(unicodedata.normalize("NFC", text).replace("_", " "))


def count_classes(table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Return a source's table with labels that count the run's classes.

    Names are compared exactly, or else without regard to case, `_`, `-` and blanks.

    Args:
        table: labels count `attrs["classes"]`, or the run's own classes where that is None; -1,
            for no class, stays.
        classes: the run's classes.

    Raises:
        UserError: a class of the table is not one of the run's.
    """
    own, classes = table.attrs["classes"], list(classes)
    places = dict(enumerate(_places(own, classes))) | {-1: -1}
    for label in table["label"].unique().tolist():
        if places.get(label) is None:
            known = own is not None and label < len(own)
            what = f"class {own[label]!r}" if known else f"label {label}"
            some = ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")
            raise UserError(
                f"{what}: not one of the run's {len(classes)} classes ({some}); add it to "
                "classes, or correct its name in the source"
            )
    counted = table.assign(label=table["label"].map(places).astype("int64"))
    counted.attrs["classes"] = classes
    return counted


def _places(own: Sequence[str] | None, classes: list[str]) -> Sequence[int | None]:
    """Return the place of each of a source's classes among the run's, None where it has none."""
    if own is None or list(own) == classes:  # also where two classes have one name
        return range(len(classes))
    exact = {name: i for i, name in reversed(list(enumerate(classes)))}
    close = {_plain_name(name): i for name, i in exact.items()}
    names = Counter(map(_plain_name, exact))
    return [
        exact.get(name, close.get(plain) if names[plain] == 1 else None)
        for name, plain in zip(own, map(_plain_name, own), strict=True)
    ]


def _plain_name(name: str) -> str:
    return one_line(re.sub("[_-]", " ", unicodedata.normalize("NFC", name))).casefold()


def add_captions(table: pd.DataFrame, templates: Sequence[str], seed: int) -> pd.DataFrame:
    """Return a table of labelled pictures with captions, for training on them as pairs.

    Args:
        table: labels count `attrs["classes"]`.
        templates: each row draws one by its id and the seed alone; `{}` stands for the class.
        seed: seed of the draw.
    """
    names = table.attrs["classes"]
    return table.assign(
        caption=[
            random.Random(f"{seed}:{row}").choice(templates).replace("{}", names[label])
            for row, label in table["label"].items()
        ]
    )
