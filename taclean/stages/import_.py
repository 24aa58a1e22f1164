"""Write pretrained weights, of a tag or a file in any form, as safetensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taclean.stages.shared import say
from taclean.util.errors import UserError

if TYPE_CHECKING:
    from taclean.config import Config


def import_config(config: Config) -> dict[str, Any]:
    """Return which weights to import."""
    model = config.model
    if not model.pretrained:
        raise KeyError("pretrained")
    return {"model": model.name, "pretrained": model.pretrained, "seed": model.seed}


CONFIGS = {"imported": import_config}


def arguments(add: Any) -> None:
    """Options beside --config."""
    add("--out", "weights (safetensors)")


def run(stage: dict[str, Any], options: Any) -> None:
    """Read and write."""
    from taclean.clip import models

    if not stage.get("pretrained"):
        raise UserError(f"{options.config}: nothing to import; set model.pretrained")
    model = models.create(stage["model"], stage["seed"], stage["pretrained"])
    models.save_weights(model, options.out, name=stage["model"], pretrained=stage["pretrained"])
    count = sum(parameter.numel() for parameter in model.parameters())
    say(f"import: {stage['model']} from {stage['pretrained']}, {count / 1e6:.1f} M parameters")
