"""A picture tower for small pictures, of timm's blocks; importing this file makes timm know it.

open_clip's ResNet halves a picture five times and pools the last map by 2 to 1: of 48 px it loses
the right and the lower edge. It also spends most of a CPU's time on moving data. This tower halves
four times, averages over all places, and so takes pictures of any size.
"""

from typing import Any

from timm.models import build_model_with_cfg, register_model
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg

__all__: list[str] = []  # `register_model` adds to it

WIDTHS = 32, 64, 128, 256  # channels of the stages, each of one residual block


@register_model
def taclean_resnet10(pretrained: bool = False, **options: Any) -> ByobNet:
    """Build a ResNet of ten layers for pictures of 32 to 96 px; there are no pretrained weights."""
    blocks = tuple(
        ByoBlockCfg(type="basic", d=1, c=width, s=1 if i == 0 else 2)
        for i, width in enumerate(WIDTHS)
    )
    form = ByoModelCfg(
        blocks=blocks, stem_type="3x3", stem_pool="", stem_chs=WIDTHS[0], downsample="avg"
    )
    return build_model_with_cfg(ByobNet, "taclean_resnet10", pretrained, model_cfg=form, **options)
