"""The blocks of README.md and docs/: each function returns the Markdown between two marks."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from docs.held_back import against, summary
from docs.runs import DEFAULT, Run
from taclean import config as configs
from taclean.results import cost as costs
from taclean.results import main_table as tables
from taclean.results import scan_table
from taclean.results import statistics as stats
from taclean.results.labels import CLEAN, NONE, ordered
from taclean.results.statistics import Estimate, difference, estimate, interval_text
from taclean.results.table import (
    ASR,
    CA,
    markdown_table,
    of_the_attacker,
    pick,
    read_csv,
    scored_splits,
    seeds_text,
    split_title,
)
from taclean.results.tuning import choose
from taclean.results.verdict import verdict

EVIDENCE = ("evidence", "ablation", "threat", "overlap", "rebound", "target")  # `make evidence`


# ---- numbers as text -----------------------------------------------------------------------------


def plus_minus(found: Estimate | None) -> str:
    """Return '87.6 ± 2.1', or '–' without runs."""
    if found is None:
        return "–"
    return f"{found.mean:.1f}" + ("" if found.half is None else f" ± {found.half:.1f}")


def signed(found: Estimate | None) -> str:
    """Return '-1.4 (-2.1 to -0.8)', or '–' without runs."""
    if found is None:
        return "–"
    ends = "" if found.ends is None else " ({:+.1f} to {:+.1f})".format(*found.ends)
    return f"{found.mean:+.1f}{ends}"


def bold_if_settled(found: Estimate | None) -> str:
    """Return `signed`, bold if the interval does not contain 0."""
    return f"**{signed(found)}**" if found and found.settled else signed(found)


def expected(found: Estimate | None) -> str:
    """Return where one more victim's percentage is expected: '82.5 to 92.7'."""
    if found is None or found.further is None:
        return "–"
    return " to ".join(f"{min(100.0, max(0.0, end)):.1f}" for end in found.further)


def _ca_asr(runs: pd.DataFrame, text: Callable[[Estimate | None], str]) -> str:
    return " / ".join(text(estimate(pick(runs, metric=metric))) for metric in (CA, ASR))


def picture_name(run: str, file: str) -> str:
    """Return the name of a run's picture in docs/."""
    return file if run == DEFAULT else f"{run}_{file}"


def _picture(run: Run, file: str, text: str) -> str:
    return f"![{text}]({picture_name(run.name, file)})\n"


def _table(run: Run, rows: pd.DataFrame, note: str = "", left: int = 1) -> str:
    """Return a table of text and below it a note and where the numbers come from."""
    below = " ".join(text for text in (note, f"{run.where}.") if text)
    return f"{markdown_table(rows, left)}\n\n{below}\n"


# ---- blocks of a run -----------------------------------------------------------------------------


def first(run: Run) -> str:
    """Return the picture at the top of README.md."""
    label = run.look.defense_label(run.tested)
    return f"![A picture with a trigger, before and after {label}](docs/first.png)\n"


def time(run: Run) -> str:
    """Return how long the first command and the quick one take."""
    second, quick = Run(run.root, "second_cpu"), Run(run.root, "quick")

    def took(run: Run, what: str = "") -> str:
        return f"{run.record['minutes']} minutes{what} on {run.record['parts'][-1]['machine']}"

    text = f"The first took {took(run, ' with its install')}"
    text += f", and {took(second)}." if second.there else "."
    if quick.there:
        text += "\nIn a hurry, `make quick` does one attack and twenty classes in the folder "
        text += f"`quick`; it took {took(quick, ' after the install')}."
    return f"{text}\n"


def _block(run: Run, metrics: tuple[str, ...], note: str, split: str = "") -> str:
    """Return a block of the main table, by default of the main split."""
    title = f"{split_title(split or run.split)}: {' and '.join(metrics)}"
    block = dict(tables.blocks(run.table, run.look)).get(title)
    if block is None:
        return ""
    text = f"Each cell: {' / '.join(metrics)}. {note}{run.where}.\n"
    return f"{tables.block_markdown(block)}\n\n{text}"


def main_table(run: Run) -> str:
    """Return clean accuracy and attack success on the main split."""
    note = tables.numbers_text(run.table, run.look)
    return _block(run, (CA, ASR), f"{note} The lowest ASR of the defences is bold. ")


