"""A scan of all targets of a model at once: the class that patterns reach most easily.

A backdoor is a short way to one class. When a pattern for each class is optimised for the same few
steps, the pattern of the backdoor's target gets furthest. Neural Cleanse (Wang et al. 2019) asks
the same of the smallest mask. The patterns of many targets are optimised in one batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from taclean.attacks.fitting import Descent
from taclean.attacks.patch import corners, paste, side_of
from taclean.clip import CLIP
from taclean.clip.checkpoints import read_state_dict
from taclean.clip.encode import autocast, device_of, encode_images
from taclean.config.schema import Probe, Scan
from taclean.data.split import Pairs
from taclean.evaluation.embeddings import Put
from taclean.evaluation.zeroshot import Heads
from taclean.util.errors import UserError
from taclean.util.files import replacing
from taclean.util.progress import Progress
from taclean.util.rng import permutation

DRAW, ORDER = 0x5CA, 0x5CB  # name the random streams of the choice of pictures and of their order
TOGETHER = 512  # pictures in a pass


@dataclass(frozen=True)
class Reached:
    """The scores of a probe's patterns, on pictures that they were not optimised on.

    Attributes:
        patterns: (T, 3, h, w) in [0, 1], in steps of 1/255; one for each target.
        asr: (T,) share of the pictures of other classes that go to the target.
        margin: (T,) the target's cosine less that of the best other class, mean over them.
    """

    patterns: Tensor
    asr: Tensor
    margin: Tensor

    @property
    def anomaly(self) -> Tensor:
        """(T,) margin above the median, in units of 1.4826 median absolute deviations.

        For normal values these are standard deviations; Neural Cleanse calls 2 suspicious.
        """
        away = self.margin - self.margin.median()
        return away / (1.4826 * away.abs().median()).clamp_min(1e-9)


def put(probe: Probe, images: Tensor, patterns: Tensor, ids: Tensor, seed: int) -> Tensor:
    """Put patterns on images (B, 3, H, W) in [0, 1]: opaque at a place, or as a film over all.

    Args:
        patterns: (3, h, w) or (B, 3, h, w) in [0, 1]; 0.5 is no film.
        ids, seed: decide a random place.
    """
    if probe.film:
        return (images + (2 * patterns - 1) * (probe.film / 255)).clamp(0, 1)
    size = images.shape[-2:]
    return paste(images, patterns, *corners(probe.place, ids, seed, patterns.shape[-1], *size))


def reach(
    model: CLIP,
    pairs: Pairs,
    head: Tensor,
    targets: Sequence[int],
    probe: Probe,
    settings: Scan,
    *,
    seed: int = 0,
    precision: str = "auto",
) -> Reached:
    """Optimise a pattern towards each target, and see how far it gets on other pictures.

    Args:
        model: is frozen.
        pairs: a split with labels.
        head: (C, d) of the classes.
        targets: labels, (T) of them.
    """
    if len(pairs) < settings.images:
        raise UserError(
            f"scan.images: {settings.images}, but {pairs.folder} has {len(pairs)}; lower it"
        )
    model.eval().requires_grad_(False)
    device, half, batch = device_of(model), settings.images // 2, settings.batch
    chosen = permutation(len(pairs), seed, DRAW)[: settings.images]
    pixels, rows = pairs.batch(chosen)[0].to(device).float() / 255, pairs.rows[chosen]
    labels, ids = (torch.from_numpy(a[rows].copy()) for a in (pairs.labels, pairs.ids))
    directions = head.to(device).T

    def cosines(patterns: Tensor, which: np.ndarray) -> Tensor:
        """Score each of B pictures with each of T patterns on: (T, B, C)."""
        some, count = pixels[which], len(patterns)
        each = patterns.repeat_interleave(len(some), 0)
        images = put(probe, some.repeat(count, 1, 1, 1), each, ids[which].repeat(count), seed)
        with autocast(device, precision):
            embedded = encode_images(model, images)
        return (embedded @ directions).view(count, len(some), -1)

    @torch.no_grad()
    def held_out(patterns: Tensor, goals: Tensor) -> tuple[Tensor, Tensor]:
        """Score each pattern on the other half: share of pictures that reach its goal, margin."""
        margins, rows = [], np.arange(half, settings.images)
        for which in np.array_split(rows, max(1, half * len(goals) // TOGETHER)):
            index = goals[:, None, None].expand(-1, len(which), 1)
            found = cosines(patterns, which)
            rest = found.scatter(2, index, -torch.inf).amax(2, keepdim=True)
            margins.append((found.gather(2, index) - rest)[..., 0])
        margin, other = torch.cat(margins, 1), labels[rows] != goals[:, None].cpu()
        if not other.any(1).all():
            raise UserError("scan.images: every picture that scores shows a target; raise it")
        other, count = other.to(device), other.sum(1)
        return ((margin > 0) * other).sum(1).cpu() / count, (margin * other).sum(1).cpu() / count

    side = pairs.size if probe.film else side_of(probe.size, pairs.size, pairs.size)
    passes = -(-settings.steps * batch // half)
    order = np.concatenate([permutation(half, seed, n, ORDER) for n in range(passes)])
    progress, done, parts = Progress("scan", len(targets), "classes"), 0, []
    for part in torch.tensor(targets, device=device).split(max(1, TOGETHER // batch)):
        descent = Descent((len(part), 3, side, side), settings.lr, seed, device)
        goal = part.repeat_interleave(batch)
        for step in range(settings.steps):
            which = order[step * batch : (step + 1) * batch]
            found = model.logit_scale.exp() * cosines(descent.pixels, which)
            descent.step(F.cross_entropy(found.flatten(0, 1), goal, reduction="sum"))
        done += len(part)
        progress.update(done)
        patterns = descent.rounded()
        parts.append((patterns, *held_out(patterns.to(device), part)))
    return Reached(*(torch.cat(column) for column in zip(*parts, strict=True)))


@dataclass(frozen=True)
class Scanned:
    """A scan by all probes.

    Attributes:
        classes: (T) the names of the classes that were scanned.
        target: the class that is suspected, whether it was scanned or not.
        reached: what each probe found.
    """

    classes: list[str]
    target: str
    reached: Mapping[str, Reached]

    @property
    def score(self) -> Tensor:
        """(T,) the highest anomaly of each class over the probes."""
        return torch.stack([one.anomaly for one in self.reached.values()]).amax(0)

    @property
    def named(self) -> int:
        """The index in `classes` of the class that is reached most easily."""
        return int(self.score.argmax())

    def report(self) -> dict[str, Any]:
        """Return for JSON the class named, its score, and each probe's numbers of all classes."""

        def numbers(values: Tensor) -> list[float]:
            return [round(value, 5) for value in values.tolist()]

        probes = {
            name: {key: numbers(getattr(one, key)) for key in ("anomaly", "margin", "asr")}
            for name, one in self.reached.items()
        }
        named, score = self.classes[self.named], round(float(self.score.max()), 4)
        found = {"target": self.target, "named": named, "score": score}
        return {**found, "classes": self.classes, "probes": probes}

    def line(self) -> str:
        """Return the answer in a line."""
        order = self.score.argsort(descending=True).tolist()
        first, *others = (f"{self.classes[i]} ({self.score[i]:.1f})" for i in order[:4])
        place = ""
        if self.target in self.classes:
            rank = order.index(self.classes.index(self.target)) + 1
            place = f"; {self.target} is number {rank} of {len(self.classes)}"
        return f"most easily reached: {first}, then {', '.join(others)}{place}"

    def save_patterns(self, path: Path | str) -> None:
        """Write the patterns of the class named and of the target, as uint8 called PROBE/CLASS."""
        chosen = {self.classes[self.named], self.target} & set(self.classes)
        tensors = {
            f"{name}/{label}": (pattern * 255).round().to(torch.uint8)
            for name, one in self.reached.items()
            for label, pattern in zip(self.classes, one.patterns, strict=True)
            if label in chosen
        }
        with replacing(path) as temporary:
            safetensors.torch.save_file(tensors, temporary)


