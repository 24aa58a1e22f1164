"""InverTune: trigger inversion and activation tuning (Sun et al., NDSS 2026, arXiv 2506.12411)."""

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import PrivateAttr
from torch import Tensor, nn

from taclean.attacks.fitting import Descent
from taclean.attacks.patch import REFERENCE, side_of
from taclean.clip import CLIP
from taclean.clip.encode import device_of, encode_images
from taclean.config.schema import Probe
from taclean.config.section import key
from taclean.data.split import Pairs
from taclean.defenses import Defense
from taclean.detectors import scan
from taclean.evaluation.zeroshot import head
from taclean.training.distributed import gather, on_first
from taclean.training.loader import Batch
from taclean.util.errors import UserError
from taclean.util.rng import permutation

ORDER = 0x14E  # random stream of the order of the pictures
RATE, PROBE_RATE = 0.01, 0.03  # Adam's, of the inversion and of the patterns that name the class
WEIGHTS = {"class": 5.0, "embedding": 0.5, "ssim": 1.0}  # of its loss
TEMPERATURE = 0.07
PROBES = [
    Probe.of(probe)
    for probe in ({"size": 39, "place": "corner"}, {"size": 39, "place": "centre"}, {"film": 16})
]
WINDOW, SIGMA = 11, 1.5  # of SSIM


