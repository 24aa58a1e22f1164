"""Export WordNet to the table that `Lexicon` reads, from a corpus folder in NLTK's form.

Rows of the table, tab-separated, lists space-separated (the first field is the row's kind):

    n|v|a|r  lemma  count  synonyms  antonyms  siblings  frames    a noun, verb, adjective, adverb
    c        word   tag                                   closed-class word and its Penn tag
    i        form   tag    lemma                          irregular form (NNS, VBG, VBD, VBN)

`count` is the number of tagged uses in WordNet's concordances; `frames` says of a verb whether it
takes an object (t), does without (i), or both (ti). `antonyms` and `siblings` never hold
a synonym, hypernym or hyponym of the lemma in any sense, so swapping one in changes the meaning.
"""

from __future__ import annotations

import gzip
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nltk
from nltk.corpus.reader.wordnet import Synset, WordNetCorpusReader

SIBLINGS = 12
SYNONYMS = 8
PARTS = {"n": "n", "v": "v", "a": "a", "s": "a", "r": "r"}


def words_of(text: str) -> list[str]:
    return text.split()


# The file that Debian leaves out and NLTK needs: lexnames(5WN), the same in every WordNet 3.
LEXNAMES = words_of(
    "adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute "
    "noun.body noun.cognition noun.communication noun.event noun.feeling noun.food noun.group "
    "noun.location noun.motive noun.object noun.person noun.phenomenon noun.plant "
    "noun.possession noun.process noun.quantity noun.relation noun.shape noun.state "
    "noun.substance noun.time verb.body verb.change verb.cognition verb.communication "
    "verb.competition verb.consumption verb.contact verb.creation verb.emotion verb.motion "
    "verb.perception verb.possession verb.social verb.stative verb.weather adj.ppl"
)
PART_NUMBER = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}

# Captions speak of things that can be seen: `table` is furniture before it is a tabular array.
CONCRETE = {
    f"noun.{name}"
    for name in words_of("animal artifact body food location object person plant substance")
}

VISIBLE = {f"verb.{name}" for name in words_of("body consumption contact creation motion weather")}

