"""Read from Snakemake's records of a finished run what is not training, and what more cores give.

Snakemake records for each output the rule, the inputs, and when the job began and ended. Every
moment of the run is divided equally among the jobs that ran then; moments without a job belong to
Snakemake itself. On more cores, the jobs are taken to last as long as they did: of those that are
ready, the one that most work waits for begins first.
"""

import heapq
import itertools
import json
from base64 import urlsafe_b64decode
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from benchmarks.common import Row, row

TRAINING = ("base", "pretrain", "finetune")
CORES = (2, 4, 8)


@dataclass
class Job:
    """A job of a finished run; times are in seconds since 1970."""

    rule: str
    begin: float
    end: float
    inputs: set[str]
    outputs: set[str] = field(default_factory=set)


def jobs(folder: Path) -> list[Job]:
    """Return the jobs that Snakemake recorded in the working directory of a run."""
    found: dict[tuple[str, ...], Job] = {}
    for file in sorted((folder / ".snakemake/metadata").rglob("*")):
        if file.is_file():
            name = "".join(part.removeprefix("@") for part in file.parts[len(folder.parts) + 2 :])
            values = json.loads(file.read_text("utf-8"))
            times = values["starttime"], values["endtime"]
            made = Job(values["rule"], *times, set(values["input"]))
            job = found.setdefault((values["rule"], *values["log"]), made)
            job.outputs.add(urlsafe_b64decode(name + "==").decode())
    return list(found.values())


def shares(jobs: list[Job], begin: float, end: float) -> dict[str, float]:
    """Divide the seconds from `begin` to `end` among the rules; "none" has those without a job."""
    times = sorted({begin, end, *(time for job in jobs for time in (job.begin, job.end))})
    found: Counter[str] = Counter()
    for left, right in itertools.pairwise(times):
        rules = [job.rule for job in jobs if job.begin <= left and right <= job.end] or ["none"]
        for rule in rules:
            found[rule] += (right - left) / len(rules)
    return dict(found)


def simulated(jobs: list[Job], cores: int) -> float:
    """Return the seconds of the run on so many cores, a job on each."""
    makes = {path: n for n, job in enumerate(jobs) for path in job.outputs}
    needs = [{makes[path] for path in job.inputs if path in makes} for job in jobs]
    waits: dict[int, list[int]] = defaultdict(list)
    for n, before in enumerate(needs):
        for other in before:
            waits[other].append(n)

    @cache
    def rest(n: int) -> float:
        """Return the seconds from the job's begin to the end of all that wait for it."""
        return jobs[n].end - jobs[n].begin + max(map(rest, waits[n]), default=0.0)

    ready = [(-rest(n), n) for n, before in enumerate(needs) if not before]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < cores:
            _, n = heapq.heappop(ready)
            heapq.heappush(running, (now + jobs[n].end - jobs[n].begin, n))
        now, ended = heapq.heappop(running)
        for n in waits[ended]:
            needs[n].remove(ended)
            if not needs[n]:
                heapq.heappush(ready, (-rest(n), n))
    return now


def main(results: Path) -> list[Row]:
    """Read the run in the folder `results`, which one call of Snakemake must have made."""
    if not (results / "table.csv").is_file():
        print(f"chain: {results} holds no finished run; run the workflow or set --results")
        return []
    found = jobs(results.parent)
    begin, end = min(job.begin for job in found), max(job.end for job in found)
    parts = shares(found, begin, end)
    for rule, seconds in sorted(parts.items(), key=lambda part: -part[1]):
        print(f"  {rule}: {seconds:.0f} s")
    rest = 100 * sum(s for rule, s in parts.items() if rule not in TRAINING) / (end - begin)
    made = [
        row("a run, from its first job to its last", end - begin, None, "s", None),
        row("share of a run's time that is not training", rest, None, "%", None),
        row("critical path of a run", simulated(found, len(found)), None, "s", None),
    ]
    for cores in CORES:
        took = simulated(found, cores)
        made.append(row(f"a run on {cores} cores, simulated from its jobs", took, None, "s", None))
    return made
