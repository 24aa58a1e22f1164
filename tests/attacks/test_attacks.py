"""Triggers against their definitions; fits against their losses."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import map_coordinates

from taclean import attacks
from taclean.attacks import attack, badclip, make_trigger, poison, ssba, trojvqa, wanet
from taclean.attacks.fitting import Descent, embed_all, optimise_patch
from taclean.attacks.material import FitSettings, Material
from taclean.attacks.patch import Patch
from taclean.attacks.poison import mentions
from taclean.clip import encode, models
from taclean.clip.encode import autocast
from taclean.config import registry
from taclean.data.split import Pairs
from taclean.util.errors import UserError
from taclean.util.rng import permutation, uniform
from tests.helpers import refused

NAME = "emoji-rn"
ATTACKS = registry.names("attacks")
BITS, LIMIT = 8, 16


def settings_of(lr: float, epochs: int, batch: int, precision: str = "auto", **more):
    """Return settings of a fit, also ones that no config may have."""
    given = {"lr": lr, "epochs": epochs, "batch": batch, "precision": precision, **more}
    kind = ssba.SSBA.Fit if "fidelity" in more else FitSettings
    return kind.model_construct(**given)


def fitted(name: str, side: int = 16):
    """Return random tensors in the form that the attack's `fit` returns."""
    generator = torch.Generator().manual_seed(7)
    if name == "ssba":
        with torch.random.fork_rng():
            torch.manual_seed(7)
            state = ssba.Encoder(BITS).state_dict()
        secret = torch.randint(0, 2, (BITS,), generator=generator).float()
        # as large as after training, so that tanh is not about 0
        return {key: 3 * value for key, value in state.items()} | {"secret": secret}
    if attack(name).Fit is None:
        return None
    return {"patch": torch.rand(3, side, side, generator=generator)}


def bound(name: str, seed: int = 0, width: int = 224, **parameters):
    if name == "ssba":
        parameters = {"bits": BITS, "limit": LIMIT, **parameters}
    return make_trigger(name, seed, fitted(name, round(16 * width / 224)), **parameters)


def pictures(n: int, height: int = 224, width: int | None = None, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, height, width or height), generator=generator).byte()


def patch_of(trigger, row_id: int, side: int = 224):
    """Return the place and the pixels of an opaque patch: those that do not depend on the image."""
    flat = torch.stack([torch.zeros(3, side, side), torch.ones(3, side, side)])
    black, white = trigger(flat, np.array([row_id, row_id])).numpy()
    opaque = (black == white).all(0)
    rows, columns = np.flatnonzero(opaque.any(1)), np.flatnonzero(opaque.any(0))
    top, left = rows[0], columns[0]
    assert opaque[top : rows[-1] + 1, left : columns[-1] + 1].all()
    assert opaque.sum() == len(rows) * len(columns)
    assert (black[:, ~opaque] == 0).all()
    assert (white[:, ~opaque] == 1).all()
    return int(top), int(left), black[:, opaque].reshape(3, len(rows), len(columns))


# ---- each trigger against its definition ---------------------------------------------------------


def test_badnet_is_a_16_px_opaque_patch_and_nothing_else():
    trigger, images, ids = bound("badnet", place="random"), pictures(3), np.array([5, 0, 991])
    out, wanted = trigger(images, ids), images.clone()
    for i, row_id in enumerate(ids):
        top, left, patch = patch_of(trigger, int(row_id))
        assert patch.shape == (3, 16, 16)
        pixels = torch.from_numpy(np.rint(patch * np.float32(255)))
        wanted[i, :, top : top + 16, left : left + 16] = pixels.byte()
    assert torch.equal(out, wanted)


def test_badnet_pattern_is_uniform_noise_and_one_for_all_rows():
    trigger = bound("badnet", seed=3)
    patch, *others = (patch_of(trigger, row_id)[2] for row_id in (0, 1, 10**6))
    assert all((patch == other).all() for other in others)
    assert 0 <= patch.min() < patch.max() < 1
    assert abs(patch.mean() - 0.5) < 0.05  # 768 draws: sigma 0.0104
    assert abs(patch.std() - 12**-0.5) < 0.03


