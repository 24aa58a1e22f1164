"""Compose or read a split and pack it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from taclean.stages.shared import say, tokenizer
from taclean.util.errors import UserError
from taclean.util.files import read_json

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
# Of a stage's config, what says which rows are wanted; that is compared row by row.
ROWS = ("stage", "split", "role", "from", "rows", "draw", "overlap", "max_broken")


def arguments(add: Any) -> None:
    """Options beside --config."""
    add("--index", "index of the split's source, for splits that are read from files", default=None)
    add("--folder", "folder, or CSV file, of that source", default=None)
    add("--out", "folder of the split")
    add("--workers", "processes", type=int, default=1)


def run(stage: dict[str, Any], options: Any) -> None:
    """Pack."""
    from taclean.data.index import make_index
    from taclean.data.labels import LabelCaptions
    from taclean.data.pack import pack_rows
    from taclean.data.readers import make_reader
    from taclean.data.readers.scenes import SceneReader

    reader: Any
    if stage["form"] == "scenes":
        reader = SceneReader(
            range(stage["first"], stage["first"] + stage["rows"]),
            stage["seed"],
            stage["image_size"],
            classes=stage["scenes"],
            shift=stage.get("styles") == "shift",
            second=stage["second"],
        )
        index, rows, spare = make_index(reader), None, None
    else:
        if not options.index or not options.folder:
            raise UserError("pack: this split is read from files; give --index and --folder")
        index = read_json(options.index)
        if not isinstance(index, dict) or "shards" not in index:
            raise UserError(f"{options.index}: no index; make it with `taclean index`")
        reader = make_reader(stage["source"], Path(options.folder))
        rows, spare = _drawn(stage, index)
    captions = None
    if "captions" in stage:
        captions = LabelCaptions(stage["captions"], stage["classes"], stage["seed"])
    account = pack_rows(
        Path(options.out),
        reader,
        index,
        rows,
        spare,
        size=stage["image_size"],
        tokenize=tokenizer(stage),
        workers=options.workers,
        max_broken=stage.get("max_broken", 0),
        classes=stage["classes"],
        captions=captions,
        fingerprint={key: value for key, value in stage.items() if key not in ROWS},
        say=say,
    )
    broken = ", ".join(f"{kind} {n}" for kind, n in account["broken"].items() if n) or "none"
    say(f"pack {stage['split']}: {account['packed']} rows of {account['read']}; broken: {broken}")


def _drawn(stage: dict[str, Any], index: dict[str, Any]) -> tuple[Any, Any]:
    """The split's rows of its source, and the spare ones; None for all of it."""
    if "rows" not in stage:
        return None, None
    from taclean.data.draw import draw
    from taclean.data.index import index_pictures, index_rows

    total = index_rows(index)
    broken = stage["max_broken"]  # a share of all that is read, so of rows and spare rows
    spares = broken / (1 - broken) if broken < 1 else total
    drawn = draw(
        total, stage["draw"], stage["seed"], spares,
        pictures=index_pictures(index), **stage.get("overlap", {}),
    )  # fmt: skip
    return drawn[stage["split"]]
