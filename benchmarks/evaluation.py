"""Time the ImageNet zero-shot head and the evaluation of clean and triggered images.

A whole head (1,000 classes x 80 templates) takes minutes to hours, so its cost is measured per
prompt, on a few classes and on templates spread over the 80. The evaluation has as many prompts per
image as ImageNet: 80,000 for 50,000.
"""

import tempfile
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image

from benchmarks import reference
from benchmarks.common import Row, compare, device, photos, row
from benchmarks.triggers import make
from taclean.clip.models import create
from taclean.evaluation.embeddings import Labelled, embed
from taclean.evaluation.zeroshot import head, prompt_tokens, scores

MODEL, SIZE = "RN50-quickgelu", 224
TEMPLATES = [template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES]
CLASSES = open_clip.IMAGENET_CLASSNAMES


class Case:
    """Two copies of a model (ours channels_last, theirs NCHW), images, a trigger, and classes."""

    def __init__(
        self, name: str, size: int, images: int, classes: int, templates: int, folder: Path
    ) -> None:
        self.name, self.classes = name, list(CLASSES[:classes])
        self.templates = TEMPLATES[:: len(TEMPLATES) // templates]
        pixels = photos(images, size, size)
        self.labels = torch.from_numpy(np.random.default_rng(0).integers(0, classes, images))
        self.data = Labelled(torch.from_numpy(pixels).permute(0, 3, 1, 2), self.labels)
        self.pictures = [Image.fromarray(image) for image in pixels]
        self.model = create(name).to(device()).eval()
        self.plain = create(name).to(device(), memory_format=torch.contiguous_format).eval()
        self.trigger, self.plain_trigger = make(reference.ATTACK, folder, size, fixed=True)
        self.tokenize = open_clip.get_tokenizer(name)

    def head(self) -> torch.Tensor:
        """Compute our head (C, d)."""
        tokens = prompt_tokens(self.name, self.classes, self.templates)
        return head(self.model, tokens.to(device()))

    def plain_head(self) -> torch.Tensor:
        """Compute the plain head (d, C)."""
        return reference.head(self.plain, self.tokenize, self.classes, self.templates)

    def evaluate(self, precision: str = "auto") -> dict[str, dict[str, dict[str, int]]]:
        """Score clean and triggered images with one head and one pass."""
        data = Labelled(self.data.images.to(device()), self.labels)
        images = embed(self.model, data, {"t": self.trigger}, 0, precision=precision, batch=64)
        return scores(images, self.head())

    def plain_evaluate(self) -> tuple[dict[int, int], dict[int, int]]:
        """Return the top-k hits of the labels, and of the target on images of other classes."""
        clean = reference.hits(self.plain, self.pictures, self.labels, self.plain_head())
        others = [
            picture for picture, label in zip(self.pictures, self.labels, strict=True) if label
        ]
        target = torch.zeros(len(others), dtype=torch.int64)
        again = self.plain_head()  # the published evaluation runs once for each kind of image
        return clean, reference.hits(self.plain, others, target, again, self.plain_trigger)


def main() -> list[Row]:
    """Time the head and the whole evaluation."""
    images, classes, templates = (1600, 32, 80) if device().type == "cuda" else (50, 10, 8)
    prompts, rows = classes * templates, []
    with tempfile.TemporaryDirectory() as folder:
        case = Case(MODEL, SIZE, images, classes, templates, Path(folder))
        mine, other = (t / prompts * 1e3 for t in compare(case.head, case.plain_head, 3))
        rows.append(row(f"zero-shot head of {MODEL}", mine, other, "ms/prompt", other / mine))
        mine, other = (t / images * 1e3 for t in compare(case.evaluate, case.plain_evaluate, 3))
        each = f"{prompts / images:g} prompts an image"
        what = f"evaluation of {MODEL}, {SIZE} px, clean and triggered, {each}"
        rows.append(row(what, mine, other, "ms/image", other / mine))
    return rows
