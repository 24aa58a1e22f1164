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
TABLE = ["| key | type | default | range | meaning |", "|---|---|---|---|---|"]
TYPES = {
    "array": "list", "object": "section", "integer": "whole number", "string": "text",
    "boolean": "true or false",
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


def _plain(node: Any) -> Any:
    """Return a schema of pydantic's without titles, required keys and line breaks."""
    if isinstance(node, list):
        return [_plain(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    out: Schema = {}
    for name, value in node.items():
        if name in ("properties", "$defs", "patternProperties"):
            out[name] = {key: _plain(part) for key, part in value.items()}
        elif name == "description":
            out[name] = " ".join(value.split("\n\n")[0].split())
        elif name == "default" and value is not None:
            out[name] = value
        elif name not in ("title", "required", "discriminator", "rowsOf", "default"):
            out["anyOf" if name == "oneOf" else name] = _plain(value)
    return out


def reference() -> str:
    """Return config/README.md."""
    whole, given = schema(), configs.read(configs.DEFAULT)
    parts = whole["$defs"]
    lines = [HEAD]
    for name, part in whole["properties"].items():
        section = _resolved(part, parts)
        lines += [f"\n## `{name}`\n\n{section['description']}\n"]
        if name in registry.BASES:
            lines += _methods(name, section, given[name], parts)
            continue
        lines += [*TABLE, *_rows(section, given.get(name, {}), name, parts), ""]
        more = section.get("additionalProperties")
        for form in more["anyOf"] if isinstance(more, dict) else []:
            form = _resolved(form, parts)
            lines += [f"\n### `data.NAME`, `form: {form['properties']['form']['const']}`\n"]
            lines += [*TABLE, *_rows(form, {}, "data.NAME", parts), ""]
    lines += ["\n## `train`\n", "Keys of `train` in `base`, `poison` and `finetune`; `train` of an"]
    lines += ["attack or a defence changes some of them.\n", *TABLE]
    lines += [*_rows(parts["Train"], {}, "train", parts), ""]
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n"


def _methods(folder: str, section: Schema, given: Schema, parts: Schema) -> list[str]:
    entries = {name: _resolved(part, parts) for name, part in section["properties"].items()}
    first, *others = (entry["properties"] for entry in entries.values())
    shared = {
        key: part
        for key, part in first.items()
        if key == "at_test" or (key != "trigger" and all(o.get(key) == part for o in others))
    }
    lines = [*TABLE, *_rows({"properties": shared}, {}, f"{folder}.NAME", parts), ""]
    for name, entry in entries.items():
        own = {key: part for key, part in entry["properties"].items() if key not in shared}
        lines += [f"\n### `kind: {name}`\n", *TABLE]
        lines += [*_rows({"properties": own}, given.get(name, {}), f"{folder}.{name}", parts), ""]
    return lines


def _resolved(part: Schema, parts: Schema) -> Schema:
    """Return a schema without its reference and without null, which removes a key."""
    kinds = [kind for kind in part.get("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) == 1:
        part = {**kinds[0], **{key: value for key, value in part.items() if key != "anyOf"}}
    elif kinds:
        part = {**part, "anyOf": kinds}
    if "$ref" in part:
        found = parts[part["$ref"].rpartition("/")[2]]
        part = {**found, **{key: value for key, value in part.items() if key != "$ref"}}
    return part


def _rows(section: Schema, given: Any, path: str, parts: Schema) -> list[str]:
    lines = []
    for name, part in section.get("properties", _named(section)).items():
        part, where = _resolved(part, parts), f"{path}.{name}"
        value = given.get(name) if isinstance(given, dict) else None
        if name in ("train", "at_test"):
            lines.append(_row(where, {"type": "object", "description": part["description"]}, None))
        elif "properties" in part:
            lines += _rows(part, value, where, parts)
        else:
            lines.append(_row(where, part, value))
            lines += _rows(part, None, where, parts)
    return lines


def _named(part: Schema) -> Schema:
    """Return the schema of the values of a mapping by names, if they are sections."""
    inner: Schema = next(iter(part.get("patternProperties", {}).values()), {})
    return {"NAME": inner} if "$ref" in inner else {}


def _row(path: str, part: Schema, value: Any) -> str:
    default = value if value is not None else part.get("default")
    shown = "" if default is None or isinstance(default, dict) else json.dumps(default)
    shown = "see the file" if len(shown) > 60 else shown
    default = f"`{shown}`" if shown else ""
    cells = [f"`{path}`", _type(part), default, _range(part), part.get("description", "")]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(part: Schema) -> str:
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(_type(kind) for kind in part["anyOf"]))
    found = str(part.get("type", "text"))
    return TYPES.get(found, found)


def _range(part: Schema) -> str:
    """Return the range of a key in words: '0 to 1', 'above 0', 'a or b'."""
    if "enum" in part:
        return " or ".join(map(str, part["enum"]))
    if part.get("type") == "array":
        inner = _range(part.get("items", {}))
        return f"each {inner}" if inner else ""
    low, high = part.get("minimum"), part.get("maximum")
    if part.get("type") == "integer" and "exclusiveMinimum" in part:
        low = part["exclusiveMinimum"] + 1
    elif "exclusiveMinimum" in part:
        above = f"above {part['exclusiveMinimum']:g}"
        return f"{above}, at most {high:g}" if high is not None else above
    if "exclusiveMaximum" in part:
        return f"{low:g} or more, below {part['exclusiveMaximum']:g}"
    if high is not None:
        return f"{low:g} to {high}"
    return "" if low is None else f"{low:g} or more"
