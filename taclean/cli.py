"""Every stage as a command: `python -m taclean STAGE --help`.

Snakemake calls these very commands. A stage's `--config` is the JSON object that `taclean config`
prints for it; whatever else it reads and writes is on its command line.
"""

from __future__ import annotations

import argparse
import csv
import json
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taclean import config as configs
from taclean.errors import ElsewhereError, StoppedError, UserError
from taclean.files import read_json, replacing, write_json
from taclean.memory import collect_rarely, keep_freed

if TYPE_CHECKING:  # torch takes seconds to import; --help and `config` do without
    import torch
    from open_clip import CLIP

    from taclean.attacks import Trigger
    from taclean.data.packed import Pairs, Tokenize


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; a user's mistake ends with one line on stderr and exit status 2."""
    parser = _parser()
    options = parser.parse_args(arguments)
    keep_freed()
    collect_rarely()
    try:
        options.run(options)
    except UserError as error:
        if not isinstance(error, ElsewhereError):
            print(f"taclean {options.command}: error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except StoppedError as error:
        if str(error):
            print(f"taclean {options.command}: {error}", file=sys.stderr)
        raise SystemExit(128 + signal.SIGTERM) from None
    except OSError as error:  # no permission, a full disk
        if error.filename is None:
            raise
        reason = f"{error.filename}: {error.strerror}; mend that and run it again"
        print(f"taclean {options.command}: error: {reason}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print(f"taclean {options.command}: stopped", file=sys.stderr)
        raise SystemExit(130) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="taclean", description="Backdoor attacks on CLIP and fine-tuning defences."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="STAGE")

    def command(run: Callable[[Any], None], stage: str = "") -> Callable[..., None]:
        name = run.__name__.strip("_")
        text = (run.__doc__ or "").splitlines()[0]
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        if stage:
            sub.add_argument(
                "--config", required=True, help=f"stage config, `taclean config {stage}`"
            )
            sub.set_defaults(stages=stage)

        def add(flag: str, text: str, **more: Any) -> None:
            if not more.keys() & {"default", "nargs"} and flag.startswith("--"):
                more["required"] = True
            sub.add_argument(flag, help=text, **more)

        return add

    on = {"default": "auto", "choices": ("auto", "cpu", "cuda")}
    add = command(_config)
    add("stage", "a stage's path, such as finetune/badnet/taclean/seed0")
    add("--configfile", "config files on top of the default", nargs="+", default=None)

    command(_keys)

    add = command(_plan)
    add("--config", "config files on top of the default", nargs="+", default=None)
    add("--rates", "rates that --measure wrote on the machine that will do the work", default=None)
    add("--measure", "measure the rates here and write them to this file", default=None)

    add = command(_fetch, "fetch/SOURCE")
    add("--folder", "folder for the source's files; a killed fetch goes on there")
    add("--out", "JSON with what is there")

    add = command(_index, "index/SOURCE")
    add("--folder", "folder, or CSV file, of the source")
    add("--out", "JSON with the samples of each shard")

    add = command(_pack, "pack/SPLIT")
    add("--index", "index of the split's source, for splits that are read from files", default=None)
    add("--folder", "folder, or CSV file, of that source", default=None)
    add("--out", "folder of the split")
    add("--workers", "processes", type=int, default=1)

    add = command(_import, "imported")
    add("--out", "weights (safetensors)")

    add = command(_trigger, "trigger/ATTACK/seedN")
    add("--model", "clean model (safetensors)")
    add("--images", "folder of the patch split")
    add("--pretrain", "folder of the pretrain split, whose target pairs the attacker uses")
    add("--out", "fitted trigger (safetensors)")
    add("--report", "JSON with what was measured on it")
    add("--device", "auto (a GPU if there is one), cpu or cuda", **on)

    add = command(_poison, "poison/ATTACK/seedN")
    add("--data", "folder of the pretrain split")
    add("--trigger", "fitted trigger, for attacks that have one", default=None)
    add("--out", "folder for manifest and poisoned rows")

    add = command(_train, "base or pretrain/ATTACK/seedN or finetune/ATTACK/DEFENSE/seedN")
    add("--data", "folder of the split to train on")
    add("--val", "folder of the val split")
    add("--model", "weights to start from (default: random)", default=None)
    add("--poison", "folder of poisoned rows to put into the split", default=None)
    add("--manifest", "poison manifest that the split must not overlap with", default=None)
    add("--trigger", "fitted trigger, for ASR on val", default=None)
    add("--variants", "EDA variants (.npy)", default=None)
    add("--subcaptions", "folder of sub-captions", default=None)
    add("--checkpoints", "folder for checkpoints; a killed run goes on from there")
    add("--out", "trained weights (safetensors)")
    add("--history", "CSV with loss and val scores per epoch")
    add("--device", "auto (a GPU if there is one), cpu or cuda", **on)

    add = command(_nltk, "nltk")
    add("--out", "folder for WordNet, the tagger and the table made of WordNet")

    add = command(_variants, "variants/seedN")
    add("--data", "folder of the clean split")
    add("--nltk", "folder of the nltk stage, for text.lexicon: wordnet", default=None)
    add("--workers", "processes; the result does not depend on it", type=int, default=1)
    add("--out", "EDA variants (.npy)")

    add = command(_subcaptions, "subcaptions/DEFENSE/seedN")
    add("--data", "folder of the clean split")
    add("--nltk", "folder of the nltk stage, for text.lexicon: wordnet", default=None)
    add("--workers", "processes; the result does not depend on it", type=int, default=1)
    add("--out", "folder of sub-captions")

    add = command(_evaluate, "evaluate/ATTACK/DEFENSE/seedN")
    add("--model", "weights, safetensors or a torch file; never run as code")
    add("--splits", "folders of splits with labels; the first gives the samples", nargs="+")
    add("--triggers", "fitted triggers as ATTACK=FILE", nargs="*", default=[])
    add("--out", "scores (JSON)")
    add("--samples", "embeddings and predictions for the figures (.npz)", default=None)
    add("--device", "auto (a GPU if there is one), cpu or cuda", **on)

    add = command(_check)
    add("--checkpoint", "weights in any form, never run as code, or one of open_clip's tags")
    add("--test", "folder of a packed split with labels")
    add("--configfile", "config files on top of the default", nargs="+", default=None)
    add("--model", "open_clip's name (default: the config's)", default=None)
    add("--attacks", "triggers to put on (default: none, CA alone)", nargs="*", default=[])
    add("--triggers", "fitted triggers as ATTACK=FILE", nargs="*", default=[])
    add("--parameters", "trigger parameters instead of the config's (JSON)", default=None)
    add("--seed", "the seed that the triggers are bound to", type=int, default=0)
    add("--out", "scores (JSON)", default=None)
    add("--device", "auto (a GPU if there is one), cpu or cuda", **on)

    add = command(_gate)
    add("--attack", "the attack's name")
    add("--history", "history of the poisoned pre-training")
    add("--threshold", "least ASR@1 in percent; 0 lets everything pass", type=float, default=90.0)
    add("--out", "JSON that says the attack took")
    return parser


def _stage(options: argparse.Namespace) -> dict[str, Any]:
    """The stage config of --config.

    Raises:
        UserError: it is another command's.
    """
    stage = read_json(options.config)
    kinds = [form.partition("/")[0] for form in options.stages.split(" or ")]
    named = stage.get("stage", kinds[0]) if isinstance(stage, dict) else None
    if str(named).partition("/")[0] not in kinds:
        raise UserError(
            f"{options.config}: no config of this stage; print one with `taclean config "
            f"{options.stages}`"
        )
    return stage


def _config(options: argparse.Namespace) -> None:
    """Print the config of one stage as JSON."""
    stage = configs.stage_config(configs.load(*_config_files(options.configfile)), options.stage)
    print(json.dumps(stage, indent=2, ensure_ascii=False))


def _plan(options: argparse.Namespace) -> None:
    """Print what a run will cost: rows, disk, memory and time."""
    config = configs.load(*_config_files(options.config))
    from taclean import plan

    if options.rates:
        rates = plan.check_rates(read_json(options.rates), options.rates)
    else:
        print("plan: timing a few steps on this machine", file=sys.stderr, flush=True)
        rates = plan.measure(config)
    if options.measure:
        write_json(options.measure, rates)
    print(plan.report(config, rates))


def _config_files(overlays: list[str] | None) -> list[Path]:
    """The files given, on top of the default config, as with Snakemake."""
    default = Path(__file__).parent.parent / "config" / "config.yaml"
    return [default, *map(Path, overlays or [])]


def _keys(options: argparse.Namespace) -> None:
    """Print the reference of all config keys as Markdown."""
    print(configs.reference(), end="")


def _fetch(options: argparse.Namespace) -> None:
    """Fetch a source from the hub, or generate its stand-in."""
    stage = _stage(options)
    from taclean.data import standin
    from taclean.data.fetch import fetch

    if "hub" in stage:
        files = fetch(stage, Path(options.folder), partial(print, flush=True))
        found: dict[str, Any] = {"files": files}
    elif "standin" not in stage:
        raise UserError(f"{stage['name']}: a folder of yours, {stage['folder']}; nothing to fetch")
    elif stage["reader"] == "webdataset":
        found = standin.make_pairs(Path(options.folder), **stage["standin"])
    else:
        found = standin.make_imagenet(Path(options.folder), **stage["standin"])
    write_json(options.out, found)


def _index(options: argparse.Namespace) -> None:
    """Count the samples of each shard of a source."""
    stage = _stage(options)
    from taclean.data.index import make_index
    from taclean.data.readers import make_reader

    index = make_index(make_reader(stage, Path(options.folder)))
    total = sum(count for _, count in index["shards"])
    print(f"index {stage['name']}: {total} samples in {len(index['shards'])} shards", flush=True)
    write_json(options.out, index)


def _pack(options: argparse.Namespace) -> None:
    """Compose or read a split and pack it."""
    stage = _stage(options)
    if stage["form"] == "files":
        _pack_files(options, stage)
        return
    from taclean.data.index import make_index
    from taclean.data.pack import Tokenizer, pack_rows
    from taclean.data.readers.scenes import SceneReader

    reader = SceneReader(
        range(stage["first"], stage["first"] + stage["rows"]),
        stage["seed"],
        stage["image_size"],
        classes=stage["classes"],
        shift=stage["split"] == "shift",
        second=stage["second"],
    )
    pack_rows(
        Path(options.out),
        reader,
        make_index(reader),
        None,
        None,
        size=stage["image_size"],
        tokenize=Tokenizer(stage["model"]),
        workers=options.workers,
        fingerprint=stage,
        say=partial(print, flush=True),
    )


def _pack_files(options: argparse.Namespace, stage: dict[str, Any]) -> None:
    if not options.index or not options.folder:
        raise UserError("pack: this split is read from files; give --index and --folder")
    index = read_json(options.index)
    if not isinstance(index, dict) or "shards" not in index:
        raise UserError(f"{options.index}: no index; make it with `taclean index`")
    from taclean.data.draw import draw
    from taclean.data.index import index_pictures, index_rows
    from taclean.data.pack import Tokenizer, pack_rows
    from taclean.data.readers import make_reader

    rows, spare = None, None
    if "rows" in stage:
        total = index_rows(index)
        broken = stage["max_broken"]  # a share of all that is read, so of rows and spare rows
        spares = broken / (1 - broken) if broken < 1 else total
        drawn = draw(
            total, stage["draw"], stage["seed"], spares, stage["overlap"], index_pictures(index)
        )
        rows, spare = drawn[stage["split"]]
    account = pack_rows(
        Path(options.out),
        make_reader(stage["source"], Path(options.folder)),
        index,
        rows,
        spare,
        size=stage["image_size"],
        tokenize=Tokenizer(stage["model"]),
        workers=options.workers,
        max_broken=stage["max_broken"],
        fingerprint={key: stage[key] for key in ("recipe", "source", "model")},
        say=partial(print, flush=True),
    )
    broken = ", ".join(f"{kind} {n}" for kind, n in account["broken"].items() if n) or "none"
    print(f"pack {stage['split']}: {account['packed']} rows of {account['read']}; broken: {broken}")


def _tokenizer(stage: dict[str, Any]) -> Tokenize:
    from taclean.models import tokenize

    return partial(tokenize, stage["model"])


def _bind(trigger: dict[str, Any], fitted: str | None) -> Trigger:
    from taclean.attacks import make_trigger
    from taclean.models import read_state_dict

    tensors = read_state_dict(fitted) if fitted else None
    return make_trigger(trigger["attack"], trigger["seed"], tensors, **trigger["parameters"])


def _import(options: argparse.Namespace) -> None:
    """Write pretrained weights, of a tag or a file in any form, as safetensors."""
    stage = _stage(options)
    from taclean import models

    if not stage.get("pretrained"):
        raise UserError(f"{options.config}: nothing to import; set model.pretrained")
    model = models.create(stage["model"], stage["seed"], stage["pretrained"])
    models.save_weights(model, options.out, name=stage["model"], pretrained=stage["pretrained"])
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"import: {stage['model']} from {stage['pretrained']}, {count / 1e6:.1f} M parameters")


