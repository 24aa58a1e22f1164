"""Detectors of poisoned rows and triggered pictures: each against its formula, then the stage."""

import itertools
import json
import math
from collections import UserDict
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from taclean import cli
from taclean import config as configs
from taclean.attacks import make_trigger, poison
from taclean.clip import models
from taclean.data.split import Pairs
from taclean.detectors import Seen, detection_table, make_detector, neighbours, roc
from taclean.detectors.detection import POISONED, Suspects, counts
from taclean.evaluation.zeroshot import Prompts, head, prompt_tokens
from taclean.results.labels import Look
from taclean.runs import Runs
from taclean.stages import stage_config
from taclean.util.files import write_json
from taclean.util.rng import permutation
from tests.helpers import ROOT, refused

CLASSES = ["banana", "dog", "piano", "rose", "whale"]
SMALL = configs.read(configs.DEFAULT, ROOT / "config/test/smoke.yaml")
SMALL |= {"detect": {"rows": 20, "images": 8}}
SMALL["poison"] = configs.merge(SMALL["poison"], {"rows": 30, "train": {"batch": 8}})
MORE = {"kdist_few": {"kind": "kdist", "score": {"k": 3}}, "mine": {"kind": "slof", "label": "My"}}
CONFIG = configs.check(configs.resolve(configs.merge(SMALL, {"detectors": MORE})))
STAGE = stage_config(CONFIG, "detect/badnet/seed3")


def test_auroc_and_false_positives_are_those_of_the_definition() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        positive, negative = generator.integers(0, 12, 23) + 2, generator.integers(0, 12, 31)
        wins = [(p > n) + (p == n) / 2 for p in positive for n in negative]
        assert roc.auc(positive, negative) == pytest.approx(np.mean(wins))
        least = max(t for t in range(15) if np.mean(positive >= t) >= 0.95)
        assert roc.false_positives(positive, negative) == np.mean(negative >= least)
    refused(lambda: counts(np.arange(3), np.zeros(3)), "0 poisoned and 3 clean", "raise")


def means(pictures: torch.Tensor) -> torch.Tensor:
    """A model of pictures (B, 3, H, W): the direction of the mean of each channel."""
    return F.normalize(pictures.float().mean((2, 3)))


@pytest.fixture
def seen() -> Seen:
    torch.manual_seed(0)
    images, texts = F.normalize(torch.randn(40, 6)), F.normalize(torch.randn(40, 6))
    pictures, trusted = torch.randint(0, 256, (49, 3, 4, 4), dtype=torch.uint8).split([40, 9])
    heads = UserDict({"": F.normalize(torch.randn(5, 3))})
    heads.model = SimpleNamespace(logit_scale=torch.tensor(1.5))
    return Seen(pictures, images, texts, trusted, heads, means, seed=3)


def test_detectors_of_rows_are_their_formulas(seen: Seen) -> None:
    images, k = seen.images.double(), 5
    apart = [[(math.dist(a, b), j) for j, b in enumerate(images)] for a in images]
    near = [sorted(others)[1 : k + 1] for others in apart]  # the first is the row itself
    furthest = [others[-1][0] for others in near]
    dimension = [-k / sum(math.log(r / others[-1][0]) for r, _ in others) for others in near]
    ratios = [[(furthest[i] / furthest[j], j) for _, j in near[i]] for i in range(40)]
    wanted = {
        "kdist": furthest,
        "slof": [sum(ratio for ratio, _ in row) / k for row in ratios],
        "dao": [sum(dimension[j] * math.log(ratio) for ratio, j in row) / k for row in ratios],
        "clip_score": [1 - float(a @ b) for a, b in zip(seen.images, seen.texts, strict=True)],
    }
    for name, values in wanted.items():
        found = make_detector(name, {} if name == "clip_score" else {"k": k}).score(seen)
        torch.testing.assert_close(found, torch.tensor(values), rtol=1e-4, atol=1e-5)
        copies = replace(seen, images=seen.images[[0, 1] * 20])
        assert make_detector(name, {}).score(copies).isfinite().all()


def test_strip_is_the_mean_entropy_of_sums(seen: Seen) -> None:
    overlays, wanted = seen.trusted[permutation(9, 3, 0xDE7)[:4]].int(), []
    for picture in seen.pictures.int():
        both = means((picture + overlays).clamp(0, 255))
        p = (math.exp(1.5) * both @ seen.heads[""].T).softmax(1)
        wanted.append(float((p * p.log2()).sum() / 4))
    found = make_detector("strip", {"overlays": 4}).score(seen)
    torch.testing.assert_close(found, torch.tensor(wanted), rtol=1e-4, atol=1e-5)


def test_bdetclip_is_the_contrast_of_true_and_changed_prompts(seen, random_model) -> None:
    method, templates = make_detector("bdetclip", {"names": 2}), ["a picture of a {}.", "a {}."]
    changed = method.changed(CLASSES)
    assert method.changed([*"abcdefghi"])[6:8] == ["g, a, d", "h, b, e"]
    heads = Prompts("emoji-rn", CLASSES, templates, "banana").heads(random_model)
    images = F.normalize(torch.randn(3, heads[""].shape[1]))
    tokens = [prompt_tokens("emoji-rn", names, templates) for names in (CLASSES, changed)]
    true, other = (head(random_model, some) for some in tokens)
    wanted = [sum(float(x @ other[c]) - float(x @ true[c]) for c in range(5)) for x in images]
    found = method.score(replace(seen, images=images, heads=heads))
    assert found.tolist() == pytest.approx(wanted, abs=1e-4)


