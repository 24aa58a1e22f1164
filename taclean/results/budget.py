"""Scores at a budget of clean accuracy: the choice of a defender who cannot see the trigger.

Each defence cleans each victim at several learning rates. A defender can score clean pictures, but
not the attack. So the largest rate counts whose CA@1 on val is at most a budget of points below
the victim's. A victim for which no rate is within the budget stays as it is.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from taclean.results.labels import CLEAN, NONE, Look, labelled
from taclean.results.statistics import interval_text, plus_minus, summary
from taclean.results.table import ASR, CA, RUN, main_split, markdown_table, pick


def chosen(
    histories: pd.DataFrame, rates: Mapping[str, tuple[str, float]], budget: float
) -> pd.DataFrame:
    """Choose a rate for each victim, its cleaning's repeat and each defence.

    Args:
        histories: RUN, epoch and CA@1 on val in percent; epoch 0 is the victim.
        rates: entry of the config -> the defence that it is and its learning rate.
        budget: points of CA@1 that may be lost.

    Returns:
        RUN with the entry in `defense`, or NONE if no rate is within the budget; `method` is the
        defence and `rate` its learning rate, 0 for NONE.
    """
    course = histories[histories["defense"].isin([*rates])].sort_values("epoch")
    ends = course.groupby(RUN, sort=False)[CA].agg(["first", "last"]).reset_index()
    ends[["method", "rate"]] = [rates[name] for name in ends["defense"]]
    outside = (ends["first"] - ends["last"]).round(9) > budget
    ends.loc[outside, "defense"], ends.loc[outside, "rate"] = NONE, 0.0
    best = ends.groupby(["attack", "method", "seed", "repeat"], sort=False)["rate"].idxmax()
    return ends.loc[best, [*RUN, "method", "rate"]].reset_index(drop=True)


def by_budget(
    table: pd.DataFrame,
    histories: pd.DataFrame,
    rates: Mapping[str, tuple[str, float]],
    budgets: Sequence[float],
) -> pd.DataFrame:
    """Return the table of all scores with the chosen cleaning of each defence only.

    The scores at each budget stand below one another, with the column `budget` in front. Entries
    that are no rate of a defence keep their scores in all of them. The arguments are those of
    `chosen`; for `table` see `taclean.results.table`.
    """
    undefended, others = pick(table, defense=NONE), table[~table["defense"].isin([*rates, NONE])]
    parts = []
    for budget in budgets:
        choice = chosen(histories, rates, budget)
        cleaned = choice[choice["defense"] != NONE].merge(table, on=RUN)
        # A victim has no repeats.
        kept = choice.merge(undefended.drop(columns="repeat"), on=["attack", "defense", "seed"])
        scores = pd.concat([cleaned, kept]).assign(defense=lambda rows: rows["method"])
        parts.append(pd.concat([scores, undefended, others]).assign(budget=budget))
    return pd.concat(parts)[["budget", *table.columns]]


def headline(scores: pd.DataFrame, look: Look) -> str:
    """Return the mean ASR@1 of each defence against each attack at each budget, as Markdown.

    Args:
        scores: what `by_budget` returned.
    """
    rows = pick(scores[scores["attack"] != CLEAN], split=main_split(scores, look), metric=ASR)
    lines = []
    for budget, part in rows.groupby("budget"):
        found = labelled(summary(part), look, "defense", "attack")
        cells = found.assign(text=plus_minus(found)).set_index(["attack", "defense"])["text"]
        wide = cells.unstack(sort=False).reset_index(names="Attack")
        wide.insert(0, "Budget", f"{budget:g}")
        lines.append(wide)
    over = interval_text(rows)
    note = f"ASR@1 in %{f', mean ± half of its {over}' if over else ''}. "
    note += "Budget: points of CA@1 on val that the largest rate may lose."
    return f"{markdown_table(pd.concat(lines), 2)}\n\n{note}\n"