def probe(run: Run) -> str:
    """Return clean accuracy and attack success of a linear probe."""
    return _block(run, ("LCA@1", "LASR@1"), "LCA@1, LASR@1: CA@1, ASR@1 of a linear probe. ")


def captions(run: Run) -> str:
    """Return how often a trigger retrieves captions of the target."""
    note = "TCR@k: triggered pictures with a caption of the target among the k best, in %. "
    return _block(run, ("TCR@1", "TCR@10"), note)


def shift(run: Run) -> str:
    """Return clean accuracy and attack success on styles that no other split has."""
    return _block(run, (CA, ASR), "", "shift")


def every_table(run: Run) -> str:
    """Return the whole main table."""
    text = tables.markdown(run.table, run.look).partition("\n")[2].strip()
    return f"{run.where}.\n\n" + text.replace("\n## ", "\n### ") + "\n"


def figure(name: str, text: str) -> Callable[[Run], str]:
    """Return a block that shows a figure of the run."""
    return lambda run: _picture(run, f"{name}.png", text.format(run.look.defense_label(run.tested)))


def in_words(run: Run) -> str:
    """Return the verdict."""
    found = verdict(run.table, run.look, run.tested)
    return "".join(f"- {sentence}\n" for sentence in found.sentences) if found else ""


def retrieval(run: Run) -> str:
    """Return recall on clean pairs: means over the attacks, and differences by seed."""
    look, defense = run.look, run.look.defense_label
    metrics = [f"{way}@{k}" for way in ("I2T", "T2I") for k in (1, 5, 10)]
    # Victims of a seed may share a base model, so they count as one.
    of_seed = run.scores.groupby(["defense", "metric", "seed", "repeat"], as_index=False)["percent"]
    means = of_seed.mean().assign(attack="all")
    of = {d: pick(means, defense=d) for d in ordered(means["defense"], look.defenses)}
    rows = {
        defense(d): [plus_minus(estimate(pick(its, metric=m))) for m in metrics]
        for d, its in of.items()
    }
    own = of.pop(run.tested)
    for d, its in of.items():
        minus = [difference(pick(own, metric=m), pick(its, metric=m)) for m in metrics]
        rows[f"*{defense(run.tested)} minus {defense(d)}*"] = [bold_if_settled(x) for x in minus]
    frame = pd.DataFrame(rows, metrics).T.rename_axis("Defence").reset_index()
    note = "I2T@k: images with their own caption among the k best; T2I@k: the other way. In %, mean"
    note += f" over {run.scores['attack'].nunique()} attacks, ± half of the 95 % interval"
    return _table(run, frame, f"{note} {interval_text(run.scores)}.")


def deviations(run: Run) -> str:
    """Return means and standard deviations over cleanings on the main split."""
    table = pick(stats.spread(run.table), split=run.split)
    table = table[(table["attack"] != CLEAN) & (table["defense"] != NONE)]
    table = table[table["metric"].isin([CA, ASR])]
    number = "{:.1f}".format
    text = table["mean"].map(number) + " ± " + table["sd_repeats"].map(number)
    column = table["defense"].map(run.look.defense_label) + ": " + table["metric"]
    rows = table["attack"].map(run.look.attack_label)
    wide = text.set_axis(pd.MultiIndex.from_arrays([rows, column])).unstack(sort=False)
    return _table(run, wide.reset_index(), "Mean ± standard deviation.")


def cost(run: Run) -> str:
    """Return the time and the memory that a cleaning takes."""
    table = read_csv(run.folder / "cost.csv", costs.COLUMNS)
    number = "{:.0f}".format
    spread = (" ± " + table["sd"].map(number)).where(table["sd"].notna(), "")
    columns = {
        "Defence": table["defense"].map(run.look.defense_label),
        "cleanings": table["cleanings"].astype(str),
        "seconds of a cleaning": table["seconds"].map(number) + spread,
        "peak memory, MB": table["peak_mb"].map(number),
        "seconds of its texts": table["text_seconds"].map(number),
    }
    return _table(run, pd.DataFrame(columns))


