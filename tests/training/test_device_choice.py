"""Which device a command gets, without a GPU: CUDA is made up."""

import os
import re
import tempfile
from types import SimpleNamespace

import pytest
import torch
import yaml

from taclean import cli
from taclean.clip.encode import autocast
from taclean.training import device as devices
from taclean.training.device import described, using
from taclean.training.loop import choose_kernels
from tests.helpers import ROOT, refused, snakemake


@pytest.fixture
def two_gpus(monkeypatch, tmp_path):
    """A machine with two GPUs, outside a scheduler; the list gets the current device."""
    current = []
    for name in (*devices.SCHEDULERS, "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name, value in {
        "is_available": lambda: True, "device_count": lambda: 2, "set_device": current.append,
        "get_device_name": lambda device: "NVIDIA A100", "is_bf16_supported": lambda *a, **b: True,
        "get_device_properties": lambda index: SimpleNamespace(uuid=f"GPU-{index}"),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    return current


def test_each_command_takes_a_gpu_of_its_own_and_the_third_waits(two_gpus, monkeypatch):
    waits, said = [], []
    with using("cuda") as first:
        second = using("auto")
        assert [first, second.__enter__()] == [torch.device("cuda", n) for n in (0, 1)] == two_gpus

        def wait(seconds):
            waits.append(seconds)
            if len(waits) == 2:
                second.__exit__(None, None, None)

        monkeypatch.setattr(devices.time, "sleep", wait)
        monkeypatch.setattr(devices, "say", said.append)
        with using("cuda") as third:
            assert third == torch.device("cuda", 1)
    assert len(waits) == len(said) == 2
    assert described(first, "bf16") == "cuda:0 NVIDIA A100, bf16"


def test_the_commands_of_an_allocation_share_its_gpus(two_gpus, monkeypatch):
    """Those of several jobs of Snakemake, or of torchrun."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with using("cuda") as one, using("cuda") as other:
        assert [one, other] == [torch.device("cuda", n) for n in (0, 1)]
    monkeypatch.setattr(devices.dist, "is_torchelastic_launched", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "2")
    refused(using("cuda").__enter__, "process 2 has no GPU of its own, 2 are there")
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with using("cuda") as one, using("cuda") as other:  # a scheduler gave it to this job
        assert one == other == torch.device("cuda", 0)


def test_a_gpu_that_is_not_there_is_one_line_with_the_likely_causes(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with using("auto") as device:
        assert device == torch.device("cpu")
    (tmp_path / "stage.json").write_text('{"stage": "scan/seed0"}')
    options = ["--model", "m", "--split", "s", "--out", "o", "--device", "cuda"]
    with pytest.raises(SystemExit) as ended:
        cli.main(["scan", "--config", str(tmp_path / "stage.json"), *options])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    for word in (f"no GPU on {os.uname().nodename}", "is built for", "driver", "partition", "'3'"):
        assert word in line


def test_jobs_get_the_device_that_they_ask_for(tmp_path):
    def devices_of(*options):
        files = [ROOT / "config/test/smoke.yaml"]
        said = snakemake(tmp_path, "--dry-run", "--printshellcmds", *options, files=files)
        lines = [line.split() for line in said.splitlines() if "-m taclean" in line]
        lines = [line for line in lines if "--device" in line]
        stages = [re.split("[/@]", line[line.index("--stage") + 1])[0] for line in lines]
        found = (line[line.index("--device") + 1] for line in lines)
        return dict(zip(stages, found, strict=True))

    plain = devices_of()
    assert {"base", "pretrain", "finetune", "evaluate"} <= set(plain)
    assert set(plain.values()) == {"cpu"}
    assert set(devices_of("--profile", ROOT / "profiles/local").values()) == {"cuda"}
    forms = ["base:gres=gpu", "pretrain:gres=gpu:4090:2", "finetune:gpu_model=a100"]
    own = devices_of("--set-resources", *forms)
    on_gpu = {stage for stage, found in own.items() if found == "cuda"}
    assert on_gpu == {"base", "pretrain", "finetune"}


def test_both_profiles_give_a_gpu_to_the_same_rules():
    files = [ROOT / f"profiles/{name}/config.yaml" for name in ("local", "slurm")]
    local, slurm = (yaml.safe_load(file.read_text("utf-8"))["set-resources"] for file in files)
    assert local.keys() == slurm.keys()
    assert {asked["gpu"] for asked in (*local.values(), *slurm.values())} == {1}


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
@pytest.mark.parametrize("exact", [True, False])
def test_precise_trainings_choose_their_kernels(exact):
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    choose_kernels(exact)
    assert torch.are_deterministic_algorithms_enabled() == cudnn.deterministic == exact
    assert cudnn.benchmark == cuda.mem_efficient_sdp_enabled() == cuda.cudnn_sdp_enabled() != exact
    autocast(torch.device("cuda"), "fp32" if exact else "bf16")
    assert cudnn.allow_tf32 != exact
