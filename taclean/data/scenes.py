"""Compose emoji scenes, the embedded dataset, from a seed.

A scene is a pure function of (seed, scene id): one or two drawings on a coloured, textured ground,
with a caption that says what is drawn. Splits are ranges of scene ids, so they are disjoint by
construction; the `shift` split uses styles of drawing that no other split uses.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from PIL import Image

from taclean.data.draw import shown_labels
from taclean.data.labels import EMOJI, class_names
from taclean.data.readers import Reader, make_table
from taclean.util.errors import UserError

CELL = 64  # px of a sprite in the sheet
COLUMNS = 48  # sprites in a row of the sheet
SETS = {
    "train": ("twemoji", "noto-v1", "fluent-flat", "fxemoji", "emojione"),
    "shift": ("noto", "fluent-3d"),  # styles that no training split has
}

COLOURS = {
    "red": (200, 52, 52),
    "yellow": (238, 214, 84),
    "green": (84, 164, 92),
    "blue": (66, 110, 200),
    "purple": (136, 88, 180),
    "pink": (238, 156, 190),
    "brown": (132, 92, 62),
    "black": (36, 36, 40),
    "white": (244, 244, 244),
    "grey": (150, 150, 154),
}
TEXTURES = ("plain", "striped", "dotted", "checked")
TEXTURE_ENDS = np.cumsum([0.4, 0.2, 0.2, 0.2])  # of their shares
# Centres (x, y) of the 3 x 3 places, as shares of the picture's side.
PLACES = {
    "at the top left": (0.40, 0.40),
    "at the top": (0.50, 0.40),
    "at the top right": (0.60, 0.40),
    "on the left": (0.40, 0.50),
    "in the middle": (0.50, 0.50),
    "on the right": (0.60, 0.50),
    "at the bottom left": (0.40, 0.60),
    "at the bottom": (0.50, 0.60),
    "at the bottom right": (0.60, 0.60),
}
# Sides of a drawing as shares of the picture's side.
SIZES = {"small": (0.62, 0.66), "medium": (0.74, 0.80), "large": (0.90, 1.0)}

# Mass nouns take "some" but a singular verb.
MASS = set(
    "bread broccoli cheese coffee corn beer popcorn milk rice spaghetti sushi tea wine bowling "
    "lightning".split()
)
T = TypeVar("T")
Classes = str | tuple[str, ...]  # 'default', 'all', or names of the sheet
Styles = str | tuple[str, ...]


class Noun(NamedTuple):
    """A class of drawings: its name, and the articles and verbs that go with it."""

    name: str
    plural: bool

    def with_adjective(self, adjective: str) -> str:
        """Return a noun phrase: 'a small orange', 'an orange', 'some small grapes'."""
        words = f"{adjective} {self.name}".strip()
        if self.plural or self.name in MASS:
            return f"some {words}"
        # Spelling decides, except for the sounds that are listed here.
        vowel = words[0] in "aeiou" and not words.startswith(("unicorn", "ukulele", "one-"))
        vowel |= words.startswith(("hour", "honest"))
        return f"{'an' if vowel else 'a'} {words}"

    def verb(self, singular: str) -> str:
        """Return the verb's form: 'sits' for one, 'sit' for many; 'is' and 'are'."""
        if not self.plural:
            return singular
        return {"is": "are", "lies": "lie"}.get(singular, singular.removesuffix("s"))


class Drawing(NamedTuple):
    """A placed sprite; its centre and its side are shares of the picture's side."""

    label: int
    sprite: int
    size: str
    place: str
    centre: tuple[float, float]
    side: float
    angle: float


class Scene(NamedTuple):
    """The content of a picture; `drawings[0]` is the main object and gives the class."""

    drawings: tuple[Drawing, ...]
    colour: str
    texture: str


