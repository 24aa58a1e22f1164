"""The losses against loops of their definitions, and the way their gradients point."""

import math

import pytest
import torch
import torch.nn.functional as F

from taclean.losses import clip_loss, self_loss, subcaption_loss
from taclean.util.errors import UserError

SCALES = [1.0, 14.3, 100.0]


def unit(rows: int, seed: int, width: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, width, generator=generator, dtype=torch.float64), dim=1)


def cross_entropy(queries, keys, scale) -> float:
    """CE(s Q K^t), the diagonal as target, mean over the rows: as a loop."""
    total = 0.0
    for i, query in enumerate(queries):
        scores = [scale * float(query @ key) for key in keys]
        top = max(scores)
        total += top + math.log(sum(math.exp(score - top) for score in scores)) - scores[i]
    return total / len(queries)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_clip_loss_and_self_loss_are_their_definitions(rows, scale):
    images, augmented, texts, variants = (unit(rows, seed) for seed in range(4))
    wanted = (cross_entropy(images, texts, scale) + cross_entropy(texts, images, scale)) / 2
    assert clip_loss(images, texts, scale).item() == pytest.approx(wanted, abs=1e-9)
    wanted = (cross_entropy(images, augmented, scale) + cross_entropy(texts, variants, scale)) / 2
    got = self_loss(images, augmented, texts, variants, scale)
    assert got.item() == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    ("rows", "negatives"), [(1, 1), (1, 0), (1, 3), (4, 4), (4, 12), (4, 3), (4, 0)]
)
def test_subcaption_loss_is_its_definition(rows, negatives, scale):
    images, positives, false = unit(rows, 0), unit(rows, 1), unit(max(1, negatives), 2)[:negatives]
    image_to_text = cross_entropy(images, torch.cat([positives, false]), scale)
    text_to_image = cross_entropy(positives, images, scale)
    got = subcaption_loss(images, positives, false, scale).item()
    assert got == pytest.approx((image_to_text + text_to_image) / 2, abs=1e-9)


def test_matching_pairs_cost_least_and_each_negative_adds():
    images = torch.eye(4, 8, dtype=torch.float64)
    assert clip_loss(images, images, 100).item() == pytest.approx(0, abs=1e-12)
    assert clip_loss(images, images.roll(1, 0), 100).item() == pytest.approx(100)
    # embeddings all alike: the loss of a guess
    same = unit(1, 0).expand(6, -1)
    assert clip_loss(same, same, 50).item() == pytest.approx(math.log(6))
    got = subcaption_loss(same, same, same[:3], 50).item()
    assert got == pytest.approx((math.log(9) + math.log(6)) / 2)
    costs = [subcaption_loss(images, images, unit(5, 3)[:m], 5).item() for m in range(6)]
    assert costs == sorted(set(costs))


def test_the_scale_learns_from_the_loss():
    images, texts = unit(4, 0), unit(4, 1)
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    clip_loss(images, texts, scale).backward()
    step = 1e-5
    slope = (clip_loss(images, texts, 3 + step) - clip_loss(images, texts, 3 - step)) / (2 * step)
    assert scale.grad.item() == pytest.approx(slope.item(), rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_subcaption_gradient_moves_the_image_to_its_positive_and_from_its_negative(seed):
    images = unit(3, seed).requires_grad_(True)
    positives, negatives = unit(3, seed + 10), unit(3, seed + 20)
    texts = torch.cat([positives, negatives])
    subcaption_loss(images, positives, negatives, 10.0).backward()
    step = -1e-3 * images.grad
    before, after = images.detach(), images.detach() + step
    for i in range(3):
        share = torch.softmax(10 * before[i] @ texts.T, 0)
        then = torch.softmax(10 * after[i] @ texts.T, 0)
        assert then[i] > share[i]
    # finite differences agree with autograd along the step
    loss = [
        subcaption_loss(before + h * step, positives, negatives, 10.0).item() for h in (1e-3, -1e-3)
    ]
    slope = (loss[0] - loss[1]) / 2e-3
    assert slope == pytest.approx((images.grad * step).sum().item(), rel=1e-4)
    assert slope < 0


def test_logits_are_exact_whatever_precision_the_towers_have():
    found = []
    for enabled in (False, True):
        images = unit(8, 0).float().requires_grad_(True)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = clip_loss(images, unit(8, 1).float(), 100.0)
        loss.backward()
        found.append(images.grad)
    assert torch.equal(*found)


def test_sub_captions_without_a_positive_for_each_image_are_refused():
    with pytest.raises(UserError, match="2 positives for 3 images"):
        subcaption_loss(unit(3, 0), unit(2, 1), unit(3, 2), 1.0)


def test_without_drawn_rows_the_sub_caption_term_is_0_and_so_is_its_gradient():
    parts = [unit(rows, seed).requires_grad_() for seed, rows in enumerate((0, 0, 3))]
    loss = subcaption_loss(*parts, 10.0)
    loss.backward()
    assert loss.item() == 0
    assert all((part.grad == 0).all() for part in parts)
