"""Training steps on a CUDA device that is not there: no mix of devices, and nobody waits for it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers import environment

HERE = Path(__file__).parent / "fake_gpu"
# torch asks once whether there is a device; the guard has to be there before the package is.
START = """
import ctypes, sys, torch
ctypes.CDLL(sys.argv[1])
from tests.training.fake_gpu import steps
steps.main(sys.argv[2])
"""


@pytest.fixture(scope="module")
def guard(tmp_path_factory) -> Path:
    """guard.cpp, compiled; skips where there is no compiler or torch has another C++ interface."""
    if shutil.which("g++") is None or torch.cuda.is_available():
        pytest.skip("no g++, or a GPU")
    built = tmp_path_factory.mktemp("guard") / "guard.so"
    lib = Path(torch.__file__).parent / "lib"
    options = ["-std=c++20", "-O0", "-shared", "-fPIC", f"-I{lib.parent}/include"]
    libraries = [f"-L{lib}", "-ltorch_cpu", "-lc10"]
    call = ["g++", *options, HERE / "guard.cpp", "-o", built, *libraries]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"guard.cpp does not fit this torch: {done.stderr[:300]}")
    return built


def test_no_step_mixes_devices_or_waits_for_one(guard, tiny_config):
    call = [sys.executable, "-c", START, guard, tiny_config]
    done = subprocess.run(call, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == {"none", "ft", "cleanclip", "taclean", "par"}
    assert {name: waits for name, waits in found.items() if waits} == {}
