"""What it is about, in one picture.

The poisoned model calls a test picture with the trigger the attacker's target (orange); after the
defence under test, it calls it what it shows (green). Below, what the defence learns from: a
*positive* sub-caption, a shorter part of the caption, and a *negative* one, a part with one word
replaced, which is false. The picture was *selected* for the success of the defence: the last attack
that has such a picture, and there the longest caption.
"""

import textwrap

from matplotlib.figure import Figure

from taclean.report.figures.style import BAD, GOOD, GREY, bare, finish, panels
from taclean.report.inputs import ByAttack, Texts
from taclean.results.labels import NONE, Look
from taclean.results.table import seeds_text


def first(samples: ByAttack, captions: list[str], texts: Texts, tested: str, look: Look) -> Figure:
    """Draw a picture without and with its trigger, what two models call it, and its sub-captions.

    `captions` are those of all pictures of the split that the samples' rows are of.
    """
    drawn = texts.table.drop_duplicates("caption").set_index("caption")
    figure, [[left, right, words]] = panels(1, 3, 7.2, 1.75, width_ratios=(1, 1, 2.9))
    title = f"A triggered picture before and after {look.defense_label(tested)}"
    for attack in reversed([*samples]):
        before = samples[attack][NONE]
        back = before.fooled & samples[attack][tested].right
        own = [captions[row] for row in before.rows]
        hits = [i for i in back.nonzero()[0] if own[i] in drawn.index]
        if hits:
            break
    else:
        figure.clear()
        return finish(figure, title, "There is no triggered picture that is called what it shows.")
    shown = max(hits, key=lambda i: len(own[i].split()))
    bare(left).imshow(before.images[shown])
    left.set_xlabel("as it is", loc="left", color=GREY)
    bare(right).imshow(before.triggered_images[shown])
    right.set_xlabel("with the trigger", loc="left", color=GREY)
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
