"""Images and tokens to embeddings: batched uint8 input, short token rows, mixed precision."""

import contextlib
import math
import platform

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from taclean.clip import CLIP
from taclean.util.errors import UserError

CONTEXT = 77  # tokens of a packed caption
LIKE = 96  # rows that go through the text tower together on a CPU
PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def device_of(model: CLIP) -> torch.device:
    return next(model.parameters()).device


def normalize(model: CLIP, images: Tensor) -> Tensor:
    """Normalise (B, 3, H, W) uint8, or float in [0, 1], by the model's mean and std."""
    size = model.visual.image_size
    height, width = size if isinstance(size, tuple | list) else (size, size)
    if images.ndim != 4 or tuple(images.shape[1:]) != (3, height, width):
        text = f"shape {tuple(images.shape)}; give (B, 3, {height}, {width}), as this model wants"
        raise UserError(f"images: {text}")
    if images.dtype == torch.uint8:
        images = images.float().div_(255)
    elif not images.dtype.is_floating_point:
        raise UserError(f"images: dtype {images.dtype}, give uint8 or float in [0, 1]")
    elif images.device.type == "cpu" and images.numel() and images.detach().amax() > 2:
        raise UserError("images: floats above 1; divide by 255")  # on a GPU this would take time
    given = torch.tensor([model.visual.image_mean, model.visual.image_std]).view(2, 1, 3, 1, 1)
    # A blocking copy would wait for all that a GPU has still to do.
    mean, std = given.to(images.device, non_blocking=True)
    if images.device.type == "cpu":  # no vector instructions for pixels of three channels
        mean, std = (torch.zeros_like(images[:1]).add_(value) for value in (mean, std))
    return (images - mean) / std


def encode_images(model: CLIP, images: Tensor) -> Tensor:
    """Embed (B, 3, H, W) uint8, or float in [0, 1], on any device: (B, d) float32 of unit norm."""
    images = images.to(device_of(model), non_blocking=True)
    return F.normalize(model.visual(normalize(model, images)).float(), dim=-1)


def encode_tokens(model: CLIP, tokens: Tensor) -> Tensor:
    """Embed (B, 77) int64 tokens on any device: (B, d) float32 of unit norm.

    Rows are cut to the longest caption of their group. That is exact, since CLIP's text tower is
    causal and reads the end token. Other towers get rows as long as their context. Tokens in host
    memory are best: on a GPU the lengths would have to be waited for.
    """
    device = device_of(model)
    if not len(tokens):
        raise UserError("captions: none to embed; leave at least one pair of each batch")
    if not _is_causal(model):
        tokens = tokens[:, : getattr(model, "context_length", 0) or CONTEXT]
        return F.normalize(model.encode_text(tokens.to(device)).float(), dim=-1)
    end = tokens.argmax(-1)  # the end token has the highest id
    on_cpu = device.type == "cpu"
    # A row costs a CPU its length with its padding: groups of rows that end alike halve the time of
    # a batch of captions and their parts. On a GPU the launches would cost more than they save.
    count = math.ceil(len(end) / LIKE) if on_cpu else 1
    order = end.argsort(stable=True) if count > 1 else torch.arange(len(end), device=end.device)
    groups = order.chunk(count)
    lengths = [int(end[rows].max()) + 1 for rows in groups]
    cut = [tokens[rows, :length] for rows, length in zip(groups, lengths, strict=True)]
    ids = torch.cat([part.flatten() for part in cut]).to(device, non_blocking=True)
    embedded = model.token_embedding(ids).split([part.numel() for part in cut])  # one gradient
    # On a CPU the plain kernel is twice as fast as the fused one for rows as short as these.
    plain = sdpa_kernel(SDPBackend.MATH) if on_cpu else contextlib.nullcontext()
    last = []
    with plain:
        for rows, length, x in zip(groups, lengths, embedded, strict=True):
            x = x.view(len(rows), length, -1) + model.positional_embedding[:length]
            x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
            ends = end[rows].to(device, non_blocking=True)
            last.append(x[torch.arange(len(x), device=device), ends])
    x = model.ln_final(torch.cat(last))
    x = F.normalize((x @ model.text_projection).float(), dim=-1)
    return x[order.argsort()] if count > 1 else x


def _is_causal(model: CLIP) -> bool:
    """Return whether the text tower is CLIP's own: causal, read at the end token."""
    from open_clip import CLIP

    own = isinstance(model, CLIP) and model.text_pool_type == "argmax"
    return own and model.attn_mask is not None and isinstance(model.text_projection, Tensor)


def precision_on(device: torch.device, wanted: str = "auto") -> str:
    """Return `wanted`, or for 'auto' the key of PRECISIONS that is fastest on `device`.

    A CPU without instructions for bf16 emulates them, more than ten times slower than fp32.
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type != "cpu":
        return "fp32"
    x86 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    arm = platform.machine() in ("aarch64", "arm64")
    own = x86 or (arm and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return "bf16" if own else "fp32"


def autocast(device: torch.device, precision: str = "auto") -> torch.autocast:
    """Autocast to a key of PRECISIONS or to 'auto', see `precision_on`.

    fp32 casts nothing, and turns TF32 off, in which a GPU would compute convolutions.
    """
    precision = precision_on(device, precision)
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = precision != "fp32"
    return torch.autocast(device.type, PRECISIONS[precision], enabled=precision != "fp32")
