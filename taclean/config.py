"""The config: read, checked, and resolved into what each stage depends on. Imports no torch.

Every stage of the chain has a path such as "finetune/badnet/taclean/seed0". `stage_config` gives
the JSON object that decides its result: a rule depends on that object's file, so that a changed
parameter reruns exactly the stages it matters to.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib.util
import inspect
import itertools
import json
import math
import re
import runpy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from taclean.errors import UserError

Config = Mapping[str, Any]

# Raise a number when a change of the code changes the results of that stage: Snakemake then
# reruns it. Other changes of the code rerun nothing.
RECIPE = {"pack": 2, "trigger": 2, "poison": 1, "train": 1, "text": 1, "nltk": 1, "evaluate": 1}

TRAINED = ("pretrain", "clean", "patch")  # splits that something is trained on
PAIRS = ("webdataset", "img2dataset", "csv")  # readers with captions
SCORED = {"val": ("imagenet",), "test": ("imagenet",)}  # readers with the run's own classes
OTHERS = ("imagenet", "cifar10", "cifar100", "caltech101", "coco")  # of further test sets


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
        UserError: missing, no YAML, or not a mapping.
    """
    try:
        value = yaml.load(Path(path).read_text("utf-8"), _Loader)
    except FileNotFoundError:
        raise UserError(f"{path}: no such config file") from None
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


