"""Print the reference of all config keys as Markdown."""

from __future__ import annotations

from typing import Any

from taclean.config.reference import reference


def arguments(add: Any) -> None:
    """None."""


def run(options: Any) -> None:
    """Print it."""
    print(reference(), end="")
