"""Score a victim and its cleanings: CA, ASR and TA, with the counts behind them."""

from itertools import product
from pathlib import Path
from typing import Any

from taclean.config import Config
from taclean.stages import shared
from taclean.stages.shared import DEVICE, TRIGGERS, option
from taclean.util.errors import UserError
from taclean.util.files import write_json


def evaluate_config(config: Config, attack: str, *, seed: int) -> dict[str, Any]:
    """Return what decides the scores of a victim and of its cleanings."""
    attacks = config.triggers_on_clean if attack == "clean" else [attack]
    stage = {
        **shared.scored(config, seed),
        "attack": attack,
        "triggers": {name: shared.trigger_of(config, name, seed, at_test=True) for name in attacks},
        "samples": config.evaluate.samples,
        **config.dataset.copies(),
    }
    if further := [key for key in ("probe", "captions") if getattr(config.evaluate, key)]:
        stage["further"] = {"of": config.split_of_role("test"), "scores": further}
    return stage


RECIPE = 1
CONFIGS = {"evaluate/ATTACK/seedN": evaluate_config}
OPTIONS = [
    option("--models", "weights of each model, as DEFENSE[-repeatR]=FILE", nargs="+"),
    option("--splits", "folders of splits with labels; the first gives the samples", nargs="+"),
    option("--probe", "folder of the split that a linear probe learns from", default=None),
    option(
        "--trained", "folders of splits whose pictures no split may have", nargs="*", default=[]
    ),
    TRIGGERS,
    option("--out", "scores of each model (JSON)", nargs="+"),
    option("--samples", "embeddings and predictions for the figures (.npz)", nargs="*", default=[]),
    DEVICE,
]


def run(stage: dict[str, Any], options: Any) -> None:
    """Score every model on every split and write scores and samples.

    The models share the prompts and the pictures with a trigger on.
    """
    from taclean.data.split import Pairs, refuse_copies
    from taclean.evaluation.evaluate import Kept, by_split, score, write_samples

    triggers = shared.bind_all(stage["triggers"], options.triggers)
    splits = {Path(folder).name: Pairs.open(folder) for folder in options.splits}
    if len(splits) < len(options.splits):
        raise UserError("--splits: two folders of one name, which names the scores; rename one")
    for pairs, learned in product(splits.values(), map(Pairs.open, options.trained)):
        accepted = stage.get("max_copies", 0.0)
        refuse_copies(pairs, learned.rows, learned.pictures, f"in {learned.folder}", accepted)
    samples = options.samples or [None] * len(options.out)
    if not len(options.models) == len(options.out) == len(samples):
        raise UserError("--models: give a file to --out, and to --samples, for each model")
    prompts = shared.prompts_of(stage)
    labelled = [pairs for pairs in splits.values() if prompts.name_classes_of(pairs)]
    if options.samples and not labelled:
        raise UserError(
            f"evaluate.splits: none of {', '.join(splits)} has the run's classes, which the "
            "samples for the figures need; add one that has"
        )
    further = stage.get("further", {"of": None, "scores": []})
    keep = Kept.of if len(options.models) > 1 else lambda trigger, pairs: trigger
    put = {
        split: {name: keep(trigger, pairs) for name, trigger in triggers.items()}
        for split, pairs in splits.items()
    }
    for model, out, sample in zip(options.models, options.out, samples, strict=True):
        named, weights = model.split("=", 1) if "=" in model else ("none", model)
        defense, _, repeat = named.partition("-repeat")
        heads, counts = shared.heads_of(stage, weights, options.device, prompts), {}
        for name, pairs in splits.items():
            scores = further["scores"] if name == further["of"] else []
            known = Pairs.open(options.probe) if "probe" in scores else None
            more: dict[str, Any] = {"captions": "captions" in scores, "learned": known}
            counts[name] = score(pairs, heads, put[name], stage["precision"], **more)
        if sample:
            undefended = defense == "none"
            write_samples(sample, labelled[0], heads, triggers, stage["samples"], undefended)
        result = {
            "attack": stage["attack"],
            "defense": defense,
            "seed": stage["seed"],
            "repeat": int(repeat or 0),
            "target": stage["zeroshot"]["target"],
            "splits": by_split(counts, stage["attack"]),
        }
        write_json(out, result)
        for split, found in result["splits"].items():
            top = {metric: count for metric, count in found.items() if metric.endswith("@1")}
            shared.say(f"{stage['attack']} {named} {split}: {percentages(top)}")


def percentages(counts: dict[str, dict[str, int]]) -> str:
    """Return scores as text: "CA@1 81.0 %, CA@3 95.5 %"."""
    return ", ".join(
        f"{metric} {100 * count['hits'] / count['n']:.1f} %" for metric, count in counts.items()
    )
