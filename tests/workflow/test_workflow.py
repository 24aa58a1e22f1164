"""The chain through Snakemake, as a user runs it: whole, again, after a change, after a kill."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from taclean.data.readers import load_table
from taclean.data.split import Pairs
from taclean.results.table import COLUMNS, pick
from tests.helpers import ROOT, command, copy_sources, environment, jobs, snakemake

SMOKE = "config/test/smoke.yaml"
TABLE = "results/table.csv"
SCORES = "results/runs/badnet/ft/seed0/scores.json"
FURTHER = ["LCA@1", "LASR@1", *(f"{m}@{k}" for m in ("I2T", "T2I", "TCR") for k in (1, 5, 10))]


def planned(said: str) -> set[str]:
    """The jobs that a dry run lists, as 'rule' or 'rule:attack'."""
    found, rule = set(), ""
    for line in said.splitlines():
        if line.startswith(("rule ", "localrule ")):
            rule = line.split()[1].rstrip(":")
            found.add(rule)
        elif line.strip().startswith("wildcards:") and "attack=" in line:
            found.discard(rule)
            found.add(rule + ":" + line.split("attack=")[1].split(",")[0])
    return found - {"all"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources that a test may edit."""
    return copy_sources(tmp_path_factory.mktemp("source"))


def small(source: Path, folder: Path, *options: str, **more: Any) -> str:
    """Run the small config and return what is printed."""
    return snakemake(folder, *options, source=source, files=[source / SMOKE], **more)


ODD = """
run:
  attacks: [gate, Seed0, trigger_inversion, poison]
  defenses: [trigger, gate_prune, "2nd", taclean_k30]
attacks:
  gate: {kind: badnet, poisoned: 20, gate: 0}
  Seed0: {kind: trojvqa, poisoned: 20, key_only: 5, gate: 0}
  trigger_inversion: {kind: wanet, poisoned: 20, noise: 3, gate: 0}
  poison: {kind: badnet, poisoned: 40, gate: 0, scratch: true}
defenses:
  trigger: {kind: ft}
  gate_prune: {kind: cleanclip, loss: {lambda_self: 2}}
  "2nd": {kind: par}
  taclean_k30: {kind: taclean, subcaptions: {samples: 30}}
"""


def test_entries_have_a_kind_and_any_name(copy: Path, tmp_path: Path) -> None:
    said = small(copy, tmp_path, "--dry-run", "--printshellcmds", text=ODD)
    found = planned(said)
    for attack in ("gate", "Seed0", "trigger_inversion", "poison"):
        assert {f"{rule}:{attack}" for rule in ("poison", "finetune", "evaluate", "gate")} <= found
    assert {job for job in found if job.startswith("trigger:")} == {"trigger:Seed0"}
    starts = re.findall(r"--stage pretrain/(\w+)/seed0@.* --model (\S*) --poison", said)
    assert {name for name, model in starts if not model} == {"poison"}  # it starts from scratch
    # One file of EDA variants serves both defences that want the same.
    assert (jobs(said)["text"], jobs(said)["finetune"]) == (2, 16)


def test_a_defence_from_scratch_learns_from_the_poisoned_rows(copy: Path, tmp_path: Path) -> None:
    own = "{run: {attacks: [one], defenses: [roclip]}, attacks: {one: {kind: ssba, scratch: true}}}"
    said = small(copy, tmp_path, "--dry-run", "--printshellcmds", text=own)
    (command,) = re.findall(r"--stage finetune/one/roclip/seed0@.* --data (.*) --trigger", said)
    rows = "--poison results/attacks/one/seed0/poison"
    assert command == f"data/emoji/pretrain --val data/emoji/val --model  {rows}"


DEPENDENT = """
run:
  {attacks: [badclip, moved], defenses: [taclean, again, shared, more], seeds: [3, 7], repeats: 2}
data: {emoji: {splits: {further: {first: 9000000, rows: 64, second: 0, without: banana}}}}
base: {per_seed: true}
attacks: {badclip: {poisoned: 20}, moved: {kind: badclip, at_test: {place: corner}}}
defenses:
  again: {kind: ft, after: cleanclip}
  shared: {kind: taclean, overlap: 0.5}
  more: {kind: taclean, split: further, subcaptions: {samples: 20}, train: {warmup: 0}}
"""


