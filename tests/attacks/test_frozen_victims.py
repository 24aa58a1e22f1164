"""Frozen victims: an archive holds what it says, and a run takes only victims of its own config."""

import shutil
from pathlib import Path
from zipfile import ZipFile

import pytest

from taclean.attacks import victims
from taclean.util.files import sha256
from tests.helpers import refused

STAGE = {"stage": "pretrain/badnet/seed0", "seed": 0, "train": {"lr": 1e-3}}
INDEX = {"version": "1", "victims": {"pretrain/badnet/seed0": {"stage": STAGE, "scores": {}}}}
MODEL, MANIFEST = "runs/badnet/none/seed0/model.safetensors", "attacks/badnet/seed0/poison/m.csv"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for name in ("model", "manifest", "other"):
        (tmp_path / name).write_text(name, "utf-8")
    files = {MODEL: tmp_path / "model", MANIFEST: tmp_path / "manifest"}
    other = {"runs/badnet/none/seed01/model.safetensors": tmp_path / "other"}
    victims.write(tmp_path / "victims.zip", INDEX, files | other)
    return tmp_path / "victims.zip"


def test_a_run_takes_the_files_of_its_own_victims(archive: Path, tmp_path: Path) -> None:
    assert set(victims.members(str(archive), {"pretrain/badnet/seed0": STAGE})) == {MODEL, MANIFEST}
    often = {"pretrain/badnet/seed0": STAGE | {"train": {"lr": 1e-3, "checkpoint_seconds": 1}}}
    assert set(victims.members(str(archive), often)) == {MODEL, MANIFEST}
    assert victims.members(None, {"pretrain/badnet/seed0": STAGE}) == []
    victims.take(archive, MODEL, tmp_path / "out" / "model")
    assert (tmp_path / "out" / "model").read_text("utf-8") == "model"


def test_equal_files_make_equal_bytes(archive: Path, tmp_path: Path) -> None:
    index = victims.read(archive)
    with ZipFile(archive) as opened:
        opened.extractall(tmp_path / "again")
    files = {name: tmp_path / "again" / name for name in reversed(index.pop("files"))}
    victims.write(tmp_path / "again.zip", index, files)
    assert sha256(tmp_path / "again.zip") == sha256(archive)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"pretrain/sig/seed0": STAGE}, ["no pretrain/sig/seed0; it has pretrain/badnet/seed0"]),
        ({"pretrain/badnet/seed0": STAGE | {"seed": 1}}, ["differs in seed", "0 there, 1 in"]),
        ({"pretrain/badnet/seed0": STAGE | {"train": {"lr": 2}}}, ["differs in train", "0.001"]),
        ({"pretrain/badnet/seed0": STAGE | {"rows": 9}}, ["differs in rows", "None there, 9 in"]),
    ],
)
def test_other_victims_are_refused(archive: Path, wanted: dict, words: list[str]) -> None:
    refused(lambda: victims.members(str(archive), wanted), "run.victims", *words)


def test_files_that_are_no_archive_are_refused(archive: Path, tmp_path: Path) -> None:
    refused(lambda: victims.read(tmp_path / "none.zip"), "no such archive", "snakemake victims")
    (tmp_path / "model").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    refused(lambda: victims.read(tmp_path / "model"), "no whole archive of victims (a Git LFS po")
    with ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("model", "x")
    refused(lambda: victims.read(tmp_path / "other.zip"), "no whole archive", "victims.json")
    shutil.copy(archive, cut := tmp_path / "cut.zip")
    cut.write_bytes(cut.read_bytes()[:-30])
    refused(lambda: victims.read(cut), "no whole archive")
    changed = archive.read_bytes().replace(b"manifest", b"MANIFEST", 1)  # not of the directory
    (tmp_path / "changed.zip").write_bytes(changed)
    take = [tmp_path / "changed.zip", MANIFEST, tmp_path / "out"]
    refused(lambda: victims.take(*take), "no whole archive")
    assert not (tmp_path / "out").exists()
    refused(lambda: victims.take(archive, "other", take[2]), "no member other; give one of")
    victims.write(tmp_path / "text.zip", {**INDEX, "victims": {"base": "stage"}}, {})
    refused(lambda: victims.read(tmp_path / "text.zip"), "no whole archive")
    victims.write(tmp_path / "none.zip", INDEX, {})
    refused(lambda: victims.read(tmp_path / "none.zip"), "no whole archive", "model.safetensors is")
