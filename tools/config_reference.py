"""The reference of the config: config/README.md for readers, config/schema.json for editors."""

import json
import os
import sys
from typing import Any

from pydantic import create_model

os.environ["TACLEAN_DESCRIBE"] = "1"  # before the classes of the config are made
from taclean import config as configs
from taclean.config import registry
from taclean.config.schema import Config
from taclean.config.section import Section, key

Schema = dict[str, Any]
HEAD = """# The config, key by key

Made from the classes that define the keys (`taclean/config/schema.py`, and each attack's and
defence's own file) by `python -m tools.config_reference`; a test keeps it in step. An overlay
(`--configfile`) gives only what differs from `config/config.yaml`: mappings are merged, lists
replaced, and a key that is set to `null` is removed. Unknown keys are refused. For completion and
checks while you type, point your editor's YAML plugin to `config/schema.json`.

The default is that of `config/config.yaml` if it gives one, else that of the code; a key without a
default is optional or required, and a required one that is missing is refused.
"""
TRAIN = "\n## `train`\n\nKeys of `train`; an attack or a defence can change some of them.\n"
TABLE = "| key | type | default | range | meaning |\n|---|---|---|---|---|"
TYPES = {
    "array": "list", "object": "section", "integer": "whole number", "string": "text",
    "boolean": "true or false",
}  # fmt: skip
RANGES = {
    "minimum": "{:g} or more", "exclusiveMinimum": "above {:g}",
    "maximum": "at most {}", "exclusiveMaximum": "below {:g}",
}  # fmt: skip
DROPPED = ("title", "required", "rowsOf")


def schema() -> Schema:
    """Return the JSON schema of config files; overlays pass it, too, so no key is required."""
    every: Schema = {}
    for folder in registry.BASES:
        entries: Schema = {
            name: (registry.entry(folder, name), None) for name in registry.names(folder)
        }
        section = create_model(folder.title(), __base__=Section, **entries)
        every[folder] = (section, key(None, Config.model_fields[folder].description))
    whole = create_model("Whole", __base__=Config, **every).model_json_schema()
    plain: Schema = json.loads(json.dumps(whole), object_hook=_plain)
    for folder in registry.BASES:  # entries of other names have the keys of one of the kinds
        section = plain["$defs"][folder.title()]
        section["additionalProperties"] = {"anyOf": list(section["properties"].values())}
    return plain


def _plain(node: Schema) -> Schema:
    """Return a node of pydantic's schema without titles, required keys and line breaks."""
    out = {}
    for name, value in node.items():
        if name == "description" and isinstance(value, str):
            value = " ".join(value.split("\n\n")[0].split())
        # A mapping with such a name is a key of the config.
        if value is not None and (name not in DROPPED or isinstance(value, dict)):
            out["anyOf" if name == "oneOf" else name] = value
    return out


def _inlined(schema: Schema) -> Schema:
    """Return the schema with definitions in place of references to them, and without null."""

    def inline(node: Schema) -> Schema:
        kinds = [kind for kind in node.get("anyOf", []) if kind != {"type": "null"}]
        if len(kinds) == 1:
            node = kinds[0] | node
            del node["anyOf"]
        if "$ref" in node:
            node = schema["$defs"][node.pop("$ref").rpartition("/")[2]] | node
        return node

    text = json.dumps(schema)
    while "$ref" in text:
        text = json.dumps(json.loads(text, object_hook=inline))
    whole: Schema = json.loads(text)
    return whole


def reference() -> str:
    """Return config/README.md."""
    whole, given, lines = _inlined(schema()), configs.read(configs.DEFAULT), [HEAD]
    for name, section in whole["properties"].items():
        lines.append(f"\n## `{name}`\n\n{section['description']}\n")
        if name in registry.BASES:
            lines += _methods(name, section["properties"], given[name])
            continue
        lines += _table(section, given.get(name), name)
        for form in section["additionalProperties"]["anyOf"] if name == "data" else []:
            lines.append(f"\n### `data.NAME`, `form: {form['properties']['form']['const']}`\n")
            lines += _table(form, None, "data.NAME")
    lines += [TRAIN, *_table(whole["$defs"]["Train"], None, "train")]
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n"


def _methods(folder: str, entries: Schema, given: Schema) -> list[str]:
    """Return a table of the keys that all methods share, and one for each method's own keys."""
    first, *others = (entry["properties"] for entry in entries.values())
    own = ("trigger", "loss", "score")
    shared = [key for key in first if key not in own and all(key in other for other in others)]
    lines = _table({"properties": {key: first[key] for key in shared}}, None, f"{folder}.NAME")
    for name, entry in entries.items():
        keys = {key: part for key, part in entry["properties"].items() if key not in shared}
        lines.append(f"\n### `kind: {name}`\n")
        lines += _table({"properties": keys}, given.get(name), f"{folder}.{name}")
    return lines


def _table(section: Schema, given: Any, path: str) -> list[str]:
    return [TABLE, *_rows(section, given, path), ""]


def _rows(section: Schema, given: Any, path: str) -> list[str]:
    """Return the rows of a section's keys; `given` has their values in config/config.yaml."""
    lines = []
    for name, part in section.get("properties", {}).items():
        where, value = f"{path}.{name}", given.get(name) if isinstance(given, dict) else None
        inner = {} if name in ("train", "at_test") else part  # which have a table of their own
        if "properties" not in inner:
            lines.append(_row(where, part, value))
        lines += _rows(inner, value, where)
    for part in section.get("patternProperties", {}).values():
        lines += _rows(part, None, f"{path}.NAME")
    return lines


def _row(path: str, part: Schema, value: Any) -> str:
    default = part.get("default") if value is None else value
    shown = "" if default is None or isinstance(default, dict) else f"`{json.dumps(default)}`"
    shown = "see the file" if len(shown) > 62 else shown
    types = [kind.get("type", "string") for kind in part.get("anyOf", [part])]
    kinds = " or ".join(TYPES.get(kind, kind) for kind in types if kind != "null")
    cells = [f"`{path}`", kinds, shown, _range(part), part.get("description", "")]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _range(part: Schema) -> str:
    """Return the range of a key in words, such as "0 to 1", "above 0" or "a or b"."""
    if "enum" in part:
        return " or ".join(map(str, part["enum"]))
    if "items" in part:
        inner = _range(part["items"])
        return f"each {inner}" if inner else ""
    words = (text.format(part[name]) for name, text in RANGES.items() if name in part)
    return ", ".join(words).replace(" or more, at most ", " to ")


if __name__ == "__main__":
    as_json = sys.argv[1:] == ["--schema"]
    print(json.dumps(schema(), indent=1) if as_json else reference().rstrip("\n"))
