"""Print the reference of all config keys as Markdown, or as a JSON schema."""

from __future__ import annotations

import json
from typing import Any


def arguments(add: Any) -> None:
    """Options."""
    add("--schema", "print the JSON schema for editors", action="store_true", default=False)


def run(options: Any) -> None:
    """Print it."""
    from taclean.config.reference import reference, schema

    print(json.dumps(schema(), indent=1) if options.schema else reference().rstrip("\n"))
