"""The sections of the config and their keys. What attacks and defences take is in their files."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from taclean.config.section import NAME, Section, key

FOLDER = "^[A-Za-z0-9_-]+$"  # names of data sets and sources: parts of paths
SEED = {"ge": 0, "le": 2**32 - 1}
ROLES = ("pretrain", "clean", "patch", "val", "test")
DRAWN = ("default", "all")  # sets of the embedded drawings
CLASSES = (*DRAWN, "imagenet")
Role = Literal["pretrain", "clean", "patch", "val", "test", "extra"]
Precision = Literal["auto", "bf16", "fp16", "fp32"]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Template = Annotated[str, Field(pattern=r"^[^{}]*\{\}[^{}]*$")]


class Run(Section):
    """What is done; the other sections say how."""

    attacks: list[str] = key(
        ...,
        "Attacks to run, by their names in `attacks`. Without any, the run is about the base model "
        "alone, such as one's own (`config/own.yaml`), and ends with `results/own.html`.",
        unique=True,
    )
    defenses: list[str] = key(
        ...,
        "Defences to run, by their names in `defenses`; `none` is always there. The last one is "
        "that of the figures which show one.",
        unique=True,
    )
    seeds: list[Seed] = key(
        ...,
        "Seeds of trigger, poison rows, training order and text work; whole numbers.",
        min_length=1,
        unique=True,
    )
    repeats: int = key(
        1,
        "Cleanings of each victim by each defence; they differ in their order, augmentation and "
        "texts, and show how much of a spread is the cleaning's.",
        ge=1,
    )
    controls: bool = key(
        False, "Whether every defence also cleans the model that was never poisoned."
    )


class Standin(Section):
    """Parameters of a generated stand-in of the same form, instead of `folder`."""

    seed: int = key(..., "Seed of the stand-in.", **SEED)
    shards: int | None = key(None, "Pairs: tar files.", ge=1)
    per_shard: int | None = key(None, "Pairs: samples in each.", ge=1)
    form: Literal["tree", "flat", "parquet"] | None = key(None, "ImageNet: its form.")
    per_class: int | None = key(None, "ImageNet: images of each class.", ge=1)
    broken: dict[str, Any] | int | None = key(
        None, "Pairs: number of samples with each fault; ImageNet: number of cut JPEGs."
    )


class Columns(Section):
    """Names of a CSV's columns, where they are others than these."""

    image: str = key("image", "Path of the picture.", min_length=1)
    caption: str = key("caption", "Caption, for pairs.", min_length=1)
    label: str = key("label", "Name or number of the class, for `labels`.", min_length=1)


class Source(Section):
    """Where samples come from: one of `folder`, `hub`, `download` and `standin`."""

    reader: Literal[
        "webdataset", "img2dataset", "csv",
        "imagenet", "folders", "labels", "cifar10", "cifar100", "caltech101", "coco",
    ] = key(
        ...,
        "The files' form. Pairs: webdataset shards, an img2dataset folder or a CSV with "
        "image,caption. Labelled images: imagenet (tree, flat or parquet), folders (a tree "
        "CLASS/PICTURE), labels (a CSV with image,label), cifar10, cifar100, caltech101. coco: "
        "images with several captions, for retrieval.",
    )  # fmt: skip
    folder: str | None = key(None, "Folder, or CSV file, with the data.", min_length=1)
    files: str | list[str] | None = key(
        None, "Glob or globs of the files to take, such as cc3m-train-*.tar."
    )
    split: Literal["train", "test"] | None = key(None, "cifar10, cifar100: which part.")
    captions: Annotated[list[Template], Field(min_length=1)] | None = key(
        None,
        "Labelled images: templates, `{}` stands for the class, of which each row of a pretrain, "
        "clean or patch split draws its caption; without them such splits need pairs.",
    )
    columns: Columns | None = key(None, "Names of a CSV's columns.")
    separator: str | None = key(
        None,
        "The character between a CSV's columns, by default a comma.",
        min_length=1,
        max_length=1,
    )
    images: str | None = key(
        None, "Folder that a CSV's paths start from, by default the CSV's own.", min_length=1
    )
    classes: list[str] | str | None = key(
        None,
        "labels: names of the classes that the CSV's numbers count, or a text file of the source's "
        "folder with a name a line.",
    )
    hub: str | None = key(None, "Dataset of the Hugging Face hub to fetch.", min_length=1)
    revision: str | None = key(None, "The hub's revision, a commit.", min_length=1)
    download: bool | None = key(
        None, "cifar10, cifar100: fetch the published files, once for both parts."
    )
    standin: Standin | None = key(None, "A generated stand-in.")


