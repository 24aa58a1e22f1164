"""Emoji scenes: pure functions of (seed, id), whose captions say only what is drawn."""

import csv
import re
from collections import Counter
from importlib import resources

import numpy as np
import pytest

from taclean.data import scenes
from taclean.util.errors import UserError

N = 600
# How a caption's nouns read, by this file's own lists and not the package's.
AN = {
    "airplane", "ambulance", "american football", "anchor", "ant", "apple", "avocado", "eagle",
    "egg", "eggplant", "elephant", "envelope", "hourglass", "ice cream", "ice skate", "octopus",
    "onion", "orange", "owl", "umbrella",
}  # fmt: skip
UNCOUNTED = {
    "beer", "bread", "broccoli", "cheese", "coffee", "corn", "popcorn", "tea", "wine", "milk",
    "sushi", "spaghetti", "lightning", "bowling",
}  # fmt: skip
PLURAL = {
    "french fries", "glasses", "gloves", "grapes", "headphones", "jeans", "pancakes",
    "scissors", "skis", "socks", "sunglasses",
}  # fmt: skip


def rows(name: str) -> list[dict[str, str]]:
    text = (resources.files("taclean") / "assets/emoji" / name).read_text("utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t"))


CLASSES = {row["class"] for row in rows("classes.tsv")}
NAME = "|".join(sorted(map(re.escape, CLASSES), key=len, reverse=True))
PHRASE = re.compile(rf"\b(an?|some) (?:(small|medium|large) )?({NAME})\b", re.IGNORECASE)
PLACE = re.compile(
    r"\b(at the (?:top|bottom)(?: left| right)?|on the (?:left|right)|in the middle)\b"
)
GROUND = re.compile(r"\ba (\w+)(?: (plain|striped|dotted|checked))? background\b")
RELATION = re.compile(r"\b(above|below|to the left of|to the right of) (it|them)\b")


def described_scenes(second: float, classes: str = "default"):
    ids = range(N) if classes == "default" else range(3 * 281)
    _, captions, _ = scenes.compose(ids, 1, size=8, classes=classes, second=second)
    for scene_id, caption in zip(ids, captions, strict=True):
        yield scenes.scene(scene_id, 1, classes=classes, second=second), caption


@pytest.mark.parametrize("classes", ["default", "all"])
@pytest.mark.parametrize("second", [0.0, 1.0])
def test_the_things_named_are_the_things_drawn_in_that_size(second, classes):
    names = [noun.name for noun in scenes.nouns(classes)]
    sized = 0
    for scene, caption in described_scenes(second, classes):
        assert re.fullmatch(r"[A-Z][^.{]*[^.{ ]\.", caption)
        phrases = PHRASE.findall(caption)
        assert [name.lower() for _, _, name in phrases] == [names[d.label] for d in scene.drawings]
        for (_, size, _), drawing in zip(phrases, scene.drawings, strict=True):
            sized += bool(size)
            assert size in ("", drawing.size), caption
    assert sized > N / 4


@pytest.mark.parametrize("classes", ["default", "all"])
def test_articles_fit_the_word_after_them(classes):
    wrong, seen = set(), Counter()
    for second in (0.0, 1.0):
        for _, caption in described_scenes(second, classes):
            for article, size, name in PHRASE.findall(caption):
                name = name.lower()
                if name in PLURAL or name in UNCOUNTED:
                    wanted = "some"
                else:
                    wanted = "an" if name in AN and not size else "a"
                seen[wanted] += 1
                if article.lower() != wanted:
                    wrong.add(f"{article.lower()} {size} {name}".replace("  ", " "))
    assert min(seen[word] for word in ("a", "an", "some")) > 10
    assert wrong == set()


def test_plural_nouns_take_plural_verbs():
    found = Counter()
    for second in (0.0, 1.0):
        for _, caption in described_scenes(second, "all"):
            for match in re.finditer(rf"({NAME}) (sits?|lies?)\b", caption, re.IGNORECASE):
                many = match[1].lower() in PLURAL
                assert match[2] in (("sit", "lie") if many else ("sits", "lies")), caption
                found[many] += 1
            head = re.search(r"\b(is|are) ", caption)
            if head:
                many = PHRASE.search(caption)[3].lower() in PLURAL
                assert head[1] == ("are" if many else "is"), caption
                found[many] += 1
            if relation := RELATION.search(caption):
                many = PHRASE.search(caption)[3].lower() in PLURAL
                assert relation[2] == ("them" if many else "it"), caption
    assert set(found) == {True, False}
    assert {noun.name for noun in scenes.nouns("all") if noun.plural} == PLURAL & CLASSES


