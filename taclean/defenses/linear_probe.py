"""Linear probe: fine-tuning of the image tower's last linear map alone."""

from collections.abc import Iterable

from torch import nn

from taclean.clip import CLIP
from taclean.defenses import Defense


class LinearProbe(Defense):
    """L_clip on clean pairs, where only the last linear map of the image tower learns.

    That is the projection to the common space: `visual.proj` of a ViT, `visual.attnpool.c_proj`
    (with its bias) of a ResNet, the last linear layer of other towers. All else keeps the victim's
    values, BatchNorm's statistics and `logit_scale` included, and the classes are still told by
    their prompts. The row says what the victim's features say without the map that the poisoning
    taught.

    `evaluate.probe` is another thing: a classifier that is fitted to labels and the embeddings
    behind this map, and takes the prompts' place in the scores LCA and LASR of any model. The
    linear probe of RVPT's tables (arXiv 2412.20392), which needs labels, is of that kind.
    """

    label = "Linear probe"
    colour = "#ece133"

    def learns(self, model: CLIP) -> Iterable[nn.Parameter]:
        """Return the weights of the map."""
        projection = getattr(model.visual, "proj", None)
        if isinstance(projection, nn.Parameter):
            return [projection]
        layers = [part for part in model.visual.modules() if isinstance(part, nn.Linear)]
        return layers[-1].parameters()
