"""Make a text artifact that a defence wants of the clean split's captions, for every epoch."""

from __future__ import annotations

from typing import Any

from taclean import config as configs
from taclean.config import Config
from taclean.files import replacing
from taclean.stages.shared import say, tokenizer

RECIPE = 2


def users(config: Config, text: str, defense: str) -> list[str]:
    """The defences that share this artifact of `defense`, itself among them: same parameters."""
    parameters = _parameters(config, text, defense)
    return [name for name in config["defenses"] if _parameters(config, text, name) == parameters]


def _parameters(config: Config, text: str, defense: str) -> dict[str, Any] | None:
    """The artifact's parameters, defaults included; None where the defence does not want it."""
    entry, method = config["defenses"][defense], configs.described(config, "defenses", defense)
    if text not in method["texts"]:
        return None
    keys = method["entry"]["properties"][text]["properties"]
    given = entry.get(text, {})
    return {key: given.get(key, part.get("default")) for key, part in keys.items()}


def text_config(config: Config, text: str, defense: str, *, seed: int) -> dict[str, Any]:
    """What decides an artifact; it has as many epochs as the longest of its users."""
    parameters = _parameters(config, text, defense)
    if parameters is None:
        raise KeyError(text)
    trains = (
        configs.own_train(config, "finetune", config["defenses"][name])
        for name in users(config, text, defense)
    )
    return {
        "recipe": RECIPE,
        "model": config["model"]["name"],
        "seed": seed,
        "defense": configs.kind(config, "defenses", defense),
        "text": text,
        "parameters": parameters,
        "epochs": max(train["epochs"] for train in trains),
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
    from taclean.defenses import defense

    name, text = stage["defense"], stage["text"]
    artifact = defense(name).texts[text].of(stage["parameters"], f"defenses.{name}.{text}")
    captions = Pairs.open(options.data).captions()
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
