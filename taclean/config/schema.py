"""The config as classes: the sections, their keys, and what is looked up in them.

The parameters of attacks and defences are in their own files.
"""

import os
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, SerializeAsAny, model_validator

from taclean.clip import library_names
from taclean.config.section import NAME, OF_PLACES, Section, Unique, WrongKeyError, key
from taclean.data.download import PUBLISHED
from taclean.data.labels import class_names
from taclean.data.readers import READERS

PATH = "^[A-Za-z0-9_-]+$"  # names of data sets and sources: parts of paths
ROLES = ("pretrain", "clean", "patch", "val", "test")
TRAINED = ("pretrain", "clean", "patch")  # roles of splits that something is trained on
DRAWN = ("default", "all")  # sets of the embedded drawings

Name = Annotated[str, Field(pattern=NAME, max_length=64)]
FolderName = Annotated[str, Field(pattern=PATH, max_length=64)]
Text = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$")]
Natural = Annotated[int, Field(ge=0, le=10**15)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Few = Annotated[int, Field(ge=1, le=256)]
Positive = Annotated[float, Field(gt=0, le=10**9)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[float, Field(ge=0, le=100)]
Role = Literal["pretrain", "clean", "patch", "val", "test", "extra"]
Precision = Literal["auto", "bf16", "fp16", "fp32"]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Style = Literal["twemoji", "noto-v1", "fluent-flat", "fxemoji", "emojione"]
Template = Annotated[str, Field(pattern=r"^[^{}]*\{\}[^{}]*$")]
Templates = Annotated[list[Template], Field(min_length=1)]
Place = Annotated[Text, Field(pattern=OF_PLACES)]  # the folder of a source
Home = Annotated[Place, AfterValidator(os.path.expanduser)]  # other paths; ~ is the home folder


def variant_name(defense: str, what: str, number: int) -> str:
    """Return the name in `defenses` of a trial of `tune` or a rate of `run`, counted from 1."""
    return f"{defense}_{what}{number}"


class Run(Section):
    """The methods and seeds of a run; the other sections set their details."""

    attacks: Unique[str]
    """Attacks to run; without any, the run is about the base model alone (`config/own.yaml`)."""
    defenses: Unique[str]
    """Defences to run besides `none`; figures of a single defence show the last one."""
    seeds: Unique[Seed] = key(..., "Seeds of triggers, poison, data order and texts.", min_length=1)
    repeats: Few = key(1, "Cleanings of each victim, in other data order, with other texts.")
    controls: bool = key(False, "Whether defences also clean the model that was never poisoned.")
    victims: Home | None = key(None, "Archive of victims to clean, made by `snakemake victims`.")
    rates: Unique[Positive] = Field([])
    """Learning rates at which defences clean (not from scratch or `after` one), in place of their
    own. Figures show, for each victim, the largest that keeps CA@1 on val within the budget."""
    budgets: Unique[Percent] = Field([3.0, 1.0, 5.0], min_length=1)
    """Points of CA@1 that may be lost; the first is the budget of the tables and figures."""


class Columns(Section):
    """Names of a CSV file's columns."""

    image: Text = key("image", "Path of the picture.")
    caption: Text = key("caption", "Caption, for pairs.")
    label: Text = key("label", "Name or number of the class, for `labels`.")


class Details(Section):
    """What captions of labelled pictures say beside the class."""

    descriptors: Home | None = None
    """JSON file {"CLASS": ["detail", ...], ...}, or `download` for that of a reader that can."""
    gloss: bool = key(False, "WordNet's definition of the class, for classes of ImageNet-1K.")
    box: bool = key(False, "Place and size of the picture's box, where the reader has boxes.")
    most: int = key(2, "Most details of a caption; each draws 0 to so many.", ge=0, le=3)


class Source(Section):
    """Where samples come from: one of `folder`, `hub` and `download`."""

    reader: str
    """Format of the files. Pairs: webdataset, img2dataset, csv. Labelled images: imagenet, folders
    (a tree CLASS/PICTURE), labels (a CSV file), cifar10, cifar100, caltech101, tiny_imagenet.
    Retrieval: coco."""
    folder: Place | None = key(None, "Folder, CSV file or zip (tiny_imagenet) with the data.")
    files: Annotated[list[Text], Field(min_length=1)] | Text | None = None
    """Globs of files to read, such as cc3m-train-*.tar."""
    split: Literal["train", "val", "test"] | None = None
    """Which part. cifar10 and cifar100: test (the default) or train; tiny_imagenet: val (the
    default) or train."""
    captions: Templates | None = None
    """Labelled images: templates with `{}` for the class, which make pairs to train on of them."""
    details: Details | None = key(None, "Details that `captions` add to the class.")
    columns: Columns | None = key(None, "Names of a CSV file's columns.")
    separator: Annotated[str, Field(pattern='^[^"]$')] | None = None
    """Character between the columns of a CSV file; a comma by default."""
    images: Home | None = key(None, "Folder that a CSV file's paths start from; else its own.")
    classes: list[str] | Home | None = None
    """labels: names of the classes that are numbers in the CSV file, or a text file with them."""
    hub: Text | None = key(None, "Dataset of the Hugging Face hub to fetch.")
    revision: Text | None = key(None, "Commit of the dataset on the hub.")
    download: bool | None = None
    """cifar10, cifar100 and tiny_imagenet: fetch the published files, once for both parts."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.reader not in READERS:
            known = ", ".join(READERS)
            raise WrongKeyError("reader", f"{self.reader!r} is unknown; give one of {known}")
        places = [name for name in ("folder", "hub", "download") if getattr(self, name)]
        if len(places) != 1:
            found = " and ".join(places) or "none"
            raise WrongKeyError("", f"give one of folder, hub and download, not {found}")
        if "://" in (self.folder or ""):
            raise WrongKeyError("folder", "URLs are not fetched; download it and give its path")
        if self.hub and not self.revision:
            raise WrongKeyError("revision", "missing; give the commit of the dataset on the hub")
        if self.details and not self.captions:
            raise WrongKeyError("details", "no captions to add them to; give captions, too")
        own = {name for reader in READERS.values() for name in reader.keys}
        for name in sorted(own & self.model_fields_set - {*READERS[self.reader].keys}):
            raise WrongKeyError(name, f"the reader {self.reader} has no such key; leave it out")
        if self.split and self.split not in (parts := READERS[self.reader].parts):
            text = f"{self.split!r} is no part of {self.reader}; give {' or '.join(parts)}"
            raise WrongKeyError("split", text)
        return self


class Split(Section):
    """A part of a data set."""

    role: Role | None = None
    """What the split is for: pretrain (base model and poison), clean (defences), patch (triggers),
    val (gate and curves; test by default), test (tables) or extra (more test sets). By default the
    split's own name if that is a role, else extra."""
    cover: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the classes that the split shows, evenly spread over the labels. Files: a training
    split of labelled images, which `captions` make pairs of."""
    without: Text | None = None
    """A class that the split does not show; of pairs, text that none of its captions has."""


class SceneSplit(Split):
    """A range of scene ids."""

    first: Natural = key(..., "First scene id.")
    rows: int = key(..., "Number of scenes.", ge=1, le=10**7)
    second: Share = key(..., "Probability of a second object.")
    styles: Literal["train", "shift"] | Unique[Style] = "train"
    """Styles of drawing. train: the styles of training; shift: styles that no training split
    has; or a list of names of training styles."""


class FileSplit(Split):
    """Rows of a source."""

    source: str = key(..., "Name of the source in `sources`.", alias="from")
    rows: Count | None = None
    """Number of rows, drawn without a picture of another split; the whole source by default."""


class Dataset(Section):
    """Pairs and test images, and how they are split."""

    form: str
    seed: Seed = key(..., "Seed of the scenes, or of the draw of rows.")
    classes: list[str] | str
    """Zero-shot classes in label order. Scenes: `default` (100), `all` (281) or names from `all`.
    Files: `imagenet` (open_clip's names), `tiny_imagenet`, a list, or a text file with one name
    per line."""
    splits: Any

    def role(self, split: str) -> str:
        return self.splits[split].role or (split if split in ROLES else "extra")


class Scenes(Dataset):
    """Scenes that are composed from the embedded drawings."""

    form: Literal["scenes"] = key(..., "Pictures that are composed from the embedded drawings.")
    splits: dict[Name, SceneSplit] = key(..., "One split of each needed role, and extra ones.")

    @model_validator(mode="after")
    def _apart(self) -> Self:
        ordered = sorted(self.splits.items(), key=lambda item: item[1].first)
        for (one, before), (other, after) in pairwise(ordered):
            if after.first < (end := before.first + before.rows):
                text = f"{after.first} lies in split {one}; splits must not overlap, give {end}"
                raise WrongKeyError(f"splits.{other}.first", text)
        return self


class Files(Dataset):
    """Pictures that are read from files."""

    form: Literal["files"] = key(..., "Pictures that are read from `sources`.")
    max_broken: Share
    """Largest accepted share of broken samples among those read. It decides how many are spare."""
    max_copies: Share = 0.01
    """Largest accepted share of rows to train on that are copies, pixel by pixel: of scored
    pictures, of the clean split or of earlier rows. They are dropped, and spares take their places.
    Later checks of splits that were packed otherwise accept this share only if you give it."""
    folder: Place | None = None
    """Folder or zip of yours in place of what sources would download. A file of descriptors of the
    published name there is taken as well."""
    sources: dict[FolderName, Source] = key(..., "Where samples come from, by name.", min_length=1)
    splits: dict[Name, FileSplit] = key(..., "One split of each needed role, and extra ones.")

    @model_validator(mode="before")
    @classmethod
    def _own_folder(cls, given: Any) -> Any:
        """Put `folder` into each source that would download."""
        own, sources = (isinstance(given, dict) and given.get(key) for key in ("folder", "sources"))
        if not isinstance(own, str) or not isinstance(sources, dict):
            return given
        home = os.path.expanduser(own)
        home = os.path.dirname(home) if home.endswith(".zip") else home
        beside = os.path.join(home, PUBLISHED["descriptors"].name)
        found = {}
        for name, source in sources.items():
            if isinstance(source, dict) and source.get("download"):
                source = {**source, "folder": own, "download": None}
                if isinstance(source.get("details"), dict) and os.path.isfile(beside):
                    source["details"] = {**source["details"], "descriptors": beside}
            found[name] = source
        return {**given, "sources": found}

    @model_validator(mode="after")
    def _have_sources(self) -> Self:
        for name, split in self.splits.items():
            if split.source not in self.sources:
                text = f"{split.source!r} is no source; known are {', '.join(self.sources)}"
                raise WrongKeyError(f"splits.{name}.from", text)
        return self

    def source_of(self, split: str) -> Source:
        return self.sources[self.splits[split].source]


class Data(Section):
    """The pairs and the test images."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"propertyNames": {"pattern": PATH}})
    __pydantic_extra__: dict[FolderName, Annotated[Scenes | Files, Field(discriminator="form")]]

    name: str = key(..., "Section of `data` that the run uses, and its folder's name in data/.")
    image_size: int = key(..., "Side of the pictures in px; that of the model.", ge=32, le=512)
    target: Text = key(..., "The attacker's target, one of the classes.")


class Zeroshot(Section):
    """Zero-shot classification."""

    templates: Templates | Literal["openai"]
    """Templates with `{}` for the class, also of poisoned captions; or `openai`, its 80."""


class Model(Section):
    """The CLIP model."""

    name: str = key(..., "An open_clip model name, or one of taclean/model_configs.")
    seed: Seed = key(..., "Seed of the base model's weights and data order.")
    pretrained: Home | None = None
    """Weights in place of a trained base model: a tag of open_clip, such as `openai`, a checkpoint
    file (of open_clip, OpenAI or CleanCLIP), or the folder of a Hugging Face `CLIPModel`."""


class Train(Section):
    """Settings of a training."""

    lr: Positive = key(..., "Peak learning rate (write 1.0e-3; YAML reads 1e-3 as text).")
    epochs: Count = key(..., "Passes over the set.")
    batch: int = key(..., "Pairs per step, of all processes together.", ge=2)
    warmup: Natural = key(..., "Steps of linear warm-up, fewer than the run has.")
    optimizer: Literal["adamw", "muon"] = "adamw"
    """muon: Muon for matrices and filters, which needs fewer steps, and AdamW for all else."""
    weight_decay: float = key(0.1, "None on biases, norms and logit_scale.", ge=0, le=1000)
    betas: list[Beta] = key([0.9, 0.999], "The two betas of AdamW.", min_length=2, max_length=2)
    precision: Precision = key("auto", "bf16, fp16 (with loss scaler), fp32, or auto: the fastest.")
    compile: bool = key(False, "Compile both towers; needs a C++ compiler (CPU) or Triton (GPU).")
    sizes: Annotated[list[Annotated[int, Field(ge=32, le=512)]], Field(max_length=8)] = Field([])
    """Sides in px to which pictures are shrunk in equal parts of the run, before a last part of the
    full size; smaller pictures take less time. For towers that take any size, such as rn10-48's."""
    augment: bool = key(
        False, "Change pictures a little in each epoch, as cleanclip's `mild` does."
    )
    score_at: Unique[Count] = key([], "Steps after which val is scored, besides ends of epochs.")
    deterministic: bool = False
    """GPU: kernels that always sum in the same order, which are slower, so that a run that was
    stopped ends bitwise as an unbroken one. On a CPU every run does."""
    tensorboard: bool = False
    """Also log to TensorBoard, into the checkpoint folder; needs taclean[tensorboard]."""
    threads: Few = key(1, "CPU threads; they decide how sums are split, and so the result.")
    checkpoint_seconds: Positive = key(60, "Seconds between two checkpoints within an epoch.")
    FREE: ClassVar = ("checkpoint_seconds", "tensorboard", "deterministic")

    @classmethod
    def deciding(cls, stage: Mapping[str, Any]) -> dict[str, Any]:
        """Return a stage's config without the settings that may change before a retry.

        `deterministic` decides a GPU's rounding alone.
        """
        if "train" not in stage:
            return dict(stage)
        return {**stage, "train": {k: v for k, v in stage["train"].items() if k not in cls.FREE}}


class Finetune(Section):
    """Fine-tuning on the clean split; a defence can change it."""

    train: Train = key(..., "How it trains: see `train` below.")


class Base(Finetune):
    """Clean pre-training of the base model, from which every attack starts."""

    per_seed: bool = key(False, "A base model for each seed of the run; else all share one.")


class Poison(Finetune):
    """Poisoned pre-training; an attack can change it."""

    rows: Count = key(..., "Rows of the pretrain split to train on.")


class Tune(Section):
    """The choice of the defences' settings on val, made by `snakemake tune`."""

    attacks: Unique[str] = key(..., "Attacks to choose on, by names of `attacks`.", min_length=1)
    seeds: Unique[Seed] = key(..., "Seeds of the victims, other than those of `run`.", min_length=1)
    within: Percent
    """Points of mean CA@1 that a chosen setting may lose against the victims."""
    trials: dict[Name, Annotated[list[dict[str, Any]], Field(min_length=1)]] = Field(min_length=1)
    """For each defence, what each of its equally many trials changes: {train: {lr: 1.0e-3}}."""


class Axis(Section):
    """A figure of one choice: entries that differ in that choice alone."""

    label: Text = key(..., "What the choice is.")
    values: dict[Name, str] = Field(min_length=2)
    """Attacks or defences of the run in the order of the axis, and the text below each."""


class Evaluate(Section):
    """The scores of each model."""

    splits: Unique[str] = Field(min_length=1)
    """Splits to score, including that of the role test; pairs are scored by retrieval. The first
    one with the run's classes gives the figures' samples."""
    triggers: Unique[str] | None = None
    """Attacks whose triggers are put on the clean model; those of the run by default."""
    samples: int = key(..., "Images whose embeddings are kept for the figures.", ge=2, le=10**5)
    probe: str | None = None
    """Labelled split, such as val, to train a linear probe on, which test scores (LCA, LASR)."""
    captions: bool = False
    """Whether to score the test split's captions, too: recall in both directions (I2T, T2I) and the
    share of triggered images that retrieve captions of the target (TCR)."""
    precision: Precision = "auto"
    """Precision of every score's forward pass, as in `train`; fp32 for published numbers."""


class Probe(Section):
    """A pattern of the scan: a patch, or a film over the whole picture."""

    size: float = key(42, "Patch: its side in px at 224.", ge=1, le=224)
    place: Literal["random", "centre", "corner"] = key("centre", "Patch: where it goes.")
    film: float = key(0, "Film: grey levels it changes at most; 0 makes it a patch.", ge=0, le=255)


class Scan(Section):
    """The scan of a model: which class do optimised patterns reach most easily?"""

    images: int = key(..., "Pictures of val; half for the optimisation, half for the score.", ge=4)
    steps: Count = key(..., "Steps of Adam for each pattern.")
    batch: Count = key(..., "Pictures per step and class.")
    lr: Positive = key(..., "Adam's learning rate.")
    targets: Annotated[Unique[str], Field(min_length=3)] | None = None
    """Classes to scan, at least 3; all by default."""
    probes: dict[Name, Probe] = Field(min_length=1)
    """Patterns by name; the score of a class is that of its best pattern."""
    clean_seeds: Unique[Seed]
    """Seeds of clean base models that the target `scan` compares poisoned models with."""


class Detect(Section):
    """The test of the detectors on each victim, by the target `detect`."""

    rows: int = Field(ge=2, le=100_000)
    """Rows of the poisoned set to score, at most; their share of poisoned rows is that of the set.
    Neighbours are searched among them."""
    images: int = Field(ge=1, le=100_000)
    """Test pictures to score as they are, and with the trigger those of other classes."""


class Entry(Section):
    """The common part of the entries of `attacks`, `defenses` and `detectors`."""

    method: ClassVar[Any]  # the class of the entry's kind

    kind: str = key(None, pattern=rf"{NAME}|\.py$")
    """Name of the method's file, the entry's own name by default, or the path of a file of yours
    that ends in .py. If there is an entry of the name of that file, it gives the missing keys."""
    label: Text | None = key(None, "Name in tables and figures.")

    if TYPE_CHECKING:  # what the class of the kind adds; see its `entry`

        def __getattr__(self, name: str) -> Any: ...

    @property
    def stem(self) -> str:
        """Name of the method's file, with _ for what names may not have."""
        return re.sub(r"\W", "_", self.kind.rpartition("/")[2].removesuffix(".py"), flags=re.ASCII)

    def settings(self, train: Train) -> Train:
        """Return a section's settings of training with what the entry changes."""
        return train.model_copy(update=self.train.given() if self.train else {})


class AttackEntry(Entry):
    """An attack: a file of taclean/attacks with its parameters."""

    marker: Annotated[str, Field(pattern=r"^[P<>hdposv^D*8HX]$")] | None = None
    """Marker in figures, one of matplotlib's that are filled."""
    gate: float = key(..., "Least ASR@1 on val, in percent, to go on; 0 accepts any.", ge=0, le=100)
    scratch: bool = False
    """Train the victim from random weights, by `base.train` on the whole pretrain split."""
    victim: Home | None = None
    """A file or folder of a model that others poisoned; docs/public_victims.md explains."""
    fitted: Home | None = None
    """Fitted trigger of the victim: a picture of its patch, or a file of the stage `trigger`."""

    @model_validator(mode="after")
    def _trigger_of_victim(self) -> Self:
        if bool(self.fitted) != bool(self.victim and self.fits):
            raise WrongKeyError("fitted", "give it for a victim of a kind with `fit`, only then")
        if self.scratch and self.victim:
            text = "the victim is given and not trained; leave one of them out"
            raise WrongKeyError("scratch", text)
        return self

    @property
    def fits(self) -> bool:
        return "fit" in type(self).model_fields


class DefenseEntry(Entry):
    """A defence: a file of taclean/defenses with its parameters."""

    after: Name | None = key(None, "Defence whose cleaned model this one starts from.")
    rows: int | None = key(None, ge=1, rows_of="clean")
    """Rows of the clean split to learn from, drawn with the seed; all by default."""
    split: str | None = key(None, "Split to learn from, in place of the one with the role clean.")
    overlap: Share | None = None
    """Learn from rows of the pretrain split, as they were before the poisoning, in place of the
    clean split, and from as many; this share of them is also in the poisoned set."""
    colour: str | None = key(None, "Colour in figures, #rrggbb.", pattern="^#[0-9a-fA-F]{6}$")


class DetectorEntry(Entry):
    """A detector: a file of taclean/detectors with its parameters."""


class Config(Section):
    """The whole config."""

    run: Run
    data: Data
    zeroshot: Zeroshot
    model: Model
    base: Base
    poison: Poison
    attacks: dict[Name, SerializeAsAny[AttackEntry]] = key(..., "Attacks by name.")
    finetune: Finetune
    defenses: dict[Name, SerializeAsAny[DefenseEntry]] = key(..., "Defences by name.")
    tune: Tune = Field(
        default_factory=lambda: Tune.model_construct(attacks=[], trials={}, seeds=[])
    )
    axes: dict[Name, Axis] = key({}, "Figures of one choice each: `results/figures/axes/NAME.png`.")
    evaluate: Evaluate
    scan: Scan
    detect: Detect
    detectors: dict[Name, SerializeAsAny[DetectorEntry]] = Field(min_length=1)
    """Detectors by name."""

    @property
    def dataset(self) -> Any:
        """The section of `data` that the run uses, `Scenes` or `Files`."""
        return (self.data.model_extra or {})[self.data.name]

    @property
    def splits(self) -> Any:
        return self.dataset.splits

    def split_of_role(self, role: str) -> str | None:
        """Return the name of the split with a role, or None; test stands for a missing val."""
        names = {self.dataset.role(name): name for name in self.splits}
        return names.get(role) or (names.get("test") if role == "val" else None)

    @property
    def probed(self) -> str | None:
        """The split whose pictures the test split may not have: that of the probe, or val where
        rates are chosen on it. A val from the source of test is a part of it, and is not named.
        """
        val, test = (self.split_of_role(role) for role in ("val", "test"))
        sources = {getattr(self.splits[name], "source", "") for name in (val, test) if name}
        chosen = val if self.run.rates and len(sources) == 2 else None
        return self.evaluate.probe or chosen

    @property
    def scored(self) -> list[str]:
        """The splits that the run's models are scored on: val, test and further ones."""
        named = [self.split_of_role("val"), self.split_of_role("test"), *self.evaluate.splits]
        return [name for name in dict.fromkeys(named) if name]

    def learns(self, split: str) -> bool:
        """Return whether something is trained on a split, which then loses copies."""
        own = {entry.split for entry in self.defenses.values()} - {*self.scored}
        return self.dataset.role(split) in TRAINED or split in own

    def gives(self, split: str) -> tuple[str, ...]:
        """Return what a split's samples have: see `Reader.gives`; scenes are pairs with labels."""
        if isinstance(self.dataset, Files):
            return (READERS[self.dataset.source_of(split).reader].gives,)
        return ("pairs", "labels")

    @property
    def rates(self) -> dict[str, tuple[str, float]]:
        """The entries of `run.rates`: the defence that each one is, and its learning rate."""
        run = self.run
        entries = {name: self.defenses[name] for name in run.defenses}
        own = [name for name, e in entries.items() if not (e.after or e.method.scratch)]
        rates = [*enumerate(run.rates or [], 1)]
        return {variant_name(name, "rate", n): (name, rate) for name in own for n, rate in rates}

    def entries_of(self, defense: str) -> list[str]:
        """Return the entries that clean in a defence's place: itself, or one for each rate."""
        return [name for name, (of, _) in self.rates.items() if of == defense] or [defense]

    def learned_by(self, defense: str) -> str:
        """Return the name of the split that a defence learns from."""
        entry = self.defenses.get(defense)
        if entry and entry.split:
            return entry.split
        poisoned = entry and (entry.overlap is not None or entry.method.scratch)
        return self.split_of_role("pretrain" if poisoned else "clean") or ""

    def rows_of_role(self, role: str) -> int:
        """Return the number of rows of a split that something is trained on."""
        return self.splits[self.split_of_role(role)].rows

    def poisoning(self, attack: str) -> tuple[int, Train]:
        """Return the rows of an attack's poisoned set, and how the victim is trained on them."""
        entry = self.attacks[attack]
        if entry.scratch:
            return self.rows_of_role("pretrain"), entry.settings(self.base.train)
        return self.poison.rows, entry.settings(self.poison.train)

    def cleaning(self, defense: str, attack: str = "") -> tuple[int | None, Train]:
        """Return the rows that a defence learns from (None: all of a source), and how it trains.

        From scratch it learns as the attack's victim does.
        """
        entry = self.defenses[defense]
        if entry.method.scratch:
            base = self.rows_of_role("pretrain"), self.base.train
            rows, train = self.poisoning(attack) if attack else base
            return rows, entry.settings(train)
        # An overlap has as many rows as the clean split.
        split = self.learned_by(defense) if entry.overlap is None else self.split_of_role("clean")
        return entry.rows or self.splits[split].rows, entry.settings(self.finetune.train)

    def cleaned_by(self, defenses: Iterable[str]) -> list[str]:
        """Return these defences, and those that any of them start after."""
        names = list(defenses)
        for name in names:
            names += filter(None, [self.defenses[name].after])
        return list(dict.fromkeys(names))

    @property
    def class_names(self) -> list[str]:
        """The zero-shot classes in label order."""
        return class_names(self.dataset.classes, f"data.{self.data.name}.classes")

    def prompts(self) -> dict[str, Any]:
        """Return what the zero-shot heads of the run are made of."""
        given: Any = self.zeroshot.templates
        if given == "openai":
            given = [fill("{}") for fill in library_names()["OPENAI_IMAGENET_TEMPLATES"]]
        return {"templates": list(given), "classes": self.class_names, "target": self.data.target}

    @property
    def triggers_on_clean(self) -> list[str]:
        """The attacks whose triggers are put on the model that was never poisoned."""
        given = self.evaluate.triggers
        return self.run.attacks if given is None else given

    def trained_as(self, attack: str) -> str:
        """Return the attack whose models an attack uses: that of its kind if only the test differs.

        The two then differ in `at_test` alone. "clean", which is no attack, uses its own models.
        """
        entry = self.attacks.get(attack)
        base = self.attacks.get(entry.kind) if entry else None
        if entry is None or base is None or entry is base or entry.at_test is None:
            return attack
        shown = {"kind", "label", "marker", "at_test"}
        return entry.kind if entry.given(exclude=shown) == base.given(exclude=shown) else attack

    @property
    def trials(self) -> dict[str, dict[str, Any]]:
        """The entries of `tune.trials`: defense, trial (a number from 1) and overrides of each."""
        return {
            variant_name(name, "trial", n): {"defense": name, "trial": n, "overrides": change}
            for name, changes in self.tune.trials.items()
            for n, change in enumerate(changes, 1)
        }