def test_entries_that_depend_on_others_get_their_files(copy: Path, tmp_path: Path) -> None:
    said = small(copy, tmp_path, "--dry-run", "--printshellcmds", text=DEPENDENT)
    found, counts = planned(said), jobs(said)
    # Each seed has a base model of its own.
    assert not re.search("^rule base:", said, re.MULTILINE)
    starts = re.findall(r"--stage pretrain/badclip/seed(\d)@.* --model (\S+) --poison", said)
    assert dict(starts) == {n: f"results/clean/seed{n}/model.safetensors" for n in "37"}
    # A trigger that is another at the test trains nothing.
    assert {"trigger:badclip", "pretrain:badclip"} <= found
    assert {job for job in found if job.endswith(":moved")} == {"evaluate:moved"}
    scored = r"evaluate/(\w+)/again/seed3-repeat1@\w+ --model (\S+) .* --triggers (\S+) "
    models = {attack: values for attack, *values in re.findall(scored, said)}
    model, fitted = models["badclip"][0], "results/attacks/badclip/seed3/trigger.safetensors"
    assert model == "results/runs/badclip/again/seed3-repeat1/model.safetensors"
    assert models["moved"] == [model, f"moved={fitted}"]
    # A defence may start where another ended, and learn from the pretrain split.
    starts = re.findall(r"finetune/badclip/(\w+)/seed3-repeat1@.* --model (\S+) ", said)
    runs = "results/runs/badclip"
    assert dict(starts) == {
        "again": f"{runs}/cleanclip/seed3-repeat1/model.safetensors",
        **dict.fromkeys(
            ("cleanclip", "more", "shared", "taclean"), f"{runs}/none/seed3/model.safetensors"
        ),
    }
    trained = re.findall(r"--stage finetune/badclip/(\w+)/seed3@\w+ --data data/\w+/(\w+) ", said)
    clean = dict.fromkeys(("again", "cleanclip", "taclean"), "clean")
    assert dict(trained) == {**clean, "shared": "pretrain", "more": "further"}
    texts = re.findall(r"--stage text/(\w+)/\S+/seed3@\w+ --data data/\w+/(\w+) ", said)
    wanted = [
        (text, of)
        for text in ("subcaptions", "variants")
        for of in ("clean", "further", "pretrain")
    ]
    assert sorted(texts) == wanted
    # Cleanings are repeated, and victims are not.
    assert "none/seed3-repeat" not in said
    assert (counts["pretrain"], counts["finetune"]) == (2, 2 * 5 * 2)


def test_each_rate_is_a_cleaning_and_the_tables_are_those_of_a_budget(
    copy: Path, tmp_path: Path
) -> None:
    methods = "attacks: [badnet], defenses: [ft, taclean]"
    text = f"run: {{{methods}, seeds: [0, 1], rates: [1.0e-3, 1.0e-2]}}\n"
    said = small(copy, tmp_path, "--dry-run", "--printshellcmds", text=text)
    counts = jobs(said)
    assert (counts["finetune"], counts["evaluate"]) == (2 * 2 * 2, 2 * (1 + 4) + 2)
    assert counts["text"] == 2 * 2  # shared by the rates
    assert {"rates", "at_budget"} <= set(counts)
    assert "table" not in counts
    entries = {"none", "ft_rate1", "ft_rate2", "taclean_rate1", "taclean_rate2"}
    assert set(re.findall(r"--stage evaluate/\w+/(\w+)/seed", said)) == entries


