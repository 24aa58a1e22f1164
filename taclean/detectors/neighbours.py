"""Nearest neighbours of embeddings, for the detectors that look at local density.

Huang et al. (ICLR 2025, arXiv 2502.01385) detect poisoned rows by them. As in their code, the
neighbours of a row are other rows of the drawn part of the poisoned set, by their pictures alone.
"""

import functools

import torch
from torch import Tensor

from taclean.config.section import key
from taclean.detectors import Detector, Seen
from taclean.util.errors import UserError

CHUNK = 256  # rows whose distances are in memory together; no result depends on it


def neighbours(points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the k nearest other points of each of N points (N, d).

    Returns:
        (N, k) Euclidean distances, in ascending order and at least 1e-6, and (N, k) rows.

    Raises:
        UserError: there are fewer than k other points.
    """
    if k >= len(points):
        raise UserError(f"detectors: k is {k}, but only {len(points)} rows are scored; lower it")
    found = []
    for start in range(0, len(points), CHUNK):
        # Each distance is a sum of its own: a matrix product would round by the size of the chunk.
        mode = "donot_use_mm_for_euclid_dist"
        apart = torch.cdist(points[start : start + CHUNK], points, compute_mode=mode)
        apart.diagonal(start).fill_(torch.inf)
        found.append(apart.topk(k, largest=False))
    distances, rows = (torch.cat(parts) for parts in zip(*found, strict=True))
    return distances.clamp_min(1e-6), rows


_kept = functools.lru_cache(maxsize=1)(neighbours)  # k-dist, SLOF and DAO ask for the same


class Local(Detector, abstract=True):
    """Base class of the detectors that compare a picture with its k nearest neighbours."""

    k: int = key(16, "Number of neighbours.", ge=2, le=1000)

    def _near(self, seen: Seen) -> tuple[Tensor, Tensor]:
        """Return distances and rows of the neighbours of each picture: see `neighbours`."""
        return _kept(seen.images, self.k)
