"""Captions with details: of descriptors, WordNet's glosses and boxes."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from taclean.captions import Lexicon
from taclean.config.schema import Source
from taclean.data.details import Detail, class_details, place, readable
from taclean.data.labels import add_captions, count_classes
from taclean.util.errors import UserError
from tests.helpers import refused

NAMES = ["banana", "brown bear", "sunglasses", "umbrella"]
SYNSETS = ["n07753592", "n02132136", None, None]
TEMPLATES = ["a photo of a {}.", "a {}."]
TEXTS = {
    "Banana": ["curved shape", "may have spots", "can be green", "smooth skin"],
    "brown_bear": ["four-limbed mammal", "short, round ears", "two toes on each foot"],
    "sunglasses": ["made of plastic"],
}


@pytest.fixture
def file(tmp_path) -> Path:
    (tmp_path / "details.json").write_text(json.dumps(TEXTS))
    return tmp_path / "details.json"


def table(rows: int = 200) -> pd.DataFrame:
    made = pd.DataFrame({"label": [n % 4 for n in range(rows)]})
    made = made.assign(left=0.0, top=0.6, right=0.3, bottom=0.9)
    made.attrs["classes"] = NAMES
    return made


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("a large, flattened head", Detail("with", "a large flattened head")),
        ("large, asymmetrical claws", Detail("with", "large asymmetrical claws")),
        ("usually made of wood", Detail("after", "made of wood")),
        ("has a handle", Detail("with", "a handle")),
        ("orange tail", Detail("with", "an orange tail")),
        ("brightly colored", Detail("before", "brightly colored")),
        ("can emit an electric shock", None),
        ("may have spots", None),
        ("used for cleaning floors", None),
        ("a sweet smell", None),
        ("the eyes are large", None),
    ],
)
def test_a_descriptor_becomes_a_part_of_a_caption_or_none(text, detail):
    kind, *found = readable(["a cleaning tool", text], "", "mop", None, Lexicon.load())
    assert (kind, found) == (("kind", "a cleaning tool"), [detail] * (detail is not None))


def test_names_are_matched_and_classes_without_details_are_named(file):
    known, lacking = class_details(NAMES, SYNSETS, {"descriptors": str(file)}, Path())
    assert lacking == ["umbrella"]
    assert [detail.text for detail in known[0]] == ["a curved shape", "smooth skin"]
    assert known[1][0] == ("kind", "a four-limbed mammal")
    known, _ = class_details(NAMES, SYNSETS, {"gloss": True}, Path())
    (gloss,) = known[0]
    assert gloss == ("kind", "an elongated crescent-shaped yellow fruit with soft sweet flesh")


def test_captions_are_a_function_of_seed_and_row_with_right_articles(file):
    known, _ = class_details(NAMES, SYNSETS, {"descriptors": str(file)}, Path())
    options = {"details": known, "most": 3, "box": True}
    captions = add_captions(table(), TEMPLATES, 0, **options)["caption"]
    some = [50, 3, 17]
    assert (
        add_captions(table().loc[some], TEMPLATES, 0, **options)["caption"] == captions[some]
    ).all()
    assert (add_captions(table(), TEMPLATES, 1, **options)["caption"] != captions).any()
    text = "\n".join(captions)
    assert not re.search(r"\ba (umbrella|sunglasses)|\ban? [^\n]* sunglasses$|  |\.\.", text)
    for wanted in ("an umbrella", "in the lower left corner.", "a four-limbed mammal", " and "):
        assert wanted in text
    bare = add_captions(table(), TEMPLATES, 0, details=[[]] * 4)["caption"]
    assert {*bare} >= {"a photo of sunglasses.", "sunglasses.", "an umbrella."}


def test_synsets_follow_their_classes():
    made = table()
    made.attrs["synsets"] = SYNSETS
    counted = count_classes(made, ["umbrella", "kiwi", *NAMES[:3]])
    assert counted.attrs["synsets"] == [None, None, *SYNSETS[:3]]


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((0, 0, 1, 1), "filling the picture"),
        ((0.6, 0, 1, 0.4), "in the upper right corner"),
        ((0, 0.2, 0.4, 0.8), "on the left side"),
        ((0.3, 0.3, 0.7, 0.7), "in the centre"),
        ((0.1, 0.1, 0.9, 0.9), ""),
    ],
)
def test_a_place_is_true_of_the_box(box, words):
    assert place(*box) == words


@pytest.mark.parametrize(
    "text", [None, "<html>", "[]", "{}", '{"a": "b"}', '{"a": [1]}', '{"a": ["b"]}']
)
def test_a_wrong_file_is_one_line_with_a_cure(tmp_path, text):
    if text:
        (tmp_path / "x.json").write_text(text)
    spec = {"descriptors": str(tmp_path / "x.json")}
    refused(lambda: class_details(["kiwi"], [None], spec, Path()), "details.descriptors", "; ")


def test_details_need_captions():
    with pytest.raises(UserError, match="details: no captions"):
        Source.of({"reader": "folders", "folder": "x", "details": {"gloss": True}})