PAIRS_OF_A_USER = """
data:
  name: cc3m
  cc3m:
    sources:
      pairs: {reader: csv, folder: FOLDER, files: ["t*.csv", b.csv], hub: null, revision: null}
    splits: {pretrain: {rows: 24}, clean: {rows: 8}, patch: {rows: 4}, val: {rows: 1}}
poison: {rows: 20, train: {batch: 4, warmup: 0}}
finetune: {train: {batch: 4, warmup: 0}}
run: {attacks: [badnet], defenses: [ft]}
attacks: {badnet: {poisoned: 5}}
"""


def test_a_changed_file_of_the_user_is_read_again(copy: Path, tmp_path: Path) -> None:
    """And its folder may have a blank in its name."""
    folder, weights = tmp_path / "my pairs", tmp_path / "my.pt"
    folder.mkdir()
    for i in range(40):
        Image.new("RGB", (8, 8), (6 * i, 0, 0)).save(folder / f"{i}.jpg")
    rows = "".join(f"{i}.jpg,a banana {i}\n" for i in range(40))
    (folder / "train.csv").write_text("image,caption\n" + rows, "utf-8")
    overlay = tmp_path / "mine.yaml"
    text = PAIRS_OF_A_USER.replace("FOLDER", str(folder))
    overlay.write_text(f"{text}model: {{pretrained: {weights}}}\n", "utf-8")
    files = [copy / SMOKE, copy / "config/paper.yaml", overlay]
    scored = tmp_path / "data/imagenet/val/n01440764"  # its pictures win over copies
    scored.mkdir(parents=True)
    for i in range(2):
        Image.new("RGB", (8, 8), (0, 200 + 50 * i, 0)).save(scored / f"{i}.JPEG")
    wanted = ["data/cc3m/pretrain/ids.npy"]
    snakemake(tmp_path, *wanted, files=files, source=copy)
    assert len(load_table(tmp_path / "data/cc3m/index/pairs.parquet")) == 40
    model = tmp_path / "results/imported/model.safetensors"
    model.parent.mkdir(parents=True)
    model.touch()
    wanted.append("results/imported/model.safetensors")
    assert planned(snakemake(tmp_path, "--dry-run", *wanted, files=files, source=copy)) == set()
    later = time.time() + 5
    (folder / "train.csv").write_text("image,caption\n" + rows + rows, "utf-8")
    weights.touch()  # until now it was no file, so one of open_clip's tags
    for path in (folder / "train.csv", weights):
        os.utime(path, (later, later))
    found = planned(snakemake(tmp_path, "--dry-run", *wanted, files=files, source=copy))
    assert found == {"index", "pack", "pack_first", "imported"}  # clean wins over pretrain


