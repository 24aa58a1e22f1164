"""WiSE-FT: interpolation of weights with the victim (Wortsman et al. 2022, arXiv 2109.01903)."""

from typing import Any

from pydantic import PrivateAttr
from torch import Tensor

from taclean.clip import CLIP
from taclean.config.section import key
from taclean.data.split import Pairs
from taclean.defenses import Defense


class WiseFT(Defense):
    """L_clip on clean pairs, then (1 - alpha) * victim + alpha * tuned.

    All weights are interpolated, BatchNorm's means and variances included, as in the code.
    WiSE-FT is meant to keep what the first model knew; here that may be the backdoor as well.
    """

    label = "WiSE-FT"
    colour = "#ca9161"

    alpha: float = key(
        0.5, "Share of the tuned weights; 0 is the victim and 1 the tuned model.", ge=0, le=1
    )

    _victim: Any = PrivateAttr(None)

    def prepare(self, model: CLIP, pairs: Pairs, prompts: Tensor | None) -> None:
        """Keep the victim's weights."""
        self._victim = {name: value.clone() for name, value in model.state_dict().items()}

    def finish(self, model: CLIP) -> None:
        """Interpolate; counts of batches stay."""
        for name, tuned in model.state_dict().items():
            if tuned.is_floating_point():
                tuned.copy_(self._victim[name].lerp(tuned, self.alpha))
