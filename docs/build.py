"""The numbers of README.md and docs/, out of docs/data and benchmarks/results.csv: `make docs`.

A page has blocks, each between two marks, which this command fills:

    <!-- begin: NAME -->
    <!-- end -->

A run's numbers and pictures come in once, after it has ended, with a record of where and when:
`python -m docs.build --take results --minutes 21`. Without any, its blocks are empty. The block
NAME is of the default run, NAME_of_RUN of the one that came in `--as RUN`, which may be made in
parts: `--add` keeps the seeds that came in before.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import hashlib
import itertools
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from docs.held_back import against, summary
from docs.reported import reported
from docs.runs import DEFAULT, ROOT, Run
from taclean import config as configs
from taclean.results import scan_table
from taclean.results.ablation import along
from taclean.results.cost import COLUMNS as COST
from taclean.results.labels import CLEAN, NONE, Look, ordered
from taclean.results.main_table import Value, header, markdown
from taclean.results.statistics import (
    Estimate,
    difference,
    estimate,
    interval_text,
    landed,
    paired,
    spread,
)
from taclean.results.table import (
    ASR,
    CA,
    main_split,
    of_the_attacker,
    pick,
    read_csv,
    read_table,
    scored_splits,
    seeds_text,
    split_title,
    write_table,
)
from taclean.results.tuning import choose
from taclean.results.verdict import judged, verdict
from taclean.util.errors import UserError
from taclean.util.files import replacing, write_json

# Of results/figures, for docs/; those of another run have its name before theirs.
PICTURES = {
    DEFAULT: ("first.png", "asr_ca.png"),
    "quick": (),
    "second_cpu": (),
    "repeats": ("asr_ca.png",),
    "photos": ("asr_ca.png",),
    "fp32": (),
    "evidence": ("asr_ca.png", "tradeoff.png", "versus.png"),
    "held_back": (),
    "ablation": ("axes/*.png",),
    "threat": ("axes/*.png",),
    "rebound": ("axes/*.png",),
    "target": ("asr_ca.png",),
    "overlap": ("axes/*.png",),
}
OF_THE_EVIDENCE = ("evidence", "ablation", "threat", "overlap", "rebound", "target")
TIMED = (DEFAULT, "second_cpu", "quick")  # README.md says how long they took, always
MARKS = re.compile(r"(<!-- begin: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


# ---- blocks --------------------------------------------------------------------------------------


def first(run: Run) -> str:
    """The picture on top."""
    label = run.look.defense_label(run.tested)
    return f"![A picture with a trigger, before and after {label}](docs/first.png)\n"


def time(run: Run) -> str:
    """How long the first command takes, and the quick one."""

    def took(run: Run, what: str = "") -> str:
        return f"{run.record['minutes']} minutes{what} on {run.record['parts'][-1]['machine']}"

    second, quick = (Run(run.folder.parents[2], name) for name in ("second_cpu", "quick"))
    told = f"The first took {took(run, ' with its install')}"
    told += f", and {took(second)}." if second.there else "."
    if quick.there:
        told += "\nIn a hurry, `make quick` does one attack and twenty classes in the folder "
        told += f"`quick`; it took {took(quick, ' after the install')}."
    return f"{told}\n"


def main_table(run: Run) -> str:
    """The main split's clean accuracy and attack success, a row for each defence."""
    told = header(run.table, run.look).partition(" CA@1:")[0]
    return _block(run, f"{CA} and {ASR}", f"{told} Lowest ASR of the defences bold. ")


def probe(run: Run) -> str:
    """The same of a linear probe."""
    return _block(run, "LCA@1 and LASR@1", "LCA@1, LASR@1: CA@1 and ASR@1 of a linear probe. ")


def captions(run: Run) -> str:
    """Captions that a trigger brings up."""
    told = "TCR@k: triggered pictures with a caption of the target among the k best, in %. "
    return _block(run, "TCR@1 and TCR@10", told)


def shift(run: Run) -> str:
    """Clean accuracy and attack success on styles that no other split has."""
    return _block(run, f"{CA} and {ASR}", "", "shift")


def _block(run: Run, metrics: str, told: str, split: str | None = None) -> str:
    """A block of the main table, of the main split if none is named."""
    title = f"{split_title(split or main_split(run.table, run.look))}: {metrics}"
    for section in markdown(run.table, run.look).split("\n## ")[1:]:
        name, *lines = section.splitlines()
        if name == title:
            rows = [line for line in lines if line.startswith("|")]
            (cells,) = [line for line in lines if line.startswith("Each cell")]
            return "\n".join([*rows, "", f"{cells} {told}{run.where}.", ""])
    return ""


