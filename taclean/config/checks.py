"""What the keys of a config must fulfil together."""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from taclean import config as configs
from taclean.config import Config
from taclean.config.schema import DRAWN, ROLES
from taclean.config.schema import Config as Top
from taclean.config.section import Schema
from taclean.config.section import check as check_keys
from taclean.data.readers import READERS
from taclean.util.errors import UserError

RESERVED = {  # names that are folders of ours, or stand for no attack and no defence
    "attacks": ("clean",),
    "defenses": ("none",),
    "splits": ("fetched", "index", "sources", "text"),
}
TRAINED = ("pretrain", "clean", "patch")  # roles of splits that something is trained on
# What a split's source must give.
GIVES = {**dict.fromkeys(TRAINED, ("pairs",)), "val": ("labels",), "test": ("labels",)}


def schema(config: Config) -> Schema:
    """The JSON schema of a config: the attacks and defences that it names bring their own."""
    top = dict(Top.schema_of())
    top["properties"] = dict(top["properties"])
    for folder in ("attacks", "defenses"):
        entries = config.get(folder)
        section = top["properties"][folder] | {"additionalProperties": False, "properties": {}}
        for name, entry in entries.items() if isinstance(entries, Mapping) else ():
            whole = {folder: {name: entry if isinstance(entry, Mapping) else {}}}
            if isinstance(whole[folder][name].get("kind", ""), str):
                section["properties"][name] = configs.described(whole, folder, name)["entry"]
        top["properties"][folder] = section
    return top


def check(config: Config) -> None:
    """Check a resolved config: types, ranges and unknown keys, then what spans keys.

    Raises:
        UserError: names the key and what to do.
    """
    check_keys(config, schema(config))
    for folder in ("attacks", "defenses"):
        _known(f"run.{folder}", config["run"][folder], config[folder])
    _known("evaluate.triggers", configs.tried(config), config["attacks"])
    if tune := config.get("tune"):
        _known("tune.attacks", tune["attacks"], config["attacks"])
        _known("tune.trials", tune["trials"], config["defenses"])
        counts = {name: len(trials) for name, trials in tune["trials"].items()}
        if len(set(counts.values())) > 1:
            has = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise UserError(f"tune.trials: {has}; give every defence the same number of trials")
    for name in config["defenses"]:
        _check_after(config, name)
    for name, axis in config.get("axes", {}).items():
        sides = [config["run"]["attacks"], ["none", *config["run"]["defenses"]]]
        side = max(sides, key=lambda known: len(set(known) & set(axis["values"])))
        _known(f"axes.{name}.values", axis["values"], side)
    for folder in ("attacks", "defenses"):
        for name in config[folder]:
            _not_reserved(f"{folder}.{name}", name, folder)
    _check_data(config)
    _check_model(config)
    _check_rows(config)
    classes = configs.class_names(config)
    for name in config["scan"].get("targets", []):
        if name not in classes:
            raise UserError(f"scan.targets: {name!r} is no class; take it out or correct it")
    if config["data"]["target"] not in classes:
        raise UserError(
            f"data.target: {config['data']['target']!r} is no class; give one of "
            f"{', '.join(classes[:8])}, ... ({len(classes)} classes)"
        )


def _check_after(config: Config, name: str) -> None:
    chain = [name]
    while before := config["defenses"][chain[-1]].get("after"):
        _known(f"defenses.{chain[-1]}.after", [before], config["defenses"])
        if before in chain:
            raise UserError(f"defenses.{name}.after: comes back to {before!r}; start elsewhere")
        chain.append(before)