class Split(Section):
    """A range of scene ids, or rows of a source."""

    role: Role | None = key(
        None,
        "What it is for: pretrain (base and poison), clean (defences), patch (triggers), val (gate "
        "and curves), test (the tables), extra (further test sets). By default its own name where "
        "that is a role, else extra. A run without attacks needs clean and test, and pretrain "
        "where `model.pretrained` gives no weights; test stands for a val that is not there.",
    )
    rows: int | None = key(
        None,
        "Number of rows. Files: drawn from the source, no picture in two splits; all of it where "
        "absent.",
        ge=1,
    )
    first: int | None = key(None, "Scenes: first scene id.", ge=0)
    second: float | None = key(None, "Scenes: chance of a second object.", ge=0, le=1)
    styles: Literal["train", "shift"] | None = key(
        None, "Scenes: the training styles of drawing (default), or those that no training has."
    )
    source: str | None = key(None, "Files: the source, by its name in `sources`.", alias="from")


class Dataset(Section):
    """Where pairs and test images come from, and how they are split."""

    form: Literal["scenes", "files"] = key(
        ..., "`scenes` are composed from the embedded drawings; `files` come from `sources`."
    )
    seed: int = key(..., "Seed of the scenes or of the draw of rows.", **SEED)
    classes: str | list[str] = key(
        ...,
        "Zero-shot classes in label order: `default` (100), `all` (281) or a list of the scenes' "
        "drawings; of files `imagenet` (open_clip's 1000 names), a list of names, or a text file "
        "with a name a line.",
    )
    max_broken: float | None = key(
        None,
        "Files: largest share of broken samples that is accepted. As many more rows as it can cost "
        "are drawn as spares.",
        ge=0,
        le=1,
    )
    overlap: float | None = key(
        None,
        "Share of the clean split's rows that are taken from the pretrain split, as parts of the "
        "literature do. Of scenes it says that `first` and `rows` mean it so.",
        ge=0,
        le=1,
    )
    sources: dict[str, Source] | None = key(
        None, "Files: where samples come from, by name.", min_length=1, named=FOLDER
    )
    splits: dict[str, Split] = key(
        ..., "One of each role that is needed, and any number of extra ones.", named=NAME
    )


class Data(Section):
    """The pairs and the test images."""

    model_config = ConfigDict(
        extra="allow", frozen=True, json_schema_extra={"propertyNames": {"pattern": FOLDER}}
    )
    __pydantic_extra__: dict[str, Dataset]

    name: str = key(..., "The section of `data` that feeds the run; its folder in data/ too.")
    image_size: int = key(..., "Side of the pictures in px; that of the model.", ge=32, le=512)
    target: str = key(..., "The attacker's target; one of the classes.", min_length=1)


class Zeroshot(Section):
    """Zero-shot classification."""

    templates: Annotated[list[Template], Field(min_length=1)] | Literal["openai"] = key(
        ...,
        "Prompt templates, `{}` stands for the class; the poisoned captions too. Or `openai`, the "
        "80 of ImageNet that open_clip ships.",
    )


class Model(Section):
    """The CLIP model."""

    name: str = key(..., "An open_clip model name, or one of taclean/model_configs.")
    seed: int = key(..., "Seed of the base model's weights and data order.", **SEED)
    pretrained: str | None = key(
        None,
        "Weights that take the place of the base model: a tag of open_clip, such as `openai`, a "
        "checkpoint file (open_clip's, OpenAI's or CleanCLIP's form), or the folder of a Hugging "
        "Face `CLIPModel` (config.json, model.safetensors).",
        min_length=1,
    )


