"""The words of the verdict."""

import math
from typing import Any

import pandas as pd
import pytest

from taclean.results.labels import Look
from taclean.results.table import COLUMNS
from taclean.results.verdict import difference_text, verdict

LOOK = {
    "attacks": {"a": {"label": "Alpha & Co"}, "b": {"label": "Beta"}},
    "defenses": {"old": {"label": "Old"}, "new": {"label": "New <1>"}},
    "splits": ["test"],
}
ASR = {("a", "old"): 40, ("a", "new"): 3, ("b", "old"): 20, ("b", "new"): 60}


def scores(seeds: int = 1, spread: float = 0) -> pd.DataFrame:
    """ASR@1 as above, `spread` points higher with every seed under the new defence."""
    rows: list[tuple[Any, ...]] = []
    for seed in range(seeds):
        rows.append(("clean", "none", seed, 0, "test", "CA@1", 91.0, 100))
        for attack in "ab":
            rows.append(("clean", "none", seed, 0, f"test+{attack}", "ASR@1", 1.0, 100))
            for defense, ca in (("none", 90.0), ("old", 88.0), ("new", 85.0)):
                asr = ASR.get((attack, defense), 99) + spread * seed * (defense == "new")
                rows.append((attack, defense, seed, 0, "test", "CA@1", ca, 100))
                rows.append((attack, defense, seed, 0, "test", "ASR@1", float(asr), 100))
    return pd.DataFrame(rows, columns=COLUMNS)


def difference(mean: float, half: float) -> pd.Series:
    """A row of `differences`."""
    found = {"difference": mean, "low": mean - half, "high": mean + half}
    return pd.Series({**found, "settled": abs(mean) > half}, dtype=object)


def words(table: pd.DataFrame, tested: str = "new") -> str:
    return " ".join(verdict(table, Look.of(LOOK), tested).sentences)


@pytest.mark.parametrize(("seeds", "named"), [(1, "seed 0"), (2, "seeds 0, 1")])
def test_fewer_than_three_seeds_decide_nothing(seeds: int, named: str) -> None:
    text = words(scores(seeds))  # of two, each difference is the same for both
    assert "New <1> removes the backdoor on 1 of 2 attacks (Alpha & Co)" in text
    assert "lower than that of Old on 1 of 2 attacks (Alpha & Co)" in text
    assert f"n = {seeds} for each attack ({named}), not enough to decide" in text
    assert "settled" not in text
    assert "changes by -5.0 points, on average over the attacks (Old -2.0)" in text


def test_a_difference_is_settled_where_its_interval_leaves_out_zero() -> None:
    text = words(scores(seeds=3, spread=1))
    assert "settled lower on 1 of 2 attacks (Alpha & Co)" in text
    assert "settled higher on 1 of 2 attacks (Beta)" in text
    assert "over 3 seeds (seeds 0, 1, 2) does not contain 0" in text
    assert "not enough" not in text
    # A mean of -12 with a standard deviation of 25: the interval is -74 to 50.
    text = words(scores(seeds=3, spread=25))
    assert "settled lower on 0 of 2 attacks," in text


@pytest.mark.parametrize(
    ("missing", "said"),
    [("none", "removes the backdoor on 1 of 2 attacks (Alpha & Co)"),
     ("new", "removes the backdoor on 0 of 1 attacks."), ("old", "of Old on 0 of 2 attacks.")],
)  # fmt: skip
def test_a_missing_score_makes_no_verdict(missing: str, said: str) -> None:
    table = scores(seeds=3, spread=1)
    lost = (table.attack == "a") & (table.defense == missing) & (table.metric == "ASR@1")
    assert "did not take" not in words(table[~lost])
    assert said in words(table[~lost])
    for part in (table[~lost], table[~lost | (table.seed == 0)]):
        assert "settled lower on 1" not in words(part) or missing == "none"


def test_a_defence_that_could_not_work_is_left_out_with_its_reason() -> None:
    table = scores(seeds=3, spread=1).assign(failed=None)
    table.loc[(table.attack == "b") & (table.defense == "old") & (table.seed == 1), "failed"] = "so"
    text = words(table)
    assert "Left out, because the defence could not work there: Old on Beta (so)." in text
    assert "lower than that of Old on 2 of 2 attacks" in text
    assert "Old: settled lower on 1 of 2 attacks (Alpha & Co), settled higher on 0 of 2" in text
    assert "removes the backdoor on 0 of 1 attacks" in words(table, "old")
    table.loc[table.defense == "new", "failed"] = "no trigger"
    assert "New <1> on Alpha & Co (no trigger), " in words(table)


def test_variants_of_a_method_are_not_what_it_is_compared_with() -> None:
    variant = scores().query("defense == 'old'").assign(defense="old_k2", percent=0.0)
    table, names = pd.concat([scores(), variant]), {"old_k2": {"label": "Old k2"}}
    look = LOOK | {"defenses": LOOK["defenses"] | names}
    for variants, others in (
        ([], ["Old", "Old k2"]),
        (["old_k2"], ["Old"]),
        (["old", "old_k2"], ["Old", "Old k2"]),  # there is nothing else
    ):
        found = verdict(table, Look.of(look | {"variants": variants}), "new")
        assert found
        assert list(found.words) == others
        assert ("Old k2" in " ".join(found.sentences)) == ("Old k2" in others)


def test_a_difference_in_words() -> None:
    assert difference_text(difference(-2, 12.71)) == "2.0 lower (-14.7 to +10.7): open"
    assert difference_text(difference(13.1, 2)) == "13.1 higher (+11.1 to +15.1): settled"
    assert difference_text(difference(13.1, math.nan)) == "13.1 higher"


def test_a_defence_without_scores_has_no_verdict() -> None:
    assert verdict(scores(), Look.of(LOOK), "other") is None
    assert "changes by -2.0 points" in words(scores(), "old")


def test_an_attack_that_did_not_take_does_not_count() -> None:
    table = scores()
    victim = (table.attack == "a") & (table.defense == "none") & (table.metric == "ASR@1")
    table.loc[victim, "percent"] = 6  # never poisoned: 1
    text = words(table)
    assert "did not take: Alpha & Co" in text
    assert "removes the backdoor on 0 of 1 attacks." in text
    table.loc[(table.attack == "b") & (table.defense == "none"), "percent"] = 6
    (sentence,) = verdict(table, Look.of(LOOK), "new").sentences
    assert "did not take: Alpha & Co, Beta" in sentence