def agreement(run: Run) -> str:
    """Return the settled differences in ASR@1 of the run `repeats`, and the same ones here.

    A variant stands for the method that it is a variant of.
    """
    base = Run(run.root, "repeats")
    if not base.there:
        return ""
    table = run.table.replace({"defense": run.record["kinds"]})
    found = pick(stats.paired(base.table, base.look), split=base.split, metric=ASR)
    found = found[found["settled"] & (found["attack"] != CLEAN) & (found["against"] != NONE)]
    rows, same = [], 0
    for row in found.itertuples():
        scores = pick(table, attack=row.attack, split=base.split, metric=ASR)
        here = difference(pick(scores, defense=row.defense), pick(scores, defense=row.against))
        if here:
            same += here.mean * row.difference > 0
            pair = " minus ".join(map(base.look.defense_label, (row.defense, row.against)))
            there = f"{row.difference:+.1f} ({row.low:+.1f} to {row.high:+.1f})"
            rows.append((base.look.attack_label(row.attack), pair, there, f"{here.mean:+.1f}"))
    if not rows:
        return "The cleanings of `repeats` settle no difference between two defences.\n"
    frame = pd.DataFrame(rows, columns=["attack", "ASR@1 of", "in `repeats`", "here"])
    note = f"The sign is the same for {same} of {len(rows)} settled differences."
    return _table(run, frame, note, left=2)


def scan(run: Run) -> str:
    """Return how well the scan of `taclean check` tells poisoned models from clean ones."""
    path = run.folder / "scan.csv"
    if not path.is_file():
        return ""
    table = read_csv(path, scan_table.COLUMNS).astype({"rank": "Int64"})
    return f"{scan_table.markdown(table, run.look)}\n{run.where}.\n"


def further_victim(run: Run) -> str:
    """Return where CA@1 and ASR@1 of one more victim are expected."""
    scores, look = run.scores[run.scores["metric"].isin([CA, ASR])], run.look
    texts = {
        look.attack_label(attack): {
            look.defense_label(d): _ca_asr(pick(own, defense=d), expected)
            for d in ordered(scores["defense"], look.defenses)
        }
        for attack in ordered(scores["attack"], look.attacks)
        for own in [pick(scores, attack=attack)]
    }
    rows = pd.DataFrame(texts).rename_axis("Defence").reset_index()
    inside = pd.concat(
        stats.new_victims(scores[scores["seed"] != seed], scores[scores["seed"] == seed])["inside"]
        for seed in scores["seed"].unique()
    )
    note = "Each cell: CA@1 / ASR@1, in %."
    if len(inside):
        note += " Checked on the victims themselves: one left out at a time, "
        note += f"{inside.sum()} of its {len(inside)} scores ({inside.mean():.1%}) are in the "
        note += "ranges that the others give."
    return _table(run, rows, note)


def held_back(run: Run) -> str:
    """Return how many scores of other seeds lie where the evidence predicts them."""
    evidence = Run(run.root, "evidence")
    found = against(evidence.table, run.table, evidence.look)
    return f"{seeds_text(run.table['seed'])}, {run.where}:\n\n```\n{summary(found)}\n```\n"


def at_equal_ca(run: Run) -> str:
    """Return the differences in ASR@1 and CA@1 from each other defence, and the verdict."""
    look, rows = run.look, []
    attacks = ordered(run.scores["attack"], look.attacks)
    for attack, other in itertools.product(attacks, run.others):
        asr, ca = (run.minus(attack, run.tested, other, metric=m) for m in (ASR, CA))
        if asr and ca:
            names = (look.attack_label(attack), look.defense_label(other))
            rows.append((*names, signed(asr), signed(ca), judged(asr, ca)))
    frame = pd.DataFrame(rows, columns=["attack", "minus", "ASR@1", "CA@1", "verdict"])
    note = f"{look.defense_label(run.tested)} minus the other, in points, with 95 % intervals"
    return _table(run, frame, f"{note} {interval_text(run.scores)}.", left=2)