@pytest.mark.parametrize("second", [0.0, 1.0])
def test_places_are_where_the_drawings_are(second):
    seen = Counter()
    for scene, caption in described_scenes(second):
        for place, drawing in zip(PLACE.findall(caption), scene.drawings, strict=False):
            assert place == drawing.place, caption
            x, y = drawing.centre
            assert ("left" in place) == (x < 0.43)
            assert ("right" in place) == (x > 0.57)
            assert ("top" in place) == (y < 0.43)
            assert ("bottom" in place) == (y > 0.57)
            seen[place] += 1
    assert len(seen) == (9 if second == 0 else 4)


def test_relations_are_seen_from_the_main_object():
    seen = Counter()
    for scene, caption in described_scenes(1.0):
        for relation, _ in RELATION.findall(caption):
            (x, y), (x2, y2) = (drawing.centre for drawing in scene.drawings)
            assert {
                "above": y2 < y - 0.1,
                "below": y2 > y + 0.1,
                "to the left of": x2 < x - 0.1,
                "to the right of": x2 > x + 0.1,
            }[relation], caption
            seen[relation] += 1
    assert len(seen) == 4


@pytest.mark.parametrize("second", [0.0, 1.0])
def test_the_ground_is_of_the_colour_and_texture_named(second):
    colours, textures = Counter(), Counter()
    for scene, caption in described_scenes(second):
        match = GROUND.search(caption)
        assert ("background" in caption) == bool(match)
        if match:
            assert match[1] == scene.colour, caption
            assert (match[2] or "plain") == scene.texture, caption
            colours[match[1]] += 1
            textures[match[2]] += 1
    assert len(colours) == len(scenes.COLOURS)
    assert set(textures) == {None, "plain", "striped", "dotted", "checked"}


def test_size_words_order_the_sides():
    sides = {size: [] for size in ("small", "medium", "large")}
    for scene, _ in described_scenes(0.0):
        sides[scene.drawings[0].size].append(scene.drawings[0].side)
    assert max(sides["small"]) < min(sides["medium"])
    assert max(sides["medium"]) < min(sides["large"])
    for scene, _ in described_scenes(1.0):
        main, other = scene.drawings
        assert (main.size, other.size) == ("medium", "small")
        assert other.side < main.side


def test_the_picture_shows_the_ground_in_its_colour():
    pixels, _, _ = scenes.compose(range(60), 2, size=64)
    for scene_id, picture in enumerate(pixels):
        colour = np.array(scenes.COLOURS[scenes.scene(scene_id, 2).colour])
        corners = picture[[1, 1, -2, -2], [1, -2, 1, -2]].astype(int)
        # base +- 14, a second shade of +- 28, noise +- 6; at least one corner is free
        assert np.abs(corners - np.clip(colour, 0, 255)).max(1).min() <= 48


def test_the_drawing_stands_where_the_scene_says():
    """Beside the same ground without it, the picture differs at the drawing's centre only."""
    for scene_id in range(30):
        scene = scenes.scene(scene_id, 3)
        empty = scenes.Scene((), scene.colour, scene.texture)
        with_it, without = (
            scenes.render(what, 64, np.random.default_rng(5)).astype(int) for what in (scene, empty)
        )
        changed = np.argwhere(np.abs(with_it - without).max(2) > 0)
        drawing = scene.drawings[0]
        centre = np.array(drawing.centre[::-1]) * 64
        reach = drawing.side * 64 / 2 + 2
        assert len(changed) > 0.15 * (drawing.side * 64) ** 2
        assert np.abs(changed - centre).max() <= reach


@pytest.mark.parametrize("second", [0.0, 0.4])
def test_a_scene_does_not_depend_on_its_neighbours(second):
    ids = [3, 17, 100, 10**6, 5 * 10**6 + 3]
    pixels, captions, labels = scenes.compose(ids, 7, size=32, second=second)
    for order in ([4, 2, 0, 1, 3], [2]):
        some = scenes.compose([ids[i] for i in order], 7, size=32, second=second)
        assert (some[0] == pixels[order]).all()
        assert some[1] == [captions[i] for i in order]
        assert (some[2] == labels[order]).all()


