"""What a table of scores lets one say, in words, by rules that stand here before the scores do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from taclean.results.labels import CLEAN, NONE, Look, ordered
from taclean.results.statistics import Estimate, difference, estimate, interval_text
from taclean.results.table import ASR, CA, main_split, pick, seeds_text

FAR = 5.0  # points of ASR@1 above a model that was never poisoned: a backdoor, where it is more


def told(found: Estimate) -> str:
    """A difference in words: '13.1 higher', '11.0 lower (-20.1 to -1.9): settled'."""
    text = f"{abs(found.mean):.1f} {'lower' if found.mean < 0 else 'higher'}"
    if found.ends is None:
        return text
    low, high = found.ends
    return f"{text} ({low:+.1f} to {high:+.1f}): {'settled' if found.settled else 'open'}"


def judged(asr: Estimate, ca: Estimate) -> str:
    """What two differences on the same victims say of a defence against another one.

    "better": ASR@1 is settled lower and CA@1 is not; "worse": ASR@1 is settled higher and CA@1 is
    not; "a trade": both are settled and have the same sign; "open": ASR@1 is not settled.
    """
    if not asr.settled:
        return "open"
    if ca.settled and (ca.mean > 0) == (asr.mean > 0):
        return "a trade"
    return "better" if asr.mean < 0 else "worse"


@dataclass(frozen=True)
class Verdict:
    """What can be said of the defence under test.

    Attributes:
        sentences: the verdict, the most important first.
        others: the other defences as printed.
        rows: attack as printed, and how the defence compares with each other one there.
    """

    sentences: list[str]
    others: list[str]
    rows: list[tuple[str, list[str]]]


def verdict(table: pd.DataFrame, look: Look, tested: str) -> Verdict | None:
    """Say what the main split's scores show of the defence `tested`; None where they are too few.

    A victim is an attack and a seed; several cleanings of a victim count as their mean. There is a
    backdoor where ASR@1 is more than `FAR` points above that of the model that was never poisoned,
    shown the same trigger; attacks whose victims have none do not count. Differences and when they
    are settled: `taclean.results.statistics`.
    """
    split = main_split(table, look)
    scores = pick(table[table["attack"] != CLEAN], split=split)
    asked = ordered(pick(scores, metric=ASR, defense=tested)["attack"], look.attacks)
    if not asked:
        return None
    others = look.methods(d for d in scores["defense"] if d not in (NONE, tested))
    name = look.defense_label(tested)

    def mean_of(attack: str, defense: str) -> float:
        found = estimate(pick(scores, attack=attack, defense=defense, metric=ASR))
        return found.mean if found else math.nan

    def less(attack: str, defense: str, other: str, metric: str) -> Estimate | None:
        runs = pick(scores, attack=attack, metric=metric)
        return difference(pick(runs, defense=defense), pick(runs, defense=other))

    def some(of: Sequence[str]) -> str:
        labels = ", ".join(look.attack_label(a) for a in of)
        return f"{len(of)} of {len(attacks)} attacks" + (f" ({labels})" if of else "")

    bounds = {
        a: pick(table, attack=CLEAN, defense=NONE, split=f"{split}+{a}", metric=ASR)["percent"]
        for a in asked
    }

    def backdoored(attack: str, defense: str) -> bool:
        return mean_of(attack, defense) > bounds[attack].mean() + FAR

    attacks = asked
    sentences = []
    if all(len(bound) for bound in bounds.values()):
        attacks = [a for a in asked if backdoored(a, NONE)]
        gone = [a for a in attacks if not backdoored(a, tested)]
        if attacks:
            sentences.append(
                f"{name} removes the backdoor on {some(gone)}. Removed: ASR@1 is at most "
                f"{FAR:.0f} points above that of a model that was never poisoned."
            )
    if missed := [a for a in asked if a not in attacks]:
        labels = ", ".join(look.attack_label(a) for a in missed)
        sentences.append(
            f"Left out, as the attack did not take: {labels}. Without a defence, too, ASR@1 is at "
            f"most {FAR:.0f} points above that of a model that was never poisoned."
        )
    if not attacks:
        return Verdict(sentences, [], [])
    if others:
        means = {a: {d: mean_of(a, d) for d in (tested, *others)} for a in attacks}
        lowest = [a for a in attacks if means[a][tested] < min(means[a][d] for d in others)]
        rest = _and(look.defense_label(d) for d in others)
        sentences.append(f"Its ASR@1 is lower than that of {rest} on {some(lowest)}.")
    found = {(a, d): less(a, tested, d, ASR) for a in attacks for d in others}
    seeds, over = seeds_text(scores["seed"]), interval_text(scores)
    for d in others if over else ():
        settled = {a: x for a in attacks if (x := found[a, d]) and x.settled}
        lower, higher = ([a for a, x in settled.items() if x.mean * s > 0] for s in (-1, 1))
        sentences.append(
            f"Against {look.defense_label(d)}, {over} ({seeds}): settled lower on {some(lower)}, "
            f"settled higher on {some(higher)}, open on the others."
        )
    if scores["seed"].nunique() == 1:
        sentences.append(
            f"This is one victim for each attack ({seeds}), and one decides nothing: another seed, "
            "or another kind of processor, can turn the order."
        )
    changes = {
        d: [x.mean for a in attacks if (x := less(a, d, NONE, CA))] for d in (tested, *others)
    }
    mean = {look.defense_label(d): f"{sum(c) / len(c):+.1f}" for d, c in changes.items() if c}
    if name in mean:
        beside = ", ".join(f"{label} {m}" for label, m in mean.items() if label != name)
        sentences.append(
            f"Clean accuracy changes by {mean[name]} points, on average over the attacks"
            + (f" ({beside})." if beside else ".")
        )
    rows = [
        (look.attack_label(a), [told(x) if (x := found[a, d]) else "–" for d in others])
        for a in attacks
    ]
    return Verdict(sentences, [look.defense_label(d) for d in others], rows)


def _and(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
