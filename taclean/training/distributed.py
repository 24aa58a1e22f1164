"""Several processes, one per GPU, started by torchrun; one process needs none of this.

Every process embeds its part of each batch. `gather` puts the parts together, so that every process
computes the loss of the whole batch. The gradient of its own rows comes back times the number of
processes, because the gradients of the weights are averaged later: that undoes the factor. A weight
that every process uses alike, such as logit_scale, has equal gradients, and their mean is the same.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from taclean.clip import CLIP
from taclean.util.errors import ElsewhereError, StoppedError, UserError

T = TypeVar("T")
PATIENCE = timedelta(hours=1)  # the others wait while the first one validates


@contextmanager
def processes(device: torch.device) -> Iterator[None]:
    """Join the processes that torchrun started; NCCL between GPUs, Gloo between CPUs.

    A process with an error does not leave the group, where NCCL would wait for the others: it ends,
    and torchrun ends them.
    """
    if not dist.is_torchelastic_launched():
        yield
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        text = f"process {rank()} of {world()}: lost the others ({str(error)[:99]}...)"
        raise UserError(f"{text}; see their messages, then run the same command again") from None
    dist.destroy_process_group()


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def together() -> Iterator[None]:
    """Run a block on every process; an error of one process is raised on all.

    The first process that has a UserError shows it; the others raise an ElsewhereError. The block
    must not communicate.
    """
    if world() == 1:
        yield
        return
    own: Exception | None = None
    try:
        yield
    except (UserError, StoppedError) as raised:
        own = raised
    errors: list[Any] = [None] * world()
    dist.all_gather_object(errors, own)
    for number, error in enumerate(errors):
        if error is not None:
            shown = number == rank() or isinstance(error, StoppedError)
            raise error if shown else ElsewhereError(str(error))


def on_first(function: Callable[[], T]) -> T:
    """Call `function` on process 0 and give its result, or its error, to all."""
    box: list[Any] = [None]
    with together():
        if rank() == 0:
            box[0] = function()
    if world() > 1:
        dist.broadcast_object_list(box, src=0)
    return box[0]


def error_of_all(text: str) -> UserError:
    """Return an error that every process finds by itself; process 0 shows it."""
    return UserError(text) if rank() == 0 else ElsewhereError(text)


def any_of_us(value: bool, device: torch.device) -> bool:
    """Return whether `value` holds on any process."""
    if world() == 1:
        return value
    flag = torch.tensor(int(value), device=device)
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag)


class _Gather(torch.autograd.Function):
    """Concatenate (n_r, d) of every process r to (sum of n_r, d), in the order of the processes.

    torch's own all_gather with gradients is deprecated, and communicates in the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor, sizes: Sequence[int]) -> Tensor:
        ctx.start, ctx.rows = sum(sizes[: rank()]), len(own)
        padded = own.new_zeros(max(sizes), *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0][ctx.start : ctx.start + ctx.rows] * world(), None


def gather(*own: Tensor, sizes: Sequence[int] | None = None) -> tuple[Tensor, ...]:
    """Return the rows of all processes, in their order, with gradients: each tensor (N, d).

    Args:
        own: tensors (n, d) of this process, all with the same n.
        sizes: the n of every process; by default all have the n of this one.
    """
    if world() == 1:
        return own
    rows = _Gather.apply(torch.cat(own, 1), sizes or [len(own[0])] * world())
    return rows.split([tensor.shape[1] for tensor in own], 1)


def mean_of_all(gradients: Sequence[Tensor]) -> list[Tensor]:
    """Return the mean of each gradient over the processes: that of the whole batch."""
    if world() == 1:
        return list(gradients)
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    parts = (flat / world()).split([gradient.numel() for gradient in gradients])
    return [part.view_as(own) for part, own in zip(parts, gradients, strict=True)]


def averaged(module: nn.Module) -> nn.Module:
    """Average the gradients of `module` over the processes; its buffers are left alone."""
    parallel = nn.parallel.DistributedDataParallel
    known = inspect.signature(parallel).parameters  # torch 2.13 renamed it
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {buffers: False, "gradient_as_bucket_view": True}
    return parallel(module, **options)


def sync_batch_norm(model: CLIP, device: torch.device) -> None:
    """Make every BatchNorm of `model` one over the whole batch; keys of the state dict stay."""
    if world() == 1:
        return
    for name, module in model.named_modules():
        works = type(module) in (nn.BatchNorm2d, nn.SyncBatchNorm) and device.type != "cpu"
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not works:
            text = f"its layer {name} is a {type(module).__name__}, which several processes"
            text += f" cannot train on {device.type}; start without torchrun"
            raise UserError(f"model.name: {text}")
    nn.SyncBatchNorm.convert_sync_batchnorm(model)
