"""Print what a run will cost: rows, disk, memory and time, by rates that are measured here."""

import sys
from typing import Any

from taclean import config as configs
from taclean.stages.shared import option

OPTIONS = [option("--config", "config files on top of the default", nargs="+", default=[])]


def run(options: Any) -> None:
    from taclean.training import estimate

    config = configs.load(configs.DEFAULT, *options.config)
    for line in [*configs.notes(config), "plan: timing a few steps on this machine"]:
        print(line, file=sys.stderr, flush=True)
    print(estimate.report(config, estimate.measure(config)))
