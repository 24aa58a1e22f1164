"""Train: the base model, a poisoned model, or a defence; by torchrun on several GPUs."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from taclean.clip import CLIP
from taclean.config import Config, registry
from taclean.config.schema import Train
from taclean.stages import shared
from taclean.stages.shared import DEVICE, option
from taclean.util.errors import UserError
from taclean.util.files import replacing


def _train(config: Config, train: Train, seed: int) -> dict[str, Any]:
    return {
        "model": config.model.name,
        "seed": seed,
        "train": train.given(),
        "zeroshot": config.prompts(),
        **config.dataset.given(include={"max_copies"}),
    }


def clean_config(config: Config, *, seed: int) -> dict[str, Any]:
    return _train(config, config.base.train, seed)


def pretrain_config(config: Config, attack: str, *, seed: int) -> dict[str, Any]:
    """Return what decides a poisoned model, ours or a victim that is given."""
    entry = config.attacks[attack]
    rows, train = config.poisoning(attack)
    stage = _train(config, train, seed)
    stage["trigger"] = shared.trigger_of(config, attack, seed)
    if entry.victim:
        del stage["train"]
        return stage | {"victim": entry.victim}
    return stage | {"rows": rows}


def finetune_config(
    config: Config, attack: str, defense: str, *, seed: int, repeat: int = 0
) -> dict[str, Any]:
    """Return what decides a cleaned model; `seed` is the victim's."""
    entry = config.defenses[defense]
    rows, settings = config.cleaning(defense, attack)
    stage = {
        **_train(config, settings, shared.cleaning_seed(seed, repeat)),
        "defense": entry.kind,
        **registry.own_code(entry.kind),
        "loss": entry.loss.given(),
        **entry.given(include={"rows", "after", "split"}),
        **shared.overlap_of(config, defense, seed),
    }
    if entry.method.scratch:
        stage["rows"] = rows
    if attack != "clean":
        stage["trigger"] = shared.trigger_of(config, attack, seed)
    return stage


RECIPE = 1
CONFIGS = {
    "base": lambda config: clean_config(config, seed=config.model.seed),
    "clean/seedN": clean_config,
    "pretrain/ATTACK/seedN": pretrain_config,
    "finetune/ATTACK/DEFENSE/seedN[-repeatR]": finetune_config,
}
OPTIONS = [
    option("--data", "folder of the split to train on", default=None),
    option("--val", "folder of the val split"),
    option("--model", "weights to start from (default: random)", default=None),
    option("--poison", "folder of poisoned rows to put into the split", default=None),
    option("--manifest", "poison manifest whose pictures the split may not have", default=None),
    option("--trigger", "fitted trigger, for ASR on val", default=None),
    option("--texts", "text artifacts as NAME=FOLDER", nargs="*", default=[]),
    option("--checkpoints", "folder for checkpoints; a killed run goes on from there"),
    option("--out", "trained weights (safetensors)"),
    option("--history", "CSV with loss and val scores per epoch"),
    DEVICE,
]


def run(stage: dict[str, Any], options: Any) -> None:
    """Train on this process's device, or take a victim that is given as it is."""
    from taclean.clip import models
    from taclean.training import distributed
    from taclean.training.device import described

    with distributed.processes(options.device):
        with distributed.together():
            models.check_suffix(options.out)  # now, not after hours
        model, history, failed = (_victim if "victim" in stage else _trained)(stage, options)
        if distributed.rank() != 0:
            return
        with replacing(options.history) as temporary, temporary.open("w", newline="") as file:
            keys = list(dict.fromkeys(key for record in history for key in record))
            table = csv.DictWriter(file, keys, lineterminator="\n")
            table.writeheader()
            table.writerows(history)
        more = {"trained_on": described(options.device), **({"failed": failed} if failed else {})}
        models.save_weights(model, options.out, name=stage["model"], stage=stage["stage"], **more)
        # Its own, and those of other settings or precisions.
        for checkpoint in Path(options.checkpoints).glob("last*.pt"):
            checkpoint.unlink()


def _victim(stage: dict[str, Any], options: Any) -> tuple[CLIP, list[dict[str, float]], str]:
    """Return the victim and its scores, as of a training's last epoch."""
    from taclean.clip import models
    from taclean.training import distributed

    model = models.create(stage["model"], stage["seed"], stage["victim"])
    model.eval().to(options.device)
    validate = validation(stage, options)
    return model, [distributed.on_first(lambda: {"epoch": 0, **validate(model)})], ""


def _trained(stage: dict[str, Any], options: Any) -> tuple[CLIP, list[dict[str, float]], str]:
    """Return the trained model, its history, and why the defence could not work, or ""."""
    from taclean.attacks import poison
    from taclean.clip import models
    from taclean.data.split import Pairs, refuse_copies
    from taclean.defenses import defense, make_defense
    from taclean.training import distributed
    from taclean.training.loop import Training, train
    from taclean.util.fingerprint import fingerprint

    with distributed.together():
        settings = Train.of(stage["train"], "train")
        seed = stage["seed"]
        if not options.data:
            raise UserError("train: nothing to train on; give --data")
        accepted = stage.get("max_copies", 0.0)
        pairs = poison.taken(Pairs.open(options.data), stage)
        if options.poison:
            pairs = poison.apply(pairs, options.poison)
        elif options.manifest and "overlap" not in stage:
            poisoned = poison.read_manifest(options.manifest)
            refuse_copies(pairs, *poisoned, f"poisoned in {options.manifest}", accepted)
        trained = (pairs.rows, pairs.pictures)
        refuse_copies(Pairs.open(options.val), *trained, f"in {pairs.folder}", accepted)
        name = stage.get("defense")  # none: pre-training and poisoning
        kinds = defense(name).texts if name else {}
        folders = shared.named_paths("--texts", options.texts, kinds)
        texts = {text: kinds[text].read(Path(folder)) for text, folder in folders.items()}
        objective = make_defense(name, seed, texts, **stage.get("loss", {}))
        model = models.create(stage["model"], seed)
        if options.model:
            models.load_weights(model, options.model, stage["model"])
        validate = validation(stage, options)
        deciding = Train.deciding(stage) | {"texts": fingerprint(texts)}
    more: dict[str, Any] = {"seed": seed, "device": options.device, "label": stage["stage"]}
    more["prompts"] = shared.prompts_of(stage).tokens() if name else None
    training = Training(model, pairs, objective, settings, **more)
    history = train(training, folder=Path(options.checkpoints), config=deciding, validate=validate)
    return model, history, objective.failed


def validation(stage: dict[str, Any], options: Any) -> Callable[[CLIP], dict[str, float]]:
    """Return what scores a model on val, in percent: CA and, with a trigger, ASR and TA."""
    from taclean.data.split import Pairs
    from taclean.evaluation.evaluate import score

    val, prompts = Pairs.open(options.val), shared.prompts_of(stage)
    own = stage.get("trigger")
    triggers = {own["attack"]: shared.bind(own, options.trigger)} if own else {}

    def validate(model: CLIP) -> dict[str, float]:
        counts = score(val, prompts.heads(model), triggers)
        merged = {metric: count for found in counts.values() for metric, count in found.items()}
        return {name: round(100 * count["hits"] / count["n"], 4) for name, count in merged.items()}

    return validate
