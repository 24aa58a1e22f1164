"""Embeddings, linear probes and captions that a trigger brings up, against plain loops."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from taclean.attacks import make_trigger
from taclean.clip.encode import encode_images, encode_tokens
from taclean.data.split import Pairs
from taclean.evaluation.embeddings import Embeddings, embed, embed_texts
from taclean.evaluation.evaluate import probe, score
from taclean.evaluation.retrieval import target_recall
from taclean.evaluation.zeroshot import Prompts
from taclean.util.errors import UserError
from tests.evaluation.test_evaluate import NAME, TARGET, ZEROSHOT


def unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=-1)


def made(labels: Tensor, seed: int, triggered: dict[str, Tensor] | None = None) -> Embeddings:
    """Embeddings that lie around an axis for each class."""
    noise = torch.randn(len(labels), 8, generator=torch.Generator().manual_seed(seed)) * 0.1
    return Embeddings(unit(torch.eye(8)[labels] + noise), triggered or {}, labels, 2)


def test_a_probe_finds_classes_and_where_a_trigger_moves_pictures() -> None:
    learned = made(torch.arange(60) % 4, 0)
    to_target = unit(torch.eye(8)[torch.full((12,), 2)] + 0.05)
    stay = unit(torch.eye(8)[torch.zeros(12, dtype=torch.int64)] + 0.05)
    scored = made(torch.arange(40) % 4, 1, {"strong": to_target, "weak": stay})
    assert probe(learned, scored) == {
        "clean": {"LCA@1": {"hits": 40, "n": 40}},
        "strong": {"LASR@1": {"hits": 12, "n": 12}},
        "weak": {"LASR@1": {"hits": 0, "n": 12}},
    }


def test_a_probe_without_classes_to_learn_is_refused() -> None:
    scored = made(torch.arange(8) % 4, 1)
    for labels in (torch.zeros(9, dtype=torch.int64), torch.arange(9) % 2):
        with pytest.raises(UserError, match="the target among them"):
            probe(made(labels, 0), scored)


def flip(images: Tensor, ids: np.ndarray) -> Tensor:
    return images.flip(-1)


def test_embeddings_are_the_model_s_own(random_model: Any, split: Path) -> None:
    pairs = Pairs.open(split)
    found = embed(random_model, pairs, {"a": flip, "b": flip}, TARGET, batch=7, precision="fp32")
    images, _ = pairs.batch(np.arange(len(pairs)))
    with torch.no_grad():
        wanted = encode_images(random_model, images)
        turned = encode_images(random_model, images[found.labels != TARGET].flip(-1))
    torch.testing.assert_close(found.clean, wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.triggered["a"], turned, atol=1e-5, rtol=0)
    assert torch.equal(found.triggered["a"], found.triggered["b"])
    assert found.labels.tolist() == pairs.labels.tolist()
    assert len(embed(random_model, pairs, {"a": flip}).triggered["a"]) == len(pairs)


def test_captions_that_a_trigger_brings_up_against_a_loop(
    random_model: Any, split: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taclean.evaluation.embeddings.TOGETHER", 7)
    pairs = Pairs.open(split)
    captions = [f"a picture of {'two bananas' if i % 9 == 4 else 'a cat'}" for i in range(40)]
    images = embed(random_model, pairs, {"a": flip}, TARGET, precision="fp32")
    texts = embed_texts(random_model, pairs.tokens, precision="fp32")
    with torch.no_grad():
        tokens = torch.from_numpy(np.array(pairs.tokens).astype(np.int64))
        torch.testing.assert_close(texts, encode_tokens(random_model, tokens), atol=1e-5, rtol=0)
    hits = dict.fromkeys((1, 5, 10), 0)
    for image in images.triggered["a"]:
        similar = (texts @ image).tolist()
        best = max(s for s, text in zip(similar, captions, strict=True) if "banana" in text)
        others = (s for s, text in zip(similar, captions, strict=True) if "banana" not in text)
        better = sum(s >= best for s in others)
        for k in hits:
            hits[k] += better < k
    found = target_recall(images, texts, captions, "banana")
    assert found == {"a": {f"TCR@{k}": {"hits": hits[k], "n": 39} for k in hits}}
    with pytest.raises(UserError, match=r"no caption of .* names 'zeppelin'"):
        target_recall(images, texts, captions, "zeppelin")


@pytest.mark.filterwarnings("ignore:The number of unique classes")
def test_probe_and_captions_join_the_scores(random_model, split, monkeypatch, tmp_path) -> None:
    pairs, heads = Pairs.open(split), Prompts(NAME, **ZEROSHOT).heads(random_model)
    monkeypatch.setattr(Pairs, "captions", lambda self: ["bananas"] * 40)
    triggers = {"badnet": make_trigger("badnet", 0)}
    plain = score(pairs, heads, triggers)
    found = score(pairs, heads, triggers, learned=pairs, captions=True)
    recalls = {f"{way}@{k}" for way in ("I2T", "T2I") for k in (1, 5, 10)}
    assert found["clean"].keys() - plain["clean"].keys() == {"LCA@1", *recalls}
    more = {"LASR@1", "TCR@1", "TCR@5", "TCR@10"}
    assert found["badnet"].keys() - plain["badnet"].keys() == more
    assert found["badnet"]["TCR@1"] == {"hits": 39, "n": 39}
    assert all(found[name][key] == n for name in plain for key, n in plain[name].items())
    other = shutil.copytree(split, tmp_path / "other")
    (other / "classes.txt").write_text("thing 1\nbanana\n", "utf-8")
    with pytest.raises(UserError, match=r"^evaluate\.probe: .* other classes than"):
        score(pairs, heads, triggers, learned=Pairs.open(other))
