"""Defences with hooks or from random weights: each against its formula, and after a kill."""

import os
import signal
from pathlib import Path
from textwrap import indent

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from taclean.clip import models
from taclean.clip.encode import encode_images, encode_tokens, normalize
from taclean.config import read_yaml
from taclean.config.schema import Train
from taclean.data.augment import mild
from taclean.data.split import Pairs
from taclean.defenses import Defense, invertune, make_defense, safeclip
from taclean.defenses.roclip import changed_captions
from taclean.losses import clip_loss, info_nce, self_loss
from taclean.training.loader import Batch
from taclean.training.loop import Training, train
from taclean.util.errors import StoppedError, UserError
from tests.helpers import Dies

BAD = read_yaml(Path(__file__).with_name("bad_hooks.yaml"))
SETTINGS = Train(lr=1e-3, epochs=2, batch=16, warmup=3, checkpoint_seconds=1e-9)
FEW = {"probe_steps": 2, "steps": 3, "pictures": 8, "least": 0.0}
DEFENSES = {
    "ft_sam": {"rho": 0.5}, "wise_ft": {"alpha": 0.3}, "linear_probe": {}, "abd": {"steps": 2},
    "invertune": FEW,
    "roclip": {"every": 1, "pool": 0.5}, "safeclip": {"warmup": 0, "low": 1.0, "pool": 20},
}  # fmt: skip


@pytest.fixture
def prompts(small_pairs):
    """Six captions as the prompts of six classes."""
    return small_pairs.batch(np.arange(6))[1][:, None]


def batch_of(pairs) -> Batch:
    return next(batches(pairs, (1, 0)))


def clip_of(model, images, tokens) -> torch.Tensor:
    embedded = encode_images(model, images), encode_tokens(model, tokens)
    return clip_loss(*embedded, model.logit_scale.exp())


