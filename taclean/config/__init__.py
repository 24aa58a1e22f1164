"""The config: read, resolved, and looked up in. Imports no torch.

`sections` has the keys, `checks` what spans several of them, `reference` makes config/README.md.
"""

from __future__ import annotations

import functools
import importlib.util
import runpy
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from taclean.config import registry
from taclean.config.schema import CLASSES, ROLES
from taclean.config.section import plain
from taclean.util.errors import UserError

Config = Mapping[str, Any]
# Beside the workflow; an installed package without it has a copy (setup.py).
DEFAULT = Path(__file__).parents[2] / "config" / "config.yaml"
if not DEFAULT.is_file():
    DEFAULT = Path(__file__).with_name("config.yaml")


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice: YAML's own reader drops the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value} is given twice; keep one", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Read one YAML file.

    Raises:
        UserError: missing, no YAML (with file, line and column), or not a mapping.
    """
    try:
        with Path(path).open(encoding="utf-8") as file:
            value = yaml.load(file, _Loader)
    except FileNotFoundError:
        raise UserError(f"{path}: no such config file") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{path}{at}: not YAML ({error.problem or error.context})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds no mapping; see config/config.yaml")
    return value


def merge(base: Config, overlay: Config) -> dict[str, Any]:
    """Merge mappings deeply and replace all else, as Snakemake does with several configfiles."""
    out = dict(base)
    for key, value in overlay.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merge(out[key], value) if both else value
    return out


def resolve(config: Config) -> dict[str, Any]:
    """Complete variants and leave out what is set to null: so an overlay takes a key away.

    An entry of `attacks` or `defenses` whose `kind` is the name of another entry begins with what
    that one says. The trials of `tune` become entries of `defenses`.
    """
    out = dict(config)
    for folder in registry.BASES:
        entries = out.get(folder)
        if isinstance(entries, Mapping):
            out[folder] = {name: _variant(entries, name) for name in entries}
    if isinstance(out.get("defenses"), Mapping):
        out["defenses"] = {**out["defenses"], **_trial_entries(out)}
    return _without_nulls(out)


def _variant(entries: Config, name: Any) -> Any:
    entry = entries[name]
    base = entries.get(str(entry.get("kind"))) if isinstance(entry, Mapping) else None
    if not isinstance(base, Mapping) or base is entry:
        return entry
    return merge(_without_looks(base), entry)


def _without_looks(entry: Config) -> dict[str, Any]:
    return {key: entry[key] for key in entry if key not in ("label", "marker", "colour")}


def trial_name(defense: str, number: int) -> str:
    """The entry of `defenses` that a trial of `tune` becomes; they count from 1."""
    return f"{defense}_trial{number}"


def _trial_entries(config: Config) -> dict[str, Any]:
    """Of what may not be checked yet: what is no trial is left out."""
    tune = config.get("tune")
    given = tune.get("trials") if isinstance(tune, Mapping) else None
    out = {}
    for name, trials in given.items() if isinstance(given, Mapping) else ():
        entry = config["defenses"].get(name)
        if isinstance(entry, Mapping) and isinstance(trials, Sequence):
            for number, change in enumerate(trials, 1):
                if isinstance(change, Mapping):
                    own = {"kind": name, **_without_looks(entry)}
                    out[trial_name(name, number)] = merge(own, change)
    return out


def trials(config: Config) -> list[dict[str, Any]]:
    """The trials of a resolved config: defense, trial (its number) and overrides."""
    return [
        {"defense": defense, "trial": number, "overrides": change}
        for defense, changes in config["tune"]["trials"].items()
        for number, change in enumerate(changes, 1)
    ]


def _without_nulls(config: Config) -> dict[str, Any]:
    return {
        key: _without_nulls(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if value is not None
    }


def load(*paths: Path | str) -> dict[str, Any]:
    """Read config files, later ones on top of earlier ones; resolve and check the result."""
    from taclean.config.checks import check

    config: dict[str, Any] = {}
    for path in paths:
        config = merge(config, read_yaml(path))
    config = plain(resolve(config))
    check(config)
    return config


def with_default(overlays: list[str] | None) -> dict[str, Any]:
    """The files given, on top of the default config, as with Snakemake."""
    return load(DEFAULT, *(overlays or []))


# ---- looked up -----------------------------------------------------------------------------------


def dataset(config: Config) -> dict[str, Any]:
    """The section of `data` that feeds the run."""
    return config["data"][config["data"]["name"]]


def role(name: str, split: Config) -> str:
    """What a split is for."""
    return split.get("role") or (name if name in ROLES else "extra")


def split_of_role(config: Config, wanted: str) -> str:
    """The name of the run's split with a role other than extra; test stands for a missing val.

    Raises:
        KeyError: the run needs no such split.
    """
    return _split_of(config)[wanted]


def has_role(config: Config, wanted: str) -> bool:
    """Whether there is a `split_of_role`."""
    return wanted in _split_of(config)


def _split_of(config: Config) -> dict[str, str]:
    names = {role(name, split): name for name, split in dataset(config)["splits"].items()}
    return {"val": names["test"], **names} if "test" in names else names


def tried(config: Config) -> list[str]:
    """The attacks whose triggers are put on the model that none of them poisoned."""
    return config["evaluate"].get("triggers", config["run"]["attacks"])


def controls(config: Config) -> bool:
    """Whether the defences clean the model that was never poisoned; without attacks there is no
    other."""
    return config["run"].get("controls", False) or not config["run"]["attacks"]


def kind(config: Config, folder: str, name: str) -> str:
    """The file that an entry of `attacks` or `defenses` is of."""
    return config[folder][name].get("kind", name)


def described(config: Config, folder: str, name: str) -> dict[str, Any]:
    """What the file of an entry says of itself; see `registry.described`."""
    where = f"{folder}.{name}" + (".kind" if "kind" in config[folder][name] else "")
    return registry.described(folder, kind(config, folder, name), where)


def trained_as(config: Config, attack: str) -> str:
    """The attack whose models an attack's scores are of: the entry's own, or that of its kind where
    they differ in nothing that trains, but in `at_test`."""
    entries = config["attacks"]
    base = kind(config, "attacks", attack)
    if base == attack or base not in entries or "at_test" not in entries[attack]:
        return attack
    of_scores = ("kind", "label", "marker", "at_test")
    mine, its = (
        {key: value for key, value in entries[name].items() if key not in of_scores}
        for name in (attack, base)
    )
    return base if mine == its else attack


def own_train(config: Config, section: str, entry: Config) -> dict[str, Any]:
    """`train` of a section (poison or finetune) with what an entry changes."""
    return merge(config[section]["train"], entry.get("train", {}))


def look(config: Config) -> dict[str, Any]:
    """Return how tables and figures print the methods, in order (`taclean.results.labels`)."""
    out: dict[str, Any] = {}
    for folder, mark in (("attacks", "marker"), ("defenses", "colour")):
        out[folder] = {}
        for name in config["run"][folder]:
            entry, method = config[folder][name], described(config, folder, name)
            found = {
                "label": entry.get("label") or _label(name, kind(config, folder, name), method)
            }
            if shown := entry.get(mark) or method[mark]:
                found[mark] = shown
            out[folder][name] = found
    test = split_of_role(config, "test")
    out["splits"] = [test, *(name for name in config["evaluate"]["splits"] if name != test)]
    if variants := [d for d in config["run"]["defenses"] if kind(config, "defenses", d) != d]:
        out["variants"] = variants
    return out


def _label(name: str, kind: str, method: Config) -> str:
    """'TA-Cleaner', and 'TA-Cleaner k6000' for the entry taclean_k6000."""
    if name == kind:
        return method["label"]
    rest = name.removeprefix(f"{kind}_")
    return name.replace("_", " ") if rest == name else f"{method['label']} {rest.replace('_', ' ')}"


def class_names(config: Config) -> list[str]:
    """The zero-shot classes in label order."""
    return classes_of(dataset(config)["classes"], f"data.{config['data']['name']}.classes")


def classes_of(classes: str | list[str], where: str = "classes") -> list[str]:
    """The classes that `data.NAME.classes` stands for.

    Raises:
        UserError: neither a known name nor a file with at least two different names.
    """
    if isinstance(classes, str):
        if classes == "imagenet":
            return list(_open_clip_metadata()["IMAGENET_CLASSNAMES"])
        if classes in CLASSES:
            table = (resources.files("taclean") / "assets/emoji/classes.tsv").read_text("utf-8")
            rows = [line.split("\t") for line in table.splitlines()[1:]]
            return [row[0] for row in rows if classes == "all" or row[2] == "1"]
        try:
            text = Path(classes).expanduser().read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError):
            raise UserError(
                f"{where}: {classes!r} is none of {', '.join(CLASSES)} and no text file with a "
                "name a line; correct it, or give a list of names"
            ) from None
        classes = text.splitlines()
    found = [name for line in classes if (name := " ".join(line.split()))]
    if double := sorted({name for name in found if found.count(name) > 1}):
        raise UserError(f"{where}: {double[0]!r} is there twice; keep one")
    if len(found) < 2:
        raise UserError(f"{where}: {len(found)} names; give at least 2")
    return found


def templates(config: Config) -> list[str]:
    """The prompt templates, `{}` for the class."""
    given = config["zeroshot"]["templates"]
    if given == "openai":
        return [fill("{}") for fill in _open_clip_metadata()["OPENAI_IMAGENET_TEMPLATES"]]
    return list(given)


def zeroshot(config: Config) -> dict[str, Any]:
    """What the zero-shot heads of the run are made of."""
    return {
        "templates": templates(config),
        "classes": class_names(config),
        "target": config["data"]["target"],
    }


@functools.cache
def _open_clip_metadata() -> dict[str, Any]:
    return runpy.run_path(str(open_clip_file("zero_shot_metadata.py")))


def open_clip_file(name: str) -> Path:
    """A file of open_clip, without importing open_clip, which would import torch."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise UserError("open_clip is not installed; run `pip install -e .`")
    return Path(spec.origin).with_name(name)
