"""Scan a model: which class do optimised patterns reach most easily?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taclean.stages.shared import DEVICE, DEVICE_HELP, say
from taclean.util.files import write_json

if TYPE_CHECKING:
    from taclean.config import Config

RECIPE = 1


def scan_config(config: Config, *, seed: int) -> dict[str, Any]:
    """Return what decides a scan."""
    return {
        "recipe": RECIPE,
        "model": config.model.name,
        "seed": seed,
        "zeroshot": config.prompts(),
        "scan": config.scan.given(exclude={"clean_seeds"}),  # which models are scanned
        "precision": config.evaluate.precision,
    }


CONFIGS = {"scan": scan_config}


def arguments(add: Any) -> None:
    """Options beside --config."""
    add("--model", "weights, safetensors or a torch file; never run as code")
    add("--split", "folder of a split with labels")
    add("--out", "classes with their scores (JSON)")
    add("--patterns", "those of the target and of the class found (.safetensors)", default=None)
    add("--device", DEVICE_HELP, **DEVICE)


def run(stage: dict[str, Any], options: Any) -> None:
    """Scan the model and write the scores of its classes."""
    import torch

    from taclean.clip.models import load
    from taclean.config.schema import Scan
    from taclean.data.split import Pairs
    from taclean.evaluation.scan import scan
    from taclean.evaluation.zeroshot import Prompts
    from taclean.training.distributed import device

    torch.set_num_threads(1)
    settings = Scan.of({**stage["scan"], "clean_seeds": []}, "scan")
    prompts = Prompts.of(stage["model"], stage["zeroshot"])
    heads = prompts.heads(load(stage["model"], options.model).to(device(options.device)))
    pairs = Pairs.open(options.split)
    found = scan(pairs, heads, settings, seed=stage["seed"], precision=stage["precision"])
    write_json(options.out, found.report())
    if options.patterns:
        found.save_patterns(options.patterns)
    say(f"scan: {found.line()}")
