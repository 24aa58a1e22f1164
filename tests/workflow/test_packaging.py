"""The wheel, the sdist, the workflow catalogue, and the workflow as a module of another one."""

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from docs.blocks import reported
from tests.helpers import ROOT, jobs, run

BUILD = "from setuptools import build_meta as b; print(b.build_{}({!r}))"


def tracked() -> list[str]:
    """Return the tracked files of the repository that exist."""
    listed = run("git", "ls-files").stdout.splitlines()
    return [name for name in listed if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist of a copy of the repository, and the wheel built from the sdist."""
    folder = tmp_path_factory.mktemp("build")
    for name in tracked():
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    (folder / "out").mkdir()
    out = str(folder / "out")
    run(sys.executable, "-c", BUILD.format("sdist", out), cwd=folder / "source")
    (sdist,) = (folder / "out").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    run(sys.executable, "-c", BUILD.format("wheel", out), cwd=unpacked)
    (wheel,) = (folder / "out").glob("*.whl")
    return sdist, wheel


def test_the_wheel_holds_the_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = {name for name in tracked() if name.startswith("taclean/")}
    assert names == package | {"taclean/config/config.yaml"}
    assert "taclean/py.typed" in names


def test_the_sdist_holds_the_repository(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {name for name in tracked() if not name.startswith(".g")} - names <= {".ci/run"}


@pytest.mark.slow
def test_the_installed_wheel_works_in_any_folder(built: tuple[Path, Path], tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    run(*pip, "--target", str(site), str(built[1]), cwd=elsewhere)
    taclean, there = (sys.executable, "-m", "taclean"), {"cwd": elsewhere, "source": site}
    assert "STAGE" in run(*taclean, "--help", **there).stdout
    assert '"rows": 1000' in run(*taclean, "config", "pack/val", **there).stdout
    code = """
import random, taclean
from taclean.data.scenes import compose, nouns
from taclean.clip.models import create
from taclean.captions import Lexicon, subcaption
assert taclean.__file__.startswith({site!r}), taclean.__file__
sub = subcaption("A yellow lemon lies on a blue table.", random.Random(0), Lexicon.load())
create("emoji-rn"), compose(range(2), seed=0), nouns("all")
print(sub.positive)
"""
    assert run(sys.executable, "-c", code.format(site=str(site)), **there).stdout.strip()


def test_another_workflow_takes_this_one_as_a_module(tmp_path: Path) -> None:
    """Run the example of docs/python.md."""
    page = (ROOT / "docs/python.md").read_text("utf-8")
    (code,) = re.findall(r"```snakemake\n(.*?)```", page, re.DOTALL)
    (tmp_path / "Snakefile").write_text(code.replace('"taclean/', f'"{ROOT}/'), "utf-8")
    said = run("snakemake", "--dry-run", "--cores", "1", cwd=tmp_path).stdout
    found = jobs(said)
    assert found["paper"] == 1
    assert found["backdoors_finetune"] == 6  # three defences, two attacks
    outputs = [line.split(": ")[1] for line in said.splitlines() if "    output: " in line]
    assert all(text.startswith("backdoors/") for text in outputs if text != "paper.txt")


def test_reported_numbers_have_a_source_and_a_level() -> None:
    table = reported()
    assert len(table) > 100
    keys = ["source", "where", "backbone", "attack", "defense", "metric"]
    assert (table[keys].astype(str) != "").all(axis=None)
    assert table["percent"].between(-100, 100).all()
    assert set(table["seen"]) == {"quoted", "second-hand"}
    assert not table.duplicated(keys).any()


def test_make_clean_keeps_downloads_and_folders_of_the_user(tmp_path: Path) -> None:
    made = "results/table.csv data/cc3m/index/a.parquet data/cc3m/val/ids.npy data/cc3m/text/a"
    kept = "data/cc3m/sources/a.tar data/imagenet/val/a.JPEG data/imagenet/labels.csv"
    for name in f"{made} {kept}".split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    subprocess.run(["make", "-f", ROOT / "Makefile", "clean"], cwd=tmp_path, check=True)
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert files == set(kept.split())
