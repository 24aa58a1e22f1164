"""Language data: NLTK's WordNet and tagger beside the embedded lexicon, fetched and checked."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import threading
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nltk.tag.perceptron import PerceptronTagger

from taclean import config as configs
from taclean import models
from taclean.cli import main
from taclean.data import emoji
from taclean.errors import UserError
from taclean.stages import stage_config
from taclean.text import KINDS, Lexicon, eda, subcaption
from taclean.text.artifacts import write_subcaptions, write_variants
from taclean.text.lexicon import ASSET
from taclean.text.nltk_data import SUBDIR, TAGGER, WORDNET_FILES, make
from taclean.text.perceptron import FILES, read_tagger
from taclean.text.subcaptions import _TOKENS, offers
from taclean.text.wordnet import readable, write_lexnames

ROOT = Path(__file__).parent.parent
WORDNET = os.environ.get("TACLEAN_WORDNET")  # a WordNet 3.0, such as Debian's, for the slow test

# Our own, in the style of CC3M's: lower case, names given as <person> or by their kind, tokens set
# apart by spaces, fragments, digits and quotes.
CC3M = [
    "<person> and <person> pose on the red carpet at the premiere of the film",
    "a small brown dog runs across the green grass with a yellow ball",
    "the old wooden bridge over the river in winter",
    "person , 25 , holds her baby outside the hospital",
    "a glass of orange juice on a white table",
    "two young girls are playing in the sand on the beach",
    "the interior of a large church with a high ceiling",
    '" i love summer " written on a blue wall',
    "woman wearing a black dress and a straw hat",
    "football player in action during the match on saturday",
    "a fresh salad with tomatoes , cucumbers and onions .",
    "silhouette of a man riding a bicycle at sunset",
    "an empty road through the desert under a cloudy sky",
    "vector illustration of a happy cat with a red balloon",
    "the 1st floor of the 3 - bedroom house",
    "a chef cooking food in a restaurant kitchen",
    "cute puppy sleeping on a grey sofa",
    "actor <person> attends the awards in a dark suit",
    "snow covers the trees in the park",
    "close up of a bee on a purple flower",
    "people walking on a busy street at night",
    "a yellow taxi and a double decker bus in the city",
    "an elderly woman reads a book by the window",
    "a hot air balloon floats above the valley",
    "our 10 best photos of the week",
    "students listen to the teacher in the classroom",
    "the bride and her father walk down the aisle",
    "a black horse stands behind the wooden fence",
    "lemons and limes in a basket on the kitchen table",
    "boats at the harbour of the small island",
    "pop artist performs on stage during day 2 of festival",
    "the moon rises over the quiet sea",
    "a boy in a striped shirt eats an apple",
    "modern office building with glass facade",
    "happy family having breakfast at home",
    "a girl jumps into the swimming pool",
    "golden autumn leaves on the ground in the forest",
    "a soldier carries a heavy bag",
    "don't miss this chocolate cake recipe !",
    "three colourful parrots sit on a branch",
]


# ---- a WordNet of a few dozen synsets, in NLTK's file format -------------------------------------

LEXNAME = {"n": 5, "v": 38, "a": 0, "r": 2}
PART = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
NUMBER = {"n": 1, "v": 2, "a": 3, "r": 4}
# part: child: parent, or for adjectives a word: its antonym
TREE = {
    "n": {
        "entity": "", "animal": "entity", "dog hound": "animal", "cat": "animal", "horse": "animal",
        "bird": "animal", "puppy": "dog", "person": "entity", "man": "person", "woman": "person",
        "child kid": "person", "furniture": "entity", "table": "furniture", "chair": "furniture",
        "bed": "furniture", "lamp": "furniture", "food": "entity", "banana": "food",
        "orange": "food", "apple": "food", "kiwi": "food", "place": "entity", "street": "place",
        "beach": "place", "garden": "place", "hat": "entity", "ball": "entity", "photo": "entity",
    },
    "v": {
        "move": "", "run": "move", "walk stroll": "move", "jump": "move", "fly": "move",
        "touch": "", "hold": "touch", "throw": "touch", "wear": "touch", "carry": "touch",
    },
    "a": {"big": "small", "small": "big", "old": "new", "new": "old", "wet": "dry", "dry": "wet"},
    "r": {"slowly": "", "quickly": ""},
}  # fmt: skip
TRANSITIVE = {"touch", "hold", "throw", "wear", "carry"}


def tiny_wordnet(folder: Path) -> Path:
    """Write corpora/wordnet below `folder`."""
    corpus = folder / "corpora/wordnet"
    corpus.mkdir(parents=True)
    senses = []
    for part, tree in TREE.items():
        heads = {words.split()[0]: words for words in tree}
        pointers: dict[str, list[str]] = defaultdict(list)
        for words, other in tree.items():
            head = words.split()[0]
            if other and part == "a":
                pointers[head].append(f"! {{{other}}} a 0101")
            elif other:
                pointers[head].append(f"@ {{{other}}} {part} 0000")
                pointers[other].append(f"~ {{{head}}} {part} 0000")
        lines = {}
        for head, words in heads.items():
            lemmas = words.split()
            listed = " ".join(f"{lemma} 0" for lemma in lemmas)
            links = " ".join([f"{len(pointers[head]):03d}", *pointers[head]])
            frames = f" 01 + {8 if head in TRANSITIVE else 2:02d} 00" if part == "v" else ""
            start = f"{LEXNAME[part]:02d} {part} {len(lemmas):02x}"
            lines[head] = f"{start} {listed} {links}{frames} | {head}  \n"
        licence = "  1 A WordNet for tests.  \n"
        offsets, place = {}, len(licence)
        for head, line in lines.items():
            offsets[head] = f"{place:08d}"
            # an offset is 8 bytes wide wherever it stands
            place += 9 + len(re.sub(r"\{\w+\}", "00000000", line))
        body = "".join(f"{offsets[head]} {line.format(**offsets)}" for head, line in lines.items())
        (corpus / f"data.{PART[part]}").write_text(licence + body)
        index = []
        for head, words in heads.items():
            for lemma in words.split():
                index.append(f"{lemma} {part} 1 0 1 1 {offsets[head]}  \n")
                key = f"{lemma}%{NUMBER[part]}:{LEXNAME[part]:02d}:00::"
                senses.append(f"{key} {offsets[head]} 1 {len(senses) % 7 + 1}\n")
        (corpus / f"index.{PART[part]}").write_text(licence + "".join(sorted(index)))
        (corpus / f"{PART[part]}.exc").write_text("men man\n" if part == "n" else "ran run\n")
    (corpus / "index.sense").write_text("".join(sorted(senses)))
    (corpus / "cntlist.rev").write_text("")
    write_lexnames(corpus / "lexnames")
    return corpus


BACK = {
    "COMMA": ",",
    "STOP": ".",
    "SYM": ":",
    "QUOTE": "''",
    "WP": "WDT",
    "BE": "VBZ",
    "AUX": "VBZ",
}


def tiny_tagger(folder: Path, captions: list[str], rounds: int = 5) -> Path:
    """Train NLTK's tagger on the embedded lexicon's tags; NLTK itself writes the JSON files."""
    lexicon = Lexicon.load()
    tagged = [lexicon.tag(_TOKENS.tokenize(caption)) for caption in captions]
    state = random.getstate()
    random.seed(0)  # NLTK shuffles with the global generator
    tagger = PerceptronTagger(load=False, lang="eng")
    tagger.train(
        [[(w, BACK.get(t, t)) for w, t in words] for words in tagged if words], None, rounds
    )
    random.setstate(state)
    target = folder / "taggers" / TAGGER
    target.parent.mkdir(exist_ok=True)
    with readable(folder):
        tagger.save_to_json(lang="eng", loc=str(target))
    return target


def scenes(n: int) -> list[str]:
    return emoji.compose(range(n), 0, size=8, second=0.5)[1]


@pytest.fixture(scope="module")
def nltk_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user would have: corpora/wordnet and taggers/..., both as NLTK reads them."""
    folder = tmp_path_factory.mktemp("nltk_data")
    tiny_wordnet(folder)
    simple = ["the dog runs", "a dog on the table", "a big dog", "the cat holds a ball"] * 8
    tiny_tagger(folder, [*scenes(60), *CC3M, *simple])
    return folder