def retrieval(run: Run) -> str:
    """Recall on clean pairs, both ways: means over the attacks, and what differs on a seed."""
    look = run.look
    scores = pick(run.table[run.table["attack"] != CLEAN], split=main_split(run.table, look))
    metrics = [f"{way}@{k}" for way in ("I2T", "T2I") for k in (1, 5, 10)]
    # A seed's victims may share a base model, so that they count as one.
    of_seed = scores.groupby(["defense", "metric", "seed", "repeat"], as_index=False)["percent"]
    means = of_seed.mean().assign(attack="all")
    lines = [f"| Defence | {' | '.join(metrics)} |", "|:--|" + "--:|" * len(metrics)]
    defenses = ordered(means["defense"], look.defenses)
    for defense in defenses:
        cells = [_plus_minus(estimate(pick(means, defense=defense, metric=m))) for m in metrics]
        lines += [f"| {look.defense_label(defense)} | {' | '.join(cells)} |"]
    for other in (d for d in defenses if d != run.tested):
        own, its = (pick(means, defense=d) for d in (run.tested, other))
        found = [difference(pick(own, metric=m), pick(its, metric=m)) for m in metrics]
        name = f"{look.defense_label(run.tested)} less {look.defense_label(other)}"
        lines += [f"| *{name}* | {' | '.join(map(_bold_where_settled, found))} |"]
    told = "I2T@k: images with their own caption among the k best; T2I@k: the other way. In %, mean"
    told += f" over {scores['attack'].nunique()} attacks, ± half of the 95 % interval"
    return "\n".join([*lines, "", f"{told} {interval_text(scores)}. {run.where}.", ""])


def every_table(run: Run) -> str:
    """All blocks of the main table, with what the numbers are."""
    text = markdown(run.table, run.look).partition("\n")[2].strip().replace("\n## ", "\n### ")
    return f"{run.where}.\n\n{text}\n"


def asr_ca(run: Run) -> str:
    """The main figure."""
    return f"![ASR and CA for each attack and defence]({picture_name(run.name, 'asr_ca.png')})\n"


def tradeoff(run: Run) -> str:
    """What each defence gives up."""
    return f"![ASR against CA after each defence]({picture_name(run.name, 'tradeoff.png')})\n"


def versus(run: Run) -> str:
    """The defence under test less each other one."""
    name = picture_name(run.name, "versus.png")
    return f"![{run.look.defense_label(run.tested)} less each other defence]({name})\n"


def deviations(run: Run) -> str:
    """ASR@1 and CA@1 of the main split: means and standard deviations over cleanings."""
    table = spread(run.table)
    table = pick(table, split=main_split(run.table, run.look))
    defenses = [d for d in run.record["look"]["defenses"] if d != NONE]
    names = [run.look.defense_label(defense) for defense in defenses]
    lines = [f"| attack | {' | '.join(f'{name}: ASR@1 | CA@1' for name in names)} |"]
    lines += ["|:--|" + "--:|" * 2 * len(defenses)]
    for attack in run.record["look"]["attacks"]:
        cells = []
        for defense, metric in itertools.product(defenses, (ASR, CA)):
            found = pick(table, attack=attack, defense=defense, metric=metric)
            cells += [f"{row.mean:.1f} ± {row.sd_repeats:.1f}" for row in found.itertuples()]
        lines += [f"| {run.look.attack_label(attack)} | {' | '.join(cells)} |"]
    return "\n".join([*lines, "", f"Mean ± standard deviation, {run.where}.", ""])


def cost(run: Run) -> str:
    """What a cleaning takes, a row for each defence."""
    lines = [
        "| Defence | cleanings | seconds of a cleaning | peak memory, MB | seconds of its texts |",
        "|:--|--:|--:|--:|--:|",
    ]
    for row in read_csv(run.folder / "cost.csv", COST).itertuples():
        spread = "" if pd.isna(row.sd) else f" ± {row.sd:.0f}"
        cells = (f"{row.seconds:.0f}{spread}", f"{row.peak_mb:.0f}", f"{row.text_seconds:.0f}")
        name = run.look.defense_label(row.defense)
        lines += [f"| {name} | {row.cleanings} | {' | '.join(cells)} |"]
    return "\n".join([*lines, "", f"{run.where}.", ""])


