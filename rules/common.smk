"""Checks of the config, and the functions that name a rule's inputs."""

import json
import os
import re
import shlex
from glob import glob

from snakemake.exceptions import WorkflowError

from taclean import config as configs
from taclean.config.checks import check
from taclean.data.layout import FILES
from taclean.data.readers import READERS
from taclean.util.errors import UserError
from taclean.results.labels import Look
from taclean.stages import stage_config
from taclean.stages.text import shared_name, user_of

try:
    for file in workflow.configfiles:
        configs.read_yaml(file)  # Snakemake takes a key that is there twice
    resolved = configs.resolve(config)
    config.clear()
    config.update(resolved)
    check(config)
except UserError as error:
    raise WorkflowError(f"config: {error}") from None

DATA = f"data/{config['data']['name']}"
DATASET = configs.dataset(config)
CLEAN_BASE = "results/clean/seed{seed}/model.safetensors"  # a base model for each seed
if config["base"].get("per_seed"):
    BASE = CLEAN_BASE
else:
    BASE = f"results/{'imported' if 'pretrained' in config['model'] else 'base'}/model.safetensors"
OF_ATTACK = "results/attacks/{attack}/seed{seed}"  # trigger, poison and gate
RUNS = "results/runs"
RUN = f"{RUNS}/{{attack}}/{{defense}}/seed{{seed}}{{repeat}}"
TEXT = f"{DATA}/text/{{text}}/{{shared}}/seed{{seed}}{{repeat}}"
FIGURES = "results/figures"
SEEDS = config["run"]["seeds"]
REPEATS = range(config["run"].get("repeats", 1))
CONTROLS = configs.controls(config)
ATTACKS = ["clean", *config["run"]["attacks"]]
DEFENSES = ["none", *config["run"]["defenses"]]
SHOWN_DEFENSE = DEFENSES[-1]  # the one under test, whose single pictures a figure shows
SCORED = config["evaluate"]["splits"]
PROBE = config["evaluate"].get("probe")  # the split that linear probes learn from
GPUS = config["resources"]["gpus"]


wildcard_constraints:
    attack="[A-Za-z0-9_]+",
    defense="[A-Za-z0-9_]+",
    text="[A-Za-z0-9_]+",
    split="|".join(DATASET["splits"]),
    source="|".join(DATASET.get("sources", {})) or "none",
    seed=r"\d+",
    repeat=r"(-repeat[1-9]\d*)?",  # further cleanings of the same victim
    shared=r"\d+epochs-[0-9a-f]{8}",
    stage=".+",


# A scheduler signals every process of a job. bash waits for the command, which may save and leave,
# and tee lives on to take its last words; pipefail keeps the command's exit status.
shell.prefix("set -euo pipefail; trap : TERM; tee() ( trap '' TERM INT; exec tee \"$@\" ); ")


def asks(name, gpu=0):
    """Resources of a rule's job; memory and time grow with each attempt, up to the site's limits."""
    first, most = config["resources"]["jobs"][name], config["resources"]["limits"]

    def grown(key, processes=1):
        return lambda wildcards, attempt: min(
            most[key], first[key] * processes * (1 + attempt) // 2
        )

    return {"gpu": gpu, "mem_mb": grown("mem_mb", max(1, gpu)), "runtime": grown("runtime")}


def launcher(wildcards, resources):
    """What runs a training: python, or torchrun with a process for each GPU that the job gets.

    A param that depends on `resources` is no reason for a rerun.
    """
    gres = re.fullmatch(r"gpu(?::\D[^:]*)?:(\d+)", str(resources.get("gres", "")))
    count = resources.get("gpu") or int(gres[1] if gres else 0)
    return f"torchrun --standalone --nproc-per-node {count}" if count > 1 else "python"


def stage_json(wildcards):
    """The stage's config as text: a changed parameter changes it, and nothing else does."""
    return json.dumps(stage_config(config, wildcards.stage), indent=2)


def weights(wildcards):
    """The files of the user's checkpoint, where model.pretrained is no tag of open_clip."""
    own = config["model"]["pretrained"]
    if os.path.isdir(own):  # as of Hugging Face
        return sorted(glob(f"{own}/*.json") + glob(f"{own}/model.safetensors"))
    return own if os.path.isfile(own) else []