def test_another_seed_or_id_is_another_scene():
    pixels, captions, labels = scenes.compose(range(150), 0, size=32)
    other, other_captions, _ = scenes.compose(range(50), 1, size=32)
    assert (pixels[:50] != other).any((1, 2, 3)).all()
    assert sum(a != b for a, b in zip(captions, other_captions, strict=False)) > 25
    assert len({picture.tobytes() for picture in pixels}) == 150
    assert (labels[100:] == np.arange(50)).all()  # the same classes, drawn otherwise


@pytest.mark.parametrize(
    ("classes", "count"), [("default", 100), ("all", 281), (("pear", "banana", "grapes"), 3)]
)
def test_labels_are_balanced(classes, count):
    labels = [scenes.scene(i, 4, classes=classes).drawings[0].label for i in range(3 * count)]
    assert set(Counter(labels).values()) == {3}
    assert sorted(set(labels)) == list(range(count))
    assert len(scenes.nouns(classes)) == count


def test_classes_may_be_named_in_an_order_of_ones_own():
    names = ("pear", "banana", "grapes")
    _, captions, labels = scenes.compose(range(30), 0, size=8, classes=names)
    assert all(names[label] in caption for caption, label in zip(captions, labels, strict=True))


def test_second_is_the_share_of_two_drawings():
    for second, within in {0.0: 0, 0.4: 60, 1.0: 0}.items():
        two = sum(len(scenes.scene(i, 0, second=second).drawings) == 2 for i in range(1000))
        assert abs(two - 1000 * second) <= within


def test_the_second_drawing_is_of_another_class():
    for scene_id in range(300):
        main, other = scenes.scene(scene_id, 0, second=1.0).drawings
        assert main.label != other.label
        assert main.label == scene_id % 100


TRAIN = {"twemoji", "noto-v1", "fluent-flat", "fxemoji", "emojione"}


@pytest.mark.parametrize("classes", ["default", "all"])
@pytest.mark.parametrize("styles", [TRAIN, {"noto", "fluent-3d"}, {"twemoji", "fluent-flat"}])
def test_sprites_are_of_the_class_and_of_the_styles(classes, styles):
    if len(styles) > 2:
        assert set(scenes.SETS["train"]) == styles
    table = {int(row["index"]): row for row in rows("sprites.tsv")}
    names, seen = [noun.name for noun in scenes.nouns(classes)], set()
    for scene_id in range(600):
        scene = scenes.scene(scene_id, 0, classes=classes, styles=tuple(styles), second=0.5)
        for drawing in scene.drawings:
            assert table[drawing.sprite]["class"] == names[drawing.label]
            seen.add(table[drawing.sprite]["style"])
    assert seen == styles


def test_a_split_may_show_a_share_of_the_classes():
    table = scenes.SceneReader(range(500, 600), 0, 8, cover=0.25, second=1.0).table()
    assert sorted(set(table["label"])) == list(range(0, 100, 4))
    assert set(table["label"].value_counts()) == {4}
    for scene_id, label in table["label"].items():
        drawn = scenes.scene(scene_id, 0, cover=0.25, second=1.0).drawings
        main, other = (drawing.label for drawing in drawn)
        assert (main, other % 4) == (label, 0)
        assert main != other
    labels = scenes.SceneReader(range(500), 0, 8, without="banana").table()["label"]
    assert sorted(set(labels)) == [
        n for n in range(100) if scenes.nouns("default")[n].name != "banana"
    ]
    captions = scenes.compose(range(500), 0, size=8, second=1.0, without="banana")[1]
    assert not any("banana" in caption for caption in captions)
    with pytest.raises(UserError, match=r"no drawing of .* in fxemoji; add a style"):
        scenes.scene(0, 0, classes="all", styles=("fxemoji",))


def test_the_sheet_has_a_visible_sprite_per_row_of_its_table():
    sheet, table = scenes.sprite_sheet(), rows("sprites.tsv")
    assert [int(row["index"]) for row in table] == list(range(len(table)))
    assert len(sheet) >= len(table)
    assert (sheet[: len(table), :, :, 3] > 128).mean((1, 2)).min() > 0.02
