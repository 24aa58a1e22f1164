"""Where a run is and how long it still takes, from Snakemake's events."""

import logging
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from taclean.results.table import COLUMNS, write_table
from workflow_scripts.watch import USUAL, Job, Watch, duration, expected_seconds

JOBS = {0: Job("all", 1, 0), 1: Job("base", 2, 30)} | {n: Job("clean", 1, 10) for n in range(2, 8)}


class Watched(Watch):
    """A watch whose clock a test moves; it keeps what it says."""

    def __init__(self, jobs: Mapping[int, Job] | None = None) -> None:
        self.now, self.said = 100.0, list[str]()
        super().__init__(jobs, self.said.append, lambda: self.now)

    def event(self, name: str, **fields: Any) -> None:
        self.handle(logging.makeLogRecord({"event": name, **fields}))

    def begin(self, *jobs: int) -> None:
        self.event("job_started", jobs=[*jobs])

    def end(self, *jobs: int, after: float) -> None:
        self.now += after
        for job in jobs:
            self.event("job_finished", job_id=job)


def test_time_left_follows_what_was_measured() -> None:
    watch = Watched(JOBS)
    assert watch.left(watch.now) is None
    watch.begin(1)
    watch.now += 30
    assert watch.left(watch.now) == 30  # six jobs of 10 s, two at a time
    watch.end(1, after=30)
    assert watch.left(watch.now) == 60  # twice as slow as was known
    watch.begin(2, 3)
    watch.end(2, 3, after=10)
    assert watch.left(watch.now) == 20  # these were not


def test_time_left_follows_what_a_running_training_logs(tmp_path: Path) -> None:
    log = tmp_path / "base.log"
    watch = Watched(JOBS | {1: Job("base", 2, 30, str(log))})
    watch.begin(1)
    watch.now += 10
    assert watch.left(watch.now) == 50  # 20 s of base, then six jobs of 10 s, two at a time
    log.write_text("base: 5/60 steps, about 900 s left\nbase: 10/60 steps, about 50 s left\n")
    assert watch.left(watch.now) == 50 + 60  # twice as slow as was known, also the rest


def test_what_is_over_at_once_tells_nothing_of_a_training() -> None:
    trainings = {n: Job("finetune", 1, 30) for n in (8, 9)}
    for rule in ("gate", "pack"):
        watch = Watched({n: Job(rule, 1, 1) for n in range(8)} | trainings)
        for job in range(8):
            watch.begin(job)
            watch.end(job, after=0.01)
        watch.begin(8, 9)
        watch.now += 10
        assert watch.left(watch.now) == (None if rule == "pack" else pytest.approx(20, rel=0.05))


def test_lines_say_which_jobs_of_which_rule() -> None:
    watch = Watched(JOBS)
    watch.begin(1)
    watch.end(1, after=60)
    watch.remind()  # nothing runs
    watch.begin(2, 3)
    assert watch.said == [
        "run: 0 of 8 jobs, 0 s; now base",
        "run: 1 of 8 jobs, 1 min; about 1 min left; now clean 1 to 2 of 6",
    ]
    for passed, lines in ((29, 2), (1, 3), (0, 3)):
        watch.now += passed
        watch.remind()
        assert len(watch.said) == lines


def test_what_failed_is_named_and_a_retry_that_ends_well_is_not() -> None:
    watch = Watched(JOBS)
    watch.begin(2, 3)
    for job in (2, 3):
        watch.event("job_error", jobid=job, rule_name="clean", log=[f"logs/{job}.log"])
    watch.begin(3)
    watch.end(3, after=0)
    watch.failed()
    assert "1 failed" in watch.said[-1]
    assert "clean  logs/2.log" in watch.said[-1]
    assert "logs/3.log" not in watch.said[-1]
    watch.handle(
        logging.makeLogRecord({"msg": "Terminating processes on user request, this might"})
    )
    watch.failed()
    assert watch.said[-1] == "run: interrupted; the same command goes on from here."


def test_nothing_is_said_of_a_run_that_never_began_and_of_a_page_not_asked_for() -> None:
    quiet = Watched()
    quiet.begin(1)
    quiet.end(1, after=0)
    quiet.remind()
    job = SimpleNamespace(output=["results/other.html"])
    quiet.succeeded(SimpleNamespace(dag=SimpleNamespace(jobs=[job])), "page.html")
    assert quiet.said == []


@pytest.mark.parametrize("attack", ["badnet", "clean"])
def test_the_end_has_a_table_where_something_was_attacked(tmp_path: Path, attack: str) -> None:
    rows = [[attack, "none", 0, 0, "test", m, p, 100] for m, p in (("CA@1", 80.0), ("ASR@1", 7.0))]
    write_table(pd.DataFrame(rows, columns=COLUMNS), tmp_path / "table.csv")
    watch, page = Watched(), str(tmp_path / "page.html")
    job = SimpleNamespace(output=[page], params={"look": {}})
    watch.succeeded(SimpleNamespace(dag=SimpleNamespace(jobs=[job])), page)
    (text,) = watch.said
    assert f"Report: {page}" in text
    assert ("80.0 / 7.0" in text) == (attack == "badnet")
    assert "Never poisoned" not in text


def test_an_earlier_run_says_what_to_expect(tmp_path: Path) -> None:
    own = tmp_path / "seed0.tsv"
    assert expected_seconds("base", own) == USUAL["base"]
    assert expected_seconds("other", None) == 1
    for text, seconds in (("s\th:m:s\n4\t0:00:04\n", 4), ("cut o", USUAL["evaluate"])):
        own.write_text(text, "utf-8")
        assert expected_seconds("evaluate", own) == seconds


def test_durations() -> None:
    wanted = {
        0.4: "0 s", 59.4: "59 s", 59.9: "1 min", 250: "4 min 10 s", 605: "10 min",
        3599: "1 h 00 min", 3 * 3600 + 300: "3 h 05 min", 52 * 3600: "2 d 4 h",
    }  # fmt: skip
    assert {seconds: duration(seconds) for seconds in wanted} == wanted
