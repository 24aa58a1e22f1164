"""Freed memory stays with the process, and GPUs are counted by the environment."""

import platform
import sys

import pytest

from taclean.util.machine import visible_gpus
from tests.helpers import run

COUNT = """
import resource, sys
import torch
from taclean.util.machine import keep_freed
if sys.argv[1] == "keep":
    assert keep_freed()
torch.ones(2**25)  # 128 MiB, taken and given back
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    torch.ones(2**25)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    return int(run(sys.executable, "-c", COUNT, how).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's mallopt")
def test_freed_memory_is_used_again() -> None:
    assert faults("keep") < faults("leave") / 10


@pytest.mark.parametrize(
    ("named", "count"), [("0,2", 2), ("GPU-5ebe9f43", 1), ("", 0), ("-1", 0), ("1, 3,", 2)]
)
def test_the_environment_decides(monkeypatch, named, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == count
