"""Score a checkpoint that you do not trust: CA, with triggers ASR and TA; scan its classes."""

from __future__ import annotations

import json
from typing import Any

from taclean.stages import stage_config
from taclean.stages.shared import DEVICE, DEVICE_HELP, bind, fitted_files, say
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
    """Score it."""
    from taclean import config as configs

    config = configs.with_default(options.configfile)
    fitted = fitted_files(options.triggers)
    names = list(dict.fromkeys([*options.attacks, *fitted]))
    parameters = _parameters(options.parameters, names)
    for name in names:
        if name not in config.attacks:
            known = ", ".join(config.attacks)
            raise UserError(f"attack {name!r}: unknown in the config; known are {known}")
    stages = {
        name: stage_config(config, f"evaluate/{name}/none/seed{options.seed}")
        for name in ["clean", *names]
    }
    from taclean.clip.models import create
    from taclean.data.split import Pairs
    from taclean.evaluation.evaluate import Prompts, score
    from taclean.evaluation.scan import save_patterns, scan
    from taclean.training.distributed import device

    stage = stages["clean"]
    model_name = options.model or stage["model"]
    triggers = {}
    for name in names:
        trigger = stages[name]["triggers"][name]
        triggers[name] = bind(trigger | parameters, fitted.get(name))
    pairs = Pairs.open(options.test)
    model = create(model_name, pretrained=options.checkpoint).eval().to(device(options.device))
    prompts = Prompts.of(model_name, stage["zeroshot"])
    heads = prompts.heads(model)
    found = score(model, pairs, heads, triggers, stage["precision"])
    target = stage["zeroshot"]["target"]
    say(f"{options.checkpoint} as {model_name} on {options.test}, target {target}")
    for name, counts in found.items():
        for metric in dict.fromkeys(key.partition("@")[0] for key in counts):
            shares = {k: share for k, share in counts.items() if k.startswith(f"{metric}@")}
            line = ", ".join(
                f"{key.removeprefix(metric)} {100 * share['hits'] / share['n']:.1f} %"
                for key, share in shares.items()
            )
            say(f"{name} {metric}: {line} (n = {next(iter(shares.values()))['n']})")
    named = {key: getattr(options, key) for key in ("checkpoint", "test", "seed")}
    result = {**named, "model": model_name, "target": target, "scores": found}
    if options.scan:
        settings = config.scan.model_copy(update=_targets(options.targets, prompts.classes))
        scanned = scan(
            model, pairs, prompts, settings,
            seed=options.seed, precision=stage["precision"], say=say,
        )  # fmt: skip
        say(f"scan: {scanned.line()}")
        result["scan"] = scanned.report()
        if options.patterns:
            save_patterns(scanned, options.patterns)
    if options.out:
        write_json(options.out, result)


def _targets(names: list[str], classes: list[str]) -> dict[str, Any]:
    """`--targets` as part of the scan's settings."""
    if unknown := [name for name in names if name not in classes]:
        raise UserError(f"--targets: {unknown[0]!r} is no class of the run; correct it")
    return {"targets": names} if names else {}


def _parameters(text: str | None, names: list[str]) -> dict[str, Any]:
    """`--parameters` as part of a trigger; it belongs to the one attack that is named."""
    if text is None:
        return {}
    try:
        parameters = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f'--parameters: not JSON ({error}); give {{"size": 16}}') from None
    if not isinstance(parameters, dict) or len(names) != 1:
        raise UserError("--parameters: give one JSON object, and one attack that it is for")
    return {"parameters": parameters}
