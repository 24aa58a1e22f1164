"""Test the detectors: which poisoned rows and which triggered pictures of a victim do they find?"""

from typing import Any

from taclean.config import Config, registry
from taclean.stages import shared
from taclean.stages.shared import DEVICE, option
from taclean.util.files import replacing, write_json


def detect_config(config: Config, attack: str, *, seed: int) -> dict[str, Any]:
    detectors = {
        name: {"kind": one.kind, **registry.own_code(one.kind), "parameters": one.score.given()}
        for name, one in config.detectors.items()
    }
    return {
        **shared.scored(config, seed),
        "rows": config.poisoning(attack)[0],
        "trigger": shared.trigger_of(config, attack, seed, at_test=True),
        "detect": config.detect.given(),
        "detectors": detectors,
    }


RECIPE = 1
CONFIGS = {"detect/ATTACK/seedN": detect_config}
OPTIONS = [
    option("--model", "weights of the victim"),
    option("--clean", "weights of the model that was never poisoned"),
    option("--data", "folder of the pretrain split", default=None),
    option("--poison", "folder of poisoned rows of the split", default=None),
    option("--val", "folder of the val split, whose pictures the defender trusts"),
    option("--test", "folder of the test split"),
    option("--trigger", "fitted trigger, for attacks that have one", default=None),
    option("--out", "AUROC, false positives and counts of each detector (JSON)"),
    option("--scores", "the scores of each row and picture (.npz)"),
    DEVICE,
]


def run(stage: dict[str, Any], options: Any) -> None:
    import numpy as np

    from taclean.attacks import poison
    from taclean.data.split import Pairs
    from taclean.detectors import make_detector
    from taclean.detectors.detection import Suspects, examine

    prompts, attack, drawn = shared.prompts_of(stage), stage["trigger"]["attack"], stage["detect"]
    key = {"seed": stage["seed"], "precision": stage["precision"]}
    images, trigger = Pairs.open(options.test), shared.bind(stage["trigger"], options.trigger)
    suspects = [Suspects.of_test(images, trigger, prompts.target, drawn["images"], key["seed"])]
    if options.poison:  # the rows of a victim that others poisoned are not known
        pairs = poison.apply(poison.taken(Pairs.open(options.data), stage), options.poison)
        rows = Suspects.of_training(pairs, options.poison, attack, drawn["rows"], key["seed"])
        suspects.insert(0, rows)
    wanted = stage["detectors"].items()
    detectors = {name: make_detector(one["kind"], one["parameters"]) for name, one in wanted}
    files = {"victim": options.model, "clean": options.clean}
    models = {name: shared.heads_of(stage, file, options.device) for name, file in files.items()}
    found, arrays = examine(models, suspects, detectors, Pairs.open(options.val), **key)
    write_json(options.out, {"attack": attack, "seed": key["seed"], "found": found})
    with replacing(options.scores) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    for one in found:
        scores = f"AUROC {one['auroc']:.1f} %, {one['fpr95']:.1f} % false positives"
        shared.say(f"{attack}, {one['model']} model, {one['of']}: {one['detector']} {scores}")
