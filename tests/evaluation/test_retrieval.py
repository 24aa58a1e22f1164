"""Recall in both directions: a plain formula, and ties."""

import numpy as np
import pytest
import torch

from taclean.evaluation import retrieval
from taclean.evaluation.retrieval import recall
from taclean.util.errors import UserError


def plain(images: np.ndarray, texts: np.ndarray, owners: np.ndarray, k: int) -> tuple[int, int]:
    """Sort all scores, look at the first k."""
    matrix = images @ texts.T
    to_text = sum(
        i in owners[np.argsort(-matrix[i], kind="stable")[:k]] for i in range(len(images))
    )
    to_image = sum(
        owner in np.argsort(-matrix[:, t], kind="stable")[:k] for t, owner in enumerate(owners)
    )
    return to_text, to_image


def unit(n: int, seed: int, d: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n, d, generator=generator), dim=-1)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_recall_is_the_plain_formula(chunk, monkeypatch):
    monkeypatch.setattr(retrieval, "CHUNK", chunk)
    images, extra = unit(40, 0), np.random.default_rng(1).integers(0, 40, 110)
    owners = torch.from_numpy(np.random.default_rng(2).permutation(np.r_[np.arange(40), extra]))
    texts = torch.nn.functional.normalize(images[owners] + 1.6 * unit(150, 3), dim=-1)
    found = recall(images, texts, owners, ks=(1, 2, 5, 10))
    for k in (1, 2, 5, 10):
        to_text, to_image = plain(images.numpy(), texts.numpy(), owners.numpy(), k)
        assert found[f"I2T@{k}"] == {"hits": to_text, "n": 40}
        assert found[f"T2I@{k}"] == {"hits": to_image, "n": 150}
    assert 0 < found["I2T@1"]["hits"] < 40
    assert found["T2I@1"]["hits"] < found["T2I@10"]["hits"] < 150


def test_own_texts_do_not_crowd_each_other_out():
    images = torch.eye(3)
    owners = torch.tensor([0, 0, 0, 1, 2])
    found = recall(images, images[owners], owners, ks=(1,))
    assert found == {"I2T@1": {"hits": 3, "n": 3}, "T2I@1": {"hits": 5, "n": 5}}


@pytest.mark.parametrize("value", [1.0, float("nan")])
def test_a_model_that_tells_nothing_apart_has_no_hits(value):
    same = torch.full((20, 4), value)
    assert all(one["hits"] == 0 for one in recall(same, same, torch.arange(20)).values())


def test_owners_that_do_not_fit_are_refused():
    images = unit(3, 0)
    for owners in ([0, 1, 3], [0, 1, -1], [0, 1, 1], [0, 1]):
        with pytest.raises(UserError, match="3 images, each of which needs one"):
            recall(images, images, torch.tensor(owners))
