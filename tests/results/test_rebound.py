"""What comes back: the peak is the first highest score, and a model without a trigger has none."""

import math

import pandas as pd

from taclean.results.histories import REBOUND, rebound


def test_the_peak_is_the_first_highest_score() -> None:
    columns = ["attack", "defense", "seed", "repeat", "step", "CA@1", "ASR@1"]
    courses = {"badclip": [3.0, 40.0, 61.5, 61.5, 20.0], "clean": [math.nan] * 5}
    rows = [
        (attack, "par_then", 7, 0, step, 80 + step / 10, asr)
        for attack, course in courses.items()
        for step, asr in zip((20, 0, 5, 10, 300), [course[3], *course[:3], course[4]], strict=True)
    ]
    poisoned, never = rebound(pd.DataFrame(rows, columns=columns)).itertuples(index=False)
    assert tuple(poisoned) == ("badclip", "par_then", 7, 0, 3.0, 61.5, 58.5, 10, 20.0, 80.0, 110.0)
    assert list(never._fields) == REBOUND
    assert math.isnan(never.rise)
    assert (never.ca_start, never.ca_end) == (80, 110)
