"""Make a text artifact that a defence wants of the clean split's captions, for every epoch."""

from __future__ import annotations

import hashlib
import importlib
import json
from typing import Any

from taclean import config as configs
from taclean.config import Config
from taclean.files import replacing
from taclean.stages.shared import cleaning_seed, say, tokenizer

RECIPE = 2


def shared_name(config: Config, text: str, defense: str) -> str:
    """The name of a defence's artifact, from all that decides it.

    Whoever wants the same shares it, and no change of another's entry touches it.
    """
    wanted = _wanted(config, text, defense)
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:8]
    return f"{wanted['epochs']}epochs-{digest}"


def _wanted(config: Config, text: str, defense: str) -> dict[str, Any]:
    """The artifact's class, parameters (defaults included) and epochs; a KeyError without it."""
    entry, method = config["defenses"][defense], configs.described(config, "defenses", defense)
    artifact = method["texts"][text]
    keys = method["entry"]["properties"][text]["properties"]
    given = entry.get(text, {})
    rows = {"rows": entry["rows"]} if "rows" in entry else {}
    return {
        **rows,
        "artifact": artifact,
        "parameters": {key: given.get(key, part.get("default")) for key, part in keys.items()},
        "epochs": configs.own_train(config, "finetune", entry)["epochs"],
    }


def text_config(
    config: Config, text: str, defense: str, *, seed: int, repeat: int = 0
) -> dict[str, Any]:
    """What decides an artifact, of which `defense` is a user or the `shared_name`."""
    if defense not in config["defenses"]:
        users = (
            name
            for name in config["defenses"]
            if text in configs.described(config, "defenses", name)["texts"]
            and shared_name(config, text, name) == defense
        )
        defense = next(users, defense)
    return {
        "recipe": RECIPE,
        "model": config["model"]["name"],
        "seed": cleaning_seed(seed, repeat),
        "text": text,
        **_wanted(config, text, defense),
    }


CONFIGS = {"text": text_config}


def arguments(add: Any) -> None:
    """Options beside --config."""
    add("--data", "folder of the clean split")
    add("--workers", "processes; the result does not depend on it", type=int, default=1)
    add("--out", "folder of the artifact")


def run(stage: dict[str, Any], options: Any) -> None:
    """Make it."""
    from taclean.data.packed import Pairs
    from taclean.poison import training_rows

    module, _, name = stage["artifact"].partition(":")
    kind = getattr(importlib.import_module(module), name)
    artifact = kind.of(stage["parameters"], stage["text"])
    pairs = Pairs.open(options.data)
    if "rows" in stage:  # those that the defence learns from
        pairs = pairs.take(training_rows(len(pairs), stage["rows"], stage["seed"]))
    captions = pairs.captions()
    with replacing(options.out) as temporary:
        temporary.mkdir()
        artifact.write(
            temporary,
            captions,
            tokenizer(stage),
            epochs=stage["epochs"],
            seed=stage["seed"],
            workers=options.workers,
            say=say,
        )
