"""Scores at a budget: the largest rate within it, chosen by clean accuracy on val alone."""

import pandas as pd
import pytest

from taclean.results.histories import by_budget, chosen, headline
from taclean.results.labels import Look
from taclean.results.table import COLUMNS, RUN

RATES = {
    f"{name}_{n}": (name, rate) for name in ("ft", "par") for n, rate in ((1, 1e-4), (2, 1e-3))
}
# CA@1 on val after each cleaning of seeds 1 and 2, whose victims have 90.
AFTER = {"ft_1": (89, 89), "ft_2": (86, 87), "par_1": (88.9, 80), "par_2": (89.5, 70)}


def histories() -> pd.DataFrame:
    rows = [
        ("badclip", entry, seed, 0, epoch, 90 if epoch == 0 else ca)
        for entry, of_seeds in AFTER.items()
        for seed, ca in zip((1, 2), of_seeds, strict=True)
        for epoch in (2, 0)
    ]
    return pd.DataFrame([*rows, ("badclip", "other", 1, 0, 0, 1)], columns=[*RUN, "epoch", "CA@1"])


@pytest.mark.parametrize(
    ("budget", "wanted"),
    [
        (1, {"ft": (1e-4, 1e-4), "par": (1e-3, 0)}),
        (3, {"ft": (1e-4, 1e-3), "par": (1e-3, 0)}),
        (4, {"ft": (1e-3, 1e-3), "par": (1e-3, 0)}),
        (0, {"ft": (0, 0), "par": (0, 0)}),
        (99, {"ft": (1e-3, 1e-3), "par": (1e-3, 1e-3)}),
    ],
)
def test_the_largest_rate_within_the_budget_counts(budget: float, wanted: dict) -> None:
    found = chosen(histories(), RATES, budget)
    rates = found.set_index(["method", "seed"])["rate"]
    assert {name: (rates[name, 1], rates[name, 2]) for name in ("ft", "par")} == wanted
    assert set(found.loc[found["rate"] == 0, "defense"]) <= {"none"}
    # ASR on val, which a defender cannot see, changes nothing.
    assert chosen(histories().assign(**{"ASR@1": range(17)}), RATES, budget).equals(found)


def test_a_victim_beyond_the_budget_keeps_its_scores() -> None:
    scores = {("none", 1): 99.0, ("none", 2): 98.0, ("ft_1", 1): 50.0, ("ft_2", 2): 7.0}
    scores |= {("ft_1", 2): 40.0, ("ft_2", 1): 5.0, ("par_2", 1): 20.0}
    rows = [
        ("badclip", defense, seed, 0, "test", "ASR@1", percent, 100)
        for (defense, seed), percent in scores.items()
    ]
    other = ("badclip", "ft_then", 1, 0, "test", "ASR@1", 33.0, 100)
    table = pd.DataFrame([*rows, other], columns=COLUMNS)
    scores = by_budget(table, histories(), RATES, [3, 99])
    assert list(scores.columns) == ["budget", *COLUMNS]
    found = scores[scores["budget"] == 3]
    got = {(row.defense, row.seed): row.percent for row in found.itertuples()}
    wanted = {("ft", 1): 50, ("ft", 2): 7, ("par", 1): 20, ("par", 2): 98, ("ft_then", 1): 33}
    assert got == wanted | {("none", 1): 99, ("none", 2): 98}  # other entries stay
    means = [
        line.split("|")[1:-1] for line in headline(scores, Look()).splitlines() if "badclip" in line
    ]
    cells = [[cell.strip() for cell in row] for row in means]
    assert cells == [
        ["3", "badclip", "98.5", "28.5", "59.0", "33.0"],
        ["99", "badclip", "98.5", "6.0", "20.0", "33.0"],
    ]
