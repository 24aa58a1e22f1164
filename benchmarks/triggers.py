"""Each attack's trigger at 224 px: batched against picture by picture. Seconds per image."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks import reference
from benchmarks.common import Row, compare, photos, row
from taclean.attacks import ATTACKS, Trigger, make_trigger
from taclean.attacks.ssba import Encoder
from taclean.data.packed import to_tensor

BATCH, SIZE = 256, 16
BITS, LIMIT = 16, 16
SLOW = {"sig": 2, "ssba": 32}  # pictures that the reference gets; others get the whole batch


def fitted(name: str, seed: int = 0) -> dict[str, torch.Tensor] | None:
    """Tensors of the right form for attacks that fit theirs: how good they are costs no time."""
    generator = torch.Generator().manual_seed(seed)
    if name == "ssba":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            weights = Encoder(BITS).state_dict()
        return weights | {"secret": torch.randint(0, 2, (BITS,), generator=generator).float()}
    if name in ("trojvqa", "badclip"):
        patch = torch.rand(3, SIZE, SIZE, generator=generator)
        return {"patch": (patch * 255).round() / 255}
    return None


def make(
    name: str, folder: Path, size: int = 224, fixed: bool = False
) -> tuple[Trigger, reference.Trigger]:
    """Our trigger and the plain one.

    With `fixed` the plain one takes our pattern where the published code draws a new one for each
    picture, so that both give the same pictures.
    """
    tensors = fitted(name)
    ours = make_trigger(name, 0, tensors, **({"place": "centre"} if name == "badnet" else {}))
    if name == "sig":
        return ours, reference.sig
    grey = torch.zeros(1, 3, size, size)
    if name == "blended":  # on black, the trigger is strength * noise
        noise = ours(grey, np.zeros(1))[0] / 0.2 if fixed else None
        return ours, partial(reference.blended, noise=noise)
    if name == "ssba":
        encoder = Encoder(BITS)
        encoder.load_state_dict({k: v for k, v in tensors.items() if k != "secret"})
        secret = tensors["secret"]
        return ours, partial(reference.ssba, encoder=encoder, secret=secret, limit=LIMIT)
    side = round(SIZE * size / 224)
    corner = (size - side) // 2
    pixels = ours(grey, np.zeros(1))[0, :, corner : corner + side, corner : corner + side]
    file = folder / f"{name}.png"
    Image.fromarray((pixels.permute(1, 2, 0) * 255).round().byte().numpy()).save(file)
    return ours, partial(reference.patch, file=file, top=corner, left=corner)


def main() -> list[Row]:
    """Time every attack's trigger, and one image through all of them."""
    images = photos(BATCH, 224, 224)
    batch, ids = to_tensor(images), np.arange(BATCH)
    pictures = [Image.fromarray(image) for image in images]
    rows, sums = [], np.zeros(2)
    with tempfile.TemporaryDirectory() as folder:
        for name in ATTACKS:
            ours, plain = make(name, Path(folder))
            few = pictures[: SLOW.get(name, BATCH)]
            times = compare(*_calls(ours, batch, ids, plain, few), 3 if name == "sig" else 7)
            mine, other = times[0] / BATCH, times[1] / len(few)
            sums += mine, other
            rows.append(
                row(f"trigger {name}, 224 px", mine * 1e3, other * 1e3, "ms/image", other / mine)
            )
    mine, other = sums * 1e3
    rows.append(row("trigger, all attacks on one image", mine, other, "ms/image", other / mine))
    return rows


def _calls(
    ours: Trigger, batch: torch.Tensor, ids: np.ndarray, plain: reference.Trigger, few: list
) -> tuple[Callable[[], object], Callable[[], object]]:
    return (lambda: ours(batch, ids)), (lambda: [plain(picture) for picture in few])
