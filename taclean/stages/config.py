"""Print the whole config, or that of one stage, as JSON."""

from __future__ import annotations

import json
from typing import Any

from taclean import config as configs
from taclean.stages import stage_config


def arguments(add: Any) -> None:
    """Options beside --config."""
    add("path", "a stage, such as finetune/badnet/taclean/seed0", nargs="?", default=None)
    add("--configfile", "config files on top of the default", nargs="+", default=None)


def run(options: Any) -> None:
    """Print it."""
    config = configs.with_default(options.configfile)
    value = stage_config(config, options.path) if options.path else config
    print(json.dumps(value, indent=2, ensure_ascii=False))
