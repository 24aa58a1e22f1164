"""The device of a command: the CPU, or a GPU that no other command of this machine uses."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from filelock import FileLock, Timeout

from taclean.clip.encode import precision_on
from taclean.util.errors import UserError
from taclean.util.progress import say

SCHEDULERS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")  # a job of theirs has GPUs of its own
POLL = 5  # seconds between looks for a free GPU


@contextmanager
def using(name: str = "auto") -> Iterator[torch.device]:
    """Yield the device of this process, and hold its GPU until the block ends.

    'auto' takes a GPU where there is one. Within a scheduler's job a process takes the GPU of its
    number among the job's processes. Elsewhere it takes the first GPU that no command of the same
    user holds, and waits for one if there is none.

    Raises:
        UserError: 'cuda' was asked for and there is no GPU, or torchrun started more processes
            than there are GPUs.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        yield torch.device("cpu")
        return
    if not torch.cuda.is_available():
        raise _no_gpu()
    local = int(os.environ["LOCAL_RANK"]) if dist.is_torchelastic_launched() else 0
    if local >= (count := torch.cuda.device_count()):
        raise UserError(
            f"--nproc-per-node: process {local} has no GPU of its own, {count} are there; start as "
            "many processes"
        )
    with ExitStack() as held:
        scheduled = any(variable in os.environ for variable in SCHEDULERS)
        device = torch.device("cuda", local if scheduled else _free_gpu(held))
        torch.cuda.set_device(device)  # pinned memory and libraries use the current one
        yield device


def _no_gpu() -> UserError:
    build = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "for CPUs only"
    seen = len(list(Path("/dev").glob("nvidia[0-9]*")))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
    return UserError(
        f"--device cuda: torch finds no GPU on {os.uname().nodename}: torch {torch.__version__} is "
        f"built {build} (does the driver take it? nvidia-smi says), the node shows {seen} GPUs "
        f"(does its partition have some, and did the job ask for one?), CUDA_VISIBLE_DEVICES is "
        f"{visible!r}; correct that, or give --device cpu"
    )


def _free_gpu(held: ExitStack) -> int:
    """Return the index of a GPU whose lock `held` now has; wait where all are locked."""
    told = False
    while True:
        for index in range(torch.cuda.device_count()):
            uuid = torch.cuda.get_device_properties(index).uuid  # whatever its index elsewhere
            lock = Path(tempfile.gettempdir()) / f"taclean-{os.getuid()}-gpu-{uuid}.lock"
            try:
                held.enter_context(FileLock(lock, timeout=0).acquire())
            except Timeout:
                continue
            return index
        if not told:
            say("waiting for a GPU: other commands hold all of them; --device cpu does not wait")
            told = True
        time.sleep(POLL)


def described(device: torch.device, precision: str | None = None) -> str:
    """Return a device, a GPU's model and the precision computed in: "cuda:0 NVIDIA A100, bf16"."""
    card = f" {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    return f"{device}{card}, {precision_on(device, precision)}" if precision else f"{device}{card}"
