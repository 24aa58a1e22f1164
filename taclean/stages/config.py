"""Print the config of one stage as JSON."""

from __future__ import annotations

import json
from typing import Any

from taclean import config as configs
from taclean.stages import stage_config


def arguments(add: Any) -> None:
    """Options beside --config."""
    add("stage", "a stage's path, such as finetune/badnet/taclean/seed0")
    add("--configfile", "config files on top of the default", nargs="+", default=None)


def run(options: Any) -> None:
    """Print it."""
    stage = stage_config(configs.with_default(options.configfile), options.stage)
    print(json.dumps(stage, indent=2, ensure_ascii=False))