def agreement(run: Run) -> str:
    """The differences in ASR@1 that the cleanings of the run `repeats` settle, as they are here.

    A variant stands for the method that it is of.
    """
    base = Run(run.folder.parents[2], "repeats")
    if not base.there:
        return ""
    table = run.table.replace({"defense": run.record["kinds"]})
    split = main_split(base.table, base.look)
    found = pick(paired(base.table, base.look), split=split, metric=ASR)
    settled = found[found["settled"] & (found["attack"] != CLEAN) & (found["against"] != NONE)]
    lines = ["| attack | ASR@1 of | in `repeats` | here |", "|:--|:--|--:|--:|"]
    same = 0
    for row in settled.itertuples():
        scores = pick(table, attack=row.attack, split=split, metric=ASR)
        here = difference(pick(scores, defense=row.defense), pick(scores, defense=row.against))
        if here is None:
            continue
        same += here.mean * row.difference > 0
        pair = " less ".join(map(base.look.defense_label, (row.defense, row.against)))
        ends = f"{row.difference:+.1f} ({row.low:+.1f} to {row.high:+.1f})"
        lines += [f"| {base.look.attack_label(row.attack)} | {pair} | {ends} | {here.mean:+.1f} |"]
    number = len(lines) - 2
    if not number:
        return "The cleanings of `repeats` settle no difference between two defences.\n"
    told = f"The sign is the same for {same} of {number} settled differences. {run.where}."
    return "\n".join([*lines, "", told, ""])


def scan(run: Run) -> str:
    """How well the scan of `taclean check` tells poisoned models from clean ones."""
    path = run.folder / "scan.csv"
    if not path.is_file():
        return ""
    table = read_csv(path, scan_table.COLUMNS).astype({"rank": "Int64"})
    return f"{scan_table.markdown(table, run.look)}\n{run.where}.\n"


def further_victim(run: Run) -> str:
    """Where CA@1 and ASR@1 of one more victim are expected: a row for each defence."""
    scores = pick(run.table[run.table["attack"] != CLEAN], split=main_split(run.table, run.look))
    attacks = ordered(scores["attack"], run.look.attacks)
    lines = ["| Defence | " + " | ".join(map(run.look.attack_label, attacks)) + " |"]
    lines += ["|:--|" + "--:|" * len(attacks)]
    for defense in ordered(scores["defense"], run.look.defenses):
        cells = [
            " / ".join(
                _within(estimate(pick(scores, attack=attack, defense=defense, metric=metric)))
                for metric in (CA, ASR)
            )
            for attack in attacks
        ]
        lines += [f"| {run.look.defense_label(defense)} | {' | '.join(cells)} |"]
    told = f"Each cell: CA@1 / ASR@1, in %.{_held_back(scores)} {run.where}."
    return "\n".join([*lines, "", told, ""])


def held_back(run: Run) -> str:
    """How many scores of a run of other seeds land where the evidence lets expect them."""
    evidence = Run(run.folder.parents[2], "evidence")
    found = against(evidence.table, run.table, evidence.look)
    return f"{seeds_text(run.table['seed'])}, {run.where}:\n\n```\n{summary(found)}\n```\n"


def _held_back(scores: pd.DataFrame) -> str:
    """How often the ranges of the other victims hold one that was left out."""
    scores = scores[scores["metric"].isin([CA, ASR])]
    found = [
        landed(scores[scores["seed"] != seed], scores[scores["seed"] == seed])["inside"]
        for seed in scores["seed"].unique()
    ]
    inside = pd.concat(found)
    if inside.empty:
        return ""
    return (
        f" Checked on the victims themselves: one left out at a time, {inside.sum()} of its "
        f"{len(inside)} scores ({inside.mean():.1%}) are in the ranges that the others give."
    )


def _within(found: Estimate | None) -> str:
    if found is None or found.further is None:
        return "–"
    low, high = (min(100.0, max(0.0, end)) for end in found.further)
    return f"{low:.1f} to {high:.1f}"


def _signed(found: Estimate) -> str:
    ends = "" if found.ends is None else " ({:+.1f} to {:+.1f})".format(*found.ends)
    return f"{found.mean:+.1f}{ends}"


def _bold_where_settled(found: Estimate | None) -> str:
    if found is None:
        return "–"
    return f"**{_signed(found)}**" if found.settled else _signed(found)


