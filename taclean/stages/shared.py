"""Options and config parts that several stages share."""

import re
from argparse import ArgumentTypeError
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from taclean.config import Config, registry
from taclean.data.readers import IMAGES
from taclean.util.errors import UserError
from taclean.util.files import mistaken
from taclean.util.progress import say as say

if TYPE_CHECKING:
    from taclean.attacks import Trigger
    from taclean.data import Tokenize
    from taclean.evaluation.zeroshot import Heads, Prompts


def option(flag: str, text: str, **more: Any) -> tuple[str, dict[str, Any]]:
    """Describe an option of a command by its help and `more` arguments of argparse.

    The option must be given unless it has a default. With the default None it may also stand
    without a value, as a rule that lacks the input writes it.
    """
    if "default" not in more:
        more["required"] = True
    elif more["default"] is None:
        more.setdefault("nargs", "?")
    return flag, {"help": text, **more}


def count(text: str) -> int:
    """Return the number that an option gives."""
    if not re.fullmatch("[1-9][0-9]{0,3}", text):
        raise ArgumentTypeError(f"{text!r} is no whole number from 1 to 9999")
    return int(text)


WORKERS = option("--workers", "processes; the result is the same", type=count, default=1)
CONFIGFILE = option("--configfile", "files on top of the default", nargs="+", default=[])
MODEL = option("--model", "weights, safetensors or a torch file; never run as code")
TRIGGERS = option("--triggers", "fitted triggers as ATTACK=FILE", nargs="*", default=[])
DEVICE = option("--device", "auto: a GPU if any", default="auto", choices=("auto", "cpu", "cuda"))


def scored(config: Config, seed: int) -> dict[str, Any]:
    more = {"zeroshot": config.prompts(), "precision": config.evaluate.precision}
    return {"model": config.model.name, "seed": seed, **more}


def trigger_of(config: Config, attack: str, seed: int, *, at_test: bool = False) -> dict[str, Any]:
    """Return what decides a trigger, apart from its fit, in training or in the scores."""
    entry = config.attacks[attack]
    changed = entry.at_test.given() if at_test and entry.at_test else {}
    parameters = entry.trigger.given() | changed
    own = {"attack": attack, "kind": entry.kind, **registry.own_code(entry.kind)}
    return own | {"seed": seed, "parameters": parameters}


def overlap_of(config: Config, defense: str, seed: int) -> dict[str, Any]:
    """Return `overlap`, the rows of the pretrain split that a defence learns from, if any."""
    entry = config.defenses[defense]
    if entry.overlap is None:
        return {}
    rows, _ = config.cleaning(defense)
    own = {"rows": rows, "share": entry.overlap, "trained": config.poison.rows, "seed": seed}
    return {"overlap": own}


def cleaning_seed(seed: int, repeat: int) -> int:
    """Return a seed that no other (seed, repeat) has: seeds of the config have 32 bits."""
    return seed + repeat * 2**32


def bind(trigger: dict[str, Any], fitted: str | None) -> "Trigger":
    """Return the trigger of `trigger_of`, with the tensors of the file `fitted` if it has one.

    The file may also be a picture of a patch.
    """
    from taclean.attacks import make_trigger
    from taclean.clip.models import read_state_dict

    tensors: dict[str, Any] | None = None
    if fitted and fitted.lower().endswith(IMAGES):
        from torchvision.io import ImageReadMode, decode_image

        try:
            picture = decode_image(fitted, ImageReadMode.RGB)
            tensors = {"patch": picture / (255 if picture.element_size() == 1 else 65535)}
        except RuntimeError:
            what = f"missing, or no picture that can be read{mistaken(fitted)}; give a PNG"
            raise UserError(f"{fitted}: {what}") from None
    elif fitted:
        tensors = read_state_dict(fitted)
    return make_trigger(trigger["kind"], trigger["seed"], tensors, **trigger["parameters"])


def named_paths(flag: str, entries: list[str], known: Iterable[str]) -> dict[str, str]:
    """Return the paths of an option's values NAME=PATH by name."""
    paths = dict(entry.partition("=")[::2] for entry in entries)
    if len(paths) < len(entries):
        raise UserError(f"{flag}: a name has two paths; keep one")
    if unknown := paths.keys() - known:
        names = ", ".join(known) or "none"
        raise UserError(f"{flag}: {min(unknown)!r} is unknown in this stage; known: {names}")
    return paths


def bind_all(triggers: Mapping[str, dict[str, Any]], entries: list[str]) -> "dict[str, Trigger]":
    """Bind each of a stage's triggers; `entries` are `--triggers ATTACK=FILE ...`."""
    fitted = named_paths("--triggers", entries, triggers)
    return {name: bind(trigger, fitted.get(name)) for name, trigger in triggers.items()}


def prompts_of(stage: dict[str, Any]) -> "Prompts":
    from taclean.evaluation.zeroshot import Prompts

    return Prompts(stage["model"], **stage["zeroshot"])


def heads_of(stage: dict[str, Any], weights: str, device: Any) -> "Heads":
    """Return the stage's zero-shot heads of weights on a device; torch gets one thread."""
    import torch

    from taclean.clip.models import load

    torch.set_num_threads(1)
    return prompts_of(stage).heads(load(stage["model"], weights).to(device))


def tokenizer(stage: dict[str, Any]) -> "Tokenize":
    from taclean.clip.models import tokenize

    return partial(tokenize, stage["model"])
