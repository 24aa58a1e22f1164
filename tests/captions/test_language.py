"""Language data and natural captions: inflections, tags, parts, exchanged words, their worth."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from taclean.captions import KINDS, Lexicon, SubCaption, Vocabulary, subcaption
from taclean.captions.audit import text_only_score
from taclean.captions.parts import TOKEN, parse
from taclean.captions.replacements import LEAST, Tally, tally
from taclean.captions.subcaptions import learn, offers
from taclean.captions.word_sets import Classes
from taclean.data.scenes import compose

ROOT = Path(__file__).parents[2]
CAPTIONS = os.environ.get("TACLEAN_CAPTIONS") or (
    ROOT.parent / "shared/data/cc3m_validation_captions.txt"
)
natural = pytest.mark.skipif(
    not Path(CAPTIONS).is_file(), reason="TACLEAN_CAPTIONS names no file with a caption a line"
)

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


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon.load()


class Split:
    """Captions, what they count, and a sub-caption of each."""

    def __init__(self, captions: list[str]) -> None:
        lexicon = Lexicon.load()
        self.captions = captions
        self.counts = tally(captions, lexicon)
        self.vocabulary = learn(captions, self.counts, lexicon)
        self.subs: list[SubCaption | None] = [
            subcaption(caption, random.Random(n), lexicon, vocabulary=self.vocabulary)
            for n, caption in enumerate(captions)
        ]
        self.made = [sub for sub in self.subs if sub]

    def score(self) -> float:
        negatives = [sub.negatives[0].text for sub in self.made]
        score = text_only_score([sub.positive for sub in self.made], negatives)
        assert score is not None
        return score


@pytest.fixture(scope="module")
def scenes() -> Split:
    return Split(compose(range(3000), 0, size=8, second=0.5)[1])


@pytest.fixture(scope="module")
def read() -> Split:
    return Split(Path(CAPTIONS).read_text("utf-8").splitlines())


def tokens(text: str) -> list[str]:
    return TOKEN.findall(text.lower())


# ---- forms -------------------------------------------------------------------------------------


def irregular() -> list[list[str]]:
    lines = (ROOT / "tests/data/irregular.tsv").read_text("utf-8").splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")]


def test_irregular_forms_are_those_of_the_list(lexicon: Lexicon) -> None:
    rows = irregular()
    assert len(rows) >= 500
    wrong = [
        (lemma, tag, found)
        for lemma, tag, forms in rows
        if (found := lexicon.inflect(lemma, tag)) not in forms.split("/")
    ]
    assert not wrong
    back = [
        (lemma, tag, form)
        for lemma, tag, forms in rows
        if lexicon.lemma(form := lexicon.inflect(lemma, tag), tag) != lemma
    ]
    assert len(back) <= len(rows) / 50, back  # ground: of grind and of to ground


@pytest.mark.parametrize(
    ("lemma", "tag", "form"),
    [
        ("woman", "NNS", "women"), ("policeman", "NNS", "policemen"), ("human", "NNS", "humans"),
        ("brother", "NNS", "brothers"), ("sheep", "NNS", "sheep"), ("cut", "VBD", "cut"),
        ("hit", "VBN", "hit"), ("begin", "VBD", "began"), ("begin", "VBN", "begun"),
        ("visit", "VBG", "visiting"), ("sit", "VBG", "sitting"), ("mimic", "VBG", "mimicking"),
        ("lie", "VBG", "lying"), ("see", "VBG", "seeing"), ("agree", "VBN", "agreed"),
    ],
)  # fmt: skip
def test_forms(lemma: str, tag: str, form: str, lexicon: Lexicon) -> None:
    assert lexicon.inflect(lemma, tag) == form
    assert lexicon.lemma(form, tag) == lemma


# ---- tags --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caption", "word", "tag"),
    [
        ("<person> holds a ball", "<person>", "NNP"),
        ("the dog 's ball , 2 cats .", "'s", "POS"),
        ("the dog 's ball , 2 cats .", ",", "COMMA"),
        ("the dog 's ball , 2 cats .", "2", "CD"),
        ("a cat is on the table", "is", "BE"),
        ("the cat has been found", "has", "AUX"),
        ("an ice - covered crater", "-", "HYPH"),
        ("A SMALL BROWN DOG RUNS ACROSS THE GREEN GRASS", "BROWN", "JJ"),
        ("see www.foo.com for a dog", "www.foo.com", "SYM"),
        ("dogs & cats", "&", "CC"),
        ("illustration of a steam locomotive .", "locomotive", "NN"),
        ("illustration of a steam locomotive .", "steam", "NN"),
        ("soldiers set up a camp", "up", "RP"),
        ("snow covers the trees in the park", "covers", "VBZ"),
        ("the book covers", "covers", "NNS"),
        ("two young girls are playing", "playing", "VBG"),
    ],
)
def test_tags(lexicon: Lexicon, caption: str, word: str, tag: str) -> None:
    words = tuple(TOKEN.findall(caption))
    assert lexicon.tag(words)[words.index(word)] == tag
    assert lexicon.tag(()) == ()


# ---- parts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caption", "wrong"),
    [
        ("soldiers set up a camp on the beach .", "soldiers set ."),  # a particle
        ("image of an ice - covered crater on the moon", "image of an ice"),  # a spaced hyphen
        ("illustration of a steam locomotive .", "a steam ."),  # a noun that is no adjective
        ("illustration of a steam locomotive .", "illustration of a steam ."),  # a lost head
        ("biologist wants to fly over the sea", "biologist wants"),
        ("image may contain : person , outdoor", "image may contain"),
    ],
)
def test_positives_keep_what_makes_them_true(lexicon: Lexicon, caption: str, wrong: str) -> None:
    parsed = parse(caption, lexicon)
    assert parsed.parts
    assert wrong not in map(parsed.text, parsed.parts)


@pytest.mark.parametrize(
    ("caption", "positive"),
    [
        (CC3M[1], "a small brown dog"),
        (CC3M[5], "two young girls are playing"),
        (CC3M[8], "woman wearing a black dress"),
        (CC3M[37], "a soldier"),
        (CC3M[31], "the moon rises"),
        (CC3M[35], "a girl jumps"),
    ],
)
def test_expected_positives(lexicon: Lexicon, caption: str, positive: str) -> None:
    parsed = parse(caption, lexicon)
    assert positive in map(parsed.text, parsed.parts)


# ---- what a word gives way to --------------------------------------------------------------------


def check(split: Split, lexicon: Lexicon) -> None:
    """One word off, and not for a word that would keep the sentence true."""
    for caption, sub in zip(split.captions, split.subs, strict=True):
        for negative in sub.negatives if sub else ():
            new, old = negative.replacement.lower(), negative.original.lower()
            words = tokens(caption)
            assert new not in words, negative
            assert Counter(tokens(negative.text))[new] == 1
            assert not Counter(tokens(negative.text)) - Counter([*words, new])
            tag = parse(caption, lexicon).tags[words.index(old)]
            part = {"N": "n", "V": "v"}.get(tag[0])
            if part and words.count(old) == 1:
                assert not lexicon.kin(lexicon.lemma(old, tag), lexicon.lemma(new, tag), part)
            for article, word in re.findall(r"\b([Aa]n?) (?=\w)(\S+)", negative.text):
                if word.lower() == new:
                    assert lexicon.article(word) == article.lower(), negative


def test_scenes_stay_balanced(scenes: Split, lexicon: Lexicon) -> None:
    check(scenes, lexicon)
    assert len(scenes.made) >= 0.95 * len(scenes.captions)
    assert scenes.score() <= 0.6
    gone = Counter(sub.negatives[0].original.lower() for sub in scenes.made)
    came = Counter(sub.negatives[0].replacement.lower() for sub in scenes.made)
    often = [word for word in gone if gone[word] + came[word] >= 40]
    assert len(often) > 20
    assert sum(abs(gone[word] - came[word]) for word in often) < 0.35 * sum(gone[w] for w in often)


def test_replacements_are_of_the_words_kind(scenes: Split) -> None:
    colours = set("red orange yellow green blue purple pink brown black white gray grey".split())
    changes = [sub.negatives[0] for sub in scenes.made]
    painted = [n for n in changes if n.original in colours and n.kind == "adjective"]
    assert len(painted) > 50
    assert {n.replacement for n in painted} <= colours
    sizes = [n for n in changes if n.original in ("small", "medium", "large") and n.kind != "noun"]
    assert len(sizes) > 50
    assert {n.replacement for n in sizes} <= {"small", "medium", "large"}
    rare = [n for n in changes if scenes.counts.seen[n.replacement.lower()] < LEAST]
    assert not rare


def test_captions_of_another_style_need_no_corpus(lexicon: Lexicon) -> None:
    offered = Counter(kind for caption in CC3M for kind in offers(caption, lexicon))
    assert offered["noun"] >= 36
    assert offered["adjective"] >= 10
    assert offered["verb"] >= 12
    for caption in CC3M:
        for seed in range(5):
            sub = subcaption(caption, random.Random(seed), lexicon, negatives=2)
            if caption in (
                "our 10 best photos of the week",
                "don't miss this chocolate cake recipe !",
            ):
                assert sub is None  # nothing that a picture settles; all after a denial
                continue
            assert sub is not None, caption
            whole = tokens(caption)
            for negative in sub.negatives:
                (new,) = set(tokens(negative.text)) - set(whole)
                assert new == negative.replacement.lower()
                assert negative.original.lower() in whole


@pytest.mark.parametrize(
    ("word", "other", "part", "apart"),
    [
        ("young", "old", "a", True), ("large", "small", "a", True), ("red", "blue", "a", True),
        ("large", "huge", "a", False), ("other", "same", "a", False),
        ("dog", "horse", "n", True), ("apple", "fruit", "n", False),
        ("couch", "sofa", "n", False), ("rose", "flower", "n", False),
        ("salt", "turquoise", "n", False), ("city", "distance", "n", False),
        ("kitchen", "bathroom", "n", True), ("woman", "lady", "n", False),
        ("sit", "stand", "v", True), ("hold", "carry", "v", False), ("say", "perform", "v", False),
    ],
)  # fmt: skip
def test_words_that_exclude_one_another(
    word: str, other: str, part: str, apart: bool, lexicon: Lexicon
) -> None:
    classes = Classes(lexicon)
    assert classes.excludes(word, other, part) == classes.excludes(other, word, part) == apart
    assert classes.apart([word, other], part).tolist() == [[False, apart], [apart, False]]


@pytest.mark.parametrize(
    ("word", "other", "head", "choosy"),
    [
        ("old", "young", "building", True), ("sunny", "rainy", "day", True),
        ("red", "blue", "car", False), ("large", "small", "island", False),
        ("white", "orange", "girl", True),
    ],
)  # fmt: skip
def test_adjectives_that_go_with_some_nouns_alone(
    word: str, other: str, head: str, choosy: bool, lexicon: Lexicon
) -> None:
    assert Classes(lexicon).choosy(word, other, head) == choosy


def test_a_compound_gives_way_to_what_captions_have_with_its_first_noun(lexicon: Lexicon) -> None:
    captions = [f"a {animal} on a {place}" for animal in ("dog", "cat", "horse", "cow")
                for place in ("beach", "street", "lawn")] * 100  # fmt: skip
    captions += ["a rocking horse on a beach", "a guard dog on a street", "a guard cat"] * 40
    vocabulary = learn(captions, tally(captions, lexicon), lexicon)
    found = Counter(
        negative.replacement
        for n in range(60)
        if (sub := subcaption("a guard dog", random.Random(n), lexicon, vocabulary=vocabulary))
        for negative in sub.negatives
    )
    assert set(found) == {"cat"}


def test_what_is_denied_gives_no_negative(lexicon: Lexicon) -> None:
    words = {slot.word for slot in parse("a red room with no dog", lexicon).slots}
    assert "red" in words
    assert "dog" not in words


def test_a_vocabulary_of_few_captions_falls_back_on_wordnet(lexicon: Lexicon) -> None:
    few = Vocabulary(lexicon, tally(["a red apple on a table"], lexicon))
    assert few.tables == {}
    sub = subcaption("a red apple on a table", random.Random(0), lexicon, vocabulary=few)
    assert sub is not None
    assert Vocabulary(lexicon, Tally()).tables == {}


@natural
def test_natural_captions(read: Split, lexicon: Lexicon) -> None:
    check(read, lexicon)
    assert len(read.made) >= 0.64 * len(read.captions)
    assert read.score() <= 0.65
    gained = [n.replacement.lower() for sub in read.made for n in sub.negatives]
    assert sum(read.counts.seen[word] < LEAST for word in gained) <= 0.01 * len(gained)
    assert len(set(gained)) > 500
    kinds = Counter(n.kind for sub in read.made for n in sub.negatives)
    assert all(kinds[kind] > 0.05 * len(gained) for kind in KINDS), kinds
    whole = sum(sub.positive == c for c, sub in zip(read.captions, read.subs, strict=True) if sub)
    assert whole <= 0.02 * len(read.captions)
    assert sum(len(re.findall(r"\w+", sub.positive)) == 1 for sub in read.made) <= 0.02 * len(
        gained
    )


@natural
def test_no_cut_at_a_spaced_hyphen(read: Split, lexicon: Lexicon) -> None:
    for caption in read.captions:
        if " - " in caption:
            parsed = parse(caption, lexicon)
            for part in parsed.parts:
                after = parsed.words[part[-1] + 1 : part[-1] + 2]
                assert after not in (("-",), ("–",)), parsed.text(part)


# ---- the score ---------------------------------------------------------------------------------


def test_text_only_score() -> None:
    rng = random.Random(0)
    words = [f"w{n}" for n in range(20)]
    some = [" ".join(rng.choices(words, k=4)) for _ in range(1000)]
    other = [" ".join(rng.choices(words, k=4)) for _ in range(1000)]
    fair, told = text_only_score(some, other), text_only_score(some, [f"{t} x" for t in other])
    assert fair is not None
    assert 0.4 < fair < 0.6
    assert told == 1.0
    assert text_only_score(some, some) == 0.5
    assert text_only_score(some[:10], other[:10]) is None


# ---- processes ---------------------------------------------------------------------------------

BUSY = """
import torch
from taclean.captions.artifacts import write_subcaptions, write_variants
import numpy as np

def tokenize(texts):
    return np.ones((len(texts), 77), np.uint16)

if __name__ == "__main__":
    torch.set_num_threads(4)
    layer = torch.nn.Linear(512, 512)
    layer(torch.randn(2000, 512)).sum().backward()  # starts threads that a fork would lack
    captions = [f"a red apple and {n} small dogs on the table" for n in range(1200)]
    given = {"epochs": 2, "seed": 0, "workers": 2}
    write_variants("v.npy", captions, tokenize, **given)
    write_subcaptions("s", captions, tokenize, samples=900, **given)
"""


def test_workers_start_in_a_process_whose_torch_has_threads(tmp_path: Path) -> None:
    (tmp_path / "busy.py").write_text(BUSY)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "4"}
    run = subprocess.run(
        [sys.executable, "busy.py"], cwd=tmp_path, env=environment, timeout=120, check=False
    )
    assert run.returncode == 0
    assert (tmp_path / "s/counts.npy").is_file()


def test_workers_need_no_torch() -> None:
    code = "import sys, taclean.captions.parallel; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["False"], done.stderr
