"""Count what triggers and a scan's patterns do to a model's predictions, class by class."""

from typing import Any

from taclean.config import Config
from taclean.stages import shared
from taclean.stages.shared import DEVICE, MODEL, TRIGGERS, option
from taclean.util.files import write_json


def moves_config(config: Config, defense: str, *, seed: int) -> dict[str, Any]:
    names = config.triggers_on_clean
    return {
        **shared.scored(config, seed),
        "defense": defense,
        "triggers": {n: shared.trigger_of(config, n, seed, at_test=True) for n in names},
        "probes": config.scan.given()["probes"],
    }


RECIPE = 1
CONFIGS = {"moves/DEFENSE/seedN": moves_config}
OPTIONS = [
    MODEL,
    option("--split", "folder of the test split"),
    TRIGGERS,
    option("--patterns", "what a scan found (.safetensors)", default=None),
    option("--out", "counts (JSON)"),
    DEVICE,
]


def run(stage: dict[str, Any], options: Any) -> None:
    from taclean.data.split import Pairs
    from taclean.detectors.scan import read_patterns
    from taclean.evaluation.predictions import examples, moves

    heads = shared.heads_of(stage, options.model, options.device)
    triggers, target = shared.bind_all(stage["triggers"], options.triggers), heads.prompts.target
    views: dict[str, Any] = {name: (put, put.prefix, target) for name, put in triggers.items()}
    if options.patterns:
        found = read_patterns(options.patterns, stage["probes"], stage["seed"])
        for (probe, name), put in found.items():
            views[f"{probe} for {name}"] = (put, "", heads.prompts.classes.index(name))
    pairs = Pairs.open(options.split)
    counted = moves(pairs, heads, views, stage["precision"])
    write_json(options.out, {**counted, "examples": examples(pairs, views)})
    for name, counts in counted["views"].items():
        before, after = (100 * counts[key] / counts["n"] for key in ("clean", "triggered"))
        shared.say(f"{name}: {after:.1f} % go to {counts['target']}, {before:.1f} % without {name}")
