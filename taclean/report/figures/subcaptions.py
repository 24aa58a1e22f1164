"""Sub-captions: a part of each caption that is true and one that is false.

The *positive* is a shorter part of the caption. In the *negative*, one word (bold) gave way to
another of the same part of speech and kind by WordNet, from another caption. Training moves the
picture's embedding towards the positive and away from the negative. The examples are the first of
the first epoch, the kinds of word in turn. The line above says how many captions offer a negative
of each kind, how many sub-captions are weak, and how often a classifier that reads the words alone
picks the negative of a pair: at 50 % the text gives nothing away.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from taclean.report.figures.gallery import coloured, gallery, image
from taclean.report.inputs import Texts
from taclean.results.labels import Look

EXAMPLES = 6


def examples(table: pd.DataFrame, count: int | None = EXAMPLES) -> pd.DataFrame:
    """Return rows of the first epoch, the kinds of word in turn, no picture twice."""
    first = table[table["epoch"] == table["epoch"].min()].drop_duplicates("row")
    turn = first.groupby("kind").cumcount()
    return first.loc[turn.sort_values(kind="stable").index][:count]


def highlighted(text: str, word: str) -> Markup:
    """Return the text with the first whole occurrence of `word` in bold."""
    parts = re.split(rf"(?<!\w)({re.escape(word)})(?!\w)", text, maxsplit=1, flags=re.IGNORECASE)
    if len(parts) == 1:
        return Markup("{}").format(text)
    return Markup('{}<b class="bad">{}</b>{}').format(*parts)


def account_text(account: Mapping[str, Any]) -> str:
    """Return how good a set of sub-captions is, in a sentence, from its `account.json`."""
    total, score = account["captions"], account["text_only"]
    offers = (f"{kind} {100 * n / total:.0f} %" for kind, n in account["offers"].items())
    shares = (f"{k.replace('_', ' ')} {100 * n:.1f} %" for k, n in account["shares"].items())
    text = f"of {total:,} captions offer {', '.join(offers)}; {', '.join(shares)}"
    if score is None:
        return text
    return f"{text}; a text-only classifier finds the negative in {100 * score:.0f} %"


def subcaptions(texts: Texts, images: np.ndarray, defense: str, look: Look) -> Markup:
    """Show pictures with their caption, a true part of it, and a false part with its word marked.

    Args:
        images: (n, H, W, 3) uint8 of the split that the texts are of.
        defense: the one that they were drawn for.
    """
    chosen, drawn = examples(texts.table), examples(texts.table, None)
    rows = [
        [
            image(images[line["row"]], "a picture"),
            line["caption"],
            coloured(line["positive"], "good"),
            highlighted(line["negative"], line["replacement"]),
            f"{line['kind']}: {line['original']} → {line['replacement']}",
        ]
        for line in chosen.to_dict("records")
    ]
    learner = f"{look.defense_label(defense)}; {account_text(texts.account)}."
    text = f"{len(chosen)} of {len(drawn):,} captions drawn for the first epoch of {learner}"
    head = ["", "caption", "positive (true)", "negative (false)", "word replaced"]
    return gallery(text, head, rows)
