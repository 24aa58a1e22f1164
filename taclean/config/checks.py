"""Validation of a config: the classes of its sections, then what several keys must fulfil."""

import difflib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from taclean.clip import model_files
from taclean.config import registry
from taclean.config.schema import DRAWN, ROLES, TRAINED, Config, DefenseEntry, Files
from taclean.config.section import Section
from taclean.data.labels import class_names
from taclean.data.readers import READERS
from taclean.util.errors import UserError

RESERVED = {  # names that are folders of the results, or stand for no attack and no defence
    "attacks": ("clean", "none"),
    "defenses": ("clean", "none"),
    "splits": ("fetched", "index", "sources", "text"),
}
# What the source of a split must give, by the split's role.
GIVES = {**dict.fromkeys(TRAINED, ("pairs",)), "val": ("labels",), "test": ("labels",)}


def check(values: Mapping[str, Any]) -> Config:
    """Make a config from the values that `taclean.config.resolve` returned.

    A UserError names a key of a wrong type, range or name, or that contradicts another key.
    """
    entries = {folder: _entries(folder, values.get(folder)) for folder in registry.BASES}
    config = Config.of({**values, **entries})
    for part in (_check_data, _check_names, _check_model, _check_rows, _check_scratch):
        part(config)
    return config


def _entries(folder: str, entries: Any) -> Any:
    """Validate the entries of methods with the classes of their kinds."""
    if not isinstance(entries, Mapping):
        return entries
    out: dict[str, Any] = {}
    for name, entry in entries.items():
        where = f"{folder}.{name}"
        _not_reserved(where, name, folder)
        kind = entry.get("kind", name) if isinstance(entry, Mapping) else None
        if not isinstance(kind, str):
            raise UserError(f"{where}: {entry!r}; give keys with values, and text as the kind")
        kind = os.path.expanduser(kind)
        try:
            section = registry.entry(folder, kind)
        except UserError as error:
            raise UserError(f"{where}{'.kind' if 'kind' in entry else ''}: {error}") from None
        if twins := [other for other in out if other.lower() == str(name).lower()]:
            raise UserError(f"{where}: differs from {twins[0]} in case alone; take another name")
        needed = {key: f.annotation for key, f in section.model_fields.items() if f.is_required()}
        parts: Any = {key: {} for key, kind_of in needed.items() if hasattr(kind_of, "of")}
        out[name] = section.of({**parts, **entry, "kind": kind}, where)  # names what a part lacks
    return out