def files_of_split(name):
    """The files of a packed split."""
    return [f"{DATA}/{name}/{file}" for file in FILES]


def split(role):
    """The files of the packed split with a role; none where the run needs no such split."""
    there = configs.has_role(config, role)
    return files_of_split(configs.split_of_role(config, role)) if there else []


def source_of(split):
    """What a split's source was found to hold; scenes have no source."""
    source = DATASET["splits"][split].get("from")
    return f"{DATA}/index/{source}.json" if source else []


def pack_threads(wildcards):
    """Of a small split, a second process takes longer to start than it saves."""
    rows = DATASET["splits"][wildcards.split].get("rows")
    return 1 if rows and rows <= 5000 else 2


def fetched(wildcards):
    """What a source is indexed after: its fetch, or a user's CSV files; a folder needs nothing."""
    source = DATASET["sources"][wildcards.source]
    if "folder" not in source:
        return f"{DATA}/fetched/{wildcards.source}.json"
    if "separator" not in READERS[source["reader"]].keys:
        return []
    place = files_of_source(wildcards.source)
    return [place] if os.path.isfile(place) else glob(f"{place}/{source.get('files', '*.csv')}")


def files_of_source(name):
    """Where a source's files are: the user's folder, or ours, which no rule deletes."""
    source = DATASET["sources"][name]
    if own := source.get("folder"):
        return os.path.expanduser(own)
    # What is downloaded has all parts of a data set, which are sources of their own.
    return f"{DATA}/sources/{source['reader'] if source.get('download') else name}"


def source_folder(wildcards):
    """A param: the folder of the rule's source."""
    return files_of_source(wildcards.source)


def index_options(wildcards, input):
    """--index FILE --folder FOLDER for a split that is read from files."""
    source = DATASET["splits"][wildcards.split].get("from")
    folder = shlex.quote(files_of_source(source)) if source else ""
    return f"--index {input.index} --folder {folder}" if source else ""


def folder(name):
    """A param: the folder of the files of an input or output."""

    def of(wildcards, input, output):
        files = getattr(input, name, None) or getattr(output, name)
        return os.path.dirname(files if isinstance(files, str) else files[0])

    return of


def split_folders(wildcards, input):
    """The folders of the splits to score."""
    return list(dict.fromkeys(os.path.dirname(file) for file in input.splits))


def trained(attack):
    """The attack whose models an attack's are: another's, where only its test differs."""
    return attack if attack == "clean" else configs.trained_as(config, attack)


def fitted_of(attacks, seed):
    """The fitted triggers of those attacks that have one."""
    return [
        f"{OF_ATTACK.format(attack=trained(attack), seed=seed)}/trigger.safetensors"
        for attack in attacks
        if attack != "clean" and configs.described(config, "attacks", attack)["fits"]
    ]


def fitted(wildcards):
    """The fitted trigger of the run's attack, if it has one."""
    return fitted_of([wildcards.attack], wildcards.seed)


def scored_attacks(wildcards):
    """The attacks whose triggers are scored: the run's own, or every one on the clean model."""
    return configs.tried(config) if wildcards.attack == "clean" else [wildcards.attack]


def scored_triggers(wildcards):
    """The fitted triggers that scores need."""
    return list(dict.fromkeys(fitted_of(scored_attacks(wildcards), wildcards.seed)))


def fitted_option(wildcards, input):
    """--trigger FILE, if there is one."""
    return f"--trigger {input.trigger}" if input.trigger else ""


def fitted_pairs(wildcards, input):
    """ATTACK=FILE for `taclean evaluate --triggers`."""
    return [
        f"{attack}={path}"
        for attack in scored_attacks(wildcards)
        for path in fitted_of([attack], wildcards.seed)
    ]


def probe_option(wildcards, input):
    """--probe FOLDER, if a linear probe is scored."""
    return f"--probe {os.path.dirname(input.probe[0])}" if input.probe else ""


def val_rows():
    """Images of the val split, for the figures' captions; all of its source where none is said."""
    return DATASET["splits"][configs.split_of_role(config, "val")].get("rows")


def victim(wildcards):
    """The weights that a defence starts from; the clean model is the base model."""
    if wildcards.attack == "clean":
        return BASE
    return f"{RUNS}/{{attack}}/none/seed{{seed}}/model.safetensors"


