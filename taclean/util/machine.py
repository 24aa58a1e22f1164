"""The memory, the processor and the GPUs of this machine, without PyTorch."""

import ctypes
import os
import re
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of mallopt(3)


def keep_freed() -> bool:
    """Make the C library keep freed memory for the rest of the process; return whether it does.

    Every batch on a CPU frees its activations, and glibc's default gives large blocks back to the
    system at once: the next batch takes them again page by page, which costs a tenth of a
    training step and up to half of an evaluation. Other C libraries stay as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def processor() -> str:
    """Return the CPU's model; clouds may hide it, then with the numbers of family and model."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    found = dict(re.findall(r"^([\w ]+?)\s*:\s*(.*)$", text, re.M))
    name = found.get("model name", "CPU")
    if not re.search(r"\d", name) and "model" in found:
        name += f" family {found.get('cpu family')} model {found['model']}"
    return name


def visible_gpus() -> int:
    """Return how many NVIDIA GPUs CUDA_VISIBLE_DEVICES names, or else how many the machine has."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return len([gpu for gpu in named.split(",") if gpu.strip() not in ("", "-1")])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))
