"""DAO: SLOF that allows for the local dimension (Anderberg et al. 2024)."""

from torch import Tensor

from taclean.detectors import Seen
from taclean.detectors.neighbours import Local


def dimension(distances: Tensor) -> Tensor:
    """Estimate the local intrinsic dimension from distances (N, k) in ascending order: (N,).

    The maximum-likelihood estimate (Amsaleg et al. 2015); ratios below 1e-4 count as 1e-4.
    """
    ratios = (distances / distances[:, -1:]).clamp_min(1e-4)
    return 1 / -ratios.log().mean(1).clamp_max(-1e-4)


class Dao(Local):
    """Mean over k neighbours of the neighbour's dimension times the log ratio of k-distances.

    As in the code of Huang et al.; the definition has the ratio to the power of the dimension.
    """

    label = "DAO"

    def score(self, seen: Seen) -> Tensor:
        """Return the dimensionality-aware outlier score of each picture."""
        distances, rows = self._near(seen)
        furthest = distances[:, -1]
        return (dimension(distances)[rows] * (furthest[:, None] / furthest[rows]).log()).mean(1)
