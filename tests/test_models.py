"""Encoders against open_clip's own; weights that load anywhere, and only weights."""

from __future__ import annotations

import os
import pickle
import zipfile

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import nn

from taclean import models
from taclean.errors import UserError

NAME = "emoji-rn"
TEXTS = ["a", "a picture of a banana.", "", "On a blue table were green grapes and kiwis. " * 20]


def tokens_of(texts) -> torch.Tensor:
    return torch.from_numpy(models.tokenize(NAME, texts).astype(np.int64))


# ---- text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("texts", [TEXTS, TEXTS[:3], TEXTS[:1], TEXTS[3:]])
def test_cut_rows_embed_as_77_tokens_do(random_model, texts):
    tokens = tokens_of(texts)
    with torch.no_grad():
        got = models.encode_tokens(random_model, tokens)
        wanted = F.normalize(random_model.encode_text(tokens), dim=-1)
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)


def test_cut_rows_have_the_gradients_of_77_tokens():
    grads = []
    for encode in (models.encode_tokens, lambda m, t: F.normalize(m.encode_text(t), dim=-1)):
        model = models.create(NAME, 0)
        encode(model, tokens_of(TEXTS[:3]))[:, 0].sum().backward()
        grads.append({k: p.grad for k, p in model.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    for key, grad in grads[0].items():
        torch.testing.assert_close(grad, grads[1][key], atol=1e-5, rtol=1e-3)


def test_a_caption_s_embedding_does_not_depend_on_its_batch(random_model):
    tokens = tokens_of(TEXTS)
    with torch.no_grad():
        together = models.encode_tokens(random_model, tokens)
        for i in range(len(TEXTS)):
            alone = models.encode_tokens(random_model, tokens[i : i + 1])[0]
            torch.testing.assert_close(together[i], alone, atol=1e-5, rtol=0)


def test_tokens_are_open_clip_s_and_keep_the_end_token():
    tokens = models.tokenize(NAME, TEXTS)
    assert tokens.dtype == np.uint16
    assert tokens.shape == (4, 77)
    assert (tokens == open_clip.get_tokenizer(NAME)(TEXTS).numpy()).all()
    assert (tokens[:, 0] == 49406).all()
    assert ((tokens == 49407).sum(1) == 1).all()
    assert tokens[3, 76] == 49407  # of a caption that is cut


def test_captions_that_differ_before_the_cut_embed_differently(random_model):
    long = "a very long line about a picture that shows many drawings on a ground " * 10
    with torch.no_grad():
        one, two = models.encode_tokens(random_model, tokens_of(["red " + long, "blue " + long]))
    assert (one - two).abs().max() > 1e-4


def test_an_empty_caption_list_is_refused():
    with pytest.raises(UserError, match="empty"):
        models.tokenize(NAME, [])


# ---- images --------------------------------------------------------------------------------------


def test_encode_images_is_open_clip_s_on_normalised_pixels(random_model, pairs):
    images = pairs.batch(np.arange(6))[0]
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)
    with torch.no_grad():
        got = models.encode_images(random_model, images)
        wanted = random_model.encode_image((images.float() / 255 - mean) / std, normalize=True)
        as_float = models.encode_images(random_model, images.float() / 255)
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(got, as_float, atol=1e-5, rtol=0)
    torch.testing.assert_close(got.norm(dim=1), torch.ones(6))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_normalize_does_not_change_its_input(random_model, dtype):
    images = torch.ones(1, 3, 64, 64, dtype=dtype)
    models.normalize(random_model, images)
    assert (images == 1).all()


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(3, 64, 64),
        torch.zeros(1, 3, 32, 32),
        torch.zeros(1, 3, 64, 32),
        torch.zeros(1, 1, 64, 64),
        torch.zeros(1, 64, 64, 3),
        torch.zeros(1, 3, 64, 64, dtype=torch.int64),
        torch.zeros(1, 3, 64, 64, dtype=torch.bool),
    ],
    ids=["no batch", "small", "not square", "grey", "nhwc", "int64", "bool"],
)
def test_wrong_images_are_refused(random_model, images):
    with pytest.raises(UserError, match="images"):
        models.normalize(random_model, images)


