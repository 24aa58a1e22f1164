"""Export WordNet 3.0 and English inflections to `lexicon.tsv.gz`, the table that `Lexicon` reads.

Beside it, `glosses.tsv.gz` gets the id, the names and the gloss of each synset of ImageNet-1K.

    apt-get download wordnet-base wordnet-sense-index
    pip install taclean[assets]
    python tools/build_lexicon.py --dict DIR    # usr/share/wordnet after `dpkg -x` of both

Rows, tab-separated, lists space-separated (the first field is the row's kind):

    s        id     field   parents    a synset
    n|v|a|r  lemma  senses  frames     a noun, verb, adjective, adverb
    c        word   tag                closed-class word and its Penn tag
    i        form   tag     lemma      inflected form, the irregular ones first

`field` is the synset's lexicographer file. The `parents` of a noun or verb are its hypernyms, those
of an adjective the synsets that it is similar to. `senses` are `id:uses`, most common first, `uses`
in WordNet's concordances. `frames` says whether a verb takes an object (t), does without (i), or
both (ti). Forms are the SPECIALIST Lexicon's (US National Library of Medicine), as lemminflect has
them.
"""

import argparse
import gzip
import re
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import nltk
from nltk.corpus.reader.wordnet import Synset, WordNetCorpusReader

from taclean.captions.wordnet import PART

HERE = Path(__file__).parents[1] / "taclean" / "assets" / "wordnet"
PARTS = {"n": "n", "v": "v", "a": "a", "s": "a", "r": "r"}
FILES = [f"{kind}.{part}" for kind in ("index", "data") for part in ("noun", "verb", "adj", "adv")]
FILES += ["index.sense", "cntlist.rev", "noun.exc", "verb.exc", "adj.exc", "adv.exc"]
# The file that Debian leaves out and NLTK needs: lexnames(5WN), the same in every WordNet 3.
LEXNAMES = (
    "adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute "
    "noun.body noun.cognition noun.communication noun.event noun.feeling noun.food noun.group "
    "noun.location noun.motive noun.object noun.person noun.phenomenon noun.plant "
    "noun.possession noun.process noun.quantity noun.relation noun.shape noun.state "
    "noun.substance noun.time verb.body verb.change verb.cognition verb.communication "
    "verb.competition verb.consumption verb.contact verb.creation verb.emotion verb.motion "
    "verb.perception verb.possession verb.social verb.stative verb.weather adj.ppl"
).split()
PART_NUMBER = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}
OBJECT_FRAMES = {*range(8, 12), *range(14, 22), 30, 31}  # "Somebody ----s something"
SHORT = {"go", "do", "be", "ox", "tv"}  # words of two letters that are words
# SPECIALIST mixes to lie (lay, lain) with to lie (lied), to can with the modal; and what it lacks.
CORRECTED = {
    ("aircraft", "NNS"): "aircraft", ("subspecies", "NNS"): "subspecies",
    ("homefolk", "NNS"): "homefolk", ("signore", "NNS"): "signori",
    ("lie", "VBD"): "lay", ("lie", "VBN"): "lain", ("can", "VBD"): "canned",
    ("can", "VBN"): "canned", ("can", "VBG"): "canning", ("forgo", "VBD"): "forwent",
    ("forego", "VBN"): "foregone", ("bestride", "VBD"): "bestrode", ("sublet", "VBD"): "sublet",
    ("shew", "VBN"): "shewn", ("overbid", "VBD"): "overbid", ("overspend", "VBD"): "overspent",
    ("underlay", "VBD"): "underlaid", ("unmake", "VBD"): "unmade",
    ("sightread", "VBD"): "sightread", ("sightread", "VBN"): "sightread",
    ("mimic", "VBG"): "mimicking", ("mimic", "VBD"): "mimicked", ("mimic", "VBN"): "mimicked",
}  # fmt: skip
TAGS = ("NNS", "VBZ", "VBG", "VBD", "VBN")
TAKES_ES = re.compile(r"(s|x|z|ch|sh|^go|^do)$")
RUDE = {"disparagement", "ethnic_slur", "obscenity", "vulgarism", "derogation"}  # usage domains


