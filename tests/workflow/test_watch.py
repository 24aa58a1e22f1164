"""Where a run is and how long it still takes, from Snakemake's events."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from taclean.results.table import COLUMNS, write_table
from workflow_scripts.watch import USUAL, Job, Watch, duration, expected_seconds


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def event(name: str, **fields: Any) -> logging.LogRecord:
    return logging.makeLogRecord({"event": name, **fields})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def said() -> list[str]:
    return []


JOBS = {0: Job("all", 1, 0), 1: Job("base", 2, 30)} | {n: Job("clean", 1, 10) for n in range(2, 8)}


@pytest.fixture
def watch(clock: Clock, said: list[str]) -> Watch:
    return Watch(JOBS, said.append, clock)


def test_time_left_follows_what_was_measured(watch: Watch, clock: Clock) -> None:
    assert watch.left(clock.now) is None
    watch.handle(event("job_started", jobs=[1]))
    clock.now += 30
    assert watch.left(clock.now) == 30  # six jobs of 10 s, two at a time
    clock.now += 30
    watch.handle(event("job_finished", job_id=1))
    assert watch.left(clock.now) == 60  # twice as slow as was known
    watch.handle(event("job_started", jobs=[2, 3]))
    clock.now += 10
    for job in (2, 3):
        watch.handle(event("job_finished", job_id=job))
    assert watch.left(clock.now) == 20  # these were not


def test_time_left_follows_what_a_running_training_logs(clock: Clock, tmp_path: Path) -> None:
    log = tmp_path / "base.log"
    watch = Watch(JOBS | {1: Job("base", 2, 30, str(log))}, clock=clock)
    watch.handle(event("job_started", jobs=[1]))
    clock.now += 10
    assert watch.left(clock.now) == 50  # 20 s of base, then six jobs of 10 s, two at a time
    log.write_text("base: 5/60 steps, about 900 s left\nbase: 10/60 steps, about 50 s left\n")
    assert watch.left(clock.now) == 50 + 60  # twice as slow as was known, also the rest


def test_what_is_over_at_once_tells_nothing_of_a_training(clock: Clock) -> None:
    jobs = {n: Job("gate", 1, 1) for n in range(8)}
    jobs |= {n: Job("finetune", 1, 30) for n in (8, 9)}
    watch = Watch(jobs, clock=clock)
    for job in range(8):
        watch.handle(event("job_started", jobs=[job]))
        clock.now += 0.01
        watch.handle(event("job_finished", job_id=job))
    watch.handle(event("job_started", jobs=[8, 9]))
    clock.now += 10
    assert watch.left(clock.now) == pytest.approx(20, rel=0.05)


def test_lines_say_which_jobs_of_which_rule(watch: Watch, clock: Clock, said: list[str]) -> None:
    watch.handle(event("job_started", jobs=[1]))
    clock.now += 60
    watch.handle(event("job_finished", job_id=1))
    watch.remind()  # nothing runs
    watch.handle(event("job_started", jobs=[2, 3]))
    assert said == [
        "run: 0 of 8 jobs, 0 s; now base",
        "run: 1 of 8 jobs, 1 min; about 1 min left; now clean 1 to 2 of 6",
    ]
    clock.now += 29
    watch.remind()
    assert len(said) == 2
    clock.now += 1
    watch.remind()
    assert len(said) == 3
    watch.remind()
    assert len(said) == 3


def test_what_failed_is_named_and_a_retry_that_ends_well_is_not(watch, said) -> None:
    watch.handle(event("job_started", jobs=[2, 3]))
    for job in (2, 3):
        watch.handle(event("job_error", jobid=job, rule_name="clean", log=[f"logs/{job}.log"]))
    watch.handle(event("job_started", jobs=[3]))
    watch.handle(event("job_finished", job_id=3))
    watch.failed()
    assert "1 failed" in said[-1]
    assert "clean  logs/2.log" in said[-1]
    assert "logs/3.log" not in said[-1]


def test_nothing_is_said_of_a_run_that_never_began_and_of_a_page_not_asked_for(said) -> None:
    quiet = Watch(say=said.append)
    quiet.handle(event("job_started", jobs=[1]))
    quiet.handle(event("job_finished", job_id=1))
    quiet.remind()
    job = SimpleNamespace(output=["results/other.html"])
    quiet.succeeded(SimpleNamespace(dag=SimpleNamespace(jobs=[job])), "page.html")
    assert said == []


@pytest.mark.parametrize("attack", ["badnet", "clean"])
def test_the_end_has_a_table_where_something_was_attacked(said, tmp_path, attack) -> None:
    rows = [[attack, "none", 0, 0, "test", m, p, 9] for m, p in (("CA@1", 80.0), ("ASR@1", 7.0))]
    write_table(pd.DataFrame(rows, columns=COLUMNS), tmp_path / "table.csv")
    page = str(tmp_path / "page.html")
    job = SimpleNamespace(output=[page], params={"look": {}})
    Watch(say=said.append).succeeded(SimpleNamespace(dag=SimpleNamespace(jobs=[job])), page)
    (text,) = said
    assert f"Report: {page}" in text
    assert ("80.0 / 7.0" in text) == (attack == "badnet")
    assert "Never poisoned" not in text


def test_an_earlier_run_says_what_to_expect(tmp_path: Path) -> None:
    own = tmp_path / "seed0.tsv"
    assert expected_seconds("base", own) == USUAL["base"]
    assert expected_seconds("other", None) == 1
    own.write_text("s\th:m:s\n4\t0:00:04\n", "utf-8")
    assert expected_seconds("evaluate", own) == 4
    own.write_text("cut o", "utf-8")
    assert expected_seconds("evaluate", own) == USUAL["evaluate"]


def test_durations() -> None:
    wanted = {
        0.4: "0 s", 59.4: "59 s", 59.9: "1 min", 250: "4 min 10 s", 605: "10 min",
        3599: "1 h 00 min", 3 * 3600 + 300: "3 h 05 min", 52 * 3600: "2 d 4 h",
    }  # fmt: skip
    assert {seconds: duration(seconds) for seconds in wanted} == wanted
