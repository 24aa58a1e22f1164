"""CLIP models: open_clip's, with weights that nobody trusts."""

import contextlib
import functools
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from taclean.clip import CLIP
from taclean.clip.checkpoints import check_folder, read_folder, read_metadata, read_state_dict
from taclean.clip.encode import CONTEXT
from taclean.util.errors import UserError, first_line
from taclean.util.files import reading, replacing

# What OpenAI's archives keep beside the weights.
OPENAI_NUMBERS = ("input_resolution", "context_length", "vocab_size")
GEOMETRY = ("mean", "std", "interpolation", "resize_mode")  # of the pictures that a model wants


@functools.cache
def library() -> ModuleType:
    """Import open_clip, which takes a second, and make this package's models known to it."""
    import open_clip

    import taclean.clip.towers  # noqa: F401 - timm then knows the tower

    open_clip.add_model_config(Path(__file__).parents[1] / "model_configs")
    return open_clip


def create(name: str, seed: int = 0, pretrained: str | None = None) -> CLIP:
    """Build an open_clip model, from scratch or with pretrained weights.

    Args:
        seed: decides the random weights where `pretrained` gives none; nothing else does.
        pretrained: a checkpoint file in any form that `read_state_dict` reads, the folder of a
            Hugging Face `CLIPModel`, or one of open_clip's tags for this model (downloaded once,
            read as safetensors or with `weights_only`). A file without the mean and std of its
            pictures gets those of the model's tags where they agree, else CLIP's.
    """
    open_clip = library()
    if name not in open_clip.list_models():
        raise UserError(f"model.name: open_clip has no model {name!r}; see open_clip.list_models()")
    if pretrained is None:
        return _build(name, seed)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if Path(pretrained).is_file() or (Path(pretrained).is_dir() and pretrained not in tags):
        model = _build(name, seed, force_preprocess_cfg=_file_geometry(name))
        load_weights(model, pretrained, name)
        return model
    wanted = open_clip.get_pretrained_cfg(name, pretrained)
    if not wanted:
        text = f"{pretrained!r} is no file, no folder and no tag of {name}"
        raise UserError(f"model.pretrained: {text}; its tags are {', '.join(tags) or 'none'}")
    better = f"{name}-quickgelu"
    quick = open_clip.get_model_config(name).get("quick_gelu", False)
    if wanted.get("quick_gelu") and not quick and better in open_clip.list_models():
        text = f"the weights {pretrained!r} were trained with QuickGELU, {name} has GELU"
        raise UserError(f"model.name: {text}; use {better}")
    path, geometry = _download(name, pretrained, wanted), _geometry(wanted)
    try:
        return _build(name, seed, pretrained=path, weights_only=True, force_preprocess_cfg=geometry)
    except Exception as error:  # whatever the readers raise
        text = f"not the weights {pretrained!r} of {name} ({first_line(error)})"
        raise UserError(f"{path}: {text}; remove the file and download it again") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logging.disable(logging.ERROR)  # "initialized randomly" is what is asked for here
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _build(name: str, seed: int, **more: Any) -> CLIP:
    with _quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # pretrained_hf: a text tower of another library would else come with its own weights.
        model = library().create_model(name, pretrained_hf=False, **more)
    return model.to(memory_format=torch.channels_last)


def _download(name: str, tag: str, wanted: dict[str, Any]) -> str:
    try:
        with _quiet():
            return library().download_pretrained(wanted)
    except Exception as error:  # whatever the network and its libraries raise
        put = "put it beside the config and set model.pretrained to its path"
        if _geometry(wanted).items() - _file_geometry(name).items():  # a file would not tell it
            put = "put it into this machine's cache of the hub (HF_HOME)"
        where = " or ".join(wanted[key] for key in ("url", "hf_hub") if wanted.get(key))
        why = type(error.__context__ or error).__name__
        text = f"{tag!r} of {name} is not cached and cannot be downloaded ({why})"
        raise UserError(f"model.pretrained: {text}; fetch {where} elsewhere and {put}") from None


def _geometry(known: Mapping[str, Any]) -> dict[str, Any]:
    """Select what decides how pictures are prepared; a ValueError names a wrong mean or std."""
    found = {key: known[key] for key in GEOMETRY if key in known}
    for key in found.keys() & {"mean", "std"}:
        found[key] = tuple(map(float, known[key]))
        good = [abs(value) < 256 and (value > 0 or key == "mean") for value in found[key]]
        if good != [True] * 3:
            raise ValueError(f"image_{key} is {known[key]!r}")
    return found


def _file_geometry(name: str) -> dict[str, Any]:
    """Return the geometry for a file without one: that of all tags of `name`, or CLIP's own."""
    from open_clip.transform import PreprocessCfg

    tags = library().list_pretrained_tags_by_model(name)
    found = [_geometry(library().get_pretrained_cfg(name, tag)) for tag in tags]
    agree = found and all(geometry == found[0] for geometry in found)
    return found[0] if agree else _geometry(vars(PreprocessCfg()))


@functools.cache
def _tokenizer(name: str) -> Any:
    made = library().get_tokenizer(name)  # building one takes 50 ms
    clean = getattr(made, "clean_fn", None)
    if clean and getattr(clean, "__name__", "") == "_clean_lower":
        plain = re.compile("[A-Za-z0-9 ,.'-]*").fullmatch  # ftfy repairs no such text, but reads it
        made.clean_fn = lambda text: " ".join(text.split()).lower() if plain(text) else clean(text)
    return made


