"""Train the tagger's weights on captions that spaCy has tagged, and count the captions' words.

    pip install taclean[assets]    # spaCy; its English model en_core_web_sm 3.8 besides
    python tools/train_tagger.py --captions FILE --model NAME    # FILE: a caption a line
    python tools/train_tagger.py --captions FILE --counts        # after a change of the parser

FILE was 10,556 captions of the validation part of Conceptual Captions, of which every tenth is held
out to score the tagger. Scenes of taclean.data.scenes are added, as their captions are the other
kind that the package is run on. The outputs are `weights.json.gz` and `counts.json.gz`, the
`taclean.captions.replacements.Tally` of all these captions.
"""

import argparse
import gzip
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from taclean.captions.parts import TOKEN
from taclean.captions.replacements import COUNTS, tally
from taclean.captions.wordnet import NOUNS, WEIGHTS, Lexicon, Tagger
from taclean.data import scenes

ROUNDS, SCENES = 6, 1000
LEAST = 0.25  # weights that are kept
NAMES = {
    "NNP": "NN", "NNPS": "NNS", "JJR": "JJ", "JJS": "JJ", "RBR": "RB", "RBS": "RB", "PDT": "DT",
    "WDT": "WP", "WRB": "WP", "WP$": "WP", ",": "COMMA", ":": "COMMA", ".": "STOP", "FW": "NN",
    "AFX": "JJ",
}  # fmt: skip
NAMES |= dict.fromkeys("$ # `` '' -LRB- -RRB- NFP ADD LS UH XX _SP".split(), "SYM")
PAINTED = set("small medium large plain striped dotted checked orange".split())  # of the scenes
Tagged = list[tuple[str, str]]


def tagged(captions: Iterable[str], model: str) -> Iterator[Tagged]:
    """Yield lower-case words with spaCy's tags, under the package's names."""
    import spacy
    from spacy.tokens import Doc

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
    """Return a tagger trained on the sentences."""
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
    """Return the shares of words, and of nouns, verbs and adjectives, that get spaCy's tag."""
    pairs = [
        (found, tag)
        for sentence in sentences
        for found, (_, tag) in zip(tagger.tag([w for w, _ in sentence]), sentence, strict=True)
    ]
    content = [(found, tag) for found, tag in pairs if tag in NOUNS or tag[:2] in ("VB", "JJ")]
    return tuple(sum(a == b for a, b in some) / len(some) for some in (pairs, content))  # type: ignore[return-value]


def write(path: Path, table: object) -> None:
    """Write a table as compressed JSON, the same bytes at each call."""
    text = json.dumps(table, separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    print(f"{path}: {path.stat().st_size} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--captions", type=Path, required=True, help="text file, a caption a line")
    parser.add_argument("--model", default="en_core_web_sm", help="spaCy's model")
    parser.add_argument("--counts", action="store_true", help="keep the weights, count the words")
    options = parser.parse_args()
    captions = options.captions.read_text("utf-8").splitlines()
    ours = scenes.compose(range(SCENES), 0, size=8, second=0.5)[1]
    if not options.counts:
        natural = list(tagged(captions, options.model))
        train_rows = [sentence for n, sentence in enumerate(natural) if n % 10]
        tagger = train([*train_rows, *tagged(ours, options.model)])
        every, content = agreement(tagger, natural[::10])
        print(f"held out: {100 * every:.1f} % of words, {100 * content:.1f} % of content words")
        classes = sorted(tagger.model.classes)
        write(WEIGHTS, {"classes": classes, "weights": tagger.model.weights})
        Lexicon.load.cache_clear()
    counts = tally([*captions, *ours], Lexicon.load())
    counts["seen"] = Counter({"": counts["seen"][""]})
    write(COUNTS, {name: dict(sorted(words.items())) for name, words in sorted(counts.items())})


if __name__ == "__main__":
    main()
