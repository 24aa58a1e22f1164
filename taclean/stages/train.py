"""Train: the base model, a poisoned model, or a defence; by torchrun on several GPUs."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taclean.stages.shared import DEVICE, DEVICE_HELP, bind, cleaning_seed, overlap_of, trigger_of
from taclean.util.errors import UserError
from taclean.util.files import replacing

if TYPE_CHECKING:
    import torch
    from open_clip import CLIP

    from taclean.config import Config
    from taclean.config.schema import Train
    from taclean.data.split import Pairs

RECIPE = 1
KEPT = 2**28  # bytes of triggered val pictures that are kept from epoch to epoch


def _train(config: Config, train: Train, seed: int) -> dict[str, Any]:
    return {
        "recipe": RECIPE,
        "model": config.model.name,
        "seed": seed,
        "train": train.given(),
        "zeroshot": config.prompts(),
    }


def base_config(config: Config, *, seed: int | None = None) -> dict[str, Any]:
    """Return what decides a base model; its seed is `model.seed` by default."""
    return _train(config, config.base.train, config.model.seed if seed is None else seed)


def clean_config(config: Config, *, seed: int) -> dict[str, Any]:
    """Return what decides a base model of another seed."""
    return base_config(config, seed=seed)


def pretrain_config(config: Config, attack: str, *, seed: int) -> dict[str, Any]:
    """Return what decides a poisoned model."""
    train = config.attacks[attack].settings(config.poison.train)
    return {
        **_train(config, train, seed),
        "rows": config.poison.rows,
        "trigger": trigger_of(config, attack, seed),
    }


def finetune_config(
    config: Config, attack: str, defense: str, *, seed: int, repeat: int = 0
) -> dict[str, Any]:
    """Return what decides a cleaned model; `seed` is the victim's."""
    entry = config.defenses[defense]
    train = entry.settings(config.finetune.train)
    stage = {
        **_train(config, train, cleaning_seed(seed, repeat)),
        "defense": entry.kind,
        "loss": entry.loss.given(),
        **entry.given(include={"rows", "after"}),
        "apart_by": None,
    }
    if overlap := overlap_of(config, defense, seed):
        stage["overlap"] = overlap
    elif pretrain := config.split_of_role("pretrain"):
        # How clean rows are told from poisoned ones: ids of different sources cannot be compared.
        splits = (config.splits[name] for name in (pretrain, config.split_of_role("clean")))
        sources = {getattr(split, "source", None) for split in splits}
        stage["apart_by"] = "ids" if len(sources) == 1 else "pictures"
    if attack != "clean":
        stage["trigger"] = trigger_of(config, attack, seed)
    return stage


CONFIGS = {
    "base": base_config,
    "clean": clean_config,
    "pretrain": pretrain_config,
    "finetune": finetune_config,
}


def arguments(add: Any) -> None:
    """Options beside --config."""
    add("--data", "folder of the split to train on")
    add("--val", "folder of the val split")
    add("--model", "weights to start from (default: random)", default=None)
    add("--poison", "folder of poisoned rows to put into the split", default=None)
    add("--manifest", "poison manifest that the split must not overlap with", default=None)
    add("--trigger", "fitted trigger, for ASR on val", default=None)
    add("--texts", "text artifacts as NAME=FOLDER", nargs="*", default=[])
    add("--checkpoints", "folder for checkpoints; a killed run goes on from there")
    add("--out", "trained weights (safetensors)")
    add("--history", "CSV with loss and val scores per epoch")
    add("--device", DEVICE_HELP, **DEVICE)


def run(stage: dict[str, Any], options: Any) -> None:
    """Train on this process's device."""
    from taclean.training import distributed

    device = distributed.device(options.device)
    with distributed.processes(device):
        _run(stage, options, device)


def _run(stage: dict[str, Any], options: Any, device: torch.device) -> None:
    from taclean.attacks import poison
    from taclean.clip import models
    from taclean.config.schema import Train
    from taclean.data.split import Pairs
    from taclean.defenses import make_defense
    from taclean.training import distributed
    from taclean.training.loop import fingerprint, train

    with distributed.together():
        settings = Train.of(stage["train"], "train")
        seed = stage["seed"]
        models.check_suffix(options.out)  # now, not after hours
        pairs = poison.taken(Pairs.open(options.data), stage)
        if options.poison:
            pairs = poison.apply(pairs, options.poison)
        if options.manifest and stage["apart_by"]:
            poison.refuse_overlap(pairs, options.manifest, stage["apart_by"])
        name = stage.get("defense")  # none: pre-training and poisoning
        texts = _texts(name, options.texts)
        objective = make_defense(name, seed, texts, **stage.get("loss", {}))
        model = models.create(stage["model"], seed)
        if options.model:
            models.load_weights(model, options.model, stage["model"])
        validate = _validation(stage, Pairs.open(options.val), options.trigger)
        deciding = stage | {"train": settings.deciding(), "texts": fingerprint(texts)}
    history = train(
        model,
        pairs,
        objective,
        settings,
        seed=seed,
        folder=Path(options.checkpoints),
        config=deciding,
        validate=validate,
        label=stage["stage"],
        device=device,
    )
    if distributed.rank() != 0:
        return
    with replacing(options.history) as temporary, temporary.open("w", newline="") as file:
        keys = list(dict.fromkeys(key for record in history for key in record))
        table = csv.DictWriter(file, keys, lineterminator="\n")
        table.writeheader()
        table.writerows(history)
    models.save_weights(model, options.out, name=stage["model"], stage=stage["stage"])
    (Path(options.checkpoints) / "last.pt").unlink(missing_ok=True)


def _texts(name: str | None, entries: list[str]) -> dict[str, Any]:
    """Read the artifacts of `--texts NAME=FOLDER ...` as the defence wants them."""
    from taclean.defenses import defense

    kinds, found = defense(name).texts if name else {}, {}
    for entry in entries:
        text, _, folder = entry.partition("=")
        if text not in kinds:
            wants = ", ".join(kinds) or "none"
            raise UserError(f"--texts: {text!r} is no text of defense {name!r}, which has {wants}")
        found[text] = kinds[text].read(Path(folder))
    return found


def _validation(
    stage: dict[str, Any], val: Pairs, fitted: str | None
) -> Callable[[CLIP], dict[str, float]]:
    from taclean.evaluation.evaluate import Kept, score
    from taclean.evaluation.zeroshot import Prompts

    prompts = Prompts.of(stage["model"], stage["zeroshot"])
    triggers: dict[str, Any] = {}
    if "trigger" in stage:
        trigger = bind(stage["trigger"], fitted)
        small = len(val) * val.size**2 * 3 <= KEPT
        triggers[stage["trigger"]["attack"]] = Kept(trigger) if small else trigger

    def validate(model: CLIP) -> dict[str, float]:
        counts = score(val, prompts.heads(model), triggers)
        return {
            metric: round(100 * count["hits"] / count["n"], 4)
            for found in counts.values()
            for metric, count in found.items()
        }

    return validate
