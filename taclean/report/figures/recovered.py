"""Single pictures that the defence under test gives back.

Each row is a test picture with a trigger on it. Without a defence, the model calls it the
attacker's target (orange); after the last of the run's defences, it calls it what it is (green).
Black is a wrong class other than the target. These examples were *selected* for the success of the
defence: the first such pictures of each attack, a new class where there is one.
"""

from markupsafe import Markup

from taclean.report.figures.gallery import coloured, gallery, image
from taclean.report.inputs import ByAttack
from taclean.results.labels import NONE, Look
from taclean.results.table import seeds_text

EXAMPLES = 6


def recovered(samples: ByAttack, tested: str, look: Look) -> Markup:
    """Show triggered pictures that are called the target, and their own class after `tested`.

    The attacks take turns, with classes first that were not yet shown.
    """
    hits, counts = {}, []
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
