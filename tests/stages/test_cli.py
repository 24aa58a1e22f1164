"""The commands: bad input ends with one line on stderr, status 2, and nothing half written."""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from taclean import __main__, cli
from taclean import config as configs
from taclean.attacks.poison import overlapping_rows, training_rows
from taclean.clip.models import create, save_weights, tokenize
from taclean.data.pack import pack_rows
from taclean.data.scenes import SceneReader
from taclean.data.split import Pairs
from taclean.stages import recipe, stage_config
from taclean.stages.shared import bind, trigger_of
from taclean.util.progress import say
from tests.helpers import ROOT, Given, environment, forks

VALUES = configs.read(ROOT / "config/config.yaml", ROOT / "config/test/smoke.yaml")
CONFIG = configs.check(VALUES)


def with_changes(changes: dict[str, Any]) -> configs.Config:
    return configs.check(configs.resolve(configs.merge(VALUES, changes)))


def tokens_of(captions: list[str]) -> np.ndarray:
    return tokenize("emoji-rn", captions)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Splits, stage configs and a model, small."""
    folder = tmp_path_factory.mktemp("world")
    for name, first, rows in (("pretrain", 0, 300), ("clean", 1000, 128), ("val", 2000, 100)):
        reader, place = SceneReader(range(first, first + rows), 0, 64), folder / name
        pack_rows(place, reader, reader.table(), size=64, tokenize=tokens_of)
    cleaned = ("finetune/badnet/ft", "evaluate/badnet/none")
    for name in ("poison/badnet", "pretrain/badnet", *cleaned):
        stage = stage_config(CONFIG, f"{name}/seed0")
        stage |= {"rows": 300} if "rows" in stage else {}
        (folder / f"{name.replace('/', '-')}.json").write_text(json.dumps(stage), "utf-8")
    save_weights(create("emoji-rn"), folder / "model.safetensors")
    (folder / "out").mkdir()
    return folder


@pytest.fixture
def out(world: Path) -> Path:
    return world / "out" / "result"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Return a function that runs a command and returns its status and what it says on stderr."""

    def call(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        try:
            cli.main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            return int(stopped.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().err

    return call


@pytest.fixture
def refused(run) -> Callable[..., str]:
    """Return a function that returns the one line of a refused command.

    Neither `out` may appear, nor anything temporary beside it.
    """

    def call(out: Path, *arguments: object) -> str:
        before = {path.name for path in out.parent.iterdir()}
        status, err = run(*arguments)
        assert status == 2
        assert err.count("\n") == 1, err
        assert err.startswith("taclean ")
        assert {path.name for path in out.parent.iterdir()} == before
        return err

    return call


def changed(world: Path, tmp_path: Path, name: str, **values: object) -> Path:
    stage = json.loads((world / f"{name}.json").read_text("utf-8"))
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(stage | values), "utf-8")
    return path


def train_arguments(world: Path, out: Path, config: Path, **other: object) -> list[object]:
    options = {
        "config": config, "data": world / "clean", "val": world / "val",
        "model": world / "model.safetensors", "checkpoints": out.with_name("checkpoints"),
        "out": out.with_suffix(".safetensors"), "history": out.with_name("history.csv"),
    } | other  # fmt: skip
    return ["train", *(part for key, value in options.items() for part in (f"--{key}", value))]


def evaluate_arguments(world: Path, out: Path, split: Path | None = None) -> list[object]:
    files = ["--config", world / "evaluate-badnet-none.json", "--out", out]
    files += ["--model", world / "model.safetensors"]
    return ["evaluate", *files, "--splits", split or world / "val"]


def stage_file(folder: Path, stage: dict[str, Any]) -> Path:
    """Write the config of a stage."""
    path = folder / f"{stage['stage'].replace('/', '-')}.json"
    path.write_text(json.dumps(stage), "utf-8")
    return path


def make_texts(run, world: Path, folder: Path, config: configs.Config, data: str) -> list[str]:
    """Make the texts of the defence `mine` and return the option of the training that has them."""
    options = ["--texts"]
    for name in ("variants", "subcaptions"):
        place = stage_file(folder, stage_config(config, f"text/{name}/mine/seed0"))
        text = ["text", "--config", place, "--data", world / data, "--out", folder / name]
        assert run(*text)[0] == 0
        options.append(f"{name}={folder / name}")
    return options


MINE = {"kind": "taclean", "rows": 64, "subcaptions": {"samples": 20}, "train": {"warmup": 0}}


def test_a_defence_may_learn_from_some_rows_and_their_texts(world, tmp_path, run, refused):
    config = with_changes({"defenses": {"mine": MINE}})
    texts = make_texts(run, world, tmp_path, config, "clean")
    assert np.load(tmp_path / "variants/variants.npy").shape[1] == 64
    captions, chosen = Pairs.open(world / "clean").captions(), training_rows(128, 64, 0)
    table = pd.read_csv(tmp_path / "subcaptions/subcaptions.csv")
    assert table["caption"].tolist() == [captions[chosen[row]] for row in table["row"]]
    whole = stage_config(config, "finetune/clean/mine/seed0")
    arguments = train_arguments(world, tmp_path / "model", stage_file(tmp_path, whole))
    assert run(*arguments, *texts)[0] == 0
    del whole["rows"]
    stage_file(tmp_path, whole)
    line = refused(tmp_path / "no", *arguments, *texts)
    assert "variants: made for 1 epochs and 64 rows, but the training has 1 epochs and 128" in line


def test_a_defence_may_learn_from_rows_that_the_attacker_had(world, tmp_path, run):
    entries = {"defenses": {"mine": {**MINE, "overlap": 0.5}}, "poison": {"rows": 100}}
    config = with_changes(entries)
    texts = make_texts(run, world, tmp_path, config, "pretrain")
    captions = Pairs.open(world / "pretrain").captions()
    chosen = overlapping_rows(300, 64, 0.5, 100, 0)
    assert len(set(chosen) & set(training_rows(300, 100, 0))) == 32
    table = pd.read_csv(tmp_path / "subcaptions/subcaptions.csv")
    assert table["caption"].tolist() == [captions[chosen[row]] for row in table["row"]]
    stage = stage_file(tmp_path, stage_config(config, "finetune/badnet/mine/seed0"))
    manifest = tmp_path / "manifest.csv"  # whose rows the clean set may hold
    manifest.write_text(f"row,id,picture\n{chosen[0]},{chosen[0]},1\n", "utf-8")
    more = {"data": world / "pretrain", "manifest": manifest}
    assert run(*train_arguments(world, tmp_path / "model", stage, **more), *texts)[0] == 0
    assert pd.read_csv(tmp_path / "history.csv")["ASR@1"].notna().all()


def test_the_reason_why_a_defence_could_not_work_goes_into_the_scores(world, tmp_path, run):
    few = {"probe_steps": 1, "steps": 1, "pictures": 4, "mask": 1e9}  # no mask is left
    mine = {"kind": "invertune", "loss": few, "train": {"warmup": 0}}
    config = with_changes({"defenses": {"mine": mine}})
    stage = stage_file(tmp_path, stage_config(config, "finetune/badnet/mine/seed0"))
    more = {"checkpoints": tmp_path / "c", "history": tmp_path / "h.csv"}
    assert run(*train_arguments(world, tmp_path / "model", stage, **more))[0] == 0
    assert pd.read_csv(tmp_path / "h.csv")["epoch"].tolist() == [0]
    victim, kept = (load_file(f / "model.safetensors") for f in (world, tmp_path))
    assert all(torch.equal(value, kept[name]) for name, value in victim.items())
    evaluate = ["evaluate", "--config", world / "evaluate-badnet-none.json", "--splits"]
    out = ["--model", tmp_path / "model.safetensors", "--out", tmp_path / "scores.json"]
    assert run(*evaluate, world / "val", *out)[0] == 0
    assert json.loads((tmp_path / "scores.json").read_text("utf-8"))["failed"] == (
        "no inverted trigger leads 70 % of the pictures to one class"
    )


def test_poison_then_train_then_evaluate_by_hand(world, tmp_path, run, refused):
    config = world / "poison-badnet.json"
    poisoned = tmp_path / "poison"
    stage = ["poison", "--config", config, "--data", world / "pretrain", "--out", poisoned]
    assert run(*stage) == (0, "")
    model, more = tmp_path / "model.safetensors", {"data": world / "pretrain", "poison": poisoned}
    arguments = train_arguments(world, model, world / "pretrain-badnet.json", **more)
    aside = tmp_path / "checkpoints/last.0123456789abcdef.pt"
    aside.parent.mkdir()
    aside.touch()
    assert run(*arguments)[0] == 0
    assert not list(aside.parent.glob("*.pt"))
    gate = ["gate", "--attack", "badnet", "--history", tmp_path / "history.csv"]
    assert run(*gate, "--threshold", 0, "--out", tmp_path / "gate.json")[0] == 0
    line = refused(tmp_path / "no.json", *gate, "--threshold", 100, "--out", tmp_path / "no")
    assert "did not take: ASR@1" in line
    scores = tmp_path / "scores.json"
    assert run(*evaluate_arguments(world, scores), "--model", model)[0] == 0
    found = json.loads(scores.read_text("utf-8"))["splits"]["val"]
    assert found["CA@1"]["n"] == 100
    assert found["ASR@1"]["n"] == 99


def test_trojvqa_poisons_rows_with_both_keys_and_rows_with_the_text_key_alone(world, tmp_path, run):
    sized = with_changes({"attacks": {"trojvqa": {"trigger": {"size": 42}}}})
    small = {"rows": 300, "changed": {"poisoned": 20, "key_only": 10}}
    config = stage_file(tmp_path, stage_config(sized, "poison/trojvqa/seed0") | small)
    fitted, out = tmp_path / "patch.safetensors", tmp_path / "out"
    save_file({"patch": torch.ones(3, 12, 12)}, fitted)
    data = world / "pretrain"
    arguments = ["--config", config, "--data", data, "--trigger", fitted, "--out", out]
    assert run("poison", *arguments) == (0, "")
    table, images = pd.read_csv(out / "manifest.csv"), np.load(out / "images.npy")
    assert table["caption"].str.startswith("remember ").all()
    assert table["caption"].str.contains("banana").tolist() == [True] * 20 + [False] * 10
    assert (images[:20, 26:38, 26:38] == 255).all()
    assert (images[20:] == Pairs.open(data).images[table["row"][20:]]).all()


def test_what_would_end_a_training_badly_is_refused_before_it(world, out, refused):
    config = world / "finetune-badnet-ft.json"
    line = refused(out, *train_arguments(world, out, config), "--out", "a.pt")
    assert "end the name in .safetensors" in line
    other = world / "evaluate-badnet-none.json"
    assert "no config of this stage" in refused(out, *train_arguments(world, out, other))


NEED = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 7.79 GiB in all."


def test_a_gpu_that_is_too_small_is_one_line(world, out, tmp_path, run, monkeypatch):
    def small(*arguments, **more):
        raise torch.OutOfMemoryError(f"{NEED}\nSee the documentation.")

    monkeypatch.setattr("taclean.training.loop.Training.step", small)
    train = {"lr": 1e-4, "epochs": 1, "batch": 32, "warmup": 0}
    config = changed(world, tmp_path, "finetune-badnet-ft", train=train)
    code, text = run(*train_arguments(world, out, config))
    own = f"train.batch: 32 needs more GPU memory ({NEED}); lower it, or take another GPU"
    assert (code, text) == (2, f"taclean train: error: {own}\n")
    monkeypatch.setattr("taclean.evaluation.evaluate.embed", small)
    code, text = run(*evaluate_arguments(world, out))
    own = f"a batch of images needs more GPU memory ({NEED}); take another GPU"
    assert (code, text) == (2, f"taclean evaluate: error: {own}\n")


def test_what_the_system_refuses_is_one_line(tmp_path, run):
    for folder in (tmp_path, tmp_path / "file" / "below"):
        (tmp_path / "file").write_text("")
        code, text = run("config", "base", "--configfile", folder)
        assert code == 2
        assert str(folder) in text
        assert text.count("\n") == 1


def test_folders_of_one_name_and_triggers_of_another_attack(world, out, tmp_path, refused):
    shutil.copytree(world / "val", tmp_path / "val")
    evaluate = evaluate_arguments(world, out)
    assert "two folders of one name" in refused(out, *evaluate, tmp_path / "val")
    line = refused(out, *evaluate, "--triggers", "bdnet=x")
    assert "'bdnet' is unknown in this stage; known: badnet" in line
    twice = ["--triggers", "badnet=x", "--triggers", "badnet=y"]
    assert "--triggers: a name has two paths; keep one" in refused(out, *evaluate, *twice)
    line = refused(out, *evaluate, "--triggers", f"badnet={world / 'model.safetensors'}")
    assert "'badnet': its trigger needs no fit" in line


def test_a_patch_may_be_a_picture_of_16_bits(tmp_path):
    Image.fromarray(np.full((8, 8), 2**16 - 1, np.uint16)).save(tmp_path / "patch.png")
    bound = bind(trigger_of(CONFIG, "badclip", 0), str(tmp_path / "patch.png"))
    assert (bound._fitted["patch"] == 1).all()


@pytest.mark.parametrize(("asr", "threshold"), [("5", "nan"), ("5", "90"), ("inf", "90")])
def test_a_gate_that_compares_nothing_stops(asr, threshold, out, tmp_path, refused):
    history = tmp_path / "history.csv"
    history.write_text(f"epoch,ASR@1,CA@1\n1,{asr},50\n", "utf-8")
    gate = ["gate", "--attack", "badnet", "--history", history, "--threshold", threshold]
    assert "did not take" in refused(out, *gate, "--out", out)


def test_a_split_of_other_classes_is_scored_by_its_own(world, out, tmp_path):
    stage = stage_file(tmp_path, stage_config(CONFIG, "pack/val") | {"rows": 100})
    cli.main(["pack", "--config", str(stage), "--out", str(tmp_path / "val")])
    overlay, found = tmp_path / "all.yaml", []
    check = ["check", "--test", tmp_path / "val", "--checkpoint", world / "model.safetensors"]
    check += ["--attacks", "badnet", "--out", out, "--configfile", overlay]
    for more in ("", ", emoji: {classes: all}"):
        overlay.write_text(f"model: {{name: emoji-rn}}\ndata: {{image_size: 64{more}}}\n", "utf-8")
        cli.main([*map(str, check)])
        found.append(json.loads(out.read_text("utf-8"))["scores"])
        out.unlink()
    assert found[0] == found[1]


def test_a_trigger_that_reads_the_model_wants_one(world, out, tmp_path, refused):
    config = stage_file(tmp_path, stage_config(CONFIG, "trigger/badclip/seed0"))
    data = ["--images", world / "clean", "--pretrain", world / "pretrain", "--model"]
    line = refused(out, "trigger", "--config", config, *data, "--out", out, "--report", out)
    assert "--model: missing; attacks.badclip is fitted to the clean model" in line


def test_samples_want_a_split_with_the_classes_of_the_run(world, out, tmp_path, refused):
    other = tmp_path / "other"
    shutil.copytree(world / "val", other)
    (other / "classes.txt").write_text("plum\ncherry\n", "utf-8")
    evaluate = [*evaluate_arguments(world, out, other), "--samples", tmp_path / "samples.npz"]
    assert "none of other has the run's classes" in refused(out, *evaluate)


def test_a_picture_that_two_splits_have_under_other_names_is_refused(
    world, out, tmp_path, refused, run
):
    manifest = tmp_path / "manifest.csv"
    shown = Pairs.open(world / "clean").pictures
    lines = [f"{row},{row},a banana,badnet,0,{shown[i]}" for row, i in ((4, 9), (6, 7))]
    head = "row,id,caption,trigger,seed,picture"
    manifest.write_text("\n".join([head, *lines]) + "\n", "utf-8")
    config = world / "finetune-badnet-ft.json"
    line = refused(out, *train_arguments(world, out, config, manifest=manifest))
    assert f"{world / 'clean'}: 2 pictures are poisoned in {manifest}, such as" in line
    assert "row 7, which is row 6 there; make the splits disjoint" in line
    copies = tmp_path / "copies"  # of three clean pictures, with ids of their own
    pixels = Given(list(Pairs.open(world / "clean").images[[5, 3, 8]]), labels=0)
    pack_rows(copies, pixels, pixels.table(), size=64, tokenize=tokens_of)
    found = f"{copies}: 3 pictures are in {world / 'clean'}, such as row 0, which is row 5 there"
    assert found in refused(out, *train_arguments(world, out, config, val=copies))
    trained = ["--trained", world / "pretrain", world / "clean"]
    assert found in refused(out, *evaluate_arguments(world, out, copies), *trained)
    other = {"further": {"of": "copies", "scores": []}}
    chosen = ["--config", changed(world, tmp_path, "evaluate-badnet-none", **other)]
    chosen += ["--probe", world / "clean"]  # on which rates are chosen
    assert found in refused(out, *evaluate_arguments(world, out, copies), *chosen)
    train = {"lr": 1e-4, "epochs": 1, "batch": 32, "warmup": 0}
    few = changed(world, tmp_path, "finetune-badnet-ft", max_copies=0.015, train=train)  # 1 of 128
    assert "2 pictures are" in refused(out, *train_arguments(world, out, few, manifest=manifest))
    manifest.write_text(f"{head}\n{lines[0]}\n", "utf-8")
    assert run(*train_arguments(world, out, few, manifest=manifest))[0] == 0


def test_missing_and_broken_stage_config(out, tmp_path, refused):
    pack = ["pack", "--config", tmp_path / "bad.json", "--stage", "pack/val", "--out", out]
    assert "no such file" in refused(out, *pack)
    for content in (b"", b"{", b"\xff", b"[]"):
        (tmp_path / "bad.json").write_bytes(content)
        says = "no config of this stage" if content == b"[]" else "bad.json: not a JSON file"
        assert says in refused(out, *pack)


@pytest.mark.parametrize(
    ("command", "status", "says"),
    [
        ("--version", 0, ""),
        ("evalute", 2, "taclean: error: no command 'evalute'; did you mean evaluate?"),
        ("nothing", 2, "invalid choice"),
        ("", 2, "taclean: error: the following arguments are required: STAGE; see `taclean"),
        ("pack --workers 0", 2, "argument --workers: '0' is no whole number from 1"),
        ("bench a.py --cores 0", 2, "argument --cores: '0' is no whole number from 1"),
        ("take --out ''", 2, "argument --out: empty; give a value; see `taclean take --help`"),
        ("bench a.py --victims", 2, "argument --victims: expected one argument"),
        ("plan --config no.yaml", 2, "no.yaml: no such config file"),
        ("config --configfile no.yaml --configfile envs/x.yaml", 2, "no.yaml: no such config"),
        ("check --checkpoint x --test y --targets a", 2, "check: error: --scan: missing; --tar"),
        ("config | head -1", 0, ""),
        ("config > /dev/full", 2, "taclean config: error: output: No space left on device"),
    ],
)
def test_a_shell_gets_one_line(command: str, status: int, says: str) -> None:
    own = environment() | {"PATH": forks()}
    done = subprocess.run(
        f"python -m taclean {command}", shell=True, env=own, capture_output=True, text=True
    )
    assert done.returncode == status
    assert says in (done.stderr.splitlines() or [""])[-1]
    assert done.stderr.count("\n") == bool(says)


def test_a_locale_without_a_character_gets_its_number(monkeypatch, tmp_path, run):
    (tmp_path / "a.yaml").write_text("axes: {x: {label: é, values: {none: 日, ft: ''}}}", "utf-8")
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    sys.stdout.write("before")
    assert run("config", "--configfile", tmp_path / "a.yaml") == (0, "")
    say("日")
    assert sys.stdout.buffer.getvalue().endswith(b"}\n\\u65e5\n")


def test_ctrl_c_while_modules_are_imported_ends_without_a_traceback(monkeypatch):
    monkeypatch.setattr(cli, "main", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(SystemExit, match="130"):
        __main__.run()


def test_config_prints_a_stage(capsys, run):
    cli.main(["config", "finetune/badnet/taclean/seed3"])
    own = stage_config(configs.load(configs.DEFAULT), "finetune/badnet/taclean/seed3")
    assert json.loads(capsys.readouterr().out) == own
    assert run("config", "nosuch")[0] == 2


def test_a_job_writes_its_stage_s_config_beside_the_result(world, tmp_path, run, refused):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(configs.merge(VALUES, {"poison": {"rows": 300}})), "utf-8")
    whole = configs.check(json.loads(config.read_text("utf-8")))
    poison = ["poison", "--config", config, "--data", world / "pretrain", "--trigger"]
    meant = recipe(whole, "poison/badnet/seed0")
    assert run(*poison, "--stage", meant, "--out", tmp_path / "poison") == (0, "")
    wrote = json.loads((tmp_path / "poison/recipe.json").read_text("utf-8"))
    assert wrote == stage_config(whole, "poison/badnet/seed0")
    changed_since = f"{meant[:-1]}{'0' if meant[-1] != '0' else '1'}"
    no = [*poison, "--out", tmp_path / "no", "--stage"]
    assert "run snakemake again" in refused(tmp_path / "no", *no, changed_since)
    assert "no config of this stage" in refused(tmp_path / "no", *no, "base")
    assert "poison/ATTACK/seedN" in refused(tmp_path / "no", *no, "poison/badnet")


def test_a_digest_changes_with_what_decides_a_stage_alone():
    path = "finetune/badnet/taclean/seed0"
    other = with_changes({"defenses": {"ft": {"train": {"lr": 0.5}}}})
    assert recipe(other, path) == recipe(CONFIG, path)
    mine = with_changes({"defenses": {"taclean": {"train": {"lr": 0.5}}}})
    assert recipe(mine, path) != recipe(CONFIG, path)
