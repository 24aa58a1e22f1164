"""Compose or read a split and pack it."""

from pathlib import Path
from typing import Any

from taclean.config import Config
from taclean.config.schema import DRAWN, TRAINED, Scenes
from taclean.stages.shared import WORKERS, option, say, tokenizer
from taclean.util.errors import UserError
from taclean.util.files import sha256


def pack_config(config: Config, split: str) -> dict[str, Any]:
    dataset, names = config.dataset, config.class_names
    role, scenes = dataset.role(split), isinstance(dataset, Scenes)
    stage = {
        "form": dataset.form,
        "seed": dataset.seed,
        "image_size": config.data.image_size,
        # What the labels count; None: the source's own classes, or the labels of pairs.
        "classes": names if scenes or role in ("val", "test") else None,
        "split": split,
        "model": config.model.name,
        **dataset.splits[split].given(),
    }
    if scenes:
        return stage | {"scenes": dataset.classes if dataset.classes in DRAWN else names}
    source = dataset.source_of(split)
    if source.captions and role in TRAINED:  # splits that are only scored do not depend on them
        stage |= {"captions": source.captions, "classes": names}
        if source.details:
            stage["details"] = _details(source.details.model_dump())
    siblings = {name: s for name, s in dataset.splits.items() if dataset.source_of(name) is source}
    given = {name: s.given(include={"cover", "without"}) for name, s in siblings.items()}
    limits = {name: limit for name, limit in given.items() if limit}
    return stage | {
        "source": source.given(exclude={"captions", "details"}),
        "max_broken": dataset.max_broken,
        "max_copies": dataset.max_copies,
        "learned": config.learns(split),  # and loses copies
        "draw": [[name, s.rows] for name, s in siblings.items() if s.rows],  # their order decides
        **({"limits": limits, "names": names} if limits else {}),
    }


def _details(given: dict[str, Any]) -> dict[str, Any]:
    """Return the details of the config, with the sum of the file: another text, other captions."""
    path = given["descriptors"]
    if path in (None, "download"):
        return given
    if not Path(path).is_file():
        text = f"{path}: no such file; correct the path, or leave the key out"
        raise UserError(f"details.descriptors: {text}")
    return given | {"sum": sha256(path)}


RECIPE = 3
CONFIGS = {"pack/SPLIT": pack_config}
OPTIONS = [
    option("--index", "index of its source, for a split that is read from files", default=None),
    option("--folder", "folder, or CSV file, of that source", default=None),
    option("--known", "files pictures.npy of splits whose pictures win", nargs="*", default=[]),
    option("--out", "folder of the split"),
    WORKERS,
]


def run(stage: dict[str, Any], options: Any) -> None:
    import numpy as np

    from taclean.data import load_array
    from taclean.data.details import class_details
    from taclean.data.labels import add_captions, count_classes
    from taclean.data.pack import pack_rows
    from taclean.data.readers import Reader, load_table, make_reader
    from taclean.data.scenes import SceneReader

    if stage["form"] == "scenes":
        ids = range(stage["first"], stage["first"] + stage["rows"])
        keys = [key for key in ("styles", "cover", "without", "second") if key in stage]
        given: dict[str, Any] = {"classes": stage["scenes"], **{key: stage[key] for key in keys}}
        more = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
        reader: Reader = SceneReader(ids, stage["seed"], stage["image_size"], **more)
        table = reader.table()
    else:
        if not options.index or not options.folder:
            raise UserError("pack: this split is read from files; give --index and --folder")
        reader = make_reader(stage["source"], Path(options.folder))
        table = load_table(options.index)
    if stage["classes"] is not None:
        table = count_classes(table, stage["classes"])
        shown = {*table["label"]}
        names = [name for label, name in enumerate(stage["classes"]) if label not in shown]
        if names and stage["form"] == "files" and shown != {-1}:
            some = ", ".join(names[:5]) + ", ..." * (len(names) > 5)
            say(f"pack {stage['split']}: no picture of {len(names)} of the run's classes ({some})")
    rows, spare = _drawn(stage, table)
    if "captions" in stage:
        told: dict[str, Any] = {}
        if details := stage.get("details"):
            synsets = table.attrs.get("synsets") or [None] * len(stage["classes"])
            known, lacking = class_details(stage["classes"], synsets, details, Path(options.folder))
            told = {"details": known, **{key: details[key] for key in ("most", "box")}}
            if lacking:
                some = ", ".join(lacking[:5]) + ", ..." * (len(lacking) > 5)
                say(f"pack {stage['split']}: {len(lacking)} classes without details ({some})")
        rows = add_captions(rows, stage["captions"], stage["seed"], **told)
        if spare is not None:
            spare = add_captions(spare, stage["captions"], stage["seed"], **told)
    settings = {"size": stage["image_size"], "max_broken": stage.get("max_broken", 0)}
    if stage["form"] == "files":
        seen = [load_array(path, np.uint64, 1) for path in options.known]
        settings["known"] = np.concatenate([np.empty(0, np.uint64), *seen])
        settings["max_copies"] = stage["max_copies"] if stage["learned"] else None
    work = {"tokenize": tokenizer(stage), "workers": options.workers}
    account = pack_rows(Path(options.out), reader, rows, spare, **settings, **work)
    broken = ", ".join(f"{kind} {n}" for kind, n in account["broken"].items() if n) or "none"
    if "copies" in account:
        broken += f"; copies {'dropped' if stage['learned'] else 'kept'}: {account['copies']}"
    say(f"pack {stage['split']}: {account['packed']} rows of {account['read']}; broken: {broken}")


def _drawn(stage: dict[str, Any], table: Any) -> tuple[Any, Any]:
    """Return the split's rows of its source and the spare rows; all rows and None if not drawn."""
    from taclean.data.draw import draw, within

    if "draw" not in stage or "rows" not in stage:
        return table, None
    limits, names = stage.get("limits", {}), stage.get("names", [])
    only = {split: within(table, names, **limit).to_numpy() for split, limit in limits.items()}
    lost = stage["max_broken"] + stage["max_copies"]  # a share of all that is read, spares included
    spares = lost / (1 - lost) if lost < 1 else len(table)
    drawn = draw(table["picture"], dict(stage["draw"]), stage["seed"], spares, only)[stage["split"]]
    return table.iloc[drawn.rows], table.iloc[drawn.spare]
