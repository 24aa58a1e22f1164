"""Pitfalls of the published method: an augmented view must stay with its own pair."""

import numpy as np
import pytest
import torch

from taclean.clip.encode import encode_images
from taclean.data.augment import AUGMENTATIONS
from taclean.defenses import make_defense
from taclean.training.loader import Batch

INDEX = np.array([9, 3, 60, 41, 8, 40, 22, 5])


def batch_of(pairs) -> Batch:
    return Batch(1, INDEX, *pairs.batch(INDEX))


@pytest.mark.parametrize("augment", sorted(AUGMENTATIONS))
def test_the_view_of_a_pair_stands_in_its_row(tiny, small_pairs, augment):
    model, batch = tiny.eval(), batch_of(small_pairs)
    tokens = batch.tokens.numpy().astype(np.uint16)
    with torch.no_grad():
        every = np.zeros((2, len(small_pairs), 77), np.uint16)
        every[1, INDEX] = tokens
        own = make_defense("cleanclip", 7, {"variants": every}, augment=augment)
        images, views, texts, variants, _ = own.both_views(model, batch)
        for i, row in enumerate(INDEX):
            one = batch.images[i : i + 1].float() / 255
            view = AUGMENTATIONS[augment](one, np.array([row]), 7, 1)
            torch.testing.assert_close(images[i], encode_images(model, one)[0])
            torch.testing.assert_close(views[i], encode_images(model, view)[0])
    torch.testing.assert_close(texts, variants)
