"""Each defence's loss against its formula over separate forward passes; image augmentation."""

import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from taclean.captions.artifacts import SubCaptions
from taclean.clip import encode
from taclean.config import registry
from taclean.data.augment import AUGMENTATIONS, mild
from taclean.defenses import make_defense
from taclean.training.loader import Batch
from taclean.util.errors import UserError
from tests import test_losses

DEFENSES = registry.names("defenses")
EPOCHS, ROWS = 2, 64
cross_entropy = partial(test_losses.cross_entropy, scale=7.0)
DRAWN = np.array([[3, 50, 7, 9, 12, -1], [9, 3, 60, 61, 8, 40]])


@pytest.fixture(scope="module")
def texts(tokenize):
    """Variants of 64 rows in two epochs, and sub-captions of a few rows, some with one negative."""
    words = ["red", "blue", "small", "large", "green", "banana", "apple", "dog", "cat", "tree"]

    def line(*key: int) -> str:
        return " ".join(words[k * (i + 3) % 10] for i, k in enumerate(key))

    captions = [line(e, r, r // 10, 1) for e in range(EPOCHS) for r in range(ROWS)]
    variants = tokenize(captions).reshape(EPOCHS, ROWS, 77)
    places = [(e, i) for e in range(EPOCHS) for i in range(6)]
    positives = tokenize([line(2, i, e) for e, i in places]).reshape(EPOCHS, 6, 77)
    negatives = tokenize([line(k, i, e, 5) for e, i in places for k in (3, 4)])
    negatives = negatives.reshape(EPOCHS, 6, 2, 77)
    negatives[:, ::2, 1] = 0  # these captions have only one negative
    positives[DRAWN < 0] = negatives[DRAWN < 0] = 0
    return {"variants": variants, "subcaptions": SubCaptions(DRAWN, positives, negatives)}


@pytest.fixture
def model(tiny):
    """A model in evaluation mode, so that embeddings do not depend on the rest of the batch."""
    tiny.eval()
    with torch.no_grad():
        tiny.logit_scale.fill_(math.log(7))
    return tiny


def batch_of(pairs, epoch: int, index) -> Batch:
    index = np.array(index)
    return Batch(epoch, index, *pairs.batch(index), (index,))


def images_alone(model, images) -> list[torch.Tensor]:
    return [encode.encode_images(model, image[None])[0].detach() for image in images]


def texts_alone(model, tokens) -> list[torch.Tensor]:
    rows = torch.from_numpy(np.asarray(tokens).astype(np.int64))
    return [F.normalize(model.encode_text(row[None]), dim=1)[0].detach() for row in rows]


def parts_by_hand(model, batch: Batch, texts, seed: int, augment: str) -> dict[str, float]:
    images = images_alone(model, batch.images)
    views = AUGMENTATIONS[augment](batch.images, batch.index, seed, batch.epoch)
    augmented = images_alone(model, views)
    captions = texts_alone(model, batch.tokens.numpy())
    variants = texts_alone(model, texts["variants"][batch.epoch, batch.index])
    clip = (cross_entropy(images, captions) + cross_entropy(captions, images)) / 2
    own = (cross_entropy(images, augmented) + cross_entropy(captions, variants)) / 2
    subs, sub = texts["subcaptions"], 0.0
    chosen, positives, negatives = [], [], []
    for image, row in zip(images, batch.index.tolist(), strict=True):
        for place in np.flatnonzero(subs.rows[batch.epoch] == row):
            chosen.append(image)
            positives += texts_alone(model, subs.positives[batch.epoch, place][None])
            some = subs.negatives[batch.epoch, place]
            negatives += texts_alone(model, some[some.any(1)])
    if chosen:
        image_to_text = cross_entropy(chosen, positives + negatives)
        sub = (image_to_text + cross_entropy(positives, chosen)) / 2
    seen = (cross_entropy(augmented, captions) + cross_entropy(captions, augmented)) / 2
    return {"clip": clip, "self": own, "sub": sub, "seen": seen}


BATCHES = [
    (0, [7, 1, 3, 50, 20]), (1, [7, 1, 3, 50, 20]), (1, [61, 60, 9, 3, 8, 40]), (0, [9, 0, 1]),
    (0, [0, 1, 2, 63]),
]  # fmt: skip


WEIGHTS = {"ft": {}, "cleanclip": {"self": 0.5}, "taclean": {"self": 0.5, "sub": 3.0}}


@pytest.mark.parametrize("augment", ["none", "mild", "autoaugment"])
@pytest.mark.parametrize(("epoch", "index"), BATCHES)
def test_a_loss_is_the_weighted_sum_of_its_parts(model, small_pairs, texts, epoch, index, augment):
    """The sub-captions are those of the rows drawn for the epoch; a view stays with its pair."""
    batch = batch_of(small_pairs, epoch, index)
    wanted = parts_by_hand(model, batch, texts, 5, augment)
    assert (wanted["sub"] > 0) == bool(set(index) & set(DRAWN[epoch]))
    for name, weights in WEIGHTS.items():
        for times in (0, 1):
            given = {f"lambda_{part}": times * weight for part, weight in weights.items()}
            got = make_defense(name, 5, texts, augment=augment, **given).loss(model, batch)
            parts = {part: wanted[part] for part in ("clip", *weights) if weights}
            more = sum(times * weight * wanted[part] for part, weight in weights.items())
            found = {part: value.item() for part, value in got.items()}
            total = wanted["seen" if name == "ft" else "clip"] + more  # FT augments its pictures
            assert found == pytest.approx({**parts, "total": total}, abs=1e-5)


def test_the_halves_of_l_self_are_those_of_the_modalities(model, small_pairs, texts):
    batch = batch_of(small_pairs, 1, [7, 1, 3, 50, 20])
    own = {
        way: make_defense("cleanclip", 5, texts, modality=way).loss(model, batch)["self"].item()
        for way in ("both", "images", "texts")
    }
    variants = texts_alone(model, texts["variants"][1, batch.index])
    captions = texts_alone(model, batch.tokens.numpy())
    assert own["texts"] == pytest.approx(cross_entropy(captions, variants) / 2, abs=1e-5)
    assert own["images"] + own["texts"] == pytest.approx(own["both"], abs=1e-5)
    assert min(own.values()) > 0


def test_the_sub_caption_term_without_negatives_or_positives(model, small_pairs, texts):
    batch, subs = batch_of(small_pairs, 0, [7, 1, 3, 50, 20]), texts["subcaptions"]
    for parts, positives, negatives in (
        ("positives", subs.positives, 0 * subs.negatives),
        ("negatives", small_pairs.tokens[DRAWN], subs.negatives),  # whole captions
    ):
        given = texts | {"subcaptions": SubCaptions(subs.rows, positives, negatives)}
        wanted = parts_by_hand(model, batch, given, 5, "mild")["sub"]
        got = make_defense("taclean", 5, texts, parts=parts).loss(model, batch)["sub"]
        assert got.item() == pytest.approx(wanted, abs=1e-5)
        model.zero_grad()
        got.backward()
        assert all(w.grad.any() for w in (model.visual.conv1.weight, model.text_projection))


@pytest.mark.parametrize("tau", [2.15, 1e-6])
def test_par_moves_away_from_the_victim_while_it_is_near(model, small_pairs, tau):
    batch = batch_of(small_pairs, 0, [7, 1, 3, 50, 20])
    objective = make_defense("par", 0, tau=tau)
    objective.prepare(model, small_pairs, None)
    before = images_alone(model, batch.images), texts_alone(model, batch.tokens.numpy())
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
            weight.add_(0.05 * noise)
        model.logit_scale.fill_(math.log(7))
    got = objective.loss(model, batch)
    after = images_alone(model, batch.images), texts_alone(model, batch.tokens.numpy())
    clip = (cross_entropy(*after) + cross_entropy(*after[::-1])) / 2
    far = [
        sum(float(((a - b) ** 2).sum()) for a, b in zip(now, then, strict=True)) / len(now)
        for now, then in zip(after, before, strict=True)
    ]
    assert all(0.001 < distance < 2.15 for distance in far)
    driven = sum(distance for distance in far if distance < tau)
    assert got["total"].item() == pytest.approx(clip - driven / 2, abs=1e-4)
    assert got["distance_images"].item() == pytest.approx(far[0], abs=1e-4)
    got["total"].backward()  # into the model, not into the copy
    assert model.logit_scale not in set(objective.learns(model))
    assert all(not weight.requires_grad for weight in objective._victim.parameters())


def test_a_missing_negative_has_only_zeros_as_tokens(model, small_pairs, texts):
    """RoBERTa's tokenizer starts every text with token 0."""
    subs = texts["subcaptions"]
    shifted = [np.where(part == 49406, 0, part) for part in (subs.positives, subs.negatives)]
    for made in (texts, texts | {"subcaptions": SubCaptions(subs.rows, *shifted)}):
        _, negatives = make_defense("taclean", 0, made)._texts(0, np.array([3, 50, 7, 9]))
        assert len(negatives) == 6  # every second caption has one of two


def test_a_loss_does_not_change_its_batch(model, small_pairs, texts):
    batch = batch_of(small_pairs, 1, [3, 9, 1])
    images, tokens = batch.images.clone(), batch.tokens.clone()
    for name in DEFENSES:
        objective = make_defense(name, 0, texts)
        objective.prepare(model, small_pairs, None)
        objective.loss(model, batch)
    assert torch.equal(batch.images, images)
    assert torch.equal(batch.tokens, tokens)


# ---- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "missing"),
    [("cleanclip", "variants"), ("taclean", "variants"), ("taclean", "subcaptions")],
)
def test_missing_text_artifacts_are_named(texts, name, missing):
    with pytest.raises(UserError, match=missing):
        make_defense(name, 0, {key: value for key, value in texts.items() if key != missing})


WRONG = [("cleanclip", "augment", "wild"), ("taclean", "parts", "some")]
WRONG += [(name, key, 1) for name in DEFENSES for key in ("lambda", "variants", "lr")]  # unknown
WRONG += [("taclean", "lambda_sub", value) for value in (-1.0, math.nan, math.inf, "1", None)]


@pytest.mark.parametrize(("name", "key", "value"), WRONG, ids=str)
def test_a_wrong_parameter_is_named(texts, name, key, value):
    with pytest.raises(UserError, match=rf"defenses\.{name}\.loss\.{key}"):
        make_defense(name, 0, texts, **{key: value})


def test_artifacts_smaller_than_the_run_are_refused(texts):
    for name, epochs, rows in (("cleanclip", 2, 65), ("taclean", 2, 65), ("taclean", 3, 64)):
        objective = make_defense(name, 0, texts)
        objective.check(EPOCHS, ROWS)
        with pytest.raises(UserError, match="make them again"):
            objective.check(epochs, rows)
    subs = texts["subcaptions"]
    short = SubCaptions(subs.rows[:1], subs.positives[:1], subs.negatives[:1])
    with pytest.raises(UserError, match=r"subcaptions: made for 1 epochs .* has 2 epochs"):
        make_defense("taclean", 0, texts | {"subcaptions": short}).check(EPOCHS, ROWS)


# ---- image augmentation --------------------------------------------------------------------------


def test_augmentation_never_mirrors_and_moves_little():
    """A light blob keeps its side, since captions may say where things are."""
    size = 64
    y, x = np.mgrid[0:size, 0:size]
    for corner_x, corner_y in ((16, 16), (48, 16), (16, 48), (48, 48)):
        blob = np.exp(-((x - corner_x) ** 2 + (y - corner_y) ** 2) / 18).astype(np.float32)
        images = torch.from_numpy(blob).expand(200, 3, size, size).contiguous()
        out = mild(images, np.arange(200), 0, 0).sum(1).numpy()
        place = out.reshape(200, -1).argmax(1)
        centre = np.stack([place % size, place // size], 1)
        # 15 degrees, 15 % of scale and 7.5 % of shift: at most about 16 px here
        distance = np.hypot(*(centre - [corner_x, corner_y]).T)
        assert distance.max() < 17
        assert distance.mean() > 2
        assert (distance < np.hypot(*(centre - [size - corner_x, corner_y]).T)).all()


def test_a_flat_picture_changes_in_colour_only_and_mildly():
    flat = torch.tensor([0.3, 0.5, 0.4]).view(1, 3, 1, 1).expand(300, 3, 16, 16)
    out = mild(flat, np.arange(300), 0, 0)
    assert (out - out[:, :, :1, :1]).abs().max() < 1e-5
    ratio = out[:, :, 0, 0] / flat[:, :, 0, 0]
    assert ratio.min() > 0.75 * 0.85 * 0.8
    assert ratio.max() < 1.25 * 1.15 * 1.2
    assert abs(ratio.mean() - 1) < 0.05
    assert ratio.std() > 0.05
