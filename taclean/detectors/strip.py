"""STRIP: a trigger decides the prediction whatever lies over the picture (Gao et al. 2019).

A picture is added to clean ones. Where the predictions for the sums stay the same, their entropy is
low. Here a prediction is zero-shot: the softmax of the scaled cosines with the classes.
"""

import math

import torch
from torch import Tensor

from taclean.config.section import key
from taclean.detectors import Detector, Seen
from taclean.evaluation.embeddings import TOGETHER
from taclean.util.rng import permutation

OVERLAYS = 0xDE7  # names the random stream of the choice of overlays


class Strip(Detector):
    """Minus the mean entropy, in bits, of the predictions for sums with trusted pictures."""

    label = "STRIP"
    looks_at = "images"

    overlays: int = key(
        16, "Trusted pictures that are added to each picture in turn.", ge=1, le=1000
    )

    def score(self, seen: Seen) -> Tensor:
        """Return minus the mean entropy of each picture."""
        chosen = permutation(len(seen.trusted), seen.seed, OVERLAYS)[: self.overlays]
        scale, head = seen.heads.model.logit_scale.exp(), seen.heads[""]
        found = []
        for part in seen.pictures.split(TOGETHER):
            total = torch.zeros(len(part), device=head.device)
            for overlay in seen.trusted[chosen]:
                both = (part.short() + overlay.short()).clamp_max(255).to(torch.uint8)
                logits = (scale * seen.embed(both) @ head.T).log_softmax(1)
                total += (logits.exp() * logits).sum(1)
            found.append(total / len(chosen) / math.log(2))
        return torch.cat(found)
