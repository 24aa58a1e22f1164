"""Score a checkpoint that you do not trust: CA, with triggers ASR and TA; scan its classes."""

from __future__ import annotations

import json
from typing import Any

from taclean.stages import stage_config
from taclean.stages.evaluate import percentages
from taclean.stages.shared import DEVICE, DEVICE_HELP, bind_all, say
from taclean.util.errors import UserError
from taclean.util.files import write_json


def arguments(add: Any) -> None:
    """Options."""
    add("--checkpoint", "weights in any form, never run as code, or one of open_clip's tags")
    add("--test", "folder of a packed split with labels")
    add("--configfile", "config files on top of the default", nargs="+", default=None)
    add("--model", "open_clip's name (default: the config's)", default=None)
    add("--attacks", "triggers to put on (default: none, CA alone)", nargs="*", default=[])
    add("--triggers", "fitted triggers as ATTACK=FILE", nargs="*", default=[])
    add("--parameters", "trigger parameters instead of the config's (JSON)", default=None)
    add("--scan", "which class do optimised patterns reach most easily?", action="store_true",
        default=False)  # fmt: skip
    add("--targets", "classes to scan (default: the config's, or all)", nargs="*", default=[])
    add("--patterns", "the patterns that the scan found (.safetensors)", default=None)
    add("--seed", "the seed that the triggers are bound to", type=int, default=0)
    add("--out", "scores (JSON)", default=None)
    add("--device", DEVICE_HELP, **DEVICE)


def run(options: Any) -> None:
    """Score the checkpoint, and scan it where asked for."""
    from taclean import config as configs

    config = configs.with_default(options.configfile)
    named = [entry.partition("=")[0] for entry in options.triggers]
    names = list(dict.fromkeys([*options.attacks, *named]))
    parameters = _parameters(options.parameters, names)
    for name in names:
        if name not in config.attacks:
            known = ", ".join(config.attacks)
            raise UserError(f"attack {name!r}: unknown in the config; known are {known}")
    stage, *attacked = (
        stage_config(config, f"evaluate/{name}/none/seed{options.seed}")
        for name in ("clean", *names)
    )
    from taclean.clip.models import create
    from taclean.data.split import Pairs
    from taclean.evaluation.evaluate import score
    from taclean.evaluation.scan import scan
    from taclean.evaluation.zeroshot import Prompts
    from taclean.training.distributed import device

    model_name, target = options.model or stage["model"], stage["zeroshot"]["target"]
    bound = {own["attack"]: own["triggers"][own["attack"]] | parameters for own in attacked}
    triggers = bind_all(bound, options.triggers)
    pairs = Pairs.open(options.test)
    model = create(model_name, pretrained=options.checkpoint).eval().to(device(options.device))
    heads = Prompts.of(model_name, stage["zeroshot"]).heads(model)
    found = score(pairs, heads, triggers, stage["precision"])
    say(f"{options.checkpoint} as {model_name} on {options.test}, target {target}")
    for name, counts in found.items():
        for metric in dict.fromkeys(key.partition("@")[0] for key in counts):
            own = {k: count for k, count in counts.items() if k.startswith(f"{metric}@")}
            line = percentages({k.removeprefix(metric): count for k, count in own.items()})
            say(f"{name} {metric}: {line} (n = {next(iter(own.values()))['n']})")
    asked = {key: getattr(options, key) for key in ("checkpoint", "test", "seed")}
    result = {**asked, "model": model_name, "target": target, "scores": found}
    if options.scan:
        changed = _targets(options.targets, heads.prompts.classes)
        settings = config.scan.model_copy(update=changed)
        scanned = scan(pairs, heads, settings, seed=options.seed, precision=stage["precision"])
        say(f"scan: {scanned.line()}")
        result["scan"] = scanned.report()
        if options.patterns:
            scanned.save_patterns(options.patterns)
    if options.out:
        write_json(options.out, result)


def _targets(names: list[str], classes: list[str]) -> dict[str, Any]:
    """Return `--targets` as part of the scan's settings."""
    if unknown := [name for name in names if name not in classes]:
        raise UserError(f"--targets: {unknown[0]!r} is no class of the run; correct it")
    return {"targets": names} if names else {}


def _parameters(text: str | None, names: list[str]) -> dict[str, Any]:
    """Return `--parameters` as part of a trigger; it belongs to the one attack that is named."""
    if text is None:
        return {}
    try:
        parameters = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f'--parameters: not JSON ({error}); give {{"size": 16}}') from None
    if not isinstance(parameters, dict) or len(names) != 1:
        raise UserError("--parameters: give one JSON object, and one attack that it is for")
    return {"parameters": parameters}
