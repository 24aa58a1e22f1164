"""The config: read, merged, resolved and validated.

`schema` has the sections and their keys, and `checks` what several keys must fulfil. Loading a
config imports torch, since the classes of attacks and defences validate their entries; importing
this package does not.
"""

import contextlib
import functools
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from taclean.clip import model_files
from taclean.config import registry
from taclean.config.checks import check
from taclean.config.schema import Config, variant_name
from taclean.util.errors import UserError

# Beside the workflow; an installed package without it has a copy (setup.py).
DEFAULT = Path(__file__).parents[2] / "config" / "config.yaml"
if not DEFAULT.is_file():
    DEFAULT = Path(__file__).with_name("config.yaml")


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, as YAML's reader drops the first, or is without value."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        seen: set[str] = set()
        node = super().compose_mapping_node(anchor)
        for key, value in (one for one in node.value if isinstance(one[0], yaml.ScalarNode)):
            text = f"{key.value} is given twice; keep one" if key.value in seen else ""
            if isinstance(value, yaml.ScalarNode) and not (value.value or value.style):
                text = f"{key.value} has no value; quote one that begins with #, or write null"
            if text:
                raise yaml.MarkedYAMLError(problem=text, problem_mark=key.start_mark)
            seen.add(key.value)
        return node

    def number(self, node: yaml.ScalarNode) -> Any:
        """Refuse what YAML 1.1 reads in another base, 010 as 8 and 1:30 as 90, and long numbers."""
        if re.match(r"[-+]?0_*\d[\d_]*$|.*:|.{60}", node.value):
            text = f"{node.value[:60]} is another number in YAML 1.1; write it as a plain number"
            raise yaml.MarkedYAMLError(problem=text, problem_mark=node.start_mark)
        return getattr(self, f"construct_yaml_{node.tag.rpartition(':')[2]}")(node)


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.number)
# YAML 1.1 has no numbers such as 1e-06, which JSON has, for example that of `taclean config`.
_JSON = re.compile(r"-?\d+(\.\d+)?e[-+]\d+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _JSON, [*"-0123456789"])
LARGEST = 10**6  # bytes of a config file, and values in it where aliases are counted each time


def _values(value: Any, counts: dict[int, int]) -> int:
    """Count the values in a config file, those of an alias each time."""
    parts = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(parts, list | tuple):
        return 1
    if id(value) not in counts:
        counts[id(value)] = LARGEST  # for one that holds itself
        counts[id(value)] = 1 + sum(_values(part, counts) for part in parts)
    return counts[id(value)]


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Read one YAML file; a UserError says if it is missing, not YAML (where), or no mapping."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            text = file.read(LARGEST + 1)
        if text.lstrip().startswith("{"):
            text = text.replace("\t", " ")  # JSON may have tabs, and Snakemake takes them
        value = yaml.load(text, _Loader) if len(text) <= LARGEST else text
        if len(text) > LARGEST or _values(value, {}) > LARGEST:
            raise RecursionError
    except RecursionError:
        text = "too large, or holds itself; a config is short and flat, shorten it"
        raise UserError(f"{path}: {text}") from None
    except FileNotFoundError:
        raise UserError(f"{path}: no such config file; correct the path") from None
    except yaml.MarkedYAMLError as error:
        mark, why = error.problem_mark or error.context_mark, error.problem or error.context
        at = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{path}{at}: not YAML ({why}); correct that place") from None
    except (UnicodeDecodeError, yaml.reader.ReaderError):
        raise UserError(f"{path}: not YAML in UTF-8; save it as UTF-8 text") from None
    except (yaml.YAMLError, AttributeError, LookupError, TypeError, ValueError) as error:
        text = f"not YAML ({' '.join(str(error).split())}); put texts such as dates in quotes"
        raise UserError(f"{path}: {text}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds no mapping; see config/config.yaml")
    return value


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Merge mappings deeply and replace all else, as Snakemake does with several configfiles."""
    out = dict(base)
    for key, value in overlay.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merge(out[key], value) if both else value
    return out


def resolve(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain values with complete variants, and without the keys that are set to null.

    An entry of a method whose `kind` is the name of another entry starts from the keys of that
    entry. The trials of `tune` and the rates of `run` become entries of `defenses`.
    """
    out = dict(config)
    for folder in registry.BASES:
        entries = out.get(folder)
        if isinstance(entries, Mapping):
            out[folder] = {name: _variant(entries, name) for name in entries}
    if isinstance(out.get("defenses"), Mapping):
        given, made = out["defenses"], _variant_entries(out)
        for name in made:  # a config that was resolved before has the same entry
            if name in given and _plain(given[name]) != _plain(made[name]):
                text = "is also the name of a trial of tune or a rate of run; rename the entry"
                raise UserError(f"defenses.{name}: {text}")
        out["defenses"] = {**given, **made}
    return _plain(out)


def _variant(entries: Mapping[str, Any], name: Any) -> Any:
    entry = entries[name]
    base = entries.get(str(entry.get("kind"))) if isinstance(entry, Mapping) else None
    if not isinstance(base, Mapping) or base is entry:
        return entry
    return merge(_without_looks(base), entry)


def _without_looks(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in entry if key not in ("label", "marker", "colour")}


def _variant_entries(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of trials and rates; values of a wrong form are left to the validation."""
    changes: list[Any] = []
    out: dict[str, Any] = {}
    wrong = contextlib.suppress(AttributeError, KeyError, TypeError, ValueError)
    with wrong:
        changes += [("trial", *item) for item in config["tune"]["trials"].items()]
    with wrong:
        rates = [{"train": {"lr": rate}} for rate in config["run"].get("rates") or []]
        changes += [("rate", name, rates) for name in config["run"]["defenses"]]
    for what, name, variants in changes:
        with wrong:
            own = {"kind": name, **_without_looks(config["defenses"][name])}
            for number, change in enumerate(variants, 1):
                out[variant_name(name, what, number)] = merge(own, change)
    return out


def _line(text: str, path: str) -> str:
    """Join halves of characters, as JSON may have them; refuse line breaks and single halves."""
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    if re.search("[\0-\x08\n-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]", joined):
        what = "no line of text; leave line breaks and control characters out"
        raise UserError(f"{path.removesuffix('.') or 'config'}: {text[:70]!a} is {what}")
    return joined


def _plain(value: Any, path: str = "") -> Any:
    """Return mappings and sequences as dict and list, without nulls in mappings but in trials."""
    kept = re.match(r"tune\.trials\.\w+\.\d", path)
    if isinstance(value, str):
        return _line(value, path)
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise UserError(f"{path}{name}: not text; put the name in quotes")
            _line(name, path)
        return {k: _plain(v, f"{path}{k}.") for k, v in value.items() if kept or v is not None}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_plain(entry, f"{path}{i}.") for i, entry in enumerate(value)]
    return value


def read(*paths: Path | str) -> dict[str, Any]:
    """Read config files, later ones on top of earlier ones, and resolve the result."""
    return resolve(functools.reduce(merge, map(read_yaml, paths), {}))


def load(*paths: Path | str) -> Config:
    """Read config files as `read` does, and validate the result."""
    return check(read(*paths))


def notes(config: Config) -> list[str]:
    """Return notes on keys of `finetune.train` that no defence takes, on threads, on a model that
    does not see the whole picture, and on names.

    The default's own keys are not named: rates, or what a tuning chose, rightly take their place.
    """
    shipped = read_yaml(DEFAULT)
    default, given = shipped["finetune"]["train"], config.finetune.train.given()
    names = [own for name in config.run.defenses for own in config.entries_of(name)]
    own = [entry.given().get("train", {}) for entry in map(config.defenses.get, names) if entry]
    changed = (key for key, value in given.items() if value != default.get(key))
    keys = [f"finetune.train.{key}" for key in changed if own and all(key in one for one in own)]
    why = "no defence of the run takes it, since each has its own (defenses.NAME.train, run.rates)"
    found, cores = [f"note: {', '.join(keys)}: {why}"] if keys else [], os.cpu_count() or 1
    for name in ("base", "poison", "finetune"):
        if (threads := getattr(config, name).train.threads) > cores:
            text = f"note: {name}.train.threads: {threads}, but this machine has {cores} cores"
            found.append(f"{text}; lower it, unless the jobs run elsewhere")
    name, size = config.model.name, config.data.image_size
    vision = json.loads(model_files()[name].read_text("utf-8"))["vision_cfg"]
    if name != shipped["model"]["name"] and isinstance(vision.get("layers"), list) and size % 32:
        text = (
            f"note: model.name: {name}, a ResNet that halves {size} px five times, loses the right"
        )
        found.append(f"{text} and the lower edge; choose a multiple of 32 px, or rn10-48")
    for folder in registry.BASES:
        for name, entry in getattr(config, folder).items():
            if shipped[folder].get(name) and entry.kind != name:
                text = f"note: {folder}.{name}: has the keys of taclean's own {name}, too"
                found.append(f"{text}; rename it, unless that is meant")
    return found