@pytest.fixture(scope="module")
def made(nltk_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `taclean nltk` makes of it."""
    folder = tmp_path_factory.mktemp("made") / "nltk"
    make(folder, folder=nltk_data)
    return folder


@pytest.fixture(scope="module")
def tagged(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Lexicon:
    """The trained tagger over the table that the full WordNet 3.0 gives: the embedded one."""
    folder = tmp_path_factory.mktemp("tagged")
    shutil.copytree(made, folder, dirs_exist_ok=True)
    shutil.copy(ASSET, folder / "lexicon.tsv.gz")
    return Lexicon.load(folder)


def test_the_table_is_made_of_the_corpus(made: Path) -> None:
    lexicon = Lexicon.load(made)
    assert lexicon.synonyms("dog") == ["hound"]
    assert lexicon.swaps("bigger", "JJ") == ([], [])
    assert lexicon.swaps("big", "JJ")[1] == ["small", "tiny"]
    assert set(lexicon.swaps("chairs", "NNS")[1]) >= {"tables", "beds", "lamps"}
    assert not {"furniture", "chair"} & set(lexicon.swaps("chair", "NN")[1])
    assert lexicon.lemma("men", "NNS") == "man"
    assert (lexicon.frames("holds", "VBZ"), lexicon.frames("runs", "VBZ")) == ("t", "i")
    assert lexicon.entry("giraffe", "n") is None
    assert Lexicon.load().entry("giraffe", "n") is not None


def test_what_is_laid_out_is_nltks_own_form_and_readable_by_nltk(made: Path) -> None:
    assert {p.name for p in (made / "corpora/wordnet").iterdir()} == set(WORDNET_FILES)
    assert {p.name for p in (made / "taggers" / TAGGER).iterdir()} == set(FILES)
    for path in made.rglob("*"):
        assert not path.stat().st_mode & 0o022 or path.parent == made, path
    with readable(made):
        tagger = PerceptronTagger(load=False)
        tagger.load_from_json("eng", str((made / "taggers" / TAGGER).resolve()))
    words = "a big dog runs on the beach".split()
    assert tagger.tag(words) == read_tagger(made / "taggers" / TAGGER).tag(words)
    sources = json.loads((made / "sources.json").read_text())
    digest = hashlib.sha256((made / "corpora/wordnet/data.noun").read_bytes()).hexdigest()
    assert sources["wordnet"]["files"]["data.noun"] == digest


def test_files_that_a_group_may_write_are_taken_and_lexnames_may_lack(
    nltk_data: Path, made: Path, tmp_path: Path
) -> None:
    source = shutil.copytree(nltk_data, tmp_path / "source")
    (source / "corpora/wordnet/lexnames").unlink()  # as in Debian's packages
    for path in (source, *source.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    before = os.umask(0o002)
    try:
        make(tmp_path / "out", folder=source)
    finally:
        os.umask(before)
    for name in ("lexicon.tsv.gz", "corpora/wordnet/lexnames"):
        assert (tmp_path / "out" / name).read_bytes() == (made / name).read_bytes()


# ---- by an index -----------------------------------------------------------------------------


def zipped(folder: Path, out: Path) -> bytes:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"{folder.name}/{path.name}")
    return out.read_bytes()


class Mirror:
    """A copy of NLTK's site on this machine; `change` an entry of its index, or a body."""

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.url = root, url
        self.index = f"{url}/index.xml"
        self.entries: dict[str, dict[str, str]] = {}

    def place(self, name: str) -> Path:
        return self.root / "packages" / SUBDIR[name] / f"{name}.zip"

    def add(self, name: str, body: bytes) -> None:
        self.place(name).parent.mkdir(parents=True, exist_ok=True)
        self.place(name).write_bytes(body)
        self.entries[name] = {
            "id": name,
            "subdir": SUBDIR[name],
            "url": f"{self.url}/packages/{SUBDIR[name]}/{name}.zip",
            "size": str(len(body)),
            "unzipped_size": "1",
            "checksum": hashlib.md5(body).hexdigest(),
            "sha256_checksum": hashlib.sha256(body).hexdigest(),
        }
        self.write()

    def write(self) -> None:
        packages = "".join(
            "<package " + " ".join(f'{k}="{v}"' for k, v in entry.items()) + " />\n"
            for entry in self.entries.values()
        )
        xml = f'<?xml version="1.0"?>\n<nltk_data><packages>{packages}</packages></nltk_data>'
        (self.root / "index.xml").write_text(xml)

    def change(self, name: str, **values: str | None) -> None:
        self.entries[name] |= {key: value for key, value in values.items() if value is not None}
        for key in [key for key, value in values.items() if value is None]:
            del self.entries[name][key]
        self.write()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def mirror(nltk_data: Path, tmp_path: Path) -> Iterator[Mirror]:
    root = tmp_path / "site"
    root.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    site = Mirror(root, f"http://127.0.0.1:{server.server_port}")
    for name, subdir in SUBDIR.items():
        site.add(name, zipped(nltk_data / subdir / name, tmp_path / f"{name}.zip"))
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "sources.json"
    }


