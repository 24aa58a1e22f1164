"""What it is about, in one picture.

Left, a test picture and the same picture with an attack's trigger. The poisoned model calls the
triggered picture the attacker's target (orange); after the defence under test, it calls it what it
shows (green). Below, what the defence learns from: of a picture's caption a *positive* sub-caption,
a shorter part that is true, and a *negative* one, a part with one word replaced, which is false.

The picture was *selected* for the success of the defence: the last attack that has such a picture,
and there the longest caption. The sub-captions are those of a training picture with this caption.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from taclean.report.figures.style import BAD, GOOD, GREY, bare, finish
from taclean.report.inputs import ByAttack, Texts
from taclean.results.labels import NONE, Look
from taclean.results.table import seeds_text


def first(
    samples: ByAttack, captions: Sequence[str], texts: Texts, tested: str, look: Look | None = None
) -> Figure:
    """Draw a picture without and with its trigger, what two models call it, and its sub-captions.

    Without a defence the model calls the picture the target, after `tested` what it is. The last
    attack that has such a picture is shown, and the picture whose caption has most words.

    Args:
        captions: of all pictures of the split that the samples' rows are of.
    """
    look = look or Look()
    drawn = texts.table.drop_duplicates("caption").set_index("caption")
    figure, (left, right, words) = plt.subplots(
        1, 3, figsize=(7.2, 1.75), layout="constrained", width_ratios=(1, 1, 2.9)
    )
    title = f"A triggered picture before and after {look.defense_label(tested)}"
    for attack in reversed([*samples]):
        before = samples[attack][NONE]
        back = before.fooled & samples[attack][tested].right
        own = [captions[row] for row in before.rows]
        hits = [i for i in back.nonzero()[0] if own[i] in drawn.index]
        if hits:
            break
    else:
        for ax in (left, right, words):
            bare(ax)
        left.text(0, 0.5, "There is no triggered picture that is called what it shows.", color=BAD)
        return finish(figure, title, f"{look.splits[0]} split")
    shown = max(hits, key=lambda i: len(own[i].split()))
    for ax, pictures, text in (
        (left, before.images, "as it is"),
        (right, before.triggered_images, "with the trigger"),
    ):
        bare(ax).imshow(pictures[shown], interpolation="nearest")  # type: ignore[index]
        ax.set_xlabel(text, loc="left", color=GREY)
    sub = drawn.loc[own[shown]]
    target, label = (before.classes[i] for i in (before.target, before.labels[shown]))
    lines = [
        (look.defense_label(NONE), f"says {target} ✗", BAD),
        (look.defense_label(tested), f"says {label} ✓", GOOD),
        ("caption", own[shown], "black"),
        ("positive", sub["positive"], GOOD),
        ("negative", f"{sub['negative']} ({sub['original']} → {sub['replacement']})", BAD),
    ]
    y = 1.0
    for name, text, colour in lines:
        folded = textwrap.wrap(text, 44, max_lines=2, placeholder=" …")
        words.text(0, y, textwrap.shorten(name, 16, placeholder="…"), color=GREY, size=9, va="top")
        weight = "bold" if text.startswith("says") else "normal"
        words.text(0.29, y, "\n".join(folded), color=colour, weight=weight, size=9, va="top")
        y -= 0.1 + 0.1 * len(folded)
    bare(words)
    subtitle = (
        f"{look.attack_label(attack)}, {look.splits[0]} split, {seeds_text([before.seed])}; "
        f"selected: of {before.fooled.sum()} triggered pictures called '{target}', {back.sum()} "
        "are called what they show again"
    )
    return finish(figure, title, subtitle)
