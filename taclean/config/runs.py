"""The grid of runs: which models are trained, cleaned and scored, and where their files are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from glob import glob
from typing import Any, NamedTuple

from taclean.config import Config, trial_name
from taclean.data.layout import FILES
from taclean.data.readers import READERS
from taclean.results.labels import Look
from taclean.stages.text import shared_name, user_of

CLEAN_BASE = "results/clean/seed{seed}/model.safetensors"  # a base model for each seed
OF_ATTACK = "results/attacks/{attack}/seed{seed}"  # trigger, poison and gate
RUN = "results/runs/{attack}/{defense}/seed{seed}{repeat}"
BENCHMARK = "results/benchmarks/{}.tsv"


class Run(NamedTuple):
    """One model of the grid: a victim, or one of its cleanings.

    Attributes:
        attack: "clean" for the model that was never poisoned.
        defense: "none" for the victim itself.
        repeat: number of the cleaning, 0 for the first.
    """

    attack: str
    defense: str
    seed: int
    repeat: int = 0

    @property
    def suffix(self) -> str:
        """The wildcard `repeat` of paths: "" for the first cleaning, then "-repeat1", ..."""
        return f"-repeat{self.repeat}" if self.repeat else ""

    def path(self, file: str) -> str:
        """Return the path of one of the run's files."""
        folder = RUN.format(
            attack=self.attack, defense=self.defense, seed=self.seed, repeat=self.suffix
        )
        return f"{folder}/{file}"