# Words of one set exclude one another; WordNet does not hold these together.
SETS = {
    "a": [
        "red orange yellow green blue purple pink brown black white gray",
        "striped dotted checkered plain speckled wavy",
        "round square triangular rectangular",
        "wooden plastic metallic woolen",
        "left right",
        "top bottom",
        "upper lower",
        "front back",
        "two three four five six seven eight nine ten",
    ],
    "n": [
        "red green blue purple pink brown black white gray",
        "left right",
        "top bottom",
        "foreground background",
        "kiwi banana lemon apple grape pear orange cherry melon peach mango coconut pineapple "
        "strawberry watermelon",
        "carrot potato tomato onion cucumber mushroom corn broccoli pumpkin pepper peanut",
        "bread cheese cake pizza egg soup sandwich taco sushi spaghetti hamburger cookie doughnut "
        "candy chocolate croissant popcorn lollipop pancake",
        "coffee tea milk wine beer cocktail",
        "dog cat horse cow sheep pig rabbit elephant bear lion tiger monkey fox wolf deer mouse "
        "squirrel goat camel zebra giraffe kangaroo panda gorilla leopard rhinoceros hamster koala "
        "raccoon",
        "eagle duck owl penguin parrot swan chicken dove turkey flamingo peacock",
        "frog snake turtle lizard crocodile dragon dinosaur",
        "shark whale dolphin octopus crab lobster shrimp squid fish pufferfish seashell",
        "ant bee spider butterfly snail caterpillar ladybug scorpion",
        "tulip rose lily daisy orchid sunflower hibiscus clover",
        "tree flower mushroom cactus",
        "rock shell leaf feather",
        "car bus bicycle motorcycle truck train boat airplane helicopter tractor scooter tram taxi "
        "ambulance rocket ship canoe sailboat speedboat",
        "table chair bed couch desk lamp shelf toilet bathtub",
        "house church castle hospital factory school hotel barn tent fountain",
        "kitchen bedroom bathroom garage office garden",
        "city village farm island",
        "street beach forest desert bridge",
        "mountain river lake volcano waterfall wave",
        "field swamp canyon",
        "sky floor sea ground",
        "sun moon star cloud rainbow lightning snowflake",
        "water sand fire snow grass",
        "shirt dress hat jacket shoe skirt glove scarf boot sock necktie kimono bikini",
        "hand foot knee shoulder",
        "laptop camera telephone television clock printer radio computer watch battery projector "
        "flashlight microscope telescope",
        "guitar piano violin drum trumpet saxophone bell microphone",
        "football basketball tennis baseball golf hockey volleyball bowling boxing",
        "ball racket helmet bat skate trophy medal",
        "hammer knife key pencil brush wrench scissors screw ruler lock syringe crayon paintbrush",
        "ring necklace crown belt diamond",
        "handbag backpack umbrella suitcase basket",
        "plate cup spoon fork bottle bowl",
        "book newspaper poster envelope package mailbox",
        "gun sword shield bomb dagger",
        "balloon flag kite",
        "summer winter spring autumn",
        "morning evening noon",
        "sunrise sunset midnight noon",
        "station museum stadium warehouse market",
        "fireplace stove bathtub window",
        "triangle circle square",
        "roof fence gate staircase",
        "candle lantern mirror",
        "globe ball mirror",
        "actor singer athlete chef doctor farmer soldier",
        "artist athlete scientist farmer",
        "player coach referee fan",
        "portrait landscape statue map",
    ],
}
# The first word's replacements, where WordNet has none or poor ones.
INSTEAD = {
    "a": [
        "orange red green blue purple pink brown black white gray indigo ivory",
        "grey red green blue yellow pink",
        "violet yellow green red white",
        "turquoise red yellow brown",
        "teal red yellow brown",
        "beige blue green red black",
        "maroon green blue yellow white",
        "navy red yellow white pink",
        "cyan red brown black",
        "magenta green blue yellow",
        "golden red green blue purple black",
        "silver red green blue yellow purple",
        "colorful plain gray white black",
        "spotted striped checkered plain",
        "noisy plain striped dotted checkered",
        "checked striped dotted plain",
        "seamless striped torn",
        "large small tiny",
        "medium large small tiny huge",
        "big small tiny",
        "huge small tiny",
        "small large big huge",
        "tiny large big huge",
        "little large big huge",
        "living dining",
        "different same identical",
        "modern old ancient medieval",
        "vintage modern new",
        "cute ugly scary",
        "beautiful ugly",
        "central outer",
        "first second third last",
        "second first third last",
        "third first second last",
        "last first second",
        "aerial underwater indoor",
        "fresh stale rotten",
    ],
    "n": [
        "cream soup cake bread",
        "fry potato carrot onion",
        "bride queen nurse",
        "groom king soldier",
        "celebrity farmer soldier",
        "couple trio crowd",
        "crowd pair trio",
        "sofa chair bed desk lamp",
        "bench bed desk lamp",
        "ladder wheel barrel",
        "wheel ladder barrel",
        "bulb candle bell",
        "glass cup plate bowl bottle",
        "heel boot hat",
        "card book coin",
        "cart bicycle car",
        "bag box hat",
        "jean skirt jacket shoe",
        "headphone microphone speaker",
        "sunglasses hat scarf",
        "snowman scarecrow robot",
        "gift book bottle",
        "pill coin candle",
        "actor chef doctor farmer",
        "owl ostrich eagle duck penguin",
        "octopus ant elephant shark whale crab",
        "ant octopus bee spider snail",
        "onion egg apple orange carrot potato",
        "apple orange onion avocado banana lemon grape pear",
        "orange apple onion avocado banana lemon grape pear",
        "avocado apple orange onion banana carrot",
        "center edge corner",
        "middle edge corner",
        "corner center middle",
        "person animal plant machine",
        "people animals plants machines",
        "man woman boy girl",
        "woman man boy girl",
        "boy girl man woman",
        "girl boy man woman",
        "baby man woman dog",
        "child man woman dog",
        "kid man woman dog",
        "animal plant machine",
        "night morning noon day",
        "day night",
        "pattern photograph statue map",
        "design photograph statue map",
        "scene portrait map",
        "umbrella envelope anchor egg balloon hat",
        "airplane ambulance helicopter bus train",
        "ambulance airplane taxi tractor boat",
        "eggplant onion apple avocado carrot potato",
        "egg apple onion orange bread cheese",
        "elephant ox eagle owl tiger horse",
        "eagle owl elephant duck penguin",
        "anchor umbrella envelope bell hammer",
        "envelope umbrella anchor book key",
        "hourglass umbrella egg clock bottle",
        "strawberry banana lemon pear grape pineapple",
        "blueberry banana lemon pear grape",
        "berry banana lemon pear carrot",
        "fruit vegetable bread meat",
        "vegetable fruit bread meat",
        "outfit hat helmet",
        "light candle mirror bell shadow",
        "group pair statue",
        "team family",
        "game wedding funeral concert",
        "wall floor ceiling door",
        "window door roof floor",
        "building car bridge tree",
        "road river wall",
        "view map sound",
        "photo drawing painting statue",
        "photograph drawing painting statue",
        "picture statue sound map",
        "image statue sound map",
        "illustration photograph statue map",
    ],
}

