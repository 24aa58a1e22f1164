"""Defences that choose weights, prepare or finish: each against its formula, and after a kill."""

import os
import signal

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F

from taclean.clip import encode, models
from taclean.config.schema import Train
from taclean.defenses import invertune, make_defense
from taclean.losses import clip_loss, self_loss
from taclean.training.loader import Batch
from taclean.training.loop import train
from taclean.util.errors import StoppedError, UserError
from tests.helpers import TEXT, Dies

SETTINGS = Train(lr=1e-3, epochs=2, batch=16, warmup=3, checkpoint_seconds=1e-9)
FEW = {"probe_steps": 2, "steps": 3, "pictures": 8, "least": 0.0}  # of InverTune
NAMES = {"ft_sam": {"rho": 0.5}, "wise_ft": {"alpha": 0.3}, "linear_probe": {}, "abd": {"steps": 2}}
NAMES["invertune"] = FEW


@pytest.fixture(scope="module")
def texts(make_texts):
    return make_texts(epochs=2, samples=20)


@pytest.fixture
def prompts(small_pairs):
    """Six captions as the prompts of six classes."""
    return small_pairs.batch(np.arange(6))[1][:, None]


def batch_of(pairs, count: int = 12) -> Batch:
    return Batch(1, np.arange(count), *pairs.batch(np.arange(count)))