def tokenize(name: str, texts: Sequence[str]) -> np.ndarray:
    """Tokenise with the model's own tokenizer: (N, 77) uint16; the end token is kept when cut.

    Rows of a model with a shorter context end in zeros, which `encode_tokens` drops.
    """
    try:
        with _quiet():
            tokenizer = _tokenizer(name)
    except Exception as error:  # tokenizers of other libraries are downloaded
        text = f"the tokenizer of {name} cannot be had ({first_line(error)})"
        cure = "run once with a network, or choose a model with CLIP's own tokenizer"
        raise UserError(f"model.name: {text}; {cure}") from None
    tokens = tokenizer(list(texts)).numpy()
    short = CONTEXT - tokens.shape[1]
    if short < 0 or tokens.max(initial=0) > np.iinfo(np.uint16).max:
        text = f"{name} wants {tokens.shape[1]} tokens with ids up to {tokens.max()}; packed "
        text += f"captions hold {CONTEXT} with ids below 65536, choose another model"
        raise UserError(f"model.name: {text}")
    return np.pad(tokens, ((0, 0), (0, short))).astype(np.uint16)


def parameter_groups(
    model: CLIP, weight_decay: float, without: Sequence[nn.Parameter] = ()
) -> list[dict[str, Any]]:
    """Return AdamW groups of what learns, but `without`: no decay on biases, norms, logit_scale."""
    others = {id(p) for p in without}
    parameters = [p for p in model.parameters() if p.requires_grad and id(p) not in others]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def check_suffix(path: Path | str) -> None:
    """Refuse a name of weights that does not end in .safetensors."""
    if Path(path).suffix != ".safetensors":
        raise UserError(f"{path}: end the name in .safetensors, open_clip knows the form by that")


def save_weights(model: CLIP, path: Path | str, **metadata: str) -> None:
    """Write safetensors that plain `open_clip.create_model(name, pretrained=path)` loads.

    The mean, std and geometry of the pictures go with them, as JSON in the metadata `preprocess`,
    where they are not open_clip's own for a file, or the tags of the model `name` have others.
    """
    check_suffix(path)
    geometry = _geometry(library().get_model_preprocess_cfg(model))
    if not geometry == _file_geometry("") == _file_geometry(metadata.get("name", "")):
        metadata["preprocess"] = json.dumps(geometry)
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    with replacing(path) as temporary:
        safetensors.torch.save_file(state, temporary, metadata=metadata)
        _sort_metadata(temporary)


def _sort_metadata(path: Path) -> None:
    """Sort the metadata, which safetensors writes in a random order: equal weights, equal bytes."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= size:  # as it is, but for what JSON may write in more than one way
            file.seek(8)
            file.write(text.ljust(size))


def _by_own_names(model: CLIP, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Bring the published forms of `model`'s weights to its own names and shapes."""
    from open_clip.model import convert_to_custom_text_state_dict

    own = model.state_dict()
    extra = {key for key in state if key in OPENAI_NUMBERS or key.split(".")[-1] == "attn_mask"}
    state = {key: value for key, value in state.items() if key in own or key not in extra}
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    for key in ("logit_scale", "logit_bias"):
        if key in own and key in state and state[key].numel() == own[key].numel() == 1:
            state[key] = state[key].reshape(own[key].shape)
    return state


def load_weights(model: CLIP, path: Path | str, name: str = "the model") -> None:
    """Load a checkpoint in open_clip's, OpenAI's or CleanCLIP's form, or a CLIPModel folder.

    `open_clip.load_checkpoint` would resize embeddings of another shape; here they are refused.
    """
    from open_clip.model import QuickGELU

    quick = any(isinstance(part, QuickGELU) for part in model.modules())
    if (path := Path(path)).is_dir():
        told, state = json.dumps(check_folder(path, model, name, quick)), read_folder(path)
    else:
        state, told = read_state_dict(path), read_metadata(path).get("preprocess", "{}")
    with reading(path, "no mean and std of its pictures", TypeError, ValueError, RecursionError):
        geometry = _geometry(json.loads(told))
    if "input_resolution" in state and not quick:
        text = f"OpenAI's weights, which were trained with QuickGELU, and {name} has GELU"
        raise UserError(f"{path}: {text}; set model.name to its -quickgelu form")
    state = _by_own_names(model, state)
    if wrong := _difference(model.state_dict(), state):
        text = f"not a checkpoint of {name}: {wrong}"
        raise UserError(f"{path}: {text}; correct model.name or give another file")
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise UserError(f"{path}: {key} holds values that are not finite; give another file")
    model.load_state_dict(state)
    if geometry:
        known = library().get_model_preprocess_cfg(model)
        library().set_model_preprocess_cfg(model, known | geometry)


def _difference(own: dict[str, Tensor], state: dict[str, Tensor]) -> str:
    """Say how the tensors of `state` differ from a model's own; "" where they do not."""
    if wrong := [k for k in own if k not in state] + [k for k in state if k not in own]:
        return f"{len(wrong)} tensors differ by name, such as {wrong[0]!r}"
    for key, value in own.items():
        if state[key].shape != value.shape:
            return f"{key} is {tuple(state[key].shape)}, expected {tuple(value.shape)}"
        if state[key].is_floating_point() != value.is_floating_point():
            return f"{key} is {state[key].dtype}, expected {value.dtype}"
    return ""


def load(name: str, checkpoint: Path | str) -> CLIP:
    """Build `name` and load `checkpoint` into it, in evaluation mode."""
    model = create(name)
    load_weights(model, checkpoint, name)
    return model.eval()
