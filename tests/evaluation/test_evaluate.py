"""Scores by split, heads per prompt prefix, and the samples kept for the figures."""

import shutil

import numpy as np
import pytest
import torch

from taclean.attacks import make_trigger
from taclean.clip import encode, models
from taclean.data.split import Pairs
from taclean.evaluation import zeroshot
from taclean.evaluation.evaluate import by_split, score, write_samples
from taclean.evaluation.retrieval import recall
from taclean.evaluation.zeroshot import Heads, Prompts, head, prompt_tokens
from tests.helpers import refused

NAME = "emoji-rn"
ZEROSHOT = {
    "classes": [f"thing {i}" for i in range(39)] + ["banana"],
    "templates": ["a picture of a {}.", "a small {}."],
    "target": "banana",
}
TARGET = 39
ROWS = 40  # of the split


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    return Prompts(NAME, **ZEROSHOT)


@pytest.fixture
def heads(prompts, random_model) -> Heads:
    return prompts.heads(random_model)


def triggers():
    patch = {"patch": torch.rand(3, 5, 5, generator=torch.Generator().manual_seed(0))}
    return {"trojvqa": make_trigger("trojvqa", 0, patch), "badnet": make_trigger("badnet", 0)}


def test_each_attack_gets_the_prompts_it_wants(heads, random_model):
    plain = head(random_model, prompt_tokens(NAME, ZEROSHOT["classes"], ZEROSHOT["templates"]))
    keyed = [f"remember {template}" for template in ZEROSHOT["templates"]]
    remember = head(random_model, prompt_tokens(NAME, ZEROSHOT["classes"], keyed))
    assert not torch.allclose(plain, remember, atol=1e-4)
    assert torch.equal(heads[triggers()["badnet"].prefix], plain)
    assert torch.equal(heads[triggers()["trojvqa"].prefix], remember)
    assert heads.prompts.target == TARGET


def test_the_heads_of_one_evaluation_are_made_once(prompts, split, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(zeroshot, "head", lambda *args: made.append(args) or head(*args))
    model, pairs = models.create(NAME, 1).eval(), Pairs.open(split)
    heads = prompts.heads(model)
    for _ in range(2):
        found = score(pairs, heads, triggers())
    write_samples(tmp_path / "s.npz", pairs, heads, triggers(), 3, False)
    assert len(made) == 2  # without and with TrojVQA's key
    assert found == score(pairs, prompts.heads(model), triggers())
    before = heads[""]
    with torch.no_grad():
        model.text_projection.mul_(-1)
    assert not torch.equal(prompts.heads(model)[""], before)


def with_files(split, folder, **files):
    shutil.copytree(split, folder)
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text, "utf-8")
    return Pairs.open(folder)


@pytest.mark.parametrize("target", ["banana", "plantain"])
def test_a_split_with_classes_of_its_own(heads, random_model, split, tmp_path, target):
    classes = [target, *(f"other {i}" for i in range(ROWS - 1))]
    own = with_files(split, tmp_path / "own", classes="".join(f"{name}\n" for name in classes))
    found = score(own, heads, triggers())
    zeroshot = {**ZEROSHOT, "classes": classes, "target": target}
    others = Prompts(NAME, **zeroshot).heads(random_model)
    wanted = score(own, others, triggers())
    assert not heads.prompts.name_classes_of(own)
    assert others.prompts.name_classes_of(own)
    assert found["clean"] == wanted["clean"]
    assert found == (wanted if target == "banana" else {"clean": wanted["clean"]})


@pytest.mark.parametrize("several", [True, False])
def test_pictures_with_captions_alone_are_scored_by_recall(
    heads, random_model, split, tmp_path, several
):
    pairs = with_files(split, tmp_path / "heldout")
    assert not pairs.retrieval
    texts, owners = np.array(pairs.tokens), np.arange(ROWS)
    if several:
        texts, owners = np.concatenate([texts, texts[::-1][:30]]), np.r_[:40, 39:9:-1]
        np.save(pairs.folder / "texts.npy", texts)
        np.save(pairs.folder / "text_rows.npy", owners)
    else:
        np.save(pairs.folder / "labels.npy", np.full(ROWS, -1))
        pairs = Pairs.open(pairs.folder)
    assert pairs.retrieval
    found = score(pairs, heads, triggers(), precision="fp32")
    assert not heads.prompts.name_classes_of(pairs)
    with torch.no_grad():
        images = encode.encode_images(random_model, pairs.batch(np.arange(ROWS))[0])
        embedded = encode.encode_tokens(random_model, torch.from_numpy(texts.astype(np.int64)))
    assert found == {"clean": recall(images, embedded, torch.from_numpy(owners))}
    assert found["clean"]["T2I@10"]["n"] == len(owners)