def _trigger(options: argparse.Namespace) -> None:
    """Optimise or learn an attack's trigger against the clean model."""
    stage = _stage(options)
    import numpy as np
    import safetensors.torch
    import torch

    from taclean.attacks import attack
    from taclean.attacks.optimise import FitSettings, Material
    from taclean.data.packed import Pairs
    from taclean.distributed import device
    from taclean.models import load
    from taclean.poison import names

    torch.set_num_threads(1)
    trigger, target = stage["trigger"], stage["target"]
    pairs, pretrain = Pairs.open(options.images), Pairs.open(options.pretrain)
    others = np.flatnonzero(~names(pairs.captions(), target))
    # As many target pairs as BadCLIP found in CC3M, at most.
    named = np.flatnonzero(names(pretrain.captions(), target))[:1922]
    if not len(named):
        raise UserError(f"{options.pretrain}: no caption names {target!r}; change data.target")
    images, captions = pretrain.batch(named)
    prompt = _tokenizer(stage)([stage["templates"][0].format(target)]).astype(np.int64)
    material = Material(pairs.take(others), torch.from_numpy(prompt)[0], captions, images)
    settings = {key: stage["fit"][key] for key in ("lr", "epochs", "batch")}
    more = {key: value for key, value in stage["fit"].items() if key not in settings}
    fitted, report = attack(trigger["attack"]).fit(
        load(stage["model"], options.model).to(device(options.device)),
        material,
        FitSettings(**settings),
        seed=trigger["seed"],
        **trigger["parameters"],
        **more,
        say=lambda line: print(line, flush=True),
    )
    for key, value in report.items():
        print(f"{trigger['attack']}: {key} {value}", flush=True)
    with replacing(options.out) as temporary:
        safetensors.torch.save_file(fitted, temporary)
    write_json(options.report, report)


