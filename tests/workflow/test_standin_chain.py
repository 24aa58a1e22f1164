"""The paper's chain on generated stand-ins, from the files to the table, in its short form."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import pytest

from taclean.clip import models
from taclean.data.pack import pack_rows
from taclean.data.readers import load_table, make_reader
from taclean.data.split import Pairs
from tests.helpers import ROOT, jobs, snakemake
from tools import standin

FILES = [str(ROOT / "config/standin.yaml"), str(ROOT / "config/test/standin.yaml")]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the short form has run."""
    folder = tmp_path_factory.mktemp("standin")
    standin.main(["--out", str(folder / "standin"), "--shards", "3", "--per-shard", "60"])
    snakemake(folder, "all", files=FILES)
    return folder


@pytest.mark.slow
def test_the_account_of_broken_samples_is_exact(done: Path) -> None:
    data = done / "data/standin"
    truth = json.loads((done / "standin/pairs/truth.json").read_text("utf-8"))
    broken = {key for keys in truth["broken"].values() for key in keys}
    table = load_table(data / "index/pairs.parquet")
    assert len(table) == truth["samples"]
    rows, packed, found = [], 0, 0
    for split, count in (("pretrain", 80), ("clean", 48)):
        account = json.loads((data / split / "account.json").read_text("utf-8"))
        assert account["packed"] == count == len(Pairs.open(data / split))
        assert account["read"] == count + sum(account["broken"].values())
        packed, found = packed + account["packed"], found + sum(account["broken"].values())
        rows.append(pd.read_csv(data / split / "rows.csv", dtype={"key": str}))
    listed = pd.concat(rows)
    assert packed == len(listed) == listed["id"].nunique()  # no row is in two splits
    assert not set(listed["key"]) & broken
    assert 0 < found <= len(broken)
    reader = make_reader({"reader": "webdataset"}, done / "standin/pairs")
    how = {"size": 64, "tokenize": partial(models.tokenize, "emoji-rn"), "max_broken": 1.0}
    everything = pack_rows(done / "everything", reader, table, **how)
    assert everything["packed"] == truth["usable"]
    assert {k: n for k, n in everything["broken"].items() if n} == truth["packed_as"]


@pytest.mark.slow
def test_the_table_has_a_thousand_classes_and_every_run(done: Path) -> None:
    table = pd.read_csv(done / "results/table.csv")
    own = table[(table.attack == "badclip") & (table.split == "test")]
    assert set(own.defense) == {"none", "ft", "cleanclip", "taclean"}
    val, test = (Pairs.open(done / "data/standin" / name).labels for name in ("val", "test"))
    assert np.array_equal(np.sort(np.concatenate([val, test])), np.arange(1000))
    assert set(own[own.metric == "CA@1"].n) == {980}
    bananas = np.count_nonzero(test == open_clip.IMAGENET_CLASSNAMES.index("banana"))
    assert set(own[own.metric == "ASR@1"].n) == {980 - bananas}
    assert (done / "results/figures/asr_ca.pdf").stat().st_size > 1000


def test_the_whole_paper_is_planned_offline(tmp_path: Path) -> None:
    found = jobs(snakemake(tmp_path, "-n", "all", files=[ROOT / "config/paper.yaml"]))
    assert found["pretrain"] == 18  # six attacks, three seeds
    assert found["finetune"] == 54  # three defences
    assert found["evaluate"] == 75
    assert {"fetch", "index", "imported", "text", "trigger"} <= found.keys()


def test_a_checkpoint_of_ones_own_is_cleaned_without_any_attack(tmp_path: Path) -> None:
    target = "results/runs/clean/taclean/seed0/model.safetensors"
    found = jobs(snakemake(tmp_path, "-n", target, text="model: {pretrained: suspicious.pt}\n"))
    assert found["imported"] == found["finetune"] == 1
    assert not {"base", "trigger", "poison", "pretrain"} & found.keys()
