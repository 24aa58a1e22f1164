"""CLIP models: open_clip's, with batched uint8 input, short token rows and safe weights."""

from __future__ import annotations

import contextlib
import functools
import logging
import pickle
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import safetensors.torch
import torch
import torch.nn.functional as F
from open_clip import CLIP
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from taclean.errors import UserError
from taclean.files import replacing

with resources.as_file(resources.files("taclean") / "model_configs") as _folder:
    open_clip.add_model_config(_folder)


def create(name: str, seed: int = 0) -> CLIP:
    """Build an open_clip model with random weights that depend on `seed` alone.

    Raises:
        UserError: open_clip does not know the model.
    """
    if name not in open_clip.list_models():
        raise UserError(f"model.name: open_clip has no model {name!r}; see open_clip.list_models()")
    logging.disable(logging.WARNING)  # "initialized randomly" is what is asked for here
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = open_clip.create_model(name)
    finally:
        logging.disable(logging.NOTSET)
    return model.to(memory_format=torch.channels_last)


_tokenizer = functools.cache(open_clip.get_tokenizer)  # building one takes 50 ms


def tokenize(name: str, texts: Sequence[str]) -> np.ndarray:
    """Tokenise with the model's own tokenizer: (N, 77) uint16; the end token is kept when cut."""
    if len(texts) == 0:
        raise UserError("captions: the list is empty; give at least one caption")
    return _tokenizer(name)(list(texts)).numpy().astype(np.uint16)


def device_of(model: CLIP) -> torch.device:
    """The device of the model's weights."""
    return next(model.parameters()).device


def normalize(model: CLIP, images: Tensor) -> Tensor:
    """(B, 3, H, W) uint8, or float in [0, 1] -> float as the model's mean and std want it.

    Raises:
        UserError: wrong number of dimensions, channels, size or dtype.
    """
    size = model.visual.image_size
    height, width = size if isinstance(size, tuple | list) else (size, size)
    if images.ndim != 4 or tuple(images.shape[1:]) != (3, height, width):
        raise UserError(
            f"images: shape {tuple(images.shape)}, this model wants (B, 3, {height}, {width})"
        )
    if images.dtype == torch.uint8:
        images = images.float().div_(255)
    elif not images.dtype.is_floating_point:
        raise UserError(f"images: dtype {images.dtype}, give uint8 or float in [0, 1]")
    mean, std = (
        torch.tensor(getattr(model.visual, key), device=images.device).view(1, 3, 1, 1)
        for key in ("image_mean", "image_std")
    )
    return (images - mean) / std


def encode_images(model: CLIP, images: Tensor) -> Tensor:
    """(B, 3, H, W) uint8, or float in [0, 1], on any device -> (B, d) float32 of unit norm."""
    images = images.to(device_of(model), non_blocking=True)
    return F.normalize(model.visual(normalize(model, images)).float(), dim=-1)


def encode_tokens(model: CLIP, tokens: Tensor) -> Tensor:
    """(B, 77) int64 on any device -> (B, d) float32 of unit norm.

    The rows are cut to the longest caption of the batch: exact, since CLIP's text tower is causal
    and reads the end token. Tokens in host memory are best: a GPU would have to be waited for.
    """
    end = tokens.argmax(-1)  # the end token has the highest id
    device = device_of(model)
    if not isinstance(model, open_clip.CLIP) or model.text_pool_type != "argmax":
        return F.normalize(model.encode_text(tokens.to(device)).float(), dim=-1)
    length = int(end.max()) + 1
    tokens, end = (part.to(device, non_blocking=True) for part in (tokens[:, :length], end))
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    # On a CPU the plain kernel is twice as fast as the fused one for rows as short as these.
    plain = sdpa_kernel(SDPBackend.MATH) if x.device.type == "cpu" else contextlib.nullcontext()
    with plain:
        x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    x = model.ln_final(x[torch.arange(len(x), device=x.device), end])
    return F.normalize((x @ model.text_projection).float(), dim=-1)


def parameter_groups(model: CLIP, weight_decay: float) -> list[dict[str, Any]]:
    """AdamW groups: no decay on biases, norms and logit_scale."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def save_weights(model: CLIP, path: Path | str, **metadata: str) -> None:
    """Write safetensors that plain `open_clip.create_model(name, pretrained=path)` loads."""
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    with replacing(path) as temporary:
        safetensors.torch.save_file(state, temporary, metadata=metadata)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def read_state_dict(path: Path | str) -> dict[str, Tensor]:
    """Read weights of any origin without running code of theirs.

    Safetensors, or a torch file read with `weights_only=True`; a wrapped `state_dict` and
    `module.` prefixes (CleanCLIP's form) are unwrapped.

    Raises:
        UserError: missing, truncated, no weights, or code would have to run to load it.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        if path.suffix == ".safetensors":
            state: Any = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = _first_line(error)
        raise UserError(
            f"{path}: refused, it holds more than weights or is damaged ({reason}); "
            "convert it to safetensors where it can be trusted"
        ) from None
    except Exception as error:  # whatever a damaged file makes the readers raise
        reason = _first_line(error)
        raise UserError(f"{path}: truncated or no checkpoint ({reason})") from None
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state:
        raise UserError(f"{path}: holds no weights")
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path}: holds no state dict of tensors")
    if not all(isinstance(key, str) for key in state):
        raise UserError(f"{path}: holds no state dict of named tensors")
    return {key.removeprefix("module."): value for key, value in state.items()}


def load_weights(model: CLIP, path: Path | str, name: str = "the model") -> None:
    """Load a checkpoint into `model`.

    Raises:
        UserError: unreadable, or its tensors are not those of `name`.
    """
    state, own = read_state_dict(path), model.state_dict()
    wrong = [k for k in own if k not in state] + [k for k in state if k not in own]
    if wrong:
        raise UserError(
            f"{path}: not a checkpoint of {name}: {len(wrong)} tensors differ by name, such as "
            f"{wrong[0]!r}; correct model.name or give another file"
        )
    for key, value in own.items():
        if state[key].shape != value.shape:
            raise UserError(
                f"{path}: not a checkpoint of {name}: {key} is {tuple(state[key].shape)}, expected "
                f"{tuple(value.shape)}; correct model.name or give another file"
            )
        if not torch.isfinite(state[key]).all():
            raise UserError(f"{path}: {key} holds values that are not finite; train it again")
    model.load_state_dict(state)


def load(name: str, checkpoint: Path | str) -> CLIP:
    """Build `name` and load `checkpoint` into it, in evaluation mode."""
    model = create(name)
    load_weights(model, checkpoint, name)
    return model.eval()
