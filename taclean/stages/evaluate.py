"""Score a model: CA, ASR and TA at 1, 3, 5 and 10, with the counts behind them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from taclean.stages.shared import DEVICE, DEVICE_HELP, bind_all, say, trigger_of
from taclean.util.errors import UserError
from taclean.util.files import write_json

if TYPE_CHECKING:
    from taclean.config import Config

RECIPE = 1


def evaluate_config(
    config: Config, attack: str, defense: str, *, seed: int, repeat: int = 0
) -> dict[str, Any]:
    """Return what decides a run's scores."""
    attacks = config.triggers_on_clean if attack == "clean" else [attack]
    if defense != "none" and defense not in config.defenses:
        raise KeyError(defense)
    stage = {
        "recipe": RECIPE,
        "model": config.model.name,
        "attack": attack,
        "defense": defense,
        "seed": seed,
        "repeat": repeat,
        "zeroshot": config.prompts(),
        "triggers": {name: trigger_of(config, name, seed, at_test=True) for name in attacks},
        "samples": config.evaluate.samples,
        "precision": config.evaluate.precision,
    }
    if further := [key for key in ("probe", "captions") if getattr(config.evaluate, key)]:
        stage["further"] = {"of": config.split_of_role("test"), "scores": further}
    return stage


CONFIGS = {"evaluate": evaluate_config}


def arguments(add: Any) -> None:
    """Options beside --config."""
    add("--model", "weights, safetensors or a torch file; never run as code")
    add("--splits", "folders of splits with labels; the first gives the samples", nargs="+")
    add("--probe", "folder of the split that a linear probe learns from", default=None)
    add("--triggers", "fitted triggers as ATTACK=FILE", nargs="*", default=[])
    add("--out", "scores (JSON)")
    add("--samples", "embeddings and predictions for the figures (.npz)", default=None)
    add("--device", DEVICE_HELP, **DEVICE)


def run(stage: dict[str, Any], options: Any) -> None:
    """Score every split and write scores and samples."""
    import torch

    from taclean.clip.models import load
    from taclean.data.split import Pairs
    from taclean.evaluation.evaluate import by_split, score, write_samples
    from taclean.evaluation.zeroshot import Prompts
    from taclean.training.distributed import device

    torch.set_num_threads(1)
    triggers = bind_all(stage["triggers"], options.triggers)
    prompts = Prompts.of(stage["model"], stage["zeroshot"])
    splits = {Path(folder).name: Pairs.open(folder) for folder in options.splits}
    if len(splits) < len(options.splits):
        raise UserError(
            "--splits: two folders of one name, which would name the scores of both; rename one"
        )
    labelled = [pairs for pairs in splits.values() if prompts.name_classes_of(pairs)]
    if options.samples and not labelled:
        raise UserError(
            f"evaluate.splits: none of {', '.join(splits)} has the run's classes, which the "
            "samples for the figures need; add one that has"
        )
    heads = prompts.heads(load(stage["model"], options.model).to(device(options.device)))
    further = stage.get("further", {"of": None, "scores": []})
    more: dict[str, Any] = {"captions": "captions" in further["scores"]}
    more["learned"] = Pairs.open(options.probe) if "probe" in further["scores"] else None
    counts = {
        name: score(
            pairs, heads, triggers, stage["precision"], **more if name == further["of"] else {}
        )
        for name, pairs in splits.items()
    }
    if options.samples:
        undefended = stage["defense"] == "none"
        write_samples(options.samples, labelled[0], heads, triggers, stage["samples"], undefended)
    named = {key: stage[key] for key in ("attack", "defense", "seed", "repeat")}
    target = stage["zeroshot"]["target"]
    result = {**named, "target": target, "splits": by_split(counts, stage["attack"])}
    write_json(options.out, result)
    for split, found in result["splits"].items():
        top = {metric: count for metric, count in found.items() if metric.endswith("@1")}
        say(f"{stage['attack']} {stage['defense']} {split}: {percentages(top)}")


def percentages(counts: dict[str, dict[str, int]]) -> str:
    """Return scores as text: "CA@1 81.0 %, CA@3 95.5 %"."""
    return ", ".join(
        f"{metric} {100 * count['hits'] / count['n']:.1f} %" for metric, count in counts.items()
    )
