"""The scan: a model with a short way to a class is told from one without."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from taclean import cli
from taclean.attacks.patch import paste
from taclean.clip import models
from taclean.config.schema import Probe, Scan
from taclean.data.split import Pairs
from taclean.detectors import scan, scan_table
from taclean.results.labels import Look
from taclean.util.errors import UserError

SIZE, CLASSES, TARGET = 32, ["red", "green", "blue", "grey", "white", "black"], 4
CENTRE = Probe(size=70, place="centre")
SETTINGS = Scan(images=24, steps=4, batch=4, lr=0.03, probes={"centre": CENTRE}, clean_seeds=[])


class Linear(nn.Module):
    """Pictures to directions: one each class, one of them in the middle if wanted."""

    def __init__(self, backdoor: bool) -> None:
        super().__init__()
        self.visual = nn.Module()
        self.visual.image_size, self.visual.image_mean = SIZE, [0.5] * 3
        self.visual.image_std = [1] * 3
        generator = torch.Generator().manual_seed(1)
        weights = torch.randn(len(CLASSES), 3 * SIZE * SIZE, generator=generator)
        if backdoor:
            middle = torch.zeros(1, 3, SIZE, SIZE)
            middle[..., 11:21, 11:21] = 1
            weights[TARGET] *= 1 + 5 * middle.flatten()
        self.weights = nn.Parameter(weights)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))
        self.visual.forward = lambda x: x.flatten(1) @ self.weights.T


@pytest.fixture
def pairs(small_split) -> Pairs:
    """64 scenes with labels of the few classes."""
    whole = Pairs.open(small_split)
    return replace(whole, labels=np.arange(len(whole)) % len(CLASSES))


def reached(pairs: Pairs, backdoor: bool, targets=range(6), probe=CENTRE, **more) -> scan.Reached:
    settings = SETTINGS.model_copy(update=more)
    return scan.reach(
        Linear(backdoor), pairs, torch.eye(6), targets, probe, settings, precision="fp32"
    )


def test_the_class_with_a_short_way_stands_out(pairs: Pairs) -> None:
    found, clean = reached(pairs, True), reached(pairs, False)
    assert int(found.anomaly.argmax()) == TARGET
    assert found.anomaly[TARGET] > 2 * clean.anomaly.max()
    assert found.patterns.shape == (6, 3, 10, 10)
    grey = found.patterns * 255
    torch.testing.assert_close(grey, grey.round())
    assert 0 <= grey.min() <= grey.max() <= 255


@pytest.mark.parametrize("probe", [CENTRE, Probe(size=40, place="random"), Probe(film=30)])
def test_patterns_do_not_depend_on_the_other_targets(pairs, probe, monkeypatch) -> None:
    together = reached(pairs, True, probe=probe)
    alone = reached(pairs, True, targets=[TARGET, 1], probe=probe)
    monkeypatch.setattr(scan, "TOGETHER", 4)  # one target at a time
    apart = reached(pairs, True, probe=probe)
    for other, some in ((alone, [TARGET, 1]), (apart, list(range(6)))):
        torch.testing.assert_close(together.patterns[some], other.patterns, atol=1 / 255, rtol=0)
        torch.testing.assert_close(together.margin[some], other.margin, atol=1e-3, rtol=1e-3)


def test_scores_are_of_held_out_pictures_of_other_classes(pairs: Pairs) -> None:
    """One step away from the start, the numbers are those of a plain loop."""
    found = reached(pairs, True, steps=1)
    model = Linear(True)
    chosen = scan.permutation(len(pairs), 0, scan.DRAW)[:24][12:]
    for target in range(6):
        rows = [row for row in chosen if pairs.labels[row] != target]
        images, top = pairs.batch(np.array(rows))[0].float() / 255, torch.full((len(rows),), 11)
        shown = paste(images, found.patterns[target], top, top) - 0.5
        embedded = F.normalize(model.visual(shown)).detach()
        rest = embedded.clone()
        rest[:, target] = -2
        margin = embedded[:, target] - rest.amax(1)
        assert found.margin[target] == pytest.approx(margin.mean().item(), abs=1e-5)
        assert found.asr[target] == pytest.approx((margin > 0).float().mean().item())


def test_anomaly_is_in_deviations_above_the_median() -> None:
    margin = torch.tensor([0.0, 1.0, 2.0, 3.0, 10.0])
    one = scan.Reached(torch.zeros(5, 3, 1, 1), margin, margin)
    torch.testing.assert_close(one.anomaly, (margin - 2) / 1.4826)


def test_a_film_stays_within_its_grey_levels() -> None:
    images, probe = torch.rand(4, 3, 8, 8), Probe(film=16)
    shown = scan.put(probe, images, torch.rand(3, 8, 8), torch.arange(4), 0)
    assert (shown - images).abs().max() <= 16 / 255 + 1e-6
    assert 0 <= shown.min() <= shown.max() <= 1
    same = scan.put(probe, images, torch.full((3, 8, 8), 0.5), torch.arange(4), 0)
    torch.testing.assert_close(same, images)


def test_too_few_pictures_are_told(pairs: Pairs) -> None:
    with pytest.raises(UserError, match=r"scan.images: 100, but .* has 64; lower it"):
        reached(pairs, True, images=100)


def test_check_scans_and_keeps_the_patterns(tmp_path, random_model, split, capsys) -> None:
    files = ("model.safetensors", "out.json", "patterns.safetensors", "small.yaml")
    path, out, patterns, overlay = (tmp_path / name for name in files)
    models.save_weights(random_model, path)
    probes = {"centre": {"size": 42}, "corner": None, "film": {"film": 9}}
    small = {"steps": 1, "images": 8, "batch": 2, "probes": probes}
    model = {"model": {"name": "emoji-rn"}, "data": {"image_size": 64}}
    overlay.write_text(json.dumps(model | {"scan": small}))
    arguments = ["check", "--checkpoint", path, "--test", split, "--configfile", overlay, "--scan"]
    names = ["banana", "lemon", "ice cream"]
    more = ["--targets", *names, "--out", out, "--patterns", patterns]
    cli.main([*map(str, arguments), *map(str, more)])
    told = json.loads(out.read_text())["scan"]
    assert told["classes"] == names
    assert set(told["probes"]) == {"centre", "film"}
    assert f"scan: most easily reached: {told['named']} (" in capsys.readouterr().out
    read = scan.read_patterns(patterns, {"centre": {"size": 42}, "film": {"film": 9}}, 0)
    assert {name for _, name in read} == {"banana", told["named"]}
    images = Pairs.open(split).batch(np.arange(3))[0]
    on = read["centre", "banana"](images, np.arange(3))
    changed = (on != images).any(1)
    assert on.dtype == torch.uint8
    assert changed[:, 26:38, 26:38].float().mean() > 0.9
    assert not changed[:, :26].any()
    film = read["film", "banana"](images, np.arange(3)).int() - images.int()
    assert 0 < film.abs().max() <= 9
    with pytest.raises(UserError, match="'centre' is no probe of this run"):
        scan.read_patterns(patterns, {"film": {}}, 0)
    with pytest.raises(SystemExit):
        cli.main([*map(str, arguments), "--targets", "banana", "nothing", "lemon"])
    assert "scan.targets: 'nothing' is unknown" in capsys.readouterr().err


def test_the_table_counts_auc_and_misses_as_they_are(tmp_path) -> None:
    paths, runs = [], []
    for attack, seed, named, scores in (
        ("badnet", 0, "banana", [9.0, 1, 1]), ("blended", 0, "lemon", [1.0, 3, 1]),
        ("clean", 1, "kiwi", [0.0, 1, 4]), ("clean", 2, "lemon", [0.0, 2, 1]),
    ):  # fmt: skip
        patch = {"anomaly": scores, "margin": [score / 10 - 0.3 for score in scores]}
        film = {"anomaly": [0.0, 0.1, 0.2], "margin": [-1.0, -1.0, -1.0]}
        told = {"target": "banana", "named": named, "score": max(scores)}
        told |= {"classes": ["banana", "lemon", "kiwi"], "probes": {"patch": patch, "film": film}}
        paths.append(tmp_path / f"{attack}{seed}.json")
        paths[-1].write_text(json.dumps(told))
        runs.append({"attack": attack, "defense": "none", "seed": seed})
    table = scan_table.read_scans(paths, runs)
    assert table["rank"].tolist() == [1, 2, 3, 3]
    look = Look.of({"attacks": {"badnet": {"label": "BadNet"}, "blended": {"label": "Blended"}}})
    text = scan_table.markdown(table, look)
    assert table["margin"].tolist() == pytest.approx([0.6, 0.0, 0.1, -0.1])
    assert "2 poisoned against 2 clean models: **0.75**. AUC of the margin: 0.75." in text
    assert "not above the highest clean score (4.0): Blended (seed 0)." in text
    assert "named in 1 of 2 poisoned models" in text
    assert "another class is named: Blended (seed 0)." in text
    assert "| Never poisoned | 1 | kiwi | 4.0 | +0.10 | – |" in re.sub(" +", " ", text)
    assert len(table) == 4


def test_scanned_takes_the_easiest_probe() -> None:
    one, two = torch.tensor([0.0, 1, 2, 30]), torch.tensor([0.0, 90, 2, 3])
    parts = {n: scan.Reached(torch.zeros(4, 3, 1, 1), m, m) for n, m in (("a", one), ("b", two))}
    found = scan.Scanned(["w", "x", "y", "z"], "z", parts)
    assert found.named == 1
    assert "x (" in found.line().split(",")[0]
    assert found.line().endswith("z is number 2 of 4")