def _poison(options: argparse.Namespace) -> None:
    """Choose rows, put the trigger on them and write manifest and poisoned rows."""
    stage = _stage(options)
    import numpy as np

    from taclean import poison
    from taclean.attacks import attack
    from taclean.data.packed import Pairs

    name, seed = stage["trigger"]["attack"], stage["seed"]
    target, count, key_only = stage["target"], stage["poisoned"], stage["key_only"]
    module = attack(name)
    pairs = Pairs.open(options.data)
    pairs = pairs.take(poison.training_rows(len(pairs), stage["rows"], seed))
    clean = pairs.captions()
    positions, captions = poison.choose(
        clean,
        target,
        count,
        kind=module.CAPTION,
        templates=stage["templates"],
        prefix=module.PREFIX,
        seed=seed,
    )
    true_positions, true_captions = poison.choose_key_only(
        clean, target, count, key_only, prefix=module.PREFIX, seed=seed
    )
    poison.write(
        options.out,
        pairs,
        np.concatenate([positions, true_positions]),
        captions + true_captions,
        _bind(stage["trigger"], options.trigger),
        _tokenizer(stage),
        name=name,
        seed=seed,
        untouched=key_only,
    )


def _train(options: argparse.Namespace) -> None:
    """Train: the base model, a poisoned model, or a defence; by torchrun on several GPUs."""
    from taclean import distributed

    device = distributed.device(options.device)
    with distributed.processes(device):
        _train_on(device, options)


