"""Details of classes and pictures as captions say them: parts, kinds, and the place of a box.

A class's details come as phrases of a language model ("a large, flattened head") or as WordNet's
gloss. Each becomes a part of a caption, or is left out where it would not read well, cannot be
seen, or need not be true of the picture ("may have spots").
"""

import gzip
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from taclean.data import Table, one_line
from taclean.util.errors import UserError

if TYPE_CHECKING:
    from taclean.captions import Lexicon

ASSETS = Path(__file__).parents[1] / "assets" / "wordnet"
DOWNLOADED = "descriptors_imagenet.json"  # in the source's folder
# Names of classes that published descriptors have under another one.
OTHER_NAMES = {
    "newt": "eft", "tights": "maillot", "one-piece bathing suit": "maillot",
    "crane": "construction crane", "nail": "metal nail", "egyptian cat": "tabby cat",
    "projectile": "missile", "gas mask": "gas mask or respirator",
    "swim trunks": "swim trunks / shorts", "banister": "baluster / handrail",
}  # fmt: skip
LONGEST = 9  # words of a detail
# A detail that is only sometimes true, or that tells of something else than the look.
UNSURE = re.compile(
    r"\b(may|can|could|might|often|sometimes|any|various|variety|different|depending|if|one or more"
    r"|several|you|your|etc|optional|available|same|males?|females?|other|others|another)\b|[/\d\"]"
)
UNSEEN = set(
    "size smell taste flavor flavour scent odor sound call song voice temperament personality diet"
    " circumference diameter pressure weight speed lifespan venom expression texture consistency"
    " color colour coloration coloring appearance finish design purpose ability breed kind member"
    " genus variety type form one side top feature range scheme location scene".split()
)
KINDS = set(  # heads of a first detail that say what something is, where WordNet has it elsewhere
    "piece treat dish structure player garment animal building machine container object device tool"
    " instrument sheet network rod pole bag cart vehicle room store storefront shop appliance"
    " support".split()
)
ACTED = set(
    "used found designed available known considered seen located located grown sold".split()
)
MASS = set(
    "fur hair skin plumage sand water wool fabric leather clothing text filling flesh meat cheese"
    " gravy seaweed driftwood vegetation coral foam ice glass metal wood plastic stone paint"
    " equipment furniture jewelry food grass straw bread sugar padding webbing wiring paneling"
    " guacamole espresso lace embroidery trim cream armor armour rope thread yarn silk paper dirt"
    " snow bark foliage coffee liquid dough stitching tissue siding camouflage sauce"
    " lettering mud".split()
)
_PHRASE = re.compile(r"[dpc]*[rjcnv,&-]*n")
_LETTERS = {"DT": "d", "PRP$": "p", "CD": "c", "JJ": "j", "RB": "r", "CC": "&", "COMMA": ","}
_LETTERS |= {"NN": "n", "NNS": "n", "NNP": "n", "VBN": "v", "VBG": "v", "VBD": "v", "HYPH": "-"}
_CUT = re.compile(
    r"[;(:]|, (?=which|that|often|usually|typically|sometimes|such|including|either|depending|like)"
    r"|\b(?=such as|including|depending|that|which|where|when|while|who|whose|although|especially)"
)
_VERBS = {"VBZ", "VBP", "BE", "MD", "AUX", "VB"}


class Detail(NamedTuple):
    """What a caption can say of a class, and how: with a tail, a kind of animal, made of wood."""

    form: str  # with, kind, after, before (the name) or place
    text: str


