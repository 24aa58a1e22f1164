"""A Hugging Face `CLIPModel` folder as open_clip's weights; nothing of transformers is imported.

The folder holds `config.json`, `model.safetensors` and, perhaps, `preprocessor_config.json`, as
`CLIPModel.save_pretrained` and the hub have them.
"""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from taclean.clip.checkpoints import read_state_dict
from taclean.util.errors import UserError
from taclean.util.files import read_json

WEIGHTS, CONFIG, PICTURES = "model.safetensors", "config.json", "preprocessor_config.json"
RENAMES = {  # patterns in names of tensors, and what open_clip has in their place
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


def read_config(folder: Path | str) -> dict[str, Any]:
    """Read what decides the model beside its weights: what open_clip's model must be like.

    Returns:
        {"quick_gelu": bool, "heads": [of the image tower, of the text tower], "preprocess": mean
        and std of the pictures where the folder says them}.
    """
    folder = Path(folder)
    if missing := [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]:
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
    # What is left out has CLIPConfig's default.
    vision, text = (config.get(key) or {} for key in ("vision_config", "text_config"))
    acts = {tower.get("hidden_act", "quick_gelu") for tower in (vision, text)}
    epsilons = {tower.get("layer_norm_eps", 1e-5) for tower in (vision, text)}
    if acts not in ({"gelu"}, {"quick_gelu"}) or epsilons != {1e-5}:
        raise UserError(
            f"{folder / CONFIG}: hidden_act {', '.join(sorted(map(str, acts)))} and layer_norm_eps "
            f"{', '.join(map(str, epsilons))}; open_clip's CLIP has gelu or quick_gelu and 1e-05"
        )
    pictures = read_json(folder / PICTURES) if (folder / PICTURES).is_file() else {}
    preprocess = {
        key: pictures[f"image_{key}"] for key in ("mean", "std") if f"image_{key}" in pictures
    }
    for key, values in preprocess.items():
        if not isinstance(values, list) or list(map(type, values)) != [float] * 3:
            raise UserError(
                f"{folder / PICTURES}: image_{key} is {values!r}, not three numbers; correct it"
            )
    return {
        "quick_gelu": acts == {"quick_gelu"},
        "heads": [vision.get("num_attention_heads", 12), text.get("num_attention_heads", 8)],
        "preprocess": preprocess,
    }


def read_weights(folder: Path | str) -> dict[str, Tensor]:
    """Read `model.safetensors` by open_clip's names and in its layout.

    Query, key and value are stacked; projections, which it multiplies from the right, are turned.
    Tensors that it has no name for keep theirs.
    """
    path = Path(folder) / WEIGHTS
    state, out = read_state_dict(path), {}
    for name, value in state.items():
        key = name
        # Buffers that older versions kept; parts that are stacked with their query.
        if re.search(r"embeddings\.position_ids$|self_attn\.[kv]_proj", name):
            continue
        if "self_attn.q_proj" in name:
            parts = [name.replace("q_proj", f"{which}_proj") for which in "qkv"]
            if lacks := [part for part in parts if part not in state]:
                raise UserError(f"{path}: has no {lacks[0]}; save the model again")
            value = torch.cat([state[part] for part in parts])
            key = name.replace("self_attn.q_proj.", "attn.in_proj_")
        for pattern, new in RENAMES.items():
            key = re.sub(pattern, new, key)
        out[key] = value.T.contiguous() if key in ("visual.proj", "text_projection") else value
    return out
