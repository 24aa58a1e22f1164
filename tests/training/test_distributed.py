"""Two processes under torchrun (Gloo) train what one process trains; and end together."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from taclean import cli
from taclean import config as configs
from taclean.captions.artifacts import SubCaptionTexts, Variants
from taclean.clip import models
from taclean.data.split import Pairs
from taclean.stages import stage_config
from taclean.training.distributed import gather, together, world
from taclean.util.errors import UserError
from tests.helpers import ROOT, TEXT

VIT = {
    "embed_dim": 16, "text_cfg": TEXT,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 8},
}  # fmt: skip
# Every defence for a few steps, in float64: Adam makes whole steps of rounding where there is no
# gradient at all. The second epoch goes on from a checkpoint.
TRAIN = """
import os, sys
from pathlib import Path
import numpy as np
import torch
torch.set_num_threads(1)
torch.Tensor.float = torch.Tensor.double
from taclean.data import augment
from taclean.training import distributed
from taclean.clip import models
uniform = augment.uniform
augment.uniform = lambda *key: uniform(*key).double()
from taclean.config import registry
from taclean.data.split import Pairs
from taclean.defenses import make_defense
from taclean.captions.artifacts import SubCaptionTexts, Variants
from taclean.config.schema import Train
from taclean.training.loop import Training, train
from tests.helpers import Dies
models.library().add_model_config(os.environ["TINY"])
split, texts, out = map(Path, sys.argv[1:])
made = {"variants": Variants.read(texts), "subcaptions": SubCaptionTexts.read(texts)}
device, found = torch.device("cpu"), {}
own = {"lr": 1e-3, "epochs": 2, "batch": 4, "warmup": 1, "precision": "fp32"}
with distributed.processes(device):
    pairs = Pairs.open(split).take(np.arange(8))
    prompts = pairs.batch(np.arange(8))[1][:, None]
    for name in registry.names("defenses"):
        few = {"invertune": {"probe_steps": 1, "steps": 1, "least": 0}, "safeclip": {"warmup": 0}}
        settings = Train(**own, optimizer="muon" if name == "ft" else "adamw")
        objective = make_defense(name, 0, made, **few.get(name, {}))
        for left in (3, 9):
            model = models.create("test-vit", 0).double()
            try:
                dies = Dies(objective, left)
                training = Training(model, pairs, dies, settings, seed=0, prompts=prompts)
                is_training = lambda model: {"is": model.training}
                history = train(training, folder=out / name, config={}, validate=is_training)
            except KeyboardInterrupt:
                pass
        found[name] = {"model": model.state_dict(), "history": history}
    if distributed.rank() == 0:
        torch.save(found, out / "found.pt")
"""
# The command line, with the tiny model known to it. Before step STOP process 1 gets SIGTERM; from
# step NAN on the loss is not a number.
COMMAND = """
import os, signal, sys
import open_clip
import torch
from taclean import cli
from taclean.defenses import Defense
torch.set_num_threads(1)
open_clip.add_model_config(os.environ["TINY"])
inner, steps = Defense.loss, 0
def loss(self, model, batch):
    global steps
    steps += 1
    if steps == int(os.environ.get("STOP", 0)) and os.environ.get("RANK") == "1":
        os.kill(os.getpid(), signal.SIGTERM)
    bad = 0 < int(os.environ.get("NAN", 0)) <= steps
    return {k: v * float("nan" if bad else 1) for k, v in inner(self, model, batch).items()}
Defense.loss = loss
cli.main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def vit(tmp_path_factory) -> Path:
    """The config of `test-vit`, which has no BatchNorm."""
    path = tmp_path_factory.mktemp("configs") / "test-vit.json"
    path.write_text(json.dumps(VIT))
    return path


@pytest.fixture(scope="module")
def texts(tmp_path_factory, small_split, tokenize) -> Path:
    """Text artifacts of 8 rows: up to 5 rows per epoch with up to 2 negatives."""
    folder = tmp_path_factory.mktemp("texts")
    captions = Pairs.open(small_split).captions()[:8]
    for artifact in (Variants(), SubCaptionTexts(samples=5, negatives=2)):
        artifact.write(folder, captions, tokenize, epochs=2, seed=0)
    return folder


def launch(
    folder: Path, code: str, processes: int, *arguments: object, **variables: object
) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(code)
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    call = [sys.executable, *(torchrun if processes > 1 else []), script, *arguments]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    more = {key: str(value) for key, value in variables.items()}
    return subprocess.run(
        [str(part) for part in call], capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **more},
    )  # fmt: skip


def test_one_process_is_left_as_it_is():
    a, b = torch.rand(2, 3), torch.rand(2, 3)
    assert world() == 1
    assert gather(a, b) == (a, b)
    with pytest.raises(UserError, match="x"), together():
        raise UserError("x")