def scan(
    pairs: Pairs, heads: Heads, settings: Scan, *, seed: int = 0, precision: str = "auto"
) -> Scanned:
    """Scan a model for the classes of `settings.targets`, or all, by every probe."""
    prompts, head = heads.prompts, heads[""]
    if not (pairs.retrieval or prompts.name_classes_of(pairs)):
        raise UserError(
            f"{pairs.folder}: has other classes than the run; give its val or test split"
        )
    names = list(settings.targets or prompts.classes)
    targets = [prompts.classes.index(name) for name in names]
    reached = {
        name: reach(
            heads.model, pairs, head, targets, probe, settings, seed=seed, precision=precision
        )
        for name, probe in settings.probes.items()
    }
    return Scanned(names, prompts.classes[prompts.target], reached)


def read_patterns(
    path: Path | str, probes: Mapping[str, Any], seed: int
) -> dict[tuple[str, str], Put]:
    """Read what `Scanned.save_patterns` wrote: by probe and class, what puts the pattern on."""
    out: dict[tuple[str, str], Put] = {}
    for key, pattern in read_state_dict(path).items():
        name, _, target = key.partition("/")
        if name not in probes:
            raise UserError(f"{path}: {name!r} is no probe of this run; scan again")
        probe = Probe.of(probes[name], f"scan.probes.{name}")
        out[name, target] = partial(_put_on, probe, pattern / 255, seed)
    return out


def _put_on(probe: Probe, pattern: Tensor, seed: int, images: Tensor, ids: np.ndarray) -> Tensor:
    own = pattern.to(images.device)
    pixels = put(probe, images.float() / 255, own, torch.as_tensor(ids), seed)
    return (pixels * 255).round().to(torch.uint8)
