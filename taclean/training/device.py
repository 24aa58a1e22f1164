"""The device of a command: the CPU, or a GPU that no other command of this machine uses."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import torch
import torch.distributed as dist
from filelock import FileLock, Timeout

from taclean.clip.encode import precision_on
from taclean.util.errors import UserError
from taclean.util.machine import processor
from taclean.util.progress import say

SCHEDULERS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")  # no other job has the GPUs of theirs
POLL = 10  # seconds between looks for a free GPU


@contextmanager
def using(name: str = "auto") -> Iterator[torch.device]:
    """Yield the device of this process, and hold its GPU until the block ends.

    'auto' takes a GPU where there is one: the first that no other command of the same user holds;
    it waits where all are held. In a scheduler's job with one GPU, no other command can hold it. A
    UserError says that there is no GPU, or that there are fewer GPUs than processes.
    """
    found = torch.cuda.is_available()
    if name == "cpu" or (name == "auto" and not found):
        yield torch.device("cpu")
        return
    if not found:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
        text = f"torch {torch.__version__} finds no GPU on {os.uname().nodename}; it is built for "
        text += f"CUDA {torch.version.cuda} (too new for the driver? see nvidia-smi), "
        text += f"CUDA_VISIBLE_DEVICES is {visible!r}, or the job's partition has no GPUs"
        raise UserError(f"--device cuda: {text}; correct that, or give --device cpu")
    local = int(os.environ["LOCAL_RANK"]) if dist.is_torchelastic_launched() else 0
    if local >= (count := torch.cuda.device_count()):
        text = f"process {local} has no GPU of its own, {count} are there"
        raise UserError(f"--nproc-per-node: {text}; start {count} processes at most")
    with ExitStack() as held:
        alone = count == 1 and any(variable in os.environ for variable in SCHEDULERS)
        device = torch.device("cuda", 0 if alone else _free_gpu(held))
        torch.cuda.set_device(device)  # pinned memory and libraries use the current one
        yield device


def _free_gpu(held: ExitStack) -> int:
    """Return the index of a GPU whose lock `held` now has; wait where all are locked."""
    known = [torch.cuda.get_device_properties(i).uuid for i in range(torch.cuda.device_count())]
    files = [f"{tempfile.gettempdir()}/taclean-{os.getuid()}-gpu-{uuid}.lock" for uuid in known]
    while True:
        for index, file in enumerate(files):
            with suppress(Timeout):
                held.enter_context(FileLock(file, timeout=0).acquire())
                return index
        say("waiting for a GPU: other commands hold all of them; --device cpu does not wait")
        time.sleep(POLL)


def described(device: torch.device, precision: str | None = None) -> str:
    """Return a device, its model and the precision computed in: "cuda:0 NVIDIA A100, bf16"."""
    model = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    name = f"{device} {model}"
    return f"{name}, {precision_on(device, precision)}" if precision else name
