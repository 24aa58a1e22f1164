"""What the CPU and a GPU must agree on; without a CUDA device, the CPU with itself."""

import numpy as np
import pytest
import torch

from benchmarks.reference import random_fit
from taclean.attacks import attack, make_trigger
from taclean.attacks.badnet import BadNet
from taclean.attacks.fitting import optimise_patch
from taclean.attacks.material import FitSettings
from taclean.clip import encode, models
from taclean.config.schema import Train
from taclean.defenses import make_defense
from taclean.evaluation.evaluate import score
from taclean.evaluation.zeroshot import Prompts
from taclean.training.loop import Batch, Training, train
from tests.helpers import TRIGGERS, Dies

pytestmark = pytest.mark.gpu
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DEFENSES = ["ft", "cleanclip", "taclean"]
SETTINGS = Train(lr=1e-3, epochs=4, batch=16, warmup=3, checkpoint_seconds=1e-9)


@pytest.mark.parametrize("name", DEFENSES)
def test_losses_and_gradients_agree(name, split, small_pairs, tiny_name, texts):
    found = []
    for device in ("cpu", DEVICE):
        model = models.create(tiny_name, 0).train().to(device)
        images, tokens = small_pairs.batch(index := np.arange(32))
        batch = Batch(1, index, images.to(device), tokens, (index,))
        parts = make_defense(name, 0, texts).loss(model, batch)
        parts["total"].backward()
        gradient = model.text_projection.grad
        assert gradient is not None
        found.append(({k: v.item() for k, v in parts.items()}, gradient.cpu()))
    (cpu, on_cpu), (gpu, on_gpu) = found
    assert gpu == pytest.approx(cpu, rel=1e-3)
    assert torch.nn.functional.cosine_similarity(on_cpu.flatten(), on_gpu.flatten(), 0) > 0.999


@pytest.mark.parametrize(("name", "parameters"), TRIGGERS, ids=str)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
def test_triggers_agree_and_stay_on_the_device(name, parameters, dtype, pairs):
    size = {"size": 16 * 64 / 224} if name in ("trojvqa", "badclip") else {}
    trigger = make_trigger(name, 3, random_fit(attack(name)(**size)), **parameters)
    images = pairs.batch(np.arange(6))[0]
    images = images if dtype == torch.uint8 else images.float() / 255
    ids = torch.arange(6)
    wanted, got = trigger(images, ids), trigger(images.to(DEVICE), ids.to(DEVICE))
    assert got.device.type == DEVICE
    assert got.dtype == dtype
    step = 1 if dtype == torch.uint8 else 1e-3
    assert (got.cpu().float() - wanted.float()).abs().max() <= step


def test_scores_agree(pairs, random_model):
    prompts = Prompts("emoji-rn", ["banana", "apple", "key"], ["a {}."], "banana")
    few = pairs.take(np.arange(3))
    triggers = {"badnet": make_trigger("badnet"), "blended": make_trigger("blended")}
    model = models.create("emoji-rn", 0).eval()
    wanted = score(few, prompts.heads(model), triggers)
    model.to(DEVICE)
    got = score(few, prompts.heads(model), triggers)
    assert {k: v.keys() for k, v in got.items()} == {k: v.keys() for k, v in wanted.items()}
    images = pairs.batch(np.arange(8))[0]
    on_gpu = encode.encode_images(model, images)
    assert on_gpu.device.type == DEVICE
    assert (on_gpu.cpu() * encode.encode_images(random_model, images)).sum(1).min() > 0.999


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("name", DEFENSES)
def test_training_learns_and_goes_on_from_a_checkpoint(
    name, precision, tiny_name, small_pairs, texts, tmp_path
):
    """In fp32 with kernels that sum in the same order, it goes on to the very same result."""
    if (precision, DEVICE) == ("fp16", "cpu") and name != "ft":
        pytest.skip("no training takes fp16 on a CPU by itself, and it is slow there")
    exact = precision == "fp32"
    more = {"precision": precision, "deterministic": exact}
    more["optimizer"] = "muon" if name == "ft" else "adamw"
    settings = SETTINGS.model_copy(update=more)

    def run(folder, left):
        model = models.create(tiny_name, 0)
        objective = Dies(make_defense(name, 0, texts), left)
        training = Training(model, small_pairs, objective, settings, seed=0, device=DEVICE)
        return model, train(training, folder=folder, config={})

    _, wanted = run(tmp_path / "whole", 99)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", 9)
    model, history = run(tmp_path / "broken", 99)
    assert next(model.parameters()).device.type == DEVICE
    assert [record["epoch"] for record in history] == [1, 2, 3, 4]
    for got, other in zip(history, wanted, strict=True):
        assert got == (other if exact else pytest.approx(other, rel=2e-2))
    assert history[-1]["loss_total"] < history[0]["loss_total"]


def test_a_loss_that_is_no_number_is_seen_within_the_epoch(tiny_name, small_pairs, tmp_path):
    class Bad(Dies):
        def loss(self, model, batch):
            return {"total": self.inner.loss(model, batch)["total"] * float("nan")}

    model, bad = models.create(tiny_name, 0), Bad(make_defense("ft", 0), 99)
    training = Training(model, small_pairs, bad, SETTINGS, seed=0, device=DEVICE)
    with pytest.raises(Exception, match="the loss is nan"):
        train(training, folder=tmp_path, config={})


def test_a_patch_is_optimised_on_the_device(small_pairs, tiny_name):
    model = models.create(tiny_name, 0).eval().to(DEVICE)
    patch = optimise_patch(
        model, small_pairs, lambda embedded, index: embedded[:, 0].mean(),
        FitSettings(lr=0.05, epochs=1, batch=16), BadNet(size=42), seed=0, augment=True,
        say=lambda line: None,
    )  # fmt: skip
    assert patch.device.type == "cpu"
    assert patch.shape == (3, 6, 6)
