"""Print what a run will cost: rows, disk, memory and time."""

from __future__ import annotations

import sys
from typing import Any

from taclean.util.files import read_json, write_json


def arguments(add: Any) -> None:
    """Options."""
    add("--config", "config files on top of the default", nargs="+", default=None)
    add("--rates", "rates that --measure wrote on the machine that will do the work", default=None)
    add("--measure", "measure the rates here and write them to this file", default=None)


def run(options: Any) -> None:
    """Measure, or read the rates, and print."""
    from taclean import config as configs

    config = configs.with_default(options.config)
    from taclean.training import estimate

    if options.rates:
        rates = estimate.check_rates(read_json(options.rates), options.rates)
    else:
        print("plan: timing a few steps on this machine", file=sys.stderr, flush=True)
        rates = estimate.measure(config)
    if options.measure:
        write_json(options.measure, rates)
    print(estimate.report(config, rates))