@pytest.fixture
def poisoned(tmp_path, split, tokenize) -> Pairs:
    """30 of 40 scenes: 6 with the trigger and 3 that were changed without it."""
    pairs, put = poison.taken(Pairs.open(split), STAGE), make_trigger("badnet", 3)
    with_trigger = poison.Change(np.arange(6), ["a banana."] * 6, put)
    changes = [with_trigger, poison.Change(np.arange(9, 12), ["a dog."] * 3, None)]
    poison.write(tmp_path / "poison", pairs, changes, tokenize, name="badnet", seed=3)
    return poison.apply(pairs, tmp_path / "poison")


def test_rows_and_pictures_are_drawn_with_their_shares(tmp_path, poisoned, pairs) -> None:
    for count, wanted in ((20, [14, 4, 2]), (99, [21, 6, 3])):
        some = Suspects.of_training(poisoned, tmp_path / "poison", "badnet", count, 0)
        assert np.bincount(some.state).tolist() == wanted
        positions = np.searchsorted(poisoned.rows, some.rows)
        assert torch.equal(some.pictures, poisoned.batch(positions)[0])
        assert positions[some.state == POISONED].max() < 6
    put = make_trigger("badnet", 3)
    some = Suspects.of_test(pairs, put, 0, 40, 0)
    assert some.rows.tolist() == [*range(40), *range(1, 40)]  # row 0 shows the target
    triggered = put(pairs.batch(some.rows[40:])[0], pairs.ids[some.rows[40:]])
    assert torch.equal(some.pictures, torch.cat([pairs.batch(np.arange(40))[0], triggered]))


def test_the_stage_counts_what_each_model_finds(
    tmp_path, split, poisoned, random_model, monkeypatch, capsys
) -> None:
    models.save_weights(random_model, tmp_path / "model.safetensors")
    options = dict.fromkeys(("--data", "--val", "--test"), split)
    options |= dict.fromkeys(("--model", "--clean"), tmp_path / "model.safetensors")
    options |= {"--poison": tmp_path / "poison", "--config": tmp_path / "stage.json"}

    def detect(name: str, stage=STAGE) -> list[bytes]:
        files = {"--out": tmp_path / f"{name}.json", "--scores": tmp_path / f"{name}.npz"}
        write_json(tmp_path / "stage.json", stage)
        cli.main(["detect", *(str(part) for item in (options | files).items() for part in item)])
        return [file.read_bytes() for file in files.values()]

    first = detect("first")
    monkeypatch.setattr(neighbours, "CHUNK", 3)
    assert detect("second") == first
    found = json.loads(first[0])["found"]
    victim, clean = ({one.pop("detector"): one for one in part} for part in (found[:8], found[8:]))
    assert set(victim) == set(STAGE["detectors"])
    assert [STAGE["detectors"][name]["parameters"] for name in MORE] == [{"k": 3}, {"k": 16}]
    assert [Runs(CONFIG).detectors[name] for name in MORE] == ["k-dist few", "My"]
    with np.load(tmp_path / "first.npz") as arrays:
        for name, one in clean.items():
            assert one == {**one, **counts(arrays[f"clean/{name}"], arrays[f"{one['of']}/state"])}
            assert victim[name] == {**one, "model": "victim"}
    assert [victim["dao"][key] for key in ("of", "poisoned", "clean")] == ["rows", 4, 14]
    assert "badnet, victim model, rows: kdist_few AUROC" in capsys.readouterr().out
    own = "from taclean.detectors import Detector\nclass A(Detector):\n    nan: bool = False\n"
    own += "    def score(self, seen): return seen.images.log().sum(1) if self.nan else seen"
    (tmp_path / "own.py").write_text(own, "utf-8")
    for kind, given, says in (
        ("dao", {"k": 20}, "k is 20, but only 20 rows are scored; lower it"),
        (str(tmp_path / "own.py"), {}, "detector x: it gives Seen; give a tensor (20,)"),
        (str(tmp_path / "own.py"), {"nan": True}, "detector x: a score is not a number"),
    ):
        with pytest.raises(SystemExit):
            detect("third", STAGE | {"detectors": {"x": {"kind": kind, "parameters": given}}})
        assert says in capsys.readouterr().err


@pytest.mark.parametrize(("seeds", "cell"), [(1, "50.0 / 9.0"), (3, "51.0 ± 2.5 / 9.0 ± 0.0")])
def test_the_table_has_intervals_over_three_seeds_at_least(tmp_path, seeds, cell) -> None:
    look = Look.of({"attacks": {"badnet": {"label": "BadNet"}, "ssba": {}}})
    one = {"detector": "x", "of": "rows", "fpr95": 9, "poisoned": 10, "clean": 1990}
    for attack, seed in itertools.product(("ssba", "badnet"), range(seeds)):
        found = [{**one, "model": model, "auroc": 50 + seed} for model in ("victim", "clean")]
        told = {"attack": attack, "seed": seed, "found": found}
        write_json(tmp_path / f"{attack}{seed}.json", told)
    table = detection_table.read_detections(sorted(tmp_path.iterdir()), {"x": "My own"})
    text = detection_table.markdown(table[::-1], look)
    rows = [[part.strip() for part in line.split("|")[1:-1]] for line in text.splitlines()]
    assert rows[2:4] == [["My own", "rows", of, cell, cell] for of in ("victim", "never poisoned")]
    assert ("over 3 seeds" in text) == (seeds == 3)
    assert "10 poisoned and 1,990 clean rows of the training set." in text
