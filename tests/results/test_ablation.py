"""What each value of a choice gives, against plain means and differences."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from taclean.results.ablation import along
from taclean.results.labels import Look
from taclean.results.statistics import half_width

LOOK = Look.of(
    {
        "attacks": {"sig": {"label": "SIG", "marker": "o"}, "badclip": {"label": "BadCLIP"}},
        "defenses": {"ft": {"label": "FT"}, "mine": {"label": "Mine"}, "mine_k": {"label": "K"}},
        "splits": ["test", "shift"],
        "variants": ["mine_k"],
    }
)
ATTACKS, DEFENSES, SEEDS = ("sig", "badclip"), ("none", "ft", "mine", "mine_k"), (4, 5)
DRAWN = np.random.default_rng(0).uniform(0, 100, (2, 4, 2, 2))  # attack, defence, seed, metric


def table() -> pd.DataFrame:
    """A run of each attack, defence and seed, and what is to be left out."""
    rows = [
        (attack, defense, seed, 0, split, metric, DRAWN[a, d, s, m] + (split == "shift"), 100)
        for a, attack in enumerate(ATTACKS)
        for d, defense in enumerate(DEFENSES)
        for s, seed in enumerate(SEEDS)
        for m, metric in enumerate(("CA@1", "ASR@1"))
        for split in ("test", "shift")
    ]
    rows += [("clean", "none", 4, 0, "test", "CA@1", 1.0, 100)]
    columns = ["attack", "defense", "seed", "repeat", "split", "metric", "percent", "n"]
    return pd.DataFrame(rows, columns=columns)


def test_a_choice_of_a_defence_is_compared_with_the_method_itself() -> None:
    found = along(table(), {"none": "nothing", "mine_k": "K = 1", "mine": "all"}, LOOK)
    assert found.columns == ["SIG", "BadCLIP"]
    assert list(found.rows) == ["nothing", "K = 1", "all"]
    ca, asr = found.rows["K = 1"][1]
    assert (ca.mean, asr.mean) == tuple(pytest.approx(DRAWN[1, 3].mean(0)[m]) for m in (0, 1))
    assert asr.half == pytest.approx(half_width(DRAWN[1, 3, :, 1]))
    assert found.reference == "all"
    assert list(found.differences) == ["nothing", "K = 1"]
    less = DRAWN[:, 3] - DRAWN[:, 2]  # of all four poisoned models
    for m, difference in enumerate(found.differences["K = 1"]):
        assert difference.mean == pytest.approx(less[..., m].mean())
        assert difference.half == pytest.approx(half_width(less[..., m].ravel()))
        assert difference.n == 4


def test_a_choice_of_an_attack_has_a_column_for_each_defence() -> None:
    found = along(table(), {"sig": "weak", "other": "strong"}, LOOK)
    assert found.columns == ["No defence", "FT", "Mine", "K"]
    assert [asr.mean for _, asr in found.rows["weak"]] == pytest.approx(DRAWN[0, :, :, 1].mean(1))
    assert found.rows["strong"] == [(None, None)] * 4
    assert found.reference is None
    assert found.differences == {}


def test_of_variants_alone_none_is_the_reference() -> None:
    found = along(table(), {"none": "nothing", "mine_k": "K = 1"}, LOOK)
    assert (found.reference, found.differences) == (None, {})