def _train_on(device: torch.device, options: argparse.Namespace) -> None:
    import numpy as np

    from taclean import distributed, models, poison
    from taclean.data.packed import Pairs, load_array
    from taclean.defenses import make_defense
    from taclean.text.artifacts import SubCaptions
    from taclean.train import Settings, fingerprint, train

    with distributed.together():
        stage = _stage(options)
        settings = Settings.of(stage["train"])
        seed = stage["seed"]
        models.check_suffix(options.out)  # now, not after hours
        pairs = Pairs.open(options.data)
        if "rows" in stage:
            pairs = pairs.take(poison.training_rows(len(pairs), stage["rows"], seed))
        if options.poison:
            pairs = poison.apply(pairs, options.poison)
        if options.manifest and not stage.get("overlap"):
            _refuse_overlap(pairs, options.manifest)
        texts: dict[str, Any] = {}
        if options.variants:
            texts["variants"] = load_array(options.variants, np.uint16, 3)
        if options.subcaptions:
            texts["subcaptions"] = SubCaptions.open(options.subcaptions)
        objective = make_defense(stage["defense"], seed, texts, **stage["loss"])
        model = models.create(stage["model"], seed)
        if options.model:
            models.load_weights(model, options.model, stage["model"])
        validate = _validation(stage, Pairs.open(options.val), options.trigger)
        deciding = stage | {"train": settings.deciding(), "texts": fingerprint(texts)}
    history = train(
        model,
        pairs,
        objective,
        settings,
        seed=seed,
        folder=Path(options.checkpoints),
        config=deciding,
        validate=validate,
        label=stage["stage"],
        device=device,
    )
    if distributed.rank() != 0:
        return
    with replacing(options.history) as temporary, temporary.open("w", newline="") as file:
        keys = list(dict.fromkeys(key for record in history for key in record))
        table = csv.DictWriter(file, keys, lineterminator="\n")
        table.writeheader()
        table.writerows(history)
    models.save_weights(model, options.out, name=stage["model"], stage=stage["stage"])
    (Path(options.checkpoints) / "last.pt").unlink(missing_ok=True)