def _known(where: str, names: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in names:
        if name not in known:
            shown = (", ".join(known[:30]) or "none") + ", ..." * (len(known) > 30)
            raise UserError(f"{where}: {name[:70]!r} is unknown; known are {shown}")


def _not_reserved(where: str, name: str, kind: str) -> None:
    if name in RESERVED.get(kind, ()):
        raise UserError(f"{where}: {name!r} has a meaning of its own here; take another name")


def _at_most(where: str, asked: int, there: float, what: str) -> None:
    if asked > there:
        raise UserError(f"{where}: asks for {asked} of {there} {what}; lower it")


def _check_names(config: Config) -> None:
    """Check names that refer to other parts of the config."""
    run, tune = config.run, config.tune
    _known("run.attacks", run.attacks, config.attacks)
    _known("run.defenses", run.defenses, config.defenses)
    _known("evaluate.triggers", config.triggers_on_clean, config.attacks)
    _known("scan.targets", config.scan.targets or [], config.class_names)
    _known("data.target", [config.data.target], config.class_names)
    _known("tune.attacks", tune.attacks, config.attacks)
    _known("tune.trials", [*tune.trials, *config.trials], config.defenses)
    if same := {*tune.seeds} & {*run.seeds}:
        raise UserError(f"tune.seeds: {min(same)} is a seed of the run; choose on other seeds")
    counts = {name: len(trials) for name, trials in tune.trials.items()}
    if len(set(counts.values())) > 1:
        has = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise UserError(f"tune.trials: {has}; give every defence the same number of trials")
    for name in config.defenses:
        chain = [name]
        while before := config.defenses[chain[-1]].after:
            _known(f"defenses.{chain[-1]}.after", [before], config.defenses)
            if before in chain:
                raise UserError(f"defenses.{name}.after: comes back to {before!r}; start elsewhere")
            chain.append(before)
    for name, axis in config.axes.items():
        sides = [run.attacks, ["none", *run.defenses]]
        side = max(sides, key=lambda known: len(set(known) & set(axis.values)))
        _known(f"axes.{name}.values", axis.values, side)


def _check_data(config: Config) -> None:
    """Check the section of `data` that the run uses, and the names of its splits."""
    _known("data.name", [config.data.name], config.data.model_extra or {})
    dataset, where, splits = config.dataset, f"data.{config.data.name}", config.splits
    for role in ROLES:
        names = [name for name in splits if dataset.role(name) == role]
        if len(names) > 1 or (not names and role in _needed(config)):
            found = f"{' and '.join(names)} have" if names else "no split has"
            raise UserError(f"{where}.splits: {found} the role {role}; give it to one")
    if dataset.form == "scenes":
        _known(f"{where}.classes", config.class_names, class_names("all", where))
    elif dataset.classes in DRAWN:
        raise UserError(f"{where}.classes: {dataset.classes!r} is for scenes; give names or a file")
    for name in splits:
        place = f"{where}.splits.{name}"
        _not_reserved(place, name, "splits")
        if isinstance(dataset, Files):
            _check_source(dataset, name, place)
        elif left_out := splits[name].without:
            _known(f"{place}.without", [left_out], config.class_names)
    scored, test = config.evaluate.splits, config.split_of_role("test")
    _known("evaluate.splits", scored, [s for s in splits if dataset.role(s) not in TRAINED])
    if test not in scored:
        raise UserError(f"evaluate.splits: without {test}, which the tables show; add it")
    if probe := config.evaluate.probe:
        labelled = {name for name in splits if "labels" in config.gives(name)}
        _known("evaluate.probe", [probe], [name for name in splits if name in labelled - {*scored}])


def _needed(config: Config) -> set[str]:
    """Return the roles that the run needs; see `data.NAME.splits.NAME.role`."""
    known = config.attacks
    names = [*config.run.attacks, *config.tune.attacks]
    if any(name in known and not known[name].victim for name in names):
        return set(ROLES)
    needed = {"clean", "test"} | (set() if config.model.pretrained else {"pretrain"})
    tried = [known[name] for name in config.triggers_on_clean if name in known]
    fitted = any(entry.fits and not entry.victim for entry in tried)
    return needed | ({"pretrain", "patch"} if fitted else set())


def _check_source(dataset: Files, split: str, where: str) -> None:
    """Check that a split's source gives what the split's role needs."""
    source, role = dataset.source_of(split), dataset.role(split)
    gives, wanted = READERS[source.reader].gives, GIVES.get(role, ("labels", "captions", "pairs"))
    if gives not in wanted and not (role in TRAINED and source.captions):
        takes = ", ".join(name for name, reader in READERS.items() if reader.gives in wanted)
        more = ", or this one with `captions`" * (role in TRAINED and gives == "labels")
        text = f"the reader of {dataset.splits[split].source!r} is {source.reader}"
        raise UserError(f"{where}.from: {text}; a split of the role {role} takes {takes}{more}")
    if dataset.splits[split].cover < 1 and not (role in TRAINED and source.captions):
        text = "only a training split of labelled images covers a part of the classes"
        raise UserError(f"{where}.cover: {text}; leave it out")
    if role in TRAINED and dataset.splits[split].rows is None:
        raise UserError(f"{where}.rows: missing; give a number of rows")


def _check_model(config: Config) -> None:
    if config.base.per_seed and config.model.pretrained:
        raise UserError("base.per_seed: true, but model.pretrained takes the base model's place")
    name, size = config.model.name, config.data.image_size
    if name not in (known := model_files()):
        close = ", ".join(difflib.get_close_matches(name, known)) or "open_clip.list_models()"
        raise UserError(f"model.name: open_clip has no model {name!r}; see {close}")
    wanted = json.loads(known[name].read_text("utf-8")).get("vision_cfg", {}).get("image_size")
    if isinstance(wanted, int) and wanted != size:
        raise UserError(f"data.image_size: {size}, but {name} takes {wanted} px; give that")


def _check_rows(config: Config) -> None:
    """Check that the poisoned set and the clean split have the rows that entries ask for."""
    run, poisoned = config.run, config.poison.rows
    attacks = [*run.attacks, *config.tune.attacks]
    for name in (name for name in attacks if config.attacks[name].victim):
        if (count := len(run.seeds)) > 1:
            text = f"one model, but run.seeds has {count}; give one seed, and run.repeats"
            raise UserError(f"attacks.{name}.victim: {text}")
    attacks = [name for name in attacks if not config.attacks[name].victim]
    val = config.splits[config.split_of_role("val")].rows
    if val and not run.attacks:  # the page of one's own model has a scan
        _at_most("scan.images", config.scan.images, val, "rows of val")
    if attacks:
        there = config.rows_of_role("pretrain")
        _at_most("poison.rows", poisoned, there, "rows of the pretrain split")
    for name in attacks:
        wanted = dict(_numbers_of_rows(config.attacks[name]))
        where = f"attacks.{name}.{' and '.join(wanted)}"
        there = config.poisoning(name)[0]
        _at_most(where, sum(wanted.values()), there, "rows of the poisoned set (poison.rows)")
    for name in config.cleaned_by([*run.defenses, *config.trials]):
        entry, where = config.defenses[name], f"defenses.{name}"
        if entry.split:
            extra = [split for split in config.splits if config.dataset.role(split) == "extra"]
            pairs = [split for split in extra if "pairs" in config.gives(split)]
            _known(f"{where}.split", [entry.split], pairs)
        clean = config.split_of_role("clean")  # gives the number of rows of an overlap
        learned = clean if entry.overlap is not None else config.learned_by(name)
        most = config.splits[learned].rows or math.inf
        for key, asked in _numbers_of_rows(entry):
            _at_most(f"{where}.{key}", asked, most, f"rows of the split {learned}")
            if entry.rows and key != "rows":
                _at_most(f"{where}.{key}", asked, entry.rows, f"rows to learn from ({where}.rows)")
        if entry.overlap is not None:
            _check_overlap(config, entry, entry.overlap, f"{where}.overlap")


def _check_scratch(config: Config) -> None:
    """Check that there are the poisoned rows that defences from scratch train on."""
    run, tune = config.run, config.tune
    grids = [("run.defenses", run.attacks, run.defenses)]
    grids.append(("tune.trials", tune.attacks, [*tune.trials]))
    for where, attacks, defenses in grids:
        others = [name for name in attacks if not config.attacks[name].scratch]
        why = f"{others[0]} is not poisoned from scratch" if others else ""
        if run.controls or not attacks:
            why = "run.controls, or a run without attacks, has none"
        elif run.victims:
            why = "run.victims has none"
        for name in config.cleaned_by(defenses):
            if why and config.defenses[name].method.scratch:
                text = f"{name} trains on the poisoned rows of victims from scratch, but {why}"
                raise UserError(f"{where}: {text}; leave one of them out")


def _numbers_of_rows(section: Section, path: str = "") -> Iterator[tuple[str, int]]:
    """Yield (key, number) of each key that is a number of rows of something."""
    for name, field in type(section).model_fields.items():
        value, more = getattr(section, name), field.json_schema_extra
        if isinstance(more, dict) and "rowsOf" in more and value:
            yield path + name, value
        elif isinstance(value, Section):
            yield from _numbers_of_rows(value, f"{path}{name}.")


def _check_overlap(config: Config, entry: DefenseEntry, share: float, where: str) -> None:
    if not config.split_of_role("pretrain"):
        raise UserError(f"{where}: {share:g}, but no split has the role pretrain; leave it out")
    if entry.split:
        raise UserError(f"{where}: takes rows of the pretrain split, not of `split`; leave one out")
    for name in (name for name in config.run.attacks if config.attacks[name].scratch):
        text = f"every pretrain row is in the poisoned set of {name} (scratch)"
        raise UserError(f"{where}: {share:g}, but {text}; leave one of them out")
    rows, poisoned = entry.rows or config.rows_of_role("clean"), config.poison.rows
    others = config.rows_of_role("pretrain") - poisoned
    shared = round(share * rows)
    _at_most(where, shared, poisoned, "poisoned rows (poison.rows)")
    _at_most(where, rows - shared, others, "other rows of the pretrain split")
