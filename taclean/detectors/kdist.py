"""k-dist: a poisoned picture has no near neighbours (Ramaswamy et al. 2000)."""

from torch import Tensor

from taclean.detectors import Seen
from taclean.detectors.neighbours import Local


class KDist(Local):
    """Distance of a picture's embedding from its k-th nearest neighbour."""

    label = "k-dist"

    def score(self, seen: Seen) -> Tensor:
        """Return the distance of each picture's k-th neighbour."""
        return self._near(seen)[0][:, -1]
