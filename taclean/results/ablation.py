"""One choice along an axis of an ablation: the scores at each value, and their differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from taclean.results.labels import CLEAN, NONE, Look, ordered
from taclean.results.statistics import Estimate, difference, estimate
from taclean.results.table import ASR, CA, main_split, pick


@dataclass(frozen=True)
class Along:
    """The main split's scores along an axis.

    Attributes:
        columns: labels of the attacks if the axis varies a defence, else those of the defences.
        rows: label of a value -> (CA@1, ASR@1) in each column, None without runs.
        reference: label of the value that the others are compared with: the method itself. None if
            the axis varies an attack, because other victims cannot be paired.
        differences: label of a value -> (CA@1, ASR@1) minus those of the reference, on the same
            poisoned models of all attacks.
    """

    columns: list[str]
    rows: dict[str, list[tuple[Estimate | None, Estimate | None]]]
    reference: str | None
    differences: dict[str, tuple[Estimate, Estimate]]


def along(table: pd.DataFrame, values: Mapping[str, str], look: Look) -> Along:
    """Return the scores at each value of an axis.

    Args:
        values: attack or defence -> label of the value, in the order of the axis.
    """
    scores = pick(table[table["attack"] != CLEAN], split=main_split(table, look))
    of_defense = bool(set(values) & set(scores["defense"]))
    varied, other = ("defense", "attack") if of_defense else ("attack", "defense")
    known, label = (
        (look.attacks, look.attack_label) if of_defense else (look.defenses, look.defense_label)
    )
    others = ordered(scores[other], known)

    def of(metric: str, **wanted: str) -> pd.DataFrame:
        return pick(scores, metric=metric, **wanted)

    rows = {
        text: [
            (
                estimate(of(CA, **{varied: value, other: name})),
                estimate(of(ASR, **{varied: value, other: name})),
            )
            for name in others
        ]
        for value, text in values.items()
    }
    methods = [v for v in values if v != NONE and v not in look.variants] if of_defense else []
    differences = {}
    for value, text in values.items() if methods else ():
        ca, asr = (difference(of(m, defense=value), of(m, defense=methods[-1])) for m in (CA, ASR))
        if value != methods[-1] and ca and asr:
            differences[text] = (ca, asr)
    reference = values[methods[-1]] if methods else None
    return Along([label(name) for name in others], rows, reference, differences)