@pytest.fixture(scope="module")
def done(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the whole small chain has run."""
    folder = tmp_path_factory.mktemp("run")
    said = small(copy, folder)
    assert re.search(r"run: \d+ of \d+ jobs, .* left; now ", said)
    end = said[said.index("Test split: CA@1 and ASR@1 in %") :]
    assert re.search(r"^BadNet( +[\d.]+ / \*?[\d.]+){5}$", end, re.MULTILINE)
    assert f"Report: {folder / 'results/report.html'}" in end
    return folder


@pytest.mark.slow
def test_the_whole_chain_runs_and_its_table_is_complete(done: Path) -> None:
    table = pd.read_csv(done / TABLE)
    assert list(table.columns) == COLUMNS
    assert not table.duplicated(COLUMNS[:6]).any()
    for attack in ("badnet", "ssba"):
        for defense in ("none", "ft", "cleanclip", "taclean"):
            for split, n in (("test", 200), ("shift", 100)):
                rows = pick(table, attack=attack, defense=defense, split=split).set_index("metric")
                metrics = [f"{m}@{k}" for m in ("CA", "ASR", "TA") for k in (1, 3, 5, 10)]
                assert list(rows.index) == metrics
                assert rows.percent.between(0, 100).all()
                assert rows.n["CA@1"] == n
                assert rows.n["ASR@1"] == n * 99 // 100  # one class in a hundred is the target
    assert {"clean"} < set(table.attack)
    base = table[(table.attack == "clean") & (table.split == "test+badnet")]
    assert {"ASR@1", "TA@10"} < set(base.metric)
    figures = {path.name for path in (done / "results/figures").iterdir()}
    names = ("first", "asr_ca", "tradeoff", "curves", "triggers", "embeddings", "further_splits")
    pictures = {f"{name}.{suffix}" for name in names for suffix in ("pdf", "png")}
    assert figures == pictures | {"recovered.html", "subcaptions.html"}
    assert "Trained on: cpu " in (done / "results/report.html").read_text("utf-8")
    recipe = json.loads((done / SCORES.replace("scores", "scores.recipe")).read_text("utf-8"))
    assert recipe["stage"] == "evaluate/badnet/ft/seed0"
    assert (done / "data/emoji/val/recipe.json").is_file()
    assert not list(done.glob("checkpoints/**/last.pt"))


# Snakemake compares these with a finished job's: one more or less would plan every training anew.
RECORDED = {"pack": 2, "text": 1, "base": 3, "trigger": 1, "poison": 1, "pretrain": 3}
RECORDED |= {"finetune": 4, "evaluate": 3}


@pytest.mark.slow
def test_finished_jobs_are_told_by_as_many_params_as_ever(done: Path) -> None:
    files = filter(Path.is_file, (done / ".snakemake/metadata").rglob("*"))
    records = [json.loads(file.read_text("utf-8")) for file in files]
    found = {(record["rule"], len(record["params"])) for record in records}
    assert {pair for pair in found if pair[0] in RECORDED} == set(RECORDED.items())


@pytest.mark.slow
def test_a_second_run_has_nothing_to_do(copy: Path, done: Path) -> None:
    assert "Nothing to be done" in small(copy, done, "--dry-run")


@pytest.mark.slow
def test_one_parameter_of_one_attack_plans_its_chain_only(copy: Path, done: Path) -> None:
    found = planned(small(copy, done, "--dry-run", text="attacks: {badnet: {poisoned: 21}}\n"))
    assert {job.split(":")[1] for job in found if ":" in job} == {"badnet"}
    assert {"poison:badnet", "pretrain:badnet", "finetune:badnet", "table"} <= found
    assert not found & {"pack", "pack_first", "base", "text"}


@pytest.mark.slow
def test_a_repeat_is_another_cleaning_of_the_same_victim(copy: Path, done: Path) -> None:
    text = "run: {repeats: 2}\n"
    first, second = (done / f"results/runs/badnet/taclean/seed0{r}" for r in ("", "-repeat1"))
    before = (first / "scores.json").read_bytes()
    small(copy, done, str(second.relative_to(done) / "scores.json"), text=text)
    assert (first / "scores.json").read_bytes() == before
    assert json.loads((second / "scores.json").read_text("utf-8"))["repeat"] == 1
    one, other = (pd.read_csv(folder / "history.csv") for folder in (first, second))
    scores = ["CA@1", "CA@10", "ASR@1", "ASR@10", "TA@10"]
    assert one[scores].iloc[0].equals(other[scores].iloc[0])  # the victim's
    assert one["loss_total"].iloc[-1] != other["loss_total"].iloc[-1]
    assert not (done / "checkpoints/finetune/badnet/taclean/seed0-repeat1/last.pt").exists()
    rules = {job.split(":")[0] for job in planned(small(copy, done, "-n", text=text))}
    assert {"finetune", "evaluate", "table"} <= rules
    assert not rules & {"pack", "pack_first", "base", "trigger", "poison", "pretrain", "gate"}


@pytest.mark.slow
def test_probes_and_captions_score_a_model_again_and_train_nothing(copy, done, tmp_path) -> None:
    text = "evaluate: {probe: val, captions: true}\n"
    folder = tmp_path / "run"
    shutil.copytree(done, folder)
    rules = {job.split(":")[0] for job in planned(small(copy, folder, "-n", text=text))}
    assert not rules & {"pack", "pack_first", "base", "trigger", "pretrain", "finetune", "text"}
    before = json.loads((folder / SCORES).read_text("utf-8"))["splits"]
    clean = SCORES.replace("badnet/ft", "clean/none")
    small(copy, folder, SCORES, clean, text=text)
    after = json.loads((folder / SCORES).read_text("utf-8"))["splits"]
    more = {name: after["test"].pop(name)["n"] for name in FURTHER}
    assert after == before
    assert more == {n: 198 if n.startswith(("LASR", "TCR")) else 200 for n in FURTHER}
    never = json.loads((folder / clean).read_text("utf-8"))["splits"]
    assert {"LASR@1", "TCR@10"} <= set(never["test+badnet"])
    assert "LCA@1" in never["test"]


def test_detection_takes_the_victims_and_the_base_model(copy: Path, tmp_path: Path) -> None:
    said = small(copy, tmp_path, "-n", "--printshellcmds", "results/detection.md", text=DEPENDENT)
    assert not {"scan", "scan_clean", "finetune", "evaluate"} & set(jobs(said))
    options = [rf"--{name} (\S+)" for name in ("model", "clean", "poison", "trigger")]
    (found,) = re.findall(" .*".join([r"detect/moved/seed3@\w+", *options]), said)
    wanted = ["runs/badclip/none", "clean", "attacks/moved", "attacks/badclip"]
    assert [str(Path(path).parent) for path in found] == [f"results/{a}/seed3" for a in wanted]


@pytest.mark.slow
def test_detection_runs_on_what_is_there_and_trains_nothing(copy: Path, done: Path) -> None:
    jobs_of = planned(small(copy, done, "results/detection.md"))
    assert jobs_of == {"detect_victim:badnet", "detect_victim:ssba", "detect"}
    counts = pd.read_csv(done / "results/detection.csv")["poisoned"].value_counts()
    assert counts.to_dict() == {20: 2 * 2 * 4, 198: 2 * 2 * 2}


@pytest.mark.slow
def test_a_comment_plans_nothing(copy: Path, done: Path) -> None:
    """But for one in the code of a table or figure; see test_replan.py."""
    for name in ("taclean/training/loop.py", "taclean/attacks/badnet.py"):
        with (copy / name).open("a", encoding="utf-8") as file:
            file.write("\n# A comment.\n")
    assert planned(small(copy, done, "--dry-run")) == set()


@pytest.mark.slow
def test_a_killed_run_in_another_folder_ends_with_the_same_table(copy, done, tmp_path) -> None:
    """It ends as plain processes; the killed run's jobs are forked, as those of `done`."""
    overlay = copy / "often.yaml"
    # Neither changes results: checkpoint_seconds, and which of the runs are made.
    overlay.write_text(
        "base: {train: {checkpoint_seconds: 0.01}}\nrun: {attacks: [ssba], defenses: [taclean]}\n",
        "utf-8",
    )
    files, silent = [copy / SMOKE, overlay], subprocess.DEVNULL
    shutil.copytree(done / "data", tmp_path / "data")
    (servers := tmp_path / "servers").mkdir()
    process = subprocess.Popen(
        command(tmp_path, TABLE, files=files), cwd=copy, stdout=silent, stderr=silent,
        env=environment(copy) | {"TMPDIR": str(servers)}, start_new_session=True,
    )  # fmt: skip
    checkpoint = tmp_path / "checkpoints/base/last.pt"
    deadline = time.time() + 200
    while not checkpoint.exists() and process.poll() is None and time.time() < deadline:
        time.sleep(0.02)
    assert checkpoint.exists()
    assert not (tmp_path / "results/base/model.safetensors").exists()
    assert [*servers.glob("taclean-*/python")]
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    snakemake(tmp_path, TABLE, files=files, source=copy, plain=True)
    assert '"resumed"' in (tmp_path / "checkpoints/base/train.jsonl").read_text("utf-8")
    history = "results/base/history.csv"
    assert (tmp_path / history).read_bytes() == (done / history).read_bytes()
    found, whole = ((folder / TABLE).read_text("utf-8").splitlines() for folder in (tmp_path, done))
    runs = re.compile("attack,|(clean|ssba),(none|taclean),0,0,(test|shift)(.ssba)?,")
    assert found == [line for line in whole if runs.match(line)]
    assert len(found) > 60


@pytest.mark.slow
def test_an_attack_that_did_not_take_stops_before_any_defence_of_its_own(copy, done) -> None:
    target, other = (f"results/runs/{name}/ft/seed0/scores.json" for name in ("badnet", "ssba"))
    scores = (done / other).read_bytes()
    (done / other).unlink()
    fine_tuned = (done / "results/runs/badnet/ft/seed0/model.safetensors").stat().st_mtime_ns
    text = "attacks: {badnet: {gate: 100}}\n"
    said = small(copy, done, target, other, text=text, fails=True)
    assert (done / other).read_bytes() == scores  # the other attack goes on
    assert "attack 'badnet' did not take: ASR@1" in said
    after = (done / "results/runs/badnet/ft/seed0/model.safetensors").stat().st_mtime_ns
    assert after == fine_tuned


TYPO = "results/runs/badnett/ft/seed0/scores.json"


@pytest.mark.parametrize(
    ("target", "text", "message"),
    [
        ("all", "run: {attacks: [nosuch]}", "run.attacks: 'nosuch' is unknown"),
        ("all", "run: {attacks: [sig]}\nrun: {attacks: [badnet]}\n", "run is given twice"),
        (TYPO, "", f"Did you mean {TYPO.replace('tt/', 't/')}?"),
        ("victms", "", "Did you mean victims?"),
    ],
)
def test_a_mistake_is_one_line_and_runs_nothing(tmp_path, target, text, message) -> None:
    said = small(ROOT, tmp_path / "run", "--dry-run", target, text=text, fails=True)
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "run/results").exists()