def _known(where: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            raise UserError(f"{where}: {name!r} is unknown; known are {', '.join(known)}")


def _not_reserved(where: str, name: str, kind: str) -> None:
    if name in RESERVED[kind]:
        raise UserError(f"{where}: {name!r} has a meaning of its own here; take another name")


# ---- numbers of rows -----------------------------------------------------------------------------


def _numbers_of_rows(entry: Any, schema: Schema, path: str) -> Iterator[tuple[str, str, int]]:
    """(of what, key, number) of each key whose rows something must have."""
    for name, child in schema.get("properties", {}).items():
        value = entry.get(name) if isinstance(entry, Mapping) else None
        if "rowsOf" in child and isinstance(value, int):
            yield child["rowsOf"], f"{path}.{name}".lstrip("."), value
        yield from _numbers_of_rows(value, child, f"{path}.{name}")


def _check_rows(config: Config) -> None:
    splits = configs.dataset(config)["splits"]
    has = {
        "poison": config["poison"]["rows"],  # of no matter without attacks
        "clean": splits[configs.split_of_role(config, "clean")]["rows"],
    }
    tuned = configs.trials(config) if "tune" in config else []
    trials = [configs.trial_name(trial["defense"], trial["trial"]) for trial in tuned]
    for name in dict.fromkeys(
        [*config["run"]["attacks"], *config.get("tune", {}).get("attacks", [])]
    ):
        entry = configs.described(config, "attacks", name)["entry"]
        found = list(_numbers_of_rows(config["attacks"][name], entry, ""))
        wanted = [(key, count) for of, key, count in found if of == "poison" and count]
        if sum(count for _, count in wanted) > has["poison"]:
            (first, count), *more = wanted
            what = f"{count} rows" + "".join(f" and {n} of {key}" for key, n in more)
            raise UserError(
                f"attacks.{name}.{first}: {what}, but the poisoned set has {has['poison']} "
                "(poison.rows); lower it"
            )
    for name in [*config["run"]["defenses"], *trials]:
        entry = configs.described(config, "defenses", name)["entry"]
        for of, key, count in _numbers_of_rows(config["defenses"][name], entry, ""):
            if count > has[of]:
                raise UserError(
                    f"defenses.{name}.{key}: {count} rows per epoch, but the clean split has "
                    f"{has[of]}; lower it"
                )
        _check_overlap(config, name, has)


def _check_overlap(config: Config, name: str, has: Mapping[str, int]) -> None:
    entry = config["defenses"][name]
    if "overlap" not in entry:
        return
    where, share, rows = f"defenses.{name}.overlap", entry["overlap"], entry.get("rows")
    if not configs.has_role(config, "pretrain"):
        raise UserError(f"{where}: {share:g}, but no split has the role pretrain; leave it out")
    splits = configs.dataset(config)["splits"]
    total = splits[configs.split_of_role(config, "pretrain")]["rows"]
    shared = round(share * (rows or has["clean"]))
    rest = (rows or has["clean"]) - shared
    for wanted, there, what in (
        (shared, has["poison"], "poisoned rows (poison.rows)"),
        (rest, total - has["poison"], "others in the pretrain split"),
    ):
        if wanted > there:
            raise UserError(
                f"{where}: {share:g} asks for {wanted} of {there} {what}; set defenses.{name}.rows "
                "lower"
            )


# ---- data ----------------------------------------------------------------------------------------


def _check_data(config: Config) -> None:
    data = config["data"]
    known = [key for key, value in data.items() if isinstance(value, Mapping)]
    if data["name"] not in known:
        raise UserError(f"data.name: {data['name']!r} is unknown; known are {', '.join(known)}")
    dataset, where = configs.dataset(config), f"data.{data['name']}"
    splits = dataset["splits"]
    of_role: dict[str, list[str]] = {}
    for name, split in splits.items():
        _not_reserved(f"{where}.splits.{name}", name, "splits")
        of_role.setdefault(configs.role(name, split), []).append(name)
    for wanted in ROLES:
        names = of_role.get(wanted, [])
        if len(names) > 1 or (not names and wanted in _needed(config)):
            found = f"{' and '.join(names)} have" if names else "no split has"
            raise UserError(f"{where}.splits: {found} the role {wanted}; give it to one")
    if dataset["form"] == "scenes":
        _check_scenes(dataset, where)
        drawn = configs.classes_of("all")
        if unknown := [name for name in configs.class_names(config) if name not in drawn]:
            raise UserError(
                f"{where}.classes: there is no drawing of {unknown[0]!r}; scenes have `default`, "
                "`all`, or names of the latter"
            )
    else:
        _check_files(dataset, where)
    for name in (name for wanted in TRAINED for name in of_role.get(wanted, [])):
        if "rows" not in splits[name]:
            raise UserError(f"{where}.splits.{name}.rows: missing; give a number of rows")
    if config["run"]["attacks"]:
        rows, total = config["poison"]["rows"], splits[of_role["pretrain"][0]]["rows"]
        if rows > total:
            raise UserError(f"poison.rows: {rows}, but the pretrain split has {total}; lower it")
    labelled = [name for name, split in splits.items() if configs.role(name, split) not in TRAINED]
    for name in config["evaluate"]["splits"]:
        if name not in labelled:
            raise UserError(
                f"evaluate.splits: {name!r} is no test set; known are {', '.join(labelled)}"
            )
    test = of_role["test"][0]
    if test not in config["evaluate"]["splits"]:
        raise UserError(f"evaluate.splits: without {test}, which the tables are of; add it")
    probe = config["evaluate"].get("probe")
    free = [name for name in splits if name not in config["evaluate"]["splits"]]
    if probe is not None and probe not in free:
        raise UserError(
            f"evaluate.probe: {probe!r} is no split, or one that is scored; known are "
            f"{', '.join(free)}"
        )


def _needed(config: Config) -> set[str]:
    """The roles that the run needs; see `data.NAME.splits.NAME.role`."""
    if config["run"]["attacks"]:
        return set(ROLES)
    needed = {"clean", "test"}
    if "pretrained" not in config["model"]:
        needed.add("pretrain")
    if any(configs.described(config, "attacks", name)["fits"] for name in configs.tried(config)):
        needed |= {"pretrain", "patch"}
    return needed


def _check_model(config: Config) -> None:
    if config["base"].get("per_seed") and "pretrained" in config["model"]:
        raise UserError("base.per_seed: true, but model.pretrained takes the base model's place")
    name, size = config["model"]["name"], config["data"]["image_size"]
    ours = Path(configs.__file__).parents[1] / "model_configs"
    places = (configs.open_clip_file("model_configs"), ours)
    known = {path.stem: path for place in places for path in place.glob("*.json")}
    if name not in known:
        close = ", ".join(difflib.get_close_matches(name, known)) or "open_clip.list_models()"
        raise UserError(f"model.name: open_clip has no model {name!r}; see {close}")
    wanted = json.loads(known[name].read_text("utf-8")).get("vision_cfg", {}).get("image_size")
    if isinstance(wanted, int) and wanted != size:
        raise UserError(
            f"data.image_size: {size}, but {name} takes {wanted} px; set it to {wanted}"
        )


def _check_scenes(dataset: Config, where: str) -> None:
    for key in ("max_broken", "sources"):
        if key in dataset:
            raise UserError(f"{where}.{key}: scenes are composed and have none; leave it out")
    splits = dataset["splits"]
    for name, split in splits.items():
        if "from" in split:
            raise UserError(f"{where}.splits.{name}.from: scenes have no sources; leave it out")
        for key in ("first", "rows", "second"):
            if key not in split:
                raise UserError(f"{where}.splits.{name}.{key}: missing; see config/config.yaml")
    shared = 0
    ordered = sorted(splits.items(), key=lambda item: item[1]["first"])
    for (one, before), (other, after) in itertools.combinations(ordered, 2):
        end = before["first"] + before["rows"]
        common = min(end, after["first"] + after["rows"]) - after["first"]
        if common <= 0:
            continue
        roles = {configs.role(one, before), configs.role(other, after)}
        if roles != {"clean", "pretrain"} or not dataset.get("overlap"):
            raise UserError(
                f"{where}.splits.{other}.first: {after['first']} lies within split {one}, which "
                f"ends before {end}; splits must not overlap"
            )
        shared = common
    if overlap := dataset.get("overlap"):
        rows = next(v["rows"] for n, v in splits.items() if configs.role(n, v) == "clean")
        if round(overlap * rows) != shared:
            raise UserError(
                f"{where}.overlap: {overlap:g}, but {shared} of the {rows} clean scenes are among "
                f"those of pretrain; move splits.clean.first, or set it to {shared / rows:g}"
            )


ONE_FORM = {key for form in READERS.values() for key in form.keys}  # keys of some readers only

# What the generator of each form takes (tools/standin.py); all but `broken` must be given.
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


def _check_files(dataset: Config, where: str) -> None:
    for key in ("max_broken", "sources"):
        if key not in dataset:
            raise UserError(f"{where}.{key}: missing; see config/paper.yaml")
    if dataset["classes"] in DRAWN:
        raise UserError(
            f"{where}.classes: {dataset['classes']!r} are the scenes'; files have `imagenet`, a "
            "list of names or a file with them"
        )
    for name, source in dataset["sources"].items():
        places = [key for key in ("folder", "hub", "download", "standin") if source.get(key)]
        if len(places) != 1:
            raise UserError(
                f"{where}.sources.{name}: give one of folder, hub, download and standin, not "
                f"{' and '.join(places) or 'none'}"
            )
        if "hub" in source and "revision" not in source:
            raise UserError(f"{where}.sources.{name}.revision: missing; pin the hub's commit")
        for key in source:
            if key in ONE_FORM and key not in READERS[source["reader"]].keys:
                raise UserError(
                    f"{where}.sources.{name}.{key}: the reader {source['reader']} has none; leave "
                    "it out"
                )
        if "standin" in source:
            _check_standin(source, f"{where}.sources.{name}")
    sources: dict[str, str] = {}
    for name, split in dataset["splits"].items():
        if split.get("from") not in dataset["sources"]:
            raise UserError(
                f"{where}.splits.{name}.from: {split.get('from')!r} is no source; known are "
                f"{', '.join(dataset['sources'])}"
            )
        for key in ("first", "second", "styles"):
            if key in split:
                raise UserError(f"{where}.splits.{name}.{key}: only scenes have it; leave it out")
        source = dataset["sources"][split["from"]]
        reader, gives = source["reader"], READERS[source["reader"]].gives
        role = configs.role(name, split)
        sources[role] = split["from"]
        wanted = GIVES.get(role, ("labels", "captions", "pairs"))
        if gives not in wanted and not (role in TRAINED and "captions" in source):
            takes = ", ".join(key for key, form in READERS.items() if form.gives in wanted)
            more = ", or this one with `captions`" * (role in TRAINED and gives == "labels")
            raise UserError(
                f"{where}.splits.{name}.from: the reader of {split['from']!r} is {reader}; a split "
                f"of the role {role} takes {takes}{more}"
            )
    if dataset.get("overlap") and sources["clean"] != sources.get("pretrain"):
        raise UserError(
            f"{where}.overlap: clean is from {sources['clean']} and pretrain from "
            f"{sources.get('pretrain')}, which have no row in common; set it to 0"
        )
