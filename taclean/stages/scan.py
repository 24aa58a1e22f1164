"""Scan a model: which class do optimised patterns reach most easily?"""

from typing import TYPE_CHECKING, Any

from taclean.config import Config
from taclean.stages.shared import DEVICE, MODEL, heads_of, option, say, scored
from taclean.util.files import write_json

if TYPE_CHECKING:
    from taclean.data.split import Pairs
    from taclean.evaluation.zeroshot import Heads


def scan_config(config: Config, *, seed: int) -> dict[str, Any]:
    """Return what decides a scan; `clean_seeds` only decides which models are scanned."""
    return scored(config, seed) | {"scan": config.scan.given(exclude={"clean_seeds"})}


RECIPE = 1
CONFIGS = {"scan/seedN": scan_config}
OPTIONS = [
    MODEL,
    option("--split", "folder of a split with labels"),
    option("--out", "classes with their scores (JSON)"),
    option("--patterns", "patterns of the target and the class found (.safetensors)", default=None),
    DEVICE,
]


def run(stage: dict[str, Any], options: Any) -> None:
    from taclean.data.split import Pairs

    heads = heads_of(stage, options.model, options.device)
    write_json(options.out, scanned(stage, Pairs.open(options.split), heads, options.patterns))


def scanned(
    stage: dict[str, Any], pairs: "Pairs", heads: "Heads", patterns: str | None
) -> dict[str, Any]:
    """Return the scores of the classes, and write the patterns to a file if it is given."""
    from taclean.config.schema import Scan
    from taclean.detectors.scan import scan

    settings = Scan.of({**stage["scan"], "clean_seeds": []}, "scan")
    found = scan(pairs, heads, settings, seed=stage["seed"], precision=stage["precision"])
    if patterns:
        found.save_patterns(patterns)
    say(f"scan: {found.line()}")
    return found.report()