def read_descriptors(path: Path, where: str) -> dict[str, list[str]]:
    """Read a JSON file CLASS -> list of details; a UserError names what is wrong with it."""
    cure = 'give a JSON file {"CLASS": ["detail", ...], ...}, or leave the key out'
    try:
        given = json.loads(path.expanduser().read_text("utf-8-sig"))
    except (OSError, RuntimeError):
        raise UserError(f"{where}: {path}: no readable file; {cure}") from None
    except ValueError:  # not UTF-8 or not JSON
        raise UserError(f"{where}: {path}: not JSON; {cure}") from None
    if not isinstance(given, dict) or not given:
        raise UserError(f"{where}: {path}: no object of classes; {cure}")
    for name, some in given.items():
        if not isinstance(some, list) or not all(isinstance(one, str) for one in some):
            raise UserError(f"{where}: {path}: {name[:70]!r} has no list of texts; {cure}")
    return given


def glosses() -> tuple[dict[str, str], dict[str, str]]:
    """Return WordNet's gloss of each synset of ImageNet-1K, and the synset that a name stands for.

    A name that several of them have stands for none.
    """
    found, named = {}, defaultdict(set)
    with gzip.open(ASSETS / "glosses.tsv.gz", "rt", encoding="utf-8") as file:
        for line in file:
            synset, names, gloss = line.rstrip("\n").split("\t")
            found[synset] = gloss
            for name in names.split(","):
                named[_plain(name)].add(synset)
    return found, {name: min(ids) for name, ids in named.items() if len(ids) == 1}


def _plain(name: str) -> str:
    return one_line(re.sub("[_-]", " ", name)).casefold()


def class_details(
    names: Sequence[str], synsets: Sequence[str | None], spec: Mapping[str, Any], folder: Path
) -> tuple[list[list[Detail]], list[str]]:
    """Return the details of each class, and the names of the classes that have none.

    Args:
        synsets: WordNet's ids (n07753592) of the classes; None where they are not known.
        spec: the keys of `Details` in the config.
        folder: that of the source, where descriptors are downloaded.
    """
    from taclean.captions import Lexicon

    lexicon, texts = Lexicon.load(), [list[str]() for _ in names]
    meanings, named = glosses()
    ids = [synset or named.get(_plain(name)) for name, synset in zip(names, synsets, strict=True)]
    if given := spec.get("descriptors"):
        path = Path(folder, DOWNLOADED) if given == "download" else Path(given)
        exact = read_descriptors(path, "details.descriptors")
        close = {_plain(name): some for name, some in reversed(exact.items())}
        for name, some in zip(names, texts, strict=True):
            other = OTHER_NAMES.get(plain := _plain(name), "")
            some += exact.get(name) or close.get(plain) or close.get(other) or []
    if not spec.get("gloss"):
        meanings = {}
    wanted = [key for key in ("descriptors", "gloss") if spec.get(key)]
    said = [
        readable(some, meanings.get(synset or "", ""), name, synset, lexicon)
        for some, name, synset in zip(texts, names, ids, strict=True)
    ]
    lacking = [name for name, some in zip(names, said, strict=True) if wanted and not some]
    if wanted and len(lacking) == len(names):
        what = f"{' and '.join(wanted)}: no class has a detail ({', '.join(names[:3])}, ...)"
        raise UserError(f"details.{what}; name classes as the file does, or leave the key out")
    return said, lacking


def readable(
    texts: Iterable[str], gloss: str, name: str, synset: str | None, lexicon: "Lexicon"
) -> list[Detail]:
    """Return the details that read well; those with "or" only where there are no two others.

    What says "black or brown" stays true when one of the two words is replaced.
    """
    forms = [(text, "with" if n else "kind") for n, text in enumerate(texts)]
    made = (_detail(*pair, name, synset, lexicon) for pair in [*forms, (gloss, "gloss")])
    found = [detail for detail in made if detail]
    plain = [d for d in found if " or " not in d.text]
    return list(dict.fromkeys(plain if len(plain) > 1 else found))


