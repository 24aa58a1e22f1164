"""The verdict: sentences about the scores of one defence, by rules fixed before the scores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from taclean.results.labels import CLEAN, NONE, Look, ordered
from taclean.results.statistics import Estimate, difference, interval_text, summary
from taclean.results.table import ASR, CA, main_split, pick, seeds_text

FAR = 5.0  # a backdoor: ASR@1 lies more than so many points above a model never poisoned

REMOVED = (
    "{name} removes the backdoor on {gone}. Removed means that ASR@1 is at most {far:.0f} points "
    "above that of a model that was never poisoned."
)
MISSED = (
    "Left out, because the attack did not take: {missed}. Even without a defence, ASR@1 is at most "
    "{far:.0f} points above that of a model that was never poisoned."
)
LOWEST = "Its ASR@1 is lower than that of {others} on {lowest}."
SETTLED = (
    "A difference in ASR@1 is settled if its 95 % interval, {over} ({seeds}), does not contain 0; "
    "otherwise it is open. A victim is one poisoned model: one attack, one seed."
)
AGAINST = "Compared with {other}: settled lower on {lower}, settled higher on {higher}."
ONE_VICTIM = (
    "There is one victim for each attack ({seeds}), which decides nothing: another seed, or "
    "another kind of processor, can reverse the order."
)
ACCURACY = "Clean accuracy changes by {change} points, on average over the attacks{beside}."


def told(found: Estimate) -> str:
    """Return a difference in words: '11.0 lower (-20.1 to -1.9): settled'."""
    text = f"{abs(found.mean):.1f} {'lower' if found.mean < 0 else 'higher'}"
    if found.ends is None:
        return text
    low, high = found.ends
    return f"{text} ({low:+.1f} to {high:+.1f}): {'settled' if found.settled else 'open'}"


def judged(asr: Estimate, ca: Estimate) -> str:
    """Compare two defences by their differences in ASR@1 and CA@1 on the same victims.

    Returns:
        "better": ASR@1 is settled lower and CA@1 is not; "worse": ASR@1 is settled higher and CA@1
        is not; "a trade": both are settled with the same sign; "open": ASR@1 is not settled.
    """
    if not asr.settled:
        return "open"
    if ca.settled and (ca.mean > 0) == (asr.mean > 0):
        return "a trade"
    return "better" if asr.mean < 0 else "worse"


def differences(runs: pd.DataFrame, pairs: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """Return the differences of pairs of defences in one score on each attack.

    Returns:
        Columns attack, defense, other, mean, settled and words (`told`); without a row where the
        two have no victim in common.
    """
    found = [
        (attack, defense, other, x.mean, x.settled, told(x))
        for defense, other in pairs
        for attack, own in runs.groupby("attack", sort=False)
        if (x := difference(pick(own, defense=defense), pick(own, defense=other)))
    ]
    return pd.DataFrame(found, columns=["attack", "defense", "other", "mean", "settled", "words"])


@dataclass(frozen=True)
class Verdict:
    """What the scores show of the defence under test.

    Attributes:
        sentences: the verdict, the most important first.
        others: labels of the other defences.
        rows: the label of each attack, and there the difference from each other defence in words.
    """

    sentences: list[str]
    others: list[str]
    rows: list[tuple[str, list[str]]]


def verdict(table: pd.DataFrame, look: Look, tested: str) -> Verdict | None:
    """Return the verdict on the defence `tested` on the main split; None without its scores.

    A backdoor is there where ASR@1 is more than `FAR` points above that of the model that was
    never poisoned, shown the same trigger. An attack whose victims have no backdoor does not count.
    See `taclean.results.statistics` for differences and when they are settled.
    """
    split, name = main_split(table, look), look.defense_label(tested)
    scores = pick(table[table["attack"] != CLEAN], split=split)
    rates = pick(scores, metric=ASR)
    attacks = ordered(pick(rates, defense=tested)["attack"], look.attacks)
    if not attacks:
        return None
    others = look.methods(d for d in scores["defense"] if d not in (NONE, tested))
    means = summary(rates).pivot(index="attack", columns="defense", values="mean")
    means = means.reindex(index=attacks, columns=[NONE, tested, *others])
    never = pick(summary(table), attack=CLEAN, defense=NONE, metric=ASR).set_index("split")["mean"]
    bound = never.reindex([f"{split}+{attack}" for attack in attacks]).set_axis(attacks) + FAR
    backdoor, judgeable = means.gt(bound, axis=0), bool(bound.notna().all())
    missed = [a for a in attacks if judgeable and not backdoor.loc[a, NONE]]
    attacks = [a for a in attacks if a not in missed]

    def some(found: Iterable[Any]) -> str:
        labels = [look.attack_label(attack) for attack in attacks if attack in set(found)]
        names = f" ({', '.join(labels)})" if labels else ""
        return f"{len(labels)} of {len(attacks)} attacks{names}"

    sentences = []
    if judgeable and attacks:
        gone = backdoor.index[~backdoor[tested]]
        sentences.append(REMOVED.format(name=name, gone=some(gone), far=FAR))
    if missed:
        labels = ", ".join(map(look.attack_label, missed))
        sentences.append(MISSED.format(missed=labels, far=FAR))
    if not attacks:
        return Verdict(sentences, [], [])
    seeds, over = seeds_text(scores["seed"]), interval_text(scores)
    asr = differences(rates, [(tested, other) for other in others])
    asr = asr[asr["attack"].isin(attacks)]
    if others:
        lowest = means.index[means[tested] < means[others].min(axis=1)]
        labels = _and(map(look.defense_label, others))
        sentence = LOWEST.format(others=labels, lowest=some(lowest))
        sentences.append(
            f"{sentence} {SETTLED.format(over=over, seeds=seeds)}" if over else sentence
        )
    for other in others if over else ():
        of_other = asr[(asr["other"] == other) & asr["settled"]]
        lower, higher = (of_other.loc[of_other["mean"] * way > 0, "attack"] for way in (-1, 1))
        label = look.defense_label(other)
        sentences.append(AGAINST.format(other=label, lower=some(lower), higher=some(higher)))
    if scores["seed"].nunique() == 1:
        sentences.append(ONE_VICTIM.format(seeds=seeds))
    ca = differences(pick(scores, metric=CA), [(d, NONE) for d in (tested, *others)])
    changes = ca[ca["attack"].isin(attacks)].groupby("defense", sort=False)["mean"].mean()
    if tested in changes:
        beside = [f"{look.defense_label(d)} {changes[d]:+.1f}" for d in others if d in changes]
        text = f" ({', '.join(beside)})" if beside else ""
        sentences.append(ACCURACY.format(change=f"{changes[tested]:+.1f}", beside=text))
    words = asr.pivot(index="attack", columns="other", values="words")
    words = words.reindex(index=attacks, columns=others).fillna("–")
    rows = [
        (look.attack_label(a), [*found]) for a, found in zip(attacks, words.to_numpy(), strict=True)
    ]
    return Verdict(sentences, [look.defense_label(d) for d in others], rows)


def _and(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
