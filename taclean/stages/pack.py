"""Compose or read a split and pack it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from taclean import config as configs
from taclean.config import Config
from taclean.config.checks import TRAINED
from taclean.config.schema import DRAWN
from taclean.stages.shared import say, tokenizer
from taclean.util.errors import UserError

RECIPE = 3


def pack_config(config: Config, split: str) -> dict[str, Any]:
    """What decides a split's rows and pixels."""
    dataset = configs.dataset(config)
    stage = {
        "recipe": RECIPE,
        "form": dataset["form"],
        "seed": dataset["seed"],
        "image_size": config["data"]["image_size"],
        "classes": _classes(config, split),
        "split": split,
        "model": config["model"]["name"],
        **dataset["splits"][split],
    }
    if dataset["form"] == "scenes":
        own = dataset["classes"] not in DRAWN
        stage["scenes"] = configs.class_names(config) if own else dataset["classes"]
    else:
        source = dataset["splits"][split]["from"]
        given = dict(dataset["sources"][source])
        templates = given.pop("captions", None)  # no matter of the splits that are only scored
        if templates and configs.role(split, dataset["splits"][split]) in TRAINED:
            stage |= {"captions": templates, "classes": configs.class_names(config)}
        stage |= {"source": given, "max_broken": dataset["max_broken"]}
        stage["draw"] = {
            name: entry["rows"]
            for name, entry in dataset["splits"].items()
            if entry["from"] == source and "rows" in entry
        }
    return stage


def _classes(config: Config, split: str) -> list[str] | None:
    """What the labels of a split count; None for those of a source's own classes, and for pairs."""
    dataset = configs.dataset(config)
    ours = configs.role(split, dataset["splits"][split]) in ("val", "test")
    return configs.class_names(config) if ours or dataset["form"] == "scenes" else None


CONFIGS = {"pack": pack_config}


def arguments(add: Any) -> None:
    """Options beside --config."""
    add("--index", "index of the split's source, for splits that are read from files", default=None)
    add("--folder", "folder, or CSV file, of that source", default=None)
    add("--out", "folder of the split")
    add("--workers", "processes", type=int, default=1)


def run(stage: dict[str, Any], options: Any) -> None:
    """Pack the split."""
    from taclean.data.labels import add_captions, count_classes
    from taclean.data.pack import pack_rows
    from taclean.data.readers import Reader, make_reader
    from taclean.data.scenes import SceneReader
    from taclean.data.table import load_table

    if stage["form"] == "scenes":
        classes = stage["scenes"]
        reader: Reader = SceneReader(
            range(stage["first"], stage["first"] + stage["rows"]),
            stage["seed"],
            stage["image_size"],
            classes=classes if isinstance(classes, str) else tuple(classes),
            shift=stage.get("styles") == "shift",
            second=stage["second"],
        )
        table = reader.table()
    else:
        if not options.index or not options.folder:
            raise UserError("pack: this split is read from files; give --index and --folder")
        reader = make_reader(stage["source"], Path(options.folder))
        table = load_table(options.index)
    if stage["classes"] is not None:
        table = count_classes(table, stage["classes"])
    rows, spare = _drawn(stage, table)
    if "captions" in stage:
        rows = add_captions(rows, stage["captions"], stage["seed"])
        spare = None if spare is None else add_captions(spare, stage["captions"], stage["seed"])
    account = pack_rows(
        Path(options.out),
        reader,
        rows,
        spare,
        size=stage["image_size"],
        tokenize=tokenizer(stage),
        workers=options.workers,
        max_broken=stage.get("max_broken", 0),
        say=say,
    )
    broken = ", ".join(f"{kind} {n}" for kind, n in account["broken"].items() if n) or "none"
    say(f"pack {stage['split']}: {account['packed']} rows of {account['read']}; broken: {broken}")


def _drawn(stage: dict[str, Any], table: Any) -> tuple[Any, Any]:
    """Return the split's rows of its source and the spare rows; all rows and None if not drawn."""
    from taclean.data.draw import draw

    if "draw" not in stage or "rows" not in stage:
        return table, None
    broken = stage["max_broken"]  # a share of all that is read: of rows and spare rows
    spares = broken / (1 - broken) if broken < 1 else len(table)
    drawn = draw(table["picture"], stage["draw"], stage["seed"], spares)[stage["split"]]
    return table.iloc[drawn.rows], table.iloc[drawn.spare]
