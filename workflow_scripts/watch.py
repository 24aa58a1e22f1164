"""How far a run of the workflow is: jobs done, time passed, and an estimate of what is left."""

import contextlib
import csv
import difflib
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taclean.util.progress import Say

EVERY = 30  # least seconds between lines; a fiftieth of the time that has passed in a long run
# Seconds of one job of each rule that takes long, in a default run on 2 cores. Only their ratios
# count: as soon as jobs have finished, what they took corrects the rest.
USUAL = {
    "pack": 3, "pack_first": 10, "text": 7, "base": 94, "clean_base": 94, "trigger": 10,
    "pretrain": 29, "finetune": 21, "evaluate": 2,
}  # fmt: skip
PACKING = {"pack", "pack_first"}


@dataclass(frozen=True)
class Job:
    """A job that has to run: its rule, its cores, its expected duration and its log file."""

    rule: str
    cores: int
    seconds: float
    log: str = ""

    def told(self) -> float | None:
        """Return the seconds left by the log's last progress line; None without such a line."""
        with contextlib.suppress(OSError):
            found = re.findall(r"about (\d+) s left", Path(self.log).read_text("utf-8", "replace"))
            return float(found[-1]) if found else None
        return None


def hint_targets(workflow: Any) -> None:
    """Have Snakemake's message about an unknown target say which rule or file may be meant."""
    from snakemake.io import is_callable
    from snakemake.logging import logger

    def add(record: logging.LogRecord) -> bool:
        if found := re.search(r"No rule to produce (.+) \(if you use", str(record.msg)):
            rules = [*workflow.rules]
            files = {file for rule in rules for file in (*rule.input, *rule.output)}
            known = [str(file) for file in files if not is_callable(file)]
            known = [rule.name for rule in rules] + [name for name in known if "{" not in name]
            for close in difflib.get_close_matches(found[1], sorted(known), 1):
                record.msg = f"{record.msg}\nDid you mean {close}?"
        return True

    logger.addFilter(add)


def plain(table: Any, look: Any) -> str:
    """Return the main table's first block: a row for each attack, the lowest ASR with a star."""
    from taclean.results.main_table import blocks, by_attack, cells

    title, block = next(blocks(table, look))
    texts = by_attack(cells(block, "*{}"))
    return f"{title} in %, the lowest ASR of the defences with a star\n\n{texts.to_string()}"


