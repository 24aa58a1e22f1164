"""Names of classes, labels of a source as those of the run, and captions made of them."""

import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from taclean.clip import library_names
from taclean.data import Table, one_line
from taclean.data.details import Detail, caption_rows
from taclean.util.errors import UserError

ASSETS = Path(__file__).parents[1] / "assets"
EMOJI = ASSETS / "emoji"


def class_name(text: str) -> str:
    """Return a class's name as prompts have it: `_` is a blank, and letters are composed (NFC)."""
    return one_line(unicodedata.normalize("NFC", text).replace("_", " "))


def read_names(path: Path, where: str = "classes") -> list[str]:
    try:
        return [*filter(str.strip, path.expanduser().read_text("utf-8-sig").splitlines())]
    except (OSError, RuntimeError, ValueError):  # no such file or user; not UTF-8
        text = f"{str(path)!r} is neither a known set nor a text file with one name per line"
        raise UserError(f"{where}: {text}; correct it, or give a list of names") from None


def unique_names(given: Iterable[str], where: str = "classes") -> list[str]:
    """Return the names with single blanks; refuse an empty one and one given twice."""
    names = [one_line(line) for line in given]
    if "" in names:
        raise UserError(f"{where}: name {names.index('') + 1} is empty; give it, or leave it out")
    for name, count in Counter(names).items():
        if count > 1:
            raise UserError(f"{where}: {name!r} is given twice; keep one")
    return names


def class_names(given: str | list[str], where: str) -> list[str]:
    """Return the classes that a known set, a text file with a name per line or a list gives.

    The sets are "imagenet", "tiny_imagenet", and "default" or "all" of the drawings. Refuse fewer
    than two.
    """
    if given == "imagenet":
        return list(library_names()["IMAGENET_CLASSNAMES"])
    if given == "tiny_imagenet":
        return list(tiny_imagenet().values())
    if given in ("default", "all"):
        table = (EMOJI / "classes.tsv").read_text("utf-8")
        rows = [line.split("\t") for line in table.splitlines()[1:]]
        return [row[0] for row in rows if given == "all" or row[2] == "1"]
    listed = read_names(Path(given), where) if isinstance(given, str) else given
    if len(found := unique_names(listed, where)) < 2:
        raise UserError(f"{where}: {len(found)} names; give at least 2")
    return found


def tiny_imagenet() -> dict[str, str]:
    """Return the class names of Tiny-ImageNet-200 by WordNet id, in label order."""
    lines = (ASSETS / "tiny_imagenet.tsv").read_text("utf-8").splitlines()
    return {synset: name for synset, name, *_ in (line.split("\t") for line in lines)}


def count_classes(table: Table, classes: Sequence[str]) -> Table:
    """Return a source's table with labels that index the run's classes; refuse other classes.

    Labels index the table's `attrs["classes"]`, or the run's own `classes` where that is None; -1,
    for no class, stays. Names are compared exactly, or else without regard to case, `_`, `-` and
    blanks.
    """
    own, classes = table.attrs["classes"], list(classes)
    places = _places(own, classes) | {-1: -1}
    for label in table["label"].unique().tolist():
        if label not in places:
            what = f"class {own[label][:70]!r}" if own else f"label {label}"
            some = ", ".join(name[:70] for name in classes[:5]) + ", ..." * (len(classes) > 5)
            what += f": not one of the run's {len(classes)} classes ({some})"
            raise UserError(f"{what}; add it to classes, or correct its name in the source")
    counted = table.assign(label=table["label"].map(places).astype("int64"))
    if synsets := table.attrs.get("synsets"):
        of = {places[label]: synset for label, synset in enumerate(synsets) if label in places}
        counted.attrs["synsets"] = [of.get(place) for place in range(len(classes))]
    counted.attrs["classes"] = classes
    return counted


def _places(own: Sequence[str] | None, classes: list[str]) -> dict[int, int]:
    """Return the run's label of each label of a source; foreign classes are left out."""
    if own is None or list(own) == classes:  # also where two classes have one name
        return {label: label for label in range(len(classes))}
    exact = {name: i for i, name in reversed(list(enumerate(classes)))}
    forms = Counter(map(_plain_name, exact))
    close = {form: i for name, i in exact.items() if forms[form := _plain_name(name)] == 1}
    found = {label: exact.get(name, close.get(_plain_name(name))) for label, name in enumerate(own)}
    return {label: place for label, place in found.items() if place is not None}


def _plain_name(name: str) -> str:
    return one_line(re.sub("[_-]", " ", unicodedata.normalize("NFC", name))).casefold()


def add_captions(
    table: Table, templates: Sequence[str], seed: int,
    details: Sequence[Sequence[Detail]] | None = None, most: int = 0, box: bool = False,
) -> Table:  # fmt: skip
    """Return a table of labelled pictures with captions, for training on them as pairs.

    Each row draws a template, whose `{}` stands for the class, by its id and the seed alone. With
    the `details` of each class, it also draws 0 to `most` of them (and of its `box`), and "a" or
    "an" before the class becomes what the class needs.
    """
    if details is not None:
        return table.assign(caption=[*caption_rows(table, templates, seed, details, most, box)])
    names, rows = table.attrs["classes"], table["label"].items()
    drawn = ((random.Random(f"{seed}:{row}").choice(templates), label) for row, label in rows)
    return table.assign(caption=[text.replace("{}", names[label]) for text, label in drawn])
