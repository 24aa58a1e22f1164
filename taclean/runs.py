"""The grid of runs: which models are trained, cleaned and scored, and where their files are."""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from glob import escape, glob
from itertools import chain
from typing import Any, NamedTuple

from taclean.config import Config
from taclean.config.schema import Train
from taclean.data import FILES
from taclean.data.readers import READERS
from taclean.results.labels import FEWEST_SEEDS, Look, label_of, look_of
from taclean.stages import stage_config
from taclean.stages.text import shared_name, user_of
from taclean.util.errors import UserError

CLEAN_BASE = "results/clean/seed{seed}/model.safetensors"  # a base model for each seed
IMPORTED = "results/imported/model.safetensors"
OF_ATTACK = "results/attacks/{attack}/seed{seed}"  # trigger, poison and gate
RUN = "results/runs/{attack}/{defense}/seed{seed}{repeat}"
BENCHMARK = "results/benchmarks/{}.tsv"


class Run(NamedTuple):
    """One model of the grid: a victim, or one of its cleanings."""

    attack: str  # "clean" for the model that was never poisoned
    defense: str  # "none" for the victim itself
    seed: int
    repeat: int = 0  # number of the cleaning, 0 for the first

    @classmethod
    def of(cls, wildcards: Any) -> "Run":
        repeat = int(wildcards.repeat.removeprefix("-repeat") or 0)
        return cls(wildcards.attack, wildcards.defense, int(wildcards.seed), repeat)

    @property
    def suffix(self) -> str:
        """The wildcard `repeat` of paths: "" for the first cleaning, then "-repeat1", ..."""
        return f"-repeat{self.repeat}" if self.repeat else ""

    def path(self, file: str) -> str:
        return f"{RUN.format(**self._asdict() | {'repeat': self.suffix})}/{file}"


