"""Print what a run will cost: rows, disk, memory and time."""

from __future__ import annotations

import sys
from typing import Any

from taclean import config as configs
from taclean.stages.shared import option
from taclean.util.files import read_json, write_json

OPTIONS = [
    option("--config", "config files on top of the default", nargs="+", default=None),
    option("--rates", "rates that --measure wrote where the work will be done", default=None),
    option("--measure", "measure the rates here and write them to this file", default=None),
]


def run(options: Any) -> None:
    """Measure the rates, or read them, and print the costs."""
    from taclean.training import estimate

    config = configs.with_default(options.config)
    if options.rates:
        rates = estimate.check_rates(read_json(options.rates), options.rates)
    else:
        print("plan: timing a few steps on this machine", file=sys.stderr, flush=True)
        rates = estimate.measure(config)
    if options.measure:
        write_json(options.measure, rates)
    print(estimate.report(config, rates))