def state_of(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(model, start) -> list[str]:
    return [name for name, x in model.state_dict().items() if not torch.equal(x, start[name])]


@pytest.fixture
def go(small_pairs, prompts, tmp_path):
    """Return a function that trains by an objective, in a folder of `tmp_path`."""

    def call(model, objective, folder="one", validate=lambda model: {}, **more):
        settings = SETTINGS.model_copy(update=more)
        training = Training(model, small_pairs, objective, settings, seed=0, prompts=prompts)
        return train(training, folder=tmp_path / folder, config={}, validate=validate)

    return call


@pytest.mark.parametrize(("code", "says"), BAD.values(), ids=BAD)
def test_a_hook_that_goes_wrong_is_named(code, says, tiny_name, go):
    own = "class Bad(Defense):\n" + indent(code, "    ")
    exec(own, names := {"Defense": Defense, "torch": torch})
    with pytest.raises(UserError, match=f"^Bad.{says}"):
        go(models.create(tiny_name, 0), names["Bad"]())


def test_what_changes_nothing_is_told(tiny_name, go, caplog):
    class Idle(Defense):
        def loss(self, model, batch):
            with torch.no_grad():
                texts = encode_tokens(model, batch.tokens)
            return {"total": clip_loss(encode_images(model, batch.images), texts, 10.0)}

        def finish(self, model):
            torch.mul(model.text_projection, 2)

    with caplog.at_level("INFO", "taclean"):
        go(models.create(tiny_name, 0), Idle())
    told = [line for line in caplog.messages if "no gradient" in line or "no weight" in line]
    assert len(told) == 2
    assert "such as positional_embedding; use them in the loss" in told[0]
    assert told[1].startswith("Idle.finish: it changes no weight")


@pytest.mark.parametrize("adaptive", [True, False])
def test_ft_sam_has_the_gradient_at_the_top_of_the_step_up(tiny_name, small_pairs, adaptive):
    own, plain = (models.create(tiny_name, 0).train() for _ in range(2))
    batch, start = batch_of(small_pairs), state_of(own)
    got = make_defense("ft_sam", rho=0.7, adaptive=adaptive).loss(own, batch)
    got["total"].backward()
    here = clip_of(plain, batch.images, batch.tokens)
    weights = [weight for name, weight in plain.named_parameters() if name != "logit_scale"]
    up = torch.autograd.grad(here, weights)
    statistics = state_of(plain)
    with torch.no_grad():
        size = [weight.abs() if adaptive else 1.0 for weight in weights]
        scaled = [(s * g).double() for s, g in zip(size, up, strict=True)]
        norm = sum(float(part.square().sum()) for part in scaled) ** 0.5
        for weight, s, part in zip(weights, size, scaled, strict=True):
            weight += 0.7 * s * part.float() / norm
    there = clip_of(plain, batch.images, batch.tokens)
    there.backward()
    assert got["total"].item() == pytest.approx(there.item(), rel=1e-4)
    assert abs(there.item() - here.item()) > 0.01
    for (name, weight), other in zip(own.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(weight.grad, other.grad, rtol=1e-3, atol=1e-5), name
    for name in changed(own, start):  # the statistics of one pass at the weights, nothing else
        assert "running" in name or "tracked" in name
        assert torch.equal(own.state_dict()[name], statistics[name])


def test_wise_ft_interpolates_with_the_victim(tiny_name, go):
    victim, made = state_of(models.create(tiny_name, 0)), []
    for name, given in (("ft", {}), ("wise_ft", {"alpha": 1.0}), ("wise_ft", {"alpha": 0.3})):
        model, scored = models.create(tiny_name, 0), []
        objective = make_defense(name, **given)
        go(model, objective, f"{given}", lambda m, s=scored: s.append(state_of(m)) or {})
        assert changed(model, scored[-1]) == []  # what was scored last is what is kept
        made.append(state_of(model))
    for name, tuned in made[0].items():
        assert torch.equal(made[1][name], tuned)
        wanted = tuned if "tracked" in name else 0.7 * victim[name] + 0.3 * tuned
        assert torch.allclose(made[2][name], wanted, atol=1e-6), name


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_the_linear_probe_changes_its_map_alone(kind, optimizer, tiny_name, go):
    model = models.create(tiny_name, 0)
    if kind == "vit":
        from open_clip.transformer import VisionTransformer

        model.visual = VisionTransformer(32, 8, 64, 2, 1, 4.0, output_dim=16)
        model.visual.image_mean = model.visual.image_std = (0.5, 0.5, 0.5)
    start = state_of(model)
    go(model, make_defense("linear_probe"), optimizer=optimizer, precision="fp16")
    layer = "visual.attnpool.c_proj"
    wanted = [f"{layer}.weight", f"{layer}.bias"] if kind == "resnet" else ["visual.proj"]
    assert changed(model, start) == wanted  # BatchNorm's statistics stay, after a validation, too


def test_defences_know_the_parts_of_a_tower_of_timm():
    model = models.create("rn10-48")
    stages = invertune._layers(model)
    assert [len(model.get_submodule(name)) for name in stages] == [1, 1, 1, 1]
    (weight,) = make_defense("linear_probe").learns(model)
    assert weight is model.visual.head.proj.weight


def test_abd_moves_pictures_up_the_loss_and_aligns_them(tiny, small_pairs, texts):
    batch, eps, step = batch_of(small_pairs), 4 / 255, 2 / 255
    tiny.visual.attnpool.eval()
    modes, start = [part.training for part in tiny.modules()], state_of(tiny)
    objective = make_defense("abd", 0, texts, epsilon=4.0, step=2.0, steps=5, lambda_self=0.7)
    found = objective.adversarial(tiny, batch)
    assert [part.training for part in tiny.modules()] == modes
    assert changed(tiny, start) == []
    assert all(weight.grad is None for weight in tiny.parameters())
    pictures = batch.images.float() / 255
    tiny.eval()
    moved, losses = pictures, []
    for _ in range(5):
        x = moved.clone().requires_grad_(True)
        loss = clip_of(tiny, x, batch.tokens)
        losses.append(loss.item())
        up = torch.autograd.grad(loss, x)[0].sign()
        moved = (pictures + (moved + step * up - pictures).clamp(-eps, eps)).clamp(0, 1)
    assert torch.allclose(found, moved, atol=1e-6)
    assert losses == sorted(losses)
    variants = torch.from_numpy(texts["variants"][1, batch.index].astype(np.int64))
    images, views = encode_images(tiny, pictures), encode_images(tiny, moved)
    captions, others = encode_tokens(tiny, batch.tokens), encode_tokens(tiny, variants)
    wanted = clip_of(tiny, batch.images, batch.tokens)
    wanted += 0.7 * self_loss(images, views, captions, others, tiny.logit_scale.exp())
    assert objective.loss(tiny, batch)["total"].item() == pytest.approx(wanted.item(), rel=1e-5)
    with torch.autocast("cpu", torch.bfloat16):  # whose cache may hold weights without a gradient
        total = objective.loss(tiny, batch)["total"]
    total.backward()
    assert all(weight.grad is not None for weight in tiny.parameters())


@pytest.fixture(scope="module")
def backdoored(tiny_name, small_split):
    """A model for which a white patch in the corner means class 2, and its zero-shot head."""
    pictures, model = Pairs.open(small_split).batch(np.arange(64))[0], models.create(tiny_name, 0)
    head, triggered = torch.eye(6, 16), pictures.clone()
    triggered[:, :, -8:, -8:] = 255
    goal = torch.cat([torch.arange(64) % 6, torch.full((64,), 2)])
    optimizer = torch.optim.Adam(model.visual.parameters(), 5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        images = encode_images(model, torch.cat([pictures, triggered]))
        F.cross_entropy(20 * images @ head.T, goal).backward()
        optimizer.step()
    model.zero_grad()
    assert (encode_images(model.eval(), triggered) @ head.T).argmax(1).eq(2).float().mean() > 0.9
    return model, head


def test_invertune_names_the_target_and_aligns_its_trigger(
    backdoored, small_pairs, prompts, monkeypatch
):
    model, head = backdoored
    monkeypatch.setattr(invertune, "head", lambda model, prompts: head)
    batch, start = batch_of(small_pairs), state_of(model)
    objective = make_defense("invertune", 0, probe_steps=30, steps=150, pictures=32)
    objective.prepare(model, small_pairs, prompts)
    assert (objective.failed, objective.kept["target"]) == ("", 2)
    mask, pattern = objective.kept["trigger"]
    assert mask.mean() < 0.5  # from 1
    got = objective.loss(model, batch)
    outputs: list[dict[str, torch.Tensor]] = [{}, {}]
    pictures = batch.images / 255
    triggered = mask * pattern + (1 - mask) * pictures
    for found, images in zip(outputs, (pictures, triggered), strict=True):
        x = model.visual.stem(normalize(model, images))
        for name in ("layer1", "layer2", "layer3", "layer4"):
            x = found[f"visual.{name}"] = getattr(model.visual, name)(x)
    wanted, units = 0.0, objective.kept["units"]
    for name, unit in units.items():
        assert 0 < unit.sum() < unit.numel() / 2
        clean, moved = (found[name].detach().mean(0)[unit.bool()] for found in outputs)
        wanted += float((clean - moved).norm() / clean.norm())
    assert len(units) == 3
    assert got["align"].item() == pytest.approx(wanted, rel=1e-4)
    assert got["feature"].item() == pytest.approx(1e-4, rel=1e-2)  # the model is the victim
    assert changed(model, start) == []
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize("again", ["", "nothing found"])
def test_a_resumed_invertune_goes_on_with_its_first_search(tiny_name, go, monkeypatch, again):
    """On a GPU, the search may end otherwise the second time."""
    search = invertune.InverTune._search
    other = {"failed": again, "trigger": torch.rand(2, 3, 32, 32)}

    def run(folder: str, left: int = 99):
        model, objective = models.create(tiny_name, 0), make_defense("invertune", **FEW)
        go(model, Dies(objective, left), folder)
        assert not objective.failed
        return model

    whole = state_of(run("whole"))
    with pytest.raises(KeyboardInterrupt):
        run("killed", 3)
    monkeypatch.setattr(invertune.InverTune, "_search", lambda *given: search(*given) | other)
    assert changed(run("killed"), whole) == []


def test_two_means_and_similarity():
    values = torch.tensor([[0.1, 3.0, 0.2], [2.5, 0.3, 0.2]])
    assert torch.equal(invertune.upper_cluster(values), values > 1)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert invertune.ssim(images, images).item() == pytest.approx(1, abs=1e-5)
    assert invertune.ssim(images, 1 - images) < 0 < 0.9 < invertune.ssim(images, images * 0.9)


def batches(pairs, *places):
    for epoch, start in places:
        index = np.arange(start, start + 12)
        yield Batch(epoch, index, *pairs.batch(index), (index,))


def most_like(pool, queries) -> torch.Tensor:
    pool, queries = [entry.detach() for entry in pool], queries.detach()
    return torch.stack([max(pool, key=lambda entry: float(entry @ query)) for query in queries])


def test_roclip_matches_pictures_with_captions_of_a_pool(tiny, small_pairs):
    objective, pool = make_defense("roclip", 3, every=2, pool=0.3), []  # 19 of 64 captions
    objective.prepare(tiny, small_pairs, None)
    captions = torch.from_numpy(changed_captions(tiny, small_pairs, "3"))
    for batch in batches(small_pairs, (0, 0), (1, 0), (1, 12), (2, 24), (3, 24), (3, 40)):
        images = encode_images(tiny, mild(batch.images, batch.index, 3, batch.epoch))
        own = matched = encode_tokens(tiny, captions[batch.index])
        if batch.epoch % 2:
            matched, pool = most_like(pool or own, images), [*own, *pool][:19]
        got = objective.loss(tiny, batch)["total"]
        wanted = clip_loss(images, matched, tiny.logit_scale.exp())
        assert got.item() == pytest.approx(wanted.item(), rel=1e-5)
        tiny.zero_grad()
        got.backward()
        assert bool(tiny.text_projection.grad.any()) == (batch.epoch % 2 == 0)


def test_the_text_tower_rests_while_captions_come_from_the_pool(tiny_name, go):
    model, ends, roclip = models.create(tiny_name, 0), [], make_defense("roclip", every=2)
    go(model, roclip, validate=lambda m: ends.append(state_of(m)) or {}, optimizer="muon")
    moved = [{name.split(".")[0] for name in changed(model, start)} for start in ends[:2]]
    assert moved[0] > moved[1] == {"visual", "logit_scale"}


def test_captions_are_changed_as_the_poisoned_set_has_them(tiny, small_pairs):
    images, tokens = np.zeros((2, 32, 32, 3), np.uint8), small_pairs.tokens[[0, 0]]
    clean = changed_captions(tiny, small_pairs, "0")
    assert 0.5 < (clean != small_pairs.tokens).any(1).mean() < 1
    made = changed_captions(tiny, small_pairs.with_poison(np.array([5, 9]), images, tokens), "0")
    assert np.flatnonzero((made != clean).any(1)).tolist() == [5, 9]
    assert min(len({*line} & {*tokens[0]}) / len({*tokens[0]}) for line in made[[5, 9]]) > 0.6


def test_safeclip_pulls_safe_pairs_together_and_others_within_a_modality(
    tiny, small_pairs, monkeypatch
):
    safe = torch.arange(64) % 3 > 0
    monkeypatch.setattr(safeclip.SafeCLIP, "safe", lambda *given: safe)
    objective, scale, pools = make_defense("safeclip", 3, pool=7), tiny.logit_scale.exp(), ([], [])
    objective.prepare(tiny, small_pairs, None)
    captions = [torch.from_numpy(changed_captions(tiny, small_pairs, f"3:{n}")) for n in (0, 1)]
    for batch in batches(small_pairs, (2, 0), (2, 12), (3, 30)):
        pixels = [mild(batch.images, batch.index, 3, n) for n in (batch.epoch, ~batch.epoch)]
        tokens = [rows[batch.index] for rows in captions]
        images = encode_images(tiny, torch.cat(pixels)).chunk(2)
        texts = encode_tokens(tiny, torch.cat(tokens)).chunk(2)
        here, wanted = safe[batch.index], 0.0
        for pool, (one, other), across in zip(pools, (images, texts), (texts, images), strict=True):
            wanted += info_nce(one[here], across[1][here], scale) * here.sum() / 24
            like = most_like(pool or one[~here], one[~here])
            wanted += info_nce(other[~here], like, scale) * (~here).sum() / 24
            pool[:] = [*one[~here], *pool][:7]
        got = objective.loss(tiny, batch)["total"]
        assert got.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_safeclip_takes_the_pairs_that_are_most_probably_of_the_upper_gaussian(
    tiny, small_pairs, monkeypatch
):
    rng = np.random.default_rng(0)
    cosines = np.append(rng.normal(0.1, 0.05, 34), rng.normal(0.4, 0.1, 30))
    monkeypatch.setattr(safeclip, "similarities", lambda model, pairs: cosines)
    likely = np.stack([cosines < 0.25, cosines >= 0.25]).astype(float)
    for _ in range(300):  # expectation maximisation
        weight = likely.sum(1, keepdims=True)
        mean = (likely * cosines).sum(1, keepdims=True) / weight
        spread = np.sqrt((likely * (cosines - mean) ** 2).sum(1, keepdims=True) / weight)
        dense = weight / spread * np.exp(-(((cosines - mean) / spread) ** 2) / 2)
        likely = dense / dense.sum(0)
    found = safeclip.probabilities(cosines)
    assert abs(found - likely[1]).max() < 0.1  # it stops earlier
    objective = make_defense("safeclip", warmup=1, growth=0.125, most=0.7, low=0.1)
    objective.prepare(tiny, small_pairs, None)
    first = int((found >= 0.9).sum())
    best = sorted(range(64), key=lambda row: (-found[row], -cosines[row]))
    for epoch, count in enumerate((0, 64, first, first + 8, int(0.7 * 64))):
        assert np.flatnonzero(objective.safe(tiny, epoch)).tolist() == sorted(best[:count])
    assert [objective.pace(epoch) for epoch in range(4)] == [1, 0.1, 1, 1]
    objective.check(3, 64)
    with pytest.raises(UserError, match=r"warmup: 1 epochs and one at a low rate, but .* has 2"):
        objective.check(2, 64)


@pytest.mark.parametrize("name", DEFENSES)
def test_a_killed_run_goes_on_to_the_same_end(name, tiny_name, go, texts):
    def run(folder, left=99, stop=False):
        def validate(model):
            if stop:
                os.kill(os.getpid(), signal.SIGTERM)
            return {"norm": float(model.text_projection.detach().norm())}

        model, objective = models.create(tiny_name, 0), make_defense(name, 0, texts, **more)
        return model, go(model, Dies(objective, left), folder, validate)

    more = DEFENSES[name]
    whole, wanted = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("broken", left=5)
    with pytest.raises(StoppedError):  # in the last validation, when `finish` is done
        run("broken", stop=True)
    model, history = run("broken")
    assert changed(model, whole.state_dict()) == []
    assert history == wanted
    assert len(changed(model, models.create(tiny_name, 0).state_dict())) > 1
