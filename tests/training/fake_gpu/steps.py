"""Run training steps on a CUDA device that is not there; see tests/training/test_fake_gpu.py.

Tensors in host memory are real; those of the device have a shape and no data. An operation that
mixes the two raises, as on a GPU. What makes the host wait for the device is counted.
"""

import json
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import torch.cuda.amp.common
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from taclean import defenses
from taclean.clip import models
from taclean.config import registry
from taclean.config.schema import Train
from taclean.data.split import Pairs
from taclean.defenses import hooks
from taclean.training.loop import Training

FAKE = FakeTensorMode(allow_non_fake_inputs=True)
WAITS = ("nonzero", "masked_select", "_unique2", "equal", "is_nonzero")
PACKAGE = str(Path(models.__file__).parents[1])
COPIES = ("_to_copy", "copy_")
BATCH = 16


def pretend() -> None:
    """Make torch believe in the device."""
    torch.cuda._lazy_init = lambda: None
    torch.cuda.is_bf16_supported = lambda *given, **more: True
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False
    empty = torch.empty
    torch.empty = lambda *size, pin_memory=False, **more: empty(*size, **more)
    torch._C._set_only_lift_cpu_tensors(True)
    hooks.fingerprint = lambda *parts: ""  # of values, which the device's tensors have not
    torch.__future__.set_overwrite_module_params_on_conversion(True)


class Device(TorchDispatchMode):
    """Runs operations of the device without data, and counts in `waits` what waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.kernels = 0

    def wait(self, why: str) -> None:
        frames = reversed(traceback.extract_stack())
        place = next((f for f in frames if f.filename.startswith(PACKAGE)), None)
        where = f"{Path(place.filename).name}:{place.lineno}" if place else "torch"
        self.waits[f"{why} at {where}"] += 1

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        wanted = kwargs.get("device")
        there = wanted is not None and torch.device(wanted).type == "cuda"
        if not there and not any(isinstance(leaf, FakeTensor) for leaf in leaves):
            return function(*args, **kwargs)
        name = function._overloadpacket.__name__
        self.kernels += 1
        if name == "_local_scalar_dense":
            self.wait("item()")
            return 1.0 if args[0].dtype.is_floating_point else 1  # any number will do
        if name in COPIES:
            source = args[1] if name == "copy_" else args[0]
            target = torch.device(wanted) if wanted is not None else args[0].device
            free = kwargs.get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2])
            if source.device.type != target.type and not free:
                self.wait(f"copy to {target.type}")
        if name in WAITS:
            self.wait(name)
        with FAKE:
            return function(*args, **kwargs)


def waits(name: str | None, settings: dict[str, str], **parameters: str) -> dict[str, int]:
    """Return what waits for the device in the second step of a defence."""
    rows = 3 * BATCH
    caption = "a large green tree near the small red house"
    tokens = np.repeat(models.tokenize("test-tiny", [caption]), rows, 0)
    index, pixels = np.arange(rows), np.zeros((rows, 32, 32, 3), np.uint8)
    pairs = Pairs(Path(), pixels, tokens, 0 * index, index, index, np.empty(0, np.int64))
    kinds = defenses.defense(name).texts if name else {}
    texts = {text: kind.example(tokens) for text, kind in kinds.items()}
    own = Train(lr=1e-6, epochs=1, batch=BATCH, warmup=1, **{"precision": "bf16", **settings})
    device = Device()
    model = models.create("test-tiny")
    with device:
        objective = defenses.make_defense(name, 0, texts, **parameters)
        training = Training(model, pairs, objective, own, seed=0, device="cuda:0")
        training.step()
        device.waits.clear()
        device.kernels = 0
        parts = training.step()
        training.feed.close()
    assert device.kernels > 300, "the step did not run on the device"
    assert parts["total"].device.type == "cuda"
    return dict(device.waits)


def known_faults() -> list[str]:
    """Return what is found of a blocking copy and of a mix of devices."""
    device = Device()
    with device:
        there = torch.tensor([1.0, 2.0], device="cuda:0")
        try:
            there + torch.ones(2)
        except RuntimeError as error:
            return [*device.waits, str(error)]
    return list(device.waits)


def main(config: str) -> None:
    """Print the waits of each defence as JSON; `config` is the open_clip config of a model."""
    pretend()
    models.library().add_model_config(config)
    strong = {"augment": "autoaugment"}
    runs = {"ft": strong, "cleanclip": strong, "taclean": {"augment": "mild"}}
    names = [None, *registry.names("defenses")]
    found = {str(name): waits(name, {}, **runs.get(name, {})) for name in names}
    for precision in ("bf16", "fp16"):
        own = {"optimizer": "muon", "precision": precision}
        found[f"muon {precision}"] = waits(None, own)
    print(json.dumps([known_faults(), found]))
