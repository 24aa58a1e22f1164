"""Where a whole run of the workflow is: jobs done, time passed, about how long it still takes."""

from __future__ import annotations

import csv
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taclean.util.progress import Say

EVERY = 30  # seconds between lines, at least; a fiftieth of the time that has passed in a long run
# Seconds of a job of each rule that takes long, before any was measured: their ratios count, and
# only until a job of the rule has ended.
FIRST = {
    "pack": 10, "text": 10, "base": 225, "clean_base": 225, "trigger": 25, "pretrain": 145,
    "finetune": 35, "evaluate": 10,
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """A job that is to be done.

    Attributes:
        rule: its rule.
        cores: that it occupies.
        seconds: that it will take, as far as is known before.
    """

    rule: str
    cores: int
    seconds: float


class Watch(logging.Handler):
    """Follows Snakemake's events, says how far all jobs are, and at the end what came out.

    Args:
        jobs: what is to be done, by Snakemake's number.
        say: takes a line.
        clock: seconds.
    """

    def __init__(
        self,
        jobs: Mapping[int, Job] | None = None,
        say: Say = print,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._jobs, self._say, self._clock = jobs or {}, say, clock
        self._begun = self._told = clock()
        self._running: dict[int, float] = {}  # when it began
        self._took: dict[int, float] = {}
        self._failed: dict[int, str] = {}

    def follow(self, workflow: Any, benchmarks: str) -> None:
        """Begin, with a workflow that starts.

        Args:
            workflow: Snakemake's.
            benchmarks: folder of the benchmarks of all rules.
        """
        from snakemake.logging import logger
        from snakemake.settings.enums import Quietness

        jobs = list(workflow.dag.needrun_jobs())
        of = [(job.rule.name, Path(str(job.benchmark or "none"))) for job in jobs]
        known = known_seconds(of, Path(benchmarks))
        self._jobs = {
            workflow.dag.jobid(job): Job(job.rule.name, job.threads, seconds if job.output else 0)
            for job, seconds in zip(jobs, known, strict=True)
        }
        self._begun = self._told = self._clock()
        self._say = lambda line: logger.info(line, extra={"quietness": Quietness.PROGRESS})
        logger.addHandler(self)

        def remind() -> None:
            while True:
                time.sleep(1)
                self.remind()

        threading.Thread(target=remind, daemon=True).start()

    def succeeded(self, workflow: Any, page: str) -> None:
        """Say where the page is, where it is what the run was for, and a table of its attacks.

        Args:
            workflow: Snakemake's.
            page: the page, an output of a rule; beside it is the table of all scores.
        """
        made = [job for job in workflow.dag.jobs if page in map(str, job.output)]
        if made:
            from taclean.results.labels import CLEAN, Look
            from taclean.results.main_table import plain
            from taclean.results.table import read_table

            table = read_table(Path(page).with_name("table.csv"))
            look = Look.of(made[0].params["look"])
            told = f"\n{plain(table, look)}\n" if (table["attack"] != CLEAN).any() else ""
            self._say(f"{told}\nReport: {Path(page).absolute()}\n")

    def failed(self) -> None:
        """Say which jobs failed."""
        lines = [f"run: stopped before its end; {len(self._failed)} failed", *self._failed.values()]
        self._say("\n".join([*lines, "When that is mended, the same command goes on from here."]))

    def emit(self, record: logging.LogRecord) -> None:
        """Take an event; what starts is told."""
        event, now, of = getattr(record, "event", None), self._clock(), record.__dict__
        if event == "job_started":
            self._running.update({job: now for job in of["jobs"] if job in self._jobs})
            self._tell(now)
        elif event == "job_error":
            self._running.pop(of["jobid"], None)
            self._failed[of["jobid"]] = "  ".join(["", of["rule_name"], *of["log"]])
        elif event == "job_finished" and of["job_id"] in self._running:
            self._took[of["job_id"]] = now - self._running.pop(of["job_id"])
            self._failed.pop(of["job_id"], None)  # an earlier attempt

    def remind(self) -> None:
        """Say it again where nothing was said for long; from any thread."""
        self.acquire()
        try:
            now = self._clock()
            if now - self._told >= max(EVERY, (now - self._begun) / 50):
                self._tell(now)
        finally:
            self.release()

    def _tell(self, now: float) -> None:
        self._told = now
        if self._running:
            self._say(self.line(now))

    def line(self, now: float) -> str:
        """'run: 12 of 98 jobs, 4 min 10 s; about 17 min left; now pretrain 3 of 6'."""
        passed, left = now - self._begun, self.left(now)
        text = f"run: {len(self._took)} of {len(self._jobs)} jobs, {duration(passed)}"
        if left is not None:
            text += f"; about {duration(left)} left"
        of, done = (
            Counter(self._jobs[job].rule for job in jobs) for jobs in (self._jobs, self._took)
        )
        busy = Counter(self._jobs[job].rule for job in self._running)
        stages = []
        for rule, count in busy.items():
            first, last = done[rule] + 1, done[rule] + count
            number = str(first) if first == last else f"{first} to {last}"
            stages.append(rule if of[rule] == 1 else f"{rule} {number} of {of[rule]}")
        return text + ("; now " + ", ".join(stages) if stages else "")

    def left(self, now: float) -> float | None:
        """Seconds that the rest will take at the pace so far; None where nothing was done yet.

        What is left of a rule is what was known of it before, times how much longer its ended jobs
        took than was known; a rule of which none has ended goes by those of `FIRST` that have,
        since what is over at once tells nothing of a training.
        """
        ratio, slower = self._ratio(job for job in self._took if self._jobs[job].rule in FIRST), {}
        for rule in {job.rule for job in self._jobs.values()}:
            ended = [job for job in self._took if self._jobs[job].rule == rule]
            slower[rule] = self._ratio(ended) if ended else ratio
        done = left = 0.0  # core seconds
        for number, job in self._jobs.items():
            if number in self._took:
                done += self._took[number] * job.cores
                continue
            spent = now - self._running.get(number, now)
            done += spent * job.cores
            left += max(job.seconds * slower[job.rule] - spent, 0) * job.cores
        return left * (now - self._begun) / done if done > 0 else None

    def _ratio(self, ended: Iterable[int]) -> float:
        ended = list(ended)
        known = sum(self._jobs[job].seconds for job in ended)
        return sum(self._took[job] for job in ended) / known if known else 1.0


def duration(seconds: float) -> str:
    """'45 s', '4 min 10 s', '17 min', '3 h 05 min', '2 d 4 h'."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 10:
        return f"{minutes} min" + (f" {rest:02d} s" if rest else "")
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def known_seconds(jobs: Sequence[tuple[str, Path]], folder: Path) -> list[float]:
    """What jobs took in earlier runs, or others of their rules did, or else `FIRST` in proportion.

    Args:
        jobs: rule of each, and its own file of Snakemake's benchmark, which may be missing.
        folder: of the benchmarks of all rules.
    """
    measured = {}
    for rule in FIRST.keys() | {rule for rule, _ in jobs}:
        files = [folder / f"{rule}.tsv", *folder.glob(f"{rule}/**/*.tsv")]
        if found := [seconds for file in files if (seconds := _benchmark(file)) is not None]:
            measured[rule] = sum(found) / len(found)
    both = measured.keys() & FIRST.keys()
    scale = sum(measured[r] for r in both) / sum(FIRST[r] for r in both) if both else 1
    known = []
    for rule, own in jobs:
        seconds = _benchmark(own)
        if seconds is None:
            seconds = measured.get(rule, FIRST[rule] * scale if rule in FIRST else 1)
        known.append(seconds)
    return known


def _benchmark(path: Path) -> float | None:
    try:
        with path.open(encoding="utf-8") as file:
            return float(next(csv.DictReader(file, delimiter="\t"))["s"])
    except (OSError, StopIteration, KeyError, ValueError):
        return None