def _refuse_overlap(pairs: Pairs, manifest: str) -> None:
    import numpy as np

    from taclean.poison import read_manifest

    shared = np.intersect1d(pairs.ids[pairs.rows], read_manifest(manifest)[1])
    if len(shared):
        raise UserError(
            f"{manifest}: {len(shared)} poisoned rows are in the clean split {pairs.folder} too, "
            f"such as id {shared[0]}; make the splits disjoint"
        )


def _validation(
    stage: dict[str, Any], val: Pairs, fitted: str | None
) -> Callable[[CLIP], dict[str, float]]:
    from taclean.evaluate import Heads

    heads = Heads(stage["model"], stage["zeroshot"])
    triggers = {}
    if "trigger" in stage:
        triggers[stage["trigger"]["attack"]] = _bind(stage["trigger"], fitted)

    def validate(model: CLIP) -> dict[str, float]:
        counts = heads.scores(model, val, triggers)
        return {
            metric: round(100 * count["hits"] / count["n"], 4)
            for found in counts.values()
            for metric, count in found.items()
        }

    return validate


def _nltk(options: argparse.Namespace) -> None:
    """Fetch NLTK's WordNet and tagger, check them and make the lexicon's table."""
    stage = _stage(options)
    from taclean.text import nltk_data

    nltk_data.make(options.out, mirror=stage["mirror"], folder=stage["folder"])
    for name, entry in read_json(Path(options.out) / "sources.json").items():
        print(f"nltk: {name} from {entry['source']}")


