"""Language data and natural captions: inflections, tags, parts, exchanged words, their worth."""

import os
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from taclean.captions import KINDS, Lexicon, Vocabulary, learn, offers, subcaption, tally
from taclean.captions.parts import TOKEN, parse
from taclean.captions.replacements import LEAST
from taclean.captions.subcaptions import choices, text_only_score
from taclean.data.scenes import compose
from tests.helpers import ROOT

SHARED = ROOT.parent / "shared/data/cc3m_validation_captions.txt"
CAPTIONS = Path(os.environ.get("TACLEAN_CAPTIONS") or SHARED)
natural = pytest.mark.skipif(not CAPTIONS.is_file(), reason="TACLEAN_CAPTIONS names no file")

# Our own, in the style of CC3M's: lower case, names given as <person> or by their kind, tokens set
# apart by spaces, fragments, digits and quotes.
CC3M = (ROOT / "tests/data/cc3m_style.txt").read_text("utf-8").splitlines()


class Split:
    """Captions, what they count, and a sub-caption of each."""

    def __init__(self, captions: list[str]) -> None:
        lexicon = Lexicon.load()
        self.captions = captions
        self.counts = tally(captions, lexicon)
        self.vocabulary = learn(captions, self.counts, lexicon)
        self.offers = [offers(caption, lexicon, self.vocabulary) for caption in captions]
        self.subs = [
            subcaption(caption, random.Random(n), lexicon, vocabulary=self.vocabulary)
            for n, caption in enumerate(captions)
        ]
        self.made = [sub for sub in self.subs if sub]
        changes = [sub.negatives[0] for sub in self.made]
        self.kinds = Counter(change.kind for change in changes)
        self.gone = Counter(change.original.lower() for change in changes)
        self.came = Counter(change.replacement.lower() for change in changes)

    def score(self) -> float:
        pairs = [(s.positive, s.negatives[0].text, c)
                 for s, c in zip(self.subs, self.captions, strict=True) if s]  # fmt: skip
        return text_only_score(*map(list, zip(*pairs, strict=True))).accuracy

    def imbalance(self) -> float:
        """Return the total variation between the words that go and those that come."""
        words = self.gone | self.came
        return sum(abs(self.gone[w] - self.came[w]) for w in words) / 2 / len(self.made)


@pytest.fixture(scope="module")
def scenes() -> Split:
    return Split(compose(range(3000), 0, size=8, second=0.5)[1])


@pytest.fixture(scope="module")
def read() -> Split:
    return Split(CAPTIONS.read_text("utf-8").splitlines())


def tokens(text: str) -> list[str]:
    return TOKEN.findall(text.lower())


def rows(name: str) -> list[list[str]]:
    """Rows of a table beside the captions."""
    lines = (ROOT / f"tests/data/{name}.tsv").read_text("utf-8").splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")]


def test_irregular_forms_are_those_of_the_list(lexicon: Lexicon) -> None:
    irregular = rows("irregular")
    assert len(irregular) >= 500
    wrong = [
        (lemma, tag, found)
        for lemma, tag, forms in irregular
        if (found := lexicon.inflect(lemma, tag)) not in forms.split("/")
    ]
    assert not wrong
    back = [
        (lemma, tag, form)
        for lemma, tag, forms in irregular
        if lexicon.lemma(form := lexicon.inflect(lemma, tag), tag) != lemma
    ]
    assert len(back) <= len(irregular) / 50, back  # ground: of grind and of to ground


@pytest.mark.parametrize(("caption", "word", "tag"), rows("tags"))
def test_tags(lexicon: Lexicon, caption: str, word: str, tag: str) -> None:
    words = tuple(TOKEN.findall(caption))
    assert lexicon.tag(words)[words.index(word)] == tag
    assert lexicon.tag(()) == ()


