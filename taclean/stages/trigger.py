"""Optimise or learn an attack's trigger against the clean model."""

from typing import Any

from taclean.config import Config
from taclean.stages.shared import DEVICE, option, say, tokenizer, trigger_of
from taclean.util.errors import UserError
from taclean.util.files import replacing, write_json


def trigger_config(config: Config, attack: str, *, seed: int) -> dict[str, Any]:
    entry = config.attacks[attack]
    if not entry.fits:
        raise KeyError(attack)
    return {
        "model": config.model.name,
        "trigger": trigger_of(config, attack, seed),
        "fit": entry.fit.given(),
        "target": config.data.target,
        "templates": config.prompts()["templates"],
    }


RECIPE = 2
CONFIGS = {"trigger/ATTACK/seedN": trigger_config}
OPTIONS = [
    option("--model", "clean model (safetensors), for attacks that read it", default=None),
    option("--images", "folder of the patch split"),
    option("--pretrain", "folder of the pretrain split, whose target pairs the attacker uses"),
    option("--out", "fitted trigger (safetensors)"),
    option("--report", "JSON with what was measured on it"),
    DEVICE,
]


def run(stage: dict[str, Any], options: Any) -> None:
    import safetensors.torch
    import torch

    from taclean.attacks import attack
    from taclean.attacks.material import Material
    from taclean.clip.models import create, load
    from taclean.data.split import Pairs

    torch.set_num_threads(1)
    trigger = stage["trigger"]
    where = f"attacks.{trigger['attack']}"
    kind: Any = attack(trigger["kind"])
    method = kind.of(trigger["parameters"], f"{where}.trigger")
    settings = kind.Fit.of(stage["fit"], f"{where}.fit")
    images, pretrain = Pairs.open(options.images), Pairs.open(options.pretrain)
    target, template = stage["target"], stage["templates"][0]
    material = Material.gather(images, pretrain, target, template, tokenizer(stage))
    if kind.reads_model and not options.model:
        raise UserError(f"--model: missing; {where} is fitted to the clean model")
    model = load(stage["model"], options.model) if options.model else create(stage["model"])
    model = model.to(options.device)
    found = method.fit(model, material, settings, seed=trigger["seed"], say=say)
    try:
        fitted, report = ({**part} for part in found)
        fitted = {k: v.detach().cpu().contiguous().clone() for k, v in fitted.items()}
        report = {k: v.item() if isinstance(v, torch.Tensor) else v for k, v in report.items()}
    except (AttributeError, TypeError, ValueError):
        text = "fit returns no tensors by name and numbers by name; return two dicts"
        raise UserError(f"attack {type(method).__name__}: {text}") from None
    for key, value in report.items():
        say(f"{trigger['attack']}: {key} {value}")
    with replacing(options.out) as temporary:
        safetensors.torch.save_file(fitted, temporary)
    write_json(options.report, report)