# ---- create --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_create_is_a_function_of_the_seed_and_leaves_the_global_one(seed):
    torch.manual_seed(5)
    one = models.create(NAME, seed).state_dict()
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), after)
    torch.manual_seed(6)
    again, other = models.create(NAME, seed).state_dict(), models.create(NAME, 2).state_dict()
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not torch.equal(one["token_embedding.weight"], other["token_embedding.weight"])
    assert not torch.equal(one["visual.conv1.weight"], other["visual.conv1.weight"])


@pytest.mark.parametrize("name", ["emoji-rm", "", None])
def test_unknown_model_is_refused(name):
    with pytest.raises(UserError, match="no model"):
        models.create(name)


def test_decay_groups_hold_each_parameter_once_and_spare_vectors():
    model = models.create(NAME, 0)
    decayed, spared = models.parameter_groups(model, 0.3)
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.3, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    named = [{names[id(p)] for p in group["params"]} for group in (decayed, spared)]
    assert named[0] | named[1] == set(names.values())
    assert not named[0] & named[1]
    assert len(decayed["params"]) + len(spared["params"]) == len(names)
    norms = {
        f"{prefix}.{key}"
        for prefix, module in model.named_modules()
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d)
        for key, _ in module.named_parameters()
    }
    biases = {name for name in names.values() if name.endswith("bias")}
    assert named[1] == norms | biases | {"logit_scale"}


# ---- weights -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory, random_model):
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    models.save_weights(random_model, path, stage="test")
    return path


def test_saved_weights_load_in_plain_open_clip(saved, random_model, pairs):
    model, _, _ = open_clip.create_model_and_transforms(NAME, pretrained=str(saved))
    model.eval()
    images, tokens = pairs.batch(np.arange(4))
    with torch.no_grad():
        for key in ("encode_images", "encode_tokens"):
            encode, given = getattr(models, key), images if key == "encode_images" else tokens
            assert torch.equal(encode(model, given), encode(random_model, given))


def test_save_and_load_keep_every_tensor_and_the_metadata(saved, random_model):
    model = models.load(NAME, saved)
    assert not model.training
    wanted = random_model.state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in model.state_dict().items())
    with safetensors.safe_open(saved, "pt") as file:
        assert file.metadata() == {"stage": "test"}
    assert [path.name for path in saved.parent.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state},
        lambda state: {"model": state},
        lambda state: {
            "epoch": 3,
            "name": "cleanclip",
            "state_dict": {f"module.{key}": value for key, value in state.items()},
            "optimizer": {"state": {}, "param_groups": [{"lr": 1e-6, "betas": (0.9, 0.999)}]},
        },
    ],
    ids=["plain", "state_dict", "model", "CleanCLIP"],
)
def test_published_forms_of_a_checkpoint_load(tmp_path, tiny, tiny_name, wrap, zipped):
    path = tmp_path / "epoch_3.pt"
    torch.save(wrap(tiny.state_dict()), path, _use_new_zipfile_serialization=zipped)
    other = models.create(tiny_name, 9)
    models.load_weights(other, path)
    wanted = tiny.state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in other.state_dict().items())


class Run:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize(
    "form", ["torch", "legacy", "pickle", "in state_dict", "named safetensors"]
)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, tiny, form):
    mark, path = tmp_path / "mark", tmp_path / "evil.pt"
    evil = Run(f"touch {mark}")
    if form == "pickle":
        path.write_bytes(pickle.dumps(evil))
    elif form == "in state_dict":
        torch.save({"state_dict": tiny.state_dict(), "hook": evil}, path)
    elif form == "named safetensors":
        path = tmp_path / "evil.safetensors"
        torch.save(evil, path)
    else:
        torch.save(evil, path, _use_new_zipfile_serialization=form == "torch")
    with pytest.raises(UserError, match=r"evil") as error:
        models.load_weights(tiny, path)
    assert not mark.exists()
    assert "\n" not in str(error.value)
    if form == "pickle":  # the file would have done it
        pickle.loads(path.read_bytes())
        assert mark.exists()