class Runs:
    """The runs of a config and the files that the rules read and write.

    Methods with a parameter `wildcards` are input functions of rules. They take any object with the
    rule's wildcards as attributes and return paths. A UserError names a training that cannot be
    made as it is planned.

    Attributes:
        attacks: of the runs, "clean" first.
        methods: the defences, "none" first.
        defenses: their entries that clean, an entry for each rate of `run.rates`; "none" first.
        pictured: an entry of each, with the middle rate, for figures of single pictures.
        detectors: their labels by name.
        data: folder of the packed splits.
        base: path of the base model, with {seed} where each seed has its own.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.attacks = ["clean", *config.run.attacks]
        self.methods = ["none", *config.run.defenses]
        entries = [config.entries_of(name) for name in self.methods]
        self.defenses = [name for names in entries for name in names]
        self.pictured = [names[len(names) // 2] for names in entries]
        self.seeds = config.run.seeds
        self.repeats = range(config.run.repeats)
        self.detectors = {name: label_of(name, entry) for name, entry in config.detectors.items()}
        self.data = f"data/{config.data.name}"
        self.dataset = config.dataset
        self.scored = config.evaluate.splits
        shared = IMPORTED if config.model.pretrained else "results/base/model.safetensors"
        self.base = CLEAN_BASE if config.base.per_seed else shared
        for stage, _, rows, train in self.trainings():
            if rows and (rows < train.batch or train.warmup >= rows // train.batch * train.epochs):
                text = f"batch {train.batch}, {train.epochs} epochs and warmup {train.warmup}"
                text = f"{stage}: {rows} rows are too few for {text}"
                raise UserError(f"{text}; lower train.batch or train.warmup")

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
        controls = self.config.run.controls or not self.config.run.attacks
        return [
            Run(attack, defense, seed, repeat)
            for attack in (self.attacks if attacks is None else attacks)
            for defense in (self.defenses if defenses is None else defenses)
            for seed in (self.seeds if seeds is None else seeds)
            for repeat in (self.repeats if repeats is None else repeats)
            if defense == "none" or attack != "clean" or controls
            if defense != "none" or repeat == 0
        ]

    def victims(self) -> list[Run]:
        """Return the poisoned models that are trained or given."""
        trained = dict.fromkeys(map(self.config.trained_as, self.attacks[1:]))
        return self.all(["none"], list(trained))

    def poisonings(self) -> dict[str, Any]:
        """Return the config of each stage that trains a base model or a victim, by its path; a
        victim's has the settings of its poison, and of its trigger's fit, as `STAGE.KEY`."""
        paths = [os.path.dirname(base).removeprefix("results/") for base in self._bases()]
        found = {path: stage_config(self.config, path) for path in paths}
        for run in self._trained():
            own = f"{run.attack}/seed{run.seed}"
            found[f"pretrain/{own}"] = stage_config(self.config, f"pretrain/{own}")
            for part in ["poison"] + ["trigger"] * self.config.attacks[run.attack].fits:
                made = stage_config(self.config, f"{part}/{own}").items()
                found[f"pretrain/{own}"] |= {f"{part}.{key}": value for key, value in made}
        return found

    def _trained(self) -> list[Run]:
        return [run for run in self.victims() if not self.config.attacks[run.attack].victim]

    def frozen(self) -> list[str]:
        """Return the files that an archive of the run's victims holds."""
        files = []
        for name in self._bases():
            history = f"{os.path.dirname(name)}/history.csv"
            files += [name] if name == IMPORTED else [name, history]
        for run in self._trained():
            files += [run.path("model.safetensors"), run.path("history.csv")]
            files += self._fitted(run.attack, run.seed)
            files.append(f"{OF_ATTACK.format(**run._asdict())}/poison/manifest.csv")
        return files

    def _bases(self) -> list[str]:
        return list(dict.fromkeys(self.base.format(seed=seed) for seed in self.seeds))

    def cleanings(self, attacks: Sequence[str] | None = None) -> list[Run]:
        """Return the runs in which a defence trains a model."""
        attacks = self.attacks if attacks is None else attacks
        trained = dict.fromkeys(map(self.config.trained_as, attacks))
        return self.all(self.defenses[1:], list(trained))

    def trainings(self) -> Iterator[tuple[str, list[str], int | None, Train]]:
        """Yield what the run or a tuning trains: stage, attack of each model, rows, settings.

        The rows are None for all of a source. Models that only a tuning has are left out.
        """
        config, cleanings = self.config, self.cleanings()
        victims = [run.attack for run in self.victims()]
        if not (config.model.pretrained or config.run.victims):
            bases, rows = ["clean"] * len(self._bases()), config.rows_of_role("pretrain")
            yield "base", bases, rows, config.base.train
        for attack in dict.fromkeys([*victims, *config.tune.attacks]):
            if not (config.attacks[attack].victim or config.run.victims):
                own = [name for name in victims if name == attack]
                yield f"pretrain {attack}", own, *config.poisoning(attack)
        for name in config.cleaned_by([*self.defenses[1:], *config.trials]):
            own = [run.attack for run in cleanings if run.defense == name]
            yield f"finetune {name}", own, *config.cleaning(name, *own[:1])

    def tuning(self) -> dict[str, dict[str, Any]]:
        """Return the trials of a tuning on every attack and seed, by their val scores."""
        tune, trials = self.config.tune, self.config.trials.items()
        return {
            Run(attack, entry, seed).path("history.csv"): {**trial, "attack": attack, "seed": seed}
            for entry, trial in trials
            for attack in tune.attacks
            for seed in tune.seeds
        }

    def histories(self, defenses: Collection[str]) -> list[str]:
        """Return the val scores of the cleanings by some defences."""
        found = [run for run in self.cleanings() if run.defense in defenses]
        return [run.path("history.csv") for run in found]

    def followed(self) -> list[str]:
        """Return the val scores of the cleanings that are scored at steps of their own."""
        entries, train = self.config.defenses, self.config.finetune.train
        names = [n for n in self.defenses[1:] if entries[n].settings(train).score_at]
        return self.histories(names)

    def scores(self) -> list[str]:
        return [run.path("scores.json") for run in self.all()]

    def measured(self) -> list[dict[str, Any]]:
        """Return the benchmark files of every cleaning of a poisoned model and of its texts."""
        found = []
        for run in self.cleanings(self.attacks[1:]):
            path = f"finetune/{run.attack}/{run.defense}/seed{run.seed}{run.suffix}"
            folders = self.texts_of(run.defense, run.seed, run.suffix).values()
            texts = [BENCHMARK.format(folder.removeprefix(f"{self.data}/")) for folder in folders]
            defense, _ = self.config.rates.get(run.defense, (run.defense, 0))
            found.append({"defense": defense, "training": BENCHMARK.format(path), "texts": texts})
        return found

    # ---- data ------------------------------------------------------------------------------------

    def split(self, name: str) -> list[str]:
        return [f"{self.data}/{name}/{file}" for file in FILES]

    def of_role(self, role: str) -> list[str]:
        """Return the files of the split with a role, or nothing where the run needs no such one."""
        name = self.config.split_of_role(role)
        return self.split(name) if name else []

    def poisoned_split(self, wildcards: Any) -> list[str]:
        """Return the files of the split that a run's first model was trained on, if any."""
        attack = self.config.attacks.get(wildcards.attack)
        given = attack.victim if attack else self.config.model.pretrained
        return [] if given or self.config.run.victims else self.of_role("pretrain")

    def learned_by(self, defense: str) -> list[str]:
        return self.split(self.config.learned_by(defense))

    def index(self, wildcards: Any) -> str | list[str]:
        """Return the index of a split's source; scenes have no source."""
        source = getattr(self.dataset.splits[wildcards.split], "source", None)
        return f"{self.data}/index/{source}.parquet" if source else []

    def known(self, wildcards: Any) -> list[str]:
        """Return the hashes of the pictures that win over those of a split; scenes have no copies.

        Scored splits win. The clean split wins over pretrain, for it is always packed.
        """
        split, config = wildcards.split, self.config
        trained = filter(None, map(config.split_of_role, ("clean", "pretrain", "patch")))
        order = [*dict.fromkeys([*config.scored, *trained, split])]
        if self.dataset.form == "scenes" or not (split in config.scored or config.learns(split)):
            return []
        return [f"{self.data}/{name}/pictures.npy" for name in order[: order.index(split)]]

    def split_source(self, wildcards: Any) -> str | list[str]:
        """Return the folder of a split's source; scenes have no source."""
        source = getattr(self.dataset.splits[wildcards.split], "source", None)
        return self.source_folder(source) if source else []

    def pack_threads(self, wildcards: Any) -> int:
        """Return the processes that pack a split; for a small one, a second does not pay."""
        rows = self.dataset.splits[wildcards.split].rows
        return 1 if rows and rows <= 10_000 else 2

    def training_threads(self, wildcards: Any) -> int:
        """Return the threads of a base model, a victim or a cleaning, by which wildcards it has."""
        names, config = {**wildcards}, self.config
        if "defense" in names:
            return config.cleaning(names["defense"], names["attack"])[1].threads
        train = config.poisoning(names["attack"])[1] if "attack" in names else config.base.train
        return train.threads

    def source_folder(self, name: str) -> str:
        """Return where a source's files are: the user's folder, or that of `fetch_folder`."""
        given = self.dataset.sources[name].folder
        return os.path.expanduser(given) if given else self.fetch_folder(name)

    def fetch_folder(self, name: str) -> str:
        """Return the folder that a source is fetched into, which no rule deletes."""
        source = self.dataset.sources[name]
        # A download holds all parts of a data set, which are sources of their own.
        return f"{self.data}/sources/{name if source.hub else source.reader}"

    def fetched(self, wildcards: Any) -> str | list[str]:
        """Return what a source is indexed after: its fetch, or the user's CSV files."""
        source = self.dataset.sources[wildcards.source]
        details = getattr(source, "details", None)
        if not source.folder or getattr(details, "descriptors", None) == "download":
            return f"{self.data}/fetched/{wildcards.source}.json"
        if "separator" not in READERS[source.reader].keys:
            return []
        place = self.source_folder(wildcards.source)
        files = [source.files] if isinstance(source.files, str) else source.files or ["*.csv"]
        found = (glob(f"{escape(place)}/{pattern}", recursive=True) for pattern in files)
        alone = os.path.isfile(place)
        names = os.path.join(os.path.dirname(place) if alone else place, str(source.classes))
        named = [names] if isinstance(source.classes, str) and os.path.isfile(names) else []
        return [place, *named] if alone else [*dict.fromkeys(chain(*found, named))]

    def weights(self, wildcards: Any) -> list[str]:
        """Return the files of `model.pretrained`, or nothing where it is a tag of open_clip."""
        own = self.config.model.pretrained or ""
        return _files_of(own) if os.path.exists(own) else []

    # ---- models, triggers and texts --------------------------------------------------------------

    def given(self, wildcards: Any) -> list[str]:
        """Return the files of a victim that others poisoned, or nothing."""
        victim = self.config.attacks[wildcards.attack].victim
        return _files_of(victim) if victim else []

    def poisoned_from(self, wildcards: Any) -> str | list[str]:
        """Return the weights that a poisoning starts from: the base model's, or nothing."""
        entry = self.config.attacks.get(wildcards.attack)
        starts = entry and not entry.victim and not entry.scratch
        return self.base.format(seed=wildcards.seed) if starts else []

    def fitted_to(self, wildcards: Any) -> str | list[str]:
        """Return the weights of the clean model, if the fit of the attack's trigger reads them."""
        reads = self.config.attacks[wildcards.attack].method.reads_model
        return self.base.format(seed=wildcards.seed) if reads else []

    def victim(self, wildcards: Any) -> str:
        """Return the weights that a defence cleans: a poisoned model's, or the base model's."""
        if wildcards.attack == "clean":
            return self.base.format(seed=wildcards.seed)
        victim = Run(self.config.trained_as(wildcards.attack), "none", wildcards.seed)
        return victim.path("model.safetensors")

    def start(self, wildcards: Any) -> str | list[str]:
        """Return the weights that a defence starts from: the victim's, another's, or nothing."""
        entry = self.config.defenses[wildcards.defense]
        if entry.method.scratch:
            return []
        if before := entry.after:
            return Run.of(wildcards)._replace(defense=before).path("model.safetensors")
        return self.victim(wildcards)

    def model(self, wildcards: Any) -> str:
        """Return the weights that a run's scores are of."""
        run = Run.of(wildcards)
        if run.defense == "none":
            return self.victim(run)
        return run._replace(attack=self.config.trained_as(run.attack)).path("model.safetensors")

    def fitted(self, wildcards: Any) -> list[str]:
        return self._fitted(wildcards.attack, wildcards.seed)

    def trigger_options(self, wildcards: Any) -> list[str]:
        """Return ATTACK=FILE for each fitted trigger that the scores of a run need."""
        clean = wildcards.attack == "clean"
        attacks = self.config.triggers_on_clean if clean else [wildcards.attack]
        return [f"{name}={file}" for name in attacks for file in self._fitted(name, wildcards.seed)]

    def scored_triggers(self, wildcards: Any) -> list[str]:
        """Return the files of `trigger_options`."""
        options = self.trigger_options(wildcards)
        return list(dict.fromkeys(option.partition("=")[2] for option in options))

    def _fitted(self, attack: str, seed: int) -> list[str]:
        if attack == "clean" or not (entry := self.config.attacks[attack]).fits:
            return []
        if entry.fitted:
            return [entry.fitted]
        folder = OF_ATTACK.format(attack=self.config.trained_as(attack), seed=seed)
        return [f"{folder}/trigger.safetensors"]

    def text_split(self, wildcards: Any) -> list[str]:
        """Return the files of the split that a folder of texts is made from."""
        return self.learned_by(user_of(self.config, wildcards.text, wildcards.shared) or "")

    def texts_of(self, defense: str, seed: int, suffix: str = "") -> dict[str, str]:
        """Return the folders of all texts that a cleaning learns from, which others may share."""
        kinds = self.config.defenses[defense].method.texts if defense != "none" else []
        shared = {kind: shared_name(self.config, kind, defense) for kind in kinds}
        return {k: f"{self.data}/text/{k}/{s}/seed{seed}{suffix}" for k, s in shared.items()}

    def texts(self, wildcards: Any) -> list[str]:
        return list(self.texts_of(wildcards.defense, wildcards.seed, wildcards.repeat).values())

    def text_options(self, wildcards: Any) -> list[str]:
        """Return KIND=FOLDER for each of `texts`."""
        folders = self.texts_of(wildcards.defense, wildcards.seed, wildcards.repeat)
        return [f"{kind}={folder}" for kind, folder in folders.items()]

    # ---- what the report shows -------------------------------------------------------------------

    def look(self) -> dict[str, Any]:
        """Return how tables and figures print methods and splits: see `taclean.results.labels`."""
        return look_of(self.config)

    def tuning_look(self) -> dict[str, Any]:
        """Return `look` for the attacks and defences of a tuning."""
        return look_of(self.config, self.config.tune.attacks, [*self.config.tune.trials])

    def has_intervals(self) -> bool:
        """Return whether defences are compared on enough seeds."""
        enough = len(self.seeds) >= FEWEST_SEEDS
        return enough and len(Look.of(self.look()).methods(self.methods[1:])) > 1

    def shown_user(self, kind: str) -> str:
        """Return the first defence that learns from texts of the whole clean split, or ""."""
        entries = {name: self.config.defenses[name] for name in self.defenses[1:]}
        whole = (n for n, e in entries.items() if e.rows is e.overlap is e.split is None)
        return next((name for name in whole if kind in entries[name].method.texts), "")


def _files_of(weights: str) -> list[str]:
    """Return a checkpoint file, or the files of a folder of Hugging Face."""
    found = (glob(f"{escape(weights)}/{name}") for name in ("*.json", "model.safetensors"))
    return sorted(chain(*found)) or [weights]
