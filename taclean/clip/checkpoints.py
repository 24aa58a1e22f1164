"""Weights of any origin, read without running code of theirs; transformers is not imported."""

import io
import pickle
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import torch.jit._pickle
from torch import Tensor

from taclean.clip import CLIP
from taclean.util.errors import UserError, first_line
from taclean.util.files import mistaken, read_json, reading

WRAPPERS = ("state_dict", "model_state_dict", "model", "module")  # keys that hold the state dict
PREFIXES = ("module.", "_orig_mod.")  # DistributedDataParallel, torch.compile
# TorchScript calls these on plain lists; they return what they are given.
LISTS = ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist")
# Files of a Hugging Face folder; patterns in the names of its tensors, with those of open_clip.
WEIGHTS, CONFIG, PICTURES = "model.safetensors", "config.json", "preprocessor_config.json"
RENAMES = {
    r"^vision_model\.": "visual.",
    r"^text_model\.": "",
    r"^(visual|text)_projection\.weight": r"\1_projection",
    r"^visual_projection": "visual.proj",
    r"encoder\.layers\.": "transformer.resblocks.",
    r"embeddings\.patch_embedding": "conv1",
    r"embeddings\.position_embedding\.weight": "positional_embedding",
    r"embeddings\.(class|token)_embedding": r"\1_embedding",
    "pre_layrnorm": "ln_pre",  # sic
    "post_layernorm": "ln_post",
    "final_layer_norm": "ln_final",
    r"self_attn\.out_proj": "attn.out_proj",
    r"layer_norm([12])": r"ln_\1",
    r"mlp\.fc1": "mlp.c_fc",
    r"mlp\.fc2": "mlp.c_proj",
}


