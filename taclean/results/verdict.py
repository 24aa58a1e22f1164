"""The verdict: sentences about the scores of one defence, by rules fixed before the scores."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import pandas as pd

from taclean.results.labels import CLEAN, FEWEST_SEEDS, NONE, Look, failures, ordered
from taclean.results.statistics import differences, ends_text, interval_text, summary
from taclean.results.table import ASR, CA, main_split, pick, seeds_text

BACKDOOR_POINTS = 5.0  # a backdoor: ASR@1 is higher than that of a model never poisoned by more


def difference_text(found: Any) -> str:
    """Return a row of `differences` in words: '11.0 lower (-20.1 to -1.9): settled'."""
    text = f"{abs(found.difference):.1f} {'lower' if found.difference < 0 else 'higher'}"
    if pd.isna(found.low):
        return text
    settled = "settled" if found.settled else "open"
    return f"{text}{ends_text(found.low, found.high)}: {settled}"


class Verdict(NamedTuple):
    """The findings about the defence under test."""

    sentences: list[str]  # the verdict, the most important first
    words: pd.DataFrame  # difference in ASR@1 from each other defence, by the attack's label


def verdict(table: pd.DataFrame, look: Look, tested: str) -> Verdict | None:
    """Return the verdict on the defence `tested` on the main split; None without its scores.

    A model has a backdoor if its ASR@1 is more than BACKDOOR_POINTS points above that of the model
    that was never poisoned, shown the same trigger. An attack whose victims have no backdoor does
    not count. A defence that could not work on a victim of an attack is left out there.
    See `taclean.results.statistics` for differences and when they are settled.
    """
    split, name = main_split(table, look), look.defense_label(tested)
    reasons = failures(table, look)
    table = table[~pd.MultiIndex.from_frame(table[["attack", "defense"]]).isin([*reasons])]
    scores = pick(table[table["attack"] != CLEAN], split=split)
    attacks = ordered(pick(scores, defense=tested, metric=ASR)["attack"], look.attacks)
    text = f"Left out, because the defence could not work there: {', '.join(reasons.values())}."
    left_out = [text] if reasons else []
    if not attacks:
        return Verdict(left_out, pd.DataFrame()) if left_out else None
    others = look.methods(d for d in scores["defense"] if d not in (NONE, tested))
    means = summary(pick(scores, metric=ASR)).set_index(["attack", "defense"])["mean"].unstack()
    means = means.reindex(index=attacks, columns=[NONE, tested, *others])
    never = pick(summary(table), attack=CLEAN, defense=NONE, metric=ASR).set_index("split")["mean"]
    never = never.reindex([f"{split}+{attack}" for attack in attacks]).set_axis(attacks)
    harmless = means.le(never + BACKDOOR_POINTS, axis=0)  # not where a score is missing
    known = bool(never.notna().all())
    missed = [a for a in attacks if known and harmless.loc[a, NONE]]
    attacks = [a for a in attacks if a not in missed]

    def some(found: Iterable[Any]) -> str:
        labels = [look.attack_label(attack) for attack in attacks if attack in set(found)]
        names = f" ({', '.join(labels)})" if labels else ""
        return f"{len(labels)} of {len(attacks)} attacks{names}"

    sentences = []
    near = f"at most {BACKDOOR_POINTS:.0f} points above that of a model that was never poisoned."
    if known and attacks:
        gone = some(harmless.index[harmless[tested]])
        text = f"{name} removes the backdoor on {gone}. Removed means that"
        sentences.append(f"{text} ASR@1 is {near}")
    if missed:
        names = ", ".join(map(look.attack_label, missed))
        text = f"Left out, because the attack did not take: {names}. Even without a defence,"
        sentences.append(f"{text} ASR@1 is {near}")
    sentences += left_out
    if not attacks:
        return Verdict(sentences, pd.DataFrame())
    seeds, n = seeds_text(scores["seed"]), scores["seed"].nunique()
    enough, over = n >= FEWEST_SEEDS, interval_text(scores)
    scores = scores[scores["attack"].isin(attacks)]
    asr = differences(pick(scores, metric=ASR), [(tested, other) for other in others])
    if others:
        for attack, defense in reasons:
            if attack in attacks and defense in others:
                means.loc[attack, defense] = math.inf
        lowest = some(means.index[means[tested] < means[others].min(axis=1, skipna=False)])
        *most, last = map(look.defense_label, others)
        names = f"{', '.join(most)} and {last}" if most else last
        sentences.append(f"Its ASR@1 is lower than that of {names} on {lowest}.")
        if enough:
            sentences[-1] += f" A difference in ASR@1 is settled if its {over} ({seeds}) "
            sentences[-1] += "does not contain 0; otherwise it is open."
    for other in others if enough else ():
        settled = pick(asr, against=other, settled=True)
        lower = some(settled.loc[settled["difference"] < 0, "attack"])
        higher = some(settled.loc[settled["difference"] > 0, "attack"])
        compared = f"Compared with {look.defense_label(other)}"
        sentences.append(f"{compared}: settled lower on {lower}, settled higher on {higher}.")
    if not enough:
        text = f"n = {n} for each attack ({seeds}), not enough to decide: another seed, or another "
        sentences.append(f"{text}kind of processor, can reverse the order.")
    ca = differences(pick(scores, metric=CA), [(d, NONE) for d in (tested, *others)])
    changes = ca.groupby("defense")["difference"].mean().map("{:+.1f}".format)
    if tested in changes:
        beside = ", ".join(f"{look.defense_label(d)} {changes[d]}" for d in others if d in changes)
        beside = f" ({beside})" if beside else ""
        text = f"Clean accuracy changes by {changes[tested]} points, on average over the attacks"
        sentences.append(f"{text}{beside}.")
    asr["words"] = [difference_text(found) for found in asr.itertuples()]
    words = asr.pivot(index="attack", columns="against", values="words")
    words = words.reindex(index=attacks, columns=others).fillna("–")
    return Verdict(sentences, words.rename(index=look.attack_label, columns=look.defense_label))
