"""The reference of the config: config/README.md for readers, config/schema.json for editors."""

from __future__ import annotations

import json
from typing import Any

from pydantic import create_model

from taclean import config as configs
from taclean.config import registry
from taclean.config.schema import Config
from taclean.config.section import Section, key

Schema = dict[str, Any]
HEAD = """# The config, key by key

Made from the classes that define the keys (`taclean/config/schema.py`, and each attack's and
defence's own file) by `python -m taclean keys`; a test keeps it in step. An overlay
(`--configfile`) gives only what differs from `config/config.yaml`: mappings are merged, lists
replaced, and a key that is set to `null` is removed. Unknown keys are refused. For completion and
checks while you type, point your editor's YAML plugin to `config/schema.json`.

The default is that of `config/config.yaml` if it gives one, else that of the code; a key without a
default can be left out.
"""
TRAIN = "\n## `train`\n\nKeys of `train`; an attack or a defence can change some of them.\n"
TABLE = ["| key | type | default | range | meaning |", "|---|---|---|---|---|"]
TYPES = {
    "array": "list", "object": "section", "integer": "whole number", "string": "text",
    "boolean": "true or false",
}  # fmt: skip
RANGES = {
    "minimum": "{:g} or more", "exclusiveMinimum": "above {:g}",
    "maximum": "at most {}", "exclusiveMaximum": "below {:g}",
}  # fmt: skip


def schema() -> Schema:
    """Return the JSON schema of config files; overlays pass it, too, so no key is required."""
    every: Schema = {}
    for folder in registry.BASES:
        entries: Schema = {
            name: (registry.entry(folder, name), None) for name in registry.names(folder)
        }
        section = create_model(folder.title(), __base__=Section, **entries)
        every[folder] = (section, key(None, Config.model_fields[folder].description))
    whole = _plain(create_model("Whole", __base__=Config, **every).model_json_schema())
    for folder in registry.BASES:  # entries of other names have the keys of one of the kinds
        section = whole["$defs"][folder.title()]
        section["additionalProperties"] = {"anyOf": list(section["properties"].values())}
    return whole


def _plain(node: Any, parts: Schema | None = None) -> Any:
    """Return pydantic's schema without titles, required keys and line breaks.

    Args:
        parts: definitions, to also resolve references and to drop null, which removes a key.
    """
    if isinstance(node, list):
        return [_plain(entry, parts) for entry in node]
    if not isinstance(node, dict):
        return node
    if parts and "anyOf" in node:
        kinds = [kind for kind in node["anyOf"] if kind != {"type": "null"}]
        node = {**(kinds[0] if len(kinds) == 1 else {}), "anyOf": kinds, **_but(node, "anyOf")}
        node = _but(node, "anyOf") if len(kinds) == 1 else node
    if parts and "$ref" in node:
        node = {**parts[node["$ref"].rpartition("/")[2]], **_but(node, "$ref")}
    out: Schema = {}
    for name, value in node.items():
        if name in ("properties", "$defs", "patternProperties"):
            out[name] = {entry: _plain(part, parts) for entry, part in value.items()}
        elif name == "description":
            out[name] = " ".join(value.split("\n\n")[0].split())
        elif name == "default" and value is not None:
            out[name] = value
        elif name not in ("title", "required", "discriminator", "rowsOf", "default"):
            out["anyOf" if name == "oneOf" else name] = _plain(value, parts)
    return out


def _but(node: Schema, name: str) -> Schema:
    return {key: value for key, value in node.items() if key != name}


def reference() -> str:
    """Return config/README.md."""
    whole, given, lines = schema(), configs.read(configs.DEFAULT), [HEAD]
    train = _plain(whole["$defs"]["Train"], whole["$defs"])
    for name, section in _plain(whole["properties"], whole["$defs"]).items():
        lines += [f"\n## `{name}`\n\n{section['description']}\n"]
        if name in registry.BASES:
            lines += _methods(name, section["properties"], given[name])
            continue
        lines += _table(section, given.get(name), name)
        forms = section["additionalProperties"]["anyOf"] if name == "data" else []
        for form in forms:
            lines += [f"\n### `data.NAME`, `form: {form['properties']['form']['const']}`\n"]
            lines += _table(form, None, "data.NAME")
    lines += [TRAIN, *_table(train, None, "train")]
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n"


def _methods(folder: str, entries: Schema, given: Schema) -> list[str]:
    first, *others = (entry["properties"] for entry in entries.values())
    shared = {
        key: part
        for key, part in first.items()
        if key == "at_test" or (key != "trigger" and all(o.get(key) == part for o in others))
    }
    lines = _table({"properties": shared}, None, f"{folder}.NAME")
    for name, entry in entries.items():
        own = {key: part for key, part in entry["properties"].items() if key not in shared}
        lines += [f"\n### `kind: {name}`\n"]
        lines += _table({"properties": own}, given.get(name), f"{folder}.{name}")
    return lines


def _table(section: Schema, given: Any, path: str) -> list[str]:
    return [*TABLE, *_rows(section, given, path), ""]


def _rows(section: Schema, given: Any, path: str) -> list[str]:
    lines = []
    named = zip(["NAME"], section.get("patternProperties", {}).values(), strict=False)
    for name, part in section.get("properties", dict(named)).items():
        where, value = f"{path}.{name}", given.get(name) if isinstance(given, dict) else None
        if "properties" in part and name not in ("train", "at_test"):
            lines += _rows(part, value, where)
        elif name != "NAME":
            lines.append(_row(where, part, value))
            lines += _rows(_but(part, "properties"), None, where)
    return lines


def _row(path: str, part: Schema, value: Any) -> str:
    default = value if value is not None else part.get("default")
    shown = "" if default is None or isinstance(default, dict) else f"`{json.dumps(default)}`"
    shown = "see the file" if len(shown) > 62 else shown
    cells = [f"`{path}`", _type(part), shown, _range(part), part.get("description", "")]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(part: Schema) -> str:
    if "anyOf" in part:
        return " or ".join(_type(kind) for kind in part["anyOf"])
    kind = str(part.get("type", "string"))
    return TYPES.get(kind, kind)


def _range(part: Schema) -> str:
    """Return the range of a key in words, such as "0 to 1", "above 0" or "a or b"."""
    if "enum" in part:
        return " or ".join(map(str, part["enum"]))
    if inner := _range(part.get("items", {})) if part.get("type") == "array" else "":
        return f"each {inner}"
    words = (text.format(part[name]) for name, text in RANGES.items() if name in part)
    return ", ".join(words).replace(" or more, at most ", " to ")