@pytest.mark.parametrize(
    ("caption", "wrong"),
    [
        ("soldiers set up a camp on the beach .", "soldiers set ."),  # a particle
        ("image of an ice - covered crater on the moon", "image of an ice"),  # a spaced hyphen
        ("illustration of a steam locomotive .", "a steam ."),  # a noun that is no adjective
        ("illustration of a steam locomotive .", "illustration of a steam ."),  # a lost head
        ("biologist wants to fly over the sea", "biologist wants"),
        ("image may contain : person , outdoor", "image may contain"),
        ("a banana on a table, a cat and a bird", "a banana on a cat"),  # no shared frame
        ("a banana on a table and an orange", "a banana on an orange"),
        ("a ball between a cat and a dog", "a ball between a cat"),
        ("a man with a hat and a woman", "a man with a woman"),
    ],
)
def test_positives_keep_what_makes_them_true(lexicon: Lexicon, caption: str, wrong: str) -> None:
    parsed = parse(caption, lexicon)
    assert parsed.parts
    assert wrong not in map(parsed.text, parsed.parts)


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
    assert scenes.score() <= 0.57
    assert scenes.imbalance() <= 0.2
    assert scenes.kinds["verb"] > 0.05 * len(scenes.made)  # sits, lies
    assert not [word for word in scenes.came if scenes.counts["seen"][word] < LEAST]


def test_replacements_are_of_the_words_kind(scenes: Split) -> None:
    colours = set("red orange yellow green blue purple pink brown black white gray grey".split())
    changes = [sub.negatives[0] for sub in scenes.made]
    for words in (colours, {"small", "medium", "large"}):
        came = [n.replacement for n in changes if n.original in words and n.kind == "adjective"]
        assert len(came) > 50
        assert set(came) <= words


def test_captions_of_another_style_need_no_corpus(lexicon: Lexicon) -> None:
    offered = Counter(kind for caption in CC3M for kind in offers(caption, lexicon))
    assert offered["noun"] >= 33
    assert offered["adjective"] >= 15
    assert offered["verb"] >= 9
    assert subcaption("don't miss this chocolate cake !", random.Random(0), lexicon) is None


@pytest.mark.parametrize(("word", "other", "part", "apart"), rows("excludes"))
def test_words_that_exclude_one_another(word, other, part, apart, lexicon) -> None:
    for one, two in ((word, other), (other, word)):
        assert lexicon.excludes(one, two, part) == (apart == "yes")


def replaced(caption: str, lexicon: Lexicon, vocabulary: Vocabulary | None = None) -> set[str]:
    """Return what comes into some negatives of a caption."""
    rngs = map(random.Random, range(60))
    subs = [subcaption(caption, rng, lexicon, vocabulary=vocabulary) for rng in rngs]
    return {negative.replacement for sub in subs if sub for negative in sub.negatives}


def test_a_word_fits_what_it_goes_with(lexicon: Lexicon) -> None:
    assert replaced("a christmas tree", lexicon) == set()  # the name of a thing of two words
    assert "old" not in replaced("a navy blue dress", lexicon)
    assert not {"red", "green"} & replaced("a navy blue dress", lexicon)
    assert not {"street", "field"} & replaced("a pop artist performs on stage .", lexicon)
    assert "eating" not in replaced("a man wearing a hat", lexicon)
    assert replaced("a house close to the park", lexicon).isdisjoint({"beach", "street", "lake"})


def test_a_pronoun_keeps_the_gender(lexicon: Lexicon) -> None:
    assert "woman" in replaced("a man with a hat", lexicon)
    assert "woman" not in replaced("a man with his hat", lexicon)
    assert "man" not in replaced("a woman with her hat", lexicon)


def test_a_compound_gives_way_to_what_captions_have_with_its_first_noun(lexicon: Lexicon) -> None:
    captions = [f"a {animal} on a {place}" for animal in ("dog", "cat", "horse", "cow")
                for place in ("beach", "street", "lawn")] * 300  # fmt: skip
    captions += ["a rocking horse on a beach", "a guard dog on a street", "a guard cat"] * 40
    vocabulary = learn(captions, tally(captions, lexicon), lexicon)
    assert replaced("a guard dog", lexicon, vocabulary) == {"cat"}


def test_what_is_denied_gives_no_negative(lexicon: Lexicon) -> None:
    words = {slot.word for slot in parse("a red room with no dog", lexicon).slots}
    assert "red" in words
    assert "dog" not in words


