"""Keys of the config: each is a field of a `Section`, with its type, default, range and meaning."""

import difflib
import inspect
import os
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from types import CodeType
from typing import Annotated, Any, ClassVar, Self, TypeVar, get_args, get_origin

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from taclean.util.errors import UserError

OF_PLACES = "^[^{}-][^{}]*$"  # paths that are no pattern to Snakemake, and no option to a command
NAME = "^[A-Za-z0-9_]+$"  # of attacks, defences and splits: they are parts of file names
LIMITS = inspect.signature(Field).parameters


def key(default: Any = ..., text: str | None = None, **limits: Any) -> Any:
    """Define a key of a section; without a default it must be given.

    Args:
        text: the meaning; a long one stands below the key, and a section has its class's docstring.
        limits: those of pydantic's `Field`; `rows_of`, "clean" or "poison", for a number of rows of
            the clean split or of the poisoned set.
    """
    rows = limits.pop("rows_of", None)
    if wrong := [name for name in limits if name not in LIMITS]:
        raise TypeError(f"key has no limit {wrong[0]}; give ge, gt, le, lt, max_length or pattern")
    more = {"rowsOf": rows} if rows else None
    return Field(default, description=text, json_schema_extra=more, **limits)


class WrongKeyError(ValueError):
    """A validator of a section refuses its value of `key`, or with "" the section itself."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


def _without_repeats(values: list[Any]) -> list[Any]:
    for value in values:
        if values.count(value) > 1:
            raise WrongKeyError("", f"{value!r} is given twice; keep one")
    return values


T = TypeVar("T")
Unique = Annotated[list[T], AfterValidator(_without_repeats)]


class Section(BaseModel):
    """A part of the config. Its docstring says what it is; its fields are its keys."""

    # Strict: 20.0 is no whole number and "1e-3" no number.
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False,
        # Of use in config/README.md alone, and half of the time that the classes take.
        use_attribute_docstrings="TACLEAN_DESCRIBE" in os.environ,
    )  # fmt: skip

    @pydantic.model_validator(mode="before")
    @classmethod
    def _name_unknown_keys(cls, values: Any) -> Any:
        known = [field.alias or name for name, field in cls.model_fields.items()]
        if isinstance(values, Mapping) and cls.model_config["extra"] == "forbid":
            for name in (name for name in values if name not in known):
                close = "".join(difflib.get_close_matches(name, known, 1))
                hint = f"did you mean {close}? " if close else ""
                names = ", ".join(known) or "none"
                raise WrongKeyError(name, f"unknown key; {hint}known are {names}")
        return values

    @classmethod
    def of(cls, values: Any, where: str = "") -> Self:
        """Make a section from its values; `where` is its path.

        A UserError names a key that is unknown or missing, or has a wrong type or range.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UserError(explain(error, values, where)) from None

    def given(self, **selected: Any) -> dict[str, Any]:
        """Return the keys that were given, without defaults, as JSON has them.

        The configs of stages hold these: a new key with a default changes none of them.
        """
        return self.model_dump(by_alias=True, exclude_unset=True, **selected)

    @classmethod
    def some(cls) -> "type[Section]":
        """Return the class of sections that change some keys of this one."""
        fields: dict[str, Any] = {}
        for name, field in cls.model_fields.items():
            fields[name] = (field.annotation, key(None, field.description))
            fields[name][1].metadata.extend(field.metadata)
        return pydantic.create_model(f"Some{cls.__name__}", __base__=Section, **fields)


def explain(error: ValidationError, values: Any, where: str = "") -> str:
    """Return the first mistake in one line: the place, what is wrong, what to do."""
    first, *others = error.errors(include_url=False)
    place = _place(first, values)
    same = (other["msg"] for other in others if _place(other, values) == place)  # of a union
    text = "".join([_advice(first), *(f", or {msg.lower()}" for msg in same)])
    return f"{'.'.join(part for part in [where, *place] if part) or 'config'}: {text}"


def _place(error: Any, values: Any) -> list[str]:
    """Return the keys that lead to a mistake, without what pydantic puts between them."""
    place = []
    for part in error["loc"]:
        if part in values if isinstance(values, Mapping) else isinstance(part, int):
            values = values[part]
        elif error["type"] != "missing" or part != error["loc"][-1]:
            continue
        place.append(" ".join(str(part).split())[:70])
    more = error.get("ctx", {})
    if isinstance(reason := more.get("error"), WrongKeyError):
        return [*place, reason.key]
    return [*place, more["discriminator"].strip("'")] if "discriminator" in more else place


