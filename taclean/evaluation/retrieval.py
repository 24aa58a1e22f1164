"""Image-text retrieval: recall in both directions, and captions that a trigger brings up."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from taclean.attacks.poison import mentions
from taclean.data import load_array
from taclean.data.split import Pairs
from taclean.evaluation.embeddings import Counts, Embeddings, at_k, ranks_among
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

    An image may have several own texts, as in CLIP's evaluation (Radford et al. 2021). What scores
    the same as the own one counts as better, so that equal embeddings are no hits.

    Args:
        images, texts: (N, d) and (T, d) embeddings of unit length.
        owners: (T,) the image of each text, 0 to N - 1; every image needs one.
    """
    owners, index = owners.to(images.device), torch.arange(len(images), device=images.device)
    if len(owners) != len(texts) or not torch.equal(owners.unique(), index):
        text = f"{len(owners)} rows for {len(texts)} texts of {len(images)} images"
        raise UserError(f"text_rows.npy: {text}, each of which needs one; pack the split again")
    i2t = ranks_among(images, texts, index, owners, CHUNK, first_wins=False)
    t2i = ranks_among(texts, images, owners, index, CHUNK, first_wins=False)
    return at_k("I2T", i2t, ks) | at_k("T2I", t2i, ks)


def target_recall(
    images: Embeddings, texts: Tensor, captions: Sequence[str], target: str
) -> dict[str, Counts]:
    """Count TCR@k of each trigger: a caption that names the target among a picture's k best.

    As in `recall`, what scores the same as the best such caption counts as better. `texts` (T, d)
    are the embeddings of `captions`.
    """
    named = torch.from_numpy(mentions(captions, target)).to(texts.device)
    if not named.any():
        raise UserError(f"evaluate.captions: no caption of the split names {target!r}; turn it off")
    out = {}
    for name, embedded in images.triggered.items():
        wanted = torch.ones(len(embedded), dtype=torch.bool, device=embedded.device)
        found = ranks_among(embedded, texts, wanted, named, CHUNK, first_wins=False)
        out[name] = at_k("TCR", found, KS)
    return out