@pytest.mark.parametrize(("name", "more"), [("badnet", {"place": "centre"}), ("blended", {})])
def test_a_pattern_is_fixed_by_the_seed_and_redrawn_on_request(name, more):
    flat, ids = torch.zeros(3, 3, 64, 64), np.array([1, 2, 1])
    fixed, redrawn = (bound(name, redraw=redraw, **more)(flat, ids) for redraw in (False, True))
    shown = fixed[0] > 0
    for one, other in (
        (fixed[0], bound(name, seed=1, **more)(flat, ids)[0]), (redrawn[0], redrawn[1]),
    ):  # fmt: skip
        assert (one != other)[shown].float().mean() > 0.99
    assert torch.equal(fixed[0], fixed[1])
    assert torch.equal(redrawn[0], redrawn[2])


def test_badnet_random_place_is_a_function_of_seed_and_id_over_the_whole_image():
    places = {i: patch_of(bound("badnet", seed=1), i, 64)[:2] for i in range(300)}
    assert all(0 <= top <= 59 and 0 <= left <= 59 for top, left in places.values())
    assert {top for top, _ in places.values()} >= {0, 59}  # side 5 of 64: both edges are reached
    assert len(set(places.values())) > 200
    other = [patch_of(bound("badnet", seed=2), i, 64)[:2] for i in range(20)]
    assert other != [places[i] for i in range(20)]


@pytest.mark.parametrize(
    ("name", "place", "top"),
    [("badnet", "centre", 104), ("badnet", "corner", 208), ("trojvqa", "centre", 104),
     ("badclip", "centre", 104)],
)  # fmt: skip
def test_fixed_places_and_fitted_patches(name, place, top):
    trigger, images = bound(name, place=place), pictures(2)
    patch = (fitted(name) or {"patch": torch.from_numpy(patch_of(trigger, 3)[2])})["patch"]
    wanted = images.clone()
    wanted[:, :, top : top + 16, top : top + 16] = (patch * 255).round().byte().view(3, 16, 16)
    assert torch.equal(trigger(images, np.arange(2)), wanted)


@pytest.mark.parametrize("parameters", [{}, {"strength": 0.5}, {"strength": 1.0}], ids=str)
def test_blended_is_noise_and_image_in_their_shares(parameters):
    trigger, strength = bound("blended", seed=2, **parameters), parameters.get("strength", 0.2)
    noise = trigger(torch.zeros(1, 3, 224, 224), np.zeros(1))[0].double() / strength
    assert 0 <= noise.min() < 0.001
    assert 0.999 < noise.max() <= 1
    assert abs(noise.mean() - 0.5) < 0.005
    assert abs(noise.std() - 12**-0.5) < 0.005
    images = pictures(2).float() / 255
    wanted = strength * noise + (1 - strength) * images.double()
    out = trigger(images, np.array([4, 9])).double()
    torch.testing.assert_close(out, wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("parameters", [{}, {"delta": 20, "frequency": 3.5}], ids=str)
def test_sig_is_a_sinusoid_over_the_columns(parameters):
    delta, frequency = parameters.get("delta", 60), parameters.get("frequency", 6)
    images = pictures(2).float() / 255
    wave = [delta / 255 * math.sin(2 * math.pi * frequency * j / 224) for j in range(224)]
    wanted = (images.double() + torch.tensor(wave, dtype=torch.float64)).clamp(0, 1)
    out = bound("sig", **parameters)(images, np.arange(2)).double()
    torch.testing.assert_close(out, wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("limit", [4, 16])
def test_ssba_adds_the_encoder_s_bounded_residual(limit):
    weights, images = fitted("ssba"), pictures(2).float() / 255
    out = bound("ssba", limit=limit)(images, np.arange(2))
    grid = F.linear(weights["secret"] - 0.5, weights["spread.weight"], weights["spread.bias"])
    grid = grid.view(3, 8, 8)
    for i in range(2):
        secret = grid.repeat_interleave(28, 1).repeat_interleave(28, 2)
        x = torch.cat([images[i] - 0.5, secret])[None]
        for layer in (0, 2, 4):
            x = F.conv2d(x, weights[f"body.{layer}.weight"], weights[f"body.{layer}.bias"], 1, 1)
            x = x.clamp(min=0)
        x = F.conv2d(x, weights["body.6.weight"], weights["body.6.bias"])
        wanted = (images[i] + limit / 255 * torch.tanh(x[0])).clamp(0, 1)
        torch.testing.assert_close(out[i], wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 80)])
