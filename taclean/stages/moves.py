"""Count what triggers and a scan's patterns do to a model's predictions, class by class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taclean.stages.shared import DEVICE, DEVICE_HELP, bind_all, say, trigger_of
from taclean.util.files import write_json

if TYPE_CHECKING:
    from taclean.config import Config

RECIPE = 1


def moves_config(config: Config, defense: str, *, seed: int) -> dict[str, Any]:
    """Return what decides the counts of your own model, as it came or cleaned."""
    return {
        "recipe": RECIPE,
        "model": config.model.name,
        "defense": defense,
        "seed": seed,
        "zeroshot": config.prompts(),
        "triggers": {name: trigger_of(config, name, seed) for name in config.triggers_on_clean},
        "probes": config.scan.given()["probes"],
        "precision": config.evaluate.precision,
    }


CONFIGS = {"moves": moves_config}


def arguments(add: Any) -> None:
    """Options beside --config."""
    add("--model", "weights, safetensors or a torch file; never run as code")
    add("--split", "folder of the test split")
    add("--triggers", "fitted triggers as ATTACK=FILE", nargs="*", default=[])
    add("--patterns", "what a scan found (.safetensors)", default=None)
    add("--out", "counts (JSON)")
    add("--device", DEVICE_HELP, **DEVICE)


def run(stage: dict[str, Any], options: Any) -> None:
    """Count predictions with and without each trigger and pattern."""
    import torch

    from taclean.clip.models import load
    from taclean.data.split import Pairs
    from taclean.evaluation.predictions import examples, moves
    from taclean.evaluation.scan import read_patterns
    from taclean.evaluation.zeroshot import Prompts
    from taclean.training.distributed import device

    torch.set_num_threads(1)
    prompts = Prompts.of(stage["model"], stage["zeroshot"])
    views: dict[str, Any] = {
        name: (trigger, trigger.prefix, prompts.target)
        for name, trigger in bind_all(stage["triggers"], options.triggers).items()
    }
    if options.patterns:
        found = read_patterns(options.patterns, stage["probes"], stage["seed"])
        for (probe, name), put in found.items():
            views[f"{probe} for {name}"] = (put, "", prompts.classes.index(name))
    pairs = Pairs.open(options.split)
    heads = prompts.heads(load(stage["model"], options.model).to(device(options.device)))
    counted = moves(pairs, heads, views, stage["precision"])
    write_json(options.out, {**counted, "examples": examples(pairs, views)})
    for name, counts in counted["views"].items():
        before, after = (100 * counts[key] / counts["n"] for key in ("clean", "triggered"))
        say(f"{name}: {before:.1f} % to {counts['target']} without it, {after:.1f} % with it")
