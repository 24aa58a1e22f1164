"""Intervals, spread and paired differences against scipy and plain formulas."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from taclean.results.statistics import (
    difference,
    estimate,
    half_width,
    interval_text,
    new_victims,
    paired,
    predicted,
    spread,
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
    [runs(DRAWN[0][:, :1], "none"), runs(DRAWN[1], "ft"), runs(DRAWN[2], "mine")],
    ignore_index=True,
)


def test_the_interval_is_students() -> None:
    for values in ([3.0, 4.5], [1.0, 2.0, 8.0, 8.5]):
        low, high = stats.t.interval(
            0.95, len(values) - 1, np.mean(values), np.std(values, ddof=1) / math.sqrt(len(values))
        )
        assert half_width(values) == pytest.approx((high - low) / 2)
    assert math.isnan(half_width([3.0]))


def test_one_more_value_is_expected_in_the_prediction_interval() -> None:
    found = predicted(runs(DRAWN[1], "ft"))[["low", "high"]].to_numpy()[0]
    means = DRAWN[1].mean(1)
    scale = means.std(ddof=1) * math.sqrt(1 + 1 / 3)
    assert found == pytest.approx(stats.t.interval(0.95, 2, means.mean(), scale))
    assert predicted(runs(DRAWN[1, :1], "ft")).empty  # cleanings of one victim


def test_new_victims_are_compared_with_the_prediction_interval() -> None:
    values = np.array([[10.0], [12.0], [14.0]])  # mean 12, sd 2
    half = stats.t.ppf(0.975, 2) * 2 * np.sqrt(1 + 1 / 3)
    known, mine = runs(values, "ft"), runs(np.array([[1.0, 5.0], [30.0, 31.0]]), "ft")
    found = new_victims(known, mine.assign(seed=mine["seed"] + 10))
    assert found["percent"].tolist() == [3.0, 30.5]  # each the mean of its cleanings
    assert found["low"].tolist() == pytest.approx([12 - half] * 2)
    assert found["high"].tolist() == pytest.approx([12 + half] * 2)
    assert found["inside"].tolist() == [True, False]
    assert new_victims(known[:1], mine).empty  # one victim predicts nothing
    assert new_victims(known, mine.assign(defense="par")).empty


def test_victims_of_several_attacks_have_the_same_weight() -> None:
    two = pd.concat([runs(DRAWN[1], "ft"), runs(DRAWN[2][:1], "ft", "badnet")])
    means = [*DRAWN[1].mean(1), DRAWN[2][0].mean()]
    assert (estimate(two).mean, estimate(two).n) == (pytest.approx(np.mean(means)), 4)
    less = difference(two, two.assign(percent=two["percent"] - 1))
    assert (less.mean, less.n) == (pytest.approx(1), 4)


def test_repeats_are_averaged_within_a_victim_first() -> None:
    found = estimate(runs(DRAWN[1], "ft"))
    means = DRAWN[1].mean(1)
    assert found.mean == pytest.approx(means.mean())
    assert found.half == pytest.approx(half_width(means))
    assert (found.n, found.over) == (3, "victims")


def test_of_one_victim_the_interval_is_over_its_cleanings() -> None:
    for one in (runs(DRAWN[1][:1], "ft"), runs(DRAWN[1], "ft", "clean")):
        found = estimate(one)
        assert found.half == pytest.approx(half_width(one["percent"]))
        assert (found.n, found.over) == (len(one), "runs")
    alone = estimate(runs(DRAWN[1][:1, :1], "ft"))
    assert alone.mean == DRAWN[1, 0, 0]
    assert math.isnan(alone.half)
    assert estimate(TABLE[:0]) is None


def test_the_text_of_an_interval() -> None:
    assert interval_text(TABLE) == "over 3 victims, each the mean of 4 cleanings"
    assert interval_text(TABLE[TABLE["repeat"] == 0]) == "over 3 victims"
    one = TABLE[TABLE["seed"] == 1]
    assert interval_text(one) == "over 4 cleanings of one victim"
    assert interval_text(one[one["repeat"] == 0]) == ""
    assert interval_text(TABLE.assign(attack="clean")) == "over 12 cleanings of one victim"


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
    table = paired(TABLE).set_index(["defense", "against"])
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
        assert (row["n"], row["over"]) == (3, "victims")
    assert table.loc[("mine", "ft"), "settled"]


def test_of_one_victim_cleanings_are_paired_by_their_repeat() -> None:
    one = TABLE[TABLE["seed"] == 1].sort_values("repeat", ascending=False, kind="stable")
    found = paired(one).set_index(["defense", "against"]).loc[("mine", "ft")]
    low, high = stats.ttest_rel(DRAWN[2, 0], DRAWN[1, 0]).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    assert (found["n"], found["over"]) == (4, "runs")


def test_one_pair_settles_nothing_and_other_victims_are_no_pair() -> None:
    single = paired(TABLE[(TABLE["seed"] == 1) & (TABLE["repeat"] == 0)])
    assert single["low"].isna().all()
    assert not single["settled"].any()
    none, ft = (TABLE[TABLE["defense"] == name] for name in ("none", "ft"))
    assert difference(none, ft).mean == pytest.approx(-difference(ft, none).mean)
    assert difference(runs(DRAWN[1][:1], "ft"), runs(DRAWN[2], "mine")[REPEATS:]) is None