def settled(run: Run) -> str:
    """Return where the defence under test is settled better or worse than each other one."""
    look, name = run.look, run.look.defense_label(run.tested)
    poisoned = run.table[run.table["attack"] != CLEAN]
    main, *further = scored_splits(poisoned, look)
    wanted = [(main, m) for m in (ASR, "ASR@10", "TA@1", CA, "LASR@1", "TCR@10", "I2T@5", "T2I@5")]
    wanted += [(split, metric) for split in further for metric in (ASR, CA)]
    rows, compared = [], 0
    for split, metric in wanted:
        scores = pick(poisoned, split=split, metric=metric)
        if scores.empty:
            continue
        row = {"score": metric if split == main else f"{metric}, {split} split"}
        for other in run.others:
            minus = {
                look.attack_label(a): run.minus(a, run.tested, other, split=split, metric=metric)
                for a in ordered(scores["attack"], look.attacks)
            }
            known = {attack: found for attack, found in minus.items() if found}
            compared += len(known)
            row[f"minus {look.defense_label(other)}"] = _better_and_worse(known, metric)
        rows.append(row)
    note = f"{name} minus each other defence, {interval_text(poisoned)}. Better and worse are "
    note += "settled: the 95 % interval of the difference does not contain 0; otherwise it is open."
    note += f" Of {compared} such comparisons, about {compared / 20:.0f} would be settled by chance"
    return _table(run, pd.DataFrame(rows), f"{note} if nothing differed.", left=1 + len(run.others))


def _better_and_worse(known: Mapping[str, Estimate], metric: str) -> str:
    sign, texts = -1 if of_the_attacker(metric) else 1, []
    for word, way in (("better", sign), ("**worse**", -sign)):
        on = [attack for attack, x in known.items() if x.settled and x.mean * way > 0]
        if on:
            which = f"{len(on)}: {', '.join(on)}" if len(on) < len(known) else f"all {len(on)}"
            texts.append(f"{word} on {which}")
    return "; ".join(texts) or "open"


def axes(run: Run) -> str:
    """Return the figure and the table of each axis."""
    return "\n".join(_axis(run, name, axis) for name, axis in run.record["axes"].items())


def _axis(run: Run, name: str, axis: Mapping[str, Any]) -> str:
    """Return the scores at each value of a choice, and the differences from the method itself."""
    look, scores, rows, n = run.look, run.scores, [], 0
    values = {key: " ".join(text.split()) for key, text in axis["values"].items()}
    if set(values) & set(scores["defense"]):
        varied, other, known, label = "defense", "attack", look.attacks, look.attack_label
        method = [v for v in values if v != NONE and v not in look.variants][-1:]
    else:  # other attacks have other victims, which cannot be paired
        varied, other, known, label = "attack", "defense", look.defenses, look.defense_label
        method = []
    for value, text in values.items():
        own = pick(scores, **{varied: value})
        row = {axis["label"]: text}
        for column in ordered(scores[other], known):
            row[label(column)] = _ca_asr(pick(own, **{other: column}), plus_minus)
        for reference in method:
            base = pick(scores, defense=reference)
            pairs = [(pick(own, metric=m), pick(base, metric=m)) for m in (CA, ASR)]
            minus = [difference(*pair) for pair in pairs if value != reference]
            n = max([n, *(found.n for found in minus if found)])
            title = f"CA@1 / ASR@1 minus {values[reference]}"
            row[title] = " / ".join(map(bold_if_settled, minus)) or "–"
        rows.append(row)
    models = f"{n} poisoned models, bold where settled" if n > 1 else "poisoned model"
    over = f"; differences on the same {models}" if n else ""
    picture = _picture(run, f"{name}.png", axis["label"])
    return f"{picture}\n{_table(run, pd.DataFrame(rows), f'CA@1 / ASR@1 in %{over}.')}"


def reported() -> pd.DataFrame:
    """Return the numbers that other publications report; none is of this repository's default.

    `percent` is the number, in percent or points. `seen` is `quoted` (read at the source) or
    `second-hand`. `backbone` says "presumed" where the source does not name it.
    """
    columns = ["source", "where", "backbone", "attack", "defense", "metric", "percent", "seen"]
    return read_csv(Path(__file__).with_name("reported_numbers.csv"), [*columns, "note"])


