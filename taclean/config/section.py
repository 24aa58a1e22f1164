"""Keys of the config: each is a field of a `Section`, with its type, default, range and meaning.

The JSON schema, the checks, the reference page and the settings that a stage takes all come from
there. Imports no torch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import jsonschema
from pydantic import BaseModel, ConfigDict, Field

from taclean.util.errors import UserError

NAME = "^[A-Za-z0-9_]+$"  # of attacks, defences and splits: they are parts of file names
Schema = dict[str, Any]


def key(default: Any = ..., text: str | None = None, **limits: Any) -> Any:
    """A key of a section: its default (none: it must be given), one sentence and its limits.

    Args:
        text: the sentence; a section has its class's docstring.
        limits: `ge`, `gt`, `le`, `lt`, `min_length`, `max_length`, `pattern`, `alias`; `named`, a
            pattern that the keys of a mapping follow; `unique`, for a list without repeats;
            `rows_of`, "clean" or "poison": a number of rows that those must have.
    """
    more: Schema = {}
    if pattern := limits.pop("named", None):
        more["propertyNames"] = {"pattern": pattern}
    if limits.pop("unique", False):
        more["uniqueItems"] = True
    if rows := limits.pop("rows_of", None):
        more["rowsOf"] = rows
    return Field(default, description=text, json_schema_extra=more or None, **limits)


class Section(BaseModel):
    """A part of the config. Its docstring says what it is, its fields are its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @classmethod
    @functools.cache
    def schema_of(cls) -> Schema:
        """The JSON schema, with descriptions and defaults and without references."""
        whole = cls.model_json_schema()
        return _plain_schema(whole, whole.get("$defs", {}))

    @classmethod
    def of(cls, values: Any, where: str) -> Self:
        """Check a mapping and take its values.

        Args:
            where: the path of the section, for the message.

        Raises:
            UserError: an unknown or missing key, or a value of wrong type or range; names the key.
        """
        check(values, cls.schema_of(), where)
        return cls.model_validate(plain(values))


def _plain_schema(node: Any, parts: Schema) -> Any:
    """A schema of pydantic's without references, titles and nulls, which no config holds."""
    if isinstance(node, list):
        return [_plain_schema(entry, parts) for entry in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        node = parts[node["$ref"].rsplit("/", 1)[1]] | {
            k: v for k, v in node.items() if k != "$ref"
        }
    if "anyOf" in node:
        kinds = [entry for entry in node["anyOf"] if entry != {"type": "null"}]
        rest = {k: v for k, v in node.items() if k != "anyOf"}
        if rest.get("default", 0) is None:
            del rest["default"]
        node = kinds[0] | rest if len(kinds) == 1 else {"anyOf": kinds} | rest
        if "$ref" in node:
            return _plain_schema(node, parts)
    out = {}
    for name, value in node.items():
        if name == "properties":
            out[name] = {entry: _plain_schema(child, parts) for entry, child in value.items()}
        elif name == "description":
            out[name] = value.split("\n\n")[0].replace("\n", " ")
        elif name not in ("title", "$defs"):
            out[name] = value if name in ("default", "enum") else _plain_schema(value, parts)
    return out


def optional(schema: Schema) -> Schema:
    """The same section where no key must be given: it changes some keys of another."""
    return {name: value for name, value in schema.items() if name != "required"}


# JSON Schema takes 20.0 for an integer; range() and names of files do not.
_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda checker, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


def check(values: Any, schema: Schema, where: str = "") -> None:
    """Check values against a schema.

    Raises:
        UserError: names the key, what is wrong and what it takes, in one line.
    """
    error = jsonschema.exceptions.best_match(_Validator(schema).iter_errors(plain(values, where)))
    if error is not None:
        raise UserError(_explain(error, where, schema))


def plain(value: Any, path: str = "") -> Any:
    """Mappings and sequences of any kind (Snakemake has its own) as dict and list.

    Raises:
        UserError: a key that is no text, or a number that is not finite.
    """
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise UserError(f"{path}.{name}: no text; put the name into quotes".lstrip("."))
        return {name: plain(entry, f"{path}.{name}") for name, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(entry, f"{path}.{i}") for i, entry in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{path.lstrip('.')}: {value}; give a finite number")
    return value


def _explain(error: jsonschema.ValidationError, where: str, schema: Schema) -> str:
    path = ".".join([where, *map(str, error.absolute_path)]).strip(".")
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        unknown = next(name for name in error.instance if name not in known)
        takes = ", ".join(known) or "none"
        return f"{path}.{unknown}: unknown key; known are {takes}".lstrip(".")
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        return f"{path}.{missing}: missing; see config/README.md".lstrip(".")
    if error.validator in ("pattern", "propertyNames") and "propertyNames" in error.schema_path:
        return f"{path}: {error.instance!r} is no name; give letters, digits and _".lstrip(": ")
    hint = "see config/README.md"
    for part in ("", *error.absolute_path):  # the last sentence on the way to the value
        inner = schema.get("properties", {}).get(part) or schema.get("additionalProperties")
        schema = schema if part == "" else inner if isinstance(inner, dict) else {}
        hint = schema.get("description") or hint
    message = " ".join(error.message.split())
    return f"{path or 'config'}: {message}; {hint}"


def limits(schema: Schema) -> str:
    """The range of a key in words: '0 to 1', 'above 0', 'a or b'."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        inner = limits(schema.get("items", {}))
        return f"each {inner}" if inner else ""
    if low is not None and high is not None:
        return f"{low:g} to {high:g}" if high < 1e7 else f"{low:g} to {high}"
    words = []
    if low is not None:
        words.append(f"{low:g} or more")
    if "exclusiveMinimum" in schema:
        words.append(f"above {schema['exclusiveMinimum']:g}")
    if high is not None:
        words.append(f"at most {high:g}")
    if "exclusiveMaximum" in schema:
        words.append(f"below {schema['exclusiveMaximum']:g}")
    return ", ".join(words)


class Method(Section):
    """An attack or a defence; `abstract=True` marks a class that others derive theirs from."""

    abstract: ClassVar[bool] = True

    def __init_subclass__(cls, abstract: bool = False, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.abstract = abstract

    @classmethod
    def name_in_print(cls) -> str:
        """Its own `label`, or the name of the class; never that of the class it derives from."""
        return vars(cls).get("label") or cls.__name__