def without_nulls(config: Config) -> dict[str, Any]:
    """Leave out what an overlay sets to null: so it takes a key of the files below it away."""
    return {
        key: without_nulls(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if value is not None
    }


def load(*paths: Path | str) -> dict[str, Any]:
    """Read config files, later ones on top of earlier ones, and check the result."""
    config: dict[str, Any] = {}
    for path in paths:
        config = merge(config, read_yaml(path))
    config = without_nulls(config)
    check(config)
    return config


def schema() -> dict[str, Any]:
    """The JSON schema: config/schema.yaml of the checkout."""
    return read_yaml(Path(__file__).parent.parent / "config" / "schema.yaml")


# JSON Schema takes 20.0 for an integer; range() and names of files do not.
_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda checker, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


def check(config: Config) -> None:
    """Check a config: types, ranges and unknown keys by the schema, then what spans keys.

    Raises:
        UserError: names the key and what to do.
    """
    validator = _Validator(schema())
    error = jsonschema.exceptions.best_match(validator.iter_errors(_plain(config)))
    if error is not None:
        raise UserError(_explain(error))
    for kind in ("attacks", "defenses"):
        for name in config["run"][kind]:
            if name not in config[kind]:
                raise UserError(
                    f"run.{kind}: {name!r} is unknown; known are {', '.join(config[kind])}"
                )
        for name in config[kind]:
            _check_parameters(config, kind, name)
    _check_data(config)
    _check_model(config)
    for name in config["run"]["attacks"]:
        own, rows = config["attacks"][name], config["poison"]["rows"]
        poisoned, key_only = own["poisoned"], own.get("key_only", 0)
        if poisoned + key_only > rows:
            what = f"{poisoned} rows" + (f" and {key_only} of key_only" if key_only else "")
            raise UserError(
                f"attacks.{name}.poisoned: {what}, but the poisoned set has {rows} (poison.rows); "
                "lower it"
            )
    clean = dataset(config)["splits"]["clean"]["rows"]
    for name in config["run"]["defenses"]:
        samples = config["defenses"][name].get("subcaptions", {}).get("samples", 0)
        if samples > clean:
            raise UserError(
                f"defenses.{name}.subcaptions.samples: {samples} rows per epoch, but the clean "
                f"split has {clean}; lower it"
            )
    if config["text"].get("mirror") and config["text"].get("folder"):
        raise UserError("text.mirror: set beside text.folder; give one source, not both")
    classes = class_names(config)
    if config["data"]["target"] not in classes:
        raise UserError(
            f"data.target: {config['data']['target']!r} is no class; give one of "
            f"{', '.join(classes[:8])}, ... ({len(classes)} classes)"
        )


def _plain(value: Any, path: str = "") -> Any:
    """Snakemake's config holds subclasses of dict and list; the validator wants plain ones."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise UserError(f"{path}.{key}: no text; put the name into quotes".lstrip("."))
        return {key: _plain(entry, f"{path}.{key}") for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(entry, f"{path}.{i}") for i, entry in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{path.lstrip('.')}: {value}; give a finite number")
    return value


@dataclass(frozen=True)
class _File:
    """What an attack's or defence's file defines.

    Attributes:
        functions: keyword-only arguments of each function.
        constants: values of upper-case names.
        fields: fields of the class that says NEEDS; None without one.
        needs: its NEEDS.
    """

    functions: dict[str, list[str]]
    constants: dict[str, Any]
    fields: list[str] | None
    needs: tuple[str, ...]


@functools.cache
def _file(kind: str, name: str) -> _File:
    """Parse a file of taclean/attacks or taclean/defenses.

    It is not imported: that would import torch, which takes seconds.

    Raises:
        UserError: there is no such attack or defence.
    """
    path = Path(__file__).parent / kind / f"{name}.py"
    functions: dict[str, list[str]] = {}
    constants: dict[str, Any] = {}
    fields: list[str] | None = None
    needs: tuple[str, ...] = ()
    for node in ast.parse(path.read_text("utf-8")).body if path.is_file() else ():
        if isinstance(node, ast.FunctionDef):
            functions[node.name] = [argument.arg for argument in node.args.kwonlyargs]
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            constants |= {ast.unparse(target): node.value.value for target in node.targets}
        elif isinstance(node, ast.ClassDef):
            own = {
                ast.unparse(p.target): p.value for p in node.body if isinstance(p, ast.AnnAssign)
            }
            if wanted := own.get("NEEDS"):
                fields, needs = list(own), ast.literal_eval(wanted)
    if "trigger" not in functions if kind == "attacks" else fields is None:
        what = "attack" if kind == "attacks" else "defence"
        raise UserError(f"{kind}.{name}: there is no {what} taclean/{kind}/{name}.py; write it")
    return _File(functions, constants, fields, needs)


def needs(defense: str) -> tuple[str, ...]:
    """The text artifacts that a defence needs: "variants", "subcaptions"."""
    return _file("defenses", defense).needs


def _check_parameters(config: Config, kind: str, name: str) -> None:
    """Refuse parameters that the attack's or defence's file does not take."""
    file, own = _file(kind, name), config[kind][name]
    hidden = {"fitted", "seed", "say", "NEEDS", "variants", "subcaptions"}
    trigger = file.functions.get("trigger", [])
    fit = ["lr", "epochs", "batch", *file.functions.get("fit", [])]
    fit = [key for key in fit if key not in trigger]  # those are the trigger's, for both
    for section, names in (
        ("trigger", trigger),
        ("fit", fit if "fit" in file.functions else []),
        ("loss", file.fields or []),
    ):
        for key in own.get(section, {}):
            if key not in names or key in hidden:
                takes = ", ".join(n for n in names if n not in hidden) or "none"
                raise UserError(f"{kind}.{name}.{section}.{key}: unknown key; known are {takes}")
    for section, wanted in (
        ("fit", kind == "attacks" and "fit" in file.functions),
        ("subcaptions", "subcaptions" in file.needs),
    ):
        if wanted != (section in own):
            reason = "missing" if wanted else "its file takes none"
            raise UserError(f"{kind}.{name}.{section}: {reason}; see config/config.yaml")
    if own.get("key_only") and not file.constants.get("PREFIX"):
        raise UserError(f"attacks.{name}.key_only: this attack has no text key; leave it out")


def _explain(error: jsonschema.ValidationError) -> str:
    where = ".".join(str(part) for part in error.absolute_path) or "config"
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        unknown = next(key for key in error.instance if key not in known)
        path = unknown if where == "config" else f"{where}.{unknown}"
        return f"{path}: unknown key; known are {', '.join(known)}"
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        path = missing if where == "config" else f"{where}.{missing}"
        return f"{path}: missing; see config/config.yaml"
    hint = error.schema.get("description", "see config/README.md")
    return f"{where}: {error.message}; {hint}"


def reference() -> str:
    """config/README.md: every key with its type and meaning, from the schema."""
    top = schema()
    lines = [
        "# The config, key by key",
        "",
        "Made from `config/schema.yaml` by `python -m taclean keys`; a test keeps it in step. The",
        "values are in `config/config.yaml`; an overlay (`--configfile`) gives only what differs:",
        "mappings are merged, lists replaced. Unknown keys are refused.",
        "",
        "| key | type | meaning |",
        "|---|---|---|",
    ]

    def rows(node: dict[str, Any], path: str) -> None:
        while "$ref" in node:
            node = top["$defs"][node["$ref"].rsplit("/", 1)[1]]
        if path:
            kinds = node["enum"] if "enum" in node else node["type"]
            kind = kinds if isinstance(kinds, str) else " or ".join(map(str, kinds))
            lines.append(f"| `{path}` | {kind} | {node.get('description', '')} |")
        for key, child in node.get("properties", {}).items():
            rows(child, f"{path}.{key}".lstrip("."))
        if isinstance(node.get("additionalProperties"), dict):
            rows(node["additionalProperties"], f"{path}.NAME")

    rows(top, "")
    return "\n".join(lines) + "\n"


def dataset(config: Config) -> dict[str, Any]:
    """The section of `data` that feeds the run."""
    return config["data"][config["data"]["name"]]


def _check_data(config: Config) -> None:
    data = config["data"]
    known = [key for key, value in data.items() if isinstance(value, Mapping)]
    if data["name"] not in known:
        raise UserError(f"data.name: {data['name']!r} is unknown; known are {', '.join(known)}")
    own, where = dataset(config), f"data.{data['name']}"
    splits = own["splits"]
    if own["form"] == "scenes":
        _check_scenes(own, where)
        if own["classes"] == "imagenet":
            raise UserError(f"{where}.classes: scenes have `default` or `all`")
    else:
        _check_files(own, where)
    for name in TRAINED:
        if "rows" not in splits[name]:
            raise UserError(f"{where}.splits.{name}.rows: missing; give a number of rows")
    rows, total = config["poison"]["rows"], splits["pretrain"]["rows"]
    if rows > total:
        raise UserError(f"poison.rows: {rows}, but the pretrain split has {total}; lower it")
    for name in config["evaluate"]["splits"]:
        if name not in splits or name in TRAINED:
            labelled = [key for key in splits if key not in TRAINED]
            raise UserError(
                f"evaluate.splits: {name!r} is no test set; known are {', '.join(labelled)}"
            )
    if "test" not in config["evaluate"]["splits"]:
        raise UserError("evaluate.splits: without test, which the tables are of; add it")


def _check_model(config: Config) -> None:
    name, size = config["model"]["name"], config["data"]["image_size"]
    places = (_open_clip_file("model_configs"), Path(__file__).parent / "model_configs")
    known = {path.stem: path for place in places for path in place.glob("*.json")}
    if name not in known:
        close = ", ".join(difflib.get_close_matches(name, known)) or "open_clip.list_models()"
        raise UserError(f"model.name: open_clip has no model {name!r}; see {close}")
    own = json.loads(known[name].read_text("utf-8")).get("vision_cfg", {}).get("image_size")
    if isinstance(own, int) and own != size:
        raise UserError(f"data.image_size: {size}, but {name} takes {own} px; set it to {own}")


def _check_scenes(own: Config, where: str) -> None:
    for key in ("max_broken", "overlap", "sources"):
        if key in own:
            raise UserError(f"{where}.{key}: scenes are composed and have none; leave it out")
    splits = own["splits"]
    for name, split in splits.items():
        if "from" in split:
            raise UserError(f"{where}.splits.{name}.from: scenes have no sources; leave it out")
        for key in ("first", "rows", "second"):
            if key not in split:
                raise UserError(f"{where}.splits.{name}.{key}: missing; see config/config.yaml")
    ranges = sorted((v["first"], v["first"] + v["rows"], name) for name, v in splits.items())
    for (_, end, one), (first, _, other) in itertools.pairwise(ranges):
        if first < end:
            raise UserError(
                f"{where}.splits.{other}.first: {first} lies within split {one}, which ends before "
                f"{end}; splits must not overlap"
            )


# What the generator of each form takes (taclean/data/standin.py); all but `broken` must be given.
_STANDINS: dict[str, dict[str, type]] = {
    "webdataset": {"shards": int, "per_shard": int, "seed": int, "broken": dict},
    "imagenet": {"form": str, "per_class": int, "seed": int, "broken": int},
}


def _check_standin(source: Config, where: str) -> None:
    takes = _STANDINS.get(source["reader"])
    if takes is None:
        raise UserError(
            f"{where}.reader: {source['reader']!r} has no stand-in; {' and '.join(_STANDINS)} have"
        )
    for key, value in source["standin"].items():
        if key not in takes:
            raise UserError(f"{where}.standin.{key}: unknown; known are {', '.join(takes)}")
        if not isinstance(value, takes[key]):
            kind = "faults with their numbers" if takes[key] is dict else "a number of images"
            raise UserError(f"{where}.standin.{key}: {value!r}; give {kind}")
    if missing := sorted(takes.keys() - source["standin"].keys() - {"broken"}):
        raise UserError(f"{where}.standin.{missing[0]}: missing; see config/standin.yaml")


def _check_files(own: Config, where: str) -> None:
    for key in ("max_broken", "sources"):
        if key not in own:
            raise UserError(f"{where}.{key}: missing; see config/paper.yaml")
    if own["classes"] != "imagenet":
        raise UserError(f"{where}.classes: {own['classes']!r}; files have `imagenet`")
    for name, source in own["sources"].items():
        places = [key for key in ("folder", "hub", "standin") if key in source]
        if len(places) != 1:
            raise UserError(
                f"{where}.sources.{name}: give one of folder, hub and standin, not "
                f"{' and '.join(places) or 'none'}"
            )
        if "hub" in source and "revision" not in source:
            raise UserError(f"{where}.sources.{name}.revision: missing; pin the hub's commit")
        if "standin" in source:
            _check_standin(source, f"{where}.sources.{name}")
    for name, split in own["splits"].items():
        if split.get("from") not in own["sources"]:
            raise UserError(
                f"{where}.splits.{name}.from: {split.get('from')!r} is no source; known are "
                f"{', '.join(own['sources'])}"
            )
        reader = own["sources"][split["from"]]["reader"]
        kinds = PAIRS if name in TRAINED else SCORED.get(name, OTHERS)
        if reader not in kinds:
            raise UserError(
                f"{where}.splits.{name}.from: the reader of {split['from']!r} is {reader}; this "
                f"split takes {', '.join(kinds)}"
            )
    clean, pretrain = (own["splits"][name]["from"] for name in ("clean", "pretrain"))
    if own.get("overlap") and clean != pretrain:
        raise UserError(
            f"{where}.overlap: clean is from {clean} and pretrain from {pretrain}, which have no "
            "row in common; set it to 0"
        )


def class_names(config: Config) -> list[str]:
    """The zero-shot classes in label order."""
    return classes_of(dataset(config)["classes"])


def classes_of(kind: str) -> list[str]:
    """The classes that `data.NAME.classes` stands for: `default`, `all` or `imagenet`."""
    if kind == "imagenet":
        return list(_open_clip_metadata()["IMAGENET_CLASSNAMES"])
    table = (resources.files("taclean") / "assets/emoji/classes.tsv").read_text("utf-8")
    rows = [line.split("\t") for line in table.splitlines()[1:]]
    return [row[0] for row in rows if kind == "all" or row[2] == "1"]


def templates(config: Config) -> list[str]:
    """The prompt templates, `{}` for the class."""
    own = config["zeroshot"]["templates"]
    if own == "openai":
        return [fill("{}") for fill in _open_clip_metadata()["OPENAI_IMAGENET_TEMPLATES"]]
    return list(own)


@functools.cache
def _open_clip_metadata() -> dict[str, Any]:
    return runpy.run_path(str(_open_clip_file("zero_shot_metadata.py")))


def _open_clip_file(name: str) -> Path:
    """A file of open_clip, without importing open_clip, which would import torch."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise UserError("open_clip is not installed; run `pip install -e .`")
    return Path(spec.origin).with_name(name)


def stage_config(config: Config, stage: str) -> dict[str, Any]:
    """Resolve what one stage depends on.

    Args:
        stage: "fetch/SOURCE", "index/SOURCE", "pack/SPLIT", "base", "imported",
            "trigger/ATTACK/seedN", "poison/ATTACK/seedN", "pretrain/ATTACK/seedN",
            "nltk", "variants/seedN", "subcaptions/DEFENSE/seedN",
            "finetune/ATTACK/DEFENSE/seedN" or "evaluate/ATTACK/DEFENSE/seedN".

    Raises:
        UserError: there is no such stage.
    """
    kind, *names = stage.split("/")
    seed = {}
    if names and (match := re.fullmatch(r"seed(\d+)", names[-1])):
        seed, names = {"seed": int(match[1])}, names[:-1]
    if kind not in _STAGES:
        raise UserError(f"stage {stage!r}: unknown; stages begin with {', '.join(_STAGES)}")
    try:
        return {"stage": stage, **_STAGES[kind](_plain(config), *names, **seed)}
    except (KeyError, TypeError):
        takes = list(inspect.signature(_STAGES[kind]).parameters)[1:]
        form = "/".join([kind, *("seedN" if key == "seed" else key.upper() for key in takes)])
        raise UserError(f"stage {stage!r}: unknown; give {form} with names of the config") from None


def _zeroshot(config: Config) -> dict[str, Any]:
    return {
        "templates": templates(config),
        "classes": class_names(config),
        "target": config["data"]["target"],
    }


def _trigger(config: Config, attack: str, seed: int) -> dict[str, Any]:
    return {"attack": attack, "seed": seed, "parameters": config["attacks"][attack]["trigger"]}


def _pack(config: Config, split: str) -> dict[str, Any]:
    own, image_size = dataset(config), config["data"]["image_size"]
    stage = {
        "recipe": RECIPE["pack"],
        "form": own["form"],
        "seed": own["seed"],
        "image_size": image_size,
        "classes": own["classes"],
        "split": split,
        "model": config["model"]["name"],
        **own["splits"][split],
    }
    if own["form"] == "files":
        source = own["splits"][split]["from"]
        stage |= {"source": own["sources"][source], "max_broken": own["max_broken"]}
        stage["draw"] = {
            name: entry["rows"]
            for name, entry in own["splits"].items()
            if entry["from"] == source and "rows" in entry
        }
        both = {"pretrain", "clean"} <= stage["draw"].keys()  # only they overlap
        stage["overlap"] = own.get("overlap", 0) if both else 0
    return stage


def _source(config: Config, name: str) -> dict[str, Any]:
    return {"recipe": RECIPE["pack"], "name": name, **dataset(config)["sources"][name]}


def _imported(config: Config) -> dict[str, Any]:
    model = config["model"]
    return {"model": model["name"], "pretrained": model["pretrained"], "seed": model["seed"]}


def _fit(config: Config, attack: str, *, seed: int) -> dict[str, Any]:
    return {
        "recipe": RECIPE["trigger"],
        "model": config["model"]["name"],
        "trigger": _trigger(config, attack, seed),
        "fit": config["attacks"][attack]["fit"],
        "target": config["data"]["target"],
        "templates": templates(config),
    }


def _poison(config: Config, attack: str, *, seed: int) -> dict[str, Any]:
    return {
        "recipe": RECIPE["poison"],
        "model": config["model"]["name"],
        "trigger": _trigger(config, attack, seed),
        "rows": config["poison"]["rows"],
        "poisoned": config["attacks"][attack]["poisoned"],
        "key_only": config["attacks"][attack].get("key_only", 0),
        "target": config["data"]["target"],
        "templates": templates(config),
        "seed": seed,
    }


def _train(config: Config, section: Config, defense: str, seed: int) -> dict[str, Any]:
    return {
        "recipe": RECIPE["train"],
        "model": config["model"]["name"],
        "seed": seed,
        "defense": defense,
        "loss": {},
        "train": section["train"],
        "zeroshot": _zeroshot(config),
    }


def _base(config: Config) -> dict[str, Any]:
    return _train(config, config["base"], "ft", config["model"]["seed"])


def _pretrain(config: Config, attack: str, *, seed: int) -> dict[str, Any]:
    section = merge(config["poison"], {"train": config["attacks"][attack].get("train", {})})
    return {
        **_train(config, section, "ft", seed),
        "rows": section["rows"],
        "trigger": _trigger(config, attack, seed),
    }


def _finetune(config: Config, attack: str, defense: str, *, seed: int) -> dict[str, Any]:
    own = config["defenses"][defense]
    section = merge(config["finetune"], {"train": own.get("train", {})})
    stage = {**_train(config, section, defense, seed), "loss": own.get("loss", {})}
    splits = dataset(config)["splits"]
    apart = splits["clean"].get("from") != splits["pretrain"].get("from")  # their ids say nothing
    stage["overlap"] = bool(dataset(config).get("overlap")) or apart
    if attack != "clean":
        stage["trigger"] = _trigger(config, attack, seed)
    return stage


def _epochs(config: Config, defense: str) -> int:
    return merge(config["finetune"], config["defenses"][defense])["train"]["epochs"]


def _text(config: Config, seed: int) -> dict[str, Any]:
    return {
        "recipe": RECIPE["text"],
        "model": config["model"]["name"],
        "seed": seed,
        "lexicon": config["text"]["lexicon"],
    }


def _nltk(config: Config) -> dict[str, Any]:
    source = {key: config["text"].get(key) for key in ("mirror", "folder")}
    return {"recipe": RECIPE["nltk"], **source}


def _variants(config: Config, *, seed: int) -> dict[str, Any]:
    epochs = max(_epochs(config, defense) for defense in config["defenses"])
    return {**_text(config, seed), "epochs": epochs, "alpha": config["text"]["alpha"]}


def _subcaptions(config: Config, defense: str, *, seed: int) -> dict[str, Any]:
    epochs = _epochs(config, defense)
    return {**_text(config, seed), "epochs": epochs, **config["defenses"][defense]["subcaptions"]}


def _evaluate(config: Config, attack: str, defense: str, *, seed: int) -> dict[str, Any]:
    attacks = config["run"]["attacks"] if attack == "clean" else [attack]
    if defense != "none":
        config["defenses"][defense]  # a KeyError where there is none
    return {
        "recipe": RECIPE["evaluate"],
        "model": config["model"]["name"],
        "attack": attack,
        "defense": defense,
        "seed": seed,
        "zeroshot": _zeroshot(config),
        "triggers": {name: _trigger(config, name, seed) for name in attacks},
        "samples": config["evaluate"]["samples"],
    }


_STAGES: dict[str, Callable[..., dict[str, Any]]] = {
    "fetch": _source,
    "index": _source,
    "pack": _pack,
    "base": _base,
    "imported": _imported,
    "trigger": _fit,
    "poison": _poison,
    "pretrain": _pretrain,
    "nltk": _nltk,
    "variants": _variants,
    "subcaptions": _subcaptions,
    "finetune": _finetune,
    "evaluate": _evaluate,
}
