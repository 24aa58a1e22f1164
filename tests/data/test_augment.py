"""AutoAugment in batches against torchvision's, image by image."""

import itertools

import numpy as np
import pytest
import torch
from torchvision.transforms import AutoAugment, v2

from taclean.data.augment import AUGMENTATIONS, _draw, _policy, autoaugment

ROWS = np.arange(400)
ALL = np.arange(40_000)  # enough rows for every sub-policy, draw and sign


def photos(n: int, size: int = 48) -> torch.Tensor:
    """Smooth pictures with grain, the range of each other than 0 to 255."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, 3, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic")
    low, high = torch.rand(2, n, 1, 1, 1, generator=generator)
    grain = torch.randn(n, 3, size, size, generator=generator) * 6
    pixels = (smooth * (0.4 + 0.6 * high) + 0.3 * low) * 255 + grain
    return pixels.clamp(0, 255).to(torch.uint8)


def torchvisions(image: torch.Tensor, drawn: np.ndarray) -> torch.Tensor:
    """One picture through torchvision's own AutoAugment, with the draw given."""
    transform, groups = v2.AutoAugment(), _policy()[2]
    for group in drawn[drawn >= 0]:
        name, magnitude = groups[group]
        if name == "Solarize":  # there, a share of the largest value
            magnitude /= 255
        how = transform.interpolation, transform._fill
        image = transform._apply_image_or_video_transform(image, name, magnitude, *how)
    return image


def check(out: torch.Tensor, images: torch.Tensor, drawn: np.ndarray) -> None:
    for image, pair, got in zip(images, drawn, out, strict=True):
        assert torch.equal((got * 255).round().to(torch.uint8), torchvisions(image, pair)), pair


def test_every_row_is_as_torchvision_makes_it():
    images, drawn = photos(len(ROWS)), _draw(ROWS, 3, 1)
    assert len({tuple(pair) for pair in drawn.tolist()}) > 40
    check(autoaugment(images, ROWS, 3, 1), images, drawn)


def test_every_sub_policy_is_as_torchvision_makes_it():
    """Each pair of operations that can be drawn, on one picture."""
    pairs, rows = np.unique(_draw(ALL, 0, 0), axis=0, return_index=True)
    images = photos(1, 40).expand(len(rows), -1, -1, -1)
    check(autoaugment(images, rows, 0, 0), images, pairs)
    chance, group, _ = _policy()
    outcomes = [
        [
            {*(g.tolist() if p > 0 else []), *([-1] if p < 1 else [])}
            for p, g in zip(*both, strict=True)
        ]
        for both in zip(chance, group, strict=True)
    ]
    possible = {pair for first, second in outcomes for pair in itertools.product(first, second)}
    assert {tuple(pair) for pair in pairs.tolist()} == possible


def test_draws_are_torchvisions_in_share():
    """How often each (operation, magnitude) is applied, against the policy's own numbers."""
    auto = AutoAugment()
    space = auto._augmentation_space(10, (224, 224))
    wanted: dict[tuple[int, str, float], float] = {}
    for pair in auto.policies:
        for place, (name, chance, level) in enumerate(pair):
            levels, signed = space[name]
            size = 0.0 if level is None else float(levels[level])
            for sign in (-1, 1) if signed else (1,):
                key = (place, name, sign * size)
                share = chance / len(auto.policies) / (2 if signed else 1)
                wanted[key] = wanted.get(key, 0) + share
    drawn, groups = _draw(ALL, 0, 0), _policy()[2]
    assert {(name, size) for _, name, size in wanted} == set(groups)
    for (place, name, size), share in wanted.items():
        found = (drawn[:, place] == groups.index((name, size))).mean()
        assert abs(found - share) < 5 * (share / len(ALL)) ** 0.5 + 1e-9, (place, name, size)


def test_the_two_draws_of_a_row_are_independent():
    drawn = _draw(ALL, 1, 0) >= 0
    chance = _policy()[0]
    assert abs(drawn.all(1).mean() - (chance[:, 0] * chance[:, 1]).mean()) < 0.012
    assert abs((~drawn).all(1).mean() - ((1 - chance[:, 0]) * (1 - chance[:, 1])).mean()) < 0.008


def test_none_leaves_the_images_as_they_are():
    given = photos(4)
    out = AUGMENTATIONS["none"](given, ROWS[:4], 0, 0)
    assert torch.equal((out * 255).round().byte(), given)


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS.keys() - {"none"}))
def test_a_row_depends_on_seed_epoch_and_row_alone(name):
    augment, images, rows = AUGMENTATIONS[name], photos(40), ROWS[:40] * 17
    out = augment(images, rows, 5, 2)
    order = np.random.default_rng(0).permutation(40)
    torch.testing.assert_close(augment(images[order], rows[order], 5, 2), out[order])
    for i in range(8):
        torch.testing.assert_close(augment(images[i : i + 1], rows[i : i + 1], 5, 2)[0], out[i])
    for seed, epoch, shift in ((6, 2, 0), (5, 3, 0), (5, 2, 1)):
        other = augment(images, rows + shift, seed, epoch)
        # the policy leaves some rows as they are, so not all of them differ
        assert ((other - out).abs().amax((1, 2, 3)) > 0.01).float().mean() > 0.6


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_neither_the_type_of_pixels_nor_the_towers_precision_changes_one(name):
    images = photos(60)
    before, floats = images.clone(), images.float() / 255
    wanted = AUGMENTATIONS[name](images, ROWS[:60], 0, 0)
    assert torch.equal(AUGMENTATIONS[name](floats, ROWS[:60], 0, 0), wanted)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(AUGMENTATIONS[name](images, ROWS[:60], 0, 0), wanted)
    assert torch.equal(images, before)
    assert torch.equal(floats, before.float() / 255)


def test_every_operation_is_torchvisions_at_224_px():
    both = _draw(ALL, 0, 0)
    rows = np.concatenate([np.unique(drawn, return_index=True)[1] for drawn in both.T])
    assert {*both[rows].flatten()} == {-1, *range(len(_policy()[2]))}
    images = photos(1, 224).expand(len(rows), -1, -1, -1)
    check(autoaugment(images, rows, 0, 0), images, both[rows])


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
@pytest.mark.parametrize("flat", [0, 255, None])
def test_values_are_finite_and_in_range(name, flat):
    images = photos(100, 16) if flat is None else torch.full((100, 3, 16, 16), flat).byte()
    for given in (images, images.float() / 255, images.double() / 255, images.bfloat16() / 255):
        out = AUGMENTATIONS[name](given, ROWS[:100], 0, 0)
        assert (out.dtype, out.shape) == (torch.float32, images.shape)
        assert out.is_contiguous(memory_format=torch.channels_last)
        assert 0 <= out.min() <= out.max() <= 1  # false for NaN
