"""Make a text artifact that a defence needs, of the captions it learns from, for every epoch."""

import hashlib
import json
from typing import Any

from taclean.config import Config, registry
from taclean.stages.shared import WORKERS, cleaning_seed, option, overlap_of, tokenizer
from taclean.util.files import replacing


def shared_name(config: Config, text: str, defense: str) -> str:
    """Return the name of a defence's artifact, from all that decides it.

    Defences that want the same artifact share it; no change of another entry renames it.
    """
    wanted = _wanted(config, text, defense)
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:8]
    return f"{wanted['epochs']}epochs-{digest}"


def user_of(config: Config, text: str, shared: str) -> str | None:
    """Return the first defence of the config that learns from the artifact of a `shared_name`."""
    users = (name for name, entry in config.defenses.items() if text in entry.method.texts)
    return next((name for name in users if shared_name(config, text, name) == shared), None)


def _wanted(config: Config, text: str, defense: str) -> dict[str, Any]:
    """Return the artifact's name, parameters (with defaults) and epochs; a KeyError without it."""
    entry = config.defenses[defense]
    if text not in entry.method.texts:
        raise KeyError(text)
    kind = entry.method.texts[text]
    own = {} if kind.__module__.startswith("taclean.") else {"file": entry.kind}  # of the user's
    return {
        **entry.given(include={"rows", "overlap", "split"}),
        **own,
        "artifact": kind.__name__,
        "parameters": getattr(entry, text).model_dump(),
        "epochs": entry.settings(config.finetune.train).epochs,
    }


def _artifact(text: str, name: str, own: str | None) -> Any:
    """Return the class of an artifact; `own` is the file of a user's defence that has it."""
    defenses = [*([own] if own else []), *registry.names("defenses")]
    methods = (registry.load("defenses", defense) for defense in defenses)
    kinds = (method.texts[text] for method in methods if text in method.texts)
    return next(kind for kind in kinds if kind.__name__ == name)


def text_config(
    config: Config, text: str, defense: str, *, seed: int, repeat: int = 0
) -> dict[str, Any]:
    """Return what decides an artifact; `defense` is one that learns from it or a `shared_name`."""
    if defense not in config.defenses:
        defense = user_of(config, text, defense) or defense
    own = {"model": config.model.name, "seed": cleaning_seed(seed, repeat), "text": text}
    if code := registry.own_code(kind := config.defenses[defense].kind):
        own |= {"defense": kind, **code}
    return own | _wanted(config, text, defense) | overlap_of(config, defense, seed)


RECIPE = 4
CONFIGS = {"text/TEXT/DEFENSE/seedN[-repeatR]": text_config}
OPTIONS = [
    option("--data", "folder of the split that the defence learns from"),
    WORKERS,
    option("--out", "folder of the artifact"),
]


def run(stage: dict[str, Any], options: Any) -> None:
    from taclean.attacks.poison import taken
    from taclean.data.split import Pairs

    kind = _artifact(stage["text"], stage["artifact"], stage.get("defense"))
    artifact = kind.of(stage["parameters"], stage["text"])
    captions = taken(Pairs.open(options.data), stage).captions()  # as the defence takes them
    with replacing(options.out) as temporary:
        more = {"epochs": stage["epochs"], "seed": stage["seed"], "workers": options.workers}
        artifact.write(temporary, captions, tokenizer(stage), **more)
