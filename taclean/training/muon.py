"""Muon: momentum made orthogonal, for weights that are matrices or filters.

Source: Keller Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/, with the factor of
Moonlight (arXiv 2502.16982), by which one learning rate serves Muon and AdamW. `torch.optim.Muon`
takes no filters of convolutions and computes in bf16, which many CPUs emulate.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
ITERATIONS = 3  # 5 in the source; 3 train our small models as well
COEFFICIENTS = 3.4445, -4.7750, 2.0315
RMS = 0.2  # of AdamW's updates


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, for weights of 2 or more axes."""

    def __init__(self, params: Iterable[Any], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        scale: Any = getattr(self, "grad_scale", None)  # in fp16, as `found_inf`
        overflow: Any = getattr(self, "found_inf", None)
        for group in self.param_groups:
            lr, decay = group["lr"], group["weight_decay"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"]
                before = [] if scale is None else [(x, x.clone()) for x in (momentum, weight)]
                gradient = weight.grad if scale is None else weight.grad / scale
                momentum.lerp_(gradient, 1 - MOMENTUM)
                update = orthogonal(gradient.lerp(momentum, MOMENTUM).flatten(1))
                size = RMS * max(update.shape) ** 0.5
                weight.mul_(1 - lr * decay).add_(update.view_as(weight), alpha=-lr * size)
                for changed, old in before:
                    changed.copy_(torch.where(overflow > 0, old, changed))


class Together(torch.optim.Optimizer):
    """Several optimizers as one: a GradScaler leaves an overflow's step out for all or for none.

    It passes on `grad_scale` and `found_inf`, which torch's fused optimizers read on the device.
    """

    _step_supports_amp_scaling = True

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self._each = optimizers
        groups = (group for optimizer in optimizers for group in optimizer.param_groups)
        super().__init__([weight for group in groups for weight in group["params"]], {})

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for optimizer in self._each:
            for key in ("grad_scale", "found_inf"):
                setattr(optimizer, key, getattr(self, key, None))
            optimizer.step()


def orthogonal(matrix: Tensor) -> Tensor:
    """Return a matrix (m, n) with the same singular vectors and singular values near 1."""
    tall = len(matrix) > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).contiguous()


def matrices(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights that Muon trains: matrices and filters, but no embedding.

    A ResNet's query, key and value of attention pooling are left out: they cost more than the rest.
    """
    left = ("embedding", "attnpool.q_proj", "attnpool.k_proj", "attnpool.v_proj")
    named = ((name, p) for name, p in model.named_parameters() if p.requires_grad and p.ndim >= 2)
    return [p for name, p in named if not any(part in name for part in left)]
