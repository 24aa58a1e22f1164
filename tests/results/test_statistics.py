"""Intervals, spread and paired differences against scipy and plain formulas."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from docs.held_back import against, expected
from taclean.results.labels import Look
from taclean.results.statistics import (
    differences,
    half_width,
    interval_text,
    paired,
    spread,
    summary,
)

SEEDS, REPEATS = (1, 2, 5), 4
DRAWN = np.random.default_rng(0).normal(50, 5, (3, len(SEEDS), REPEATS))  # defence, seed, repeat
DRAWN += np.random.default_rng(1).normal(0, 20, (1, len(SEEDS), 1))  # what a victim has of its own
DRAWN[2] += 20


def runs(values: np.ndarray, defense: str, attack: str = "sig") -> pd.DataFrame:
    """Rows of the long table from (seed, repeat) values."""
    rows = [
        (attack, defense, SEEDS[s], r, "test", "ASR@1", values[s, r], 100)
        for s, r in itertools.product(*map(range, values.shape))
    ]
    columns = ["attack", "defense", "seed", "repeat", "split", "metric", "percent", "n"]
    return pd.DataFrame(rows, columns=columns)


TABLE = pd.concat(
    [runs(DRAWN[0][:, :1], "none"), runs(DRAWN[1], "ft"), runs(DRAWN[2], "mine")], ignore_index=True
)


def test_the_interval_is_students() -> None:
    for values in ([3.0, 4.5, 4.0], [1.0, 2.0, 8.0, 8.5]):
        low, high = stats.t.interval(
            0.95, len(values) - 1, np.mean(values), np.std(values, ddof=1) / math.sqrt(len(values))
        )
        assert half_width(values) == pytest.approx((high - low) / 2)
    assert math.isnan(half_width([3.0, 4.5]))  # of two it would be 12.7 standard errors


def test_new_victims_are_compared_with_the_prediction_interval() -> None:
    values = np.array([[9.0, 11.0], [10.0, 14.0], [13.0, 15.0]])  # means 10, 12, 14: sd 2
    half = stats.t.ppf(0.975, 2) * 2 * np.sqrt(1 + 1 / 3)
    known, mine = runs(values, "ft"), runs(np.array([[1.0, 5.0], [30.0, 31.0]]), "ft")
    found = against(known, mine.assign(seed=mine["seed"] + 10), Look())
    assert found["percent"].tolist() == [3.0, 30.5]  # each the mean of its cleanings
    assert found["low"].tolist() == pytest.approx([12 - half] * 2)
    assert found["high"].tolist() == pytest.approx([12 + half] * 2)
    assert found["inside"].tolist() == [True, False]
    assert expected(known[known["seed"] < 5]).empty  # two victims predict nothing


def test_repeats_then_attacks_are_averaged_within_a_seed() -> None:
    """A seed's victims may share a base model, so that they are no independent values."""
    other = runs(DRAWN[2][:, :1], "ft", "badnet")  # cleaned once

    def minus_nothing(part: pd.DataFrame) -> pd.Series:
        nothing = part[part["repeat"] == 0].assign(defense="none", percent=0.0)
        (found,) = differences(pd.concat([part, nothing]), [("ft", "none")], ["split"]).iloc
        return found

    for part, means in (
        (runs(DRAWN[1], "ft"), DRAWN[1].mean(1)),
        (pd.concat([runs(DRAWN[1], "ft"), other]), (DRAWN[1].mean(1) + DRAWN[2][:, 0]) / 2),
    ):
        found = minus_nothing(part)
        assert (found["difference"], found["n"]) == (pytest.approx(means.mean()), 3)
        assert found["high"] - found["difference"] == pytest.approx(half_width(means))
        assert minus_nothing(part[part["seed"] < 5])["n"] == 2
    part = part[(part["seed"] < 5) | (part["attack"] == "sig")]
    assert minus_nothing(part)["n"] == 2  # where an attack is missing, the mean is of another thing


def test_cleanings_and_few_seeds_give_no_interval_and_settle_nothing() -> None:
    two, one = TABLE[TABLE["seed"] < 5].copy(), TABLE[TABLE["seed"] == 1]
    two["percent"] = two["defense"].map({"none": 90.0, "ft": 50.0, "mine": 40.0})  # no deviation
    for part, n in ((two, 2), (one, 1), (TABLE.assign(attack="clean"), 1)):
        found = paired(part, Look())
        assert (found["n"] == n).all()
        assert found["low"].isna().all()
        assert not found["settled"].any()
        assert summary(part)["half"].isna().all()
    assert summary(one).set_index("defense")["mean"]["ft"] == pytest.approx(DRAWN[1, 0].mean())
    assert summary(TABLE[:0]).empty


