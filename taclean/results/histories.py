"""Tables of the val scores in the course of cleaning: settings chosen by them, and what comes back.

A defender can score clean pictures, but not the attack. So settings are chosen by the clean
accuracy that they cost: of the trials of a tuning, and of the learning rates of a run.

A history has the columns RUN, epoch, and CA@1, ASR@1 and TA@1 in percent on val; epoch 0 is the
model before the cleaning.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import yaml

from taclean.results.labels import NONE, Look, failures, labelled, ordered
from taclean.results.statistics import differences, interval_text, plus_minus, signed, summary
from taclean.results.table import ASR, CA, RUN, main_rows, markdown_table, pick, seeds_text

TRIAL = ["defense", "trial", "overrides"]
SCORES = ["CA", "ASR", "TA", "victim_CA", "victim_ASR"]
GRID = [*TRIAL, "attack", "seed", *SCORES]
REBOUND = [*RUN, "asr_start", "asr_peak", "rise", "step", "asr_end", "ca_start", "ca_end"]
Rates = Mapping[str, tuple[str, float]]  # entry of the config -> its defence, its learning rate


def grid(histories: pd.DataFrame, runs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a row for each trial, attack and seed, in percent: columns GRID.

    `runs` has the defense, trial (a number), overrides, attack and seed of each history, in order.
    """
    courses = histories.groupby(RUN, sort=False)[[CA, ASR, "TA@1"]]
    scores = courses.last().join(courses.first().add_prefix("victim_")).reset_index(drop=True)
    found = pd.DataFrame(runs).join(scores.rename(columns=lambda name: name.removesuffix("@1")))
    return found.assign(overrides=found["overrides"].map(json.dumps))[GRID]


def choose(grid: pd.DataFrame, within: float) -> pd.DataFrame:
    """Return a row for each trial: its means over attacks and seeds, `kept`, `chosen` and `oracle`.

    A trial is kept if its CA@1 is at most `within` points below the victims'. For each defence,
    the kept trial with the largest learning rate is chosen, since a defender cannot see ASR;
    `oracle` is the kept trial with the lowest ASR@1. Among equals it is the one with the highest
    CA@1, and if no trial is kept, the one that loses the least clean accuracy. The rate of a trial
    that changes none counts as the lowest.
    """
    trials = grid.groupby(TRIAL, sort=False)[SCORES].mean().reset_index()
    lost = (trials["victim_CA"] - trials["CA"]).round(9)
    trials["kept"] = lost <= within
    changes = [json.loads(text).get("train") or {} for text in trials["overrides"]]
    rate = pd.Series([change.get("lr") or 0.0 for change in changes], trials.index)
    for name, first in (("chosen", -rate), ("oracle", trials["ASR"])):
        order = trials.assign(first=first.where(trials["kept"], lost), lost=lost)
        order = order.sort_values(["kept", "first", "lost"], ascending=[False, True, True])
        trials[name] = trials.index.isin(order.groupby("defense").head(1).index)
    return trials


def overlay(grid: pd.DataFrame, within: float) -> str:
    """Return the chosen settings as a config overlay, with comments on how they were chosen."""
    trials = choose(grid, within)
    lines = [
        f"Chosen on val over {', '.join(dict.fromkeys(grid['attack']))} "
        f"({seeds_text(grid['seed'])}) from {trials['defense'].value_counts().max()} trials each:",
        f"the largest learning rate whose mean CA@1 is within {within:g} points of the victims'.",
    ]
    chosen = trials[trials["chosen"]].to_dict("records")
    oracles = pick(trials, oracle=True).set_index("defense")
    for row in chosen:
        best = oracles.loc[row["defense"]]
        lost = "" if row["kept"] else f"; no trial is within {within:g} points, it loses the least"
        told = f"{row['defense']}: trial {row['trial']}, CA@1 {row['CA']:.1f} (victims "
        told += f"{row['victim_CA']:.1f}), ASR@1 {row['ASR']:.1f}, TA@1 {row['TA']:.1f}{lost}"
        if best["trial"] != row["trial"]:
            told += f"; trial {best['trial']} has ASR@1 {best['ASR']:.1f}, which no defender sees"
        lines.append(told)
    entries = {row["defense"]: json.loads(row["overrides"]) for row in chosen}
    head = "".join(f"# {line}\n" for line in lines)
    return head + yaml.safe_dump({"defenses": entries}, sort_keys=False, default_flow_style=None)


