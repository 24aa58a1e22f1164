"""The chain through profiles/slurm, as it is, on the one-node Slurm of tests/slurm.sh."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml

from taclean.util.machine import visible_gpus
from tests.helpers import ROOT, environment, run

LIMIT = 3000  # seconds for one run, on a crowded machine
PRETRAIN = "rule_pretrain_wildcards_badnet_0"  # the plugin's comment of a job
# Enough epochs of poisoned training to be caught in the middle.
OVERLAY = """
run: {attacks: [badnet], defenses: [taclean]}
evaluate: {splits: [test]}
poison: {train: {epochs: 12}}
"""
# Set by tests/slurm.sh, which knows that the Slurm is its own: a real cluster gets no test jobs.
OURS = "TACLEAN_TEST_SLURM" in os.environ
needs_slurm = [
    pytest.mark.slurm,
    pytest.mark.skipif(not OURS, reason="no Slurm of tests/slurm.sh; see `make test-slurm`"),
]


def asked(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def jobs() -> list[dict[str, str]]:
    """Snakemake's jobs that Slurm remembers, oldest first, by the keys of `scontrol show job`."""
    lines = asked("scontrol", "show", "job", "--oneliner").splitlines()
    found = [dict(part.split("=", 1) for part in line.split() if "=" in part) for line in lines]
    return sorted((job for job in found if "Comment" in job), key=lambda job: int(job["JobId"]))


def on_the_cpu(folder: Path) -> dict[str, str]:
    """Return an environment whose `python` computes on the CPU: the node's GPU is /dev/null."""
    python = folder / "python"
    python.write_text(f'#!/bin/bash\nexec {sys.executable} "${{@/#cuda/cpu}}"\n', "utf-8")
    python.chmod(0o755)
    own = environment()
    return {**own, "PATH": f"{folder}:{own['PATH']}"}


def command(directory: Path, *options: str) -> list[str]:
    overlay, profile = directory.parent / "overlay.yaml", directory.parent / "profile"
    overlay.write_text(OVERLAY, "utf-8")
    profile.mkdir(exist_ok=True)
    # The profile as it is, but for numbers that a small node has.
    text = (ROOT / "profiles/slurm/config.yaml").read_text("utf-8")
    text = re.sub(r"mem_mb: \d+ \*", "mem_mb: 2000 *", text)
    text = re.sub(r"runtime: \d+ \*", "runtime: 30 *", text)
    (profile / "config.yaml").write_text(text, "utf-8")
    return [
        *("snakemake", "--directory", str(directory), "--profile", str(profile), *options),
        *("--configfile", "config/test/smoke.yaml", str(overlay)),
    ]


