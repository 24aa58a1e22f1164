"""Run the benchmarks and save their rows: `python -m benchmarks [--only TOPIC ...]`."""

import argparse
import importlib
import time
from pathlib import Path

import torch

from benchmarks.common import CSV, Row, cores, machine, write
from taclean.util.machine import keep_freed

TOPICS = (
    "start", "step", "triggers", "evaluation", "packing", "reading", "data_wait", "scaling",
    "accuracy", "chain",
)  # fmt: skip


def main() -> None:
    """Run the benchmarks of the command line and write the results after each topic."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=TOPICS, default=TOPICS, metavar="TOPIC",
                        help=f"topics to measure: {', '.join(TOPICS)}; default: all")  # fmt: skip
    parser.add_argument("--csv", type=Path, default=CSV, help="default: %(default)s")
    parser.add_argument("--results", type=Path, default=Path("results"),
                        help="a finished run, for `chain`; default: %(default)s")  # fmt: skip
    options = parser.parse_args()
    keep_freed()  # as in every stage; the references gain from it, too
    print(f"{machine()}, torch {torch.__version__}", flush=True)
    rows: list[Row] = []
    for topic in options.only:
        torch.set_num_threads(cores())
        started = time.time()
        measure = importlib.import_module(f"benchmarks.{topic}").main
        rows += measure(options.results) if topic == "chain" else measure()
        write(options.csv, rows)  # after each topic, so that a later error loses nothing
        print(f"{topic}: {time.time() - started:.0f} s", flush=True)
    write(options.csv, rows, everything=set(options.only) == set(TOPICS))


if __name__ == "__main__":
    main()