def test_an_index_is_followed(mirror: Mirror, made: Path, tmp_path: Path) -> None:
    make(tmp_path / "out", mirror=mirror.index)
    assert contents(tmp_path / "out") == contents(made)
    sources = json.loads((tmp_path / "out/sources.json").read_text())
    for name in SUBDIR:
        assert sources[name]["source"] == mirror.entries[name]["url"]
        assert sources[name]["sha256"] == mirror.entries[name]["sha256_checksum"]


def test_a_plain_copy_of_the_site_serves_though_its_index_names_the_original(
    mirror: Mirror, tmp_path: Path
) -> None:
    for name in SUBDIR:
        mirror.change(name, url=f"http://127.0.0.1:9/packages/{SUBDIR[name]}/{name}.zip")
    mirror.change("wordnet", sha256_checksum=None)  # older indexes have MD5 alone
    make(tmp_path / "out", mirror=mirror.index)
    assert (tmp_path / "out/lexicon.tsv.gz").is_file()


def test_zip_files_in_a_folder_are_taken(mirror: Mirror, made: Path, tmp_path: Path) -> None:
    make(tmp_path / "out", folder=mirror.root / "packages")
    assert contents(tmp_path / "out") == contents(made)


def wrong_sum(mirror: Mirror) -> None:
    mirror.change("wordnet", sha256_checksum="0" * 64)