@contextmanager
def running(directory: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Snakemake as on a cluster, quicker to look. SIGINT makes it cancel its jobs, SIGTERM not."""
    quick = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2"]
    quick += ["--max-threads", "1"]
    log = directory.parent / f"{directory.name}.log"
    with log.open("wb") as file:
        limited = ["timeout", "-s", "INT", "-k", "10", str(LIMIT)]
        process = subprocess.Popen(
            [*limited, *command(directory, "results/table.csv", *quick, *options)],
            env=on_the_cpu(directory.parent), cwd=ROOT, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield process
        assert process.wait() == 0, log.read_text("utf-8")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the small chain has run, unbroken."""
    folder = tmp_path_factory.mktemp("slurm") / "run"
    folder.mkdir()
    with running(folder):
        pass
    return folder


class TestOnSlurm:
    pytestmark = needs_slurm

    def test_jobs_get_gpu_partition_memory_and_time(self, done: Path) -> None:
        table = pd.read_csv(done / "results/table.csv")
        assert set(table.attack) == {"badnet", "clean"}
        assert set(table.defense) == {"none", "taclean"}
        seen = {job["Comment"]: job for job in jobs()}
        training = seen[PRETRAIN]
        assert training["JobState"] == "COMPLETED"
        assert training["Partition"] == "gpu"
        assert training["TresPerJob"] == "gres/gpu:1"
        assert training["TimeLimit"] == "00:30:00"
        assert training["MinMemoryNode"] == "2000M"
        for name, job in seen.items():
            rule = re.match("rule_([a-z]+)", name)[1]
            on_gpu = rule in ("base", "pretrain", "finetune", "evaluate")
            assert job["Partition"] == ("gpu" if on_gpu else "cpu")
            assert ("TresPerJob" in job) == on_gpu
            assert rule not in ("stage", "gate", "table", "plot")  # these are local

    def test_a_cancelled_training_goes_on_and_ends_the_same(self, done: Path) -> None:
        folder = done.with_name("broken")
        shutil.copytree(done, folder)
        checkpoints = folder / "checkpoints/pretrain/badnet/seed0"
        (checkpoints / "train.jsonl").unlink()
        before = {job["JobId"] for job in jobs()}

        def is_new(job: dict[str, str]) -> bool:
            return job["Comment"] == PRETRAIN and job["JobId"] not in before

        with running(folder, "--forcerun", "pretrain") as process:
            while not (checkpoints / "last.pt").exists() and process.poll() is None:
                time.sleep(0.05)
            own = [job for job in jobs() if is_new(job)]
            assert [job["JobState"] for job in own] == ["RUNNING"]
            time.sleep(0.5)  # into the next epoch
            asked("scancel", own[0]["JobId"])
        own = [job for job in jobs() if is_new(job)]
        assert [job["JobState"] for job in own] == ["CANCELLED", "COMPLETED"]
        assert [job["TimeLimit"] for job in own] == ["00:30:00", "00:45:00"]
        assert [job["MinMemoryNode"] for job in own] == ["2000M", "3000M"]
        lines = (checkpoints / "train.jsonl").read_text("utf-8").splitlines()
        events = [(event["event"], event["step"]) for event in map(json.loads, lines)]
        # scancel sends SIGTERM to every process of the job: the training saved where it was.
        told = [(name, step) for name, step in events if name in ("interrupted", "resumed")]
        assert [name for name, _ in told] == ["interrupted", "resumed"]
        assert told[0][1] == told[1][1] > 0
        for name in ("results/table.csv", "results/runs/badnet/none/seed0/model.safetensors"):
            assert (folder / name).read_bytes() == (done / name).read_bytes()


def test_a_dry_run_through_the_profile_needs_no_slurm(tmp_path: Path) -> None:
    pytest.importorskip("snakemake_executor_plugin_slurm")
    done = run(*command(tmp_path / "run", "--dry-run"))
    text = done.stdout + done.stderr
    asked_for = re.search(r"rule pretrain:.*?resources: ([^\n]*)", text, re.S)[1].split(", ")
    assert {"gpu=1", "nodes=1", "runtime=30", "mem_mb=2000"} <= set(asked_for)
    assert "slurm_partition=gpu" in asked_for


# A rule with the prefix of ours, and two seconds to the margin before its job's time limit.
STEP = """
{prefix}
rule training:
    output: "out"
    shell: "SLURM_JOB_ID=1 SLURM_JOB_END_TIME=$(($(date +%s) + 122)) python {script} 2>&1 | tee log"
"""
TRAINING = """
import time
from taclean.training.signals import Stop
with Stop().listening() as stop:
    print("started", flush=True)
    while not stop.asked:
        time.sleep(0.05)
raise SystemExit(f"stopped by {stop.why}")
"""


def test_a_training_leaves_in_time_where_the_job_step_alone_gets_the_signal(tmp_path: Path) -> None:
    """As with Slurm's default, proctrack/cgroup; snakemake then waits for the training."""
    script, log = tmp_path / "script.py", tmp_path / "log"
    script.write_text(TRAINING, "utf-8")
    (prefix,) = re.findall("^shell.prefix.*$", (ROOT / "rules/common.smk").read_text(), re.M)
    (tmp_path / "Snakefile").write_text(STEP.format(prefix=prefix, script=script), "utf-8")
    call = ["snakemake", "--cores", "1", "--directory", tmp_path, "-s", tmp_path / "Snakefile"]
    with subprocess.Popen(call, env=environment(), stderr=subprocess.DEVNULL) as step:
        while not (log.exists() and log.read_text()) and step.poll() is None:
            time.sleep(0.05)
        step.terminate()
    assert step.returncode != 0
    assert log.read_text() == "started\nstopped by the end of its job's time\n"


def test_all_gpus_of_a_job_are_on_one_node() -> None:
    submit = pytest.importorskip("snakemake_executor_plugin_slurm.submit_string")
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text("utf-8"))
    asked = {**profile["default-resources"], "gpu": 4, "mem_mb": 192000, "runtime": 720}
    resources = type("Resources", (dict,), {"__getattr__": dict.get})(asked)
    keys = "run_uuid slurm_logfile comment_str account partition workdir".split()
    job = SimpleNamespace(resources=resources, threads=8)
    assert "--nodes=1" in submit.get_submit_command(job, dict.fromkeys(keys, "x")).split()


def test_the_gpus_of_the_machine_that_submits_limit_no_cluster(tmp_path: Path) -> None:
    def asked_for(*options: str) -> str:
        call = ["snakemake", "--dry-run", *options, "--set-resources", "pretrain:gpu=4"]
        call += ["--directory", tmp_path, "--configfile", "config/test/smoke.yaml", "--"]
        said = run(*call, "results/runs/badnet/none/seed0/model.safetensors").stdout
        return re.search(r"rule pretrain:.*?resources: .*?(gpu=\d)", said, re.S)[1]

    assert asked_for("--jobs", "8") == "gpu=4"
    assert asked_for("--cores", "8") == f"gpu={min(4, max(1, visible_gpus()))}"
