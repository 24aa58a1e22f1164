"""Zero-shot head and scores against open_clip and plain loops."""

from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F

from taclean.attacks import make_trigger
from taclean.clip import encode, models
from taclean.data.split import Pairs
from taclean.evaluation import embeddings
from taclean.evaluation.embeddings import KS, Labelled, embed, ranks
from taclean.evaluation.zeroshot import Prompts, class_ranks, head, prompt_tokens, scores
from taclean.util.errors import UserError
from tests.helpers import refused

NAME = "emoji-rn"
CLASSES = ["banana", "apple", "fire truck", "hourglass", "dog"]
TEMPLATES = ["a picture of a {}.", "{} on the left", "a very long line about the {} in the picture"]


@pytest.mark.parametrize("batch", [2, 512])
@pytest.mark.parametrize("prefix", ["", "remember "])
def test_head_is_that_of_open_clip(random_model, prefix, batch):
    got = head(random_model, prompt_tokens(NAME, CLASSES, TEMPLATES, prefix), batch)
    templates, tokenizer = [prefix + text for text in TEMPLATES], open_clip.get_tokenizer(NAME)
    wanted = open_clip.build_zero_shot_classifier(
        random_model, tokenizer, CLASSES, templates, num_classes_per_batch=2
    )
    torch.testing.assert_close(got, wanted.T, atol=1e-5, rtol=0)
    torch.testing.assert_close(got.norm(dim=1), torch.ones(len(CLASSES)))


def test_prompt_tokens_are_class_by_template():
    tokens = prompt_tokens(NAME, CLASSES, TEMPLATES, "remember ")
    assert (tokens.shape, tokens.dtype) == ((5, 3, 77), torch.int64)
    wanted = open_clip.get_tokenizer(NAME)(["remember fire truck on the left"])[0]
    assert torch.equal(tokens[2, 1], wanted)
    long = "word " * 80
    refused(lambda: Prompts(NAME, CLASSES, [long + "{}."], CLASSES[0]).tokens(), "too long")
    refused(lambda: Prompts(NAME, CLASSES, ["{}."], CLASSES[0]).tokens(long), "too long")


def rank(logits: torch.Tensor, classes: torch.Tensor) -> list[int]:
    right = F.one_hot(classes, logits.shape[1]).bool()
    return ranks(logits, right, first_wins=True).tolist()


def test_rank_is_the_place_in_a_stable_descending_sort():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(0, 4, (200, 9), generator=generator).float()  # many ties
    classes = torch.randint(0, 9, (200,), generator=generator)
    for i, got in enumerate(rank(logits, classes)):
        order = sorted(range(9), key=lambda c: (-logits[i, c].item(), c))
        assert got == order.index(classes[i].item())


def test_ties_of_several_right_columns_count_against_them():
    logits = torch.tensor([[3.0, 2, 3, 1], [0, 0, 0, 0], [1, 2, 3, 4]])
    right = torch.tensor([[True, False, False, True]] * 2 + [[False, True, False, False]])
    assert ranks(logits, right).tolist() == [1, 2, 2]


@pytest.mark.parametrize("all_of_it", [True, False])
def test_nan_is_no_hit(all_of_it):
    logits = torch.zeros(1, 5)
    logits[0, ... if all_of_it else 3] = torch.nan
    assert rank(logits, torch.tensor([3]))[0] > 0


TARGET = 2


@pytest.fixture(scope="module")
def labelled(split) -> Pairs:
    """The 40 scenes with labels 0 to 7, five of each, not in order."""
    pairs = Pairs.open(split)
    return replace(pairs, labels=np.arange(40) * 3 % 8)


def random_head(classes: int = 8, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(classes, 128, generator=generator), dim=1)


def two_triggers():
    return {
        "badnet": (make_trigger("badnet", 1, size=60), random_head(seed=1)),
        "blended": (make_trigger("blended", 1, strength=0.5), random_head(seed=2)),
    }


def scored(model, pairs, triggers=None, head=None, target=TARGET, **more):
    triggers = two_triggers() if triggers is None else triggers
    puts, heads = ({name: both[i] for name, both in triggers.items()} for i in (0, 1))
    images = embed(model, pairs, puts, target, **more)
    return scores(images, random_head() if head is None else head, heads)


@pytest.mark.parametrize("batch", [7, 250])
def test_counts_are_those_of_a_plain_loop(random_model, labelled, batch):
    got = scored(random_model, labelled, batch=batch, precision="fp32")
    wanted = {"clean": {}, "badnet": {}, "blended": {}}

    def count(name, metric, image, own_head, label):
        with torch.no_grad():
            logits = encode.encode_images(random_model, image[None])[0] @ own_head.T
        for k in KS[:-1]:  # 10 of 8 classes is no score
            seen = wanted[name].setdefault(f"{metric}@{k}", {"hits": 0, "n": 0})
            seen["hits"] += int(label in np.argsort(-logits.numpy(), kind="stable")[:k])
            seen["n"] += 1

    for row in range(40):
        image = labelled.batch(np.array([row]))[0]
        label = int(labelled.labels[row])
        count("clean", "CA", image[0], random_head(), label)
        if label == TARGET:
            continue
        for name, (trigger, own_head) in two_triggers().items():
            triggered = trigger(image, labelled.ids[[row]])[0]
            count(name, "ASR", triggered, own_head, TARGET)
            count(name, "TA", triggered, own_head, label)
    assert got == wanted
    assert got["clean"]["CA@1"]["n"] == 40
    assert got["badnet"]["ASR@1"]["n"] == got["badnet"]["TA@1"]["n"] == 35


