"""SLOF: a poisoned picture lies in a sparser place than its neighbours (Schubert et al. 2014)."""

from torch import Tensor

from taclean.detectors import Seen
from taclean.detectors.neighbours import Local


class Slof(Local):
    """Mean over k neighbours of the picture's k-distance divided by the neighbour's."""

    label = "SLOF"

    def score(self, seen: Seen) -> Tensor:
        """Return the simplified local outlier factor of each picture."""
        distances, rows = self._near(seen)
        furthest = distances[:, -1]
        return (furthest[:, None] / furthest[rows]).mean(1)
