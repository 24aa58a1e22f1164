"""Pictures and words in HTML tables."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from taclean.data.images import png
from taclean.report.inputs import ByAttack, Texts
from taclean.results.labels import NONE, Look
from taclean.results.table import seeds_text

EXAMPLES = 6


def image(pixels: np.ndarray, alt: str) -> Markup:
    """Return a picture (H, W, 3) uint8 as HTML that needs no other file."""
    return Markup('<img alt="{}" src="{}">').format(alt, png(np.asarray(pixels)))


def coloured(text: str, kind: str) -> Markup:
    """Return a text in the colour of "good" or "bad", or in that of the page for ""."""
    return Markup('<span class="{}">{}</span>').format(kind, text)


def html_table(head: Sequence[str], rows: Sequence[Sequence[Any]], kind: str = "") -> Markup:
    """Return an HTML table of class `kind`; text is escaped, and floats have one decimal."""
    cells = [[f"{x:.1f}" if isinstance(x, float) else str(escape(x)) for x in row] for row in rows]
    with pd.option_context("display.max_colwidth", None):
        table = pd.DataFrame(cells, columns=[str(escape(name)) for name in head]).to_html(
            index=False, escape=False, border=0, classes=kind, justify="unset"
        )
    return Markup('<div class="wide">{}</div>\n').format(Markup(table))


def gallery(text: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """Return a text, and below it a table with a row for each picture."""
    table = html_table(head, rows, "gallery") if rows else Markup("<p>There is no picture.</p>\n")
    return Markup('<p class="note">{}</p>\n{}').format(text, table)


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
    rows = []
    for attack, i in sorted([*chosen][:EXAMPLES], key=lambda pair: [*samples].index(pair[0])):
        models = samples[attack]
        before = models[NONE]
        name, label = before.classes[before.labels[i]], look.attack_label(attack)
        own = Markup("<b>{}</b><br><small>{}</small>").format(name, label)
        row = [image(before.triggered_images[i], "a picture with a trigger"), own]
        for model in models.values():
            name = f"{'✓' if model.right[i] else '✗'} {model.classes[model.triggered_top[i]]}"
            kind = "good" if model.right[i] else "bad" if model.fooled[i] else ""
            row.append(coloured(name, kind))
        rows.append(row)
    head = ["", "true class", *map(look.defense_label, next(iter(samples.values())))]
    text = (
        f"{look.splits[0]} split, {seeds_text([before.seed])}. Of the triggered pictures called "
        f"'{before.classes[before.target]}' without a defence, called what they show after "
        f"{look.defense_label(tested)}: {', '.join(counts)}."
    )
    return gallery(text, head, rows)


def in_turn(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the first epoch, the kinds of word in turn, no picture twice."""
    first = table[table["epoch"] == table["epoch"].min()].drop_duplicates("row")
    return first.loc[first.groupby("kind").cumcount().sort_values(kind="stable").index]


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
    drawn = in_turn(texts.table)
    chosen = drawn[:EXAMPLES]
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