def at_equal_ca(run: Run) -> str:
    """The defence under test less each other one, on the same victims, and what follows from it."""
    look = run.look
    scores = pick(run.table[run.table["attack"] != CLEAN], split=main_split(run.table, look))
    others = look.methods(d for d in scores["defense"] if d not in (NONE, run.tested))
    lines = ["| attack | less | ASR@1 | CA@1 | verdict |", "|:--|:--|--:|--:|:--|"]
    for attack, other in itertools.product(ordered(scores["attack"], look.attacks), others):
        asr, ca = (_less(run, attack, run.tested, other, metric) for metric in (ASR, CA))
        if asr and ca:
            names = (look.attack_label(attack), look.defense_label(other))
            lines += [f"| {' | '.join((*names, _signed(asr), _signed(ca), judged(asr, ca)))} |"]
    told = f"{look.defense_label(run.tested)} less the other, in points, with 95 % intervals"
    return "\n".join([*lines, "", f"{told} {interval_text(scores)}. {run.where}.", ""])


def settled(run: Run) -> str:
    """Where the defence under test is settled better or worse than each other one, by score."""
    look = run.look
    poisoned = run.table[run.table["attack"] != CLEAN]
    main, *further = scored_splits(poisoned, look)
    wanted = [(main, m) for m in (ASR, "ASR@10", "TA@1", CA, "LASR@1", "TCR@10", "I2T@5", "T2I@5")]
    wanted += [(split, metric) for split in further for metric in (ASR, CA)]
    others = look.methods(d for d in poisoned["defense"] if d not in (NONE, run.tested))
    lines = ["| score | " + " | ".join(f"less {look.defense_label(d)}" for d in others) + " |"]
    lines += ["|:--|" + ":--|" * len(others)]
    asked = 0
    for split, metric in wanted:
        scores = pick(poisoned, split=split, metric=metric)
        attacks = ordered(scores["attack"], look.attacks)
        cells = []
        for other in others if attacks else ():
            found = {a: _less(run, a, run.tested, other, metric, split) for a in attacks}
            known = {look.attack_label(a): x for a, x in found.items() if x}
            n = len(known)
            asked += n
            sign = -1 if of_the_attacker(metric) else 1
            told = [
                f"{word} on " + (f"{len(on)}: {', '.join(on)}" if len(on) < n else f"all {n}")
                for word, way in (("better", sign), ("**worse**", -sign))
                if (on := [a for a, x in known.items() if x.settled and x.mean * way > 0])
            ]
            cells += ["; ".join(told) or "open"]
        if cells:
            name = metric if split == main else f"{metric}, {split} split"
            lines += [f"| {name} | {' | '.join(cells)} |"]
    told = f"{look.defense_label(run.tested)} less each other one, {interval_text(poisoned)}, where"
    told += f" the 95 % interval leaves out 0. Of {asked} such comparisons {asked / 20:.0f} would"
    return "\n".join([*lines, "", f"{told} without any difference. {run.where}.", ""])


def axes(run: Run) -> str:
    """The figure and the table of each axis."""
    return "\n".join(_axis(run, name, axis) for name, axis in run.record["axes"].items())


def _axis(run: Run, name: str, axis: Mapping[str, Any]) -> str:
    picture = f"![{axis['label']}]({picture_name(run.name, f'{name}.png')})"
    found = along(run.table, {k: " ".join(v.split()) for k, v in axis["values"].items()}, run.look)
    less = [f"CA@1 / ASR@1 less {found.reference}"] if found.differences else []
    lines = [f"| {axis['label']} | {' | '.join([*found.columns, *less])} |"]
    lines += ["|:--|" + "--:|" * (len(found.columns) + len(less))]
    for value, pairs in found.rows.items():
        cells = [f"{_plus_minus(ca)} / {_plus_minus(asr)}" for ca, asr in pairs]
        if less:
            pair = found.differences.get(value, ())
            cells += [" / ".join(map(_bold_where_settled, pair)) or "–"]
        lines += [f"| {value} | {' | '.join(cells)} |"]
    n = {asr.n for _, asr in found.differences.values()}
    over = f"; differences on the same {max(n)} poisoned models, bold where settled" if n else ""
    over = "; differences on the same poisoned model" if n == {1} else over
    return "\n".join([picture, "", *lines, "", f"CA@1 / ASR@1 in %{over}. {run.where}.", ""])