class Train(Section):
    """How a stage trains."""

    lr: float = key(..., "Peak learning rate (write 1.0e-3; YAML reads 1e-3 as text).", gt=0)
    epochs: int = key(..., "Passes over the set.", ge=1)
    batch: int = key(..., "Pairs per step, of all processes together.", ge=2)
    warmup: int = key(..., "Steps of linear warm-up, fewer than the run has.", ge=0)
    weight_decay: float = key(0.1, "AdamW's decay; not on biases, norms and logit_scale.", ge=0)
    betas: list[Annotated[float, Field(ge=0, lt=1)]] = key(
        [0.9, 0.999], "AdamW's two betas.", min_length=2, max_length=2
    )
    precision: Precision = key(
        "auto",
        "bf16 (autocast), fp16 (autocast with a loss scaler), fp32, or auto: the fastest here.",
    )
    compile: bool = key(
        False, "Compile both towers with torch.compile; needs a C++ compiler (CPU) or Triton."
    )
    tensorboard: bool = key(
        False, "Also log for TensorBoard, in the checkpoint folder; needs taclean[tensorboard]."
    )
    threads: int = key(
        1, "CPU threads; part of the result, since sums depend on how they are split.", ge=1
    )
    checkpoint_seconds: float = key(
        60, "Seconds from the end of one checkpoint to the next within an epoch.", gt=0
    )

    def deciding(self) -> dict[str, Any]:
        """The settings that the result depends on; others may change before a retry."""
        return self.model_dump(exclude={"checkpoint_seconds", "tensorboard"})


class Base(Section):
    """Clean pre-training of the base model, from which every attack starts."""

    per_seed: bool = key(
        False,
        "Train a base model for each seed of the run, by that seed, so that seeds repeat the whole "
        "chain; else all attacks start from one, of model.seed.",
    )
    train: Train = key(..., "How it trains.")


class Poison(Section):
    """Poisoned pre-training, unless an attack says otherwise."""

    rows: int = key(..., "Rows of the pretrain split that are trained on.", ge=1)
    train: Train = key(..., "How it trains.")


class Finetune(Section):
    """Fine-tuning on the clean split, unless a defence says otherwise."""

    train: Train = key(..., "How it trains.")


class Tune(Section):
    """How the settings of the defences are chosen on val; `snakemake tune` does it."""

    attacks: list[str] = key(
        ..., "Attacks to choose on, by their names in `attacks`.", min_length=1, unique=True
    )
    seeds: list[Seed] = key(
        ..., "Seeds of the victims; others than those of `run`.", min_length=1, unique=True
    )
    within: float = key(
        ..., "Points of mean CA@1 that what is chosen may lose against the victims.", ge=0, le=100
    )
    trials: dict[str, Annotated[list[dict[str, Any]], Field(min_length=1)]] = key(
        ...,
        "By defence, what each trial changes in its entry, such as {train: {lr: 1.0e-3}}; as many "
        "for each defence.",
        min_length=1,
        named=NAME,
    )


class Axis(Section):
    """A figure of one choice: entries that differ in it alone."""

    label: str = key(..., "What the choice is.", min_length=1)
    values: dict[str, str] = key(
        ...,
        "Entries of `attacks` or of `defenses` that the run has, in the axis's order, and what "
        "stands below each.",
        min_length=2,
        named=NAME,
    )


class Evaluate(Section):
    """What is scored."""

    splits: list[str] = key(
        ...,
        "Splits to score, that of the role test among them; the first with the run's classes also "
        "gives the figures' samples. Pairs of the role extra are scored by retrieval.",
        min_length=1,
        unique=True,
    )
    triggers: list[str] | None = key(
        None,
        "Attacks whose triggers are put on the model that none of them poisoned; by default those "
        "of the run.",
        unique=True,
    )
    samples: int = key(
        ..., "Images whose embeddings and predictions are kept for the figures.", ge=2
    )
    probe: str | None = key(
        None,
        "A labelled split that is not scored, such as val: a linear probe learns from it on each "
        "model's image features and is scored on the split of the role test (LCA, LASR).",
    )
    captions: bool = key(
        False,
        "Whether to score that split's own captions, too: recall both ways (I2T, T2I), and the "
        "share of triggered images that bring up captions of the target (TCR).",
    )
    precision: Precision = key(
        "auto",
        "Of the forward pass of every score; auto is the fastest of the machine, and fp32 is for "
        "numbers that are printed.",
    )


class Probe(Section):
    """A pattern of the scan: a patch, or a film over the whole picture."""

    size: float = key(42, "Patch: its side in px at 224.", ge=1, le=224)
    place: Literal["random", "centre", "corner"] = key("centre", "Patch: where it goes.")
    film: float = key(
        0, "Film: grey levels that it adds or takes at most; 0 makes it a patch.", ge=0, le=255
    )