class InverTune(Defense):
    """Sum over layers |(a - a') c| / |a c| + lambda_feature |f - f_victim|.

    Before the first step, three universal patterns learn to lead pictures away from their own
    classes: a patch in the corner, one in the centre and a film. The class to which one of them
    leads the most pictures is named, and a trigger (mask and pattern) is inverted for it. This
    trigger moves activations a to a'. The layers that it moves the furthest are aligned, in the
    units c that it moves the most (2-means). a and a' are means over the batch, f the unit
    embeddings of its pictures. The image tower learns, its BatchNorm does not.
    Where the inverted trigger does not work, nothing is aligned and the model stays as it is.
    """

    label = "InverTune"
    colour = "#4b0082"

    lambda_feature: float = key(0.5, "Weight of the embeddings' distance from the victim's.", ge=0)
    layers: int = key(3, "Layers whose activations are aligned.", ge=1)
    probe_steps: int = key(60, "Steps that optimise each pattern that may name the class.", ge=1)
    steps: int = key(200, "Steps of the inversion.", ge=1)
    mask: float = key(
        0.01, "Weight of the sum of the mask in the inversion, as for pictures of 224 px.", ge=0
    )
    pictures: int = key(64, "Pictures of a step.", ge=1)
    least: float = key(
        70, "Least share (%) of other pictures that the inverted trigger leads to the class.",
        ge=0, le=100,
    )  # fmt: skip

    _victim: Any = PrivateAttr(None)

    def prepare(self, model: CLIP, pairs: Pairs, prompts: Tensor | None) -> None:
        """Name the class, invert the trigger and choose the units; process 0 does it for all."""
        self._victim = copy.deepcopy(model).eval().requires_grad_(False)
        # In the checkpoint, too: a GPU may find another trigger when the training goes on.
        self.kept.update(on_first(lambda: self._search(pairs, prompts)))

    def learns(self, model: CLIP) -> Iterable[nn.Parameter]:
        """Return the image tower's weights, without BatchNorm's."""
        norms = nn.modules.batchnorm._BatchNorm
        parts = (part for part in model.visual.modules() if not isinstance(part, norms))
        return [weight for part in parts for weight in part.parameters(recurse=False)]

    def loss(self, model: CLIP, batch: Batch) -> dict[str, Tensor]:
        """Return the parts of the loss; `total` is minimised."""
        pictures, n = batch.images.float() / 255, len(batch.images)
        # Moved once: after the search and after a resume they are on the CPU.
        trigger = self.kept["trigger"] = self.kept["trigger"].to(pictures)
        units = self.kept["units"] = {n: u.to(pictures) for n, u in self.kept["units"].items()}
        both = torch.cat([pictures, put(trigger, pictures)])
        embedded, outputs = _activations(model, both, list(units))
        with torch.no_grad():  # in the same batch: at the start both give the same bits
            victim = encode_images(self._victim, both)[:n]
        align = torch.zeros((), device=embedded.device)
        for name, unit in units.items():
            means = [part.float().mean(0).flatten() for part in outputs[name].split(n)]
            clean, triggered = (
                m.mean(0) * unit.flatten() for m in gather(*(m[None] for m in means))
            )
            align = align + (clean - triggered).norm() / clean.norm()
        now, before = gather(embedded[:n], victim)
        feature = ((now - before).square().sum() + 1e-8).sqrt()  # smooth at the start
        total = align + self.lambda_feature * feature
        return {"total": total, "align": align, "feature": feature}

    def _search(self, pairs: Pairs, prompts: Tensor | None) -> dict[str, Any]:
        """Return what the defence keeps.

        Returns:
            failed: why it cannot work, or "".
            target: the class that it names.
            trigger: mask and pattern, each (3, H, W) in [0, 1].
            units: for each layer that is aligned, which of its units are, as a mask.
        """
        if prompts is None:
            trigger = torch.zeros(2, 3, pairs.size, pairs.size)
            why = "no classes to invert a trigger for"
            return {"failed": why, "target": -1, "trigger": trigger, "units": {}}
        names = _layers(self._victim)
        drawn = _Draws(pairs, self.seed, self.pictures, device_of(self._victim))
        directions = head(self._victim, prompts).T
        target = self._named(drawn, directions)
        trigger = self._inverted(drawn, directions, target)
        images = drawn(self.steps)
        _, clean = _activations(self._victim, images, names)
        _, moved = _activations(self._victim, put(trigger, images), names)
        changes = {n: (moved[n].float().mean(0) - clean[n].float().mean(0)) for n in names}
        far = {n: float(changes[n].norm() / clean[n].float().mean(0).norm()) for n in names}
        chosen = sorted(names, key=lambda n: -far[n])[: self.layers]
        units = {n: upper_cluster(changes[n].abs().cpu()) for n in chosen}
        images = drawn(self.steps + 1)
        others = self._classes(images, directions) != target
        reached = self._classes(put(trigger, images[others]), directions) == target
        share = 100 * float(reached.float().mean()) if len(reached) else 0.0
        few = f"no inverted trigger leads {self.least:g} % of the pictures to one class"
        failed = few if share < self.least else ""
        return {"failed": failed, "target": target, "trigger": trigger.cpu(), "units": units}

    @torch.no_grad()
    def _classes(self, images: Tensor, directions: Tensor) -> Tensor:
        return (encode_images(self._victim, images) @ directions).argmax(1)

    def _named(self, drawn: "_Draws", directions: Tensor) -> int:
        """Return the class to which universal patterns, which name no class, lead the most."""
        device, scale = directions.device, self._victim.logit_scale.exp()
        steps = range(self.probe_steps + 4)  # the last four count: other pictures, if there are any
        own = [self._classes(drawn(step), directions) for step in steps]
        count = directions.shape[1]
        clean = torch.cat(own[-4:]).bincount(minlength=count)
        most = torch.zeros(count)
        for probe in PROBES:
            side = drawn.size if probe.film else side_of(probe.size, drawn.size, drawn.size)
            pattern = Descent((3, side, side), PROBE_RATE, self.seed, device)
            ids = torch.arange(self.pictures)
            for step in steps[:-4]:
                shown = scan.put(probe, drawn(step), pattern.pixels, ids, self.seed)
                logits = scale * encode_images(self._victim, shown) @ directions
                pattern.step(-F.cross_entropy(logits, own[step]))
            found = [
                self._classes(
                    scan.put(probe, drawn(step), pattern.pixels, ids, self.seed), directions
                )
                for step in steps[-4:]
            ]
            more = torch.cat(found).bincount(minlength=count) - clean
            most = torch.maximum(most, more.float().cpu())
        return int(most.argmax())

    def _inverted(self, drawn: "_Draws", directions: Tensor, target: int) -> Tensor:
        """Return a mask and a pattern (2, 3, H, W) in [0, 1] that lead pictures to `target`."""
        trigger = Descent((2, 3, drawn.size, drawn.size), RATE, self.seed, directions.device)
        with torch.no_grad():
            trigger.pixels[0] = 1
        per_pixel = self.mask * (REFERENCE / drawn.size) ** 2
        like = drawn.most_like(self._victim, directions[:, target])
        for step in range(self.steps):
            images = drawn(step)
            shown = put(trigger.pixels, images)
            embedded = encode_images(self._victim, shown)
            goal = torch.full((len(images),), target, device=embedded.device)
            trigger.step(
                WEIGHTS["class"] * F.cross_entropy(embedded @ directions / TEMPERATURE, goal)
                + WEIGHTS["embedding"] * (embedded - like).norm()
                + WEIGHTS["ssim"] * (1 - ssim(shown, images))
                + per_pixel * trigger.pixels[0].sum()
            )
        return trigger.pixels.detach()