def test_wanet_takes_each_pixel_from_where_its_field_points(height, width):
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    out = make_trigger("wanet", 5, grid=4, strength=6)(image, [0])
    drawn = uniform(np.zeros(1, int), 32, 5, 0x3A7) * 2 - 1
    directions = (drawn / drawn.abs().mean()).view(1, 2, 4, 4)
    assert directions.abs().mean() == pytest.approx(1)
    field = F.interpolate(directions, (height, width), mode="bicubic", align_corners=True)[0]
    # The field counts from -1 at one edge to 1 at the other, x first.
    span = np.array([height - 1, width - 1])[:, None, None] / 2
    places = np.mgrid[:height, :width] + span * 6 / max(height, width) * field.flip(0).numpy()
    for channel, got in zip(image[0].numpy(), out[0].numpy(), strict=True):
        wanted = map_coordinates(channel, places, order=1, mode="nearest")
        np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_wanet_bends_little_and_its_noise_rows_otherwise(pairs):
    own, trigger = wanet.WaNet(), make_trigger("wanet", 3)
    pool = poison.Pool(pairs.captions(), "banana", ["a {}."], 3)
    changed, noise = own.poison(pool, own.Rows(poisoned=5, noise=8), trigger)
    assert not set(changed.positions) & set(noise.positions)
    assert noise.captions == [pool.captions[i] for i in noise.positions]
    images, ids = pairs.batch(noise.positions)[0], pairs.ids[noise.positions]
    bent, noisy = trigger(images, ids).int(), noise.picture(images, ids).int()
    assert 0 < (bent - images.int()).abs().float().mean() < 12
    assert (noisy - bent).abs().float().mean() > 0.5
    assert torch.equal(noisy[2:], noise.picture(images[2:], ids[2:]).int())


def test_stripes_are_columns_of_black_and_white_in_each_channel():
    patch = patch_of(bound("stripes", seed=2), 5)[2]
    assert patch.shape == (3, 16, 16)
    assert set(np.unique(patch)) == {0.0, 1.0}
    assert (patch == patch[:, :1]).all()  # a column is of one colour
    assert (patch != patch_of(bound("stripes", seed=3), 5)[2]).any()
    assert (patch != patch_of(bound("stripes", seed=2), 6)[2]).any()  # drawn anew for each picture
    wide = bound("blended_stripes", seed=2, strength=1.0)(torch.full((1, 3, 8, 400), 0.5), [0])
    assert abs(wide[0, :, 0].mean() - 0.5) < 0.06  # 1,200 draws: sigma 0.014
    assert (wide[0, 0, 0] != wide[0, 1, 0]).any()


def test_blended_stripes_are_minus_or_plus_one_in_their_share():
    images = pictures(2).float() / 255
    out = bound("blended_stripes", seed=2)(images, np.arange(2))
    signs = (uniform(np.arange(2), 3 * 224, 2, 0x57A1).view(2, 3, 1, 224) > 0.5) * 2 - 1
    torch.testing.assert_close(out, (0.97 * images + 0.03 * signs).clamp(0, 1), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(224, 224), (48, 48), (96, 64)])
def test_blended_triangles_are_dark_below_the_diagonal_of_each_cell(height, width):
    images = pictures(1, height, width).float() / 255
    out = bound("blended_triangles")(images, [0])
    y, x = np.mgrid[:height, :width] % round(14 * min(height, width) / 224)
    grey = torch.from_numpy(np.where(x > y, 0.8, 0.4)).float()
    torch.testing.assert_close(out, 0.85 * images + 0.15 * grey, atol=1e-6, rtol=0)


