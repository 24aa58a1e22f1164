"""The leaderboard: scores of defences on frozen victims, which anybody can add to and check.

A row is one cleaning: a method, a victim and a budget of clean accuracy. The rows of the method
"none" are the victims' own scores where they were cleaned; by them `check` knows other victims.
"""

from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd

from taclean.results.labels import CLEAN, NONE
from taclean.results.statistics import plus_minus, summary
from taclean.results.table import ASR, CA, is_share, pick
from taclean.util.errors import UserError

KEYS = ["method", "attack", "seed", "repeat", "budget"]
SCORES = ["ca", "ca_n", "asr", "asr_n"]
ABOUT = ["version", "commit", "victims", "machine"]
COLUMNS = [*KEYS, *SCORES, "seconds", *ABOUT]
FAR = 1.0  # points between two machines' scores of the same victim


def entries(
    budgets: pd.DataFrame, cost: pd.DataFrame, split: str, about: Mapping[str, str]
) -> pd.DataFrame:
    """Return the leaderboard's rows of a run: columns COLUMNS.

    Scores are in percent with their numbers of pictures, `seconds` is the mean time of a cleaning.
    A UserError says that scores are missing.

    Args:
        budgets, cost: the run's tables of these names.
        split: the main test split.
        about: values of the columns ABOUT: the version of taclean, the commit or paper of the
            method, the SHA-256 of the victims' archive, and the processor.
    """
    rows = pick(budgets[budgets["attack"] != CLEAN], split=split)
    wide = rows.pivot(index=["defense", *KEYS[1:]], columns="metric", values=["percent", "n"])
    wide = wide.reindex(columns=[(value, name) for value in ("percent", "n") for name in (CA, ASR)])
    if wide.empty or wide.isna().any(axis=None):
        text = f"budgets.csv: not {CA} and {ASR} of each run on the split {split}"
        raise UserError(f"{text}; give the run's own --configfile, and let it end")
    found = pd.DataFrame(
        {"ca": wide["percent", CA], "ca_n": wide["n", CA].astype(int)}
        | {"asr": wide["percent", ASR], "asr_n": wide["n", ASR].astype(int)}
    ).reset_index(names=KEYS)
    seconds = cost.set_index("defense")["seconds"].round(1)
    found = found.assign(seconds=found["method"].map(seconds), **about)
    found.loc[found["method"] != cost["defense"].iloc[-1], "commit"] = ""  # it is the last one's
    return found[COLUMNS]


def check(rows: pd.DataFrame, known: pd.DataFrame, index: Mapping[str, Any], digest: str) -> None:
    """Check that rows come from frozen victims: a UserError names a row of other victims, a second
    one, and impossible numbers; or victims whose own scores are missing or far from those known.

    Args:
        rows: the submitted rows, columns COLUMNS.
        known: rows of these victims that are on the leaderboard already, or none.
        index: what `taclean.attacks.victims.read` says of the archive.
        digest: the archive's SHA-256.
    """

    def wrong(where: pd.Series, text: str) -> None:
        for row in rows.assign(number=range(1, len(rows) + 1))[where].head(1).itertuples():
            name = f"{' '.join(str(row.method).split())} on {row.attack}, seed {row.seed}"
            raise UserError(f"row {row.number} ({name}): {text}")

    if rows.empty:
        raise UserError("no rows; clean the victims and add the run's")
    for key in KEYS:
        wrong(rows[key].isna(), f"{key} is empty")
    numbers = rows[[*KEYS[2:], "seconds"]].fillna({"seconds": 0})
    numbers = numbers.apply(pd.to_numeric, errors="coerce")
    for key, most in {"repeat": 1e6, "budget": 100, "seconds": 1e9}.items():
        wrong(~numbers[key].between(0, most), f"{key} is no number from 0 to {most:g}")
    wrong(numbers["repeat"] % 1 != 0, "repeat is no whole number")
    wrong(~rows["method"].astype(str).str.fullmatch(r"[A-Za-z0-9_]+"), "method is no name")
    stages = "pretrain/" + rows["attack"] + "/seed" + rows["seed"].astype(str)
    wrong(rows["victims"] != digest, "other victims; clean those of the archive")
    wrong(~stages.isin([*index["victims"]]), "the archive has no such victim")
    wrong(rows.duplicated(KEYS), "given twice; keep one")
    new = rows.assign(**dict(numbers[KEYS[2:]].items()))  # without a commit, it is a baseline
    both = new.merge(known.fillna({"commit": ""}), on=KEYS, how="left", suffixes=("", "_known"))
    other = both["commit_known"].notna() & ~both["commit"].fillna("").isin([""])
    other &= both["commit_known"] != both["commit"]
    wrong(other.set_axis(rows.index), "on the leaderboard with another commit; rename the method")
    for score in ("ca", "asr"):
        good = is_share(rows[score], rows[f"{score}_n"])
        wrong(~good, f"{score} is no share of {score}_n pictures in percent")
        each = pd.concat([rows, known]).groupby(["attack", "seed"])[f"{score}_n"]
        several = each.transform("nunique").iloc[: len(rows)] > 1
        wrong(several, f"{score}_n is not the same in all rows of this victim, new and known")
    keys = KEYS[1:4]
    own = pick(rows, method=NONE).drop_duplicates(keys[:2])
    missing = "the victim's own scores (method none) are missing; keep them in"
    wrong(~stages.isin(stages[own.index]), missing)
    both = own.merge(pick(known, method=NONE), on=keys[:2], suffixes=("", "_known"))
    for score in ("ca", "asr"):
        far = both[(both[score] - both[f"{score}_known"]).abs() > FAR]
        for row in far.head(1).itertuples():
            values = f"{getattr(row, score):.1f} and {getattr(row, f'{score}_known'):.1f}"
            text = f"{row.attack}, seed {row.seed}: the victim's {score} is {values}"
            raise UserError(f"{text} on the leaderboard; clean the same one")


def merge(known: pd.DataFrame, rows: pd.DataFrame, keep: Literal["first", "last"]) -> pd.DataFrame:
    """Return the leaderboard with new rows, which replace those of equal keys if `keep` is last."""
    both = pd.concat([known, rows], ignore_index=True)
    kept = both.drop_duplicates(["victims", *KEYS], keep=keep)
    return kept.sort_values(["victims", *KEYS], kind="stable", ignore_index=True)[COLUMNS]


def means(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each method, attack, budget and archive, with text for the page.

    Columns: method, attack, budget, victims; asr and ca (means in percent), and asr_text and
    ca_text with half of the 95 % interval over seeds; seeds and seconds.
    """
    groups = ["victims", "method", "attack", "budget"]
    out = []
    for names, own in rows.groupby(groups, sort=False):
        long = own.rename(columns={"method": "defense"}).assign(split="test")
        parts = [long.assign(metric=m, percent=long[c]) for m, c in ((CA, "ca"), (ASR, "asr"))]
        found = summary(pd.concat(parts)).set_index("metric")
        text = plus_minus(found)
        numbers = {"ca": found["mean"][CA], "asr": found["mean"][ASR]}
        texts = {"ca_text": text[CA], "asr_text": text[ASR], "seeds": own["seed"].nunique()}
        keys = dict(zip(groups, names, strict=True))
        out.append({**keys, **numbers, **texts, "seconds": own["seconds"].mean()})
    return pd.DataFrame(out)
