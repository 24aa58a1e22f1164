"""Compose or read a split and pack it."""

from pathlib import Path
from typing import Any

from taclean.config import Config
from taclean.config.schema import DRAWN, TRAINED, Scenes
from taclean.stages.shared import option, say, tokenizer
from taclean.util.errors import UserError


def pack_config(config: Config, split: str) -> dict[str, Any]:
    """Return what decides a split's rows and pixels."""
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
    siblings = {name: s for name, s in dataset.splits.items() if dataset.source_of(name) is source}
    covers = {name: other.cover for name, other in siblings.items() if other.cover < 1}
    return stage | {
        "source": source.given(exclude={"captions"}),
        "max_broken": dataset.max_broken,
        "draw": {name: other.rows for name, other in siblings.items() if other.rows},
        **({"covers": covers} if covers else {}),
    }


RECIPE = 3
CONFIGS = {"pack/SPLIT": pack_config}
OPTIONS = [
    option("--index", "index of its source, for a split that is read from files", default=None),
    option("--folder", "folder, or CSV file, of that source", default=None),
    option("--out", "folder of the split"),
    option("--workers", "processes", type=int, default=1),
]


def run(stage: dict[str, Any], options: Any) -> None:
    """Pack the split."""
    from taclean.data.draw import covered, draw
    from taclean.data.labels import add_captions, count_classes
    from taclean.data.pack import pack_rows
    from taclean.data.readers import Reader, make_reader
    from taclean.data.scenes import SETS, SceneReader
    from taclean.data.table import load_table

    if stage["form"] == "scenes":
        ids = range(stage["first"], stage["first"] + stage["rows"])
        names, styles = stage["scenes"], stage.get("styles", "train")
        more = {
            "classes": names if isinstance(names, str) else tuple(names),
            "styles": SETS.get(styles) if isinstance(styles, str) else tuple(styles),
            "cover": stage.get("cover", 1.0),
            "second": stage["second"],
        }
        reader: Reader = SceneReader(ids, stage["seed"], stage["image_size"], **more)
        table = reader.table()
    else:
        if not options.index or not options.folder:
            raise UserError("pack: this split is read from files; give --index and --folder")
        reader = make_reader(stage["source"], Path(options.folder))
        table = load_table(options.index)
    if stage["classes"] is not None:
        table = count_classes(table, stage["classes"])
    rows, spare = table, None
    if "draw" in stage and "rows" in stage:
        broken = stage["max_broken"]  # a share of all that is read: of rows and spare rows
        spares = broken / (1 - broken) if broken < 1 else len(table)
        count = len(table.attrs["classes"] or stage["classes"] or [])
        covers = stage.get("covers", {}).items()
        only = {s: table["label"].isin(covered(count, share)).to_numpy() for s, share in covers}
        drawn = draw(table["picture"], stage["draw"], stage["seed"], spares, only)[stage["split"]]
        rows, spare = (table.iloc[places] for places in drawn)
    if "captions" in stage:
        rows = add_captions(rows, stage["captions"], stage["seed"])
        spare = None if spare is None else add_captions(spare, stage["captions"], stage["seed"])
    settings = {"size": stage["image_size"], "max_broken": stage.get("max_broken", 0)}
    work = {"tokenize": tokenizer(stage), "workers": options.workers}
    account = pack_rows(Path(options.out), reader, rows, spare, **settings, **work)
    broken = ", ".join(f"{kind} {n}" for kind, n in account["broken"].items() if n) or "none"
    say(f"pack {stage['split']}: {account['packed']} rows of {account['read']}; broken: {broken}")
