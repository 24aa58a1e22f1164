"""No tensor is left on the wrong device, shown without a GPU.

`Elsewhere` tensors are on a device of their own (of torch's type "lazy", which has no kernels in
torch's packages) and hold real data. An operation that mixes them with tensors in host memory
raises, as it would on a GPU; all others are computed, so that the results can be compared.
"""

import contextlib

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from benchmarks.reference import random_fit
from taclean.attacks import attack, make_trigger
from taclean.attacks.material import Material
from taclean.clip import models
from taclean.data.augment import AUGMENTATIONS
from taclean.evaluation.evaluate import score, write_samples
from taclean.evaluation.zeroshot import Prompts
from tests.helpers import TRIGGERS

DEVICE = torch.device("lazy", 0)
# These take host tensors beside those of a device: copies, and indexing by a host tensor.
MIXING = ("aten::_to_copy", "aten::copy_", "aten::index", "aten::_index_put", "aten::_unsafe_index")


class Elsewhere(torch.Tensor):
    @staticmethod
    def __new__(cls, data: torch.Tensor):
        size = {"strides": data.stride(), "dtype": data.dtype, "device": DEVICE}
        tensor = torch.Tensor._make_wrapper_subclass(cls, data.size(), **size)
        tensor.data_here = data
        return tensor

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return compute(function, args, kwargs or {})


def compute(function, args, kwargs):
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    there = any(isinstance(tensor, Elsewhere) for tensor in tensors)
    here = [t.shape for t in tensors if not isinstance(t, Elsewhere) and t.ndim]
    name = function.name()
    if there and here and not name.startswith(MIXING):
        raise RuntimeError(f"{name} mixes devices: {here} in host memory")
    if kwargs.get("device") is not None:
        there = torch.device(kwargs["device"]).type == DEVICE.type
        kwargs = {**kwargs, "device": "cpu"}
    plain = tree_map(lambda x: x.data_here if isinstance(x, Elsewhere) else x, (args, kwargs))
    out = function(*plain[0], **plain[1])
    if function._schema.is_mutable and isinstance(out, torch.Tensor):
        return args[0]
    return tree_map(lambda x: Elsewhere(x) if there and isinstance(x, torch.Tensor) else x, out)


class Second(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return compute(function, args, kwargs or {})


@pytest.fixture(autouse=True)
def second_device(monkeypatch):
    plain = torch.tensor  # reaches no dispatch mode before it has made its tensor

    def tensor(data, *, device=None, **more):
        made = plain(data, **more)
        return made if device is None or torch.device(device) != DEVICE else Elsewhere(made)

    monkeypatch.setattr(torch, "tensor", tensor)
    monkeypatch.setattr(torch, "autocast", lambda *key, **more: contextlib.nullcontext())
    with Second():
        yield


def moved(model: nn.Module) -> nn.Module:
    for module in model.modules():
        for key, value in module._parameters.items():
            if value is not None:
                module._parameters[key] = nn.Parameter(Elsewhere(value.detach()))
        for key, value in module._buffers.items():
            if value is not None:
                module._buffers[key] = Elsewhere(value)
    return model


def back(tensor: torch.Tensor) -> torch.Tensor:
    assert isinstance(tensor, Elsewhere)
    return tensor.data_here


def test_a_forgotten_move_is_found():
    with pytest.raises(RuntimeError, match="mixes devices"):
        Elsewhere(torch.ones(2)) + torch.ones(2)
    assert back(Elsewhere(torch.ones(2)) + torch.ones(2).to(DEVICE)).tolist() == [2, 2]


@pytest.mark.parametrize(("name", "parameters"), TRIGGERS, ids=str)
@pytest.mark.parametrize("kind", ["uint8", "float"])
def test_triggers(name, parameters, kind, pairs):
    size = {"size": 16 * 64 / 224} if name in ("trojvqa", "badclip") else {}
    trigger = make_trigger(name, 3, random_fit(attack(name)(**size)), **parameters)
    images, ids = pairs.batch(np.arange(6))[0], torch.arange(6)
    images = images if kind == "uint8" else images.float() / 255
    assert torch.equal(back(trigger(Elsewhere(images), Elsewhere(ids))), trigger(images, ids))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentations(name, pairs):
    images, rows = pairs.batch(np.arange(20))[0], np.arange(20)
    got = AUGMENTATIONS[name](Elsewhere(images), rows, 0, 0)
    assert torch.equal(back(got), AUGMENTATIONS[name](images, rows, 0, 0))


def test_scores_and_samples(tiny_name, small_pairs, tmp_path):
    names = ["banana", *(f"class {i}" for i in range(99))]
    prompts = Prompts(tiny_name, names, ["a {}."], "banana")
    triggers = {"badnet": make_trigger("badnet", size=42), "blended": make_trigger("blended")}
    model = models.create(tiny_name, 0).eval()
    wanted = score(small_pairs, prompts.heads(model), triggers)
    heads = prompts.heads(moved(model))
    got = score(small_pairs, heads, triggers)
    assert got.keys() == wanted.keys()
    assert got["badnet"]["ASR@1"]["n"] == wanted["badnet"]["ASR@1"]["n"]
    write_samples(tmp_path / "samples.npz", small_pairs, heads, triggers, 20, True)
    assert np.load(tmp_path / "samples.npz")["triggered"].shape == (20, 16)


@pytest.mark.parametrize(
    ("name", "more"), [("badclip", {"size": 42}), ("trojvqa", {"size": 42}), ("ssba", {"bits": 4})]
)
def test_triggers_are_fitted_there_and_kept_here(name, more, tiny_name, small_pairs, tokenize):
    images, captions = small_pairs.batch(np.arange(5))
    text = torch.from_numpy(tokenize(["a banana."]).astype(np.int64))[0]
    own = attack(name)(**more)
    fitted, _ = own.fit(
        moved(models.create(tiny_name, 0).eval()),
        Material(small_pairs.take(np.arange(32)), text, captions, images),
        own.Fit(lr=0.01, epochs=2, batch=16), seed=0, say=lambda line: None,
    )  # fmt: skip
    assert not any(isinstance(value, Elsewhere) for value in fitted.values())