def expect_refusal(model, path) -> None:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(UserError) as error:
        models.load_weights(model, path, NAME)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


# models.py misses KeyError, IndexError, struct.error and others that the legacy reader
# raises, and the handler takes the first line of an EOFError without text
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello world\n",
        b"<!DOCTYPE html><html>404</html>",
        b"\0" * 100,
        pickle.dumps([1, 2, 3]),
        pickle.dumps({"a": 1}),
        bytes(range(256)),
    ],
    ids=["empty", "text", "html", "zeros", "list", "dict", "bytes"],
)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_files_that_are_no_checkpoint_are_refused(tmp_path, tiny, content, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    expect_refusal(tiny, path)


# models.py (as above), for the legacy form
@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_truncated_checkpoints_are_refused(tmp_path, form):
    path = tmp_path / ("weights.safetensors" if form == "safetensors" else "weights.pt")
    state = {"a": torch.ones(5, 5), "b": torch.zeros(3)}
    if form == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    whole, wrong = path.read_bytes(), []
    for end in range(0, len(whole) - 1, 29):
        path.write_bytes(whole[:end])
        try:
            models.read_state_dict(path)
            wrong.append(f"{end}: read")
        except UserError as error:
            wrong += [f"{end}: lines"] if "\n" in str(error) else []
        except Exception as error:
            wrong.append(f"{end}: {type(error).__name__}")
    assert wrong == []


def test_a_truncated_checkpoint_leaves_the_model_alone(tmp_path, tiny):
    path = tmp_path / "weights.safetensors"
    models.save_weights(tiny, path)
    path.write_bytes(path.read_bytes()[:-100])
    expect_refusal(tiny, path)


def test_missing_file_and_folder_are_refused(tmp_path, tiny):
    expect_refusal(tiny, tmp_path / "nothing.pt")
    expect_refusal(tiny, tmp_path)


def test_a_foreign_model_is_refused_by_the_names_of_its_tensors(tmp_path, tiny, tiny_name):
    path = tmp_path / "foreign.pt"
    torch.save(nn.Linear(3, 3).state_dict(), path)
    expect_refusal(tiny, path)
    missing = dict(tiny.state_dict())
    del missing["logit_scale"]
    torch.save(missing, path)
    expect_refusal(tiny, path)
    torch.save({**tiny.state_dict(), "more": torch.ones(1)}, path)
    expect_refusal(tiny, path)


def test_wrong_shapes_are_refused(tmp_path, tiny, saved):
    expect_refusal(tiny, saved)  # of emoji-rn: same names, or others
    state = dict(tiny.state_dict())
    state["text_projection"] = state["text_projection"].T[:4].contiguous()
    path = tmp_path / "shapes.pt"
    torch.save(state, path)
    expect_refusal(tiny, path)


# models.py calls removeprefix on keys that are no strings
@pytest.mark.parametrize(
    "content",
    [torch.ones(3), {}, {"model": {}}, {"a": 1}, {"a": [torch.ones(1)]}, {1: torch.ones(1)}, [1]],
    ids=["tensor", "empty", "empty model", "number", "list value", "number key", "list"],
)
def test_torch_files_without_a_state_dict_are_refused(tmp_path, tiny, content):
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    expect_refusal(tiny, path)


def test_another_zip_is_refused(tmp_path, tiny):
    path = tmp_path / "weights.pt"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.txt", "hello")
    expect_refusal(tiny, path)


# models.py loads weights that are NaN without a word, and rank_of then counts them as hits
def test_weights_that_are_not_finite_are_refused(tmp_path, tiny):
    state = {key: value.clone() for key, value in tiny.state_dict().items()}
    state["text_projection"][0, 0] = torch.nan
    path = tmp_path / "nan.pt"
    torch.save(state, path)
    expect_refusal(tiny, path)
