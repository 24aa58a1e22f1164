"""Print what a run will cost: rows, disk, memory and time, by rates that are measured here."""

import sys
from typing import Any

from taclean import config as configs
from taclean.stages.shared import CONFIGFILE

OPTIONS = [CONFIGFILE]


def run(options: Any) -> None:
    from taclean import estimate

    config = configs.load(configs.DEFAULT, *options.configfile)
    for line in [*configs.notes(config), "plan: timing a few steps on this machine"]:
        print(line, file=sys.stderr, flush=True)
    print(estimate.report(config, estimate.measure(config)))
