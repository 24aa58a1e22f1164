"""Train the tagger's weights on captions that spaCy has tagged: `weights.json.gz`.

    pip install taclean[assets]    # spaCy; its English model en_core_web_sm 3.8 besides
    python tools/train_tagger.py --captions FILE --model NAME    # FILE: a caption a line

FILE was 10,556 captions of the validation part of Conceptual Captions, of which every tenth is held
out to score the tagger. Scenes of taclean.data.scenes are added, as their captions are the other
kind that the package is run on. The file also gets, per tag, how many captions have a word.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import spacy
from spacy.tokens import Doc

from taclean.captions.parts import TOKEN
from taclean.captions.wordnet import NOUNS, PART, Lexicon, Tagger
from taclean.data import scenes

HERE = Path(__file__).parents[1] / "taclean" / "assets" / "tagger"
ROUNDS, SCENES = 6, 1000
LEAST, LEAST_SEEN = 0.25, 5  # weights, and counts of captions, that are kept
NAMES = {
    "NNP": "NN", "NNPS": "NNS", "JJR": "JJ", "JJS": "JJ", "RBR": "RB", "RBS": "RB", "PDT": "DT",
    "WDT": "WP", "WRB": "WP", "WP$": "WP", ",": "COMMA", ":": "COMMA", ".": "STOP", "FW": "NN",
    "AFX": "JJ",
}  # fmt: skip
NAMES |= dict.fromkeys("$ # `` '' -LRB- -RRB- NFP ADD LS UH XX _SP".split(), "SYM")
PAINTED = set("small medium large plain striped dotted checked orange".split())  # of the scenes
Tagged = list[tuple[str, str]]


def tagged(captions: Iterable[str], model: str) -> Iterator[Tagged]:
    """Lower-case words with spaCy's tags, under the package's names."""
    pipe = spacy.load(model, exclude=["ner", "lemmatizer"])
    docs = (Doc(pipe.vocab, words=TOKEN.findall(caption.lower())) for caption in captions)
    for doc in pipe.pipe(doc for doc in docs if len(doc)):
        pairs = []
        for token in doc:
            tag = NAMES.get(token.tag_, token.tag_)
            if token.text in ("-", "–"):
                tag = "HYPH"
            elif tag in ("VBN", "VBG", "VBD") and token.dep_ == "amod" and token.head.i > token.i:
                tag = "JJ"  # hand drawn flowers, a striped background
            elif token.text in PAINTED and token.i + 1 < len(doc) and doc[token.i + 1].is_alpha:
                tag = "JJ" if doc[token.i + 1].tag_[0] in "NJV" else tag  # a medium orange
            elif tag == "JJ" and token.dep_ in ("pobj", "dobj", "nsubj"):
                tag = "NN"  # at the bottom
            pairs.append((token.text, tag))
        yield pairs


def train(sentences: list[Tagged]) -> Tagger:
    classes = sorted({tag for pairs in sentences for _, tag in pairs})
    tagger = Tagger(Lexicon.load(), {"classes": classes, "weights": {}})
    perceptron = tagger.model
    fixed = [(tagger.features([w for w, _ in pairs]), [t for _, t in pairs]) for pairs in sentences]
    rng = random.Random(0)
    for _ in range(ROUNDS):
        rng.shuffle(fixed)
        for features, tags in fixed:
            before = last = "<"
            for given, tag in zip(features, tags, strict=True):
                known = tagger.with_tags(given, last, before)
                before, last = last, perceptron.predict(dict.fromkeys(known, 1))[0]
                perceptron.update(tag, last, known)
    perceptron.average_weights()
    perceptron.weights = {
        feature: kept
        for feature, weights in sorted(perceptron.weights.items())
        if (kept := {tag: round(w, 1) for tag, w in weights.items() if abs(w) >= LEAST})
    }
    return tagger


def agreement(tagger: Tagger, sentences: list[Tagged]) -> tuple[float, float]:
    """Share of words, and of nouns, verbs and adjectives, that get spaCy's tag."""
    pairs = [
        (found, tag)
        for sentence in sentences
        for found, (_, tag) in zip(tagger.tag([w for w, _ in sentence]), sentence, strict=True)
    ]
    content = [(found, tag) for found, tag in pairs if tag in NOUNS or tag[:2] in ("VB", "JJ")]
    return tuple(sum(a == b for a, b in some) / len(some) for some in (pairs, content))  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--captions", type=Path, required=True, help="text file, a caption a line")
    parser.add_argument("--model", default="en_core_web_sm", help="spaCy's model")
    parser.add_argument("--out", type=Path, default=HERE / "weights.json.gz")
    options = parser.parse_args()
    captions = options.captions.read_text("utf-8").splitlines()
    natural = list(tagged(captions, options.model))
    drawn = list(tagged(scenes.compose(range(SCENES), 0, size=8, second=0.5)[1], options.model))
    tagger = train([*(s for n, s in enumerate(natural) if n % 10), *drawn])
    every, content = agreement(tagger, natural[::10])
    print(f"held out: {100 * every:.1f} % of words, {100 * content:.1f} % of content words")
    counts = Counter(pair for pairs in [*natural, *drawn] for pair in set(pairs))
    seen: dict[str, dict[str, int]] = {
        tag: {} for tag in sorted(tagger.model.classes) if tag in PART
    }
    for (word, tag), n in sorted(counts.items()):
        if n >= LEAST_SEEN and tag in seen and word.isalpha():
            seen[tag][word] = n
    model = {"classes": sorted(tagger.model.classes), "weights": tagger.model.weights, "seen": seen}
    text = json.dumps(model, separators=(",", ":"))
    options.out.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    print(f"{options.out}: {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