def read_state_dict(path: Path | str) -> dict[str, Tensor]:
    """Read weights of any origin without running code of theirs.

    The content decides the form, not the suffix: safetensors; torch files, zipped or of the old
    form, by torch's `weights_only` reader; TorchScript archives, which is what OpenAI released. A
    wrapped state dict is unwrapped, `module.` prefixes (CleanCLIP's form) are dropped, and
    floats become float32. A file that would have to run code is refused.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; correct the path")
    if what := mistaken(path):
        raise UserError(f"{path}: no checkpoint{what}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols
            state = _read(path)
    except pickle.UnpicklingError as error:
        if not zipfile.is_zipfile(path) and path.read_bytes()[:1] != b"\x80":  # no pickle either
            text = "no checkpoint, neither safetensors nor a file that torch.save wrote"
            raise UserError(f"{path}: {text}; give another file") from None
        named = re.search(r"GLOBAL (\S+)", str(error))
        # The reason is the last line of torch's long advice, before a link.
        advice = str(error).partition("Check the documentation")[0].strip().splitlines()
        reason = f"it names {named[1]}" if named else (advice or [first_line(error)])[-1]
        text = f"refused, it would run code or holds more than weights, or is damaged ({reason})"
        cure = "convert it to safetensors where it can be trusted"
        raise UserError(f"{path}: {text}; {cure}") from None
    except Exception as error:  # whatever a damaged file makes the readers raise
        text = f"truncated or no checkpoint ({first_line(error)}); make or fetch it again"
        raise UserError(f"{path}: {text}") from None
    for key in WRAPPERS * 2:  # {"model": {"state_dict": ...}}
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    good = isinstance(state, dict) and all(isinstance(key, str) for key in state)
    if not good or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path}: holds no state dict of named tensors; give one that does")
    for key, value in state.items():
        form = value.layout, value.is_quantized, value.device.type
        if form != (torch.strided, False, "cpu") or value.nbytes > value.untyped_storage().nbytes():
            raise UserError(f"{path}: {key} is no plain tensor; convert it to a dense one")
        if value.is_floating_point() and value.element_size() < 2:
            raise UserError(f"{path}: {key} is {value.dtype}; give a file that is not quantised")
    count = len(state)
    for prefix in PREFIXES * 2:  # one within the other
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    if len(state) < count:
        raise UserError(f"{path}: holds weights twice, with and without {PREFIXES}; keep one")
    return {k: v.detach().float() if v.is_floating_point() else v for k, v in state.items()}


def read_metadata(path: Path | str) -> dict[str, str]:
    """Return the metadata of a safetensors file; {} for files of other forms."""
    if not _is_safetensors(Path(path)):
        return {}
    with safetensors.safe_open(path, "pt") as file:
        return file.metadata() or {}


def _read(path: Path) -> Any:
    if _is_safetensors(path):
        return safetensors.torch.load_file(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            scripts = [n for n in archive.namelist() if re.fullmatch(r"[^/]+/constants\.pkl", n)]
            if scripts:
                return _read_torchscript(archive, scripts[0].split("/")[0])
    with path.open("rb") as file:  # torch goes by the suffix of a path
        return torch.load(file, map_location="cpu", weights_only=True)


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(9)  # the header's length, then the header, a JSON object
    return head[8:] == b"{" and not head.startswith(b"PK\x03\x04")


class _Module:
    """Stands for a module of an archive: keeps its attributes, does nothing."""


def _read_torchscript(archive: zipfile.ZipFile, root: str) -> dict[str, Tensor]:
    """Read the tensors of a TorchScript archive by the path of their attributes.

    `torch.jit.load` compiles the archive's code and runs its `__setstate__`; torch's `weights_only`
    reader refuses archives, and wants them without their code. It then gets the data alone, with
    an inert class in place of each class of the archive's own. It raises a pickle.UnpicklingError
    where the data name anything else.
    """
    pickled = archive.read(f"{root}/data.pkl")
    named = (str(x) for code, x, _ in pickletools.genops(pickled) if code.name == "GLOBAL")
    names = {name for name in named if re.match(r"__torch__[. ]", name)}
    stubs: list[Any] = [getattr(torch.jit._pickle, name) for name in LISTS]
    for name in names:
        module, _, qualified = name.partition(" ")
        stubs.append(type(qualified, (_Module,), {"__module__": module}))
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as plain:
        for entry in archive.namelist():
            name = entry.partition("/")[2]  # torch writes .data/version since 2.13
            needed = ("data.pkl", "version", ".data/version", "byteorder")
            if entry.startswith(f"{root}/data/") or name in needed:
                plain.writestr(entry, archive.read(entry))
    data.seek(0)
    with torch.serialization.safe_globals(stubs):
        top = torch.load(data, map_location="cpu", weights_only=True)
    state: dict[str, Tensor] = {}
    todo, seen = [("", top)], {id(top)}
    while todo:
        prefix, module = todo.pop()
        for key, value in (vars(module) if isinstance(module, _Module) else {}).items():
            if isinstance(value, Tensor):
                state[f"{prefix}{key}"] = value
            elif isinstance(value, _Module) and id(value) not in seen:
                seen.add(id(value))
                todo.append((f"{prefix}{key}.", value))
    return state


def check_folder(folder: Path, model: CLIP, name: str, quick_gelu: bool) -> dict[str, Any]:
    """Compare a folder of `CLIPModel.save_pretrained` with a model where shapes do not tell.

    Return the mean and std of the pictures, where the folder says them.
    """
    if missing := [file for file in (CONFIG, WEIGHTS) if not (folder / file).is_file()]:
        other = f"no Hugging Face CLIPModel folder, it has no {missing[0]}"
        cure = "one that `CLIPModel.save_pretrained` wrote in one file, or a checkpoint file"
        raise UserError(f"{folder}: {other}; give {cure}")
    config = read_json(folder / CONFIG)
    pictures = read_json(folder / PICTURES) if (folder / PICTURES).is_file() else {}
    # What is left out has CLIPConfig's default.
    with reading(folder, "no config of a CLIPModel", AttributeError, TypeError):
        kind = config.get("model_type")
        vision, text = (config.get(key) or {} for key in ("vision_config", "text_config"))
        acts = {tower.get("hidden_act", "quick_gelu") for tower in (vision, text)}
        epsilons = {tower.get("layer_norm_eps", 1e-5) for tower in (vision, text)}
        found = {key: pictures.get(f"image_{key}") for key in ("mean", "std")}
    if kind != "clip":
        other = f"model_type is {kind!r}, not 'clip'; give the folder of a CLIPModel"
        raise UserError(f"{folder / CONFIG}: {other}")
    if acts not in ({"gelu"}, {"quick_gelu"}) or epsilons != {1e-5}:
        own = f"hidden_act {', '.join(sorted(map(str, acts)))} and layer_norm_eps "
        own += ", ".join(map(str, epsilons))
        other = f"{own}; open_clip's CLIP has gelu or quick_gelu and 1e-05"
        raise UserError(f"{folder / CONFIG}: {other}")
    if (acts == {"quick_gelu"}) != quick_gelu:
        forms = ("GELU", "QuickGELU", "with"), ("QuickGELU", "GELU", "without")
        own, theirs, form = forms[quick_gelu]
        other = f"trained with {theirs}, and {name} has {own}"
        raise UserError(f"{folder}: {other}; set model.name to the form {form} -quickgelu")
    wanted = [vision.get("num_attention_heads", 12), text.get("num_attention_heads", 8)]
    heads = [
        block.attn.num_heads
        for tower in (model.visual, getattr(model, "text", model))
        for block in getattr(getattr(tower, "transformer", None), "resblocks", [])[:1]
    ]
    if heads != wanted:
        other = f"attention heads {wanted} (pictures, text), and {name} has {heads}"
        raise UserError(f"{folder}: {other}; correct model.name")
    return {key: values for key, values in found.items() if values is not None}


def read_folder(folder: Path) -> dict[str, Tensor]:
    """Read a Hugging Face folder's weights by open_clip's names and in its layout.

    Query, key and value are stacked; projections, which it multiplies from the right, are turned.
    Tensors that it has no name for keep theirs.
    """
    state, out = read_state_dict(folder / WEIGHTS), {}
    for name, value in state.items():
        key = name
        # Buffers that older versions kept; parts that are stacked with their query.
        if re.search(r"embeddings\.position_ids$|self_attn\.[kv]_proj", name):
            continue
        if "self_attn.q_proj" in name:
            parts = [name.replace("q_proj", f"{which}_proj") for which in "qkv"]
            if lacks := [part for part in parts if part not in state]:
                raise UserError(f"{folder / WEIGHTS}: has no {lacks[0]}; save the model again")
            value = torch.cat([state[part] for part in parts])
            key = name.replace("self_attn.q_proj.", "attn.in_proj_")
        for pattern, new in RENAMES.items():
            key = re.sub(pattern, new, key)
        out[key] = value.T.contiguous() if key in ("visual.proj", "text_projection") else value
    return out
