"""The chain through Snakemake, as a user runs it: whole, again, after a change, after a kill."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from taclean.data.table import load_table

ROOT = Path(__file__).parents[2]
SMOKE = "config/test/smoke.yaml"
TABLE = "results/table.csv"
SCORES = "results/runs/badnet/ft/seed0/scores.json"
FURTHER = ["LCA@1", "LASR@1", *(f"{m}@{k}" for m in ("I2T", "T2I", "TCR") for k in (1, 5, 10))]
KEPT = ("Snakefile", "rules", "workflow_scripts", "taclean", "config", "profiles", "envs")


def snakemake(
    source: Path, directory: Path, *options: str, overlays: tuple[Path, ...] = ()
) -> subprocess.CompletedProcess[str]:
    files = [source / SMOKE, *overlays]
    return subprocess.run(
        command(source, directory, *options, "--configfile", *map(str, files)),
        env=environment(source),
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )


def command(source: Path, directory: Path, *options: str) -> list[str]:
    return ["snakemake", "--cores", "2", "--directory", str(directory), *options]


def environment(source: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(source)}


def planned(result: subprocess.CompletedProcess[str]) -> set[str]:
    """The jobs that a dry run lists, as 'rule' or 'rule:attack'."""
    assert result.returncode == 0, result.stderr
    jobs, rule = set(), ""
    for line in (result.stdout + result.stderr).splitlines():
        if line.startswith(("rule ", "localrule ")):
            rule = line.split()[1].rstrip(":")
            jobs.add(rule)
        elif line.strip().startswith("wildcards:") and "attack=" in line:
            jobs.discard(rule)
            jobs.add(rule + ":" + line.split("attack=")[1].split(",")[0])
    return jobs - {"all"}


def dry_run(copy: Path, folder: Path, text: str, *options: str) -> str:
    """What a dry run with `text` on top of the small config prints."""
    overlay = folder / "overlay.yaml"
    overlay.write_text(text, "utf-8")
    result = snakemake(copy, folder, "--dry-run", *options, overlays=(overlay,))
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources that a test may edit."""
    folder = tmp_path_factory.mktemp("source")
    for name in KEPT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


ODD = """
run:
  attacks: [gate, Seed0, trigger_inversion, poison]
  defenses: [trigger, gate_prune, "2nd", taclean_k30]
attacks:
  gate: {kind: badnet, poisoned: 20, gate: 0}
  Seed0: {kind: trojvqa, poisoned: 20, key_only: 5, gate: 0}
  trigger_inversion: {kind: wanet, poisoned: 20, noise: 3, gate: 0}
  poison: {kind: badnet, poisoned: 40, gate: 0}
defenses:
  trigger: {kind: ft}
  gate_prune: {kind: cleanclip, loss: {lambda_self: 2}}
  2nd: {kind: par}
  taclean_k30: {kind: taclean, subcaptions: {samples: 30}}
"""


