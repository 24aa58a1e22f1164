"""Image-text retrieval (COCO): recall at 1, 5 and 10 in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from open_clip import CLIP
from torch import Tensor

from taclean.clip.models import autocast, device_of, encode_images, encode_tokens
from taclean.data.split import Pairs, load_array
from taclean.util.errors import UserError

KS = (1, 5, 10)


@torch.no_grad()
def recall(
    images: Tensor, texts: Tensor, owners: Tensor, ks: Sequence[int] = KS, batch: int = 512
) -> dict[str, dict[str, int]]:
    """Count recall@k: I2T, an own text among the image's k best; T2I, the image among the text's.

    As in CLIP's evaluation (Radford et al. 2021), where an image has several own texts. What
    scores the same as the own one counts as better, so that equal embeddings are no hits.

    Args:
        images: (N, d) embeddings of unit length.
        texts: (T, d) embeddings of unit length.
        owners: (T,) the image of each text, 0 to N - 1; every image needs one.

    Returns:
        {"I2T@k": {"hits": h, "n": N}, "T2I@k": {"hits": h, "n": T}, ...}.

    Raises:
        UserError: `owners` does not fit the embeddings.
    """
    count = len(images)
    if len(owners) != len(texts) or not len(texts):
        raise UserError(f"owners: {len(owners)} for {len(texts)} texts; pack the split again")
    if owners.min() < 0 or owners.max() >= count or len(owners.unique()) != count:
        raise UserError(f"owners: not every one of {count} images has a text; pack the split again")
    hits = {f"{way}@{k}": 0 for way in ("I2T", "T2I") for k in ks}
    for start in range(0, count, batch):
        scores = images[start : start + batch] @ texts.T
        own = (
            owners[None] == torch.arange(start, start + len(scores), device=owners.device)[:, None]
        )
        best = scores.masked_fill(~own, -torch.inf).amax(1, keepdim=True)
        # Counted from below: a score that is no number is below nothing and above nothing.
        better = (~own).sum(1) - ((scores < best) & ~own).sum(1)
        for k in ks:
            hits[f"I2T@{k}"] += int((better < k).sum())
    for start in range(0, len(texts), batch):
        scores = texts[start : start + batch] @ images.T
        own_score = scores.gather(1, owners[start : start + batch, None])
        better = count - 1 - (scores < own_score).sum(1)
        for k in ks:
            hits[f"T2I@{k}"] += int((better < k).sum())
    n = {"I2T": count, "T2I": len(texts)}
    return {name: {"hits": found, "n": n[name.split("@")[0]]} for name, found in hits.items()}


@torch.no_grad()
def scores(
    model: CLIP, folder: Path | str, batch: int = 250, precision: str = "auto"
) -> dict[str, dict[str, int]]:
    """Recall of a model on a packed split with several texts an image (see `pack_rows`), or one.

    Raises:
        UserError: its `texts.npy` and `text_rows.npy` do not fit it.
    """
    folder = Path(folder)
    pairs = Pairs.open(folder)
    tokens, owners = pairs.tokens, np.arange(len(pairs))
    if any((folder / name).is_file() for name in ("texts.npy", "text_rows.npy")):
        tokens = load_array(folder / "texts.npy", np.uint16, 2)
        owners = load_array(folder / "text_rows.npy", np.int64, 1)
    device = device_of(model)
    model.eval()
    images = []
    with autocast(device, precision):
        for part, _, _ in pairs.labelled(batch):
            images.append(encode_images(model, part.to(device)))
    own = torch.from_numpy(np.array(owners)).to(device)
    return recall(torch.cat(images).float(), embed_texts(model, tokens, batch, precision), own)


@torch.no_grad()
def embed_texts(
    model: CLIP, tokens: np.ndarray, batch: int = 250, precision: str = "auto"
) -> Tensor:
    """Tokens (T, 77) -> (T, d) float32 of unit norm, on the model's device."""
    device = device_of(model)
    model.eval()
    texts = []
    with autocast(device, precision):
        for start in range(0, len(tokens), batch):
            part = torch.from_numpy(tokens[start : start + batch].astype(np.int64))
            texts.append(encode_tokens(model, part.to(device)))
    return torch.cat(texts).float()
