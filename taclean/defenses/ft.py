"""FT: clean fine-tuning with CLIP's own loss."""

from __future__ import annotations

from taclean.defenses import Defense


class FT(Defense):
    """L_clip on clean pairs (Radford et al. 2021)."""

    label = "FT"
    colour = "#de8f05"
