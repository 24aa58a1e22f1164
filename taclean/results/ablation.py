"""One choice along an axis, as a table: what each value of it gives, and what that differs by."""

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
        columns: attacks as printed where the axis is a defence's, else defences as printed.
        rows: value as printed -> CA@1 and ASR@1 of each column, None where there is no run.
        reference: the value that others are compared with: the method itself, no variant of it;
            None where the axis is an attack's, since other victims cannot be paired.
        differences: value -> CA@1 and ASR@1 less the reference's, on the same poisoned models of
            all attacks.
    """

    columns: list[str]
    rows: dict[str, list[tuple[Estimate | None, Estimate | None]]]
    reference: str | None
    differences: dict[str, tuple[Estimate, Estimate]]


def along(table: pd.DataFrame, values: Mapping[str, str], look: Look) -> Along:
    """The scores at each value of an axis.

    Args:
        values: attack or defence -> value as printed, in the order of the axis.
    """
    rows = pick(table[table["attack"] != CLEAN], split=main_split(table, look))
    of_defense = bool(set(values) & set(rows["defense"]))
    if of_defense:
        others = ordered(rows["attack"], look.attacks)
        labels = [look.attack_label(name) for name in others]
    else:
        others = ordered(rows["defense"], look.defenses)
        labels = [look.defense_label(name) for name in others]

    def cell(value: str, other: str, metric: str) -> Estimate | None:
        attack, defense = (other, value) if of_defense else (value, other)
        return estimate(pick(rows, attack=attack, defense=defense, metric=metric))

    found = {
        text: [(cell(value, other, CA), cell(value, other, ASR)) for other in others]
        for value, text in values.items()
    }
    methods = [v for v in values if v != NONE and v not in look.variants] if of_defense else []
    differences = {}
    for value, text in values.items() if methods else ():
        pair = [
            difference(
                pick(rows, defense=value, metric=m), pick(rows, defense=methods[-1], metric=m)
            )
            for m in (CA, ASR)
        ]
        if value != methods[-1] and pair[0] and pair[1]:
            differences[text] = (pair[0], pair[1])
    return Along(labels, found, values[methods[-1]] if methods else None, differences)