def _plus_minus(found: Estimate | None) -> str:
    return Value(found.mean, found.half).text(" ± ") if found else "–"


def picture_name(run: str, file: str) -> str:
    """What docs/ calls a picture of a run."""
    return file if run == DEFAULT else f"{run}_{file}"


def in_words(run: Run) -> str:
    """The verdict, by the rules of `taclean.results.verdict`."""
    found = verdict(run.table, run.look, run.tested)
    return "".join(f"- {sentence}\n" for sentence in found.sentences) if found else ""


def claim(run: Run) -> str:
    """Published differences of two defences, and the same difference here."""
    numbers = reported()
    numbers = numbers[numbers["defense"].str.contains(" minus ")]
    lines = []
    for (attack, pair, source, where, backbone), rows in numbers.groupby(
        ["attack", "defense", "source", "where", "backbone"], sort=False
    ):
        names = [run.look.defense_label(name) for name in pair.split(" minus ")]
        of = f"{run.look.attack_label(attack)}: {names[0]} less {names[1]}"
        lines += [f"| {of}, points | " + " | ".join(rows["metric"]) + " |"]
        lines += ["|:--|" + "--:|" * len(rows)]
        published = [f"{value:+.2f}" for value in rows["percent"]]
        lines += [f"| {source}, {where}; {backbone} | " + " | ".join(published) + " |"]
        here = [_measured(run, attack, pair.split(" minus "), metric) for metric in rows["metric"]]
        setting = f"{run.record['model']} on {run.record['data']}"
        lines += [f"| this repository; {setting} | " + " | ".join(here) + " |", ""]
    return "\n".join(lines)


def _measured(run: Run, attack: str, defenses: Sequence[str], metric: str) -> str:
    found = _less(run, attack, *defenses, metric)
    return _signed(found) if found else "–"


def _less(
    run: Run, attack: str, defense: str, other: str, metric: str, split: str | None = None
) -> Estimate | None:
    """A defence less another one, on the main split if none is named."""
    split = split or main_split(run.table, run.look)
    scores = pick(run.table, attack=attack, split=split, metric=metric)
    return difference(pick(scores, defense=defense), pick(scores, defense=other))


def reported_numbers(root: Path) -> str:
    """What others report: a table for each source and backbone, in percent."""
    numbers = reported()
    numbers = numbers[~numbers["defense"].str.contains(" minus ")]
    lines = []
    for (source, where, backbone), rows in numbers.groupby(
        ["source", "where", "backbone"], sort=False
    ):
        seen = " and ".join(dict.fromkeys(rows["seen"]))
        lines += [f"### {source}, {where}; {backbone} ({seen})", ""]
        table = rows.pivot_table(
            index=["attack", "defense"], columns="metric", values="percent", sort=False
        )
        lines += ["| attack | defence | " + " | ".join(table.columns) + " |"]
        lines += ["|:--|:--|" + "--:|" * len(table.columns)]
        for (attack, defense), values in table.iterrows():  # type: ignore[misc]
            cells = ["–" if pd.isna(value) else f"{value:g}" for value in values]
            lines += [f"| {attack} | {defense} | " + " | ".join(cells) + " |"]
        lines += [""]
    return "\n".join(lines)


