"""Optimise or learn an attack's trigger against the clean model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taclean.stages.shared import DEVICE, DEVICE_HELP, say, tokenizer, trigger_of
from taclean.util.files import replacing, write_json

if TYPE_CHECKING:
    from taclean.config import Config

RECIPE = 2


def trigger_config(config: Config, attack: str, *, seed: int) -> dict[str, Any]:
    """Return what decides a fitted trigger."""
    entry = config.attacks[attack]
    if not entry.fits:
        raise KeyError(attack)
    return {
        "recipe": RECIPE,
        "model": config.model.name,
        "trigger": trigger_of(config, attack, seed),
        "fit": entry.fit.given(),
        "target": config.data.target,
        "templates": config.templates,
    }


CONFIGS = {"trigger": trigger_config}


def arguments(add: Any) -> None:
    """Options beside --config."""
    add("--model", "clean model (safetensors)")
    add("--images", "folder of the patch split")
    add("--pretrain", "folder of the pretrain split, whose target pairs the attacker uses")
    add("--out", "fitted trigger (safetensors)")
    add("--report", "JSON with what was measured on it")
    add("--device", DEVICE_HELP, **DEVICE)


def run(stage: dict[str, Any], options: Any) -> None:
    """Fit the trigger, and write it with what was measured on it."""
    import safetensors.torch
    import torch

    from taclean.attacks import attack
    from taclean.attacks.material import Material
    from taclean.clip.models import load
    from taclean.data.split import Pairs
    from taclean.training.distributed import device
    from taclean.util.errors import UserError

    torch.set_num_threads(1)
    trigger = stage["trigger"]
    where = f"attacks.{trigger['attack']}"
    kind = attack(trigger["kind"])
    method = kind.of(trigger["parameters"], f"{where}.trigger")
    if kind.Fit is None:
        raise UserError(f"{where}: its trigger is not fitted; leave this stage out")
    settings = kind.Fit.of(stage["fit"], f"{where}.fit")
    material = Material.gather(
        Pairs.open(options.images),
        Pairs.open(options.pretrain),
        stage["target"],
        stage["templates"][0],
        tokenizer(stage),
    )
    model = load(stage["model"], options.model).to(device(options.device))
    fitted, report = method.fit(model, material, settings, seed=trigger["seed"], say=say)
    for key, value in report.items():
        say(f"{trigger['attack']}: {key} {value}")
    with replacing(options.out) as temporary:
        safetensors.torch.save_file(fitted, temporary)
    write_json(options.report, report)
