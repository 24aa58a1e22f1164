"""Write pretrained weights, of a tag or a file in any form, as safetensors."""

from typing import Any

from taclean.config import Config
from taclean.stages.shared import option, say


def import_config(config: Config) -> dict[str, Any]:
    model = config.model
    if not model.pretrained:
        raise KeyError("pretrained")
    return {"model": model.name, "pretrained": model.pretrained, "seed": model.seed}


CONFIGS = {"imported": import_config}
OPTIONS = [option("--out", "weights (safetensors)")]


def run(stage: dict[str, Any], options: Any) -> None:
    from taclean.clip import models

    model = models.create(stage["model"], stage["seed"], stage["pretrained"])
    models.save_weights(model, options.out, name=stage["model"], pretrained=stage["pretrained"])
    count = sum(parameter.numel() for parameter in model.parameters())
    say(f"import: {stage['model']} from {stage['pretrained']}, {count / 1e6:.1f} M parameters")