def speed(root: Path) -> str:
    """The rows of the benchmarks, by machine."""
    with (root / "benchmarks" / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = []
    for machine in dict.fromkeys(row["machine"] for row in rows):
        lines += [f"### {machine}", "", "| what | ours | reference | ratio | unit |"]
        lines += ["|:--|--:|--:|--:|:--|"]
        own = [row for row in rows if row["machine"] == machine]
        cells = [
            [row[key] for key in ("what", "ours", "reference", "ratio", "unit")] for row in own
        ]
        lines += ["| " + " | ".join(values) + " |" for values in cells]
        lines += [""]
    return "\n".join(lines)


def tuning(root: Path) -> str:
    """The trials of the tuning, means over its attacks and seeds, the chosen ones bold."""
    within = configs.read_yaml(root / "config" / "tune.yaml")["tune"]["within"]
    table = choose(pd.read_csv(root / "docs" / "data" / "tune" / "grid.csv"), within)
    lines = [
        "| defence | trial | CA@1 | of the victims | ASR@1 | TA@1 |",
        "|:--|:--|--:|--:|--:|--:|",
    ]
    for row in table.to_dict("records"):
        settings = re.sub(r'[{}"]', "", row["overrides"])
        numbers = (f"{row[name]:.1f}" for name in ("CA", "victim_CA", "ASR", "TA"))
        cells = [row["defense"], f"{row['trial']}: {settings}", *numbers]
        lines += ["| " + " | ".join(f"**{c}**" if row["chosen"] else c for c in cells) + " |"]
    return "\n".join([*lines, ""])


def evidence_time(root: Path) -> str:
    """How long the runs of `make evidence` took."""
    runs = [run for name in OF_THE_EVIDENCE if (run := Run(root, name)).there]
    took = {run.name: run.record["minutes"] for run in runs}
    if None in took.values() or len(took) < len(OF_THE_EVIDENCE):
        return "*Not noted of every run: `--minutes` of `python -m docs.build --take` does.*\n"
    told = ", ".join(f"{name} {minutes:,}" for name, minutes in took.items())
    machines = {part["machine"]: None for run in runs for part in run.record["parts"]}
    on = "; ".join(machines)
    return f"Minutes: {told}; together {sum(took.values()) / 60:.1f} hours on {on}.\n"


OF_THE_RUN: dict[str, Callable[[Run], str]] = {
    block.__name__: block
    for block in (
        *(first, time, main_table, in_words, claim, every_table),
        *(shift, probe, captions, retrieval, further_victim, held_back, at_equal_ca, settled),
        *(asr_ca, tradeoff, versus, deviations, cost, agreement, scan, axes),
    )
}
OTHERS: dict[str, Callable[[Path], str]] = {
    block.__name__: block for block in (reported_numbers, speed, tuning, evidence_time)
}


def filled(text: str, root: Path, page: str) -> str:
    """The text of a page with its blocks as they are to be.

    Raises:
        UserError: a block that is none, or a mark without its other.
    """

    def block(match: re.Match[str]) -> str:
        name, _, of = match[2].partition("_of_")
        run = Run(root, of or DEFAULT)
        if name in OTHERS and not of:
            inner = OTHERS[name](root)
        elif name in OF_THE_RUN and run.name in PICTURES:
            missing = "*Not measured yet.*\n" if run.name in OF_THE_EVIDENCE else ""
            inner = OF_THE_RUN[name](run) if run.there else missing
        else:
            known = ", ".join([*OF_THE_RUN, *OTHERS])
            runs = ", ".join(PICTURES)
            raise UserError(
                f"{page}: {match[2]!r} is no block; known are {known}, of the runs {runs}"
            )
        return f"{match[1]}{inner}{match[3]}"

    marks = len(re.findall(r"<!-- (?:begin: .*|end) -->", text))
    if marks != 2 * len(MARKS.findall(text)):
        raise UserError(f"{page}: a block lacks its begin or its end; write both, a line each")
    return MARKS.sub(block, text)


def pages(root: Path) -> list[Path]:
    """The pages that may have blocks."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


# ---- a run comes in ------------------------------------------------------------------------------


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


MADE_BY = ("Snakefile", "rules", "workflow_scripts", "taclean", "config")


def commit(root: Path) -> str:
    """The commit that is checked out, with "-dirty" where what makes a run differs from it."""

    def git(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *command], cwd=root, capture_output=True, text=True)

    found = git("rev-parse", "--short", "HEAD")
    if found.returncode:
        raise UserError(f"{root}: no git checkout ({found.stderr.strip()}); take a run in one")
    changed = git("status", "--porcelain", "--", *MADE_BY).stdout.strip()
    return found.stdout.strip() + "-dirty" * bool(changed)


def drawn(name: str, table: pd.DataFrame, look: Look, axes: Mapping[str, Any]) -> Figure:
    """One of PICTURES that shows nothing but the table, of several runs together.

    Raises:
        UserError: another picture.
    """
    from taclean.report.figures import asr_ca, axis, tradeoff, versus

    of_table = {
        "asr_ca.png": asr_ca.asr_ca,
        "tradeoff.png": tradeoff.tradeoff,
        "versus.png": versus.versus,
    }
    if name in of_table:
        return of_table[name](table, look)
    if (of := name.removesuffix(".png")) in axes:
        return axis.axis(table, axes[of]["label"], axes[of]["values"], look)
    raise UserError(f"--add: {name} is not of the table alone; take that run by itself")


def take(
    results: Path,
    root: Path,
    minutes: int | None,
    overlays: Sequence[str],
    name: str = DEFAULT,
    add: bool = False,
) -> None:
    """Keep a run's table, cost, pictures and record, and its scan, if it has one.

    Args:
        results: the run's folder, whole.
        minutes: what it took, of the runs TIMED with the install, but for `quick`; of a run made
            in pieces the seconds of its rules' benchmarks, times their cores, over all cores.
        overlays: the run's config files.
        name: of PICTURES.
        add: keep what other seeds gave before, and draw the pictures of all together. The cost is
            the new run's.

    Raises:
        UserError: a file is missing, or cannot be added to.
    """
    from benchmarks.common import machine  # torch
    from taclean.report.figures.style import save

    config, taken_at = configs.with_default(list(overlays)), commit(root)  # before a page changes
    look, run = config.look(), Run(root, name)
    axes = config.given(include={"axes"}).get("axes", {})
    table = read_table(results / "table.csv")
    read_csv(results / "cost.csv", COST)
    written = datetime.date.fromtimestamp((results / "table.csv").stat().st_mtime)
    part = {
        "seeds": sorted({int(seed) for seed in table["seed"]}),
        "date": written.isoformat(),
        "commit": taken_at,
        "machine": machine(),
    }
    parts, figures = [part], {}
    for wanted in PICTURES[name]:  # of all axes those of this run: a folder may have others
        axes_of_run = config.axes if "*" in wanted else [""]
        for axis in axes_of_run:
            file = results / "figures" / wanted.replace("*", axis)
            if not file.is_file():
                raise UserError(f"{file}: no such file; end the run first")
            figures[picture_name(name, file.name)] = file
    if add and run.there:
        before = run.table[~run.table["seed"].isin(part["seeds"])]
        kept = {int(seed) for seed in before["seed"]}
        older = [{**p, "seeds": sorted({*p["seeds"]} & kept)} for p in run.record["parts"]]
        parts = [*(p for p in older if p["seeds"]), part]
        table = pd.concat([before, table]).sort_values("seed", kind="stable")
    run.folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(results / "cost.csv", run.folder / "cost.csv")
    (run.folder / "scan.csv").unlink(missing_ok=True)  # of a run that came in before
    if (results / "scan.csv").is_file():
        shutil.copyfile(results / "scan.csv", run.folder / "scan.csv")
    if len(parts) > 1:
        write_table(table, run.folder / "table.csv")
        for picture, file in figures.items():
            figure = drawn(file.name, table, Look.of(look), axes)
            save(figure, [root / "docs" / picture])
    else:
        shutil.copyfile(results / "table.csv", run.folder / "table.csv")
        for picture, file in figures.items():
            shutil.copyfile(file, root / "docs" / picture)
    record = {
        "parts": parts,
        "minutes": minutes,
        "model": config.model.name,
        "data": config.data.name,
        "look": look,
        "kinds": {d: config.defenses[d].kind for d in config.run.defenses},
        "pictures": {picture: digest(root / "docs" / picture) for picture in figures},
    }
    if axes:
        record["axes"] = axes
    write_json(run.folder / "run.json", record)


def main(arguments: Sequence[str] | None = None) -> None:
    """Take a run, if asked to; then fill every page."""
    parser = argparse.ArgumentParser(prog="python -m docs.build", description=__doc__)
    parser.add_argument("--take", type=Path, metavar="RESULTS", help="a run's folder")
    parser.add_argument("--minutes", type=int, help="what that run took")
    parser.add_argument("--as", dest="run", choices=PICTURES, default=DEFAULT, help="which run")
    parser.add_argument("--add", action="store_true", help="to the seeds that it has")
    parser.add_argument("--configfile", nargs="+", default=[], help="overlays of that run")
    options = parser.parse_args(arguments)
    try:
        if options.take:
            if options.minutes is None and options.run in TIMED:
                raise UserError("--minutes: missing; say what the run took")
            given = (options.minutes, options.configfile, options.run, options.add)
            take(options.take, ROOT, *given)
        for page in pages(ROOT):
            text = page.read_text("utf-8")
            new = filled(text, ROOT, page.name)
            if new != text:
                with replacing(page) as temporary:
                    temporary.write_text(new, "utf-8")
                print(f"{page.relative_to(ROOT)}: written")
    except UserError as error:
        raise SystemExit(f"docs.build: error: {error}") from None


if __name__ == "__main__":
    main()