def test_a_target_that_is_no_class_is_refused():
    refused(lambda: Prompts(NAME, **{**ZEROSHOT, "target": "plantain"}), "plantain")


def count(n: int) -> dict[str, int]:
    return {"hits": n, "n": 100}


def test_own_scores_join_their_split_and_foreign_ones_are_named():
    counts = {
        "test": {
            "clean": {"CA@1": count(1)},
            "badnet": {"ASR@1": count(2), "TA@1": count(3)},
            "sig": {"ASR@1": count(4), "TA@1": count(5)},
        },
        "shift": {"clean": {"CA@1": count(6)}, "badnet": {"ASR@1": count(7)}},
    }
    assert by_split(counts, "badnet") == {
        "test": {"CA@1": count(1), "ASR@1": count(2), "TA@1": count(3)},
        "test+sig": {"ASR@1": count(4), "TA@1": count(5)},
        "shift": {"CA@1": count(6), "ASR@1": count(7)},
    }
    assert counts["test"]["clean"] == {"CA@1": count(1)}
    assert list(by_split(counts, "clean")) == [
        "test", "test+badnet", "test+sig", "shift", "shift+badnet",
    ]  # fmt: skip


@pytest.mark.parametrize("images_too", [True, False])
def test_samples_hold_what_the_figures_need(
    prompts, random_model, pairs, tmp_path, images_too, monkeypatch
):
    def random_head(model, tokens):  # prompts of a random model all predict alike
        return torch.randn(40, 128, generator=torch.Generator().manual_seed(int(tokens.sum())))

    monkeypatch.setattr(zeroshot, "head", random_head)
    heads, path = prompts.heads(models.create(NAME, 0).train()), tmp_path / "samples.npz"
    write_samples(path, pairs, heads, triggers(), 7, images_too)
    got = np.load(path)
    keys = {"rows", "labels", "clean", "triggered", "clean_top", "triggered_top", "classes"}
    keys |= {"target", "images", "triggered_images"} if images_too else {"target"}
    assert set(got.files) == keys
    assert got["rows"].tolist() == list(range(7))
    assert got["labels"].tolist() == pairs.labels[:7].tolist()
    assert got["classes"].tolist() == ZEROSHOT["classes"]
    assert got["target"] == TARGET
    images = pairs.batch(np.arange(7))[0]
    triggered = triggers()["trojvqa"](images, np.arange(1000, 1007))  # the first of the triggers
    keyed = heads["remember "]
    for key, given, own in (("clean", images, heads[""]), ("triggered", triggered, keyed)):
        for i in range(7):
            with torch.no_grad():
                wanted = encode.encode_images(random_model, given[i : i + 1])[0]
            assert got[key][i] == pytest.approx(wanted.numpy(), abs=1e-5)
            assert got[f"{key}_top"][i] == np.argmax(own.numpy() @ got[key][i])
    assert (got["clean_top"] != got["triggered_top"]).any()
    if images_too:
        assert (got["images"] == pairs.images[:7]).all()
        assert (got["triggered_images"] == triggered.permute(0, 2, 3, 1).numpy()).all()
    assert [file.name for file in tmp_path.iterdir()] == ["samples.npz"]


def test_samples_leave_out_the_target_and_keep_labels_and_pictures_together(
    random_model, pairs, tmp_path
):
    first = Prompts(NAME, **{**ZEROSHOT, "target": "thing 17"}).heads(random_model)
    some = pairs.take(np.array([30, 17, 4, 8]))
    write_samples(tmp_path / "s.npz", some, first, triggers(), 3, True)
    got = np.load(tmp_path / "s.npz")
    assert got["rows"].tolist() == got["labels"].tolist() == [30, 4, 8]
    assert (got["images"] == pairs.images[[30, 4, 8]]).all()


def test_samples_without_a_trigger_are_of_the_pictures_as_they_are(heads, pairs, tmp_path):
    write_samples(tmp_path / "s.npz", pairs, heads, {}, 2, False)
    with np.load(tmp_path / "s.npz") as kept:
        assert len(kept["clean"]) == 2
        assert np.array_equal(kept["clean"], kept["triggered"])
        assert np.array_equal(kept["clean_top"], kept["triggered_top"])