def embedded(model, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    return encode.encode_images(model, batch.images), encode.encode_tokens(model, batch.tokens)


def clip_of(model, batch: Batch) -> torch.Tensor:
    return clip_loss(*embedded(model, batch), model.logit_scale.exp())


def state_of(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(model, start) -> list[str]:
    return [name for name, x in model.state_dict().items() if not torch.equal(x, start[name])]


# ---- FT-SAM --------------------------------------------------------------------------------------


@pytest.mark.parametrize("adaptive", [True, False])
def test_ft_sam_has_the_gradient_at_the_top_of_the_step_up(tiny_name, small_pairs, adaptive):
    batch, rho = batch_of(small_pairs), 0.7
    own, plain = models.create(tiny_name, 0).train(), models.create(tiny_name, 0).train()
    start = state_of(own)
    got = make_defense("ft_sam", rho=rho, adaptive=adaptive).loss(own, batch)
    got["total"].backward()
    here = clip_of(plain, batch)
    here.backward()
    statistics = state_of(plain)
    moved = {n: w for n, w in plain.named_parameters() if n != "logit_scale"}
    size = {n: w.detach().abs() if adaptive else torch.tensor(1.0) for n, w in moved.items()}
    norm = sum(float((size[n] * w.grad).double().square().sum()) for n, w in moved.items()) ** 0.5
    with torch.no_grad():
        for name, weight in moved.items():
            weight += rho * size[name] ** 2 * weight.grad / norm
    plain.zero_grad()
    there = clip_of(plain, batch)
    there.backward()
    assert got["clip"].item() == pytest.approx(here.item(), rel=1e-5)
    assert got["total"].item() == pytest.approx(there.item(), rel=1e-4)
    assert abs(there.item() - here.item()) > 0.01
    for (name, weight), other in zip(own.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(weight.grad, other.grad, rtol=1e-3, atol=1e-5), name
    for name in changed(own, start):  # the statistics of one pass at the weights, nothing else
        assert "running" in name or "tracked" in name
        assert torch.equal(own.state_dict()[name], statistics[name])


# ---- WiSE-FT and the linear probe ----------------------------------------------------------------


def test_wise_ft_interpolates_with_the_victim(tiny_name, small_pairs, tmp_path):
    made = {}
    for name, given in (("ft", {}), ("wise_ft", {"alpha": 0.3}), ("wise_ft", {"alpha": 1.0})):
        model, folder = models.create(tiny_name, 0), tmp_path / f"{name}{given}"
        victim = state_of(model)
        scored = []
        train(
            model, small_pairs, make_defense(name, **given), SETTINGS, seed=0, folder=folder,
            config={}, validate=lambda m, s=scored: s.append(state_of(m)) or {},
        )  # fmt: skip
        made[given.get("alpha")] = state_of(model)
        assert changed(model, scored[-1]) == []  # what was scored last is what is kept
    tuned, between, whole = made[None], made[0.3], made[1.0]
    for name, value in tuned.items():
        assert torch.equal(whole[name], value)
        counts = "tracked" in name
        wanted = value if counts else (1 - 0.3) * victim[name] + 0.3 * value
        assert torch.allclose(between[name], wanted, atol=1e-6), name


@pytest.fixture(scope="module")
def vit(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("configs") / "hooks-vit.json"
    vision = '{"image_size": 32, "layers": 2, "width": 64, "patch_size": 8}'
    text = str(TEXT).replace("'", '"')
    path.write_text(f'{{"embed_dim": 16, "vision_cfg": {vision}, "text_cfg": {text}}}')
    open_clip.add_model_config(path)
    return path.stem


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_the_linear_probe_changes_its_map_alone(
    kind, optimizer, tiny_name, vit, small_pairs, tmp_path
):
    model = models.create(tiny_name if kind == "resnet" else vit, 0)
    start, modes = state_of(model), []

    class Seen(Dies):
        def loss(self, model, batch):
            modes.append([m.training for m in model.modules() if list(m.buffers(recurse=False))])
            return self.inner.loss(model, batch)

    settings = SETTINGS.model_copy(update={"optimizer": optimizer, "precision": "fp16"})
    train(
        model, small_pairs, Seen(make_defense("linear_probe"), 99), settings, seed=0,
        folder=tmp_path, config={}, validate=lambda m: {},
    )  # fmt: skip
    layer = "visual.attnpool.c_proj"
    wanted = [f"{layer}.weight", f"{layer}.bias"] if kind == "resnet" else ["visual.proj"]
    assert changed(model, start) == wanted
    assert len(modes) == 8
    assert all(mode == modes[0] for mode in modes)  # after a validation, too
    assert sum(modes[0]) <= 1  # the root has a buffer; BatchNorm keeps its statistics


# ---- ABD -----------------------------------------------------------------------------------------


def test_abd_moves_pictures_up_the_loss_and_aligns_them(tiny, small_pairs, texts):
    batch, eps, step = batch_of(small_pairs), 4 / 255, 2 / 255
    tiny.visual.attnpool.eval()
    modes = [part.training for part in tiny.modules()]
    objective = make_defense("abd", 0, texts, epsilon=4.0, step=2.0, steps=5, lambda_self=0.7)
    start = state_of(tiny)
    found = objective.adversarial(tiny, batch)
    assert [part.training for part in tiny.modules()] == modes
    assert changed(tiny, start) == []
    assert all(weight.grad is None for weight in tiny.parameters())
    pictures = batch.images.float() / 255
    assert (found - pictures).abs().max() <= eps + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    tiny.eval()
    moved, losses = pictures, []
    for _ in range(5):
        x = moved.clone().requires_grad_(True)
        images, captions = encode.encode_images(tiny, x), encode.encode_tokens(tiny, batch.tokens)
        loss = clip_loss(images, captions, tiny.logit_scale.exp())
        losses.append(loss.item())
        up = torch.autograd.grad(loss, x)[0].sign()
        moved = (pictures + (moved + step * up - pictures).clamp(-eps, eps)).clamp(0, 1)
    assert torch.allclose(found, moved, atol=1e-6)
    assert losses == sorted(losses)
    got = objective.loss(tiny, batch)
    images, captions = embedded(tiny, batch)
    variants = torch.from_numpy(texts["variants"][1, batch.index].astype(np.int64))
    others = encode.encode_images(tiny, moved), encode.encode_tokens(tiny, variants)
    scale = tiny.logit_scale.exp()
    wanted = clip_loss(images, captions, scale)
    wanted += 0.7 * self_loss(images, others[0], captions, others[1], scale)
    assert got["total"].item() == pytest.approx(wanted.item(), rel=1e-5)
    with torch.autocast("cpu", torch.bfloat16):  # whose cache may hold weights without a gradient
        total = objective.loss(tiny, batch)["total"]
    total.backward()
    assert all(weight.grad is not None for weight in tiny.parameters())


# ---- InverTune -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def backdoored(tiny_name, small_split):
    """A model for which a white patch in the corner means class 2, whatever the picture shows."""
    from taclean.data.split import Pairs

    pairs, model = Pairs.open(small_split), models.create(tiny_name, 0).train()
    pictures = pairs.batch(np.arange(64))[0]
    directions = torch.eye(6, 16)
    optimizer = torch.optim.Adam(model.visual.parameters(), 5e-3)
    triggered = pictures.clone()
    triggered[:, :, -8:, -8:] = 255
    goal = torch.cat([torch.arange(64) % 6, torch.full((64,), 2)])
    for _ in range(60):
        images = encode.encode_images(model, torch.cat([pictures, triggered]))
        optimizer.zero_grad()
        F.cross_entropy(20 * images @ directions.T, goal).backward()
        optimizer.step()
    return model.eval(), directions, triggered


@pytest.fixture
def heads(monkeypatch, backdoored):
    """The zero-shot head that the model was trained with."""
    monkeypatch.setattr(invertune, "head", lambda model, prompts: backdoored[1])


def stages(model, images) -> dict[str, torch.Tensor]:
    """The outputs of ResNet's stages by name."""
    visual, found = model.visual, {}
    x = visual.stem(encode.normalize(model, images))
    for name in ("layer1", "layer2", "layer3", "layer4"):
        x = found[f"visual.{name}"] = getattr(visual, name)(x)
    return found


def test_invertune_names_the_target_and_aligns_its_trigger(backdoored, heads, small_pairs, prompts):
    model, directions, triggered = backdoored
    with torch.no_grad():
        reached = (encode.encode_images(model, triggered) @ directions.T).argmax(1) == 2
    assert reached.float().mean() > 0.9
    start = state_of(model)
    objective = make_defense("invertune", 0, probe_steps=30, steps=150, pictures=32)
    objective.prepare(model, small_pairs, prompts)
    assert objective.failed == ""
    assert objective._target == 2
    mask, pattern = objective._trigger
    assert mask.mean() < 0.5  # from 1
    assert 0 <= min(mask.min(), pattern.min()) <= max(mask.max(), pattern.max()) <= 1
    assert len(objective._units) == 3
    batch = batch_of(small_pairs)
    got = objective.loss(model, batch)
    pictures = batch.images / 255
    outputs = stages(model, pictures), stages(model, invertune.put(objective._trigger, pictures))
    wanted = 0.0
    for name, unit in objective._units.items():
        assert 0 < unit.sum() < unit.numel() / 2
        clean, moved = (part[name].detach().mean(0)[unit] for part in outputs)
        wanted += float((clean - moved).norm() / clean.norm())
    assert got["align"].item() == pytest.approx(wanted, rel=1e-4)
    assert got["feature"].item() == pytest.approx(1e-4, rel=1e-2)
    assert changed(model, start) == []


def test_without_a_trigger_the_model_stays_as_it_is(
    backdoored, heads, small_pairs, prompts, tmp_path, monkeypatch
):
    model = backdoored[0]
    start = state_of(model)
    nothing = torch.zeros(2, 3, 32, 32)
    monkeypatch.setattr(invertune.InverTune, "_inverted", lambda *given: nothing)
    objective = make_defense("invertune", 0, probe_steps=2, steps=3)
    history = train(
        model, small_pairs, objective, SETTINGS, seed=0, folder=tmp_path, config={},
        validate=lambda m: {"CA@1": 1.0}, prompts=prompts,
    )  # fmt: skip
    assert "no inverted trigger leads 70 % of the pictures to one class" in objective.failed
    assert changed(model, start) == []
    assert history == [{"epoch": 0, "CA@1": 1.0}]


def test_a_tower_without_known_layers_is_refused(tiny, small_pairs):
    del tiny.visual.layer4
    with pytest.raises(UserError, match="does not know the layers of a ModifiedResNet"):
        make_defense("invertune").prepare(tiny, small_pairs, None)


def test_two_means_and_similarity():
    values = torch.tensor([0.1, 3.0, 0.2, 2.5, 0.3, 0.2])
    assert invertune.upper_cluster(values.view(2, 3)).tolist() == [
        [False, True, False], [True, False, False]
    ]  # fmt: skip
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert invertune.ssim(images, images).item() == pytest.approx(1, abs=1e-5)
    assert invertune.ssim(images, 1 - images) < 0
    assert invertune.ssim(images, images * 0.9) > 0.9


# ---- after a kill --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_run_goes_on_to_the_same_end(
    name, tiny_name, small_pairs, prompts, texts, tmp_path
):
    def run(folder, left=99, stop=0):
        model, scored = models.create(tiny_name, 0), []

        def validate(model):
            scored.append(0)
            if stop == len(scored):
                os.kill(os.getpid(), signal.SIGTERM)
            return {"norm": float(model.text_projection.detach().norm())}

        history = train(
            model, small_pairs, Dies(make_defense(name, 0, texts, **NAMES[name]), left), SETTINGS,
            seed=0, folder=folder, config={}, validate=validate, prompts=prompts,
        )  # fmt: skip
        return model, history

    whole, wanted = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", left=5)
    with pytest.raises(StoppedError):  # in the last validation, when `finish` is done
        run(tmp_path / "broken", stop=1)
    model, history = run(tmp_path / "broken")
    assert changed(model, whole.state_dict()) == []
    assert history == wanted
    assert len(changed(model, models.create(tiny_name, 0).state_dict())) > 1