def _detail(
    text: str, form: str, name: str, synset: str | None, lexicon: "Lexicon"
) -> Detail | None:
    """Return a text as a part of a caption, or None.

    The first of a list may say what the class is ("kind"), a gloss always does.
    """
    text = one_line(re.sub(r"\([^)]*\)|^\W+", "", text))
    text = _CUT.split(text)[0].strip(" ,.")
    text = re.sub(r"^(?:(?:typically|usually|generally|traditionally|commonly|it) )+", "", text)
    text = re.sub(r" in colou?r(ation)?$", "", text)
    text = re.sub(r", (and|or) ", r" \1 ", text) if text.count(",") == 1 else text
    had = re.match("(has|have|having|with) ", text)
    text = text[had.end() :] if had else text
    return _part(text, name, synset, lexicon, "with" if had else form)


def _part(text: str, name: str, synset: str | None, lexicon: "Lexicon", form: str) -> Detail | None:
    from taclean.captions.parts import TOKEN

    places = [match.span() for match in TOKEN.finditer(text)]
    words = [text[start:end] for start, end in places]
    lower = [word.lower() for word in words]
    if not 0 < len(words) <= LONGEST + 3 * (form == "gloss") or UNSURE.search(text.lower()):
        return None
    if lower[0] in ACTED or lower[0] in ("the", "this"):
        return None
    tags = _tags(lower, lexicon)
    if not _VERBS.isdisjoint(tags) or tags[-1] in ("IN", "DT", "CC"):
        return None
    if form != "gloss" and tags[0] in ("VBN", "VBD") and tags[1:2] in (["IN"], ["TO"], ["RP"]):
        return Detail("after", text)
    letters = "".join(_LETTERS.get(tag, " ") for tag in tags)
    if set(letters) <= set("jrv&,"):
        return Detail("before", text) if len(words) < 4 and "," not in words else None
    if not (phrase := _PHRASE.match(letters)):
        return None
    tag, end = tags[phrase.end() - 1], places[phrase.end() - 1][1]
    lemma = lexicon.lemma(lower[phrase.end() - 1], tag)
    if lemma in UNSEEN or "colour" in lexicon.sets(lemma, "a"):
        return None
    front, rest = text[:end], text[end:].strip()
    if not {"and", "or"} & {*words[: phrase.end()]}:
        front = front.replace(", ", " ")  # short, blunt snout: a comma would part two things
    if form != "with" and lemma in _plain(name).split():  # a spoon made of wood
        if rest.startswith("with "):
            return _part(rest[5:], name, synset, lexicon, "with")
        return Detail("after", rest) if rest.startswith("made ") else None
    if letters[0] not in "dpc" and tag == "NN" and lemma not in MASS:
        front = f"{lexicon.article(front)} {front}"
    whole = front + " " * bool(rest and rest[0] != ",") + rest
    kind = form == "gloss" or lemma in KINDS or _is_kind(lemma, name, synset, lexicon)
    if kind and form == "with":
        return None
    return None if kind and tag != "NN" else Detail("kind" if kind else "with", whole)


def _tags(words: list[str], lexicon: "Lexicon") -> list[str]:
    """Return the tags of a phrase's words, as they have them after "a thing with"."""
    tags = list(lexicon.tag(("a", "thing", "with", *words))[3:])
    for n, word in enumerate(words):
        if "-" in word[1:-1] and n + 1 < len(words):
            tags[n] = "JJ"  # rodent-like, heavy-bodied
        elif tags[n] == "NN" and _is_plural(word, lexicon):
            tags[n] = "NNS"
        elif tags[n] in _VERBS and n and tags[n - 1] in ("JJ", "CD"):
            nouns = [tag for tag in ("NNS", "NN") if tag in lexicon.readings(word)]
            tags[n : n + 1] = nouns[:1] or tags[n : n + 1]  # two toes on each foot
    return tags


def _is_kind(lemma: str, name: str, synset: str | None, lexicon: "Lexicon") -> bool:
    """Return whether a noun names what the class is: an animal, of a banana a fruit."""
    if lemma in ("body", "head", "part"):
        return False
    last = name.lower().split()[-1]
    own = [f"n{int(synset[1:])}"] if synset else [s for s, _ in lexicon.senses(last, "n")]
    above = {one for sense in own for one in lexicon.above(sense)}
    return not above.isdisjoint(s for s, _ in lexicon.senses(lemma, "n"))