def rates_within(histories: pd.DataFrame, rates: Rates, budget: float) -> pd.DataFrame:
    """Choose a rate for each victim, its cleaning's repeat and each defence.

    The budget is in points of CA@1 that may be lost. Return RUN with the entry in `defense`, or
    NONE if no rate is within the budget; `method` is the defence and `rate` its learning rate, 0
    for NONE.
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
    rates: Rates,
    budgets: Sequence[float],
    trained: Mapping[str, str],
) -> pd.DataFrame:
    """Return the table of all scores with the chosen cleaning of each defence only.

    The scores at each budget stand below one another, with the column `budget` in front. Entries
    that are no rate of a defence keep their scores in all of them. `trained` names the attack whose
    victim each attack has. See `rates_within`.
    """
    undefended, others = pick(table, defense=NONE), table[~table["defense"].isin([*rates, NONE])]
    parts = []
    for budget in budgets:
        found = rates_within(histories, rates, budget)
        choice = pd.concat(pick(found, attack=of).assign(attack=a) for a, of in trained.items())
        cleaned = choice[choice["defense"] != NONE].merge(table, on=RUN)
        # A victim has no repeats.
        kept = choice.merge(undefended.drop(columns="repeat"), on=["attack", "defense", "seed"])
        scores = pd.concat([cleaned, kept]).assign(defense=lambda rows: rows["method"])
        parts.append(pd.concat([scores, undefended, others]).assign(budget=budget))
    return pd.concat(parts)[["budget", *table.columns]]


def cleanings(rows: pd.DataFrame, rates: Rates) -> pd.DataFrame:
    """Return a row for each cleaning at one of the rates, from CA@1 and ASR@1 on one split.

    The columns are RUN, CA@1 and ASR@1, "CA@1 before" and "ASR@1 before" of the victim, `method`
    and `rate` as in `rates_within`, and `lost`, the points of CA@1 below the victim's.
    """
    runs = rows.pivot(index=RUN, columns="metric", values="percent")
    before = runs.xs(NONE, level="defense").droplevel("repeat")
    runs = runs[runs.index.isin([*rates], "defense")].reset_index()
    runs = runs.merge(before, on=["attack", "seed"], suffixes=("", " before"))
    runs[["method", "rate"]] = [rates[name] for name in runs["defense"]]
    return runs.assign(lost=runs[f"{CA} before"] - runs[CA])


def at_loss(runs: pd.DataFrame, losses: Sequence[float], split: str) -> pd.DataFrame:
    """Return ASR@1 where all defences have lost as much CA@1 on the split, as `by_budget` does.

    `runs` are `cleanings`. Straight lines lead from each victim through its runs by rate; a loss
    that falls again counts as no less. No defender has test scores: it only compares defences.
    """
    found, keys = [], ["attack", "method", "seed", "repeat"]
    for run, course in runs.sort_values("rate").groupby(keys, sort=False):
        lost = np.maximum.accumulate([0.0, *course["lost"]])
        asr = [course[f"{ASR} before"].iloc[0], *course[ASR]]
        found += [(loss, *run, split, ASR, np.interp(loss, lost, asr)) for loss in losses]
    columns = ["budget", "attack", "defense", "seed", "repeat", "split", "metric", "percent"]
    return pd.DataFrame(found, columns=columns)


BUDGET = "Budget: points of CA@1 on val that the largest rate may lose."
LOSS = "Loss: points of CA@1 lost on the test split, on straight lines from rate to rate; "
LOSS += "beyond the last rate ASR@1 is that of this rate."


def headline(scores: pd.DataFrame, look: Look, budget: str = BUDGET) -> str:
    """Return ASR@1 at each budget as Markdown: means, and the last defence minus each other one.

    Args:
        scores: from `by_budget` or `at_loss`; the differences are on the same victims.
        budget: what a budget is, after its name and a colon.
    """
    rows = pick(main_rows(scores, look), metric=ASR)
    *others, tested = [d for d in ordered(rows["defense"], look.defenses) if d != NONE]
    pairs, name = [(tested, other) for other in others], budget.partition(":")[0]

    def minus(part: pd.DataFrame) -> pd.DataFrame:
        mean = differences(part, pairs, by=["split", "metric"]).assign(attack="mean")
        return pd.concat([differences(part, pairs), mean])

    def cells(of: Callable[..., Any], columns: str, text: Callable[..., pd.Series]) -> str:
        found = pd.concat(of(part).assign(budget=b) for b, part in rows.groupby("budget"))
        found = labelled(found, look, columns, "attack").sort_values("budget", kind="stable")
        found = found.assign(text=text(found))
        wide = found.set_index(["budget", "attack", columns])["text"].unstack(sort=False)
        wide = wide.fillna("–").reset_index(names=[name, "Attack"]).rename_axis(columns=None)
        return markdown_table(wide.assign(**{name: wide[name].map("{:g}".format)}), 2)

    over = interval_text(rows)
    note = f"ASR@1 in %{f', mean ± half of its {over}' if over else ''}. {budget}"
    text = f"{cells(summary, 'defense', plus_minus)}\n\n{note}\n"
    if failed := ", ".join(failures(scores, look).values()):
        text += f"\nCould not work, so that the victim's ASR@1 stands there: {failed}.\n"
    if others:
        note = f"{look.defense_label(tested)} minus the other in ASR@1, in points, on the same "
        note += f"victims{f', with {over}; bold where settled' if over else ''}."
        text += f"\n{cells(minus, 'against', partial(signed, bold=True))}\n\n{note}\n"
    return text


def rebound(histories: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each model that was trained further: columns REBOUND, scores in percent.

    `step`, a column of these histories too, is the first one with the highest ASR@1, and `rise` is
    that score minus the one at the start. A model without a trigger has no ASR@1.
    """
    rows = []
    for model, course in histories.groupby(RUN, sort=False):
        course = course.sort_values("step").reset_index(drop=True)
        asr, ca = course.reindex(columns=[ASR, CA]).to_numpy(float).T
        peak = int(np.nan_to_num(asr, nan=-1).argmax())
        scores = (asr[0], asr[peak], asr[peak] - asr[0], course["step"][peak], asr[-1])
        rows.append((*model, *scores, ca[0], ca[-1]))
    return pd.DataFrame(rows, columns=REBOUND).round(4)