def start(wildcards):
    """The weights that a cleaning starts from: the victim's, or those that another left."""
    before = config["defenses"][wildcards.defense].get("after")
    return f"{RUN}/model.safetensors".replace("{defense}", before) if before else victim(wildcards)


def model(wildcards):
    """The weights that a run's scores are of."""
    found = victim(wildcards) if wildcards.defense == "none" else f"{RUN}/model.safetensors"
    return found.replace("{attack}", trained(wildcards.attack))


def of_attack(file):
    """A file of the run's attack; of the clean model there is none."""

    def find(wildcards):
        return [] if wildcards.attack == "clean" else f"{OF_ATTACK}/{file}"

    return find


def text_of(text, defense, seed, repeat=""):
    """The folder of a defence's text artifact, which others may share."""
    shared = shared_name(config, text, defense)
    return TEXT.format(text=text, shared=shared, seed=seed, repeat=repeat)


def texts(wildcards):
    """The text artifacts that the run's defence wants."""
    wanted = configs.described(config, "defenses", wildcards.defense)["texts"]
    return [text_of(text, wildcards.defense, wildcards.seed, wildcards.repeat) for text in wanted]


def finetune_options(wildcards, input):
    """The command-line options for a defence's optional inputs."""
    options = [fitted_option(wildcards, input)]
    if input.manifest:
        options.append(f"--manifest {input.manifest}")
    if input.texts:
        named = (f"{folder.split('/')[-3]}={folder}" for folder in input.texts)
        options.append(f"--texts {' '.join(named)}")
    return " ".join(options)


def runs(defenses=DEFENSES, attacks=ATTACKS, seeds=SEEDS, repeats=REPEATS):
    """All runs as mappings, in the order of the table; without a defence nothing is repeated."""
    return [
        {"attack": attack, "defense": defense, "seed": seed, "repeat": repeat}
        for attack in attacks
        for defense in defenses
        for seed in seeds
        for repeat in repeats
        if defense == "none" or attack != "clean" or CONTROLS
        if defense != "none" or repeat == 0
    ]


def trainings(attacks=ATTACKS):
    """The runs in which a defence trains a model of its own."""
    return runs(DEFENSES[1:], list(dict.fromkeys(map(trained, attacks))))


def first_runs(defenses):
    """The poisoned models' first runs, for figures of single pictures."""
    return runs(defenses, ATTACKS[1:], SEEDS[:1], [0])


def repeat_of(run):
    """What names a run's cleaning in paths, the wildcard `repeat`: nothing for the first."""
    return f"-repeat{run['repeat']}" if run["repeat"] else ""


def files_of(some_runs, file):
    """One file of each run."""
    return [f"{RUN}/{file}".format(**{**run, "repeat": repeat_of(run)}) for run in some_runs]


def measured_runs():
    """The benchmark files of every cleaning of a poisoned model, and those of its texts."""
    found = []
    for run in trainings(ATTACKS[1:]):
        repeat = repeat_of(run)
        wanted = configs.described(config, "defenses", run["defense"])["texts"]
        texts = [text_of(text, run["defense"], run["seed"], repeat) for text in wanted]
        training = f"finetune/{run['attack']}/{run['defense']}/seed{run['seed']}{repeat}"
        files = [training, *(text.removeprefix(f"{DATA}/") for text in texts)]
        training, *texts = [f"results/benchmarks/{file}.tsv" for file in files]
        found.append({"defense": run["defense"], "training": training, "texts": texts})
    return found


def all_scores():
    """The scores of every run."""
    return files_of(runs(), "scores.json")


def tuning_runs():
    """All runs of a tuning: the trials of every defence on every victim."""
    return [
        {**trial, "attack": attack, "seed": seed}
        for trial in configs.trials(config)
        for attack in config["tune"]["attacks"]
        for seed in config["tune"]["seeds"]
    ]


def tuning_histories():
    """The scores on val of every run of a tuning."""
    named = [
        {**run, "defense": configs.trial_name(run["defense"], run["trial"]), "repeat": 0}
        for run in tuning_runs()
    ]
    return files_of(named, "history.csv")


def tuning_look():
    """How a tuning's figure prints methods."""
    tune = config["tune"]
    run = {"attacks": tune["attacks"], "defenses": list(tune["trials"])}
    return configs.look({**config, "run": run})