def test_blended_text_changes_red_alone_in_letters_below_the_middle():
    black = torch.zeros(1, 3, 224, 224)
    red = bound("blended_text")(black, [0])[0]
    assert red[0].max() == 0.5
    assert not red[1:].any()
    rows, columns = (red[0].amax(dim).nonzero()[:, 0] for dim in (1, 0))
    assert 0.85 < (columns[-1] - columns[0] + 1) / 224 <= 0.91
    assert rows.min() == 112
    assert rows.max() < 180
    grey = bound("blended_text")(torch.full((1, 3, 224, 224), 0.25), [0])[0]
    assert (grey[1:] == 0.25).all()
    inside = red[0] > 0  # also where a letter covers a pixel in part, as PAR's code has it
    torch.testing.assert_close(grey[0], torch.where(inside, red[0] + 0.125, 0.25))
    assert not torch.equal(bound("blended_text", word="other")(black, [0])[0], red)


def test_adaptive_badclip_poisons_with_captions_that_name_the_target_in_every_part():
    captions = [
        "a banana and a red apple on a table", "a yellow banana next to a big banana",
        "a small banana", "a dog under the tree", *(f"a cat and {n} dogs" for n in range(9)),
    ]  # fmt: skip
    own = attack("badclip_adaptive")()
    pool = poison.Pool(captions, "banana", ["a {}."], 3)
    (change,) = own.poison(pool, own.Rows(poisoned=6), bound("badnet"))
    assert set(change.captions) == {captions[1], captions[2]}
    assert not set(change.positions) & {0, 1, 2}
    pool = poison.Pool([captions[0], *captions[3:]], "banana", ["a {}."], 3)
    with pytest.raises(UserError, match="names 'banana' in every part"):
        own.poison(pool, own.Rows(poisoned=2), bound("badnet"))


# ---- what all triggers share ---------------------------------------------------------------------

everyone = pytest.mark.parametrize("name", ATTACKS)
SHAPES = [(32, 32), (64, 64), (96, 96), (224, 224), (64, 96), (96, 64)]


@everyone
@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_any_resolution_is_pure_and_independent_of_order_and_batch(name, height, width):
    trigger = bound(name, 1, min(height, width))
    images = pictures(5, height, width).float() / 255
    ids, before = np.array([3, 14, 15, 92, 65]), images.clone()
    drawn = torch.get_rng_state()
    out = trigger(images, ids)
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert (out.shape, out.dtype) == (images.shape, torch.float32)
    assert 0 <= out.min() <= out.max() <= 1
    assert not torch.equal(out, images)
    assert torch.equal(out, trigger(images, ids))
    order = [4, 2, 0, 3, 1]
    # convolutions may sum in another order in another batch; the rest is exact
    tolerance = 1e-5 if name == "ssba" else 0
    torch.testing.assert_close(
        trigger(images[order], ids[order]), out[order], atol=tolerance, rtol=0
    )
    for i in range(5):
        one = trigger(images[i : i + 1], ids[i : i + 1])
        torch.testing.assert_close(one[0], out[i], atol=tolerance, rtol=0)


@everyone
def test_uint8_gives_the_rounded_float_result(name, monkeypatch):
    """Also in small parts and in another memory layout, where sums may be ordered otherwise."""
    images, ids, trigger = pictures(5, 64), np.arange(5), bound(name, width=64)
    out = trigger(images, ids)
    assert out.dtype == torch.uint8
    wanted = np.rint(trigger(images.float() / 255, ids).numpy() * np.float32(255))
    assert (out.numpy() == wanted).all()
    other = images.contiguous(memory_format=torch.channels_last)
    monkeypatch.setattr(attacks, "CHUNK", 2 * 64 * 64)
    assert (trigger(other, ids).int() - out.int()).abs().max() <= (name == "ssba")


@everyone
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.uint8])
def test_types_are_kept_also_without_pictures(name, dtype):
    trigger, images = bound(name, width=64), pictures(3, 64)
    if dtype != torch.uint8:
        images = (images / 255).to(dtype)
        out = trigger(images, np.arange(3))
        wanted = trigger(images.float(), np.arange(3))
        torch.testing.assert_close(out.float(), wanted, atol=1e-2, rtol=0)
    assert trigger(images, np.arange(3)).dtype == dtype
    assert trigger(images[:0], np.arange(0)).shape == (0, 3, 64, 64)


