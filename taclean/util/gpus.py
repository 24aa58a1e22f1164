"""The GPUs of this machine, found without importing PyTorch."""

import os
from pathlib import Path


def visible_gpus() -> int:
    """Return how many NVIDIA GPUs CUDA_VISIBLE_DEVICES names, or else how many the machine has."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return len([gpu for gpu in named.split(",") if gpu.strip() not in ("", "-1")])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))
