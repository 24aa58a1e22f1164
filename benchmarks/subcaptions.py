"""What each part of the sub-captions buys, on natural captions: `benchmarks/subcaptions.csv`.

    python -m benchmarks.subcaptions CAPTIONS --counts OTHERS    # files with a caption a line

Each row leaves one part out, or moves one constant. CAPTIONS are the split; OTHERS stand for the
captions that the package's counts are of, so that none of CAPTIONS is among them. Columns:

    served       % of the captions that give a negative; adjective, noun and verb: that offer one
    adjectives, nouns, verbs   % of the negatives that are of the kind
    text_only    % of pairs whose negative a text-only classifier finds, and its standard error
    in_out       total variation between words that come in and words that go, in 0..1
    less_likely  % of negatives that a trigram model of OTHERS finds less likely than their own part
    ms           time of a caption: counts, offers and one sub-caption
"""

import argparse
import math
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd

from taclean.captions import (
    KINDS,
    Lexicon,
    Vocabulary,
    learn,
    offers,
    replacements,
    subcaption,
    subcaptions,
    tally,
)
from taclean.captions.parts import TOKEN
from taclean.captions.subcaptions import SubCaption, text_only_score

CSV = Path(__file__).with_name("subcaptions.csv")
EPOCHS = 5
_names = replacements._names


def by_word(*link: Any) -> list[str]:
    """Name a link by the lemma alone."""
    return _names(*link)[:1]


VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "without: fit": {"math": SimpleNamespace(log=lambda ratio: 0.0)},
    "without: needed links": {"_needed": lambda *link: []},
    "without: links by sets and fields": {"_names": by_word},
    "without: packaged counts": {"packaged": lambda: replacements.add([])},
    "without: weights of words": {"ROUNDS": 0},
    "FIT 0": {"FIT": 0.0}, "FIT 0.75": {"FIT": 0.75},
    "LEAST 3": {"LEAST": 3}, "LEAST 5": {"LEAST": 5},
    "PRIOR 0.5": {"PRIOR": 0.5}, "PRIOR 2": {"PRIOR": 2.0},
    "SCARCE 0": {"SCARCE": 0}, "SCARCE 1": {"SCARCE": 1},
    "SAMPLE 2000": {"SAMPLE": 2000}, "ROUNDS 5": {"ROUNDS": 5}, "FLOOR 0.1": {"FLOOR": 0.1},
}  # fmt: skip


class Trigrams:
    """An interpolated trigram model of some texts; it judges how plausible a text is."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.counts = Counter[tuple[str, ...]]()
        for text in texts:
            words = self._words(text)
            self.counts.update(
                words[n - k : n] for n in range(2, len(words) + 1) for k in (1, 2, 3) if n >= k
            )
        self.counts[()] = sum(n for words, n in self.counts.items() if len(words) == 1)

    @staticmethod
    def _words(text: str) -> tuple[str, ...]:
        return ("<", "<", *TOKEN.findall(text.lower()), ">")

    def loss(self, text: str) -> float:
        """Return the negative log-likelihood of a text."""
        words, total = self._words(text), 0.0
        for n in range(3, len(words) + 1):
            chance = 1e-6
            for k, share in ((1, 0.1), (2, 0.4), (3, 0.5)):
                seen = self.counts[words[n - k : n - 1]]
                chance += share * self.counts[words[n - k : n]] / seen if seen else 0.0
            total -= math.log(chance)
        return total


def measure(captions: Sequence[str], model: Trigrams) -> tuple[dict[str, float], list[SubCaption]]:
    """Make sub-captions of the captions and return the columns of a row, and those of one epoch."""
    lexicon, started = Lexicon.load(), time.process_time()
    subcaptions._cached.cache_clear()
    vocabulary = learn(captions, tally(captions, lexicon), lexicon)
    offered = [offers(caption, lexicon, vocabulary) for caption in captions]
    rows: list[tuple[str, SubCaption]] = []
    for epoch in range(EPOCHS):
        if epoch == 1:
            seconds = time.process_time() - started
            first = rows[:]
        for n, caption in enumerate(captions):
            rng = random.Random(f"{epoch}:{n}")
            if sub := subcaption(caption, rng, lexicon, vocabulary=vocabulary):
                rows.append((caption, sub))
    changes = [sub.negatives[0] for _, sub in rows]
    gone = Counter(change.original.lower() for change in changes)
    came = Counter(change.replacement.lower() for change in changes)
    kinds = Counter(change.kind for change in changes)
    negatives = [sub.negatives[0] for _, sub in first]
    own = [n.text.replace(n.replacement, n.original, 1) for n in negatives]
    worse = [
        model.loss(negative.text) > model.loss(part)
        for negative, part in zip(negatives, own, strict=True)
    ]
    texts = [sub.positive for _, sub in first], [negative.text for negative in negatives]
    score = text_only_score(*texts, [caption for caption, _ in first])
    assert score is not None
    found: dict[str, Any] = {
        "served": 100 * np.mean([bool(one) for one in offered]),
        **{kind: 100 * np.mean([kind in one for one in offered]) for kind in KINDS},
        **{f"{kind}s": 100 * kinds[kind] / len(rows) for kind in KINDS},
        "text_only": 100 * score.accuracy,
        "error": 100 * score.error,
        "in_out": sum(abs(gone[w] - came[w]) for w in gone | came) / 2 / len(rows),
        "less_likely": 100 * np.mean(worse),
        "ms": 1e3 * seconds / len(captions),
    }
    return {name: round(float(value), 2) for name, value in found.items()}, [
        sub for _, sub in first
    ]


def main() -> None:
    """Measure every variant and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("captions", type=Path, help="the split")
    parser.add_argument("--counts", type=Path, required=True, help="stand for the package's counts")
    parser.add_argument("--only", nargs="+", default=[*VARIANTS], help="of the variants")
    parser.add_argument("--show", type=int, default=0, help="sub-captions to print for each")
    parser.add_argument("--csv", type=Path, default=CSV)
    options = parser.parse_args()
    captions = options.captions.read_text("utf-8").splitlines()
    others = options.counts.read_text("utf-8").splitlines()
    model, counts = Trigrams(others), tally(others, Lexicon.load())
    rows = {}
    for name in options.only:
        changes = {"packaged": lambda: counts} | VARIANTS[name]
        with ExitStack() as stack:
            for part, value in changes.items():
                owners = (replacements, Vocabulary, subcaptions)
                owner = next(owner for owner in owners if hasattr(owner, part))
                stack.enter_context(patch.object(owner, part, value))
            rows[name], made = measure(captions, model)
        print(name, rows[name], flush=True)
        for sub in random.Random(0).sample(made, options.show):
            negative = sub.negatives[0]
            print(f"  + {sub.positive}\n  - {negative.text} ({negative.kind}: {negative.original})")
    pd.DataFrame(rows).T.rename_axis("variant").to_csv(options.csv)


if __name__ == "__main__":
    main()
