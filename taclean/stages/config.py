"""Print the whole config, or that of one stage, as JSON."""

import json
from typing import Any

from taclean import config as configs
from taclean.stages import stage_config
from taclean.stages.shared import CONFIGFILE

PATH = ("path", {"help": "a stage, such as finetune/badnet/taclean/seed0", "nargs": "?"})
OPTIONS = [PATH, CONFIGFILE]


def run(options: Any) -> None:
    values = configs.read(configs.DEFAULT, *options.configfile)
    config = configs.check(values)
    print(json.dumps(stage_config(config, options.path) if options.path else values, indent=2))