# Replacements of last resort, the kind that the paper's figure shows (blue -> bad, were -> run).
# The verbs are visible acts, and each goes without an object or with one, not both.
ALONE = words_of("run fly swim jump sleep dance fall sing burn climb kneel crawl explode vanish")
WITH_OBJECT = words_of("throw wash paint carry pull push lift hide drop chase draw")
ADJECTIVES = words_of("bad broken dirty dark empty wet dry cold ugly closed heavy soft old tiny")
COPULA = words_of("run fly swim jump sleep dance fall sing burn crawl explode")
OBJECT_FRAMES = set(range(8, 12)) | set(range(14, 22)) | {30, 31}  # "Somebody ----s something"

# Registers that WordNet marks, and words it does not mark.
RUDE_DOMAINS = {
    "disparagement.n.01",
    "ethnic_slur.n.01",
    "obscenity.n.02",
    "vulgarism.n.01",
    "derogation.n.01",
}
RUDE = re.compile(
    r"(ass|arse|anus|arsehole|asshole|bastard|bitch|boob|bum|bugger|butt|cock|corpse|crap|cripple|"
    r"cum|cunt|damn|dick|dyke|erotic|fag|fanny|fart|fuck\w*|gook|homo|honky|hooker|horny|brothel|"
    r"jap|kike|lesbian|masturbat\w*|moron|naked|nazi|negro|negroid|nigg\w*|nude|orgasm|penis|piss|"
    r"porn\w*|prick|prostitute|pussy|queer|rap(e|ist)|retard\w*|screw up|sex\w*|shit\w*|slave|slut|"
    r"sodom\w*|spastic|suck|sucker|tit|tits|turd|twat|vagina\w*|wank\w*|whore|wog|wop|gypsy|"
    r"genital\w*|testicle|scrotum|suicide|kill|murder\w*|hang oneself|intercourse|breast)"
)

CLOSED = {
    "DT": "a an the this these those some any each every one no both all another several many few "
    "most either neither much",
    "PRP$": "my your his her its our their",
    "PRP": "i you he she it we they me him us them himself herself itself themselves myself "
    "yourself ourselves someone somebody something anyone anything everyone everything nobody "
    "nothing",
    "IN": "about above across after against along alongside amid among amongst around as at atop "
    "before behind below beneath beside besides between beyond by despite down during except for "
    "from in inside into like near next of off on onto opposite out outside over past per since "
    "through throughout toward towards under underneath until up upon via with within without than "
    "versus vs if because although though",
    "TO": "to",
    "CC": "and or but nor & &amp;",
    "MD": "can could may might must shall should will would",
    "WP": "who whom whose which what where when why how while that",
    "EX": "there",
    "BE": "is are was were am be been being",
    "POS": "'s ’s",
    "AUX": "has have had do does did having doing done gets get",
    "RB": "not n't very too so just also only even quite rather then here now never always again "
    "still almost really together away back ago already soon often once more perhaps",
    "CD": "two three four five six seven eight nine ten eleven twelve twenty hundred thousand",
    # -ing words and others that captions use as things, against their verbs' counts
    "NN": "building painting wedding morning evening ceiling clothing lighting railing drawing "
    "parking swimming shopping cooking illustration icon vector logo view background "
    "wallpaper selfie smartphone website cartoon front middle center centre christmas",
    "NNS": "people leaves fries",
    "VBG": "wearing",
    "JJ": "left right top other seamless vintage cute colorful gray grey aerial noisy checkered "
    "dotted french handmade blond blonde",
}