def corpus(source: Path, root: Path) -> tuple[Path, WordNetCorpusReader]:
    """Copy WordNet to where NLTK reads it: .../corpora/wordnet, which no one else may write."""
    folder = root / "corpora" / "wordnet"
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_bytes((source / name).read_bytes())
    (folder / "lexnames").write_text(
        "".join(f"{n:02d}\t{x}\t{PART_NUMBER[x.split('.')[0]]}\n" for n, x in enumerate(LEXNAMES))
    )
    nltk.data.path.insert(0, str(root.resolve()))
    return folder, WordNetCorpusReader(str(folder.resolve()), None)


def listed(name: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs of a data file of the asset; `#` starts a comment."""
    for line in (HERE / name).read_text("utf-8").splitlines():
        head, _, words = line.partition("#")[0].partition(":")
        yield from ((head.strip(), word) for word in words.split())


def senses_of(folder: Path, wordnet: WordNetCorpusReader) -> dict[tuple[str, str], list]:
    """Return (lemma, part) -> senses as (synset, uses), most common first, of single words."""
    refused = {word for _, word in listed("left_out.txt")}
    at = {(PARTS[synset.pos()], synset.offset()): synset for synset in wordnet.all_synsets()}
    rude = {
        s for s in at.values() if any(d.name().split(".")[0] in RUDE for d in s.usage_domains())
    }
    found: dict[tuple[str, str], list[tuple[int, Synset, int]]] = defaultdict(list)
    # index.sense: sense_key offset sense_number uses; the key starts lemma%part_of_speech
    for line in (folder / "index.sense").read_text("utf-8").splitlines():
        key, offset, number, uses = line.split()
        name, part = key.split("%")[0], " nvara"[int(key.split("%")[1][0])]
        synset = at[part, int(offset)]
        spelled = [m for m in synset.lemmas() if m.name().lower().removesuffix("(a)") == name]
        lemma = max(spelled, key=lambda m: m.name() == name)
        domains = {domain.synset().name().split(".")[0] for domain in lemma.usage_domains()}
        # Proper names (Kiwi) are left out, except adjectives (American) and times (Monday).
        proper = lemma.name() != name and part != "a" and synset.lexname() != "noun.time"
        if proper or synset in rude or domains & RUDE or name in refused:
            continue
        if re.fullmatch(r"[a-z]+(-[a-z]+)*", name) and (len(name) > 2 or name in SHORT):
            found[name, part].append((int(number), synset, int(uses)))
    return {
        word: [(s, n) for _, s, n in sorted(given, key=lambda g: g[0])]
        for word, given in found.items()
    }


def names(synsets: object) -> str:
    return " ".join(dict.fromkeys(identity(synset) for synset in synsets))  # type: ignore[attr-defined]


def identity(synset: Synset) -> str:
    return f"{PARTS[synset.pos()]}{synset.offset()}"


def synset_row(synset: Synset) -> list[str]:
    parents = synset.hypernyms() + synset.similar_tos() + synset.also_sees() + synset.verb_groups()
    return ["s", identity(synset), synset.lexname(), names(parents)]


def lemma_row(name: str, part: str, senses: list[tuple[Synset, int]]) -> list[str]:
    ids = (
        {frame for synset, _ in senses[:4] for frame in synset.frame_ids()}
        if part == "v"
        else set()
    )
    frames = "t" * bool(ids & OBJECT_FRAMES) + "i" * bool(ids - OBJECT_FRAMES)
    return [part, name, " ".join(f"{identity(s)}:{uses}" for s, uses in senses), frames]


def inflect_by_rule(lemma: str, tag: str) -> str:
    """Return the regular form of a lemma under a tag."""
    if tag == "NNS" and re.search(r"..man$|[iy]sis$", lemma):
        return re.sub("an$", "en", re.sub("is$", "es", lemma))
    if tag in ("NNS", "VBZ"):
        if re.search(r"[^aeiou]y$", lemma):
            return lemma[:-1] + "ies"
        return lemma + ("es" if TAKES_ES.search(lemma) else "s")
    if tag in ("VBG", "VBD", "VBN"):
        lemma = re.sub(r"([aeiou])c$", r"\1ck", lemma)
    if tag == "VBG":
        return re.sub(r"([^aeoy])e$", r"\1", lemma) + "ing"
    if tag in ("VBD", "VBN"):
        return re.sub(r"([^aeiou])y$", r"\1i", lemma).removesuffix("e") + "ed"
    return lemma


def regular(lemmas: set[tuple[str, str]], irregular: set[tuple[str, str]]) -> Iterator[list[str]]:
    """Yield rows of the forms that the rules make: all but the `irregular` (lemma, tag).

    Of a form of two lemmas the likelier comes first: axes of axe (and ax), bathing of bath (bathe).
    """
    for tag in TAGS:
        of_part = sorted(lemma for lemma, part in lemmas if part == PART[tag])
        for lemma in sorted(of_part, key=len, reverse=tag in ("NNS", "VBZ")):
            if (lemma, tag) not in irregular:
                yield ["i", inflect_by_rule(lemma, tag), tag, lemma]


def inflections(folder: Path, lemmas: set[tuple[str, str]]) -> Iterator[list[str]]:
    """Yield rows of the forms that the rules miss, the usual form of a lemma first."""
    from lemminflect import getAllInflections

    plurals = dict(
        line.split()[1::-1] for line in (folder / "noun.exc").read_text("utf-8").splitlines()
    )

    def forms(lemma: str, part: str, tag: str) -> list[str]:
        if (lemma, tag) in CORRECTED:
            return [CORRECTED[lemma, tag]]
        given = getAllInflections(lemma, {"n": "NOUN", "v": "VERB"}[part]).get(tag, ())
        if not given and part == "n":  # what SPECIALIST lacks, WordNet's list of exceptions has
            given = [plurals[lemma]] if lemma in plurals else []
        ends = [lemma[n:] for n in range(2, len(lemma) - 2) if (lemma[n:], part) in lemmas]
        if not given and part == "v" and ends:  # unfreeze as freeze
            given = [lemma.removesuffix(ends[0]) + form for form in forms(ends[0], part, tag)]
        return [form for form in given if form.isalpha()]

    for lemma, part in sorted(lemmas):
        for tag in {"n": ("NNS",), "v": ("VBZ", "VBG", "VBD", "VBN")}.get(part, ()):
            given = forms(lemma, part, tag)
            if given and given[0] != inflect_by_rule(lemma, tag):
                yield from (["i", form, tag, lemma] for form in given)


def gloss_rows(wordnet: WordNetCorpusReader) -> Iterator[list[str]]:
    """Yield rows of ImageNet-1K's classes; a gloss is without its examples and remarks."""
    from timm.data import ImageNetInfo

    for wnid in ImageNetInfo("imagenet-1k").label_names():
        synset = wordnet.synset_from_pos_and_offset("n", int(wnid[1:]))
        yield [wnid, ",".join(synset.lemma_names()), synset.definition().partition(";")[0].strip()]


def save(rows: list[list[str]], path: Path) -> None:
    text = "".join("\t".join(row).rstrip() + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    print(f"{path}: {len(rows)} rows, {path.stat().st_size} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dict", type=Path, required=True, help="the packages' usr/share/wordnet")
    parser.add_argument("--out", type=Path, default=HERE / "lexicon.tsv.gz")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temp, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The multilingual functions")
        folder, wordnet = corpus(options.dict, Path(temp))
        senses = senses_of(folder, wordnet)
        used = sorted(set(wordnet.all_synsets()), key=identity)
        rows = [synset_row(synset) for synset in used]
        rows += [lemma_row(*word, given) for word, given in sorted(senses.items())]
        rows += [["c", word, tag] for tag, word in listed("closed.txt")]
        irregular = list(inflections(folder, set(senses)))
        rows += irregular
        rows += regular(set(senses), {(lemma, tag) for _, _, tag, lemma in irregular})
        save(list(gloss_rows(wordnet)), options.out.with_name("glosses.tsv.gz"))
    save(rows, options.out)


if __name__ == "__main__":
    main()