def place(left: float, top: float, right: float, bottom: float) -> str:
    """Return where a box is, in words, or "" where nothing plain can be said."""
    area = (right - left) * (bottom - top)
    if not 0 < area < 0.8:
        return "filling the picture" if area > 0 else ""
    x, y = ((low + high) / 2 for low, high in ((left, right), (top, bottom)))
    column = "left" if x < 0.38 else "right" if x > 0.62 else ""
    row = "upper" if y < 0.38 else "lower" if y > 0.62 else ""
    if column:
        return f"in the {row} {column} corner" if row else f"on the {column} side"
    if row:
        return f"at the {'top' if row == 'upper' else 'bottom'} of the picture"
    return "in the centre" if area < 0.4 else ""


def caption_rows(
    table: Table, templates: Sequence[str], seed: int,
    known: Sequence[Sequence[Detail]], most: int, boxes: bool,
) -> Iterator[str]:  # fmt: skip
    """Yield a caption for each row, by its id and the seed alone."""
    from taclean.captions import Lexicon

    lexicon, names = Lexicon.load(), table.attrs["classes"]
    bare = [_is_bare(name, lexicon) for name in names]
    boxes = boxes and "left" in table
    sides = table[["left", "top", "right", "bottom"]].to_numpy().tolist() if boxes else []
    where = {box: Detail("place", text) for box in {*map(tuple, sides)} if (text := place(*box))}
    labels = table["label"].tolist()
    for n, (row, label) in enumerate(zip(table.index.tolist(), labels, strict=True)):
        rng = random.Random(f"{seed}:{row}")
        template = rng.choice(templates)
        pool = [*known[label]]
        if boxes and (spot := where.get(tuple(sides[n]))):
            pool.append(spot)
        drawn = rng.sample(pool, min(int(rng.random() * (most + 1)), len(pool)))
        yield _caption(template, names[label], bare[label], drawn, lexicon)


def _is_bare(name: str, lexicon: "Lexicon") -> bool:
    """Return whether a name takes no "a": sunglasses, guacamole."""
    last = re.split(r"[\W_]+", name.lower())[-1]
    return last in MASS or _is_plural(last, lexicon)


def _is_plural(word: str, lexicon: "Lexicon") -> bool:
    tags = lexicon.readings(word)
    unknown = not tags and re.search("nnae$|[^suix]s$", word)  # antennae, wingtips
    pair = re.search("[^se]s$|sses$", word)  # WordNet has trunks and sunglasses as singulars, too
    return bool(unknown) or ("NNS" in tags and ("NN" not in tags or bool(pair)))


def _caption(
    template: str, name: str, bare: bool, drawn: Sequence[Detail], lexicon: "Lexicon"
) -> str:
    by: dict[str, list[str]] = {form: [] for form in ("before", "after", "kind", "with", "place")}
    for form, text in drawn:
        by[form].append(text)
    front = " ".join([*by["before"][:1], name])
    tail = "".join(f" {text}" for text in by["after"][:1])
    kind = "".join(f", {text}" for text in by["kind"][:1])
    parts = sorted(by["with"], key=lambda text: " and " in text)  # "eyes and hands and feet"
    have = ", ".join(parts[:-1]) + " and " * (len(parts) > 1) + "".join(parts[-1:])
    with_ = (" and " if " with " in kind + tail else " with ") + have if have else ""
    said = tail + kind + with_
    spot = "".join(f"{',' if said else ''} {text}" for text in by["place"])
    before, _, after = template.partition("{}")
    if match := re.search(r"\b([Aa])n? $", before):
        article = "" if bare else f"{match[1]}{lexicon.article(front)[1:]} "
        before = before[: match.start()] + article
    ended = after.rstrip(".!")
    comma = "," * bool(kind and ended)
    return one_line(f"{before}{front}{said}{comma}{ended}{spot}{after[len(ended) :]}")