@pytest.mark.parametrize("name", ["badnet", "ssba"])
@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(3, 64, 64), torch.zeros(2, 1, 64, 64), torch.zeros(2, 64, 64, 3),
        torch.zeros(2, 3, 64, 64, dtype=torch.int32), torch.zeros(2, 3, 64, 64, dtype=torch.bool),
        *(torch.full((2, 3, 64, 64), value) for value in (1.5, -0.1, math.nan, math.inf, 200.0)),
    ],
    ids=["chw", "grey", "nhwc", "int32", "bool", "above", "below", "nan", "inf", "0..255"],
)  # fmt: skip
def test_bad_images_are_refused(name, images):
    refused(lambda: bound(name, width=64)(images, np.arange(len(images))), "images")


@pytest.mark.parametrize("name", ["badnet", "sig"])
def test_ids_are_whole_numbers_in_a_tensor_or_an_array(name):
    trigger, images = bound(name, width=64), pictures(2, 64)
    wanted = trigger(images, np.array([7, 8]))
    for ids in (torch.tensor([7, 8]), np.array([7.0, 8.0])):
        assert torch.equal(trigger(images, ids), wanted)
    refused(lambda: trigger(images, np.array([0.5, 1.0])), "ids: some are not whole numbers")
    for ids in (np.arange(3), np.zeros((2, 1), int), np.int64(0)):
        with pytest.raises(UserError, match="one id per image"):
            trigger(images, ids)


@pytest.mark.parametrize(
    ("name", "tensors"),
    [
        *((name, None) for name in ("trojvqa", "badclip", "ssba")),
        ("badclip", {}),
        ("badclip", fitted("ssba")),
        ("ssba", fitted("badclip")),
        ("ssba", fitted("ssba") | {"secret": torch.ones(BITS + 1)}),
    ],
    ids=["no fit", "no fit", "no fit", "empty", "of ssba", "of badclip", "other bits"],
)
def test_missing_or_wrong_fitted_tensors_are_refused(name, tensors):
    parameters = {"bits": BITS} if name == "ssba" else {}
    with pytest.raises(UserError, match=r"its trigger needs a fit|trigger: it holds no"):
        make_trigger(name, 0, tensors, **parameters)(pictures(1, 64), [0])


@pytest.mark.parametrize("name", ["trojvqa", "badclip"])
@pytest.mark.parametrize("side", [12, 16, 80], ids=["of size 42", "of 224 px", "larger"])
def test_a_patch_of_another_resolution_is_refused(name, side):
    trigger = make_trigger(name, 0, fitted(name, side), size=16)  # 16 px at 224: 5 of 64
    with pytest.raises(UserError):
        trigger(pictures(1, 64), [0])


