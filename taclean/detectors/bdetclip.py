"""BDetCLIP: a triggered picture does not mind how its class is described (Niu et al., ICML 2025).

A clean picture is more like a description of its class than like one that was changed (arXiv
2405.15269). There a language model writes the descriptions, and the random sentences that change
a prompt. Here both are made of the class names: the run's own prompts describe a class, and changed
prompts go on with the names of other classes, as in "a picture of a dog, piano, rose, whale."
"""

from collections.abc import Sequence

from torch import Tensor

from taclean.config.section import key
from taclean.detectors import Detector, Seen


class BDetClip(Detector):
    """Sum over classes of the cosine with the changed description minus that with the true one."""

    label = "BDetCLIP"
    looks_at = "images"

    names: int = key(3, "Other classes that a changed description names.", ge=1, le=20)

    def changed(self, classes: Sequence[str]) -> list[str]:
        """Return each class's name and those of others, which are spread evenly over the list."""
        count, step = len(classes), max(1, len(classes) // (self.names + 1))
        return [
            ", ".join(classes[(i + n * step) % count] for n in range(self.names + 1))
            for i in range(count)
        ]

    def score(self, seen: Seen) -> Tensor:
        """Return minus the contrast of each picture."""
        prompts = seen.heads.prompts
        changed = prompts.for_classes(self.changed(prompts.classes)).heads(seen.heads.model)
        return seen.images @ (changed[""] - seen.heads[""]).sum(0)
