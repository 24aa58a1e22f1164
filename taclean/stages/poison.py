"""Choose rows, put the trigger on them and write manifest and poisoned rows."""

from typing import Any

from taclean.config import Config
from taclean.stages.shared import bind, option, tokenizer, trigger_of


def poison_config(config: Config, attack: str, *, seed: int) -> dict[str, Any]:
    entry = config.attacks[attack]
    return {
        "model": config.model.name,
        "trigger": trigger_of(config, attack, seed),
        "rows": config.poisoning(attack)[0],
        "changed": entry.given(include=set(entry.method.Rows.model_fields)),
        "target": config.data.target,
        "templates": config.prompts()["templates"],
        "seed": seed,
    }


RECIPE = 1
CONFIGS = {"poison/ATTACK/seedN": poison_config}
OPTIONS = [
    option("--data", "folder of the pretrain split"),
    option("--trigger", "fitted trigger, for attacks that have one", default=None),
    option("--out", "folder for manifest and poisoned rows"),
]


def run(stage: dict[str, Any], options: Any) -> None:
    from taclean.attacks import attack, poison
    from taclean.data.split import Pairs

    name, seed = stage["trigger"]["attack"], stage["seed"]
    kind = attack(stage["trigger"]["kind"])
    method = kind.of(stage["trigger"]["parameters"], f"attacks.{name}.trigger")
    rows = kind.Rows.of(stage["changed"], f"attacks.{name}")
    pairs = poison.taken(Pairs.open(options.data), stage)
    pool = poison.Pool(pairs.captions(), stage["target"], stage["templates"], seed)
    changes = method.poison(pool, rows, bind(stage["trigger"], options.trigger))
    poison.write(options.out, pairs, changes, tokenizer(stage), name=name, seed=seed)
