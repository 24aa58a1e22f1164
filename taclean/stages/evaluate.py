"""Score a model: CA, ASR and TA, with the counts behind them."""

from itertools import product
from pathlib import Path
from typing import Any

from taclean.config import Config
from taclean.stages import shared
from taclean.stages.shared import DEVICE, TRIGGERS, option
from taclean.util.errors import UserError
from taclean.util.files import write_json


def evaluate_config(
    config: Config, attack: str, defense: str, *, seed: int, repeat: int = 0
) -> dict[str, Any]:
    """Return what decides the scores of a victim (defence "none") or of its cleaning."""
    attacks = config.triggers_on_clean if attack == "clean" else [attack]
    if defense != "none":
        config.defenses[defense]  # a KeyError names the stage
    stage = {
        **shared.scored(config, seed),
        "attack": attack,
        "defense": defense,
        "repeat": repeat,
        "triggers": {name: shared.trigger_of(config, name, seed, at_test=True) for name in attacks},
        "samples": config.evaluate.samples,
        **config.dataset.given(include={"max_copies"}),
    }
    further = [key for key in ("probe", "captions") if getattr(config.evaluate, key)]
    if further or config.probed:
        stage["further"] = {"of": config.split_of_role("test"), "scores": further}
    return stage


RECIPE = 1
CONFIGS = {"evaluate/ATTACK/DEFENSE/seedN[-repeatR]": evaluate_config}
OPTIONS = [
    option("--model", "weights of the model (safetensors)"),
    option("--splits", "split folders; the first with the run's classes gives samples", nargs="+"),
    option("--probe", "split that a probe learns from, without pictures of test", default=None),
    option("--trained", "folders whose pictures no split may have", nargs="*", default=[]),
    TRIGGERS,
    option("--out", "scores (JSON)"),
    option("--samples", "embeddings and predictions for the figures (.npz)", default=None),
    DEVICE,
]


def run(stage: dict[str, Any], options: Any) -> None:
    from taclean.clip.checkpoints import read_metadata
    from taclean.data.split import Pairs, refuse_copies
    from taclean.evaluation.evaluate import by_split, score, write_samples
    from taclean.training.device import described

    triggers = shared.bind_all(stage["triggers"], options.triggers)
    splits = {Path(folder).absolute().name: Pairs.open(folder) for folder in options.splits}
    if len(splits) < len(options.splits):
        raise UserError("--splits: two folders of one name, which names the scores; rename one")
    accepted = stage.get("max_copies", 0.0)
    for pairs, learned in product(splits.values(), map(Pairs.open, options.trained)):
        refuse_copies(pairs, learned.rows, learned.pictures, f"in {learned.folder}", accepted)
    heads, counts = shared.heads_of(stage, options.model, options.device), {}
    labelled = [pairs for pairs in splits.values() if heads.prompts.name_classes_of(pairs)]
    if options.samples and not labelled:
        text = f"none of {', '.join(splits)} has the run's classes, which the figures' samples need"
        raise UserError(f"evaluate.splits: {text}; add one that has")
    further = stage.get("further", {"of": None, "scores": []})
    for name, pairs in splits.items():
        scores, shown = (further["scores"], options.probe) if name == further["of"] else ([], "")
        if known := Pairs.open(shown) if shown else None:
            refuse_copies(pairs, known.rows, known.pictures, f"in {known.folder}", accepted)
        more: dict[str, Any] = {"captions": "captions" in scores}
        more["learned"] = known if "probe" in scores else None
        counts[name] = score(pairs, heads, triggers, stage["precision"], **more)
    if options.samples:
        undefended = stage["defense"] == "none"
        write_samples(options.samples, labelled[0], heads, triggers, stage["samples"], undefended)
    run = {key: stage[key] for key in ("attack", "defense", "seed", "repeat")}
    about = read_metadata(options.model).items()
    run |= {key: text for key, text in about if key in ("failed", "trained_on")}
    run["scored_on"] = described(options.device, stage["precision"])
    found = by_split(counts, stage["attack"])
    write_json(options.out, {**run, "target": stage["zeroshot"]["target"], "splits": found})
    again = f"-repeat{stage['repeat']}" if stage["repeat"] else ""
    for split, scores in found.items():
        top = {metric: count for metric, count in scores.items() if metric.endswith("@1")}
        shared.say(f"{stage['attack']} {stage['defense']}{again} {split}: {percentages(top)}")


def percentages(counts: dict[str, dict[str, int]]) -> str:
    """Return scores as text: "CA@1 81.0 %, CA@3 95.5 %"."""
    return ", ".join(f"{m} {100 * one['hits'] / one['n']:.1f} %" for m, one in counts.items())
