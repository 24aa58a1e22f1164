"""A Hugging Face CLIPModel folder gives the embeddings that transformers gives.

transformers is not among the test tools: open_clip imports it where it is installed, which slows
every start. `pip install transformers` runs these tests.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch

from taclean.clip import encode, models
from taclean.util.errors import UserError
from tests.helpers import RESNET, refused

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
VISION = {"image_size": 32, "layers": 3, "width": 128, "patch_size": 16}
PICTURES = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.25]}


@pytest.fixture(scope="module", autouse=True)
def _configs(tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("model_configs")
    common = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": TEXT}
    for name, more in {
        "hf-like-quickgelu": {"quick_gelu": True},
        "hf-like": {},
        "hf-like-custom": {"custom_text": True},
        "hf-like-heads": {"quick_gelu": True, "text_cfg": TEXT | {"heads": 4}},
        "hf-like-resnet": {"quick_gelu": True, "vision_cfg": RESNET},
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(common | more))
    open_clip.add_model_config(folder)


def save(folder: Path, act: str = "quick_gelu"):
    """A random CLIPModel of the form above; biases and norms, too, are drawn."""
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPConfig(
        text_config={
            "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2,
            "num_attention_heads": 2, "hidden_act": act, "eos_token_id": 49407,
        },
        vision_config={
            "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 3,
            "num_attention_heads": 2, "hidden_act": act, "image_size": 32, "patch_size": 16,
        },
        projection_dim=24,
    )  # fmt: skip
    torch.manual_seed(3)
    model = transformers.CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("hf") / "model"
    save(path)
    (path / "preprocessor_config.json").write_text(json.dumps(PICTURES))
    return path


@pytest.mark.parametrize(
    ("name", "act"),
    [("hf-like-quickgelu", "quick_gelu"), ("hf-like", "gelu"), ("hf-like-custom", "gelu")],
)
def test_embeddings_are_those_of_transformers(tmp_path: Path, name: str, act: str) -> None:
    theirs = save(tmp_path / "model", act)
    (tmp_path / "model/preprocessor_config.json").write_text(json.dumps(PICTURES))
    ours = models.create(name, pretrained=str(tmp_path / "model")).eval()
    images = torch.rand(5, 3, 32, 32)
    mean, std = (torch.tensor(PICTURES[key]).view(3, 1, 1) for key in PICTURES)
    tokens = models.tokenize(name, ["a", "a photo of a banana.", "kiwis " * 90]).astype(np.int64)
    tokens = torch.from_numpy(tokens)
    with torch.no_grad():
        found = theirs(pixel_values=(images - mean) / std, input_ids=tokens)
        image, text = encode.encode_images(ours, images), encode.encode_tokens(ours, tokens)
    torch.testing.assert_close(image, found.image_embeds, atol=2e-5, rtol=0)
    torch.testing.assert_close(text, found.text_embeds, atol=2e-5, rtol=0)
    torch.testing.assert_close(ours.logit_scale.detach(), theirs.logit_scale.detach())


def changed(folder: Path, out: Path, **files) -> Path:
    """A copy of the folder with other files; None: without it."""
    shutil.copytree(folder, out)
    for name, content in files.items():
        path = next(out.glob(f"{name}.*"))
        path.unlink()
        if content is not None:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
    return out


def test_wrong_folders_are_told_in_one_line(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    vision = config["vision_config"] | {"layer_norm_eps": 1e-6}
    wrong = [
        ("no config.json", {"config": None}, "hf-like-quickgelu"),
        ("no model.safetensors", {"model": None}, "hf-like-quickgelu"),
        ("model_type is 'siglip'", {"config": config | {"model_type": "siglip"}}, "hf-like"),
        ("not a JSON file", {"config": "{"}, "hf-like-quickgelu"),
        ("trained with QuickGELU, and hf-like has GELU", {}, "hf-like"),
        ("attention heads", {}, "hf-like-heads"),
        ("layer_norm_eps", {"config": config | {"vision_config": vision}}, "hf-like-quickgelu"),
        ("no config of a CLIPModel", {"config": config | {"vision_config": "x"}}, "hf-like"),
        ("no config of a CLIPModel", {"preprocessor_config": 3}, "hf-like-quickgelu"),
        ("no mean and std", {"preprocessor_config": {"image_mean": "x"}}, "hf-like-quickgelu"),
        ("image_std is [0", {"preprocessor_config": {"image_std": [0, 0, 0]}}, "hf-like-quickgelu"),
        ("holds more than weights, or is damaged", {"model": "damaged"}, "hf-like-quickgelu"),
        ("attention heads", {}, "hf-like-resnet"),
    ]  # fmt: skip
    for i, (message, files, name) in enumerate(wrong):
        place = changed(folder, tmp_path / str(i), **files)
        said = refused(lambda name=name, place=place: models.create(name, 0, str(place)), message)
        assert str(tmp_path) in said or name == "hf-like"


def test_a_missing_part_of_an_attention_and_an_unknown_tensor_are_named(folder, tmp_path) -> None:
    state = safetensors.torch.load_file(folder / "model.safetensors")
    place = changed(folder, tmp_path / "model")
    less = {key: value for key, value in state.items() if "1.self_attn.v_proj.bias" not in key}
    safetensors.torch.save_file(less, place / "model.safetensors")
    with pytest.raises(UserError, match=r"has no \w+\.encoder\.layers\.1\.self_attn\.v_proj\.bias"):
        models.create("hf-like-quickgelu", pretrained=str(place))
    more = state | {"text_model.extra.weight": torch.zeros(2)}
    safetensors.torch.save_file(more, place / "model.safetensors")
    with pytest.raises(UserError, match="1 tensors differ by name"):
        models.create("hf-like-quickgelu", pretrained=str(place))