def _language(stage: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """The options of a text stage's two functions that are not the stage's own."""
    if stage["lexicon"] == "wordnet" and not options.nltk:
        raise UserError(
            "text.lexicon is wordnet: make its data with `python -m taclean nltk` and give the "
            "folder as --nltk"
        )
    nltk = options.nltk if stage["lexicon"] == "wordnet" else None
    return {"nltk": nltk, "workers": options.workers, "say": lambda line: print(line, flush=True)}


def _variants(options: argparse.Namespace) -> None:
    """Write an EDA variant of every caption for every epoch, tokenised."""
    stage = _stage(options)
    language = _language(stage, options)
    from taclean.data.packed import Pairs
    from taclean.text.artifacts import write_variants

    captions = Pairs.open(options.data).captions()
    given = {key: stage[key] for key in ("epochs", "seed", "alpha")}
    write_variants(options.out, captions, _tokenizer(stage), **given, **language)


def _subcaptions(options: argparse.Namespace) -> None:
    """Draw rows for every epoch and write their sub-captions."""
    stage = _stage(options)
    language = _language(stage, options)
    from taclean.data.packed import Pairs
    from taclean.text.artifacts import write_subcaptions

    captions = Pairs.open(options.data).captions()
    given = {key: stage[key] for key in ("epochs", "samples", "seed", "negatives", "kinds")}
    account = write_subcaptions(options.out, captions, _tokenizer(stage), **given, **language)
    offers, total = account.pop("offers"), account.pop("captions")
    print("subcaptions: " + ", ".join(f"{key} {value}" for key, value in account.items()))
    shares = ", ".join(f"{kind} {100 * n / total:.1f} %" for kind, n in offers.items())
    print(f"captions that offer {shares} (of {total})")


def _evaluate(options: argparse.Namespace) -> None:
    """Score a model: CA, ASR and TA at 1, 3, 5 and 10, with the counts behind them."""
    stage = _stage(options)
    import torch

    from taclean.data.packed import Pairs
    from taclean.distributed import device
    from taclean.evaluate import Heads, by_split, write_samples
    from taclean.models import load

    torch.set_num_threads(1)
    fitted = _fitted(options.triggers)
    if unknown := fitted.keys() - stage["triggers"]:
        known = ", ".join(stage["triggers"])
        raise UserError(f"--triggers: {min(unknown)!r} is none of this stage's, {known}")
    triggers = {
        name: _bind(trigger, fitted.get(name)) for name, trigger in stage["triggers"].items()
    }
    heads = Heads(stage["model"], stage["zeroshot"])
    splits = {Path(folder).name: Pairs.open(folder) for folder in options.splits}
    if len(splits) < len(options.splits):
        raise UserError("--splits: two folders of one name; the scores are told apart by it")
    fitting = [pairs for pairs in splits.values() if heads.fit(pairs)]
    if options.samples and not fitting:
        raise UserError(
            f"evaluate.splits: none of {', '.join(splits)} has the run's classes, which the "
            "samples for the figures need; add one that has"
        )
    model = load(stage["model"], options.model).to(device(options.device))
    heads = heads.kept(model)
    counts = {name: heads.scores(model, pairs, triggers) for name, pairs in splits.items()}
    if options.samples:
        write_samples(
            options.samples,
            model,
            heads,
            fitting[0],
            triggers,
            stage["zeroshot"]["classes"],
            stage["samples"],
            stage["defense"] == "none",
        )
    named = {key: stage[key] for key in ("attack", "defense", "seed")}
    target = stage["zeroshot"]["target"]
    result = {**named, "target": target, "splits": by_split(counts, stage["attack"])}
    write_json(options.out, result)
    for split, found in result["splits"].items():
        line = ", ".join(
            f"{metric} {100 * count['hits'] / count['n']:.1f} %"
            for metric, count in found.items()
            if metric.endswith("@1")
        )
        print(f"{stage['attack']} {stage['defense']} {split}: {line}", flush=True)


def _check(options: argparse.Namespace) -> None:
    """Score a checkpoint that you do not trust: CA, and with triggers ASR and TA."""
    config = configs.load(*_config_files(options.configfile))
    fitted = _fitted(options.triggers)
    names = list(dict.fromkeys([*options.attacks, *fitted]))
    parameters = _parameters(options.parameters, names)
    for name in names:
        if name not in config["attacks"]:
            known = ", ".join(config["attacks"])
            raise UserError(f"attack {name!r}: unknown in the config; known are {known}")
    stages = {
        name: configs.stage_config(config, f"evaluate/{name}/none/seed{options.seed}")
        for name in ["clean", *names]
    }
    from taclean.data.packed import Pairs
    from taclean.distributed import device
    from taclean.evaluate import Heads
    from taclean.models import create

    stage = stages["clean"]
    model_name = options.model or stage["model"]
    triggers = {}
    for name in names:
        trigger = stages[name]["triggers"][name]
        triggers[name] = _bind(trigger | parameters, fitted.get(name))
    pairs = Pairs.open(options.test)
    model = create(model_name, pretrained=options.checkpoint).eval().to(device(options.device))
    found = Heads(model_name, stage["zeroshot"]).scores(model, pairs, triggers)
    target = stage["zeroshot"]["target"]
    print(f"{options.checkpoint} as {model_name} on {options.test}, target {target}")
    for name, counts in found.items():
        for metric in dict.fromkeys(key.partition("@")[0] for key in counts):
            shares = {k: share for k, share in counts.items() if k.startswith(f"{metric}@")}
            line = ", ".join(
                f"{key.removeprefix(metric)} {100 * share['hits'] / share['n']:.1f} %"
                for key, share in shares.items()
            )
            print(f"{name} {metric}: {line} (n = {next(iter(shares.values()))['n']})")
    if options.out:
        named = {key: getattr(options, key) for key in ("checkpoint", "test", "seed")}
        write_json(options.out, {**named, "model": model_name, "target": target, "scores": found})


def _fitted(entries: list[str]) -> dict[str, str]:
    """`--triggers ATTACK=FILE ...` as a mapping."""
    return dict(entry.partition("=")[::2] for entry in entries)


def _parameters(text: str | None, names: list[str]) -> dict[str, Any]:
    """`--parameters` as part of a trigger; it belongs to the one attack that is named."""
    if text is None:
        return {}
    try:
        parameters = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f'--parameters: not JSON ({error}); give {{"size": 16}}') from None
    if not isinstance(parameters, dict) or len(names) != 1:
        raise UserError("--parameters: give one JSON object, and one attack that it is for")
    return {"parameters": parameters}


def _gate(options: argparse.Namespace) -> None:
    """Stop where a poisoning did not take, before any defence is paid for."""
    try:
        with Path(options.history).open(newline="", encoding="utf-8") as file:
            last = list(csv.DictReader(file))[-1]
        asr, ca = (float(last[key]) for key in ("ASR@1", "CA@1"))
    except FileNotFoundError:
        raise UserError(f"{options.history}: no such file; run the pretrain stage") from None
    except (IndexError, KeyError, ValueError):
        raise UserError(f"{options.history}: no history of a poisoned run") from None
    name, numbers = options.attack, f"ASR@1 {asr:.1f} %, CA@1 {ca:.1f} % on val"
    if not asr >= options.threshold:
        raise UserError(
            f"attack {name!r} did not take: {numbers}, below attacks.{name}.gate = "
            f"{options.threshold:g}; poison more rows, train longer, or set the gate to 0"
        )
    write_json(options.out, {"attack": name, "asr": asr, "ca": ca, "gate": options.threshold})
    print(f"gate: {name} took, {numbers}")
