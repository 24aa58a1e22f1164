"""Score a checkpoint that you do not trust: CA, with triggers ASR and TA; scan its classes."""

from itertools import groupby
from typing import Any

from taclean import config as configs
from taclean.stages import shared, stage_config
from taclean.stages.evaluate import percentages
from taclean.stages.scan import scanned
from taclean.stages.shared import CONFIGFILE, DEVICE, TRIGGERS, option
from taclean.util.errors import UserError
from taclean.util.files import write_json

OPTIONS = [
    option("--checkpoint", "weights in any form, never run as code, or one of open_clip's tags"),
    option("--test", "folder of a packed split with labels"),
    CONFIGFILE,
    option("--model", "open_clip's name (default: the config's)", default=None),
    option("--attacks", "triggers to put on (default: none, CA alone)", nargs="*", default=[]),
    TRIGGERS,
    option("--scan", "also scan the classes", action="store_true", default=False),
    option("--targets", "classes to scan (default: the config's, or all)", nargs="*", default=[]),
    option("--patterns", "the patterns that the scan found (.safetensors)", default=None),
    option("--seed", "the seed that the triggers are bound to", type=int, default=0),
    option("--out", "scores (JSON)", default=None),
    DEVICE,
]


def run(options: Any) -> None:
    from taclean.clip.models import create
    from taclean.data.split import Pairs
    from taclean.evaluation.evaluate import score

    if (options.targets or options.patterns) and not options.scan:
        raise UserError("--scan: missing; --targets and --patterns are options of the scan")
    values = configs.read(configs.DEFAULT, *options.configfile)
    if options.targets:
        values = configs.merge(values, {"scan": {"targets": options.targets}})
    config, seed = configs.check(values), options.seed
    names = [*options.attacks, *(entry.partition("=")[0] for entry in options.triggers)]
    if unknown := [name for name in names if name not in config.attacks]:
        known = ", ".join(config.attacks)
        raise UserError(f"attack {unknown[0]!r}: unknown in the config; known are {known}")
    stage = stage_config(config, f"scan/seed{seed}")
    model_name, target = options.model or stage["model"], stage["zeroshot"]["target"]
    own = {name: shared.trigger_of(config, name, seed, at_test=True) for name in names}
    triggers = shared.bind_all(own, options.triggers)
    pairs = Pairs.open(options.test)
    model = create(model_name, pretrained=options.checkpoint).eval().to(options.device)
    heads = shared.prompts_of(stage | {"model": model_name}).heads(model)
    found = score(pairs, heads, triggers, stage["precision"])
    shared.say(f"{options.checkpoint} as {model_name} on {options.test}, target {target}")
    for name, counts in found.items():
        for metric, keys in groupby(counts, lambda key: key.partition("@")[0]):
            at = {key.removeprefix(metric): counts[key] for key in keys}
            shared.say(f"{name} {metric}: {percentages(at)} (n = {at['@1']['n']})")
    asked = {key: getattr(options, key) for key in ("checkpoint", "test", "seed")}
    result = {**asked, "model": model_name, "target": target, "scores": found}
    if options.scan:
        result["scan"] = scanned(stage, pairs, heads, options.patterns)
    if options.out:
        write_json(options.out, result)
