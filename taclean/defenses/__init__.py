"""Fine-tuning defences: one file per defence; every file here with a class that says NEEDS is one.

A defence is a class whose constructor takes `seed`, its parameters by name and the text artifacts
it NEEDS ("variants", "subcaptions"), and whose `loss(model, batch)` the training loop minimises.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from taclean.errors import UserError
from taclean.parameters import check
from taclean.train import Objective

_FILES = [
    importlib.import_module(f"{__name__}.{file.name}") for file in pkgutil.iter_modules(__path__)
]
DEFENSES: dict[str, Any] = {
    file.__name__.rpartition(".")[2]: value
    for file in _FILES
    for value in vars(file).values()
    if hasattr(value, "NEEDS") and value.__module__ == file.__name__
}


def defense(name: str) -> Any:
    """Look a defence up.

    Raises:
        UserError: there is none of that name.
    """
    if name not in DEFENSES:
        raise UserError(f"defense {name!r}: unknown; known are {', '.join(DEFENSES)}")
    return DEFENSES[name]


def make_defense(
    name: str, seed: int = 0, texts: dict[str, Any] | None = None, **parameters: Any
) -> Objective:
    """Build a defence with the text artifacts it needs.

    Raises:
        UserError: unknown defence or parameter, or an artifact is missing.
    """
    cls, texts = defense(name), texts or {}
    check(f"defenses.{name}.loss", cls, parameters, {"seed", *cls.NEEDS})
    for key, value in parameters.items():
        if key.startswith("lambda") and value < 0:
            raise UserError(f"defenses.{name}.loss.{key}: {value:g}; give a weight of 0 or more")
    for need in cls.NEEDS:
        if texts.get(need) is None:
            raise UserError(f"defense {name!r}: needs {need}; make them with `taclean {need}`")
    return cls(seed=seed, **{need: texts[need] for need in cls.NEEDS}, **parameters)
