"""Answers of Slurm about its jobs."""

import os
import subprocess
from datetime import datetime


def squeue(job: str, *options: str) -> str | None:
    """Return squeue's lines about a job: "" where it has ended; None where squeue fails."""
    call = ["squeue", "--noheader", "--jobs", job, *options]
    try:
        done = subprocess.run(call, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if "Invalid job id" in done.stderr:
        return ""
    return None if done.returncode else done.stdout.strip()


def has_ended(job: str) -> bool:
    """Return whether a job has surely ended; of this process's own, whether it was requeued."""
    if job == os.environ.get("SLURM_JOB_ID"):  # Snakemake's plugin may drop the variable
        restarts = os.environ.get("SLURM_RESTART_COUNT") or squeue(job, "-O", "RestartCnt")
        return (restarts or "0") != "0"
    return squeue(job, "--states", "PD,R,S,CG") == ""


def end_time() -> float | None:
    """Return when this process's job reaches its time limit, as time.time(); None without one."""
    job, told = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_JOB_END_TIME")
    if not job:
        return None
    try:  # an older Slurm does not set it
        return float(told or datetime.fromisoformat(squeue(job, "-o", "%e") or "").timestamp())
    except ValueError:  # no limit, or no answer
        return None
