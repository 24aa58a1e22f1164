"""Print the whole config, or that of one stage, as JSON."""

from __future__ import annotations

import json
from typing import Any

from taclean.stages import stage_config


def arguments(add: Any) -> None:
    """Options beside --config."""
    add("path", "a stage, such as finetune/badnet/taclean/seed0", nargs="?", default=None)
    add("--configfile", "config files on top of the default", nargs="+", default=None)


def run(options: Any) -> None:
    """Print it."""
    from taclean import config as configs

    values = configs.read(configs.DEFAULT, *(options.configfile or []))
    config = configs.check(values)
    value = stage_config(config, options.path) if options.path else values
    print(json.dumps(value, indent=2, ensure_ascii=False))