def _advice(error: Any) -> str:
    kind, value, text = error["type"], error["input"], error["msg"]
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind in ("missing", "union_tag_not_found"):
        return "missing; see config/README.md, or the class that it is a key of"
    if kind == "string_type" and isinstance(value, bool | int | float | date):
        return f"{value} is no text; put it in quotes, also yes, no, on, off, numbers and dates"
    if error["loc"][-1:] == ("[key]",):
        return f"{str(value)[:70]!r} is no name; give at most 64 letters, digits and _"
    if kind == "float_type" and isinstance(value, str):
        return f"{value!r} is text; write numbers such as 1.0e-3, since YAML reads 1e-3 as text"
    if kind == "union_tag_invalid":
        return f"{error['ctx']['tag']!r}; give one of {error['ctx']['expected_tags']}"
    shown = " ".join(repr(value).split())
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        return f"{shown}; give keys with values"
    if error.get("ctx", {}).get("pattern") == OF_PLACES:
        return f"{shown} begins with - or has braces; rename it, or write ./-x"
    if r"\{\}" in error.get("ctx", {}).get("pattern", ""):
        return f"{shown}; write {{}} once, where the name of the class goes"
    return f"{shown}; {text[0].lower()}{text[1:]}"


class Method(Section):
    """An attack, defence or detector; `abstract=True` marks a class that others derive from."""

    model_config = ConfigDict(validate_default=True)
    abstract: ClassVar[bool] = True

    def __init_subclass__(cls, abstract: bool = False, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.abstract = abstract

    @classmethod
    def __pydantic_init_subclass__(cls, **more: Any) -> None:
        """Refuse a key that YAML cannot set or that hides a part of the base class, and a method
        that nothing calls or that cannot be called as the base class's is.
        """
        root = cls.__mro__[cls.__mro__.index(Method) - 1]
        if "__init__" in vars(cls):
            raise TypeError("__init__ is pydantic's; define model_post_init(self, context)")
        for name, field in cls.model_fields.items():
            if hasattr(root, name):
                cure = ", or leave its type out to set it" * (name in vars(root)["__class_vars__"])
                raise TypeError(f"{root.__name__} has a {name} already; rename the key{cure}")
            if not _from_yaml(field.annotation):
                cure = "take numbers, texts, lists, and dicts by name"
                raise TypeError(f"{name} is of a type that YAML has not; {cure}")
        methods = {name: own for name, own in vars(cls).items() if inspect.isfunction(own)}
        called = {name for own in methods.values() for name in _names(own.__code__)}
        for name, own in vars(cls).items():
            if inspect.isfunction(usual := inspect.getattr_static(root, name, None)):
                _check_arguments(name, own, usual)
            elif usual is None and name[0] != "_" and name in {*methods} - called:
                meant = difflib.get_close_matches(name, vars(root), 1, 0.7)
                hint = f"is it {meant[0]}? " if meant else ""
                raise TypeError(f"nothing calls {name}; {hint}Helpers begin with _")

    def __setattr__(self, name: str, value: Any) -> None:
        if name[0] != "_":
            raise AttributeError(f"{type(self).__name__}.{name} cannot be set; begin it with _")
        super().__setattr__(name, value)

    @classmethod
    def name_in_print(cls) -> str:
        """Return the class's own `label`, or its name; never the label of a base class."""
        return vars(cls).get("label") or cls.__name__


def _from_yaml(kind: Any) -> bool:
    """Return whether YAML has values of a key's type."""
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if origin is dict and parts and get_origin(parts[0]) is None and parts[0] is not str:
        return False
    return origin not in (tuple, set, frozenset, Path) and all(map(_from_yaml, parts))


def _names(code: CodeType) -> Iterator[str]:
    """Yield the names of attributes and globals in the code of a function."""
    yield from code.co_names
    for inner in filter(inspect.iscode, code.co_consts):
        yield from _names(inner)


def _check_arguments(name: str, own: Any, usual: Any) -> None:
    """Refuse a method that cannot be called as the base class's is."""
    wanted = inspect.signature(usual)
    named = {p.name: 0 for p in wanted.parameters.values() if p.kind is p.KEYWORD_ONLY}
    try:
        if not inspect.isfunction(own) or inspect.iscoroutinefunction(own):
            raise TypeError("no plain method")
        inspect.signature(own).bind(*[0] * (len(wanted.parameters) - len(named)), **named)
    except TypeError as error:
        arguments = ", ".join(wanted.parameters)
        raise TypeError(f"{name}: {error}; define {name}({arguments})") from None
