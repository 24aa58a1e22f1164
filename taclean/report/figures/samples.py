"""The sample predictions of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from taclean.results.labels import Look, ordered
from taclean.util.errors import UserError


@dataclass(frozen=True)
class Samples:
    """What a model says about the first n test images of other classes than the target.

    Attributes:
        clean, triggered: (n, d) float32 image embeddings.
        clean_top, triggered_top: (n,) predicted labels.
        images, triggered_images: (n, H, W, 3) uint8, or None where the run stores none.
    """

    attack: str
    defense: str
    seed: int
    rows: np.ndarray
    labels: np.ndarray
    clean: np.ndarray
    triggered: np.ndarray
    clean_top: np.ndarray
    triggered_top: np.ndarray
    classes: list[str]
    target: int
    images: np.ndarray | None = None
    triggered_images: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)


def read_samples(path: Path | str, run: Mapping[str, Any], pictures: bool = False) -> Samples:
    """Read the `samples.npz` of a run (its attack, defense and seed).

    Raises:
        UserError: it is missing, not such a file, or has no pictures where they are asked for.
    """
    names = ["rows", "labels", "clean", "triggered", "clean_top", "triggered_top"]
    try:
        with np.load(path, allow_pickle=False) as file:
            wanted = [n for n in ("images", "triggered_images") if pictures and n in file]
            arrays = {name: file[name] for name in names + wanted}
            classes = [str(name) for name in file["classes"]]
            target = int(file["target"])
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; evaluate that run again") from None
    except (KeyError, ValueError, OSError, EOFError, BadZipFile) as error:
        raise UserError(f"{path}: not a samples file ({error}); evaluate that run again") from None
    if len(arrays["labels"]) == 0:
        raise UserError(f"{path}: no samples; give the test split images of other classes")
    return Samples(
        str(run["attack"]), str(run["defense"]), int(run["seed"]),
        classes=classes, target=target, **arrays,
    )  # fmt: skip


def by_attack(samples: Sequence[Samples], look: Look) -> tuple[int, dict[str, dict[str, Samples]]]:
    """The lowest seed, and its samples as attack -> defence -> samples, in the look's order."""
    if not samples:
        raise UserError("samples.npz: none given; choose at least one attack")
    seed = min(sample.seed for sample in samples)
    chosen = [sample for sample in samples if sample.seed == seed]
    found: dict[str, dict[str, Samples]] = {}
    for attack in ordered((s.attack for s in chosen), look.attacks):
        own = {s.defense: s for s in chosen if s.attack == attack}
        found[attack] = {d: own[d] for d in ordered(own, look.defenses)}
    return seed, found


def recovered(before: Samples, after: Samples) -> tuple[np.ndarray, np.ndarray]:
    """(n,) bool: triggered images that `before` takes for the target, and which of them `after`
    calls what they are."""
    fooled = before.triggered_top == before.target
    return fooled, fooled & (after.triggered_top == after.labels)


def stored(sample: Samples, pictures: np.ndarray | None) -> np.ndarray:
    """The `images` or `triggered_images` of a sample.

    Raises:
        UserError: the run stores none.
    """
    if pictures is None:
        of = f"{sample.attack}/{sample.defense}"
        raise UserError(f"samples.npz of {of}: holds no pictures; evaluate it again")
    return pictures


def split_text(look: Look) -> str:
    """'test split', which all samples are of."""
    return f"{look.splits[0] if look.splits else 'test'} split"