@pytest.mark.slow
def test_two_processes_train_what_one_trains(small_split, texts, vit, tmp_path):
    found = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        done = launch(folder, TRAIN, processes, small_split, texts, folder, TINY=vit)
        assert done.returncode == 0, done.stderr
        assert "FutureWarning" not in done.stderr
        found.append(torch.load(folder / "found.pt"))
        events = [json.loads(line) for line in (folder / "ft/train.jsonl").open()]
        assert [(e["event"], e["step"]) for e in events] == [
            ("started", 0), ("epoch", 2), ("resumed", 2), ("epoch", 4), ("finished", 4)
        ]  # fmt: skip
    one, two = found
    for name, wanted in one.items():
        got = two[name]
        assert list(got["model"]) == list(wanted["model"])
        for key, weight in wanted["model"].items():
            assert (got["model"][key] - weight).abs().max() < 1e-7, (name, key)
        for a, b in zip(got["history"], wanted["history"], strict=True):
            assert a == pytest.approx(b, rel=1e-7)
    assert one["taclean"]["history"][-1]["loss_sub"] > 0


@pytest.fixture(scope="module")
def stage(small_split, small_val, tmp_path_factory, vit) -> tuple[Path, list[object]]:
    """A folder, and the arguments of a short training on the small split but for its outputs."""
    folder = tmp_path_factory.mktemp("stage")
    whole = configs.load(ROOT / "config/config.yaml")
    value = stage_config(whole, "base") | {"model": "test-vit"}
    value["train"] = {
        "lr": 1e-4, "epochs": 2, "batch": 16, "warmup": 1, "precision": "fp32",
        "checkpoint_seconds": 1e-3,
    }  # fmt: skip
    (folder / "stage.json").write_text(json.dumps(value))
    options = ["--config", folder / "stage.json", "--data", small_split, "--val", small_val]
    return folder, ["train", *options, "--device", "cpu"]


def outputs(folder: Path) -> list[object]:
    paths = {"checkpoints": "", "out": "model.safetensors", "history": "history.csv"}
    return [part for key, name in paths.items() for part in (f"--{key}", folder / name)]


def ours(result: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines that taclean itself wrote to stderr."""
    return [line for line in result.stderr.splitlines() if line.startswith("taclean")]


@pytest.mark.slow
def test_sigterm_on_one_process_saves_and_ends_all_and_the_retry_goes_on(stage, vit, tmp_path):
    _, command = stage
    stopped = launch(tmp_path, COMMAND, 2, *command, *outputs(tmp_path), TINY=vit, STOP=3)
    assert stopped.returncode != 0
    (line,) = ours(stopped)
    assert "stopped by SIGTERM at step 3 of 8" in line
    assert not (tmp_path / "model.safetensors").exists()
    retry = launch(tmp_path, COMMAND, 2, *command, *outputs(tmp_path), TINY=vit)
    assert retry.returncode == 0, retry.stderr
    events = [json.loads(line) for line in (tmp_path / "train.jsonl").open()]
    assert [(e["event"], e["step"]) for e in events] == [
        ("started", 0), ("interrupted", 3), ("resumed", 3), ("epoch", 4), ("epoch", 8),
        ("finished", 8),
    ]  # fmt: skip
    alone = tmp_path / "alone"
    models.library().add_model_config(vit)
    cli.main([str(part) for part in [*command, *outputs(alone)]])
    histories = [list(csv.DictReader((f / "history.csv").open())) for f in (tmp_path, alone)]
    for got, wanted in zip(*histories, strict=True):
        assert got.keys() == wanted.keys()
        for key in ("epoch", "lr", "loss_total"):
            if wanted[key]:
                assert float(got[key]) == pytest.approx(float(wanted[key]), rel=1e-3)
    weights, reference = (load_file(f / "model.safetensors") for f in (tmp_path, alone))
    assert list(weights) == list(reference)
    assert not (tmp_path / "last.pt").exists()


# With NCCL, leaving the group waits for the other processes.
FAILS = """
import time
import torch
from taclean.training import distributed
distributed.dist.destroy_process_group = lambda: time.sleep(900)
with distributed.processes(torch.device("cpu")):
    if distributed.rank() == 0:
        raise ValueError("out of memory")
    time.sleep(900)
"""


def test_an_error_of_one_process_ends_the_others(tmp_path):
    started = time.monotonic()
    done = launch(tmp_path, FAILS, 2)
    assert done.returncode != 0
    assert "ValueError: out of memory" in done.stderr
    assert time.monotonic() - started < 600


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "variables", "message"),
    [
        ({}, {"NAN": 2}, "the loss is nan at step 1 of 8"),
        ({"train": {"batch": 15}}, {}, "train.batch: 15 pairs cannot be shared by 2 processes"),
        ({"model": "test-tiny"}, {}, "visual.bn1 is a BatchNorm2d, which several processes cannot"),
    ],
)
def test_a_mistake_ends_all_with_one_line(
    change, variables, message, stage, vit, tiny_config, tmp_path
):
    folder, command = stage
    value = json.loads((folder / "stage.json").read_text())
    value["model"] = change.get("model", value["model"])
    value["train"] |= change.get("train", {})
    (tmp_path / "stage.json").write_text(json.dumps(value))
    for file in (vit, tiny_config):
        (tmp_path / "models").mkdir(exist_ok=True)
        (tmp_path / "models" / file.name).write_text(file.read_text())
    command = [*command, "--config", tmp_path / "stage.json", *outputs(tmp_path)]
    done = launch(tmp_path, COMMAND, 2, *command, TINY=tmp_path / "models", **variables)
    assert done.returncode != 0
    (line,) = ours(done)
    assert message in line
    assert "Traceback" not in done.stderr.split("torch/distributed")[0]
