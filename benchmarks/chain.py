"""Read from a finished run's benchmark files which share of its time is not training.

A job's file holds the seconds of the job and was written at its end. Every moment of the run is
divided equally among the jobs that ran then. Moments without a job belong to Snakemake itself or to
small jobs that write no such file.
"""

import csv
import itertools
from collections import Counter
from pathlib import Path

from benchmarks.common import Row, row

TRAINING = ("base", "pretrain", "finetune")


def jobs(folder: Path) -> list[tuple[str, float, float]]:
    """Return (rule, begin, end) of every job below `folder`, in seconds since 1970."""
    found = []
    for file in sorted(folder.rglob("*.tsv")):
        with file.open(newline="", encoding="utf-8") as table:
            took = sum(float(entry["s"]) for entry in csv.DictReader(table, delimiter="\t"))
        end, rule = file.stat().st_mtime, Path(file.relative_to(folder).parts[0]).stem
        found.append((rule, end - took, end))
    return found


def shares(jobs: list[tuple[str, float, float]], begin: float, end: float) -> dict[str, float]:
    """Divide the seconds from `begin` to `end` among the rules; "none" has those without a job."""
    times = sorted({begin, end, *(time for _, *both in jobs for time in both)})
    found: Counter[str] = Counter()
    for left, right in itertools.pairwise(times):
        rules = [rule for rule, first, last in jobs if first <= left and right <= last] or ["none"]
        for rule in rules:
            found[rule] += (right - left) / len(rules)
    return dict(found)


def main(results: Path) -> list[Row]:
    """Read the run in the folder `results`, which one call of Snakemake must have made."""
    if not (results / "table.csv").is_file():
        print(f"chain: {results} holds no finished run; run the workflow or set --results")
        return []
    found = jobs(results / "benchmarks")
    written = [file.stat().st_mtime for file in results.rglob("*") if file.is_file()]
    begin, end = min(min(written), *(job[1] for job in found)), max(written)
    parts = shares(found, begin, end)
    for rule, seconds in sorted(parts.items(), key=lambda part: -part[1]):
        print(f"  {rule}: {seconds:.0f} s")
    rest = sum(seconds for rule, seconds in parts.items() if rule not in TRAINING)
    return [
        row("a run, from its first file to its last", end - begin, None, "s", None),
        row(
            "share of a run's time that is not training",
            100 * rest / (end - begin),
            None,
            "%",
            None,
        ),
    ]