def test_models_never_poisoned_count_by_seed_where_each_has_its_own_base() -> None:
    clean = TABLE.assign(attack="clean", metric="CA@1", split="test")
    assert clean[clean["defense"] == "none"]["percent"].nunique() == 3
    assert (paired(clean, Look())["n"] == 3).all()
    assert (summary(clean)["n"] == 3).all()


def test_the_text_of_an_interval() -> None:
    over = "95 % interval (Student's t) over 3 seeds"
    assert interval_text(TABLE) == f"{over}, each the mean of 4 cleanings"
    assert interval_text(TABLE[TABLE["repeat"] == 0]) == over
    assert interval_text(TABLE[TABLE["seed"] < 5]) == "no 95 % interval (n = 2, not enough)"
    one = TABLE[TABLE["seed"] == 1]
    assert interval_text(one) == "no 95 % interval (n = 1, not enough)"
    assert interval_text(one[one["repeat"] == 0]) == ""


def test_the_spread_is_that_of_a_one_way_layout() -> None:
    table = spread(TABLE).set_index("defense")
    values = DRAWN[1]
    within = values.var(1, ddof=1).mean()
    between = values.mean(1).var(ddof=1) - within / REPEATS
    assert between > 0
    row = table.loc["ft"]
    assert row["mean"] == pytest.approx(values.mean())
    assert row["sd_repeats"] == pytest.approx(math.sqrt(within))
    assert row["sd_victims"] == pytest.approx(math.sqrt(between))
    assert (row["victims"], row["repeats"]) == (3, 4)
    none = table.loc["none"]  # cleaned by nothing: the victims' alone
    assert math.isnan(none["sd_repeats"])
    assert none["sd_victims"] == pytest.approx(DRAWN[0][:, 0].std(ddof=1))
    same = runs(np.array([[1.0, 9.0], [2.0, 8.0]]), "ft")  # means that cleanings explain
    assert spread(same)["sd_victims"].tolist() == [0.0]
    (alone,) = spread(same[same["seed"] == 1]).to_dict("records")
    assert alone["sd_repeats"] == pytest.approx(math.sqrt(32))
    assert math.isnan(alone["sd_victims"])


@pytest.mark.parametrize("own", [False, True])
def test_the_clean_model_is_one_victim_unless_each_seed_has_its_own(own: bool) -> None:
    asr = runs(DRAWN[0][:, :1], "none", "clean")
    ca = asr.assign(metric="CA@1", percent=[80.0, 81.0, 80.5] if own else 80.0)
    table = spread(pd.concat([ca, asr])).set_index("metric").loc["ASR@1"]
    assert (table["victims"], table["repeats"]) == ((3, 1) if own else (1, 3))
    assert table[["sd_repeats", "sd_victims"]].isna().tolist() == [own, not own]


def test_paired_differences_are_those_of_the_paired_t_test() -> None:
    table = paired(TABLE, Look()).set_index(["defense", "against"])
    assert list(table.index) == [("ft", "none"), ("mine", "none"), ("mine", "ft")]
    means = DRAWN.mean(2)
    means[0] = DRAWN[0][:, 0]
    for (i, one), (j, other) in ((1, "ft"), (0, "none")), ((2, "mine"), (1, "ft")):
        row = table.loc[(one, other)]
        test = stats.ttest_rel(means[i], means[j])
        low, high = test.confidence_interval(0.95)
        assert row["difference"] == pytest.approx((means[i] - means[j]).mean())
        assert (row["low"], row["high"]) == pytest.approx((low, high))
        assert row["settled"] == (test.pvalue < 0.05)
        assert row["n"] == 3
    assert table.loc[("mine", "ft"), "settled"]


def test_cleanings_are_paired_by_their_repeat() -> None:
    less = TABLE[(TABLE["defense"] != "mine") | (TABLE["repeat"] > 1)]
    found = paired(less, Look()).set_index(["defense", "against"]).loc[("mine", "ft")]
    assert found["difference"] == pytest.approx((DRAWN[2] - DRAWN[1])[:, 2:].mean())


def test_other_victims_are_no_pair() -> None:
    one, other = runs(DRAWN[1][:1], "ft"), runs(DRAWN[2], "mine")
    (found,) = paired(pd.concat([one, other]), Look())["difference"]
    assert found == pytest.approx((DRAWN[2, 0] - DRAWN[1, 0]).mean())
    assert paired(pd.concat([one, other[REPEATS:]]), Look()).empty
