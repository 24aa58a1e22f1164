"""A Hugging Face `CLIPModel` folder as open_clip's weights; nothing of transformers is imported.

The folder holds `config.json`, `model.safetensors` and, perhaps, `preprocessor_config.json`, as
`CLIPModel.save_pretrained` and the hub have them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from taclean.clip.checkpoints import read_state_dict
from taclean.util.errors import UserError
from taclean.util.files import read_json

WEIGHTS, CONFIG, PICTURES = "model.safetensors", "config.json", "preprocessor_config.json"
TOWERS = {"vision_model": "visual.", "text_model": ""}
NAMES = {  # within a tower
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "pre_layrnorm": "ln_pre",  # sic
    "post_layernorm": "ln_post",
    "final_layer_norm": "ln_final",
}
LAYER = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def read_config(folder: Path | str) -> dict[str, Any]:
    """What decides the model beside its weights: what open_clip's model must be like.

    Returns:
        {"quick_gelu": bool, "heads": [of the image tower, of the text tower], "preprocess": mean
        and std of the pictures where the folder says them}.

    Raises:
        UserError: no folder of a CLIPModel, or a form that open_clip's towers have not.
    """
    folder = Path(folder)
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{folder}: no Hugging Face CLIPModel folder, it has no {missing[0]}; give one that "
            "`CLIPModel.save_pretrained` wrote in one safetensors file, or a checkpoint file"
        )
    config = read_json(folder / CONFIG)
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != "clip":
        raise UserError(
            f"{folder / CONFIG}: model_type is {kind!r}, not 'clip'; only CLIPModel is read"
        )
    # Left out is what CLIPConfig has by default.
    vision, text = (config.get(key) or {} for key in ("vision_config", "text_config"))
    acts = {tower.get("hidden_act", "quick_gelu") for tower in (vision, text)}
    epsilons = {tower.get("layer_norm_eps", 1e-5) for tower in (vision, text)}
    if len(acts) != 1 or not acts <= {"gelu", "quick_gelu"} or epsilons != {1e-5}:
        raise UserError(
            f"{folder / CONFIG}: hidden_act {', '.join(sorted(map(str, acts)))} and layer_norm_eps "
            f"{', '.join(map(str, epsilons))}; open_clip's CLIP has gelu or quick_gelu and 1e-05"
        )
    found: dict[str, Any] = {
        "quick_gelu": acts == {"quick_gelu"},
        "heads": [vision.get("num_attention_heads", 12), text.get("num_attention_heads", 8)],
        "preprocess": {},
    }
    if (folder / PICTURES).is_file():
        pictures = read_json(folder / PICTURES)
        for key in ("mean", "std"):
            values = pictures.get(f"image_{key}") if isinstance(pictures, dict) else None
            if values is not None:
                found["preprocess"][key] = _three(folder / PICTURES, key, values)
    return found


def _three(path: Path, key: str, values: Any) -> tuple[float, ...]:
    numbers = isinstance(values, list) and all(isinstance(v, int | float) for v in values)
    if not numbers or len(values) != 3:
        raise UserError(f"{path}: image_{key} is {values!r}, not three numbers; correct it")
    return tuple(float(value) for value in values)


def read_weights(folder: Path | str) -> dict[str, Tensor]:
    """The weights of `model.safetensors`, by open_clip's names and in its layout.

    Query, key and value are stacked, and projections, which it multiplies from the right, turned.
    Tensors that it has no name for keep theirs.

    Raises:
        UserError: no safetensors file with weights, or an attention that lacks a part.
    """
    path = Path(folder) / WEIGHTS
    state = read_state_dict(path)
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        tower, _, rest = key.partition(".")
        layer = re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", rest)
        if key.endswith("embeddings.position_ids"):  # a buffer that older versions kept
            continue
        if key == "visual_projection.weight":
            out["visual.proj"] = value.T.contiguous()
        elif key == "text_projection.weight":
            out["text_projection"] = value.T.contiguous()
        elif tower in TOWERS and layer:
            number, part, kind = layer.groups()
            block = f"{TOWERS[tower]}transformer.resblocks.{number}."
            if part == "self_attn.q_proj":
                names = [key.replace("q_proj", f"{which}_proj") for which in "qkv"]
                if lacks := [name for name in names if name not in state]:
                    raise UserError(f"{path}: has no {lacks[0]}; save the model again")
                out[f"{block}attn.in_proj_{kind}"] = torch.cat([state[name] for name in names])
            elif part not in ("self_attn.k_proj", "self_attn.v_proj"):
                out[f"{block}{LAYER.get(part, part)}.{kind}"] = value
        elif tower in TOWERS:
            stem, _, kind = rest.rpartition(".")
            name = NAMES.get(rest) or f"{NAMES.get(stem, stem)}.{kind}"
            out[TOWERS[tower] + name] = value
        else:
            out[key] = value
    return out
