"""Image-text retrieval: recall in both directions, and captions that a trigger brings up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from taclean.attacks.poison import mentions
from taclean.data.split import Pairs, load_array
from taclean.evaluation.embeddings import Counts, Embeddings, at_k, ranks
from taclean.util.errors import UserError

KS = (1, 5, 10)
CHUNK = 500  # rows whose scores are ranked together


def texts_of(pairs: Pairs) -> tuple[np.ndarray, Tensor]:
    """Return a split's texts, tokens (T, 77), and the image (T,) of each.

    They are its captions, or `texts.npy` and `text_rows.npy` where an image has several.
    """
    if not (pairs.folder / "texts.npy").is_file():
        return pairs.tokens[pairs.rows], torch.arange(len(pairs))
    tokens = load_array(pairs.folder / "texts.npy", np.uint16, 2)
    owners = load_array(pairs.folder / "text_rows.npy", np.int64, 1)
    return tokens, torch.from_numpy(np.array(owners))


def recall(images: Tensor, texts: Tensor, owners: Tensor, ks: Sequence[int] = KS) -> Counts:
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
    owners, count = owners.to(images.device), len(images)
    if len(owners) != len(texts) or not torch.equal(owners.unique().cpu(), torch.arange(count)):
        raise UserError(
            f"text_rows.npy: {len(owners)} rows for {len(texts)} texts of {count} images, each of "
            "which needs one; pack the split again"
        )
    index = torch.arange(count, device=images.device)
    i2t = [
        ranks(part @ texts.T, owners == own[:, None])
        for part, own in zip(images.split(CHUNK), index.split(CHUNK), strict=True)
    ]
    t2i = [
        ranks(part @ images.T, own[:, None] == index)
        for part, own in zip(texts.split(CHUNK), owners.split(CHUNK), strict=True)
    ]
    return at_k("I2T", torch.cat(i2t), ks) | at_k("T2I", torch.cat(t2i), ks)


def target_recall(
    images: Embeddings, texts: Tensor, captions: Sequence[str], target: str
) -> dict[str, Counts]:
    """Count TCR@k of each trigger: a caption that names the target among a picture's k best.

    As in `recall`, what scores the same as the best such caption counts as better.

    Args:
        texts: (T, d) embeddings of `captions`.

    Raises:
        UserError: no caption names the target.
    """
    named = torch.from_numpy(mentions(captions, target)).to(texts.device)
    if not named.any():
        raise UserError(f"evaluate.captions: no caption of the split names {target!r}")
    out = {}
    for name, embedded in images.triggered.items():
        parts = embedded.split(CHUNK)
        found = [ranks(part @ texts.T, named.expand(len(part), -1)) for part in parts]
        out[name] = at_k("TCR", torch.cat(found), KS)
    return out
