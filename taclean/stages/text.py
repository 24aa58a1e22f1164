"""Make a text artifact that a defence wants of the clean split's captions, for every epoch."""

from __future__ import annotations

import hashlib
import importlib
import json
from typing import Any

from taclean import config as configs
from taclean.config import Config
from taclean.stages.shared import cleaning_seed, overlap_of, say, tokenizer
from taclean.util.files import replacing

RECIPE = 3


def shared_name(config: Config, text: str, defense: str) -> str:
    """The name of a defence's artifact, from all that decides it.

    Whoever wants the same shares it, and no change of another's entry touches it.
    """
    wanted = _wanted(config, text, defense)
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:8]
    return f"{wanted['epochs']}epochs-{digest}"


def user_of(config: Config, text: str, shared: str) -> str | None:
    """The first defence of the config that has the artifact of a `shared_name`."""
    for name in config["defenses"]:
        has = text in configs.described(config, "defenses", name)["texts"]
        if has and shared_name(config, text, name) == shared:
            return name
    return None


def _wanted(config: Config, text: str, defense: str) -> dict[str, Any]:
    """The artifact's class, parameters (defaults included) and epochs; a KeyError without it."""
    entry, method = config["defenses"][defense], configs.described(config, "defenses", defense)
    artifact = method["texts"][text]
    keys = method["entry"]["properties"][text]["properties"]
    given = entry.get(text, {})
    return {
        **{key: entry[key] for key in ("rows", "overlap") if key in entry},
        "artifact": artifact,
        "parameters": {key: given.get(key, part.get("default")) for key, part in keys.items()},
        "epochs": configs.own_train(config, "finetune", entry)["epochs"],
    }


def text_config(
    config: Config, text: str, defense: str, *, seed: int, repeat: int = 0
) -> dict[str, Any]:
    """What decides an artifact, of which `defense` is a user or the `shared_name`."""
    if defense not in config["defenses"]:
        defense = user_of(config, text, defense) or defense
    stage = {
        "recipe": RECIPE,
        "model": config["model"]["name"],
        "seed": cleaning_seed(seed, repeat),
        "text": text,
        **_wanted(config, text, defense),
    }
    overlap = overlap_of(config, defense, seed)
    return {**stage, "overlap": overlap} if overlap else stage


CONFIGS = {"text": text_config}


def arguments(add: Any) -> None:
    """Options beside --config."""
    add("--data", "folder of the split that the defence learns from")
    add("--workers", "processes; the result does not depend on it", type=int, default=1)
    add("--out", "folder of the artifact")


def run(stage: dict[str, Any], options: Any) -> None:
    """Make it."""
    from taclean.attacks.poison import taken
    from taclean.data.split import Pairs

    module, _, name = stage["artifact"].partition(":")
    kind = getattr(importlib.import_module(module), name)
    artifact = kind.of(stage["parameters"], stage["text"])
    captions = taken(Pairs.open(options.data), stage).captions()  # as the defence takes them
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
