"""A killed run's locks are freed by the next run; a living one's never."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.helpers import ROOT, command, environment
from workflow_scripts import locks

HOLDER = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from workflow_scripts.locks import hold_locks
folder = Path(sys.argv[1])
own = {"output": str(folder / "locks/0.output.lock")}
hold_locks(SimpleNamespace(path=folder, _lockfile=own))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Snakemake's folder, with a lock file of the run to come and one of somebody else's."""
    (tmp_path / "locks").mkdir()
    for name in ("0.output.lock", "1.output.lock"):
        (tmp_path / "locks" / name).write_text("results/table.csv\n", "utf-8")
    return tmp_path


@pytest.fixture
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, that has noted the first as its own."""
    pipe, call = subprocess.PIPE, [sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(call, env=environment(), stdin=pipe, stdout=pipe, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.stdin.close()
    process.wait()
    process.stdout.close()


@pytest.fixture
def dead(holder: subprocess.Popen[str]) -> None:
    """The other process is killed."""
    holder.kill()
    holder.wait()


def held(folder: Path) -> set[str]:
    return {path.name for path in (folder / "locks").iterdir()}


def notes(folder: Path) -> list[Path]:
    return list(folder.glob(f"{locks.FOLDER}/*/run.json"))


def test_a_living_run_keeps_its_locks_and_a_dead_one_loses_its_own(folder, holder) -> None:
    locks.free_dead_locks(folder)
    assert held(folder) == {"0.output.lock", "1.output.lock"}
    holder.kill()
    holder.wait()
    locks.free_dead_locks(folder)
    assert held(folder) == {"1.output.lock"}
    assert not notes(folder)


def test_a_later_lock_of_the_same_name_is_not_the_dead_run_s(folder, dead) -> None:
    os.utime(folder / "locks/0.output.lock", (1, 1))
    locks.free_dead_locks(folder)
    assert held(folder) == {"0.output.lock", "1.output.lock"}


def test_a_run_of_another_machine_is_left_alone(folder, dead) -> None:
    (note,) = notes(folder)
    run = json.loads(note.read_text("utf-8"))
    note.write_text(json.dumps({**run, "machine": ["another", "boot"]}), "utf-8")
    locks.free_dead_locks(folder)
    assert held(folder) == {"0.output.lock", "1.output.lock"}
    # After a restart of this machine its name is the same.
    note.write_text(json.dumps({**run, "machine": [os.uname().nodename, "boot"]}), "utf-8")
    locks.free_dead_locks(folder)
    assert held(folder) == {"1.output.lock"}


def test_a_run_that_ends_leaves_no_note(folder, holder) -> None:
    holder.stdin.close()
    assert holder.wait() == 0
    assert not list((folder / locks.FOLDER).iterdir())


def test_without_file_locks_nothing_is_noted(folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(run: Path) -> None:
        raise NotImplementedError

    monkeypatch.setattr(locks, "locked", no_locks)
    locks.hold_locks(SimpleNamespace(path=folder, _lockfile={}))
    assert not notes(folder)


TARGET = "data/emoji/pretrain/ids.npy"


def call(folder: Path, rows: int, *options: str) -> dict[str, Any]:
    """Return the arguments of a packing of so many rows."""
    overlay = folder / f"{rows}.yaml"
    splits = f"{{pretrain: {{first: 10000000, rows: {rows}}}}}"
    overlay.write_text(f"data: {{emoji: {{splits: {splits}}}}}\n", "utf-8")
    args = command(folder, TARGET, *options, files=[ROOT / "config/test/smoke.yaml", overlay])
    return {"args": args, "env": environment() | {"CUDA_VISIBLE_DEVICES": "3,5"}, "cwd": ROOT}


def test_a_killed_run_goes_on_with_the_same_command(tmp_path: Path) -> None:
    def run(rows: int, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(**call(tmp_path, rows, *options), capture_output=True, text=True)

    long, silent = call(tmp_path, 500_000), subprocess.DEVNULL  # minutes, and 6 GB of the disk
    process = subprocess.Popen(**long, start_new_session=True, stdout=silent, stderr=silent)
    try:
        deadline = time.time() + 200
        while not notes(tmp_path / ".snakemake") and time.time() < deadline:
            time.sleep(0.1)
            assert process.poll() is None
        second = run(600)
        assert second.returncode != 0
        assert "Directory cannot be locked" in second.stdout + second.stderr
        assert "Traceback" not in second.stdout + second.stderr
        dry = run(600, "--dry-run")
        assert dry.returncode == 0, dry.stderr
        assert process.poll() is None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    again = run(600)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "run: 0 of 1 jobs" in again.stderr
    assert re.search(r"Provided resources: gpu=\D*2", again.stderr)  # of the machine
    assert (tmp_path / TARGET).exists()
    assert not list((tmp_path / ".snakemake/locks").glob("*"))
    assert not notes(tmp_path / ".snakemake")