class Scan(Section):
    """The scan of a model: which class do optimised patterns reach most easily?"""

    images: int = key(
        ..., "Pictures of the val split; half for the optimisation, half for the score.", ge=4
    )
    steps: int = key(..., "Steps of Adam for each pattern.", ge=1)
    batch: int = key(..., "Pictures per step and class.", ge=1)
    lr: float = key(..., "Adam's learning rate.", gt=0)
    targets: list[str] | None = key(
        None, "Classes to scan, all by default; at least 3.", min_length=3, unique=True
    )
    probes: dict[str, Probe] = key(
        ..., "Patterns by name; a class's score is its highest.", min_length=1, named=NAME
    )
    clean_seeds: list[Seed] = key(
        ...,
        "Seeds of the clean base models that the target `scan` trains, to see how well the score "
        "tells poisoned models from clean ones.",
        unique=True,
    )


class Request(Section):
    """Memory and time of a job."""

    mem_mb: int = key(..., "Memory of a job in MB; in `jobs`, of each process.", ge=1)
    runtime: int = key(..., "Minutes.", ge=1)


class Jobs(Section):
    """What a rule's first attempt asks for."""

    base: Request = key(..., "Pre-training of the base model.")
    trigger: Request = key(..., "Fitting a trigger.")
    poison: Request = key(..., "Poisoning rows.")
    pretrain: Request = key(..., "Poisoned pre-training.")
    finetune: Request = key(..., "A defence.")
    evaluate: Request = key(..., "Scores.")


class Resources(Section):
    """What jobs ask a scheduler for; no result depends on it and a change reruns nothing."""

    gpus: int = key(
        ...,
        "GPUs of a job that trains (base, pretrain, finetune); above 1, torchrun starts a process "
        "for each. Jobs that fit a trigger or score take one of them. 0: none.",
        ge=0,
    )
    limits: Request = key(..., "The site's most per job; no retry asks for more.")
    jobs: Jobs = key(..., "The first attempt, by rule; each retry asks for half as much again.")


class AttackEntry(Section):
    """An attack: a file of taclean/attacks with its parameters."""

    kind: str | None = key(
        None,
        "The file of taclean/attacks; by default the entry's own name. Of another kind, an entry "
        "begins with what that kind's own entry says.",
        pattern=NAME,
    )
    label: str | None = key(None, "Its name in tables and figures.", min_length=1)
    marker: str | None = key(None, "Matplotlib's marker in figures.", min_length=1, max_length=1)
    gate: float = key(
        ..., "Least ASR@1 in percent on val that counts as taken; 0 lets everything pass.",
        ge=0, le=100,
    )  # fmt: skip


class DefenseEntry(Section):
    """A defence: a file of taclean/defenses with its parameters."""

    after: str | None = key(
        None,
        "A defence, by its name, whose cleaned model this one starts from: what comes back of a "
        "backdoor when a user goes on training?",
        pattern=NAME,
    )
    rows: int | None = key(
        None,
        "Rows of the clean split that it learns from, drawn by the seed; all by default.",
        ge=1,
        rows_of="clean",
    )
    overlap: float | None = key(
        None,
        "Learn from rows of the pretrain split, as they were before the poisoning, rather than of "
        "the clean one: as many, of which this share is in the set that was poisoned.",
        ge=0,
        le=1,
    )

    kind: str | None = key(
        None,
        "The file of taclean/defenses; by default the entry's own name. Of another kind, an entry "
        "begins with what that kind's own entry says.",
        pattern=NAME,
    )
    label: str | None = key(None, "Its name in tables and figures.", min_length=1)
    colour: str | None = key(None, "Its colour in figures, #rrggbb.", pattern="^#[0-9a-fA-F]{6}$")


class Config(Section):
    """The whole config."""

    run: Run = key()
    data: Data = key()
    zeroshot: Zeroshot = key()
    model: Model = key()
    base: Base = key()
    poison: Poison = key()
    attacks: dict[str, Any] = key(..., "Attacks by name.", named=NAME)
    finetune: Finetune = key()
    defenses: dict[str, Any] = key(..., "Defences by name.", named=NAME)
    tune: Tune | None = key(None)
    axes: dict[str, Axis] | None = key(
        None, "Figures of one choice each, by name: `results/figures/axes/NAME.png`.", named=NAME
    )
    evaluate: Evaluate = key()
    scan: Scan = key()
    resources: Resources = key()
