"""Galleries of pictures, as HTML."""

import numpy as np
import pandas as pd
from markupsafe import Markup

from taclean.report.inputs import ByAttack, Texts
from taclean.results.labels import NONE, Look
from taclean.results.table import seeds_text
from taclean.results.templates import rendered

EXAMPLES = 6


def recovered(samples: ByAttack, look: Look) -> Markup:
    """Show triggered pictures that are called the target, and their own class by the last model.

    The attacks take turns, with classes first that were not yet shown.
    """
    (*_, tested), hits, counts = next(iter(samples.values())), {}, []
    for attack, models in samples.items():
        before = models[NONE]
        back = before.fooled & models[tested].right
        hits[attack] = back.nonzero()[0].tolist()
        counts.append(f"{look.attack_label(attack)} {back.sum()} of {before.fooled.sum()}")
    chosen: dict[tuple[str, int], int] = {}  # attack and place -> label
    while any(hits.values()) and len(chosen) < EXAMPLES:
        for attack, left in hits.items():
            labels = samples[attack][NONE].labels
            for i in ([i for i in left if labels[i] not in chosen.values()] or left)[:1]:
                left.remove(i)
                chosen[attack, i] = labels[i]
    shown = sorted([*chosen][:EXAMPLES], key=lambda pair: [*samples].index(pair[0]))
    told = {"target": before.classes[before.target], "seeds": seeds_text([before.seed])}
    told |= {"tested": tested, "counts": counts, "labels": [*map(look.defense_label, models)]}
    return rendered("recovered.html", samples=samples, shown=shown, look=look, **told)


def in_turn(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the first epoch, the kinds of word in turn, no picture twice."""
    first = table[table["epoch"] == table["epoch"].min()].drop_duplicates("row")
    return first.loc[first.groupby("kind").cumcount().sort_values(kind="stable").index]


def subcaptions(texts: Texts, images: np.ndarray, defense: str, look: Look) -> Markup:
    """Show pictures with their caption, a true part of it, and a false part with its word marked.

    `images` (n, H, W, 3) uint8 are those of the split that the texts are of; `defense` is the one
    that these were drawn for.
    """
    drawn = in_turn(texts.table)
    shown, learner = [*drawn[:EXAMPLES].itertuples()], look.defense_label(defense)
    told = {"account": texts.account, "images": images, "learner": learner}
    return rendered("subcaptions.html", shown=shown, drawn=drawn, **told)
