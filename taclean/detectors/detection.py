"""The test of detectors: score pictures of which some are poisoned, and count what is found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from taclean.attacks import Trigger
from taclean.data.split import Pairs
from taclean.detectors import Detector, Seen
from taclean.detectors.roc import auc, false_positives
from taclean.evaluation.embeddings import Labelled, embed, embed_texts
from taclean.evaluation.zeroshot import Heads
from taclean.results.table import read_csv
from taclean.util.errors import UserError
from taclean.util.rng import permutation

ROWS, IMAGES = 0xDE5, 0xDE6  # name the random streams of the choice of rows and of test pictures
CLEAN, POISONED, CHANGED = 0, 1, 2  # changed: by the attacker, but without the trigger


@dataclass(frozen=True)
class Suspects:
    """Pictures of which some are poisoned.

    Attributes:
        rows: (N,) int64, their rows in the split.
        pictures: (N, 3, H, W) uint8.
        tokens: (N, 77) of their captions; None for test pictures.
        state: (N,) CLEAN, POISONED (what is to be found) or CHANGED (what counts neither way).
    """

    rows: np.ndarray
    pictures: Tensor
    tokens: np.ndarray | None
    state: np.ndarray

    @property
    def of(self) -> str:
        """The kind of pictures: a value of `Detector.looks_at`."""
        return "images" if self.tokens is None else "rows"

    @classmethod
    def of_training(
        cls, pairs: Pairs, poison: Path | str, attack: str, count: int, seed: int
    ) -> "Suspects":
        """Draw rows of a poisoned set; each state has the share that it has in the set.

        Args:
            poison: the folder of the set's poisoned rows.
            attack: name of the trigger in the manifest.
            count: number of rows; a smaller set is taken as a whole.
        """
        triggers = read_csv(Path(poison) / "manifest.csv", ["trigger"])["trigger"]
        state = np.full(len(pairs), CLEAN)
        state[pairs.poisoned] = np.where(triggers == attack, POISONED, CHANGED)
        order, share = permutation(len(pairs), seed, ROWS), min(1, count / len(pairs))
        parts = [order[state[order] == kind] for kind in (CLEAN, POISONED, CHANGED)]
        chosen = np.sort(np.concatenate([part[: round(share * len(part))] for part in parts]))
        pictures, tokens = pairs.batch(chosen)
        return cls(pairs.rows[chosen], pictures, tokens.numpy(), state[chosen])

    @classmethod
    def of_test(
        cls, pairs: Pairs, trigger: Trigger, target: int, count: int, seed: int
    ) -> "Suspects":
        """Draw test pictures, and add those of other classes than the target with the trigger."""
        chosen = np.sort(permutation(len(pairs), seed, IMAGES)[:count])
        rows, (pictures, _) = pairs.rows[chosen], pairs.batch(chosen)
        others = np.flatnonzero(pairs.labels[rows] != target)
        triggered = trigger(pictures[others], pairs.ids[rows[others]])
        state = np.repeat([CLEAN, POISONED], [len(rows), len(others)])
        both = np.concatenate([rows, rows[others]])
        return cls(both, torch.cat([pictures, triggered]), None, state)


@torch.no_grad()
def detect(
    suspects: Suspects,
    detectors: Mapping[str, Detector],
    heads: Heads,
    trusted: Tensor,
    *,
    seed: int = 0,
    precision: str = "auto",
) -> dict[str, np.ndarray]:
    """Return the scores (N,) of each detector that looks at such pictures.

    Args:
        heads: of the model that embeds them.
        trusted: (M, 3, H, W) uint8 pictures that are known to be clean.

    Raises:
        UserError: a detector gives no score of each picture, or one that is not a number.
    """

    def embedded(pictures: Tensor) -> Tensor:
        images = Labelled(pictures, torch.zeros(len(pictures), dtype=torch.int64))
        return embed(heads.model, images, precision=precision).clean

    tokens = suspects.tokens
    texts = None if tokens is None else embed_texts(heads.model, tokens, precision=precision)
    images = embedded(suspects.pictures)
    scores = {}
    for name, detector in detectors.items():
        if detector.looks_at == suspects.of:
            own = None if texts is None else texts.clone()  # a detector may change what it gets
            pictures = suspects.pictures.clone()
            given = pictures, images.clone(), own, trusted.clone(), heads, embedded, seed
            scores[name] = detector.score(Seen(*given))
    for name, found in scores.items():
        if not isinstance(found, Tensor) or found.shape != (len(images),):
            had = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise UserError(f"detector {name}: it gives {had}; give a tensor ({len(images)},)")
        if not found.isfinite().all():
            text = "a score is not a number; check it, and the weights of the model"
            raise UserError(f"detector {name}: {text}")
    return {name: found.cpu().numpy() for name, found in scores.items()}


def counts(scores: np.ndarray, state: np.ndarray) -> dict[str, Any]:
    """Return AUROC and the false positives at 95 % detection in percent, and the two numbers.

    Raises:
        UserError: no picture is poisoned, or each one is.
    """
    poisoned, clean = scores[state == POISONED], scores[state == CLEAN]
    if not len(poisoned) or not len(clean):
        drawn = f"{len(poisoned)} poisoned and {len(clean)} clean ones were drawn"
        raise UserError(f"detect: {drawn}; raise detect.rows and detect.images")
    shares = {"auroc": auc(poisoned, clean), "fpr95": false_positives(poisoned, clean)}
    percent = {name: round(100 * share, 4) for name, share in shares.items()}
    return {**percent, "poisoned": len(poisoned), "clean": len(clean)}


def examine(
    models: Mapping[str, Heads],
    suspects: Sequence[Suspects],
    detectors: Mapping[str, Detector],
    trusted: Pairs,
    **more: Any,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Score pictures with each model; `more` goes to `detect`.

    Returns:
        The counts of each model and detector; and the arrays OF/rows, OF/state and MODEL/DETECTOR
        of all rows and pictures.
    """
    found, known = [], trusted.batch(np.arange(len(trusted)))[0]
    arrays: dict[str, Any] = {
        f"{s.of}/{key}": getattr(s, key) for s in suspects for key in ("rows", "state")
    }
    for model, heads in models.items():
        for some in suspects:
            for name, scores in detect(some, detectors, heads, known, **more).items():
                run = {"model": model, "of": some.of, "detector": name}
                found.append({**run, **counts(scores, some.state)})
                arrays[f"{model}/{name}"] = scores
    return found, arrays