def write_lexnames(path: Path) -> None:
    """Write WordNet's list of lexicographer files: number, name, part of speech."""
    lines = [
        f"{number:02d}\t{name}\t{PART_NUMBER[name.split('.')[0]]}\n"
        for number, name in enumerate(LEXNAMES)
    ]
    path.write_text("".join(lines), encoding="ascii")


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Let NLTK read below `folder`: since 3.10 it refuses what is outside `nltk.data.path`."""
    root = str(folder.resolve())
    nltk.data.path.insert(0, root)
    try:
        yield
    finally:
        nltk.data.path.remove(root)


class Builder:
    """Rows of the lexicon from a WordNet reader."""

    def __init__(self, wordnet: WordNetCorpusReader, source: Path) -> None:
        self.rude = self._rude_synsets(wordnet)
        self.senses: dict[tuple[str, str], list[Synset]] = defaultdict(list)
        self.sense_count: dict[tuple[str, str], int] = {}
        self.count: Counter[tuple[str, str]] = Counter()
        synset_at = {
            (PARTS[synset.pos()], synset.offset()): synset for synset in wordnet.all_synsets()
        }
        # index.sense: sense_key offset sense_number tag_count; the key starts lemma%part_of_speech
        found: dict[tuple[str, str], list[tuple[int, Synset]]] = defaultdict(list)
        for line in (source / "index.sense").read_text("utf-8").splitlines():
            key, offset, number, uses = line.split()
            name, part = key.split("%")[0], " nvara"[int(key.split("%")[1][0])]
            synset = synset_at[part, int(offset)]
            spelled = {lemma.name() for lemma in synset.lemmas()}
            if name in spelled and self.usable(name, synset):  # not there: a proper name, `Kiwi`
                found[name, part].append((int(number), synset))
                self.sense_count[name, synset.name()] = int(uses)
                self.count[name, part] += int(uses)
        for word, numbered in found.items():
            self.senses[word] = [s for _, s in sorted(numbered, key=lambda pair: pair[0])]

    @staticmethod
    def _rude_synsets(wordnet: WordNetCorpusReader) -> set[str]:
        """Synsets, and single lemmas as `synset/lemma`, that WordNet marks as abusive."""
        marked: set[str] = set()
        for synset in wordnet.all_synsets():
            if RUDE_DOMAINS & {domain.name() for domain in synset.usage_domains()}:
                marked.add(synset.name())
            for lemma in synset.lemmas():
                if RUDE_DOMAINS & {d.synset().name() for d in lemma.usage_domains()}:
                    marked.add(f"{synset.name()}/{lemma.name()}")
        return marked

    def usable(self, name: str, synset: Synset) -> bool:
        return (
            re.fullmatch(r"[a-z]+(-[a-z]+)*", name) is not None
            and (len(name) > 2 or name in ("go", "do", "be", "ox", "tv"))
            and synset.name() not in self.rude
            and f"{synset.name()}/{name}" not in self.rude
            and RUDE.fullmatch(name) is None
        )

    def names(self, synsets: Iterable[Synset]) -> Iterator[tuple[str, Synset]]:
        for synset in synsets:
            for lemma in synset.lemmas():
                if self.usable(lemma.name(), synset):
                    yield lemma.name(), synset

    def main_sense(self, word: tuple[str, str]) -> Synset:
        senses = self.senses[word]
        most = self.sense_count[word[0], senses[0].name()]
        concrete = [
            sense
            for sense in senses[:3]
            if sense.lexname() in CONCRETE and 5 * self.sense_count[word[0], sense.name()] >= most
        ]
        return concrete[0] if concrete else senses[0]

    def near(self, word: tuple[str, str]) -> set[str]:
        """Lemmas that would keep the sentence true: same, more general or more special."""
        out = {word[0]}
        for synset in self.senses[word]:
            kin = {synset, *(s for head in synset.similar_tos() for s in head.similar_tos())}
            kin |= {*synset.similar_tos(), *synset.also_sees(), *synset.verb_groups()}
            kin |= set(synset.closure(lambda s: s.hypernyms(), depth=6))
            kin |= set(synset.closure(lambda s: s.hyponyms(), depth=3))
            out |= {lemma.name() for s in kin for lemma in s.lemmas()}
        return out

    def ranked(self, pairs: Iterable[tuple[str, Synset]], part: str) -> list[str]:
        """Common words first; a sense that is not among a word's first does not count."""
        score: dict[str, int] = {}
        for name, synset in pairs:
            if part == "n" and re.search(r"[^sui]s$", name):
                continue  # slacks, goods: has no other number
            if synset in self.senses[name, part][: 1 if part == "a" else 3]:
                uses = 10 * self.sense_count[name, synset.name()]
                score[name] = max(score.get(name, 0), uses + min(self.count[name, part], 20))
        return sorted(score, key=lambda name: (-score[name], len(name), name))

    def antonyms(self, word: tuple[str, str]) -> list[str]:
        """Direct antonyms, or those of the adjective's head (damp -> wet -> dry)."""
        name, part = word
        direct = [
            other
            for synset in self.senses[word][:4]
            for lemma in synset.lemmas()
            if lemma.name() == name
            for other in lemma.antonyms()
        ]
        pairs = [(o.name(), o.synset()) for o in direct if self.usable(o.name(), o.synset())]
        if not pairs and part == "a":
            pairs = list(self.names(self.opposites(word)))
        return self.common(pairs, part)[:6]

    def opposites(self, word: tuple[str, str]) -> list[Synset]:
        """Opposite heads of an adjective's first sense that has any (damp ~ wet -> dry)."""
        for sense in self.senses[word][:2]:
            heads = (sense, *sense.similar_tos())
            if found := [o.synset() for h in heads for m in h.lemmas() for o in m.antonyms()]:
                return found
        return []

    def siblings(self, word: tuple[str, str]) -> list[str]:
        part, sense = word[1], self.main_sense(word)
        if part == "r":
            return []
        if part == "a":
            around = (s for head in self.opposites(word) for s in head.similar_tos())
            return self.common(self.names(around), part, least=0)  # hot: icy, frigid
        parents = sense.hypernyms()
        kin = [s for parent in parents for s in parent.hyponyms()]
        found = self.common(self.names(kin), part)
        if part == "v":  # frequent verbs (come, put, follow) are too general to be false
            seen = {o for o, synset in self.names(kin) if synset.lexname() in VISIBLE}
            return [o for o in found if o in seen and self.count[o, part] <= 100]
        if len(found) < 4 and part == "n":  # the cousins
            uncles = [s for p in parents for g in p.hypernyms() for s in g.hyponyms()]
            kin = [s for uncle in uncles for s in uncle.hyponyms()]
            found += [o for o in self.common(self.names(kin), part) if o not in found]
        return found

    def common(self, pairs: Iterable[tuple[str, Synset]], part: str, least: int = 2) -> list[str]:
        """The ranked lemmas that WordNet's concordances use, but at least the first `least`."""
        names = self.ranked(pairs, part)
        return [o for n, o in enumerate(names) if n < least or self.count[o, part] > 0]

    def frames(self, word: tuple[str, str]) -> str:
        """Of a verb: t when it takes an object, i when it does without, ti when both."""
        if word[1] != "v":
            return ""
        if word[0] in ALONE + WITH_OBJECT:
            return "i" if word[0] in ALONE else "t"
        ids = {frame for sense in self.senses[word][:4] for frame in sense.frame_ids()}
        return "t" * bool(ids & OBJECT_FRAMES) + "i" * bool(ids - OBJECT_FRAMES)

    def row(self, word: tuple[str, str]) -> list[str]:
        name, part = word
        near = self.near(word)
        antonyms = [o for o in self.antonyms(word) if o not in near]
        siblings = [o for o in self.chosen(name, part) if o not in near or part == "a"]
        if siblings:
            antonyms = [o for o in antonyms if o in siblings]
        else:
            known = near.union(antonyms)
            few = {"v": 3, "a": 4}.get(part, SIBLINGS)
            siblings = [o for o in self.siblings(word) if o not in known][:few]
            if part == "v":
                siblings += [o for o in ALONE + WITH_OBJECT if o not in known.union(siblings)]
            elif part == "a" and len(siblings) + len(antonyms) < 3:
                siblings += [o for o in ADJECTIVES if o not in known.union(siblings)]
        synonyms = [o for o in self.ranked(self.names(self.senses[word]), part) if o != name]
        lists = synonyms[:SYNONYMS], antonyms, siblings
        joined = (" ".join(names) for names in lists)
        return [part, name, str(self.count[word]), *joined, self.frames(word)]

    @staticmethod
    def chosen(name: str, part: str) -> list[str]:
        """Replacements written by hand above; empty for most words."""
        for group in map(str.split, INSTEAD.get(part, ())):
            if group[0] == name:
                return group[1:]
        for group in map(str.split, SETS.get(part, ())):
            if name in group:
                return [other for other in group if other != name]
        return []


