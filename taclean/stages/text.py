"""Make a text artifact that a defence wants of the clean split's captions, for every epoch."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from taclean.stages.shared import cleaning_seed, overlap_of, say, tokenizer
from taclean.util.files import replacing

if TYPE_CHECKING:
    from taclean.config import Config

RECIPE = 2


def shared_name(config: Config, text: str, defense: str) -> str:
    """The name of a defence's artifact, from all that decides it.

    Whoever wants the same shares it, and no change of another's entry touches it.
    """
    wanted = _wanted(config, text, defense)
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:8]
    return f"{wanted['epochs']}epochs-{digest}"


def user_of(config: Config, text: str, shared: str) -> str | None:
    """Return the first defence of the config that learns from the artifact of a `shared_name`."""
    for name, entry in config.defenses.items():
        if text in entry.texts and shared_name(config, text, name) == shared:
            return name
    return None


def _wanted(config: Config, text: str, defense: str) -> dict[str, Any]:
    """Return the artifact's name, parameters (with defaults) and epochs; a KeyError without it."""
    entry = config.defenses[defense]
    if text not in entry.texts:
        raise KeyError(text)
    return {
        **entry.given(include={"rows", "overlap"}),
        "artifact": entry.method.texts[text].__name__,
        "parameters": getattr(entry, text).model_dump(),
        "epochs": entry.settings(config.finetune.train).epochs,
    }


def _artifact(text: str, name: str) -> Any:
    """Return the class of an artifact: that of a defence that learns from it."""
    from taclean.config import registry

    methods = [registry.load("defenses", defense) for defense in registry.names("defenses")]
    return next(
        kind for method in methods if (kind := method.texts.get(text)) and kind.__name__ == name
    )


def text_config(
    config: Config, text: str, defense: str, *, seed: int, repeat: int = 0
) -> dict[str, Any]:
    """What decides an artifact, of which `defense` is a user or the `shared_name`."""
    if defense not in config.defenses:
        defense = user_of(config, text, defense) or defense
    stage = {
        "recipe": RECIPE,
        "model": config.model.name,
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

    artifact = _artifact(stage["text"], stage["artifact"]).of(stage["parameters"], stage["text"])
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
