"""Compose or read a split and pack it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from taclean import config as configs
from taclean.config import Config
from taclean.errors import UserError
from taclean.files import read_json
from taclean.stages.shared import say, tokenizer

RECIPE = 2


def pack_config(config: Config, split: str) -> dict[str, Any]:
    """What decides a split's rows and pixels."""
    own = configs.dataset(config)
    stage = {
        "recipe": RECIPE,
        "form": own["form"],
        "seed": own["seed"],
        "image_size": config["data"]["image_size"],
        "classes": own["classes"],
        "split": split,
        "model": config["model"]["name"],
        **own["splits"][split],
    }
    if own["form"] == "files":
        source = own["splits"][split]["from"]
        stage |= {"source": own["sources"][source], "max_broken": own["max_broken"]}
        roles = {}
        stage["draw"] = {}
        for name, entry in own["splits"].items():
            if entry["from"] == source and "rows" in entry:
                roles[configs.role(name, entry)] = name
                stage["draw"][name] = entry["rows"]
        if {"pretrain", "clean"} <= roles.keys() and own.get("overlap"):  # only they overlap
            stage["overlap"] = {
                "share": own["overlap"], "of": roles["clean"], "with": roles["pretrain"],
            }  # fmt: skip
    return stage


CONFIGS = {"pack": pack_config}


def arguments(add: Any) -> None:
    """Options beside --config."""
    add("--index", "index of the split's source, for splits that are read from files", default=None)
    add("--folder", "folder, or CSV file, of that source", default=None)
    add("--out", "folder of the split")
    add("--workers", "processes", type=int, default=1)


def run(stage: dict[str, Any], options: Any) -> None:
    """Pack."""
    if stage["form"] == "files":
        _files(stage, options)
        return
    from taclean.data import emoji
    from taclean.data.packed import pack

    ids = range(stage["first"], stage["first"] + stage["rows"])
    chunks = emoji.compose_parallel(
        ids,
        stage["seed"],
        options.workers,
        size=stage["image_size"],
        classes=stage["classes"],
        shift=stage.get("styles") == "shift",
        second=stage["second"],
    )
    told = _told(chunks, len(ids), f"pack {stage['split']}")
    pack(options.out, told, ids, tokenizer(stage), configs.classes_of(stage["classes"]))


def _files(stage: dict[str, Any], options: Any) -> None:
    if not options.index or not options.folder:
        raise UserError("pack: this split is read from files; give --index and --folder")
    index = read_json(options.index)
    if not isinstance(index, dict) or "shards" not in index:
        raise UserError(f"{options.index}: no index; make it with `taclean index`")
    from taclean.data.draw import draw
    from taclean.data.readers import make_reader
    from taclean.data.shards import pack_rows

    rows, spare = None, None
    if "rows" in stage:
        total = sum(count for _, count in index["shards"])
        broken = stage["max_broken"]  # a share of all that is read, so of rows and spare rows
        spares = broken / (1 - broken) if broken < 1 else total
        overlap = stage.get("overlap", {}).get("share", 0)
        drawn = draw(total, stage["draw"], stage["seed"], spares, overlap)
        rows, spare = drawn[stage["split"]]
    account = pack_rows(
        Path(options.out),
        make_reader(stage["source"], Path(options.folder)),
        index,
        rows,
        spare,
        size=stage["image_size"],
        tokenize=tokenizer(stage),
        workers=options.workers,
        max_broken=stage["max_broken"],
        fingerprint={key: stage[key] for key in ("recipe", "source", "model")},
        say=say,
    )
    broken = ", ".join(f"{kind} {n}" for kind, n in account["broken"].items() if n) or "none"
    say(f"pack {stage['split']}: {account['packed']} rows of {account['read']}; broken: {broken}")


def _told(chunks: Any, total: int, label: str) -> Iterator[Any]:
    """Pass chunks on and say every ten seconds how far they are."""
    import time

    started = told = time.time()
    done = 0
    for chunk in chunks:
        yield chunk
        done += len(chunk[0])
        if time.time() - told > 10:
            told = time.time()
            left = (told - started) / done * (total - done)
            say(f"{label}: {done}/{total} rows, about {left:.0f} s left")
