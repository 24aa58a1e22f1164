"""What Slurm says about its jobs."""

from __future__ import annotations

import os
import subprocess
from datetime import datetime


def squeue(job: str, *options: str) -> str | None:
    """Return squeue's lines about a job: none where it has ended; None if squeue does not say."""
    try:
        done = subprocess.run(
            ["squeue", "--noheader", "--jobs", job, *options],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return "" if "Invalid job id" in done.stderr else None
    return done.stdout.strip()


def has_ended(job: str) -> bool:
    """Return whether a job has ended for sure; one that was requeued has ended before."""
    if job == os.environ.get("SLURM_JOB_ID"):
        return int(os.environ.get("SLURM_RESTART_COUNT", 0)) > 0
    return squeue(job, "--states", "PD,R,S,CG") == ""


def end_time() -> float | None:
    """Return when this process's job reaches its time limit, as time.time(); None without one."""
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return None
    try:
        return float(os.environ["SLURM_JOB_END_TIME"])
    except (KeyError, ValueError):  # an older Slurm
        pass
    try:
        return datetime.fromisoformat(squeue(job, "--format", "%e") or "").timestamp()
    except ValueError:  # no limit, or no answer
        return None
