"""Sub-captions, EDA and the lexicon on captions of both kinds: drawn scenes and CC3M's."""

import random
import re
from collections import Counter

import pytest

from taclean.captions import KINDS, Lexicon, eda, subcaption
from taclean.captions.eda import (
    delete_words,
    insert_synonyms,
    replace_synonyms,
    swap_words,
    synonyms_in,
)
from taclean.captions.parts import parse
from tests.helpers import ROOT

# Of figure and scene, a few others, and 27 as CC3M writes them.
CAPTIONS = (ROOT / "tests/data/captions.txt").read_text("utf-8").splitlines()
FIGURE, SCENE = CAPTIONS[:2]
CC3M = (ROOT / "tests/data/cc3m_style.txt").read_text("utf-8").splitlines()
AWKWARD = [
    "banana", "A RED CAR ON THE STREET", "A Red Car On The Street", "cat " * 200,
    "a red cat and " * 60 + "a dog", '"a red apple" on a "table"', "🍌 a banana 🍌", "a cat and",
    "see www.foo.com for a red car", "red &amp; blue ball", "fish &#39;n&#39; chips", ", a cat,",
    "<PERSON> plays the guitar", "an hour on a clock", "it's a dog's life", "the cat 's tail",
    "a\tb\nred  car  on\ta road", "naïve café waiter in a red hat", "{NP} <a><b> a cat < 3",
    "one dog", "$5 red hat",
]  # fmt: skip


def tokens(text: str) -> list[str]:
    return re.findall(r"[\w'’-]+|[^\w\s]", text)


def is_subsequence(part: list[str], whole: list[str]) -> bool:
    rest = iter(whole)
    return all(word in rest for word in part)


@pytest.mark.parametrize("caption", CAPTIONS)
def test_positive_is_part_of_the_caption(caption: str, lexicon: Lexicon) -> None:
    lower = tokens(caption.lower())
    for seed in range(20):
        sub = subcaption(caption, random.Random(seed), lexicon)
        assert is_subsequence(tokens(sub.positive.lower()), lower)
        assert len(tokens(sub.positive)) < len(lower) or len(parse(caption, lexicon).parts) == 1
        assert sub.positive[0].isupper() == caption[0].isupper()
        assert sub.positive.endswith(".") == caption.endswith(".")


@pytest.mark.parametrize("caption", CAPTIONS + CC3M + AWKWARD)
def test_negative_replaces_exactly_one_word(caption: str, lexicon: Lexicon) -> None:
    parsed = parse(caption, lexicon)
    parts = {caption, *map(parsed.text, parsed.parts)}
    for seed in range(20):
        sub = subcaption(caption, random.Random(seed), lexicon, negatives=3)
        if sub is None:
            assert caption not in CAPTIONS
            continue
        texts = [negative.text for negative in sub.negatives]
        assert 1 <= len(set(texts)) == len(texts) <= 3
        for negative in sub.negatives:
            assert negative.kind in KINDS
            pattern = re.escape(negative.replacement)
            restored = {
                negative.text[: m.start()] + negative.original + negative.text[m.end() :]
                for m in re.finditer(pattern, negative.text, re.IGNORECASE)
            }
            assert {text.lower() for text in restored} & {part.lower() for part in parts}
            assert negative.replacement.lower() not in tokens(caption.lower())


def test_figure(lexicon: Lexicon) -> None:
    """The figure's verb is of the control "same_part": no word fits in place of "were"."""
    positives, negatives, kinds = set(), set(), Counter[str]()
    for seed in range(2000):
        for words in ("fitting", "same_part"):
            sub = subcaption(FIGURE, random.Random(seed), lexicon, words=words)
            positives.add(sub.positive)
            negatives.add(sub.negatives[0].text)
            kinds[words, sub.negatives[0].kind] += 1
    assert {"On a blue table were green grapes.", "On a blue table were oranges."} <= positives
    assert "On a white table were oranges." in negatives  # as the figure's adjective
    assert "On a blue table were apples." in negatives  # as its noun
    verb = {"kinds": ["verb"], "words": "same_part"}
    subs = (subcaption(FIGURE, random.Random(n), lexicon, **verb) for n in range(2000))
    assert "On a blue table walk kiwis." in {sub.negatives[0].text for sub in subs if sub}
    assert all(abs(kinds["same_part", kind] - 667) < 150 for kind in KINDS), kinds
    assert abs(kinds["fitting", "noun"] - 1000) < 200


