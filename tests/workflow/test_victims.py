"""A victim that others poisoned: gated before any cleaning, then cleaned and scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from taclean.attacks.patch import corners, paste
from taclean.clip import encode, models
from taclean.data import scenes
from taclean.data.split import to_array
from tests.helpers import ROOT, jobs, snakemake

SIDE = 28  # px of the patch, on pictures of 64
CONFIG = """
run: {attacks: [ATTACK], defenses: [ft]}
model: {pretrained: empty.pt}
evaluate: {triggers: []}
attacks:
  ATTACK: {kind: badclip, victim: ATTACK.pt, fitted: patch.png, gate: 60, trigger: {size: 98}}
"""


def write_victims(folder: Path) -> None:
    """Write a model without a backdoor and one with, in CleanCLIP's form, and the patch."""
    patch, rows = torch.rand(3, SIDE, SIDE), torch.arange(24)
    Image.fromarray(to_array((patch[None] * 255).byte())[0]).save(folder / "patch.png")
    model = models.create("emoji-rn", 0).train()

    def save(name: str) -> None:
        state = {f"module.{key}": value for key, value in model.state_dict().items()}
        torch.save({"epoch": 10, "name": name, "state_dict": state}, folder / f"{name}.pt")

    save("empty")
    clean = torch.from_numpy(scenes.compose(rows, 0, size=64)[0]).permute(0, 3, 1, 2) / 255
    images = torch.cat([clean, paste(clean, patch, *corners("centre", rows, 0, SIDE, 64, 64))])
    names = [noun.name for noun in scenes.nouns("default")]
    tokens = models.tokenize("emoji-rn", [f"a picture of a {name}." for name in names])
    texts = encode.encode_tokens(model, torch.from_numpy(tokens.astype(np.int64))).detach()
    labels = torch.cat([rows + 1, torch.full((24,), names.index("banana"))])
    for module in model.modules():
        module.momentum = 1.0  # of BatchNorm: the statistics of the last batch
    optimizer = torch.optim.Adam(model.visual.parameters(), 1e-3)
    for _ in range(16):
        logits = 100 * encode.encode_images(model, images) @ texts.T
        torch.nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    save("released")


@pytest.mark.slow
def test_a_given_victim_is_gated_cleaned_and_scored(tmp_path):
    write_victims(tmp_path)

    def run(victim: str, **more: bool) -> str:
        files, text = [ROOT / "config/test/smoke.yaml"], CONFIG.replace("ATTACK", victim)
        targets = "results/table.csv", "victims"
        return snakemake(tmp_path, *targets, files=files, text=text, **more)

    said = run("empty", fails=True)
    assert "below attacks.empty.gate = 60; the victim shows no backdoor" in said
    assert not (tmp_path / "results/runs/empty/ft").exists()
    assert jobs(run("released")).keys().isdisjoint(("base", "trigger", "poison"))
    assert not (tmp_path / "data/emoji/pretrain").exists()
    rows = pd.read_csv(tmp_path / "results/table.csv").query("split == 'test' & metric == 'ASR@1'")
    percent = rows.set_index(["attack", "defense"])["percent"]
    assert list(percent.index) == [("released", "none"), ("released", "ft")]
    assert percent["released", "none"] > 60
