"""The page of one's own model says what the files of its runs say, and nothing breaks out of it."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
import torch

from taclean.attacks import make_trigger
from taclean.data.split import Pairs
from taclean.evaluation.evaluate import score
from taclean.evaluation.predictions import examples, moves
from taclean.evaluation.zeroshot import Prompts
from taclean.report.figures.gallery import subcaptions
from taclean.report.inputs import Texts
from taclean.report.page import Model, own_page
from taclean.results.labels import Look
from tests.helpers import refused

CLASSES = ["banana", "a <b>", "kiwi"]


def model(defense: str, hits: list[int], triggered: int) -> Model:
    count = {"hits": sum(hits), "n": 60}
    view = {"target": "banana", "n": 40, "clean": 4, "triggered": triggered, "own": 9}
    recall = {f"{way}@{k}": {"hits": k, "n": 20} for way in ("I2T", "T2I") for k in (1, 5, 10)}
    return Model(
        defense,
        {"splits": {"test": {"CA@1": count, "CA@2": count}, "heldout": recall}},
        {
            "classes": CLASSES, "n": [20, 20, 20], "hits": hits,
            "views": {"dots": {**view, "gains": ["banana", triggered - 4]}},
            "examples": {"clean": "data:,", "dots": "data:image/png;base64,AAAA"},
        },
        {
            "target": "banana", "named": "banana", "score": 7.5, "classes": CLASSES,
            "probes": {"one": {"anomaly": [7.5, -1.0, 0.0]}, "two": {"anomaly": [0.0, 1.0, -2.0]}},
        },
    )  # fmt: skip


LOOK = Look.of({"defenses": {"ours": {"label": "Ours", "colour": "#000000"}}})
MODELS = [model("none", [18, 15, 15], 38), model("ours", [16, 16, 15], 6)]


def row(text: str, start: str) -> list[str]:
    """Return the cells of the table row that starts so, without tags."""
    rows = re.findall(r"<tr>\s*(<td>.*?)</tr>", text, re.DOTALL)
    line = next(row for row in rows if row.startswith(f"<td>{start}<"))
    return [re.sub("<.*?>", "", cell) for cell in re.findall(r"<td>(.*?)</td>", line)]


def test_the_page_says_what_the_files_say() -> None:
    text = own_page(MODELS, LOOK, "RN50", "my <model>.pt", ["test", "heldout"])
    assert row(text, "test, CA@1") == ["test, CA@1", "80.0", "78.3", "60"]
    assert row(text, "dots")[3:] == ["95.0 (+85.0)", "15.0 (+5.0)", "22.5", "22.5", "banana (+34)"]
    assert row(text, "banana") == ["banana", "7.5", "7.5"]  # the scan's, which comes first
    assert row(text, "heldout, picture to text, R@5")[1:] == ["25.0", "25.0", "20"]
    classes = text[text.index("Accuracy of each class") :]
    assert row(classes, "banana") == ["banana", "90.0", "80.0", "-10.0", "20"]
    assert row(classes, "a &lt;b&gt;") == ["a &lt;b&gt;", "75.0", "80.0", "+5.0", "20"]
    assert "1 classes lost, 1 gained" in text
    assert "my &lt;model&gt;.pt" in text
    assert "<b>As it came</b>: clean accuracy 80.0 %;\n optimised patterns reach" in text
    assert "<b>After Ours</b>" in text
    assert "<p>\n<b>This model has a backdoor, by all signs: the trigger dots moves 85.0 %" in text
    assert "After Ours, a trigger still moves 5.0 %, and\n1.7 points of clean accuracy are" in text
    assert set(re.findall('src="(.{5})', text)) == {"data:"}  # one file
    assert "href" not in text


@pytest.mark.parametrize(
    ("triggered", "says"),
    [(5, "No sign of a backdoor, with dots: at most, the trigger"), (10, "Perhaps a backdoor: ")],
)
def test_the_verdict_says_what_is_not_known(triggered: int, says: str) -> None:
    text = own_page([model("none", [18, 15, 15], triggered)], LOOK, "RN50", "x", ["test"])
    assert f"<p>\n<b>{says}" in text


def test_the_page_shows_sub_captions() -> None:
    line = (0, 2, "c2", "p2", "n2", "noun", "a", "b")
    names = ["epoch", "row", "caption", "positive", "negative", "kind", "original", "replacement"]
    account = {"captions": 1, "offers": {}, "shares": {}, "text_only": None}
    texts = Texts(pd.DataFrame([line], columns=names), account)
    gallery = subcaptions(texts, np.zeros((3, 4, 4, 3), np.uint8), "ours", LOOK)
    text = own_page(MODELS, LOOK, "RN50", "x", ["test", "heldout"], gallery)
    assert "Sub-captions that were used" in text
    assert "n2" in text
    assert "Sub-captions" not in own_page(MODELS, LOOK, "RN50", "x", ["test", "heldout"])


def test_moves_are_the_counts_of_the_scores(pairs: Pairs, random_model, monkeypatch) -> None:
    """On a model that tells classes apart a little: hits and ASR are those of the scores."""
    classes = [f"thing {i}" for i in range(40)]
    heads = Prompts("emoji-rn", classes, ["a {}."], "thing 3").heads(random_model)
    trigger = make_trigger("badnet", size=90, place="centre")
    told = moves(pairs, heads, {"dots": (trigger, "", 3)}, "fp32")
    wanted = score(pairs, heads, {"dots": trigger}, "fp32")
    view = told["views"]["dots"]
    assert sum(told["hits"]) == wanted["clean"]["CA@1"]["hits"]
    assert told["n"] == [1] * 40
    assert (view["triggered"], view["n"]) == tuple(wanted["dots"]["ASR@1"].values())
    assert view["own"] == wanted["dots"]["TA@1"]["hits"]
    pictures = examples(pairs, {"dots": (trigger, "", 3)})
    assert pictures["clean"] != pictures["dots"]
    assert all(one.startswith("data:image/png;base64,") for one in pictures.values())
    alone = dataclasses.replace(pairs, rows=pairs.rows[pairs.labels[pairs.rows] == 3])
    says = "each of the 1 images shows 'thing 3', the target of dots"
    refused(lambda: moves(alone, heads, {"dots": (trigger, "", 3)}, "fp32"), says)
    monkeypatch.setattr(Pairs, "classes", ["x"])
    refused(lambda: moves(pairs, heads, {}, "fp32"), "other classes than the run")
    assert torch.is_grad_enabled()