class Watch(logging.Handler):
    """Follow Snakemake's events, report progress, and print the result at the end.

    Args:
        jobs: the jobs to run, by Snakemake's number.
        say: takes a line.
        clock: returns seconds.
    """

    def __init__(
        self,
        jobs: Mapping[int, Job] | None = None,
        say: Say = print,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._jobs, self._say, self._clock = jobs or {}, say, clock
        self._begun = self._last = clock()
        self._running: dict[int, float] = {}  # start time by job
        self._took: dict[int, float] = {}
        self._failed: dict[int, str] = {}
        self._interrupted = False

    def follow(self, workflow: Any) -> None:
        """Begin with a Snakemake workflow that starts."""
        from snakemake.logging import logger
        from snakemake.settings.enums import Quietness

        dag, self._jobs = workflow.dag, {}
        for job in dag.needrun_jobs():
            name = job.rule.name
            seconds = expected_seconds(name, job.benchmark) if job.output else 0
            self._jobs[dag.jobid(job)] = Job(name, job.threads, seconds, "".join(job.log[:1]))
        self._begun = self._last = self._clock()
        self._say = lambda line: logger.info(line, extra={"quietness": Quietness.PROGRESS})
        # Snakemake would end the run with the hundreds of files that the target `all` collects.
        logger.addFilter(lambda record: getattr(record, "rule_name", "") != "all")
        logger.addHandler(self)

        def remind() -> None:
            while True:
                time.sleep(1)
                self.remind()

        threading.Thread(target=remind, daemon=True).start()

    def succeeded(self, workflow: Any, page: str) -> None:
        """Print the main table and the path of `page`, if the workflow's run was to make the page.

        The table of all scores lies beside the page.
        """
        made = [job for job in workflow.dag.jobs if page in map(str, job.output)]
        if made:
            from taclean.results.labels import CLEAN, Look
            from taclean.results.table import read_table

            table = read_table(Path(page).with_name("table.csv"))
            look = Look.of(made[0].params["look"])
            shown = f"\n{plain(table, look)}\n" if (table["attack"] != CLEAN).any() else ""
            self._say(f"{shown}\nReport: {Path(page).absolute()}\n")

    def failed(self) -> None:
        """Print which jobs failed, or that the user interrupted them."""
        if self._interrupted:
            self._say("run: interrupted; the same command goes on from here.")
            return
        lines = [f"run: stopped before its end; {len(self._failed)} failed", *self._failed.values()]
        self._say("\n".join([*lines, "Correct the cause; the same command goes on from here."]))

    def emit(self, record: logging.LogRecord) -> None:
        """Take one of Snakemake's events."""
        event, now, fields = getattr(record, "event", None), self._clock(), record.__dict__
        self._interrupted |= "on user request" in str(record.msg)  # Ctrl-C, in Snakemake's words
        if event == "job_started":
            self._running.update({job: now for job in fields["jobs"] if job in self._jobs})
            self._report(now)
        elif event == "job_error":
            self._running.pop(fields["jobid"], None)
            self._failed[fields["jobid"]] = "  ".join(["", fields["rule_name"], *fields["log"]])
        elif event == "job_finished" and fields["job_id"] in self._running:
            self._took[fields["job_id"]] = now - self._running.pop(fields["job_id"])
            self._failed.pop(fields["job_id"], None)  # an earlier attempt

    def remind(self) -> None:
        """Report again after a while without a line; safe from any thread."""
        assert self.lock is not None, "a handler has a lock"
        with self.lock:
            now = self._clock()
            if now - self._last >= max(EVERY, (now - self._begun) / 50):
                self._report(now)

    def _report(self, now: float) -> None:
        self._last = now
        if self._running:
            self._say(self.line(now))

    def line(self, now: float) -> str:
        """Return 'run: 12 of 98 jobs, 4 min 10 s; about 17 min left; now pretrain 3 of 6'."""
        left = self.left(now)
        text = f"run: {len(self._took)} of {len(self._jobs)} jobs, {duration(now - self._begun)}"
        if left is not None:
            text += f"; about {duration(left)} left"
        total = Counter(job.rule for job in self._jobs.values())
        done = Counter(self._jobs[number].rule for number in self._took)
        stages = []
        for rule, count in Counter(self._jobs[number].rule for number in self._running).items():
            first, last = done[rule] + 1, done[rule] + count
            which = str(first) if first == last else f"{first} to {last}"
            stages.append(rule if total[rule] == 1 else f"{rule} {which} of {total[rule]}")
        return text + ("; now " + ", ".join(stages) if stages else "")

    def left(self, now: float) -> float | None:
        """Return the seconds that the rest takes at the pace so far, or None at the very start.

        A job takes its expected seconds times a factor: how much longer than expected its rule's
        finished jobs took, and its running jobs will take by their logs. A rule without such a job
        has the factor of all rules of `USUAL` but PACKING: packing and short jobs say nothing about
        a training.
        """
        takes = dict(self._took)
        for number, begun in self._running.items():
            if told := self._jobs[number].told():
                takes[number] = now - begun + told
        known, telling = {n: self._jobs[n].rule for n in takes}, USUAL.keys() - PACKING
        left = {job.rule for n, job in self._jobs.items() if n not in takes}
        if PACKING & {*known.values()} and telling & left and not telling & {*known.values()}:
            return None
        factor = self._factor({n: s for n, s in takes.items() if known[n] in telling})
        factors = {}
        for rule in {job.rule for job in self._jobs.values()}:
            own = {n: s for n, s in takes.items() if known[n] == rule}
            factors[rule] = self._factor(own) if own else factor
        done = rest = 0.0  # core seconds
        for number, job in self._jobs.items():
            if number in self._took:
                done += self._took[number] * job.cores
                continue
            spent = now - self._running.get(number, now)
            done += spent * job.cores
            whole = takes.get(number, job.seconds * factors[job.rule])
            rest += max(whole - spent, 0) * job.cores
        return rest * (now - self._begun) / done if done > 0 else None

    def _factor(self, takes: Mapping[int, float]) -> float:
        expected = sum(self._jobs[number].seconds for number in takes)
        return sum(takes.values()) / expected if expected else 1.0


def duration(seconds: float) -> str:
    """Return '45 s', '4 min 10 s', '17 min', '3 h 05 min' or '2 d 4 h'."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 10:
        return f"{minutes} min" + (f" {rest:02d} s" if rest else "")
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def expected_seconds(rule: str, benchmark: Path | str | None) -> float:
    """Return what an earlier run's `benchmark` file says, or what is usual for the rule."""
    try:
        with Path(str(benchmark)).open(encoding="utf-8") as file:
            return float(next(csv.DictReader(file, delimiter="\t"))["s"])
    except (OSError, StopIteration, KeyError, ValueError):
        return USUAL.get(rule, 1)