@functools.cache
def sprite_sheet() -> np.ndarray:
    """Return the committed sprites as (N, 64, 64, 4) uint8 RGBA."""
    with Image.open(EMOJI / "sprites.webp") as image:
        sheet = np.asarray(image.convert("RGBA"))
    cells = sheet.reshape(sheet.shape[0] // CELL, CELL, COLUMNS, CELL, 4).swapaxes(1, 2)
    return cells.reshape(-1, CELL, CELL, 4)


def table(name: str) -> pd.DataFrame:
    """Return a table of the drawings: classes.tsv or sprites.tsv."""
    return pd.read_csv(EMOJI / name, sep="\t")


@functools.cache
def nouns(classes: Classes) -> tuple[Noun, ...]:
    """Return the classes in label order: 'default' (100), 'all' (281), or the named ones."""
    plural = table("classes.tsv").set_index("class")["plural"].to_dict()
    names = class_names(classes if isinstance(classes, str) else list(classes), "classes")
    return tuple(Noun(name, plural[name] == 1) for name in names)


@functools.cache
def _sprites_by_class(classes: Classes, styles: Styles) -> tuple[list[int], ...]:
    found, styles = table("sprites.tsv"), SETS[styles] if isinstance(styles, str) else styles
    sprites = found[found["style"].isin(styles)].groupby("class")["index"].agg(list)
    names = [noun.name for noun in nouns(classes)]
    if missing := [name for name in names if name not in sprites]:
        raise UserError(f"styles: no drawing of {missing[0]} in {' or '.join(styles)}; add a style")
    return tuple(sprites[name] for name in names)


@functools.cache
def _labels(classes: Classes = "default", cover: float = 1.0, without: str = "") -> list[int]:
    return shown_labels([noun.name for noun in nouns(classes)], cover, without)


def _pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """Return what `rng.choice` draws, without making an array of the items."""
    return items[int(rng.integers(len(items)))]


def scene(
    scene_id: int,
    seed: int,
    *,
    classes: Classes = "default",
    cover: float = 1.0,
    without: str = "",
    styles: Styles = "train",
    second: float = 0.0,
) -> Scene:
    """Draw what scene `scene_id` shows.

    Args:
        cover: share of the classes that are drawn, evenly spread over the labels.
        without: class that is not drawn.
        styles: names of drawing styles, or one of SETS.
        second: chance of a second, small drawing beside the main one.
    """
    rng = np.random.default_rng([seed, scene_id])
    sprites = _sprites_by_class(classes, styles)
    labels = _labels(classes, cover, without)
    place = scene_id % len(labels)
    label = labels[place]

    def drawing(label: int, sizes: dict[str, tuple[float, float]], place: str) -> Drawing:
        size = _pick(rng, list(sizes))
        low, high = sizes[size]
        x, y = PLACES[place]
        sprite = int(_pick(rng, sprites[label]))
        centre = x + rng.uniform(-0.03, 0.03), y + rng.uniform(-0.03, 0.03)
        side, angle = rng.uniform(low, high), rng.uniform(-12, 12)
        return Drawing(label, sprite, size, place, centre, side, angle)

    if len(labels) == 1 or rng.random() >= second:
        drawings = [drawing(label, SIZES, _pick(rng, list(PLACES)))]
    else:
        other = int(rng.integers(len(labels) - 1))
        other = labels[other + (other >= place)]
        # Opposite places keep the two drawings apart and their relation visible.
        opposite = ("on the left", "on the right", "at the top", "at the bottom")
        side = int(rng.integers(4))
        drawings = [
            drawing(label, {"medium": (0.58, 0.64)}, opposite[side]),
            drawing(other, {"small": (0.34, 0.40)}, opposite[side ^ 1]),
        ]
    colour = _pick(rng, list(COLOURS))
    texture = TEXTURES[np.searchsorted(TEXTURE_ENDS, rng.random(), "right")]
    return Scene(tuple(drawings), colour, texture)


@functools.cache
def _grid(size: int) -> np.ndarray:
    return np.mgrid[0:size, 0:size].astype(np.float32) / size


def _ground(scene: Scene, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return the background: (size, size, 3) uint8."""
    base = np.array(COLOURS[scene.colour], np.float32) + rng.uniform(-14, 14, 3).astype(np.float32)
    # The second shade is lighter on dark grounds and darker on light ones.
    shade = base + (28 if base.mean() < 128 else -28)
    y, x = _grid(size)
    pitch, phase = rng.uniform(0.16, 0.25), rng.uniform(0, 1)
    mask = np.zeros((size, size), bool)
    if scene.texture == "striped":
        angle = rng.uniform(0, np.pi)
        mask = ((x * np.cos(angle) + y * np.sin(angle)) / pitch + phase) % 1 < 0.5
    elif scene.texture == "dotted":
        u, v = (x / pitch + phase) % 1 - 0.5, (y / pitch + phase) % 1 - 0.5
        mask = u * u + v * v < 0.09
    elif scene.texture == "checked":
        mask = ((x / pitch + phase) % 2 < 1) ^ ((y / pitch + phase) % 2 < 1)
    return np.clip([base, shade], 0, 255).astype(np.uint8)[mask.astype(np.intp)]


@functools.lru_cache(8192)  # sides above CELL are not kept: at 224 px they would take a gigabyte
def _resized(sprite: int, side: int) -> Image.Image:
    """Return a sprite of `side` px, its colours multiplied by its alpha (mode RGBa)."""
    image = Image.fromarray(sprite_sheet()[sprite])
    return image.resize((side, side), Image.Resampling.BOX).convert("RGBa")


def render(scene: Scene, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a scene as (size, size, 3) uint8 RGB; `rng` draws the shades and the noise."""
    picture = Image.fromarray(_ground(scene, size, rng))
    for drawing in reversed(scene.drawings):  # the main object is drawn last, on top
        side = max(2, round(drawing.side * size))
        sprite = (_resized if side <= CELL else _resized.__wrapped__)(drawing.sprite, side)
        sprite = sprite.rotate(drawing.angle, Image.Resampling.BILINEAR).convert("RGBA")
        left, top = (round(share * size - side / 2) for share in drawing.centre)
        picture.paste(sprite, (left, top), sprite)
    noise = rng.integers(-6, 7, (size, size, 3), dtype=np.int16)
    return np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8)


_RELATIONS = {
    "on the left": "to the right of {}",  # the place of the second, seen from the first
    "on the right": "to the left of {}",
    "at the top": "below {}",
    "at the bottom": "above {}",
}
# Many captions name only the object: if the background alone tells a caption from the others of its
# batch, a small model learns no objects.
_ONE = (
    "{A}.",
    "Here {is_} {a}.",
    "A picture of {a}.",
    "A drawing of {a}.",
    "A picture of {a}.",
    "A drawing of {a}.",
    "There {is_} {a} {place}.",
    "{A} {sits} {place}.",
    "{A} {lies} {place} of {ground}.",
    "A drawing shows {a} on {ground}.",
    "On {ground} there {is_} {a}.",
)
_TWO = (
    "{A} and {b}.",
    "A picture of {a} and {b}.",
    "A drawing of {a} and {b}.",
    "There {is_} {a} and {b} {relation}.",
    "{A} {sits} {place} and {b} {lies2} {place2}.",
    "{A} {sits} {place} of {ground}, {b} {lies2} {relation}.",
    "On {ground} {is_} {a} and {b}.",
)


def caption(scene: Scene, classes: Classes, rng: np.random.Generator) -> str:
    """Write one English sentence about the scene; every statement in it is true."""
    names, main = nouns(classes), scene.drawings[0]
    noun = names[main.label]
    a = noun.with_adjective(main.size if rng.random() < 0.7 else "")
    texture = "" if scene.texture == "plain" and rng.random() < 0.5 else f"{scene.texture} "
    words = {
        "A": a[0].upper() + a[1:],
        "a": a,
        "sits": noun.verb("sits"),
        "lies": noun.verb("lies"),
        "is_": noun.verb("is"),
        "place": main.place,
        # A place ("at the top") continues with "of a blue background".
        "ground": f"a {scene.colour} {texture}background",
    }
    if len(scene.drawings) == 1:
        return _pick(rng, _ONE).format(**words)
    other = scene.drawings[1]
    noun2 = names[other.label]
    words |= {
        "b": noun2.with_adjective(other.size if rng.random() < 0.7 else ""),
        "lies2": noun2.verb("lies"),
        "place2": other.place,
        "relation": _RELATIONS[main.place].format("them" if noun.plural else "it"),
    }
    return _pick(rng, _TWO).format(**words)


def compose(
    ids: Sequence[int], seed: int, *, size: int = 64, classes: Classes = "default", **options: Any
) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Compose scenes, at least one; `options` are those of `scene`.

    Return pixels (N, size, size, 3) uint8, captions (N), labels (N,) int64 of the main objects.
    """
    pixels, captions, labels = [], [], []
    for scene_id in map(int, ids):
        what = scene(scene_id, seed, classes=classes, **options)
        rng = np.random.default_rng([seed, scene_id, 1])
        pixels.append(render(what, size, rng))
        captions.append(caption(what, classes, rng))
        labels.append(what.drawings[0].label)
    return np.stack(pixels), captions, np.array(labels, np.int64)


class SceneReader(Reader):
    """A range of scenes as a source, with their ids as those of the rows.

    Pictures, of `size` px, and captions are composed when they are read; `options` are those of
    `scene`.
    """

    gives = "pairs"

    def __init__(self, ids: range, seed: int, size: int, **options: Any) -> None:
        self.ids, self.seed, self.options = ids, seed, {"size": size, **options}

    def table(self) -> pd.DataFrame:
        names = [noun.name for noun in nouns(self.options.get("classes", "default"))]
        keys = [str(scene_id) for scene_id in self.ids]
        limits = ("classes", "cover", "without")
        shown = _labels(**{key: self.options[key] for key in limits if key in self.options})
        labels = [shown[scene_id % len(shown)] for scene_id in self.ids]
        return make_table(keys, keys, label=labels, classes=names).set_index(np.array(self.ids))

    def read(self, where: str | None, caption: str | None) -> tuple[np.ndarray, str]:
        """Compose a scene; return its pixels and its caption."""
        (pixels,), (text,), _ = compose([int(where or 0)], self.seed, **self.options)
        return pixels, text
