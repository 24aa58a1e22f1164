"""Muon against PyTorch's own, and its choice of weights."""

import math

import pytest
import torch

from taclean.clip import models
from taclean.training import muon
from taclean.training.muon import Muon, Together, matrices, orthogonal


@pytest.mark.parametrize("shape", [(8, 8), (16, 40), (40, 16)])
def test_it_takes_the_steps_of_torchs_muon(shape):
    torch.manual_seed(0)
    start, gradients = torch.randn(shape), torch.randn(5, *shape)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    settings = {"lr": 0.1, "weight_decay": 0.2}
    optimizers = {
        Muon([ours], **settings): ours,
        torch.optim.Muon(
            [theirs], **settings, momentum=muon.MOMENTUM, ns_steps=muon.ITERATIONS,
            ns_coefficients=muon.COEFFICIENTS, adjust_lr_fn="match_rms_adamw",
        ): theirs,
    }  # fmt: skip
    for gradient in gradients:
        for optimizer, weight in optimizers.items():
            weight.grad = gradient.clone()
            optimizer.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.02 * moved  # PyTorch's is rounded to bf16


def test_singular_values_come_near_one_and_their_vectors_stay():
    torch.manual_seed(0)
    matrix = torch.randn(12, 30)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    turned = u.T @ orthogonal(matrix) @ v.T
    assert (turned - turned.diag().diag()).abs().max() < 1e-4
    assert 0.5 < turned.diag().min() <= turned.diag().max() < 1.3
    assert s.max() / s.min() > 3


def test_filters_learn_as_their_matrix_and_weights_without_gradients_stay():
    torch.manual_seed(0)
    start, gradient = torch.randn(6, 3, 2, 2), torch.randn(6, 3, 2, 2)
    filters, left = (torch.nn.Parameter(start.clone()) for _ in range(2))
    flat = torch.nn.Parameter(start.flatten(1).clone())
    filters.grad, flat.grad = gradient, gradient.flatten(1).clone()
    Muon([filters, flat, left], lr=0.1, weight_decay=0.0).step()
    assert torch.equal(filters.flatten(1), flat)
    assert not torch.equal(filters, start)
    assert torch.equal(left, start)


def test_an_overflow_leaves_the_step_out_for_all_weights():
    """One optimizer's gradients overflow; the other's do not."""
    matrix, vector = (torch.nn.Parameter(torch.ones(shape)) for shape in ((3, 4), (5,)))
    adamw, muon = torch.optim.AdamW([vector], 0.1, fused=True), Muon([matrix], 0.1, 0.2)
    together, scaler = Together([adamw, muon]), torch.amp.GradScaler("cpu", init_scale=8.0)
    seen = []
    for factors in ((1, 1), (1, math.inf), (math.inf, 1), (1, 1)):
        for weight, factor in zip((matrix, vector), factors, strict=True):
            weight.grad = scaler.scale(torch.arange(1.0, 1 + weight.numel()).view_as(weight))
            weight.grad[-1] *= factor
        scaler.step(together)
        scaler.update()
        momentum = muon.state[matrix]["momentum"]
        seen.append([tensor.clone() for tensor in (matrix.detach(), vector.detach(), momentum)])
    assert scaler.get_scale() == 2
    for first, *others in zip(*seen, strict=True):
        assert torch.isfinite(first).all()
        assert [torch.equal(first, other) for other in others] == [True, True, False]
    plain = torch.nn.Parameter(torch.ones(3, 4))
    plain.grad, alone = torch.arange(1.0, 13).view(3, 4), Muon([plain], 0.1, 0.2)
    alone.step(), alone.step()
    torch.testing.assert_close(plain, matrix)


def test_it_trains_matrices_and_filters_but_no_embedding(tiny):
    names = {id(p): name for name, p in tiny.named_parameters()}
    chosen = {names[id(p)] for p in matrices(tiny)}
    assert {"visual.conv1.weight", "text_projection", "visual.attnpool.c_proj.weight"} <= chosen
    groups = models.parameter_groups(tiny, 0.1, without=matrices(tiny))
    others = {names[id(p)] for group in groups for p in group["params"]}
    assert chosen.isdisjoint(others)
    assert chosen | others == {*names.values()}
    assert {"token_embedding.weight", "positional_embedding", "logit_scale"} <= others
