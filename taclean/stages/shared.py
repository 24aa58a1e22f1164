"""What several stages share."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from taclean.util.errors import UserError
from taclean.util.progress import say as say

if TYPE_CHECKING:
    from taclean.attacks import Trigger
    from taclean.config import Config
    from taclean.data.split import Tokenize

DEVICE: dict[str, Any] = {"default": "auto", "choices": ("auto", "cpu", "cuda")}
DEVICE_HELP = "auto (a GPU if there is one), cpu or cuda"


def trigger_of(config: Config, attack: str, seed: int, *, at_test: bool = False) -> dict[str, Any]:
    """Return what decides a trigger, apart from its fit, in training or in the scores."""
    entry = config.attacks[attack]
    changed = entry.at_test.given() if at_test and entry.at_test else {}
    return {
        "attack": attack,
        "kind": entry.kind,
        "seed": seed,
        "parameters": entry.trigger.given() | changed,
    }


def overlap_of(config: Config, defense: str, seed: int) -> dict[str, Any] | None:
    """Return which rows of the pretrain split a defence learns from, or None."""
    entry = config.defenses[defense]
    if entry.overlap is None:
        return None
    rows = entry.rows or config.rows_of_role("clean")
    return {"rows": rows, "share": entry.overlap, "poisoned": config.poison.rows, "seed": seed}


def cleaning_seed(seed: int, repeat: int) -> int:
    """The seed of a cleaning; no two (seed, repeat) share one: seeds of the config have 32 bits."""
    return seed + repeat * 2**32


def bind(trigger: dict[str, Any], fitted: str | None) -> Trigger:
    """The trigger of `trigger_of`, with its file of fitted tensors where it has one."""
    from taclean.attacks import make_trigger
    from taclean.clip.models import read_state_dict

    tensors = read_state_dict(fitted) if fitted else None
    return make_trigger(trigger["kind"], trigger["seed"], tensors, **trigger["parameters"])


def bind_all(triggers: Mapping[str, dict[str, Any]], entries: list[str]) -> dict[str, Trigger]:
    """Bind each of a stage's triggers; `entries` are `--triggers ATTACK=FILE ...`."""
    fitted = dict(entry.partition("=")[::2] for entry in entries)
    if unknown := fitted.keys() - triggers:
        known = ", ".join(triggers)
        raise UserError(f"--triggers: {min(unknown)!r} is no trigger of this stage; known: {known}")
    return {name: bind(trigger, fitted.get(name)) for name, trigger in triggers.items()}


def tokenizer(stage: dict[str, Any]) -> Tokenize:
    """Return the tokenizer of the stage's model."""
    from taclean.clip.models import tokenize

    return partial(tokenize, stage["model"])
