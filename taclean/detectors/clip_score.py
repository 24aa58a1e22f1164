"""CLIP score: a poisoned picture is less like its caption (Hessel et al. 2021)."""

from torch import Tensor

from taclean.detectors import Detector, Seen


class ClipScore(Detector):
    """One minus the cosine of a picture and its caption."""

    label = "CLIP score"

    def score(self, seen: Seen) -> Tensor:
        """Return 1 - cosine of each pair."""
        assert seen.texts is not None, "a detector of pairs gets captions"
        return 1 - (seen.images * seen.texts).sum(1)