@pytest.mark.parametrize(
    ("caption", "positive"),
    [
        (SCENE, "A large banana."),
        (SCENE, "A large banana sits at the top left."),
        ("young woman working on laptop in the coffee shop", "young woman working on laptop"),
        ("a man with a hat and a woman", "a man with a hat"),
        ("the sky is blue over the mountains", "the sky is blue"),
        ("a red apple", "a red apple"),
    ],
)
def test_expected_positives(caption: str, positive: str, lexicon: Lexicon) -> None:
    found = {subcaption(caption, random.Random(s), lexicon).positive for s in range(60)}  # type: ignore[union-attr]
    assert positive in found


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_can_be_chosen(kind: str, lexicon: Lexicon) -> None:
    for seed in range(20):
        sub = subcaption(SCENE, random.Random(seed), lexicon, negatives=4, kinds=[kind])
        assert {negative.kind for negative in sub.negatives} == {kind}
    assert subcaption("a red apple", random.Random(0), lexicon, kinds=["verb"]) is None


def test_bad_arguments(lexicon: Lexicon) -> None:
    for wrong, message in (({"negatives": 0}, "negatives=0"), ({"kinds": ["adverb"]}, "adverb")):
        with pytest.raises(ValueError, match=message):
            subcaption(SCENE, random.Random(0), lexicon, **wrong)


def test_articles_and_the_inflection_of_a_verb(lexicon: Lexicon) -> None:
    words = "orange umbrella owl hour dog unicorn".split()
    assert [lexicon.article(word) for word in words] == ["an"] * 4 + ["a"] * 2
    for rng in map(random.Random, range(100)):
        for caption in ("An orange cat lies on an umbrella.", "A dog runs by an owl."):
            sub = subcaption(caption, rng, lexicon, negatives=2, kinds=["verb"])
            assert all(negative.replacement.endswith("s") for negative in sub.negatives)


@pytest.mark.parametrize("caption", CAPTIONS + AWKWARD)
def test_eda_properties(caption: str, lexicon: Lexicon) -> None:
    words = caption.split()
    n = max(1, int(0.1 * len(words)))
    for seed in range(10):
        rng = random.Random(seed)
        synonyms = synonyms_in(words, lexicon, same_part=bool(seed % 2))
        swapped = swap_words(words, n, rng)
        assert sorted(swapped) == sorted(words)
        assert sum(a != b for a, b in zip(words, swapped, strict=True)) <= 2 * n
        deleted = delete_words(words, 0.1, rng)
        assert deleted
        assert is_subsequence(deleted, words)
        inserted = insert_synonyms(words, n, rng, synonyms)
        assert is_subsequence(words, inserted)
        assert len(inserted) <= len(words) + n
        replaced = replace_synonyms(words, n, rng, synonyms)
        assert len(replaced) == len(words)
        gone = {a.lower() for a, b in zip(words, replaced, strict=True) if a != b}
        assert len({w.strip('.,"') for w in gone}) <= n
        one, same = (eda(caption, random.Random(seed), lexicon) for _ in range(2))
        assert one == same


def test_eda_draws_each_operation(lexicon: Lexicon) -> None:
    words = SCENE.split()
    seen = Counter[str]()
    for seed in range(400):
        out = eda(SCENE, random.Random(seed), lexicon).split()
        if out == words:
            seen["same"] += 1
        elif sorted(out) == sorted(words):
            seen["swap"] += 1
        else:
            seen[{-1: "delete", 0: "replace", 1: "insert"}[max(-1, len(out) - len(words))]] += 1
    # a quarter each; deletion leaves all 16 words with probability 0.9 ** 16 = 0.19
    assert all(seen[kind] > 60 for kind in ("swap", "delete", "replace", "insert")), seen
    assert 5 < seen["same"] < 45, seen


def test_eda_does_not_touch_function_words(lexicon: Lexicon) -> None:
    for seed in range(50):
        words = "the of and were a".split()
        for same_part in (False, True):
            known = synonyms_in(words, lexicon, same_part)
            assert replace_synonyms(words, 3, random.Random(seed), known) == words
            assert insert_synonyms(words, 3, random.Random(seed), known) == words


def test_eda_keeps_the_part_of_speech_unless_told(lexicon: Lexicon) -> None:
    words = "a person stands in the cold ground".split()
    used, published = synonyms_in(words, lexicon), synonyms_in(words, lexicon, same_part=False)
    assert "earth" in used("ground")
    assert "prime" not in used("ground")  # to ground, as paint does
    assert "prime" in published("ground")
    assert set(used("ground")) < set(published("ground"))
    assert not used("unseen")
    for same_part in (True, False):
        rngs = map(random.Random, range(99))
        made = {eda("cold ground", rng, lexicon, same_part=same_part) for rng in rngs}
        assert ("cold prime" in made) == (not same_part)