@pytest.mark.parametrize("words", ["same_part", "any"])
def test_controls_work_on_few_captions(words: Any, lexicon: Lexicon) -> None:
    few = ["a red apple on a table", "a dog runs"] * 5
    vocabulary = learn(few, tally(few, lexicon), lexicon)
    made = [subcaption(few[0], random.Random(n), lexicon, 1, KINDS, vocabulary, words)
            for n in range(30)]  # fmt: skip
    changes = [negative for sub in made if sub for negative in sub.negatives]
    assert changes
    tags = {"noun": "NN", "adjective": "JJ"}
    kept = [change.replacement in vocabulary.words[tags[change.kind]] for change in changes]
    assert all(kept) == (words == "same_part")


def test_few_captions_more_serve_few_more(lexicon: Lexicon) -> None:
    captions = compose(range(4000), 0, size=8, second=0.5)[1]
    served = []
    for n in (990, 1010, 2990, 3010):
        vocabulary = learn(captions[:n], tally(captions[:n], lexicon), lexicon)
        served.append(sum(bool(offers(c, lexicon, vocabulary)) for c in captions[:500]) / 500)
    assert max(served) - min(served) < 0.05


def test_no_tags_in_any_order_crash(lexicon: Lexicon, monkeypatch: pytest.MonkeyPatch) -> None:
    tags = "NN NNS NNP VB VBP VBZ VBG VBD VBN BE AUX MD JJ CD RB RP IN TO DT PRP$ PRP CC COMMA "
    tags = (tags + "STOP SYM POS HYPH WP EX").split()
    words = "dog dogs run be been being am is are were from of a an the red and two his no - 's , "
    words = (words + ". to next close in person picture <X> 猫 42 café cover").split()
    rng, vocabulary = random.Random(0), Vocabulary(lexicon)
    monkeypatch.setattr(lexicon, "tag", lambda some: tuple(rng.choices(tags, k=len(some))))
    made = 0
    for _ in range(4000):
        parsed = parse(" ".join(rng.choices(words, k=rng.randint(0, 9))), lexicon)
        for mode in ("fitting", "same_part", "any"):
            for found in choices(parsed, vocabulary, mode).values():  # type: ignore[arg-type]
                for choice in found:
                    for part in choice.parts:
                        parsed.text(part, {choice.slot.place: min(choice.words)})
                        made += 1
    assert made > 2500
    monkeypatch.undo()
    for caption in ("from being a dog", "in a world to be the best dad", "like being a kid \ud800"):
        subcaption(caption, rng, lexicon)


@natural
def test_natural_captions(read: Split, lexicon: Lexicon) -> None:
    check(read, lexicon)
    assert len(read.made) >= 0.74 * len(read.captions)
    assert read.score() <= 0.57
    assert read.imbalance() <= 0.21
    shares = {kind: read.kinds[kind] / len(read.made) for kind in KINDS}
    assert shares["noun"] <= 0.6, shares
    assert shares["adjective"] >= 0.18, shares
    assert shares["verb"] >= 0.15, shares
    rare = sum(n for word, n in read.came.items() if read.counts["seen"][word] < LEAST)
    assert rare <= 0.01 * len(read.made)
    assert len(read.came) > 500
    longer = [len(s.negatives[0].text.split()) - len(s.positive.split()) for s in read.made]
    assert abs(sum(longer)) < 0.1 * len(longer)  # neither is longer
    assert sum(len(re.findall(r"\w+", s.positive)) == 1 for s in read.made) <= 0.02 * len(read.made)


def test_text_only_score() -> None:
    rng = random.Random(0)
    words = [f"w{n}" for n in range(20)]
    some = [" ".join(rng.choices(words, k=4)) for _ in range(1000)]
    other = [" ".join(rng.choices(words, k=4)) for _ in range(1000)]
    captions = [str(n) for n in range(1000)]
    fair = text_only_score(some, other, captions)
    assert abs(fair.accuracy - 0.5) < 4 * fair.error < 0.1
    assert fair.pairs == 1000
    assert text_only_score(some, [f"{text} x" for text in other], captions).accuracy == 1.0
    assert text_only_score(some, some, captions).accuracy == 0.5
    assert text_only_score(some[:10], other[:10], captions[:10]) is None
    # what one caption alone tells must not count, however often it stands there
    once = text_only_score(some[:100] * 9, other[:100] * 9, captions[:100] * 9)
    assert abs(once.accuracy - 0.5) < 4 * once.error