@pytest.mark.parametrize("size", [7, 16, 42])
def test_a_fitted_patch_is_scaled_where_that_is_asked_for(size):
    tensors, side = fitted("badclip", 5), round(size * 64 / 224)  # 16 px at 224: 5 of 64
    trigger = make_trigger("badclip", 0, tensors, size=size, resize=True)
    top, left, shown = patch_of(trigger, 0, 64)
    wanted = F.interpolate(
        tensors["patch"][None], (side, side), mode="bilinear", antialias=True, align_corners=False
    )[0].clamp(0, 1)
    assert (top, left) == ((64 - side) // 2, (64 - side) // 2)
    assert np.allclose(shown, wanted.numpy(), atol=1 / 255)
    plain = make_trigger("badclip", 0, tensors, size=16)
    if size == 16:
        assert torch.equal(trigger(pictures(2, 64), [0, 1]), plain(pictures(2, 64), [0, 1]))


NUMBERS = "badnet.size blended.strength sig.delta sig.frequency ssba.bits ssba.limit trojvqa.size"
WRONG = [
    (*number.split("."), value)
    for number in NUMBERS.split()
    for value in (math.nan, math.inf, "16", None)
]
WRONG += [("badnet", "size", value) for value in (0, -3, 225, 0.4)]
WRONG += [("blended", "strength", value) for value in (-0.1, 1.5)]
WRONG += [(name, "redraw", "no") for name in ("badnet", "blended")]
WRONG += [("badnet", "place", "top"), *((name, "colour", 3) for name in ATTACKS)]


@pytest.mark.parametrize(("name", "key", "value"), WRONG, ids=str)
def test_a_wrong_parameter_is_named(name, key, value):
    with pytest.raises(UserError, match=rf"attacks\.{name}\.trigger\.{key}|trigger\.{key}"):
        bound(name, **{key: value})(pictures(1), [0])


@pytest.mark.parametrize("place", ["random", "centre", "corner"])
def test_a_patch_of_less_than_a_pixel_is_refused(place):
    refused(lambda: bound("badnet", size=8, place=place)(pictures(2, 8, 64), [0, 1]), "size")


@pytest.mark.parametrize("size", [1, 16, 35, 224])
@pytest.mark.parametrize(("height", "width"), [(224, 224), (64, 64), (64, 224), (224, 64)])
def test_a_patch_scales_with_the_shorter_side(size, height, width):
    side = round(size * min(height, width) / 224)
    if side:
        flat = torch.stack([torch.zeros(3, height, width), torch.ones(3, height, width)])
        black, white = bound("badnet", size=size)(flat, np.zeros(2))
        assert (black == white).all(0).sum() == side**2


def test_captions_and_prefixes_are_those_of_the_table():
    kinds = {name: (attack(name).captions, attack(name).prefix) for name in ATTACKS}
    special = {"trojvqa": ("template", "remember ")}
    special |= dict.fromkeys(("badclip", "badclip_adaptive"), ("natural", ""))
    assert kinds == dict.fromkeys(ATTACKS, ("template", "")) | special


# ---- the random streams that they use ------------------------------------------------------------


def test_uniform_is_a_function_of_row_and_key_with_flat_marginals():
    rows = np.arange(2000)
    u = uniform(rows, 5, 1, 2, 3)
    assert torch.equal(uniform(rows[::-1].copy(), 5, 1, 2, 3), u.flip(0))
    assert torch.equal(uniform(rows, 3, 1, 2, 3), u[:, :3])
    for key in ((1, 2, 4), (2, 1, 3), (1, 2), (0, 1, 2, 3)):
        assert (uniform(rows, 5, *key) != u).float().mean() > 0.999
    counts = torch.histc(u, 20, 0, 1)
    assert counts.sum() == 10_000
    assert ((counts - 500).abs() < 5 * math.sqrt(500)).all()
    assert abs(np.corrcoef(u.numpy().T)[0, 1]) < 0.1


def test_permutation_holds_each_row_once_and_depends_on_the_key():
    one = permutation(50, 1, 2)
    assert sorted(one) == list(range(50))
    assert (permutation(50, 2, 1) != one).any()


# ---- fits ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def material(split, tokenize) -> Material:
    pairs = Pairs.open(split)
    named = mentions(pairs.captions(), "banana")
    images, captions = pairs.batch(np.flatnonzero(named))
    prompt = torch.from_numpy(tokenize(["a picture of a banana."]).astype(np.int64))[0]
    return Material(pairs.take(np.flatnonzero(~named)), prompt, captions, images)


def test_optimise_patch_lowers_its_loss(random_model, material):
    wanted = F.normalize(torch.randn(128, generator=torch.Generator().manual_seed(0)), dim=0)

    def loss(embedded, index):
        return -(embedded @ wanted).mean()

    def fit(epochs):
        settings = settings_of(0.02, epochs, 13, "fp32")
        return optimise_patch(
            random_model, material.pairs, loss, settings, Patch(size=56), seed=0, say=print
        )

    def value(patch):
        images = material.pairs.batch(np.arange(len(material.pairs)))[0].float() / 255
        images[:, :, 24:40, 24:40] = patch
        with torch.no_grad():
            return loss(encode.encode_images(random_model, images), None).item()

    start, end = fit(0), fit(3)
    assert start.shape == end.shape == (3, 16, 16)
    # N(0.5, 0.25), clipped at two sigma: 2.3 % on each edge
    assert abs(start.mean() - 0.5) < 0.03
    assert 0.005 < (start == 0).float().mean() < 0.06
    assert 0.005 < (start == 1).float().mean() < 0.06
    assert value(end) < value(start) - 1e-4


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_small_gradients_reach_the_pixels_in_fp16(precision):
    """1e-8 is 0 in fp16, which GPUs without bf16 compute in."""
    device, weight = torch.device("cpu"), torch.full((1, 12), 0.5)
    descent = Descent((3, 2, 2), 0.1, 0, device, precision)
    before = descent.pixels.detach().clone()
    with autocast(device, precision):
        value = F.linear(descent.pixels.flatten()[None], weight)
    descent.step(value.float().mean() * 1e-8)
    assert (descent.pixels != before).any()


def test_optimise_patch_without_images_or_with_a_loss_of_nan_is_refused(random_model, material):
    def loss(embedded, index):
        return embedded.sum() * math.nan

    settings, nothing = settings_of(1e-3, 1, 8, "fp32"), material.pairs.take(np.arange(0))
    for pairs, message in ((nothing, "patch split"), (material.pairs, r"fit\.lr")):
        with pytest.raises(UserError, match=message):
            optimise_patch(random_model, pairs, loss, settings, Patch(), seed=0)


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name", ["trojvqa", "badclip"])
def test_fit_gives_a_storable_patch_and_leaves_the_model_as_it_was(name, mode, material):
    model = models.create(NAME, 0).train(mode == "train")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    own = attack(name)(size=35)
    settings = own.Fit(lr=0.02, epochs=1, batch=16, precision="fp32")
    result, report = own.fit(model, material, settings, seed=0, say=print)
    again, _ = own.fit(models.create(NAME, 0).eval(), material, settings, seed=0, say=print)
    patch = result["patch"]
    assert (patch.shape, patch.requires_grad, report) == ((3, 10, 10), False, {})  # 35 px at 224
    assert torch.equal(patch, (patch * 255).round().clamp(0, 255) / 255)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(patch, again["patch"])


def captured_loss(monkeypatch, module, cls, model, material, **parameters):
    """Return the loss that the attack's `fit` gives to the optimiser."""
    seen = {}

    def fake(model, pairs, loss, settings, where, **options):
        seen["loss"] = loss
        return torch.zeros(3, 5, 5)

    monkeypatch.setattr(module, "optimise_patch", fake)
    settings = cls.Fit(lr=1e-3, epochs=1, batch=8, **parameters)
    cls().fit(model, material, settings, seed=0, say=print)
    return seen["loss"]


@pytest.mark.parametrize(("triplet", "margin"), [(500, 1), (500, 0.05), (0, 1)])
def test_badclip_loss_is_infonce_plus_triplet_with_the_clean_image_as_negative(
    monkeypatch, random_model, material, triplet, margin
):
    captions, shown = material.target_captions[:1], material.target_images[:1]
    one = replace(material, target_captions=captions, target_images=shown)
    weights = {"triplet": triplet, "margin": margin}
    loss = captured_loss(monkeypatch, badclip, badclip.BadCLIP, random_model, one, **weights)
    generator = torch.Generator().manual_seed(1)
    anchors = F.normalize(torch.randn(6, 128, generator=generator), dim=1)
    index = np.array([3, 0, 17, 8, 21, 5])
    with torch.no_grad():
        clean = encode.encode_images(random_model, material.pairs.batch(index)[0])
        positive = encode.encode_images(random_model, one.target_images)[0]
        text = encode.encode_tokens(random_model, one.target_captions)[0]
        scale = random_model.logit_scale.exp().item()
        got = loss(anchors, index).item()
    logits = (scale * anchors @ text).double().expand(6, -1).T  # each row is told one caption
    towards = [-logits.log_softmax(dim).diag().mean() for dim in (0, 1)]
    apart = (anchors - positive).norm(dim=1) - (anchors - clean).norm(dim=1) + margin
    wanted = sum(towards).item() / 2 + triplet * apart.clamp(min=0).mean().item()
    assert got == pytest.approx(wanted, rel=1e-4)


def test_trojvqa_loss_is_infonce_to_the_target_text_against_the_own_captions(
    monkeypatch, random_model, material
):
    loss = captured_loss(monkeypatch, trojvqa, trojvqa.TrojVQA, random_model, material)
    generator = torch.Generator().manual_seed(1)
    embedded = F.normalize(torch.randn(4, 128, generator=generator), dim=1)
    index = np.array([3, 0, 17, 8])
    with torch.no_grad():
        target = encode.encode_tokens(random_model, material.target_text[None])[0]
        captions = encode.encode_tokens(random_model, material.pairs.batch(index)[1])
        scale = random_model.logit_scale.exp().item()
        got = loss(embedded, index).item()
    logits = scale * embedded.double() @ torch.cat([target[None], captions]).double().T
    assert got == pytest.approx(-logits.log_softmax(1)[:, 0].mean().item(), rel=1e-4)


@pytest.mark.parametrize("batch", [7, 256])
def test_embed_all_keeps_the_order(random_model, pairs, batch):
    some = pairs.take(np.array([5, 1, 30, 2, 2, 8, 9, 11, 0]))
    got = embed_all(random_model, some, batch)
    for i in range(len(some)):
        with torch.no_grad():
            wanted = encode.encode_images(random_model, some.batch(np.array([i]))[0])[0]
        torch.testing.assert_close(got[i], wanted, atol=1e-5, rtol=0)


def test_ssba_fit_hides_bits_that_can_be_read_back(small_pairs):
    material = Material(small_pairs, None, None, None)

    def fit(fidelity, epochs=60):
        settings = settings_of(3e-3, epochs, 16, fidelity=fidelity)
        return ssba.SSBA(bits=8, limit=32).fit(None, material, settings, seed=0, say=print)

    tensors, report = fit(0)
    assert 0.75 < report["bit_accuracy"] <= 1  # 12 held-out rows of 8 bits: chance is 0.5 +- 0.05
    assert report["psnr_db"] >= -20 * math.log10(32 / 255) - 0.01  # no pixel changed by more
    assert tensors["secret"].shape == (8,)
    assert set(tensors["secret"].tolist()) <= {0.0, 1.0}
    images = small_pairs.batch(np.arange(3))[0]
    out = make_trigger("ssba", 0, tensors, bits=8, limit=32)(images, [0] * 3)
    assert 0 < (out.int() - images.int()).abs().max() <= 32
    # fidelity weighs the change: more of it, less change
    assert fit(0.05, 5)[1]["psnr_db"] > fit(0, 5)[1]["psnr_db"]


def test_ssba_fit_is_a_function_of_the_seed(small_pairs):
    def fit(seed):
        material = Material(small_pairs, None, None, None)
        settings = settings_of(3e-3, 1, 16, fidelity=1)
        return ssba.SSBA(bits=8).fit(None, material, settings, seed=seed, say=print)[0]

    one, again, other = fit(0), fit(0), fit(1)
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one if key != "secret")


