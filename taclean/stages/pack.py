"""Compose or read a split and pack it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from taclean.stages.shared import say, tokenizer
from taclean.util.errors import UserError

if TYPE_CHECKING:
    from taclean.config import Config

RECIPE = 3


def pack_config(config: Config, split: str) -> dict[str, Any]:
    """Return what decides a split's rows and pixels."""
    from taclean.config.schema import DRAWN, TRAINED, Scenes

    dataset, names = config.dataset, config.class_names
    role, scenes = dataset.role(split), isinstance(dataset, Scenes)
    stage = {
        "recipe": RECIPE,
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
    return stage | {
        "source": source.given(exclude={"captions"}),
        "max_broken": dataset.max_broken,
        "draw": {
            name: other.rows
            for name, other in dataset.splits.items()
            if other.source == dataset.splits[split].source and other.rows
        },
    }


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