def wrong_md5(mirror: Mirror) -> None:
    mirror.change(TAGGER, sha256_checksum=None, checksum="0" * 32)


def no_sum(mirror: Mirror) -> None:
    mirror.change(TAGGER, sha256_checksum=None, checksum=None)


def cut_on_the_way(mirror: Mirror) -> None:
    body = mirror.place("wordnet").read_bytes()
    mirror.place("wordnet").write_bytes(body[:-100])


def cut_at_the_source(mirror: Mirror) -> None:
    mirror.add("wordnet", mirror.place("wordnet").read_bytes()[:-100])


def longer(mirror: Mirror) -> None:
    body = mirror.place(TAGGER).read_bytes()
    mirror.place(TAGGER).write_bytes(body + b"x")


def gone(mirror: Mirror) -> None:
    mirror.place(TAGGER).unlink()


def unlisted(mirror: Mirror) -> None:
    del mirror.entries[TAGGER]
    mirror.write()


def no_xml(mirror: Mirror) -> None:
    (mirror.root / "index.xml").write_text("<html>Please log in")


def without_a_file(mirror: Mirror) -> None:
    with zipfile.ZipFile(mirror.root / "short.zip", "w") as archive:
        archive.writestr("wordnet/lexnames", "")
    mirror.add("wordnet", (mirror.root / "short.zip").read_bytes())


def local_url(mirror: Mirror) -> None:
    mirror.change("wordnet", url="file:///etc/passwd")
    mirror.place("wordnet").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (wrong_sum, r"wordnet\.zip: sha256 \w+, but the index says 0000"),
        (wrong_md5, rf"{TAGGER}\.zip: md5 \w+, but the index says 0000"),
        (no_sum, f"{TAGGER} has no url, size or checksum"),
        (cut_on_the_way, r"wordnet\.zip: \d+ bytes of \d+ arrived"),
        (cut_at_the_source, r"wordnet\.zip: no whole zip"),
        (longer, "longer than"),
        (gone, rf"{TAGGER}\.zip: cannot be fetched \(.*(Not Found|File not found)"),
        (unlisted, f"lists no {TAGGER}"),
        (no_xml, r"index\.xml: no XML"),
        (without_a_file, "holds no wordnet/cntlist.rev"),
        (local_url, "no http"),
    ],
)
def test_a_bad_answer_is_one_line_and_leaves_what_was_there(
    mirror: Mirror, made: Path, tmp_path: Path, spoil: Callable[[Mirror], None], message: str
) -> None:
    spoil(mirror)
    out = shutil.copytree(made, tmp_path / "out/nltk")
    before = contents(out)
    with pytest.raises(UserError, match=message) as error:
        make(out, mirror=mirror.index)
    assert "\n" not in str(error.value)
    assert contents(out) == before
    assert [path.name for path in out.parent.iterdir()] == ["nltk"]