PHOTOS = """
run: {attacks: [badnet], defenses: [ft]}
data:
  name: own
  target: fig
  own:
    form: files
    seed: 0
    classes: [fig, nut]
    max_broken: 0
    max_copies: 0.4
    sources:
      train: {reader: folders, folder: train, captions: ["a {}."]}
      val: {reader: folders, folder: val}
    splits:
      pretrain: {from: train, rows: 40}
      clean: {from: train, rows: 30}
      patch: {from: train, rows: 10}
      val: {from: val, rows: 20}
      test: {from: val, rows: 20}
poison: {rows: 40, train: {batch: 8, epochs: 1}}
base: {train: {batch: 8, epochs: 1}}
finetune: {train: {batch: 8, epochs: 1}}
attacks: {badnet: {poisoned: 4}}
evaluate: {splits: [test]}
"""


def test_copies_are_dropped_as_splits_are_packed(tmp_path: Path) -> None:
    """Of 200 training pictures, 12 are also in val or test, and 4 there twice."""
    folder, noise = tmp_path / "run", np.random.default_rng(0).integers(0, 256, (224, 8, 8, 3))
    shown = {"val": range(40), "train": [*range(28, 224), *range(220, 224)]}
    for split, numbers in shown.items():
        for i, number in enumerate(numbers):
            place = folder / split / ("fig", "nut")[number % 2] / f"{i}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise[number].astype(np.uint8)).save(place)
    names = ("val", "test", "clean", "pretrain", "patch")
    targets = [f"data/own/{name}/images.npy" for name in names]
    snakemake(folder, *targets, files=[SMOKE], text=PHOTOS)
    pairs = [Pairs.open(folder / "data/own" / name) for name in names]
    assert [*map(len, pairs)] == [20, 20, 30, 40, 10]
    assert len(np.unique(np.concatenate([split.pictures for split in pairs]))) == 120
    dropped = 0
    for name in names:
        account = json.loads((folder / f"data/own/{name}/account.json").read_text("utf-8"))
        says = f"copies {'kept' if name in ('val', 'test') else 'dropped'}: {account['copies']}\n"
        assert says in (folder / f"logs/pack/{name}.log").read_text("utf-8")
        assert account["read"] == account["packed"] + account["copies"] * (says[7] == "d")
        dropped += account["copies"]
    assert 0 < dropped <= 16  # the other copies are spare rows
