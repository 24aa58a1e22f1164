"""Freed memory stays with the process, and garbage is looked for less often."""

from __future__ import annotations

import gc
import platform
import subprocess
import sys

import pytest

from taclean.util.memory import collect_rarely

COUNT = """
import resource, sys
import torch
from taclean.util.memory import keep_freed
if sys.argv[1] == "keep":
    assert keep_freed()
torch.ones(2**25)  # 128 MiB, taken and given back
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    torch.ones(2**25)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    command = [sys.executable, "-c", COUNT, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's mallopt")
def test_freed_memory_is_used_again() -> None:
    assert faults("keep") < faults("leave") / 10


def test_a_few_thousand_objects_are_no_reason_to_look_for_garbage() -> None:
    before, looks = gc.get_threshold(), []

    def made() -> int:
        looks.clear()
        kept = [[] for _ in range(30_000)]
        return len(looks) * bool(kept)

    def look(phase: str, _: dict[str, int]) -> None:
        looks.append(phase)

    gc.callbacks.append(look)
    try:
        gc.set_threshold(700)
        assert made() > 0
        collect_rarely()
        gc.collect()
        assert made() == 0
    finally:
        gc.callbacks.remove(look)
        gc.set_threshold(*before)