class _Draws:
    """Pictures of a set, a batch for each step, in [0, 1] on a device."""

    def __init__(self, pairs: Pairs, seed: int, count: int, device: torch.device) -> None:
        self._pairs, self._count, self._device = pairs, count, device
        self._order, self.size = permutation(len(pairs), seed, ORDER), pairs.size

    def __call__(self, step: int) -> Tensor:
        """Return the pictures of a step; the set is repeated as often as it takes."""
        index = np.arange(step * self._count, (step + 1) * self._count) % len(self._order)
        return self._pairs.batch(self._order[index])[0].to(self._device).float() / 255

    @torch.no_grad()
    def most_like(self, model: CLIP, direction: Tensor) -> Tensor:
        """Return the embedding that is nearest to a direction among 16 steps' pictures."""
        embedded = torch.cat([encode_images(model, self(step)) for step in range(16)])
        return embedded[(embedded @ direction).argmax()]


def put(trigger: Tensor, images: Tensor) -> Tensor:
    """Put a mask and a pattern, (2, 3, H, W), on images (B, 3, H, W)."""
    mask, pattern = trigger
    return mask * pattern + (1 - mask) * images


def _layers(model: CLIP) -> list[str]:
    """Return the names of the image tower's stages (ResNet) or blocks (ViT)."""
    visual = model.visual
    if hasattr(visual, "layer4"):
        return [f"visual.layer{n}" for n in (1, 2, 3, 4)]
    if stages := getattr(getattr(visual, "trunk", None), "stages", None):  # of timm
        return [f"visual.trunk.stages.{n}" for n in range(len(stages))]
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", [])
    if not len(blocks):
        kind = type(visual).__name__
        raise UserError(f"defenses.invertune: does not know the layers of a {kind}; leave it out")
    return [f"visual.transformer.resblocks.{n}" for n in range(len(blocks))]


def _activations(model: CLIP, images: Tensor, names: list[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """Embed images; return the embeddings and the outputs of some layers."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda part, inputs, output: outputs.__setitem__(name, output)

    hooks = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    embedded = encode_images(model, images)
    for hook in hooks:
        hook.remove()
    return embedded, outputs


def upper_cluster(values: Tensor) -> Tensor:
    """Return which values are in the upper of their two clusters (exact 2-means)."""
    ordered = values.flatten().double().sort().values
    low = torch.arange(1, len(ordered))
    sums, high = ordered.cumsum(0), len(ordered) - low
    apart = sums[:-1] / low - (sums[-1] - sums[:-1]) / high
    return values > ordered[(low * high * apart.square()).argmax()]


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean structural similarity of images (B, 3, H, W) in [0, 1] (Wang et al. 2004)."""
    line = torch.exp(-((torch.arange(WINDOW) - WINDOW // 2) ** 2) / (2 * SIGMA**2)).to(a)
    window = (line[:, None] * line / line.sum() ** 2).expand(3, 1, -1, -1)

    def smooth(x: Tensor) -> Tensor:
        return F.conv2d(x, window, groups=3)

    mean_a, mean_b = smooth(a), smooth(b)
    spread = smooth(a * a) - mean_a**2 + smooth(b * b) - mean_b**2
    together = smooth(a * b) - mean_a * mean_b
    alike = (2 * mean_a * mean_b + 1e-4) * (2 * together + 9e-4)
    return (alike / ((mean_a**2 + mean_b**2 + 1e-4) * (spread + 9e-4))).mean()
