"""Time each attack's trigger at 224 px, in batches against picture by picture, per image.

An attack without a published form in `reference` is timed alone.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks import reference
from benchmarks.common import Row, compare, median_seconds, photos, row
from taclean.attacks import Trigger, attack, make_trigger
from taclean.config import registry

BATCH, REPEATS = 256, 7


def make(
    name: str, folder: Path, size: int = 224, fixed: bool = False
) -> tuple[Trigger, reference.Trigger | None]:
    """Return our trigger and the plain one or None; `reference.Reference` explains `fixed`."""
    plain = reference.TRIGGERS.get(name)
    parameters = plain.parameters if plain else {}
    fitted = reference.random_fit(attack(name)(**parameters))
    ours = make_trigger(name, 0, fitted, **parameters)
    return ours, plain and plain.make(ours, fitted, size, folder, fixed)


def main() -> list[Row]:
    """Time every attack's trigger, and the sum of those that have a published form."""
    images = photos(BATCH, 224, 224)
    rows, compared = [], []
    for name in registry.names("attacks"):
        with tempfile.TemporaryDirectory() as folder:
            mine, other = _times(name, images, Path(folder))
        rows.append(_row(f"trigger {name}, 224 px", mine, other))
        if other is not None:
            compared.append((mine, other))
    if compared:
        what = f"trigger, {len(compared)} attacks with a published form on one image"
        rows.append(_row(what, *np.sum(compared, 0)))
    return rows


def _times(name: str, images: np.ndarray, folder: Path) -> tuple[float, float | None]:
    """Return the milliseconds per image of our trigger and of the plain one or None."""
    ours, plain = make(name, folder)
    batch, ids = torch.from_numpy(images).permute(0, 3, 1, 2), np.arange(len(images))
    if plain is None:
        return median_seconds(lambda: ours(batch, ids), REPEATS) / len(images) * 1e3, None
    found = reference.TRIGGERS[name]
    few = [Image.fromarray(image) for image in images[: found.pictures]]
    mine, other = compare(
        lambda: ours(batch, ids), lambda: [plain(picture) for picture in few], found.repeats
    )
    return mine / len(images) * 1e3, other / len(few) * 1e3


def _row(what: str, mine: float, other: float | None) -> Row:
    return row(what, mine, other, "ms/image", None if other is None else other / mine)