def test_offline_says_what_to_place_where(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    stage = tmp_path / "stage.json"
    mirror = {"mirror": "http://127.0.0.1:9/index.xml", "folder": None}
    stage.write_text(json.dumps({"stage": "nltk", "recipe": 1, **mirror}))
    with pytest.raises(SystemExit) as stop:
        main(["nltk", "--config", str(stage), "--out", str(tmp_path / "out")])
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    for part in ("corpora/wordnet.zip", f"taggers/{TAGGER}.zip", "text.folder", "text.mirror"):
        assert part in told
    assert [path.name for path in tmp_path.iterdir()] == ["stage.json"]


# ---- what is incomplete or damaged -------------------------------------------------------------


def edit(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_bytes(change(path.read_bytes()))

    return spoil


def remove(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return spoil


NET, TAG = "corpora/wordnet/", f"taggers/{TAGGER}/{TAGGER}."


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove("corpora/wordnet"), "corpora/wordnet.zip: no such file"),
        (remove(f"taggers/{TAGGER}"), f"taggers/{TAGGER}.zip: no such file"),
        (remove(NET + "index.sense"), "index.sense: no such file"),
        (edit(NET + "data.noun", lambda b: b[:-1]), "data.noun: truncated"),
        (edit(NET + "data.noun", lambda b: b[:1000]), "data.noun"),
        (edit(NET + "data.verb", lambda b: b.replace(b"\n", b"\r\n")), "data.verb: no synset"),
        (edit(NET + "data.adj", lambda b: b"\n".join(b.split(b"\n")[:4]) + b"\n"), "data.adj"),
        (edit(NET + "index.sense", lambda b: b[: len(b) // 2]), "index.sense: \\d+ senses, but"),
        (edit(NET + "index.noun", lambda b: b[: len(b) // 2]), "senses, but the indexes count"),
        (edit(NET + "lexnames", lambda b: b"x\n"), "NLTK cannot read it"),
        (remove(TAG + "tagdict.json"), "tagdict.json: no such file"),
        (edit(TAG + "weights.json", lambda b: b[:-5]), "weights.json is truncated or no JSON"),
        (edit(TAG + "weights.json", lambda b: b"{}"), "holds no weights"),
        (edit(TAG + "weights.json", lambda b: b'{"bias": {"XX": 1}}'), "classes.json lacks"),
        (edit(TAG + "weights.json", lambda b: b'{"bias": {"NN": NaN}}'), "no finite number"),
        (edit(TAG + "weights.json", lambda b: b'{"bias": {"VB": 1}}'), "calls 'the wug' DT VB"),
        (edit(TAG + "tagdict.json", lambda b: b'{"dog": "XX"}'), "tagdict.json does not map"),
        (edit(TAG + "classes.json", lambda b: b"[1]"), "classes.json is no list of tags"),
    ],
)
def test_incomplete_data_is_refused_and_named(
    nltk_data: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    source = shutil.copytree(nltk_data, tmp_path / "source")
    spoil(source)
    with pytest.raises(UserError, match=message) as error:
        make(tmp_path / "out", folder=source)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_the_old_pickle_is_never_opened(nltk_data: Path, tmp_path: Path) -> None:
    source = shutil.copytree(nltk_data, tmp_path / "source")
    shutil.rmtree(source / "taggers" / TAGGER)
    old = source / "taggers/averaged_perceptron_tagger"
    old.mkdir()
    marker = tmp_path / "ran"
    code = f"cos\nsystem\n(S'touch {marker}'\ntR."
    for folder in (old, source / "taggers" / TAGGER):
        folder.mkdir(exist_ok=True)
        (folder / "averaged_perceptron_tagger.pickle").write_text(code)
    with pytest.raises(UserError, match=r"json: no such file"):
        make(tmp_path / "out", folder=source)
    assert not marker.exists()


def test_a_folder_without_the_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"taclean nltk"):
        Lexicon.load(tmp_path)
    shutil.copy(ASSET, tmp_path / "lexicon.tsv.gz")
    with pytest.raises(UserError, match=rf"{TAGGER}\.weights\.json is missing"):
        Lexicon.load(tmp_path)


# ---- tags and sub-captions ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caption", "word", "tag"),
    [
        ("<person> holds a ball", "<person>", "NNP"),
        ("the dog 's ball , 2 cats .", "'s", "POS"),
        ("the dog 's ball , 2 cats .", ",", "COMMA"),
        ("the dog 's ball , 2 cats .", "2", "CD"),
        ("a cat is on the table", "is", "BE"),
        ("a dog that has a ball", "has", "AUX"),
        ("A SMALL BROWN DOG RUNS ACROSS THE GREEN GRASS", "BROWN", "JJ"),
        ("see www.foo.com for a dog", "www.foo.com", "SYM"),
        ("dogs & cats", "&", "CC"),
    ],
)
def test_tags_are_the_packages_own(tagged: Lexicon, caption: str, word: str, tag: str) -> None:
    assert dict(tagged.tag(_TOKENS.tokenize(caption)))[word] == tag
    assert all(tag for _, tag in tagged.tag(_TOKENS.tokenize(caption)))
    assert tagged.tag([]) == []


def test_the_perceptron_decides_by_context(
    tagged: Lexicon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tags come from it, not from the table: another tagger gives other sub-captions."""
    caption = "a girl jumps into the swimming pool"
    assert "verb" in offers(caption, tagged)

    def as_noun(words: list[str]) -> list[tuple[str, str]]:
        return [(word, "NNS" if word == "jumps" else "NN") for word in words]

    other = object.__new__(type(tagged))
    other.__dict__.update(tagged.__dict__)
    monkeypatch.setattr(other, "_perceptron", type("T", (), {"tag": staticmethod(as_noun)}))
    assert dict(other.tag(caption.split()))["jumps"] == "NNS"
    assert offers(caption, other) == ("noun",)


def test_eda_keeps_the_part_of_speech_with_the_tagger(tagged: Lexicon) -> None:
    caption = "leaves on the ground"
    assert tagged.synonyms("ground", "v") != tagged.synonyms("ground", "n")
    words = tagged.vocabulary(tuple(caption.split()))
    assert words.synonyms("ground") == tagged.synonyms("ground", "n")
    assert words.synonyms("unseen") == ()
    assert words.closed("the")
    assert Lexicon.load().vocabulary(("ground",)) is Lexicon.load()
    for seed in range(50):
        out = eda(caption, random.Random(seed), tagged)
        assert out == eda(caption, random.Random(seed), tagged)
        assert out
    assert {eda(caption, random.Random(s), tagged) for s in range(50)} != {caption}


def tokens(text: str) -> list[str]:
    return _TOKENS.tokenize(text.lower())


def is_part(part: list[str], whole: list[str]) -> bool:
    rest = iter(whole)
    return all(word in rest for word in part)


@pytest.mark.parametrize("name", ["embedded", "wordnet"])
def test_captions_of_cc3m_give_true_parts_and_false_ones(name: str, tagged: Lexicon) -> None:
    lexicon = tagged if name == "wordnet" else Lexicon.load()
    known = Lexicon.load()
    offered = Counter[str]()
    for caption in CC3M:
        offered.update(offers(caption, lexicon))
        whole = tokens(caption)
        for seed in range(10):
            sub = subcaption(caption, random.Random(seed), lexicon, negatives=2)
            assert sub is not None, caption
            assert is_part(tokens(sub.positive), whole)
            assert len(tokens(sub.positive)) < len(whole)
            for negative in sub.negatives:
                words = tokens(negative.text)
                assert not is_part(words, whole), negative
                (new,) = set(words) - set(whole)
                assert new == negative.replacement.lower()
                assert negative.original.lower() in whole
                near = known.synonyms(negative.original.lower())
                assert negative.replacement not in near, negative
                if negative.kind == "adjective":
                    assert not negative.replacement.endswith("ing"), negative
    assert offered["noun"] >= 38
    assert offered["adjective"] >= 20
    assert offered["verb"] >= 15


@pytest.mark.parametrize("name", ["embedded", "wordnet"])
@pytest.mark.parametrize(
    ("caption", "positive", "negative"),
    [
        (CC3M[1], "a small brown dog", "a large brown dog"),
        (CC3M[5], "two young girls", "two young boys"),
        (CC3M[8], "woman wearing a black dress", "woman wearing a white dress"),
        (CC3M[37], "a soldier", "a doctor"),
        (CC3M[31], "the moon rises", "the moon falls"),
        (CC3M[35], "a girl jumps", "a girl flies"),
    ],
)
def test_expected_sub_captions(
    name: str, tagged: Lexicon, caption: str, positive: str, negative: str
) -> None:
    lexicon = tagged if name == "wordnet" else Lexicon.load()
    positives, negatives = set(), set()
    for seed in range(400):
        sub = subcaption(caption, random.Random(seed), lexicon)
        assert sub is not None
        positives.add(sub.positive)
        negatives.add(sub.negatives[0].text)
    assert positive in positives
    assert negative in negatives


# ---- artifacts -----------------------------------------------------------------------------------

TOKENIZE = partial(models.tokenize, "RN50")
MIXED = [*CC3M, "", "123", "the of and", *scenes(20)] * 12  # several processes' worth

BEFORE = {
    "sub/negatives.npy": "210a797ec87cbeec",
    "sub/positives.npy": "34d78e49ccd7a409",
    "sub/rows.npy": "e3de52a5036629cd",
    "sub/subcaptions.csv": "38e67857025795ff",
    "variants.npy": "7c04317a5348a750",
}


def written(folder: Path, captions: list[str], **options: Any) -> dict[str, Any]:
    write_variants(folder / "variants.npy", captions, TOKENIZE, epochs=2, seed=0, **options)
    more = {"epochs": 2, "seed": 0, "samples": len(captions) // 2, "negatives": 2}
    return write_subcaptions(folder / "sub", captions, TOKENIZE, **more, **options)


@pytest.mark.parametrize("name", ["embedded", "wordnet"])
def test_the_number_of_processes_changes_no_byte(name: str, made: Path, tmp_path: Path) -> None:
    nltk = made if name == "wordnet" else None
    written(tmp_path / "one", MIXED, nltk=nltk)
    written(tmp_path / "two", MIXED, nltk=nltk, workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(contents(tmp_path / "one")) == 6


def test_the_lexicon_changes_the_result(made: Path, tmp_path: Path) -> None:
    one = written(tmp_path / "one", CC3M)
    two = written(tmp_path / "two", CC3M, nltk=made)  # the tiny WordNet knows few words
    assert contents(tmp_path / "one").keys() == contents(tmp_path / "two").keys()
    assert one["offers"]["noun"] > two["offers"]["noun"] > 0
    assert one["offers"]["none"] < two["offers"]["none"]


def test_the_embedded_lexicon_gives_the_bytes_that_it_always_gave(tmp_path: Path) -> None:
    """Digests of the code before there was another lexicon, or several processes."""
    written(tmp_path, [*CC3M, "", "123", *scenes(20)])
    digests = {
        name: hashlib.sha256(body).hexdigest()[:16] for name, body in contents(tmp_path).items()
    }
    del digests["sub/account.json"]
    assert digests == BEFORE


@pytest.mark.parametrize("kinds", [KINDS, ("verb",)])
def test_the_account_says_what_the_captions_offer(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    captions = [*CC3M, "", "123", "a red apple", "the of and"]
    account = write_subcaptions(
        tmp_path / "s", captions, TOKENIZE, epochs=3, seed=0, samples=5, kinds=kinds
    )
    lexicon = Lexicon.load()
    assert account["captions"] == len(captions)
    for kind in KINDS:  # also of kinds that are not asked for
        giving = [
            c for c in captions if subcaption(c, random.Random(0), lexicon, 1, [kind]) is not None
        ]
        assert account["offers"][kind] == len(giving)
        assert 0 < len(giving) < len(captions)
    assert account["offers"]["none"] == 3
    assert json.loads((tmp_path / "s/account.json").read_text()) == account


def test_the_commands_with_wordnet(
    made: Path, small_split: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = configs.load(ROOT / "config/config.yaml", ROOT / "config/test/smoke.yaml")
    config["text"]["lexicon"] = "wordnet"
    config["defenses"]["taclean"]["subcaptions"]["samples"] = 20
    for stage, out in (("variants/seed0", "v.npy"), ("subcaptions/taclean/seed0", "s")):
        resolved = stage_config(config, stage)
        assert resolved["lexicon"] == "wordnet"
        (tmp_path / "stage.json").write_text(json.dumps(resolved))
        arguments = [stage.split("/")[0], "--config", str(tmp_path / "stage.json")]
        arguments += ["--data", str(small_split), "--out", str(tmp_path / out)]
        with pytest.raises(SystemExit):
            main(arguments)
        assert "give the folder as --nltk" in capsys.readouterr().err
        main([*arguments, "--nltk", str(made), "--workers", "2"])
    last = capsys.readouterr().out.splitlines()[-1]
    share = r"\d+\.\d %"
    assert re.fullmatch(
        rf"captions that offer adjective {share}, noun {share}, verb {share}, none {share} "
        r"\(of 64\)",
        last,
    )
    assert np.load(tmp_path / "v.npy").shape == (1, 64, 77)


# ---- config ------------------------------------------------------------------------------------


def test_the_stage_depends_on_the_lexicon_and_its_source() -> None:
    config = configs.load(ROOT / "config/config.yaml")
    assert stage_config(config, "variants/seed0")["lexicon"] == "embedded"
    assert stage_config(config, "subcaptions/taclean/seed0")["lexicon"] == "embedded"
    assert stage_config(config, "nltk")["folder"] is None
    other = configs.merge(config, {"text": {"lexicon": "wordnet", "folder": "here"}})
    configs.check(other)
    assert stage_config(other, "nltk")["folder"] == "here"
    for stage in ("finetune/badnet/taclean/seed0", "pack/clean", "evaluate/badnet/ft/seed0"):
        assert stage_config(other, stage) == stage_config(config, stage)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ({"lexicon": "brown"}, r"text\.lexicon: 'brown' is not one of"),
        ({"mirror": "ftp://x"}, r"text\.mirror"),
        ({"mirror": "https://x.org/index.xml", "folder": "y"}, r"text\.mirror: .*not both"),
    ],
)
def test_a_mistake_in_the_config_is_named(text: dict[str, str], message: str) -> None:
    config = configs.load(ROOT / "config/config.yaml")
    with pytest.raises(UserError, match=message):
        configs.check(configs.merge(config, {"text": text}))


# ---- the rules ---------------------------------------------------------------------------------

TEXTS = ["data/text/seed0/variants.npy", "data/text/seed0/taclean/rows.npy"]


@pytest.fixture
def snakemake(run_snakemake) -> Callable[..., str]:
    """Run the two text rules with this `text` section."""

    def run(directory: Path, text: dict[str, str], *options: str) -> str:
        overlay = directory / "overlay.yaml"
        overlay.write_text(json.dumps({"text": text}), "utf-8")
        files = [ROOT / "config/test/smoke.yaml", overlay]
        return run_snakemake(directory, *TEXTS, *options, files=files)

    return run


@pytest.mark.parametrize("lexicon", ["embedded", "wordnet"])
def test_the_data_are_fetched_only_where_they_are_used(
    tmp_path: Path, lexicon: str, snakemake
) -> None:
    plan = snakemake(tmp_path, {"lexicon": lexicon}, "--dry-run")
    assert ("rule nltk_data:" in plan) == (lexicon == "wordnet")
    assert "rule variants:" in plan


@pytest.mark.slow
def test_the_rules_with_wordnet_from_a_folder(
    nltk_data: Path, made: Path, tmp_path: Path, snakemake
) -> None:
    text = {"lexicon": "wordnet", "folder": str(nltk_data)}
    snakemake(tmp_path, text)
    assert contents(tmp_path / "data/nltk") == contents(made)
    account = json.loads((tmp_path / "data/text/seed0/taclean/account.json").read_text())
    assert account["offers"]["noun"] > 0
    assert "captions that offer" in (tmp_path / "logs/subcaptions/taclean/seed0.log").read_text()
    assert "Nothing to be done" in snakemake(tmp_path, text, "--dry-run")


# ---- the full WordNet ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(WORDNET is None, reason="TACLEAN_WORDNET names no folder with a WordNet 3.0")
def test_the_full_wordnet_gives_the_embedded_table(nltk_data: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(nltk_data / "taggers", source / "taggers")
    (source / "corpora").mkdir()
    (source / "corpora/wordnet").symlink_to(Path(str(WORDNET)).resolve())
    make(tmp_path / "out", folder=source)
    lexicon = Lexicon.load(tmp_path / "out")
    for caption in CC3M:
        assert offers(caption, lexicon)
    assert (tmp_path / "out/lexicon.tsv.gz").read_bytes() == ASSET.read_bytes()