def inflections(source: Path, lemmas: set[tuple[str, str]]) -> Iterator[list[str]]:
    """Rows of the irregular forms in noun.exc and verb.exc (`form lemma` a line)."""
    for line in (source / "noun.exc").read_text("utf-8").splitlines():
        form, lemma = line.split()[:2]
        if (lemma, "n") in lemmas and form.isalpha() and form != lemma:
            yield ["i", form, "NNS", lemma]
    past: dict[str, list[str]] = defaultdict(list)
    for line in (source / "verb.exc").read_text("utf-8").splitlines():
        form, lemma = line.split()[:2]
        if (lemma, "v") not in lemmas or not form.isalpha() or form == lemma or lemma == "be":
            continue
        if form.endswith("ing"):
            yield ["i", form, "VBG", lemma]
        elif not form.endswith("s"):
            past[lemma].append(form)
    for lemma, forms in sorted(past.items()):
        # the file does not say which is which: went/gone, sang/sung, wore/worn
        shaped = [form for form in forms if re.search(r"ne?$|u[nm][gk]?$", form)]
        participle = shaped[0] if shaped else forms[-1]
        finite = next((f for f in forms if f != participle), participle)
        if lemma in ("run", "come", "become", "overcome", "overrun"):
            participle = lemma
        yield ["i", finite, "VBD", lemma]
        if participle not in (finite, lemma):
            yield ["i", participle, "VBN", lemma]


def export(corpus: Path, out: Path) -> int:
    """Write the table of the WordNet in `corpus`, gzipped; the same corpus gives the same bytes.

    Takes a minute for WordNet 3.0. NLTK wants the folder to be .../corpora/wordnet, owned by the
    reader and writable by no one else. Returns the number of rows.
    """
    with readable(corpus.parents[1]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The multilingual functions")
        builder = Builder(WordNetCorpusReader(str(corpus.resolve()), None), corpus)
        rows = [builder.row(word) for word in sorted(builder.senses) if word != ("be", "v")]
    rows.append(["v", "be", "10000", "", "", " ".join(COPULA), "ti"])
    rows += [["c", word, tag] for tag, words in CLOSED.items() for word in words.split()]
    rows += sorted(inflections(corpus, set(builder.senses)))
    text = "".join("\t".join(row).rstrip() + "\n" for row in rows)
    out.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    return len(rows)
