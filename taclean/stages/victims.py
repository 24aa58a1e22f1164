"""Freeze the victims of a run: put its poisoned models into one archive, which others clean."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from taclean.config import Config
from taclean.stages.shared import DEVICE, option, say
from taclean.util.files import sha256

AGREE = 0.1  # points that a score on val may move where weights are stored as bf16


def victims_config(config: Config) -> dict[str, Any]:
    from taclean.runs import Runs  # imports pandas

    return {"victims": Runs(config).poisonings(), "zeroshot": config.prompts()}


CONFIGS = {"victims": victims_config}
OPTIONS = [
    option("--val", "folder of the val split"),
    option("--folder", "folder that the names of the members are relative to", default="results"),
    option("--files", "models, histories, triggers and manifests", nargs="+"),
    option("--out", "the archive (.zip)"),
    DEVICE,
]


def run(stage: dict[str, Any], options: Any) -> None:
    """Score each model with its weights as bf16, keep these where the scores agree, and write."""
    from importlib.metadata import version

    from taclean.attacks import victims
    from taclean.clip import models
    from taclean.stages.train import validation

    files = {str(Path(file).relative_to(options.folder)): Path(file) for file in options.files}
    found = {}
    with TemporaryDirectory(dir=Path(options.out).parent) as temporary:
        for number, (path, own) in enumerate(stage["victims"].items()):
            folders = victims.folders_of(path)
            name = f"{folders[0]}model.safetensors"
            model = models.load(own["model"], files[name]).to(options.device)
            fitted = files.get(f"{folders[-1]}trigger.safetensors")
            options.trigger = str(fitted) if fitted else None
            validate = validation({**own, "zeroshot": stage["zeroshot"]}, options)
            scores = validate(model)
            small = Path(temporary, f"{number}.safetensors")
            models.save_weights(model.bfloat16(), small, name=own["model"], stage=path)
            rounded = validate(models.load(own["model"], small).to(options.device))
            moved = (round(abs(scores[key] - rounded[key]), 1) for key in scores)  # as printed
            agree = max(moved) <= AGREE
            files[name] = small if agree else files[name]
            weights = "bf16" if agree else "fp32"
            shown = rounded if agree else scores
            found[path] = {"weights": weights, "scores": shown, "stage": own}
            text = ", ".join(f"{key} {value:.1f}" for key, value in shown.items())
            say(f"victims: {path}, {text} on val, stored as {weights}")
        victims.write(options.out, {"version": version("taclean"), "victims": found}, files)
    say(f"victims: {options.out}, sha256 {sha256(options.out)}")