class Runs:
    """The runs of a config and the files that the rules read and write.

    Methods with a parameter `wildcards` are input functions of rules. They take any object with the
    rule's wildcards as attributes and return paths.

    Attributes:
        attacks: of the runs, "clean" first.
        defenses: of the runs, "none" first.
        shown: the last defence, whose single pictures the figures show.
        data: folder of the packed splits.
        base: path of the base model, with {seed} where each seed has its own.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.attacks = ["clean", *config.run.attacks]
        self.defenses = ["none", *config.run.defenses]
        self.seeds = config.run.seeds
        self.repeats = range(config.run.repeats)
        self.shown = self.defenses[-1]
        self.data = f"data/{config.data.name}"
        self.dataset = config.dataset
        self.scored = config.evaluate.splits
        self.base = "results/base/model.safetensors"
        if config.base.per_seed:
            self.base = CLEAN_BASE
        elif config.model.pretrained:
            self.base = "results/imported/model.safetensors"

    # ---- the grid --------------------------------------------------------------------------------

    def all(
        self,
        defenses: Sequence[str] | None = None,
        attacks: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
        repeats: Iterable[int] | None = None,
    ) -> list[Run]:
        """Return the runs in the order of the table, all by default.

        Victims are not repeated, and the clean model is cleaned only as a control.
        """
        controls = self.config.cleans_clean
        return [
            Run(attack, defense, seed, repeat)
            for attack in (self.attacks if attacks is None else attacks)
            for defense in (self.defenses if defenses is None else defenses)
            for seed in (self.seeds if seeds is None else seeds)
            for repeat in (self.repeats if repeats is None else repeats)
            if defense == "none" or attack != "clean" or controls
            if defense != "none" or repeat == 0
        ]

    def cleanings(self, attacks: Sequence[str] | None = None) -> list[Run]:
        """Return the runs in which a defence trains a model."""
        attacks = self.attacks if attacks is None else attacks
        return self.all(self.defenses[1:], list(dict.fromkeys(map(self.trained_as, attacks))))

    def first(self, defenses: Sequence[str]) -> list[Run]:
        """Return the poisoned models' first runs, for figures of single pictures."""
        return self.all(defenses, self.attacks[1:], self.seeds[:1], [0])

    def tuning(self) -> list[dict[str, Any]]:
        """Return the trials of a tuning (defense, trial, overrides) on every attack and seed."""
        tune = self.config.tune
        return [
            {**trial, "attack": attack, "seed": seed}
            for trial in self.config.trials()
            for attack in (tune.attacks if tune else [])
            for seed in (tune.seeds if tune else [])
        ]

    def tuning_histories(self) -> list[str]:
        """Return the val scores of every trial."""
        return [
            Run(
                trial["attack"],
                trial_name(trial["defense"], trial["trial"]),
                trial["seed"],
            ).path("history.csv")
            for trial in self.tuning()
        ]

    def trained_as(self, attack: str) -> str:
        """Return the attack whose models an attack uses: another's if only its test differs."""
        return attack if attack == "clean" else self.config.trained_as(attack)

    def scores(self) -> list[str]:
        """Return the scores of every run."""
        return [run.path("scores.json") for run in self.all()]

    def measured(self) -> list[dict[str, Any]]:
        """Return the benchmark files of every cleaning of a poisoned model and of its texts."""
        return [
            {
                "defense": run.defense,
                "training": BENCHMARK.format(
                    f"finetune/{run.attack}/{run.defense}/seed{run.seed}{run.suffix}"
                ),
                "texts": [
                    BENCHMARK.format(folder.removeprefix(f"{self.data}/"))
                    for folder in self.texts_of(run.defense, run.seed, run.suffix)
                ],
            }
            for run in self.cleanings(self.attacks[1:])
        ]

    # ---- data ------------------------------------------------------------------------------------

    def split(self, name: str) -> list[str]:
        """Return the files of a packed split."""
        return [f"{self.data}/{name}/{file}" for file in FILES]

    def of_role(self, role: str) -> list[str]:
        """Return the files of the split with a role, or nothing where the run needs no such one."""
        name = self.config.split_of_role(role)
        return self.split(name) if name else []

    def learned_by(self, defense: str) -> list[str]:
        """Return the files of the split that a defence learns from."""
        entry = self.config.defenses.get(defense)
        overlaps = entry is not None and entry.overlap is not None
        return self.of_role("pretrain" if overlaps else "clean")

    def index(self, wildcards: Any) -> str | list[str]:
        """Return the index of a split's source; scenes have no source."""
        source = self._source(wildcards.split)
        return f"{self.data}/index/{source}.parquet" if source else []

    def split_source(self, split: str) -> str | list[str]:
        """Return the folder of a split's source; scenes have no source."""
        source = self._source(split)
        return self.source_folder(source) if source else []

    def _source(self, split: str) -> str | None:
        return getattr(self.dataset.splits[split], "source", None)

    def pack_threads(self, wildcards: Any) -> int:
        """Return the processes that pack a split; for a small one, a second does not pay."""
        rows = self.dataset.splits[wildcards.split].rows
        return 1 if rows and rows <= 5000 else 2

    def source_folder(self, name: str) -> str:
        """Return where a source's files are: the user's folder, or ours, which no rule deletes."""
        source = self.dataset.sources[name]
        if source.folder:
            return os.path.expanduser(source.folder)
        # A download holds all parts of a data set, which are sources of their own.
        return f"{self.data}/sources/{source.reader if source.download else name}"

    def fetched(self, wildcards: Any) -> str | list[str]:
        """Return what a source is indexed after: its fetch, or the user's CSV files."""
        source = self.dataset.sources[wildcards.source]
        if not source.folder:
            return f"{self.data}/fetched/{wildcards.source}.json"
        if "separator" not in READERS[source.reader].keys:
            return []
        place = self.source_folder(wildcards.source)
        return [place] if os.path.isfile(place) else glob(f"{place}/{source.files or '*.csv'}")

    def weights(self, wildcards: Any) -> str | list[str]:
        """Return the files of `model.pretrained`, or nothing where it is a tag of open_clip."""
        own = self.config.model.pretrained or ""
        if os.path.isdir(own):  # as of Hugging Face
            return sorted(glob(f"{own}/*.json") + glob(f"{own}/model.safetensors"))
        return own if os.path.isfile(own) else []

    # ---- models, triggers and texts --------------------------------------------------------------

    def victim(self, wildcards: Any) -> str:
        """Return the weights that a defence cleans: a poisoned model's, or the base model's."""
        if wildcards.attack == "clean":
            return self.base.format(seed=wildcards.seed)
        return Run(self.trained_as(wildcards.attack), "none", wildcards.seed).path(
            "model.safetensors"
        )

    def start(self, wildcards: Any) -> str:
        """Return the weights that a cleaning starts from: the victim's, or another defence's."""
        if before := self.config.defenses[wildcards.defense].after:
            return _model_of(wildcards, defense=before)
        return self.victim(wildcards)

    def model(self, wildcards: Any) -> str:
        """Return the weights that a run's scores are of."""
        if wildcards.defense == "none":
            return self.victim(wildcards)
        return _model_of(wildcards, attack=self.trained_as(wildcards.attack))

    def fitted(self, wildcards: Any) -> list[str]:
        """Return the fitted trigger of the run's attack, if it has one."""
        return self._fitted([wildcards.attack], wildcards.seed)

    def scored_attacks(self, attack: str) -> list[str]:
        """Return the attacks whose triggers are scored: the run's, or all on the clean model."""
        return self.config.triggers_on_clean if attack == "clean" else [attack]

    def scored_triggers(self, wildcards: Any) -> list[str]:
        """Return the fitted triggers that the scores of a run need."""
        attacks = self.scored_attacks(wildcards.attack)
        return list(dict.fromkeys(self._fitted(attacks, wildcards.seed)))

    def trigger_options(self, wildcards: Any) -> list[str]:
        """Return ATTACK=FILE for each of `scored_triggers`."""
        return [
            f"{attack}={path}"
            for attack in self.scored_attacks(wildcards.attack)
            for path in self._fitted([attack], wildcards.seed)
        ]

    def _fitted(self, attacks: Sequence[str], seed: int) -> list[str]:
        return [
            f"{OF_ATTACK.format(attack=self.trained_as(attack), seed=seed)}/trigger.safetensors"
            for attack in attacks
            if attack != "clean" and self.config.attacks[attack].fits
        ]

    def text_kinds(self, defense: str) -> list[str]:
        """Return the kinds of text that a defence learns from."""
        if defense == "none":
            return []
        return self.config.defenses[defense].texts

    def text(self, kind: str, defense: str, seed: int, suffix: str = "") -> str:
        """Return the folder of a defence's texts, which others may share."""
        shared = shared_name(self.config, kind, defense)
        return f"{self.data}/text/{kind}/{shared}/seed{seed}{suffix}"

    def text_split(self, wildcards: Any) -> list[str]:
        """Return the files of the split that a folder of texts is made from."""
        return self.learned_by(user_of(self.config, wildcards.text, wildcards.shared) or "")

    def texts_of(self, defense: str, seed: int, suffix: str = "") -> list[str]:
        """Return the folders of all texts that a cleaning learns from."""
        return [self.text(kind, defense, seed, suffix) for kind in self.text_kinds(defense)]

    def texts(self, wildcards: Any) -> list[str]:
        """Return the folders of the texts of the run's defence."""
        return self.texts_of(wildcards.defense, wildcards.seed, wildcards.repeat)

    def text_options(self, wildcards: Any) -> list[str]:
        """Return KIND=FOLDER for each of `texts`."""
        kinds = self.text_kinds(wildcards.defense)
        return [f"{kind}={path}" for kind, path in zip(kinds, self.texts(wildcards), strict=True)]

    # ---- what the report shows -------------------------------------------------------------------

    def look(self) -> dict[str, Any]:
        """Return how tables and figures print methods and splits: see `taclean.results.labels`."""
        return self.config.look()

    def tuning_look(self) -> dict[str, Any]:
        """Return `look` for the attacks and defences of a tuning."""
        tune = self.config.tune
        return self.config.look(tune.attacks, list(tune.trials)) if tune else {}

    def retrieval_splits(self) -> list[str]:
        """Return the scored splits whose pictures have captions."""
        if self.dataset.form == "scenes":
            return []
        gives = {s: READERS[self.dataset.source_of(s).reader].gives for s in self.scored}
        return [split for split in self.scored if gives[split] in ("captions", "pairs")]

    def has_further_splits(self) -> bool:
        """Return whether clean accuracy is scored on more than one split."""
        return len(self.scored) - len(self.retrieval_splits()) > 1

    def has_intervals(self) -> bool:
        """Return whether defences are compared on several victims or cleanings."""
        several = len(self.seeds) > 1 or len(self.repeats) > 1
        return several and len(Look.of(self.look()).methods(self.defenses[1:])) > 1

    def users_of(self, kind: str) -> list[str]:
        """Return the run's defences that learn from a kind of text."""
        return [defense for defense in self.defenses if kind in self.text_kinds(defense)]

    def shown_user(self, kind: str) -> list[str]:
        """Return the first of `users_of` that learns from the whole clean split, for a figure."""
        entries = {name: self.config.defenses[name] for name in self.users_of(kind)}
        whole = [d for d, entry in entries.items() if entry.rows is None and entry.overlap is None]
        return whole[:1]

    def example_text(self, kind: str) -> list[str]:
        """Return the folder of texts of the first seed, for a figure of examples."""
        return [self.text(kind, defense, self.seeds[0]) for defense in self.shown_user(kind)]

    def has_first(self) -> bool:
        """Return whether `shown` learns from sub-captions and test pictures have captions."""
        learns = self.shown in self.users_of("subcaptions")
        return bool(self.attacks[1:]) and learns and self.dataset.form == "scenes"

    def val_rows(self) -> int | None:
        """Return the number of val pictures, or None for all of a source."""
        return self.dataset.splits[self.config.split_of_role("val")].rows


def _model_of(wildcards: Any, **changes: str) -> str:
    """Return the weights of the run with these wildcards, some of them changed."""
    names = ("attack", "defense", "seed", "repeat")
    values = {name: getattr(wildcards, name) for name in names} | changes
    return RUN.format(**values) + "/model.safetensors"
