"""A linear probe: what a model's features say, whatever its zero-shot head says.

Features of triggered pictures may still lie with the target's after a defence.
"""

import numpy as np
from torch import Tensor

from taclean.evaluation.embeddings import ByName, Embeddings
from taclean.util.errors import UserError

# CLIP's example of a linear probe has C = 0.316 on features of a length of about 10.
C = 30.0


def probe(learned: Embeddings, scored: Embeddings, target: int) -> ByName:
    """Fit a linear classifier to clean features and score it: LCA@1, and LASR@1 of each trigger.

    Args:
        learned: a split that is not scored; every class should be in it.
        target: the attacker's class.
    """
    from sklearn.linear_model import LogisticRegression

    known = learned.labels.unique()
    if len(known) < 2 or target not in known:
        raise UserError(
            f"evaluate.probe: its pictures show {len(known)} classes; give a split with several, "
            "the target among them"
        )
    classifier = LogisticRegression(C=C, max_iter=1000)
    classifier.fit(learned.clean.cpu().numpy(), learned.labels.numpy())

    def hits(images: Tensor, wanted: np.ndarray | int) -> dict[str, int]:
        found = classifier.predict(images.cpu().numpy()) if len(images) else np.empty(0)
        return {"hits": int((found == wanted).sum()), "n": len(images)}

    clean = {"LCA@1": hits(scored.clean, scored.labels.numpy())}
    triggered = {name: {"LASR@1": hits(x, target)} for name, x in scored.triggered.items()}
    return {"clean": clean, **triggered}