def look():
    """How tables and figures print methods and splits, and in which order: `taclean.results.labels`."""
    return configs.look(config)


def retrieval_splits():
    """The scored splits whose images have several captions."""
    gives = {
        name: READERS[source["reader"]].gives for name, source in DATASET.get("sources", {}).items()
    }
    kinds = ("captions", "pairs")
    return [s for s in SCORED if gives.get(DATASET["splits"][s].get("from")) in kinds]


def has_retrieval():
    """Whether recall is among the scores."""
    return bool(retrieval_splits())


def has_further_splits():
    """Whether clean accuracy is scored on more than one split."""
    return len(SCORED) - len(retrieval_splits()) > 1


def has_intervals():
    """Whether defences are compared on several victims or cleanings."""
    several = len(SEEDS) > 1 or len(REPEATS) > 1
    return several and len(Look.of(look()).methods(DEFENSES[1:])) > 1


def cleaning_split(defense):
    """The files of the split that a defence learns from."""
    return split("pretrain" if "overlap" in config["defenses"].get(defense, {}) else "clean")


def users_of(text):
    """The run's defences that want a text artifact."""
    return [
        defense
        for defense in DEFENSES[1:]
        if text in configs.described(config, "defenses", defense)["texts"]
    ]


def shown_user(text):
    """The first of `users_of` that learns from the whole split, whose pictures a figure shows."""
    entries = config["defenses"]
    return [d for d in users_of(text) if not {"rows", "overlap"} & entries[d].keys()][:1]


def example_text(text):
    """The folder of a text artifact of the first seed, for a figure of examples."""
    return [text_of(text, defense, SEEDS[0]) for defense in shown_user(text)]


def has_first():
    """Whether the defence under test draws sub-captions, and test pictures have captions too."""
    drawn = SHOWN_DEFENSE in users_of("subcaptions")
    return bool(ATTACKS[1:]) and drawn and DATASET["form"] == "scenes"


def labels_of(defenses):
    """Defences as printed."""
    return ", ".join(look()["defenses"][name]["label"] for name in defenses)


def code_of(script):
    """A script and the modules of taclean that it imports, directly or not.

    As a rule's input, an edit of the code that draws a picture plans this picture and no other.
    """
    files = [f"../workflow_scripts/{script}.py"]
    for file in files:  # it grows
        with open(workflow.source_path(file), encoding="utf-8") as code:
            modules = re.findall(r"^\s*from (taclean\.[\w.]+) import", code.read(), re.MULTILINE)
        imported = [f"../{module.replace('.', '/')}.py" for module in dict.fromkeys(modules)]
        files += [new for new in imported if new not in files]
    return [workflow.source_path(file) for file in files]


def main_tables():
    """The tables of means, of runs with attacks: of the base model alone there is a page."""
    names = ["main_table.md", "main_table.tex", "spread.csv", "paired.csv"]
    names += ["cost.csv"] * bool(DEFENSES[1:])
    return [f"results/{name}" for name in names] if ATTACKS[1:] else []


def the_page():
    """The report, or the page of a run that attacks nothing: it is about the base model alone."""
    return "results/report.html" if ATTACKS[1:] else "results/own.html"


def figure(name):
    """A figure as PDF and PNG."""
    return multiext(f"{FIGURES}/{name}", ".pdf", ".png")


def all_figures():
    """Every figure that the selected attacks, defences and splits can fill."""
    if not ATTACKS[1:]:
        return []  # a page shows them; no figure may call one's own model "never poisoned"
    names = ["asr_ca", "tradeoff", "triggers", "embeddings"] + ["first"] * has_first()
    names += ["further_splits"] * has_further_splits() + ["retrieval"] * has_retrieval()
    names += ["versus"] * has_intervals() + ["curves", "recovered"] * bool(DEFENSES[1:])
    names += ["subcaptions"] * bool(shown_user("subcaptions"))
    names += [f"axes/{name}" for name in config.get("axes", {})]
    return [file for name in names for file in figure(name)]


def pictures():
    """Every figure as PNG, the main one first."""
    return [file for file in all_figures() if file.endswith(".png")]


def caption_of(picture):
    """The text that the report has beside a picture or a table."""
    name = "axes" if "/axes/" in picture else os.path.splitext(os.path.basename(picture))[0]
    return workflow.source_path(f"report/{name}.rst")