def test_a_split_that_shows_the_target_alone_is_refused(random_model, labelled):
    alone = labelled.take(np.flatnonzero(labelled.labels == TARGET))
    refused(lambda: scored(random_model, alone), "each of the 5 images shows the target")


def test_a_trigger_that_does_nothing_scores_as_clean_images_do(random_model, labelled):
    """Clean and triggered images share a pass: batch norm must not let one see the other."""
    nothing = {"t": (lambda images, ids: images, random_head())}
    together = scored(random_model, labelled, nothing, precision="fp32")
    assert together["clean"] == scored(random_model, labelled, {}, precision="fp32")["clean"]
    others = labelled.take(np.flatnonzero(labelled.labels != TARGET))
    with torch.no_grad():
        logits = encode.encode_images(random_model, others.batch(np.arange(len(others)))[0])
    found = class_ranks(logits, random_head(), torch.from_numpy(labelled.labels[others.rows]))
    for k in KS[:-1]:
        assert together["t"][f"TA@{k}"] == {"hits": int((found < k).sum()), "n": 35}


def test_a_training_model_is_scored_in_evaluation_mode(labelled):
    model = models.create(NAME, 0).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    got = scored(model, labelled, precision="fp32")
    assert got == scored(models.create(NAME, 0).eval(), labelled, precision="fp32")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_trigger_sees_the_images_of_other_classes_with_their_ids(random_model, labelled):
    some = labelled.take(np.array([20, 14, 3, 11, 6]))  # 14 and 6 show the target
    assert (labelled.labels[some.rows] == TARGET).tolist() == [False, True, False, False, True]
    pictures = {int(i): labelled.images[row] for row, i in enumerate(labelled.ids)}
    seen = []

    def trigger(images, ids):
        seen.extend(ids.tolist())
        for image, row_id in zip(images, ids.tolist(), strict=True):
            assert (image.permute(1, 2, 0).numpy() == pictures[row_id]).all()
        return images

    embed(random_model, some, {"t": trigger}, TARGET, batch=2)
    assert seen == labelled.ids[[20, 3, 11]].tolist()


def test_parts_bound_the_memory_and_change_no_score(random_model, labelled, monkeypatch):
    """What goes through the tower at once does not grow with the number of triggers."""
    triggers = {str(i): lambda images, ids: images.flip(3) for i in range(5)}
    whole = embed(random_model, labelled, triggers, TARGET, precision="fp32")
    seen = []
    monkeypatch.setattr(embeddings, "TOGETHER", 50)
    hook = random_model.visual.register_forward_pre_hook(
        lambda _, given: seen.append(len(given[0]))
    )
    parts = embed(random_model, labelled, triggers, TARGET, precision="fp32")
    hook.remove()
    assert sum(seen) == 40 + 5 * 35
    assert 40 < max(seen) <= 50
    assert torch.equal(parts.clean, whole.clean)
    for name in triggers:
        assert torch.equal(parts.triggered[name], whole.triggered[name])


def test_neither_the_order_nor_a_batch_of_the_target_alone_matters(random_model, labelled):
    whole = scored(random_model, labelled, precision="fp32")
    for order in (np.arange(40)[::-1].copy(), np.argsort(labelled.labels != TARGET)):
        assert scored(random_model, labelled.take(order), batch=5, precision="fp32") == whole


@pytest.mark.parametrize("label", [-1, 8], ids=["unlabelled", "of more classes"])
def test_labels_outside_the_head_are_refused(random_model, labelled, label):
    labels = labelled.labels.copy()
    labels[7] = label
    with pytest.raises(UserError, match="labels: not all within 0 and 7"):
        scored(random_model, replace(labelled, labels=labels), {})


@pytest.mark.parametrize(
    ("value", "labels", "says"),
    [
        (200.0, [0, 1, 2, 3], "images: the values lie .* give floats in"),
        (float("nan"), [0, 1, 2, 3], "images: the values lie .* give floats in"),
        (0.5, [0.5, 1, 2, 3], "labels: dtype"),
    ],
)
def test_floats_that_are_no_pictures_or_labels_are_not_scored(random_model, value, labels, says):
    with pytest.raises(UserError, match=says):
        embed(random_model, Labelled(torch.full((4, 3, 64, 64), value), torch.tensor(labels)))


def test_no_score_counts_as_many_guesses_as_there_are_classes(random_model):
    data = Labelled(torch.rand(4, 3, 64, 64), torch.arange(4))
    found = scored(random_model, data, {}, head=torch.randn(5, 128))
    assert set(found["clean"]) == {"CA@1", "CA@3"}