def claim(run: Run) -> str:
    """Return published differences between two defences, and the same ones here."""
    numbers, parts = reported(), []
    numbers = numbers[numbers["defense"].str.contains(" minus ")]
    keys = ["attack", "defense", "source", "where", "backbone"]
    for (attack, pair, source, where, backbone), rows in numbers.groupby(keys, sort=False):
        defenses = pair.split(" minus ")
        names = " minus ".join(map(run.look.defense_label, defenses))
        here = [signed(run.minus(attack, *defenses, metric=m)) for m in rows["metric"]]
        lines = {
            f"{source}, {where}; {backbone}": [f"{value:+.2f}" for value in rows["percent"]],
            f"this repository; {run.record['model']} on {run.record['data']}": here,
        }
        frame = pd.DataFrame(lines, rows["metric"].to_list()).T
        frame = frame.rename_axis(f"{run.look.attack_label(attack)}: {names}, points")
        parts.append(f"{markdown_table(frame.reset_index())}\n")
    return "\n".join(parts)


# ---- other blocks --------------------------------------------------------------------------------


def reported_numbers(root: Path) -> str:
    """Return what others report in percent: a table for each source and backbone."""
    numbers, parts = reported(), []
    numbers = numbers[~numbers["defense"].str.contains(" minus ")]
    keys = ["source", "where", "backbone"]
    for (source, where, backbone), rows in numbers.groupby(keys, sort=False):
        seen = " and ".join(dict.fromkeys(rows["seen"]))
        table = rows.pivot_table("percent", ["attack", "defense"], "metric", sort=False)
        table = table.map(lambda value: "–" if pd.isna(value) else f"{value:g}")
        table = table.reset_index().rename(columns={"defense": "defence"})
        title = f"### {source}, {where}; {backbone} ({seen})"
        parts.append(f"{title}\n\n{markdown_table(table, left=2)}\n")
    return "\n".join(parts)


def speed(root: Path) -> str:
    """Return the rows of the benchmarks, by machine."""
    rows = pd.read_csv(root / "benchmarks" / "results.csv", dtype=str, keep_default_na=False)
    columns = ["what", "ours", "reference", "ratio", "unit"]
    return "\n".join(
        f"### {machine}\n\n{markdown_table(own[columns])}\n"
        for machine, own in rows.groupby("machine", sort=False)
    )


def tuning(root: Path) -> str:
    """Return the trials of the tuning: means over attacks and seeds, the chosen ones bold."""
    within = configs.read_yaml(root / "config" / "tune.yaml")["tune"]["within"]
    trials = choose(pd.read_csv(root / "docs" / "data" / "tune" / "grid.csv"), within)
    settings = [re.sub(r'[{}"]', "", overrides) for overrides in trials["overrides"]]
    scores = {"CA": "CA@1", "victim_CA": "of the victims", "ASR": "ASR@1", "TA": "TA@1"}
    rows = trials[["defense", "trial"]].rename(columns={"defense": "defence"}).astype(str)
    rows["trial"] += ": " + pd.Series(settings)
    for key, name in scores.items():
        rows[name] = trials[key].map("{:.1f}".format)
    bold = rows.map("**{}**".format)
    return f"{markdown_table(rows.mask(trials['chosen'], bold), left=2)}\n"


def evidence_time(root: Path) -> str:
    """Return how long the runs of `make evidence` took."""
    runs = [run for name in EVIDENCE if (run := Run(root, name)).there]
    took = {run.name: run.record["minutes"] for run in runs}
    if None in took.values() or len(took) < len(EVIDENCE):
        return "*Not noted for every run; `python -m docs.build --take` takes `--minutes`.*\n"
    each = ", ".join(f"{name} {minutes:,}" for name, minutes in took.items())
    machines = "; ".join(dict.fromkeys(p["machine"] for run in runs for p in run.record["parts"]))
    return f"Minutes: {each}; together {sum(took.values()) / 60:.1f} hours on {machines}.\n"


OF_A_RUN: dict[str, Callable[[Run], str]] = {
    **{
        block.__name__: block
        for block in (
            *(first, time, main_table, in_words, claim, every_table, shift, probe, captions),
            *(retrieval, further_victim, held_back, at_equal_ca, settled, deviations, cost),
            *(agreement, scan, axes),
        )
    },
    "asr_ca": figure("asr_ca", "ASR and CA for each attack and defence"),
    "tradeoff": figure("tradeoff", "ASR against CA after each defence"),
    "versus": figure("versus", "{} minus each other defence"),
}
OTHERS: dict[str, Callable[[Path], str]] = {
    block.__name__: block for block in (reported_numbers, speed, tuning, evidence_time)
}
