"""Training steps on a CUDA device that is not there: no mix of devices, and nobody waits for it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from taclean.config import registry
from tests.helpers import environment

HERE = Path(__file__).parent / "fake_gpu"
START = "import sys; from tests.training.fake_gpu import steps; steps.main(sys.argv[1])"


@pytest.fixture(scope="module")
def guard(tmp_path_factory) -> Path:
    """guard.cpp, compiled; skips where there is no compiler or torch has another C++ interface."""
    if shutil.which("g++") is None or torch.cuda.is_available():
        pytest.skip("no g++, or a GPU")
    built = tmp_path_factory.mktemp("guard") / "guard.so"
    lib = Path(torch.__file__).parent / "lib"
    options = ["-std=c++20", "-O0", "-shared", "-fPIC", f"-I{lib.parent}/include"]
    libraries = [f"-L{lib}", f"-Wl,-rpath,{lib}", "-ltorch_cpu", "-lc10"]
    call = ["g++", *options, HERE / "guard.cpp", "-o", built, *libraries]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"guard.cpp does not fit this torch: {done.stderr[:300]}")
    return built


def test_no_step_mixes_devices_or_waits_for_one(guard, tiny_config):
    # torch asks once, while it is imported, whether there is a device
    values = environment() | {"LD_PRELOAD": str(guard)}
    call = [sys.executable, "-c", START, tiny_config]
    done = subprocess.run(call, capture_output=True, text=True, check=False, env=values)
    assert done.returncode == 0, done.stderr[-3000:]
    (copy, mix), found = json.loads(done.stdout.splitlines()[-1])
    assert copy.startswith("copy to cuda")  # the two known faults are found
    assert "device" in mix
    assert found.keys() == {"None", *registry.names("defenses"), "muon bf16", "muon fp16"}
    assert {name: waits for name, waits in found.items() if waits} == {}