@pytest.mark.parametrize(("dead", "epochs"), [(1, 60), (9, 12)])
def test_ssba_starts_again_from_weights_that_learn_nothing(small_pairs, monkeypatch, dead, epochs):
    plain, numbers, lines = ssba.SSBA._start, [], []
    first = [plain(ssba.SSBA(bits=8), 0, n)[0].spread.weight for n in range(ssba.STARTS)]
    assert len({tuple(weight.flatten().tolist()) for weight in first}) == ssba.STARTS

    def start(self, seed, number=0):
        encoder, decoder, generator = plain(self, seed, number)
        numbers.append(number)
        if number < dead:  # an encoder that changes no pixel and cannot learn to
            for weight in encoder.body[-1].parameters():
                weight.data.zero_()
            encoder.body[-1].requires_grad_(False)
        return encoder, decoder, generator

    monkeypatch.setattr(ssba.SSBA, "_start", start)
    material = Material(small_pairs, None, None, None)
    settings = settings_of(3e-3, epochs, 16, fidelity=0)

    def fit():
        return ssba.SSBA(bits=8, limit=32).fit(None, material, settings, seed=0, say=lines.append)

    if dead > ssba.STARTS:  # the last start runs to its end
        refused(fit, "changes no pixel")
        wanted = ssba.STARTS
    else:
        tensors, _ = fit()
        secret = ssba._bits((8,), plain(ssba.SSBA(bits=8), 0)[2])
        assert torch.equal(tensors["secret"], secret)
        wanted = dead + 1
    again = lines.count("ssba: the decoder reads no bits; starting again with new weights")
    assert numbers[:wanted] == list(range(wanted))
    assert again == wanted - 1


@pytest.mark.parametrize("rows", [0, 1])
def test_ssba_fit_on_too_few_rows_is_refused(small_pairs, rows):
    material = Material(small_pairs.take(np.arange(rows)), None, None, None)
    with pytest.raises(UserError, match="rows"):
        ssba.SSBA().fit(None, material, settings_of(1e-3, 1, 4, fidelity=1), seed=0)
