"""config/README.md: every key with its type, default, range and meaning."""

from __future__ import annotations

import json
from typing import Any

from taclean import config as configs
from taclean.config import registry
from taclean.config.schema import Config as Top
from taclean.config.section import Schema, limits

HEAD = """# The config, key by key

Made from the classes that define the keys (`taclean/config/schema.py`, and each attack's and
defence's own file) by `python -m taclean keys`; a test keeps it in step. An overlay
(`--configfile`) gives only what differs from `config/config.yaml`: mappings are merged, lists
replaced, and a key that is set to `null` is taken away. Unknown keys are refused.

The default is that of `config/config.yaml` where it gives one, else that of the code; a key
without one may be left out.
"""
TABLE = ["| key | type | default | range | meaning |", "|---|---|---|---|---|"]


def reference() -> str:
    """The page as Markdown."""
    given = configs.resolve(configs.read_yaml(configs.DEFAULT))
    top = Top.schema_of()
    lines = [HEAD]
    for name, schema in top["properties"].items():
        folder = name if name in registry.BASES else ""
        lines += [f"\n## `{name}`\n\n{schema['description']}\n"]
        if folder:
            lines += _methods(folder, given[folder])
        else:
            lines += [*TABLE, *_rows(schema, given.get(name, {}), name), ""]
    train = top["properties"]["base"]["properties"]["train"]
    lines += [
        "\n## `train`\n",
        "Of `base`, `poison` and `finetune`; an attack's or a defence's own",
    ]
    lines += ["`train` changes some of its keys.\n", *TABLE, *_rows(train, {}, "train"), ""]
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n"


def _methods(folder: str, given: dict[str, Any]) -> list[str]:
    entries = {
        name: registry.described(folder, name, name)["entry"] for name in registry.names(folder)
    }
    first, *others = entries.values()
    shared = {
        key: part
        for key, part in first["properties"].items()
        if all(other["properties"].get(key) == part for other in others)
    }
    lines = [*TABLE, *_rows({"properties": shared}, {}, f"{folder}.NAME"), ""]
    for name, entry in entries.items():
        own = {key: part for key, part in entry["properties"].items() if key not in shared}
        lines += [f"\n### `kind: {name}`\n", *TABLE]
        lines += [*_rows({"properties": own}, given.get(name, {}), f"{folder}.{name}"), ""]
    return lines


def _rows(schema: Schema, given: Any, path: str) -> list[str]:
    lines = []
    for key, part in schema.get("properties", {}).items():
        value = given.get(key) if isinstance(given, dict) else None
        where, inner = f"{path}.{key}", part.get("additionalProperties")
        if "properties" in part and key != "train":
            lines += _rows(part, value, where)
        else:
            lines.append(_row(where, part, value))
            if isinstance(inner, dict) and "properties" in inner:
                lines += _rows(inner, None, f"{where}.NAME")
    if isinstance(inner := schema.get("additionalProperties"), dict) and "properties" in inner:
        lines += _rows(inner, None, f"{path}.NAME")
    return lines


def _row(path: str, part: Schema, value: Any) -> str:
    default = value if value is not None else part.get("default")
    shown = "" if default is None or isinstance(default, dict) else json.dumps(default)
    if len(shown) > 60:
        shown = "see the file"
    if path.rpartition(".")[2] == "train":
        shown, kind, text = "", "section", "See `train` below."
    else:
        kind, text = _kind(part), part.get("description", "")
    cells = [f"`{path}`", kind, f"`{shown}`" if shown else "", limits(part), text]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _kind(part: Schema) -> str:
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(_kind(entry) for entry in part["anyOf"]))
    names = {
        "array": "list", "object": "section", "integer": "whole number", "string": "text",
        "boolean": "true or false",
    }  # fmt: skip
    found = str(part.get("type", "text"))
    return names.get(found, found)