def test_entries_have_a_kind_and_any_name(copy: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "odd.yaml"
    overlay.write_text(ODD.replace("2nd:", '"2nd":'), "utf-8")
    result = snakemake(copy, tmp_path, "--dry-run", overlays=(overlay,))
    jobs = planned(result)
    for attack in ("gate", "Seed0", "trigger_inversion", "poison"):
        assert {f"{rule}:{attack}" for rule in ("poison", "finetune", "evaluate", "gate")} <= jobs
    assert {job for job in jobs if job.startswith("trigger:")} == {"trigger:Seed0"}
    # One file of EDA variants serves both defences that want the same.
    counts = dict(line.split() for line in result.stdout.splitlines() if len(line.split()) == 2)
    assert counts["text"] == "2"
    assert counts["finetune"] == "16"


def test_repeats_are_planned_for_defences_alone(copy: Path, tmp_path: Path) -> None:
    found = dry_run(
        copy, tmp_path, "run: {attacks: [badnet], defenses: [ft, taclean], repeats: 3}\n"
    )
    counts = dict(line.split() for line in found.splitlines() if len(line.split()) == 2)
    wanted = {"pretrain": 1, "text": 2 * 3, "finetune": 2 * 3, "evaluate": 2 + 2 * 3}
    assert {rule: int(counts[rule]) for rule in wanted} == wanted
    assert "none/seed0-repeat" not in found


def test_each_seed_may_have_a_base_model_of_its_own(copy: Path, tmp_path: Path) -> None:
    text = "run: {seeds: [3, 7]}\nbase: {per_seed: true}\n"
    found = dry_run(copy, tmp_path, text, "--printshellcmds")
    assert not re.search("^rule base:", found, re.MULTILINE)
    starts = r"--stage pretrain/badnet/seed(\d)@.* --model (\S+) --poison"
    assert dict(re.findall(starts, found)) == {
        n: f"results/clean/seed{n}/model.safetensors" for n in "37"
    }


def test_a_trigger_that_is_another_at_the_test_trains_nothing(copy: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "moved.yaml"
    overlay.write_text(
        "run: {attacks: [badclip, moved], defenses: [ft]}\n"
        "attacks: {moved: {kind: badclip, at_test: {place: corner}}}\n",
        encoding="utf-8",
    )
    result = snakemake(copy, tmp_path, "--dry-run", "--printshellcmds", overlays=(overlay,))
    jobs = planned(result)
    assert {"trigger:badclip", "pretrain:badclip"} <= jobs
    assert {job for job in jobs if job.endswith(":moved")} == {"evaluate:moved"}
    scored = r"evaluate/(\w+)/ft/seed0@\w+ --model (\S+) .* --triggers (\S+) "
    found = {attack: values for attack, *values in re.findall(scored, result.stdout)}
    model, fitted = found["badclip"][0], "results/attacks/badclip/seed0/trigger.safetensors"
    assert found["moved"] == [model, f"moved={fitted}"]


def test_a_defence_may_learn_from_the_pretrain_split(copy: Path, tmp_path: Path) -> None:
    text = (
        "run: {attacks: [badnet], defenses: [taclean, shared]}\n"
        "defenses: {shared: {kind: taclean, overlap: 0.5}}\n"
    )
    found = dry_run(copy, tmp_path, text, "--printshellcmds")
    trained = r"--stage finetune/badnet/(\w+)/seed0@\w+ --data data/\w+/(\w+) "
    assert dict(re.findall(trained, found)) == {"taclean": "clean", "shared": "pretrain"}
    texts = re.findall(r"--stage text/(\w+)/\S+ --data data/\w+/(\w+) ", found)
    wanted = [(text, of) for text in ("subcaptions", "variants") for of in ("clean", "pretrain")]
    assert sorted(texts) == wanted


def test_a_defence_may_start_where_another_ended(copy: Path, tmp_path: Path) -> None:
    text = (
        "run: {attacks: [badnet], defenses: [again]}\n"
        "defenses: {again: {kind: ft, after: cleanclip}}\n"
    )
    found = dry_run(copy, tmp_path, text, "--printshellcmds")
    starts = r"--stage finetune/badnet/(\w+)/.* --model results/runs/badnet/(\w+)/"
    assert dict(re.findall(starts, found)) == {"again": "cleanclip", "cleanclip": "none"}


def test_mistakes_of_the_config_end_the_workflow_in_one_line(copy: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "twice.yaml"
    overlay.write_text("run: {attacks: [sig]}\nrun: {attacks: [badnet]}\n", "utf-8")
    result = snakemake(copy, tmp_path, "--dry-run", overlays=(overlay,))
    assert result.returncode != 0
    assert "run is given twice" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


PAIRS_OF_A_USER = """
data:
  name: cc3m
  cc3m:
    sources:
      pairs: {reader: csv, folder: FOLDER, files: null, hub: null, revision: null}
    splits: {pretrain: {rows: 24}, clean: {rows: 8}, patch: {rows: 4}}
poison: {rows: 20}
run: {attacks: [badnet], defenses: [ft]}
attacks: {badnet: {poisoned: 5}}
"""


def test_a_changed_file_of_the_user_is_read_again(copy: Path, tmp_path: Path) -> None:
    """And its folder may have a blank in its name."""
    folder, weights = tmp_path / "my pairs", tmp_path / "my.pt"
    folder.mkdir()
    for i in range(40):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(folder / f"{i}.jpg")
    rows = "".join(f"{i}.jpg,a banana {i}\n" for i in range(40))
    (folder / "train.csv").write_text("image,caption\n" + rows, "utf-8")
    overlay = tmp_path / "mine.yaml"
    text = PAIRS_OF_A_USER.replace("FOLDER", str(folder))
    overlay.write_text(f"{text}model: {{pretrained: {weights}}}\n", "utf-8")
    overlays = (copy / "config/paper.yaml", overlay)
    wanted = ["data/cc3m/pretrain/ids.npy"]
    result = snakemake(copy, tmp_path, *wanted, overlays=overlays)
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(load_table(tmp_path / "data/cc3m/index/pairs.parquet")) == 40
    model = tmp_path / "results/imported/model.safetensors"
    model.parent.mkdir(parents=True)
    model.touch()
    wanted.append("results/imported/model.safetensors")
    assert planned(snakemake(copy, tmp_path, "--dry-run", *wanted, overlays=overlays)) == set()
    later = time.time() + 5
    (folder / "train.csv").write_text("image,caption\n" + rows + rows, "utf-8")
    weights.touch()  # until now it was no file, so one of open_clip's tags
    for path in (folder / "train.csv", weights):
        os.utime(path, (later, later))
    jobs = planned(snakemake(copy, tmp_path, "--dry-run", *wanted, overlays=overlays))
    assert jobs == {"index", "pack", "imported"}


@pytest.fixture(scope="module")
def done(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the whole small chain has run."""
    folder = tmp_path_factory.mktemp("run")
    result = snakemake(copy, folder)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"run: \d+ of \d+ jobs, .* left; now ", result.stderr)
    end = result.stderr[result.stderr.index("Test split: CA@1 and ASR@1 in %") :]
    assert re.search(r"^BadNet( +[\d.]+ / \*?[\d.]+){5}$", end, re.MULTILINE)
    assert f"Report: {folder / 'results/report.html'}" in end
    return folder


@pytest.mark.slow
def test_the_whole_chain_runs_and_its_table_is_complete(done: Path) -> None:
    table = pd.read_csv(done / TABLE)
    columns = ["attack", "defense", "seed", "repeat", "split", "metric", "percent", "n"]
    assert list(table.columns) == columns
    assert not table.duplicated(columns[:6]).any()
    for attack in ("badnet", "ssba"):
        for defense in ("none", "ft", "cleanclip", "taclean"):
            for split, n in (("test", 200), ("shift", 100)):
                rows = table[
                    (table.attack == attack) & (table.defense == defense) & (table.split == split)
                ].set_index("metric")
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
    assert (done / "results/report.html").stat().st_size > 100_000
    recipe = json.loads((done / SCORES.replace("scores", "scores.recipe")).read_text("utf-8"))
    assert recipe["stage"] == "evaluate/badnet/ft/seed0"
    assert (done / "data/emoji/val/recipe.json").is_file()
    assert not list(done.glob("checkpoints/**/last.pt"))


@pytest.mark.slow
def test_a_second_run_has_nothing_to_do(copy: Path, done: Path) -> None:
    result = snakemake(copy, done, "--dry-run")
    assert "Nothing to be done" in result.stdout + result.stderr


@pytest.mark.slow
def test_one_parameter_of_one_attack_plans_its_chain_only(copy: Path, done: Path) -> None:
    overlay = copy / "overlay.yaml"
    overlay.write_text("attacks: {badnet: {poisoned: 21}}\n", "utf-8")
    jobs = planned(snakemake(copy, done, "--dry-run", overlays=(overlay,)))
    attacks = {job.split(":")[1] for job in jobs if ":" in job}
    assert attacks == {"badnet"}
    assert {"poison:badnet", "pretrain:badnet", "finetune:badnet", "table"} <= jobs
    assert not jobs & {"pack", "base", "text"}


@pytest.mark.slow
def test_a_repeat_is_another_cleaning_of_the_same_victim(copy: Path, done: Path) -> None:
    overlay = copy / "repeats.yaml"
    overlay.write_text("run: {repeats: 2}\n", "utf-8")
    first, second = (done / f"results/runs/badnet/taclean/seed0{r}" for r in ("", "-repeat1"))
    before = (first / "scores.json").read_bytes()
    target = str(second.relative_to(done) / "scores.json")
    result = snakemake(copy, done, target, overlays=(overlay,))
    assert result.returncode == 0, result.stdout + result.stderr
    assert (first / "scores.json").read_bytes() == before
    assert json.loads((second / "scores.json").read_text("utf-8"))["repeat"] == 1
    one, other = (pd.read_csv(folder / "history.csv") for folder in (first, second))
    scores = ["CA@1", "CA@10", "ASR@1", "ASR@10", "TA@10"]
    assert one[scores].iloc[0].equals(other[scores].iloc[0])  # the victim's
    assert one["loss_total"].iloc[-1] != other["loss_total"].iloc[-1]
    assert not (done / "checkpoints/finetune/badnet/taclean/seed0-repeat1/last.pt").exists()
    rules = {job.split(":")[0] for job in planned(snakemake(copy, done, "-n", overlays=(overlay,)))}
    assert {"finetune", "evaluate", "table"} <= rules
    assert not rules & {"pack", "base", "trigger", "poison", "pretrain", "gate"}


@pytest.mark.slow
def test_probes_and_captions_score_a_model_again_and_train_nothing(
    copy: Path, done: Path, tmp_path: Path
) -> None:
    overlay = copy / "further.yaml"
    overlay.write_text("evaluate: {probe: val, captions: true}\n", "utf-8")
    folder = tmp_path / "run"
    shutil.copytree(done, folder)
    assert {job.split(":")[0] for job in planned(snakemake(copy, folder, "-n", overlays=(overlay,)))
            } & {"pack", "base", "trigger", "pretrain", "finetune", "text"} == set()  # fmt: skip
    before = json.loads((folder / SCORES).read_text("utf-8"))["splits"]
    clean = SCORES.replace("badnet/ft", "clean/none")
    result = snakemake(copy, folder, SCORES, clean, overlays=(overlay,))
    assert result.returncode == 0, result.stdout + result.stderr
    after = json.loads((folder / SCORES).read_text("utf-8"))["splits"]
    more = {name: after["test"].pop(name)["n"] for name in FURTHER}
    assert after == before
    assert more == {n: 198 if n.startswith(("LASR", "TCR")) else 200 for n in FURTHER}
    never = json.loads((folder / clean).read_text("utf-8"))["splits"]
    assert {"LASR@1", "TCR@10"} <= set(never["test+badnet"])
    assert "LCA@1" in never["test"]


@pytest.mark.slow
def test_a_comment_plans_nothing_and_a_plot_script_its_plot(copy: Path, done: Path) -> None:
    for name in ("taclean/training/loop.py", "taclean/attacks/badnet.py"):
        with (copy / name).open("a", encoding="utf-8") as file:
            file.write("\n# A comment.\n")
    assert planned(snakemake(copy, done, "--dry-run")) == set()
    script = copy / "taclean/report/figures/tradeoff.py"
    before = script.read_text("utf-8")
    script.write_text(before + "\n# Another look.\n", "utf-8")
    try:
        assert planned(snakemake(copy, done, "--dry-run")) == {"figure", "page"}
    finally:
        script.write_text(before, "utf-8")


@pytest.mark.slow
def test_a_killed_run_in_another_folder_ends_with_the_same_table(
    copy: Path, done: Path, tmp_path: Path
) -> None:
    overlay = copy / "often.yaml"
    # Neither changes results: checkpoint_seconds, and which of the runs are made.
    overlay.write_text(
        "base: {train: {checkpoint_seconds: 0.01}}\nrun: {attacks: [ssba], defenses: [taclean]}\n",
        "utf-8",
    )
    files = ["--configfile", str(copy / SMOKE), str(overlay)]
    process = subprocess.Popen(
        command(copy, tmp_path, TABLE, *files),
        env=environment(copy),
        cwd=copy,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    checkpoint = tmp_path / "checkpoints/base/last.pt"
    deadline = time.time() + 200
    while not checkpoint.exists() and process.poll() is None and time.time() < deadline:
        time.sleep(0.02)
    assert checkpoint.exists()
    assert not (tmp_path / "results/base/model.safetensors").exists()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    result = snakemake(copy, tmp_path, TABLE, overlays=(overlay,))
    assert result.returncode == 0, result.stdout + result.stderr
    assert '"resumed"' in (tmp_path / "checkpoints/base/train.jsonl").read_text("utf-8")
    history = "results/base/history.csv"
    assert (tmp_path / history).read_bytes() == (done / history).read_bytes()
    found, whole = ((folder / TABLE).read_text("utf-8").splitlines() for folder in (tmp_path, done))
    runs = re.compile("attack,|(clean|ssba),(none|taclean),0,0,(test|shift)(.ssba)?,")
    assert found == [line for line in whole if runs.match(line)]
    assert len(found) > 60


@pytest.mark.slow
def test_an_attack_that_did_not_take_stops_before_any_defence_of_its_own(
    copy: Path, done: Path
) -> None:
    overlay = copy / "gate.yaml"
    overlay.write_text("attacks: {badnet: {gate: 100}}\n", "utf-8")
    target, other = (f"results/runs/{name}/ft/seed0/scores.json" for name in ("badnet", "ssba"))
    scores = (done / other).read_bytes()
    (done / other).unlink()
    fine_tuned = (done / "results/runs/badnet/ft/seed0/model.safetensors").stat().st_mtime_ns
    result = snakemake(copy, done, target, other, overlays=(overlay,))
    assert result.returncode != 0
    assert (done / other).read_bytes() == scores  # the other attack goes on
    assert "attack 'badnet' did not take: ASR@1" in result.stdout + result.stderr
    after = (done / "results/runs/badnet/ft/seed0/model.safetensors").stat().st_mtime_ns
    assert after == fine_tuned


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ("run: {attacks: [nosuch]}", "run.attacks: 'nosuch' is unknown"),
        ("run: {defenses: [nosuch]}", "run.defenses: 'nosuch' is unknown"),
        ("data: {target: nosuch}", "data.target: 'nosuch' is unknown"),
        ("finetune: {train: {lr: fast}}", "finetune.train.lr"),
    ],
)
def test_a_mistake_in_the_config_is_one_line_and_runs_nothing(
    tmp_path: Path, overlay: str, message: str
) -> None:
    path = tmp_path / "overlay.yaml"
    path.write_text(overlay, "utf-8")
    result = snakemake(ROOT, tmp_path / "run", "--dry-run", overlays=(path,))
    assert result.returncode != 0
    assert message in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert not (tmp_path / "run/results").exists()
