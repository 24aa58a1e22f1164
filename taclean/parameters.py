"""Parameters given by name, checked against the function that takes them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from taclean.errors import UserError


def check(
    where: str, function: Callable[..., Any], values: Mapping[str, Any], hidden: set[str]
) -> None:
    """Check names and types; a parameter's default says of what type it is.

    Args:
        where: the config section, for the message.
        hidden: parameters that are not the user's to give.

    Raises:
        UserError: unknown name, another type than the default's, or a number that is not finite.
    """
    known = {
        key: parameter.default
        for key, parameter in inspect.signature(function).parameters.items()
        if key not in hidden
    }
    for key, value in values.items():
        if key not in known:
            takes = ", ".join(sorted(known)) or "none"
            raise UserError(f"{where}.{key}: unknown parameter; known are {takes}")
        default = known[key]
        number = isinstance(default, int | float) and not isinstance(default, bool)
        if number:
            good = isinstance(value, int | float) and not isinstance(value, bool)
            good = good and math.isfinite(value)
        else:
            good = isinstance(value, type(default))
        if not good:
            kind = "a finite number" if number else f"a {type(default).__name__}"
            raise UserError(f"{where}.{key}: {value!r}; give {kind}, such as {default!r}")
